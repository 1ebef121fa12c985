"""What the protocols of evaluation do to cameras and views, and which scenes they show."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.degradation import Degradation
from spidereye.errors import SpiderEyeError
from spidereye.jitter import JitterConfig
from spidereye.panorama import panorama_rays
from spidereye.pictures import to_float, to_uint8
from spidereye.protocols import PROTOCOLS, shots_of
from spidereye.render import RenderPlan
from spidereye.rig import index_of_view, off_centre, spider4
from spidereye.scenes.scene import Scene
from spidereye.scenes.views import render_rig
from spidereye.sources.folder import FolderSource
from spidereye.sources.scenes import NearScenes

RIG = spider4(f=220 * 16 / 560, xi=0.85, size=16)
SIZE = (32, 16)


@pytest.fixture
def pictures(tiny_panoramas) -> PanoramaDataset:
    plan = RenderPlan.for_cameras(RIG.cameras, "exact")
    return PanoramaDataset(FolderSource(str(tiny_panoramas), "val"), SIZE, plan)


def renderer_of(dataset, **values) -> Renderer:
    return Renderer(RIG, dataset.plan, dataset.source.names, **values)


def batch_of(name, dataset, which=(0, 1, 2, 3, 4), view="front", **values):
    shots = shots_of(PROTOCOLS[name], renderer_of(dataset, **values), dataset, SIZE, view)
    return shots, shots.render([shots.dataset[index] for index in which])


def test_the_table():
    assert list(PROTOCOLS) == ["clean", "jitter", "jitter_reference", "parallax"]
    for name, protocol in PROTOCOLS.items():
        assert protocol.name == name and protocol.meaning and "\n" not in protocol.meaning


def test_clean_is_the_rig_as_it_is(pictures):
    shots, batch = batch_of("clean", pictures)
    assert shots.reference is None and batch.cameras == batch.true_cameras == RIG.cameras


def test_jitter_turns_and_colours_every_view_and_leaves_the_lens(pictures):
    shots, batch = batch_of("jitter", pictures)
    _, clean = batch_of("clean", pictures)
    assert shots.reference is None
    for view, camera in enumerate(batch.true_cameras):
        assert torch.equal(camera.lens.f, RIG.cameras[view].lens.f.expand(5))
        for sample in range(5):
            assert not torch.equal(camera.rotation[sample], RIG.cameras[view].rotation)
            assert not torch.equal(batch.views[sample, view], clean.views[sample, view])
    assert torch.equal(batch.panorama, clean.panorama)


@pytest.mark.parametrize("view", ["front", "back"])
def test_the_reference_view_alone_gets_no_jitter(pictures, view):
    shots, batch = batch_of("jitter_reference", pictures, view=view)
    _, jittered = batch_of("jitter", pictures)
    _, clean = batch_of("clean", pictures)
    assert shots.reference == RIG.names.index(view)
    for index in range(4):
        same = clean if index == shots.reference else jittered
        assert torch.equal(batch.views[:, index], same.views[:, index])
        expected = same.true_cameras[index].rotation.expand(5, 3, 3)
        assert torch.equal(batch.true_cameras[index].rotation, expected)
        believed = batch.cameras[index].rotation
        assert torch.equal(believed, RIG.cameras[index].rotation.expand(5, 3, 3))


@pytest.mark.parametrize("name", ["jitter", "jitter_reference"])
def test_a_protocol_shows_the_same_whatever_the_run_and_the_batch(pictures, name):
    _, together = batch_of(name, pictures)
    mine = {"jitter": JitterConfig(rotation=20), "seed": 7}
    for index in range(5):
        _, alone = batch_of(name, pictures, (index,), **mine)
        assert torch.equal(alone.views[0], together.views[index])


def test_a_reference_that_the_rig_does_not_have(pictures):
    with pytest.raises(SpiderEyeError, match=r"reference_view=up .* front, right, back, left"):
        batch_of("jitter_reference", pictures, view="up")
    assert index_of_view(RIG, "key", "left") == 3


def test_photographs_are_far_whatever_the_rig_is_made_to_agree_at(pictures):
    """Cameras off the centre, pictures joined at 2 m: nothing of that is in what is rendered."""
    rig = replace(off_centre(RIG, 0.1), sphere_radius=2.0)
    renderer = replace(renderer_of(pictures), rig=rig)
    shots = shots_of(PROTOCOLS["clean"], renderer, pictures, SIZE)
    assert shots.rig.sphere_radius == math.inf and shots.rig.cameras == rig.cameras
    near = shots_of(PROTOCOLS["parallax"], renderer, None, SIZE, scenes=1)
    assert near.rig.sphere_radius == 2.0


def near_batch(which, count=3):
    renderer = Renderer(RIG, RenderPlan.for_cameras(RIG.cameras, "exact"), ())
    shots = shots_of(PROTOCOLS["parallax"], renderer, None, SIZE, scenes=count)
    assert len(shots) == count and shots.reference is None
    return shots.render([shots.dataset[index] for index in which])


def test_parallax_cameras_stand_ten_centimetres_along_their_axes():
    batch = near_batch([1, 0])
    assert batch.names == ["near-scene-00001", "near-scene-00000"] and batch.indices == [1, 0]
    positions = torch.stack([camera.position for camera in batch.cameras])
    expected = [[0, 0, 0.1], [0.1, 0, 0], [0, 0, -0.1], [-0.1, 0, 0]]
    torch.testing.assert_close(positions, torch.tensor(expected, dtype=torch.float64))
    assert batch.true_cameras == batch.cameras
    for camera, own in zip(batch.cameras, RIG.cameras, strict=True):
        assert torch.equal(camera.rotation, own.rotation)


def test_parallax_views_are_from_there_and_the_truth_from_the_centre():
    batch, scene = near_batch([2]), NearScenes(3).scene(2)
    there = torch.stack(render_rig(scene, off_centre(RIG, 0.1).cameras, 3))
    centre = torch.stack(render_rig(scene, RIG.cameras, 3))
    assert torch.equal(batch.views[0], there)
    assert (there - centre).abs().mean() > 0.02
    finer = to_float(torch.from_numpy(scene.panorama(128))).reshape(16, 4, 32, 4, 3)
    truth = batch.panorama[0].permute(1, 2, 0)
    assert (finer.mean((1, 3)) - truth).abs().mean() < 0.02


def test_near_scenes_have_objects_from_one_metre_on():
    scenes = NearScenes(3)
    # Finer than what they were chosen by: a corner between its rays may come a little nearer.
    height = panorama_rays(256, 512)[..., 1].numpy()
    for index in range(len(scenes)):
        depth = scenes.scene(index).panorama_depth(512)
        above = np.where(np.isinf(depth), 0, depth) * height > -1.3
        assert depth.min() > 0.98 and depth[above].min() < 1.51


def test_near_scenes_are_fixed_and_of_no_split():
    first, again = (NearScenes(count).scene(1).panorama(32) for count in (2, 9))
    assert np.array_equal(first, again)
    for split in (0, 1):
        assert not np.array_equal(first, Scene.random((0, split, 1)).panorama(32))
    with pytest.raises(IndexError):
        NearScenes(2).scene(2)


SOFT = Degradation(vignetting=0.3, blur=1.0)
NOISY = Degradation(read_noise=0.02, jpeg_quality=80)


@pytest.mark.parametrize("protocol", ["clean", "jitter"])
def test_cameras_do_to_every_view_what_they_do(pictures, protocol):
    _, clean = batch_of(protocol, pictures)
    _, soft = batch_of(protocol, pictures, degradation=SOFT)
    for sample in range(5):
        views = SOFT(to_uint8(clean.views[sample]), RIG.cameras, torch.Generator())
        assert torch.equal(to_uint8(soft.views[sample]), views)
        assert not torch.equal(soft.views[sample], clean.views[sample])
    assert torch.equal(soft.panorama, clean.panorama)


def test_the_noise_of_a_sample_is_its_own_in_any_batch(pictures):
    _, batch = batch_of("clean", pictures, degradation=NOISY)
    _, alone = batch_of("clean", pictures, (3,), degradation=NOISY)
    assert torch.equal(batch.views[3], alone.views[0])
    _, clean = batch_of("clean", pictures)
    noise = batch.views - clean.views
    assert not torch.equal(noise[0], noise[1])


def test_near_scenes_are_seen_by_the_same_cameras(pictures):
    _, clean = batch_of("parallax", pictures, (0,))
    _, soft = batch_of("parallax", pictures, (0,), degradation=SOFT)
    views = SOFT(to_uint8(clean.views[0]), RIG.cameras, torch.Generator())
    assert torch.equal(to_uint8(soft.views[0]), views)
