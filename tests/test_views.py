"""Rendering views and stitching them back: what a person would see."""

import math
from dataclasses import replace

import pytest
import torch

from spidereye import rotation
from spidereye.camera import Camera, circle_of
from spidereye.coverage import coverage
from spidereye.errors import SpiderEyeError
from spidereye.lenses import UCM
from spidereye.panorama import panorama_rays, sample_panorama
from spidereye.pictures import to_float, to_uint8
from spidereye.render import QUALITIES, RenderPlan, Sampling, render_each, render_views
from spidereye.rig import spider4
from spidereye.stitching import stitch

F_128 = 220 * 128 / 560


def direction_panorama(height: int = 256) -> torch.Tensor:
    """A panorama whose colour is its direction: r = x, g = y, b = z."""
    return panorama_rays(height, 2 * height).permute(2, 0, 1)[None]


def rendered(panorama, cameras, quality="exact"):
    """Views and masks of cameras of batch shape [] by a plan of their own."""
    return render_views(panorama, cameras, RenderPlan.for_cameras(cameras, quality))


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


@pytest.mark.parametrize("quality", QUALITIES)
def test_views_of_a_direction_panorama_show_their_own_directions(quality):
    rig = spider4(F_128, 0.85, 128)
    views, mask = rendered(direction_panorama(), rig.cameras, quality)
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
        # What the bend of the sphere inside a pixel makes of its mean, and bilinear on 512 px; on
        # the rim also that of the pixel only the part inside the circle counts.
        within = valid & (camera.margin(camera.pixel_grid()) > 1 / 64)
        assert float(error[within].max()) < 6e-4 and float(error[valid].max()) < 3e-3
        assert torch.equal(valid, mask[0, index])
        assert bool((views[0, index][:, ~mask[0, index]] == -1).all())
    # Up in the picture is up in the world, right in the front view is the world's right.
    assert views[0, 0, 1, 20, 64] > 0.5 and views[0, 0, 0, 64, 110] > 0.5


def test_straight_down_sees_the_nadir():
    lens = UCM.create(F_128, 0.85, 128)
    origin = torch.zeros(3, dtype=torch.float64)
    down = Camera("down", lens, rotation.from_degrees(0, -90, 0), origin, 64)
    views, _ = rendered(direction_panorama(), (down,))
    assert torch.allclose(
        views[0, 0, :, 63:65, 63:65].mean((-1, -2)), torch.tensor([0, -1, 0.0]).double(), atol=1e-3
    )
    assert views[0, 0, 2, 20, 64] > 0.5  # its upper edge looks forward


def test_pitch_and_roll_in_pictures():
    lens = UCM.create(F_128, 0.85, 128)
    origin = torch.zeros(3, dtype=torch.float64)
    up = Camera("up", lens, rotation.from_degrees(0, 30, 0), origin, 64)
    rolled = Camera("rolled", lens, rotation.from_degrees(0, 0, 30), origin, 64)
    views, _ = rendered(direction_panorama(), (up, rolled))
    assert float(views[0, 0, 1, 63, 63]) == pytest.approx(0.5, abs=0.02)
    # Camera turned clockwise: its right edge dips below the horizon.
    assert float(views[0, 1, 1, 64, 110]) < -0.2


@pytest.mark.parametrize("quality", QUALITIES)
def test_rolling_the_panorama_by_90_degrees_permutes_the_views(quality):
    rig = spider4(F_128, 0.85, 128)
    pano = torch.rand(1, 3, 64, 128, dtype=torch.float64) * 2 - 1
    views, _ = rendered(pano, rig.cameras, quality)
    # What was at the right comes to the front: front' = right, right' = back, …
    turned, _ = rendered(pano.roll(-32, dims=-1), rig.cameras, quality)
    assert float((turned - views[:, [1, 2, 3, 0]]).abs().max()) < 1e-6


def test_a_small_view_of_a_large_panorama_does_not_alias():
    """One-pixel stripes, far beyond a 32-px view's resolution, must come out as their mean."""
    stripes = (torch.arange(1024) % 2 * 2.0 - 1).expand(1, 3, 512, 1024)
    rig = spider4(220 * 32 / 560, 0.85, 32)
    middle = (slice(None), 0, slice(None), slice(8, 24), slice(8, 24))
    for quality in QUALITIES:
        assert float(rendered(stripes, rig.cameras, quality)[0][middle].std()) < 0.02
    rays, _ = rig.cameras[0].unproject(rig.cameras[0].pixel_grid())
    point = sample_panorama(stripes, rays.float()[None])[:, None]
    assert float(point[middle].std()) > 0.2


def test_a_plan_follows_the_lenses():
    plan = RenderPlan.for_cameras(spider4(F_128, 0.85, 128).cameras)
    assert plan.width == 512 and set(plan.samplings(512)) == {Sampling(0, 2)}
    assert set(plan.samplings(2048)) == {Sampling(2, 2)}
    telephoto = RenderPlan.for_cameras(spider4(220, 0.85, 128).cameras)
    assert telephoto.width > plan.width
    wide = spider4(F_128, 0.85, 128).cameras[0]
    both = RenderPlan.for_cameras((wide, spider4(220, 0.85, 128).cameras[0]))
    assert both.width == telephoto.width
    assert both.samplings(4096)[0].halvings > both.samplings(4096)[1].halvings


@pytest.mark.parametrize("xi", [0.0, 0.5, 0.85, 1.3, 2.5])
@pytest.mark.parametrize("mask_mode", ["inscribed", "diagonal", "none"])
@pytest.mark.parametrize("quality", QUALITIES)
def test_no_lens_gives_nan_anywhere(xi, mask_mode, quality):
    rig = spider4(20, xi, 64, mask_mode)
    pano = torch.rand(2, 3, 64, 128) * 2 - 1
    views, mask = rendered(pano, rig.cameras, quality)
    assert torch.isfinite(views).all() and bool(mask.any())
    result = stitch(views.unbind(1), rig.cameras, 32, 64)
    assert torch.isfinite(result.panorama).all()
    assert float(result.panorama.abs().max()) <= 1 + 1e-5


def test_stitch_of_the_right_rig_gives_the_panorama_back():
    rig = spider4(F_128, 0.85, 128)
    pano = direction_panorama(256).float()
    views, _ = rendered(pano, rig.cameras)
    result = stitch(views.unbind(1), rig.cameras, 128, 256)
    truth = panorama_rays(128, 256).permute(2, 0, 1)[None].float()
    assert float((result.panorama - truth).abs().max()) < 0.03
    assert int(result.count.min()) >= 2


def test_stitch_fills_the_unseen_and_counts_it():
    rig = spider4(220, 0.85, 128)
    views, _ = rendered(torch.ones(1, 3, 128, 256), rig.cameras)
    result = stitch(views.unbind(1), rig.cameras, 64, 128)
    unseen = result.count == 0
    assert 0.6 < float(unseen.double().mean()) < 0.9
    assert float(result.panorama[unseen.expand(-1, 3, -1, -1)].min()) > 0.999
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


@pytest.mark.parametrize("quality", QUALITIES)
def test_batched_cameras_render_each_sample_with_its_own(quality):
    wide, narrow = UCM.create(50, 0.85, 64), UCM.create(80, 0.85, 64)
    both = UCM.create(torch.tensor([50.0, 80.0]), 0.85, 64)
    origin = torch.zeros(3, dtype=torch.float64)
    pano = torch.rand(2, 3, 32, 64, dtype=torch.float64)
    eye = torch.eye(3, dtype=torch.float64)
    batched = Camera("a", both, eye.expand(2, 3, 3), origin.expand(2, 3), 32)
    [(views, mask)] = render_each(pano, (batched,), quality)
    for index, lens in enumerate((wide, narrow)):
        alone = Camera("a", lens, eye, origin, 32)
        [(view, its_mask)] = render_each(pano[index : index + 1], (alone,), quality)
        assert torch.equal(views[index], view[0]) and torch.equal(mask[index], its_mask[0])
        # A plan holds for cameras that differ from its own, whole batch in one.
        plan = RenderPlan.for_cameras((alone,), quality)
        together, _ = render_views(pano, (batched,), plan)
        assert torch.allclose(together[index, 0], view[0], atol=1e-12)


@pytest.mark.parametrize("quality", QUALITIES)
def test_views_of_several_sizes_and_lenses_come_in_their_order(quality):
    pano = direction_panorama().float()
    a, b = spider4(F_128, 0.85, 128).cameras[:2]
    c = spider4(40, 0.2, 64).cameras[2]
    made = render_each(pano, (a, c, b), quality)
    assert [view.shape[-1] for view, _ in made] == [128, 64, 128]
    # Of one size, two lenses between each other are put in order again.
    d = replace(spider4(70, 0.5, 128).cameras[3], name="d")
    cameras = (a, d, b)
    views, masks = rendered(pano, cameras, quality)
    for index, camera in enumerate(cameras):
        rays, valid = camera.unproject(camera.pixel_grid())
        error = (views[0, index].permute(1, 2, 0) - rays).abs().amax(-1)
        assert torch.equal(masks[0, index], valid) and float(error[valid].max()) < 3e-3


def test_eight_bits_on_the_cpu_and_floats_make_the_same_views():
    rig = spider4(F_128, 0.85, 128)
    pano = direction_panorama().float()
    levels = to_uint8(pano)
    floats, mask = rendered(to_float(levels), rig.cameras, "training")
    bytes_, same = rendered(levels, rig.cameras, "training")
    assert bytes_.dtype == torch.uint8 and torch.equal(mask, same)
    difference = (to_float(bytes_) - floats).permute(0, 1, 3, 4, 2)[mask] * 127.5
    assert float(difference.abs().max()) < 1.6 and float(difference.abs().mean()) < 0.5
    assert abs(float(difference.mean())) < 0.05
    assert bool((bytes_.permute(0, 1, 3, 4, 2)[~mask] == 0).all())


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_hidden_part_is_black_and_leaves_its_neighbours_alone(quality):
    camera = spider4(F_128, 0.85, 128).cameras[0]
    visible = torch.ones(128, 128, dtype=torch.bool)
    visible[100:] = False
    pano = torch.ones(1, 3, 128, 256)
    [(view, mask)] = render_each(pano, (replace(camera, visible=visible),), quality)
    assert not mask[:, 100:].any() and bool((view[:, :, 100:] == -1).all())
    assert torch.allclose(view.permute(0, 2, 3, 1)[mask], torch.ones(()))
