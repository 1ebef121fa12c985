"""The panorama that explains the views: A is how cameras see, and solving it beats the stitch."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from made_shots import taken, world

from spidereye.lenses.families import family
from spidereye.metrics import psnr
from spidereye.panorama import panorama_rays
from spidereye.pictures import read_picture, resize_area, to_float
from spidereye.protocols import off_centre
from spidereye.render import render_each
from spidereye.rig import spider4
from spidereye.stitching import stitch
from spidereye.super_resolution import SuperResolution

FINER = 3
H, W = 32, 64


def rig_of(size: int):
    return spider4(f=220 * size / 560, xi=0.85, size=size)


def flat(picture: torch.Tensor) -> np.ndarray:
    return picture[0].flatten(1).T.numpy()


def decibels(made: torch.Tensor, truth: torch.Tensor) -> float:
    made, truth = ((x.double().clamp(-1, 1) + 1) / 2 for x in (made, truth))
    return float(psnr(made, truth).mean())


@pytest.fixture(scope="module")
def small():
    """A of four 32-px views for a panorama of 64x32."""
    return SuperResolution.for_cameras(rig_of(32).cameras, H, W)


def test_each_row_is_a_mean(small):
    sums = np.asarray(small.forward.sum(axis=1))
    assert np.allclose(sums, 1, atol=1e-5) and small.forward.data.min() >= 0
    rows = sum(int(own.sum()) for own in small.whole)
    assert small.forward.shape == (rows, FINER**2 * H * W)
    assert (small.backward != small.forward.T).nnz == 0
    for own, camera in zip(small.whole, rig_of(32).cameras, strict=True):
        # Pixels that are picture in all their parts: all but the rim of the circle.
        mask = camera.mask().flatten().numpy()
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
    expected = np.concatenate([v[own] for v, own in zip(rendered, made.whole, strict=True)])
    error = np.abs(made.forward @ flat(smooth) - expected)
    assert error.max() < 0.01 and error.mean() < 0.001, (error.max(), error.mean())


def test_a_constant_panorama_stays_constant(small):
    views = [torch.full((1, 3, 32, 32), 0.25) for _ in range(4)]
    made = small(views, torch.full((1, 3, H, W), 0.25))
    assert made.shape == (1, 3, H, W)
    torch.testing.assert_close(made, torch.full_like(made, 0.25), rtol=0, atol=1e-5)


def test_it_comes_from_the_views_and_not_from_where_it_starts(small):
    views = [torch.full((1, 3, 32, 32), 0.5) for _ in range(4)]
    made = small(views, torch.zeros(1, 3, H, W))
    # Twelve steps do not reach to the ends of the narrowest columns.
    assert float((made - 0.5).abs().mean()) < 0.02
    assert float((made - 0.5)[..., 4:-4, :].abs().max()) < 0.1


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


def test_an_unused_view_does_not_count(small):
    rig = rig_of(32)
    views = taken(world(2), rig)
    rest = replace(rig, cameras=rig.cameras[:1] + rig.cameras[2:])
    start = stitch(views, rig.cameras, H, W).panorama
    expected = small(views, start, unused=[1])
    black = [torch.full_like(v, -1.0) if i == 1 else v for i, v in enumerate(views)]
    assert torch.equal(small(black, start, unused=[1]), expected)
    without = SuperResolution.for_cameras(rest.cameras, H, W)
    shown = [view for number, view in enumerate(views) if number != 1]
    torch.testing.assert_close(without(shown, start), expected, rtol=0, atol=1e-4)
    assert not torch.allclose(small(black, start), expected, atol=0.1)


def test_nothing_seen_stays_as_it_starts():
    camera = rig_of(32).cameras[0]
    one = SuperResolution.for_cameras([camera], H, W)
    views = taken(world(2), rig_of(32))[:1]
    start = stitch(views, [camera], H, W)
    made = one(views, start.panorama)
    behind = (start.count == 0).expand(1, 3, H, W)
    assert bool(torch.isfinite(made).all())
    assert float((made - start.panorama)[behind].abs().mean()) < 0.02
    none = one(views, start.panorama, unused=[0])
    assert bool(torch.isfinite(none).all())


def test_a_rig_and_a_world_that_turn_together(small):
    """spider4 turned by 90° is spider4 with its views in another order."""
    rig, panorama = rig_of(32), world(5)
    views = taken(panorama, rig)
    start = stitch(views, rig.cameras, H, W).panorama
    straight = small(views, start)
    rolled = panorama.roll(panorama.shape[-1] // 4, dims=-1)
    turned = taken(rolled, rig)
    # What was in front is at the right.
    for number, view in enumerate(views):
        torch.testing.assert_close(turned[(number + 1) % 4], view, rtol=0, atol=0.03)
    turned = [views[number - 1] for number in range(4)]
    again = stitch(turned, rig.cameras, H, W).panorama
    made = small(turned, again)
    torch.testing.assert_close(made, straight.roll(W // 4, dims=-1), rtol=0, atol=1e-3)


def test_what_is_large_or_has_parallax_is_left_alone():
    cameras, large = rig_of(64).cameras, rig_of(640).cameras
    assert SuperResolution.is_possible(cameras, 128, 256)
    assert not SuperResolution.is_possible(cameras, 512, 1024)
    assert not SuperResolution.is_possible(large, 128, 256)
    assert not SuperResolution.is_possible(off_centre(rig_of(64), 0.01).cameras, 128, 256)
