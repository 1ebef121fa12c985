"""Rendered views against the mean of 16x16 points per pixel, in float64 on the full panorama.

benchmarks/data.py prints the same for all real panoramas and more lenses.
"""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.panorama import panorama_rays, sample_panorama
from spidereye.pictures import read_picture, to_float
from spidereye.render import QUALITIES, RenderPlan, render_each
from spidereye.rig import Rig, spider4
from spidereye.scenes.scene import Scene
from spidereye.sources import SourceConfig, open_source
from spidereye.stitching import stitch

WANTED = {"training": 40.0, "exact": 48.0}  # dB
RIG = spider4(220 * 128 / 560, 0.85, 128)


def reference(panorama, camera, points=16):
    """[3, h, w] in float64: the mean over the points of each pixel that are picture."""
    total = torch.zeros(3, camera.lens.height, camera.lens.width, dtype=torch.float64)
    count = torch.zeros_like(total[:1])
    centres = camera.pixel_grid()
    offsets = (torch.arange(points, dtype=torch.float64) + 0.5) / points - 0.5
    for down in offsets:
        for across in offsets:
            rays, valid = camera.unproject(centres + torch.stack((across, down)))
            total += sample_panorama(panorama[None], rays[None])[0] * valid
            count += valid
    return total / count.clamp_min(1)


def psnr(made, truth, mask):
    error = (made.double() - truth).square().mean(dim=0)[mask].mean()
    return float(10 * torch.log10(4 / error))


def picture_of(path):
    return to_float(torch.from_numpy(read_picture(path)).permute(2, 0, 1))


def from_batch(path, camera, quality):
    """The first view as a batch has it: reduced decode, working size, 8 bits."""
    source = open_source(SourceConfig(root=str(path.parents[1])), path.parent.name)
    index = next(i for i, name in enumerate(source.names) if name.endswith(path.name))
    plan = RenderPlan.for_cameras((camera,), quality)
    sample = PanoramaDataset(source, (256, 128), plan)[index]
    return Renderer(Rig((camera,)), plan, source.names)([sample]).views[0, 0]


@pytest.fixture(scope="module")
def real(shared):
    files = sorted((shared / "panoramas" / "val").iterdir())
    return [files[0], files[1], files[5]]


@pytest.mark.slow
def test_documented_views_of_real_panoramas(real):
    camera = RIG.cameras[1]
    scores = {"training": [], "exact": [], "points": []}
    rays, mask = camera.unproject(camera.pixel_grid())
    for path in real:
        panorama = picture_of(path)
        truth = reference(panorama.double(), camera)
        for quality in QUALITIES:
            scores[quality].append(psnr(from_batch(path, camera, quality), truth, mask))
        points = sample_panorama(panorama[None], rays.float()[None])[0]
        scores["points"].append(psnr(points, truth, mask))
    for quality in QUALITIES:
        assert np.mean(scores[quality]) >= WANTED[quality], scores
    assert np.mean(scores["points"]) < 34  # what the usual way reaches


@pytest.mark.parametrize(
    "rig,least",
    [
        (spider4(220 * 32 / 560, 0.85, 32), 48),  # small views: the panorama is halved
        (spider4(220, 0.85, 128), 48),  # telephoto, about the panorama's own resolution
        (spider4(220 * 128 / 560, 0.85, 512), 48),  # enlarged
        (spider4(70, 1.3, 128), 48),
    ],
    ids=["32 px", "telephoto", "enlarged", "ξ 1.3"],
)
def test_exact_views_of_other_lenses(real, rig, least):
    camera = rig.cameras[0]
    panorama = picture_of(real[0])
    points = 4 if camera.lens.width == 512 else 16
    truth = reference(panorama.double(), camera, points)
    [(view, mask)] = render_each(panorama[None], (camera,), "exact")
    assert psnr(view[0], truth, mask[0]) >= least


@pytest.mark.slow
def test_a_larger_jpeg_that_is_decoded_at_reduced_size(real, tmp_path):
    path = tmp_path / "data" / "val" / "a.jpg"
    path.parent.mkdir(parents=True)
    larger = cv2.resize(cv2.imread(str(real[0])), (2048, 1024), interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(path), larger, [cv2.IMWRITE_JPEG_QUALITY, 95])
    panorama, scores = picture_of(path).double(), {quality: [] for quality in QUALITIES}
    for camera in RIG.cameras[:2]:
        truth = reference(panorama, camera, 8)
        for quality in QUALITIES:
            view = from_batch(path, camera, quality)
            scores[quality].append(psnr(view, truth, camera.mask()))
    for quality in QUALITIES:
        assert np.mean(scores[quality]) >= WANTED[quality], scores


def test_a_view_over_the_seam_and_a_pole_is_as_good_as_elsewhere():
    """Stripes by direction, not by column: what shows at ±180° or at a pole is the renderer's."""
    rays = panorama_rays(512, 1024)
    panorama = torch.sin(rays @ torch.tensor([[9.0, 4, 2], [-3, 8, 5], [4, -2, 9]]).double())
    panorama = panorama.permute(2, 0, 1)
    camera = RIG.cameras[2]  # looks back: both poles and ±180° are in it
    truth, mask = reference(panorama, camera), camera.mask()
    for quality in QUALITIES:
        [(view, _)] = render_each(panorama.float()[None], (camera,), quality)
        error = (view[0].double() - truth).abs().amax(dim=0)
        inside = mask & (camera.margin(camera.pixel_grid()) > 1 / 64)
        assert float(error[inside].max()) < 0.02


def test_the_geometric_stitch_of_exact_views(shared):
    source = open_source(SourceConfig(root=str(shared / "panoramas")), "val")
    plan = RenderPlan.for_cameras(RIG.cameras, "exact")
    dataset, render = PanoramaDataset(source, (256, 128), plan), Renderer(RIG, plan, source.names)
    scores = []
    for index in range(len(source)):
        batch = render([dataset[index]])
        made = stitch(batch.views.unbind(1), RIG.cameras, 128, 256).panorama[0]
        error = (made - batch.panorama[0]).square().mean()
        scores.append(float(10 * torch.log10(4 / error)))
    assert np.mean(scores) >= 32.4


def test_scenes_too():
    """Without the shared panoramas: a procedural scene, full of edges."""
    camera = replace(RIG.cameras[0], name="any")
    scene = torch.from_numpy(Scene.random((0, 0, 0)).panorama(1024).copy())
    panorama = to_float(scene.permute(2, 0, 1))
    truth = reference(panorama.double(), camera, 8)
    for quality in QUALITIES:
        [(view, mask)] = render_each(panorama[None], (camera,), quality)
        assert psnr(view[0], truth, mask[0]) >= WANTED[quality] - 4 * (quality == "training")
