"""Rendering views and stitching them back: what a person would see."""

import math

import pytest
import torch

from spidereye import rotation
from spidereye.camera import Camera, circle_of
from spidereye.coverage import coverage
from spidereye.errors import SpiderEyeError
from spidereye.lenses import UCM
from spidereye.panorama import panorama_rays
from spidereye.render import RenderPlan, render_views
from spidereye.rig import spider4
from spidereye.stitching import stitch

F_128 = 220 * 128 / 560


def direction_panorama(height: int = 256) -> torch.Tensor:
    """A panorama whose colour is its direction: r = x, g = y, b = z."""
    return panorama_rays(height, 2 * height).permute(2, 0, 1)[None]


def test_documented_lens_sees_a_quarter_and_the_right_one_everything():
    documented = coverage(spider4(220, 0.85, 128))
    assert documented.seen == pytest.approx(0.267, abs=0.001)
    assert documented.fields_of_view["front"] == pytest.approx(59.9, abs=0.05)
    right = coverage(spider4(F_128, 0.85, 128))
    assert right.seen == pytest.approx(1) and right.seen_twice == pytest.approx(1)
    assert right.fields_of_view["left"] == pytest.approx(187.6, abs=0.05)
    assert "26.7%" in documented.line() and "front 59.9°" in documented.line()


@pytest.mark.parametrize(
    "mask_mode,seen", [("inscribed", 0.267), ("diagonal", 0.35), ("none", 0.35)]
)
def test_mask_modes_widen_what_is_seen(mask_mode, seen):
    assert coverage(spider4(220, 0.85, 128, mask_mode)).seen == pytest.approx(seen, abs=0.03)


def test_unknown_mask_mode_names_the_choices():
    with pytest.raises(SpiderEyeError, match="inscribed, diagonal, none"):
        circle_of("circle", 4, 4)


def test_views_of_a_direction_panorama_show_their_own_directions():
    rig = spider4(F_128, 0.85, 128)
    views, mask = render_views(direction_panorama(), rig.cameras, oversample=1)
    centre = views[0, :, :, 63:65, 63:65].mean((-1, -2))
    front, right, back, left = centre
    for view, axis in (
        (front, (0, 0, 1)),
        (right, (1, 0, 0)),
        (back, (0, 0, -1)),
        (left, (-1, 0, 0)),
    ):
        assert torch.allclose(view, torch.tensor(axis, dtype=view.dtype), atol=1e-3)
    for index, camera in enumerate(rig.cameras):
        rays, valid = camera.unproject(camera.pixel_grid())
        error = (views[0, index].permute(1, 2, 0) - rays).abs().max(-1).values
        assert float(error[valid].max()) < 2e-4  # bilinear on a 512-px panorama
        assert torch.equal(valid, mask[0, index])
        assert bool((views[0, index][:, ~mask[0, index]] == -1).all())
    # Up in the picture is up in the world, right in the front view is the world's right.
    assert views[0, 0, 1, 20, 64] > 0.5 and views[0, 0, 0, 64, 110] > 0.5


def test_straight_down_sees_the_nadir():
    lens = UCM.create(F_128, 0.85, 128)
    origin = torch.zeros(3, dtype=torch.float64)
    down = Camera("down", lens, rotation.from_degrees(0, -90, 0), origin, 64)
    views, _ = render_views(direction_panorama(), (down,), oversample=2)
    assert torch.allclose(
        views[0, 0, :, 63:65, 63:65].mean((-1, -2)), torch.tensor([0, -1, 0.0]).double(), atol=1e-3
    )
    assert views[0, 0, 2, 20, 64] > 0.5  # its upper edge looks forward


def test_pitch_and_roll_in_pictures():
    lens = UCM.create(F_128, 0.85, 128)
    origin = torch.zeros(3, dtype=torch.float64)
    up = Camera("up", lens, rotation.from_degrees(0, 30, 0), origin, 64)
    rolled = Camera("rolled", lens, rotation.from_degrees(0, 0, 30), origin, 64)
    views, _ = render_views(direction_panorama(), (up, rolled), oversample=1)
    assert float(views[0, 0, 1, 63, 63]) == pytest.approx(0.5, abs=0.02)
    # Camera turned clockwise: its right edge dips below the horizon.
    assert float(views[0, 1, 1, 64, 110]) < -0.2


def test_rolling_the_panorama_by_90_degrees_permutes_the_views():
    rig = spider4(F_128, 0.85, 128)
    pano = torch.rand(1, 3, 64, 128, dtype=torch.float64) * 2 - 1
    views, _ = render_views(pano, rig.cameras, oversample=2)
    # What was at the right comes to the front: front' = right, right' = back, …
    turned, _ = render_views(pano.roll(-32, dims=-1), rig.cameras, oversample=2)
    assert float((turned - views[:, [1, 2, 3, 0]]).abs().max()) < 1e-6


def test_a_small_view_of_a_large_panorama_does_not_alias():
    """One-pixel stripes, far beyond a 32-px view's resolution, must come out as their mean."""
    stripes = (torch.arange(1024) % 2 * 2.0 - 1).expand(1, 3, 512, 1024)
    rig = spider4(220 * 32 / 560, 0.85, 32)
    plan = RenderPlan.for_cameras(rig.cameras, 64)
    fine, _ = render_views(stripes, rig.cameras, oversample=1024 // plan.panorama_width * 8)
    coarse, _ = render_views(stripes, rig.cameras, oversample=1)
    middle = (slice(None), 0, slice(None), slice(8, 24), slice(8, 24))
    assert float(fine[middle].std()) < 0.1 < float(coarse[middle].std())


def test_render_plan_follows_the_lens_not_the_batch():
    plan = RenderPlan.for_cameras(spider4(F_128, 0.85, 128).cameras, 256)
    assert plan == RenderPlan(panorama_width=512, oversample=3)
    telephoto = RenderPlan.for_cameras(spider4(220, 0.85, 128).cameras, 256)
    assert telephoto.panorama_width > plan.panorama_width


@pytest.mark.parametrize("xi", [0.0, 0.5, 0.85, 1.3, 2.5])
@pytest.mark.parametrize("mask_mode", ["inscribed", "diagonal", "none"])
def test_no_lens_gives_nan_anywhere(xi, mask_mode):
    rig = spider4(20, xi, 64, mask_mode)
    pano = torch.rand(2, 3, 64, 128) * 2 - 1
    views, mask = render_views(pano, rig.cameras, oversample=2)
    assert torch.isfinite(views).all() and bool(mask.any())
    result = stitch(views.unbind(1), rig.cameras, 32, 64)
    assert torch.isfinite(result.panorama).all()
    assert float(result.panorama.abs().max()) <= 1 + 1e-5


def test_stitch_of_the_right_rig_gives_the_panorama_back():
    rig = spider4(F_128, 0.85, 128)
    pano = direction_panorama(256).float()
    views, _ = render_views(pano, rig.cameras, oversample=2)
    result = stitch(views.unbind(1), rig.cameras, 128, 256)
    truth = panorama_rays(128, 256).permute(2, 0, 1)[None].float()
    assert float((result.panorama - truth).abs().max()) < 0.03
    assert int(result.count.min()) >= 2


def test_stitch_leaves_the_unseen_grey_and_counts_it():
    rig = spider4(220, 0.85, 128)
    views, _ = render_views(torch.ones(1, 3, 128, 256), rig.cameras, oversample=1)
    result = stitch(views.unbind(1), rig.cameras, 64, 128)
    unseen = result.count == 0
    assert bool((result.panorama[unseen.expand(-1, 3, -1, -1)] == 0).all())
    # White up to the rim: the black outside the circle does not bleed in.
    assert float(result.panorama[(~unseen).expand(-1, 3, -1, -1)].min()) > 0.999


def test_sphere_radius_moves_what_an_off_centre_camera_sees():
    lens = UCM.create(F_128, 0.85, 128)
    camera = Camera("right", lens, torch.eye(3).double(), torch.tensor([0.1, 0, 0]).double())
    ahead = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    at_infinity, _ = camera.project(ahead)
    at_one_metre, _ = camera.project(ahead, sphere_radius=1.0)
    expected, _ = lens.project(
        torch.tensor([[-math.sin(math.atan(0.1)), 0, math.cos(math.atan(0.1))]]).double()
    )
    assert torch.allclose(at_infinity, torch.tensor([[63.5, 63.5]]).double())
    assert torch.allclose(at_one_metre, expected)


def test_batched_cameras_render_each_sample_with_its_own():
    wide, narrow = UCM.create(50, 0.85, 64), UCM.create(80, 0.85, 64)
    both = UCM.create(torch.tensor([50.0, 80.0]), 0.85, 64)
    origin = torch.zeros(3, dtype=torch.float64)
    pano = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    batched = Camera("a", both, eye.expand(2, 3, 3), origin.expand(2, 3), 32)
    views, mask = render_views(pano, (batched,), oversample=1)
    for index, lens in enumerate((wide, narrow)):
        alone, alone_mask = render_views(
            pano[index : index + 1], (Camera("a", lens, eye, origin, 32),), 1
        )
        assert torch.allclose(views[index], alone[0]) and torch.equal(mask[index], alone_mask[0])
