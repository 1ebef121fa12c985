"""The panorama that explains the views: A is how cameras see, and solving it beats the stitch."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made_shots import taken, world

from spidereye import super_resolution
from spidereye.lenses.families import family
from spidereye.metrics import psnr
from spidereye.panorama import panorama_rays
from spidereye.pictures import read_picture, resize_area, to_float
from spidereye.render import render_each
from spidereye.rig import spider4
from spidereye.stitching import stitch
from spidereye.super_resolution import SuperResolution

FINER = 3
H, W = 32, 64


def rig_of(size: int):
    return spider4(f=220 * size / 560, xi=0.85, size=size)


def flat(picture: torch.Tensor) -> torch.Tensor:
    return picture[0].flatten(1).T


def decibels(made: torch.Tensor, truth: torch.Tensor) -> float:
    made, truth = ((x.double().clamp(-1, 1) + 1) / 2 for x in (made, truth))
    return float(psnr(made, truth).mean())


@pytest.fixture(scope="module")
def small():
    """A of four 32-px views for a panorama of 64x32."""
    return SuperResolution.for_cameras(rig_of(32).cameras, H, W)


def test_each_row_is_a_mean(small):
    sums = small.forward @ torch.ones(small.forward.shape[1], 1)
    assert torch.allclose(sums, torch.ones_like(sums), atol=1e-5)
    assert small.forward.values().min() >= 0
    rows = sum(int(own.sum()) for own in small.whole)
    assert small.forward.shape == (rows, FINER**2 * H * W)
    assert torch.equal(small.backward.to_dense(), small.forward.to_dense().T)
    for own, camera in zip(small.whole, rig_of(32).cameras, strict=True):
        # Pixels that are picture in all their parts: all but the rim of the circle.
        mask = camera.mask().flatten()
        assert own.sum() > 0.85 * mask.sum() and not (own & ~mask).any()


def test_what_it_sees_is_what_cameras_render():
    """Of a panorama without much detail the means of A and the exact renderer's are the same."""
    cameras = list(rig_of(32).cameras)
    cameras[1] = replace(cameras[1], lens=family("equidistant", math.radians(94), 20, 40, 44))
    cameras[2] = cameras[2].resized(24, 24)
    made = SuperResolution.for_cameras(cameras, H, W)
    x, y, z = panorama_rays(FINER * H, FINER * W, dtype=torch.float32).unbind(-1)
    smooth = torch.stack((x * y, (3 * z).sin(), (2 * y + x).cos()))[None] * 0.9
    rendered = [flat(view) for view, _ in render_each(smooth, cameras, "exact")]
    expected = torch.cat([v[own] for v, own in zip(rendered, made.whole, strict=True)])
    error = (made.forward @ flat(smooth) - expected).abs()
    assert error.max() < 0.01 and error.mean() < 0.001, (error.max(), error.mean())


def test_cameras_apart_look_at_a_sphere(small):
    centred = rig_of(32).cameras
    apart = [replace(camera, position=0.2 * camera.axis) for camera in centred]
    far = SuperResolution.for_cameras(apart, H, W)
    # At infinity it is of no matter.
    assert torch.equal(far.forward.to_dense(), small.forward.to_dense())
    x, y, z = panorama_rays(FINER * H, FINER * W, dtype=torch.float32).unbind(-1)
    smooth = torch.stack((x, y, z))[None]
    near = SuperResolution.for_cameras(apart, H, W, 2.0)
    # A sphere of 2 m painted with the directions of its points: each pixel's ray meets it there.
    seen, start = near.forward @ flat(smooth), 0
    for camera, own in zip(apart, near.whole, strict=True):
        rays, _ = camera.unproject(camera.pixel_grid())
        rays = rays.flatten(0, 1)[own]
        points = (seen[start : start + len(rays)] * 2 - camera.position).double()
        cosine = (points * rays).sum(-1) / points.norm(dim=-1)
        assert float(cosine.min()) > 0.9995
        start += len(rays)


def test_a_constant_panorama_stays_constant(small):
    views = [torch.full((1, 3, 32, 32), 0.25) for _ in range(4)]
    made = small(views, torch.full((1, 3, H, W), 0.25))
    assert made.shape == (1, 3, H, W)
    torch.testing.assert_close(made, torch.full_like(made, 0.25), rtol=0, atol=1e-5)


def test_it_comes_from_the_views_and_not_from_where_it_starts(small):
    views = [torch.full((1, 3, 32, 32), 0.5) for _ in range(4)]
    made = small(views, torch.full((1, 3, H, W), 0.49))
    assert float((made - 0.5).abs().max()) < 0.006


def test_where_views_contradict_each_other_the_stitch_stays():
    rig = rig_of(32)
    views, start = taken(world(1), rig), torch.zeros(1, 3, H, W)
    wrong = [replace(c, lens=c.lens.zoomed(torch.tensor(1.1).double())) for c in rig.cameras]
    changed = [
        float((SuperResolution.for_cameras(cameras, H, W)(views, start) - start).abs().mean())
        for cameras in (rig.cameras, wrong)
    ]
    start = stitch(views, wrong, H, W).panorama
    kept = SuperResolution.for_cameras(wrong, H, W)(views, start)
    assert changed[0] > 10 * changed[1], changed
    assert float((kept - start).abs().mean()) < 0.01
    # Only there: one view that shows something else on a square.
    start = stitch(views, rig.cameras, H, W).panorama
    made = SuperResolution.for_cameras(rig.cameras, H, W)
    whole = made(views, start)
    views[0][..., 14:18, 14:18] *= -1
    other = stitch(views, rig.cameras, H, W).panorama
    spoilt = made(views, other)
    behind = slice(0, 8)
    assert torch.equal(other[..., behind], start[..., behind])
    left = (spoilt - other)[..., behind].square().mean()
    assert left > 0.5 * (whole - start)[..., behind].square().mean()


def test_views_are_explained_better_than_by_the_stitch():
    rig = rig_of(64)
    views = taken(world(1), rig)
    made = SuperResolution.for_cameras(rig.cameras, 64, 128)
    start = stitch(views, rig.cameras, 64, 128).panorama
    result = made(views, start)
    truth = F.avg_pool2d(world(1), 2)
    assert decibels(result, truth) > decibels(start, truth) + 1
    assert float(result.abs().max()) < 1.3


def test_it_beats_the_stitch_on_real_panoramas(shared):
    rig = rig_of(64)
    made = SuperResolution.for_cameras(rig.cameras, 64, 128)
    gains = []
    for path in sorted((shared / "panoramas" / "val").iterdir())[:3]:
        picture = read_picture(path)
        pictures = [resize_area(picture, width, width // 2) for width in (512, 128)]
        fine, truth = (
            to_float(torch.from_numpy(p.copy()).permute(2, 0, 1)[None]) for p in pictures
        )
        views = taken(fine, rig)
        start = stitch(views, rig.cameras, 64, 128).panorama
        gains.append(decibels(made(views, start), truth) - decibels(start, truth))
    assert min(gains) > 0.5 and sum(gains) / len(gains) > 1, gains


def test_values_that_tell_nothing_do_not_count(small):
    rig = rig_of(32)
    views = taken(world(2), rig)
    start = stitch(views, rig.cameras, H, W).panorama
    told = [torch.ones(1, 3, 32, 32, dtype=torch.bool) for _ in views]
    assert torch.equal(small(views, start, told), small(views, start))
    told[0][..., 10:20, :] = False  # on the forward view
    told[2][:, 1] = False
    expected = small(views, start, told)
    spoilt = [torch.where(known, view, 1.0) for view, known in zip(views, told, strict=True)]
    torch.testing.assert_close(small(spoilt, start, told), expected)
    assert not torch.allclose(small(spoilt, start), expected, atol=0.05)


def test_burnt_highlights_make_no_rings():
    """What a longer exposure has clipped in half of the views is taken from the others."""
    rig = rig_of(64)
    bright = world(1) * 0.5 + 0.5
    views = [view * 0.9 for view in taken(bright, rig)]
    burnt = [(v + 0.4).clamp(max=1.0) if i % 2 else v for i, v in enumerate(views)]
    told = [view < 1 for view in burnt]
    true_again = [v - 0.4 if i % 2 else v for i, v in enumerate(burnt)]
    made = SuperResolution.for_cameras(rig.cameras, 64, 128)
    start = stitch(views, rig.cameras, 64, 128).panorama
    truth = F.avg_pool2d(bright, 2) * 0.9
    knowing, not_knowing = (
        decibels(made(true_again, start, which), truth) for which in (told, None)
    )
    assert knowing > not_knowing + 1, (knowing, not_knowing)


@pytest.mark.parametrize("size", [16, 64])
def test_the_number_of_threads_changes_nothing(size):
    rig = rig_of(size)
    views, start = taken(world(2), rig), torch.zeros(1, 3, size, 2 * size)
    made, before = [], torch.get_num_threads()
    for threads in (1, 2):
        torch.set_num_threads(threads)
        made.append(SuperResolution.for_cameras(rig.cameras, size, 2 * size)(views, start))
    torch.set_num_threads(before)
    assert torch.equal(*made)


def test_smoothness_is_that_of_differences():
    """The quadratic form is what the sum of weighed squares is, and its diagonal its own."""
    height, width = 5, 10
    smooth = super_resolution._Smoothness(height, width)
    x = torch.randn(height * width, 1, generator=torch.manual_seed(0))
    plane = x.view(height, width).double()
    latitude = (0.5 - (torch.arange(height) + 0.5) / height) * math.pi
    cosine = latitude.double().cos()
    across = ((plane - plane.roll(1, 1)).square() / cosine[:, None]).sum()
    down = (plane.diff(dim=0).square() * ((cosine[1:] + cosine[:-1]) / 2)[:, None]).sum()
    assert float((x * smooth(x)).sum()) == pytest.approx(float(across + down), rel=1e-5)
    whole = smooth(torch.eye(height * width))
    torch.testing.assert_close(whole.diagonal()[:, None], smooth.diagonal())
    torch.testing.assert_close(whole, whole.T)


@pytest.mark.shared
def test_large_panoramas_have_less_of_it_but_have_it(shared, monkeypatch):
    """The effort of large panoramas, at a size that a test has time for."""
    monkeypatch.setattr(super_resolution, "_MOST_CELLS", 4 * H * W)
    cameras = rig_of(32).cameras
    picture = read_picture(shared / "panoramas/val/ph_dresden_square.jpg")
    truth = to_float(torch.from_numpy(resize_area(picture, W, H)).permute(2, 0, 1))[None]
    whole = to_float(torch.from_numpy(picture).permute(2, 0, 1))[None]
    views = [view for view, _ in render_each(whole, cameras)]
    start = stitch(views, cameras, H, W).panorama
    assert SuperResolution.is_possible(cameras, H, W)
    large = SuperResolution.for_cameras(cameras, H, W)
    assert large.forward.shape[1] == 4 * H * W
    assert decibels(large(views, start), truth) > decibels(start, truth) + 0.3
    assert not SuperResolution.is_possible(cameras, 2 * H, 2 * W)
