"""Stitching on several spheres: of cameras that stand apart each direction is taken from where the
views agree; of cameras in one place all spheres are the same."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made_shots import taken, world

from spidereye.camera import Camera
from spidereye.metrics import psnr
from spidereye.panorama import sample_panorama
from spidereye.rig import Rig, off_centre, spider4
from spidereye.scene_batches import SceneDataset, SceneRenderer
from spidereye.sources.scenes import NearScenes
from spidereye.sphere_sweep import SweepPlan, stand_apart
from spidereye.stitching import stitch

H, W = 64, 128
RADII = (math.inf, 5.0, 2.0, 1.0)


def rig_of(size: int = 64) -> Rig:
    return spider4(f=220 * size / 560, xi=0.85, size=size)


def decibels(made: torch.Tensor, truth: torch.Tensor) -> float:
    made, truth = ((x.double().clamp(-1, 1) + 1) / 2 for x in (made, truth))
    return float(psnr(made, truth).mean())


def view_of_sphere(panorama: torch.Tensor, camera: Camera, radius: float) -> torch.Tensor:
    """[1, 3, h, w] of a sphere about the origin that is painted with the panorama: the mean of 3x3
    points of each pixel, each where the camera's ray meets the sphere."""
    rays, valid = camera.unproject(camera.pixel_grid(3))
    along = (rays * camera.position).sum(dim=-1, keepdim=True)
    inside = radius**2 - camera.position.square().sum()
    point = camera.position + rays * (-along + (along.square() + inside).sqrt())
    torch.testing.assert_close(point.norm(dim=-1), torch.full_like(point[..., 0], radius))
    colour = sample_panorama(panorama, torch.where(valid[..., None], point, 1.0)[None])
    return torch.where(camera.mask(), F.avg_pool2d(colour, 3), -1.0)


@pytest.mark.parametrize("size", [48, 64])
def test_cameras_in_one_place_get_the_stitch_on_any_spheres(size):
    rig, panorama = rig_of(size), world(0)
    views = taken(panorama, rig, seed=1)
    assert not stand_apart(rig.cameras)
    plain = stitch(views, rig.cameras, H, W)
    for radii in ((math.inf,), (math.inf, 2.0, 1.0), (0.5, 3.0)):
        swept = SweepPlan.for_cameras(rig.cameras, H, W, radii)(views)
        torch.testing.assert_close(swept.panorama, plain.panorama, rtol=0, atol=1e-5)
        assert torch.equal(swept.count, plain.count)
        assert swept.planes.shape == (1, len(radii), 3, H, W)
        assert swept.apart.shape == (1, len(radii), 1, H, W)
        for plane in swept.planes.unbind(1):
            torch.testing.assert_close(plane, plain.panorama, rtol=0, atol=1e-5)
        assert bool((swept.apart == swept.apart[:, :1]).all()) and float(swept.apart.max()) > 0


def test_misalignment_weighs_views_as_in_the_stitch():
    rig = rig_of()
    views, off = taken(world(3), rig, seed=1), math.radians(3)
    plain = stitch(views, rig.cameras, H, W, misalignment=off)
    swept = SweepPlan.for_cameras(rig.cameras, H, W, misalignment=off)(views)
    torch.testing.assert_close(swept.panorama, plain.panorama, rtol=0, atol=1e-5)
    sharp = SweepPlan.for_cameras(rig.cameras, H, W)(views)
    assert not torch.allclose(sharp.panorama, plain.panorama, atol=1e-2)


@pytest.mark.parametrize("radius", [5.0, 2.0, 1.0])
def test_a_sphere_is_found_by_its_radius(radius):
    rig, fine = off_centre(rig_of(), 0.15), world(1)
    truth = F.avg_pool2d(fine, 2)
    views = [view_of_sphere(fine, camera, radius) for camera in rig.cameras]
    swept = SweepPlan.for_cameras(rig.cameras, H, W, RADII)(views)
    assert bool((swept.count > 0).all())
    single = {r: decibels(swept.planes[:, i], truth) for i, r in enumerate(RADII)}
    best = max(single, key=lambda r: single[r])
    assert best == radius, single
    alone = stitch(views, rig.cameras, H, W, 2.0).panorama
    torch.testing.assert_close(swept.planes[:, RADII.index(2.0)], alone, rtol=0, atol=1e-5)
    reached = decibels(swept.panorama, truth)
    others = [value for r, value in single.items() if r != radius]
    # Measured: 29.6 at 5 m, where ∞ is 1.5 pixels off, 30.3 and 28.4 beside the others' 26.2, 24.3
    # and 22.3, and 30.6, 30.7 and 28.7 for who knows the radius.
    assert reached > max(others) + 3, (reached, single)
    assert reached > single[radius] - 1.5, (reached, single)
    # Views agree most on the sphere that there is.
    apart = swept.apart.mean(dim=(0, 2, 3, 4))
    assert int(apart.argmin()) == RADII.index(radius)


def test_what_is_far_is_taken_from_the_first_sphere():
    """Flat and far scenes agree on many spheres; that one view sees a sphere is no agreement."""
    rig, fine = rig_of(), world(1)
    views, truth = taken(fine, rig), F.avg_pool2d(fine, 2)
    believed = off_centre(rig, 0.15).cameras
    far = SweepPlan.for_cameras(rig.cameras, H, W)(views)
    swept = SweepPlan.for_cameras(believed, H, W, RADII)(views)
    assert decibels(swept.panorama, truth) > decibels(far.panorama, truth) - 1
    flat = SweepPlan.for_cameras(believed, H, W, RADII)([torch.zeros_like(v) for v in views])
    torch.testing.assert_close(flat.panorama, torch.zeros_like(flat.panorama))


def test_near_scenes_are_better_than_on_their_best_sphere():
    rig = off_centre(rig_of(48), 0.1)
    scenes = NearScenes(2)
    dataset = SceneDataset(scenes, rig.cameras, (96, 48))
    batch = SceneRenderer(rig, torch.device("cpu"))([dataset[0], dataset[1]])
    radii = (math.inf, 5.0, 2.0, 1.0)
    plan = SweepPlan.for_cameras(rig.cameras, 48, 96, radii)
    shots = [list(views[:, None].unbind(0)) for views in batch.views]
    swept = torch.cat([plan(shot).panorama for shot in shots])
    reached = decibels(swept, batch.panorama)
    single = [
        decibels(stitch(batch.views.unbind(1), rig.cameras, 48, 96, radius).panorama,
                 batch.panorama)
        for radius in (*radii, 1.5)
    ]  # fmt: skip
    assert reached > max(single) + 1, (reached, single)


def test_the_views_that_count_most_are_handed_out():
    rig = rig_of()
    levels = torch.tensor([-0.9, -0.3, 0.2, 0.8])
    views = [level.expand(1, 3, 64, 64) for level in levels]
    plan = SweepPlan.for_cameras(rig.cameras, H, W, (math.inf, 2.0))
    swept = plan(views, most=3)
    share, shown = swept.share[0, :, 0], swept.warped[0]
    assert bool((share[:-1] >= share[1:]).all()) and float(share.sum(dim=0).max()) < 1 + 1e-6
    assert bool((shown == shown[:, :1]).all())  # grey views
    best = stitch(views, rig.cameras, H, W, blend="none").panorama[0]
    clear = share[0] > share[1] + 1e-4
    assert float(clear.float().mean()) > 0.9 and len(best[0].unique()) >= 4
    torch.testing.assert_close(shown[0][:, clear], best[:, clear], rtol=0, atol=1e-5)
    # Four views of 188° see everything at least twice, in the middle of the front three of them.
    blended = (share[:, None] * shown).sum(dim=0) / share.sum(dim=0)
    few = swept.count[0, 0] <= 3
    torch.testing.assert_close(blended[:, few], swept.panorama[0][:, few], rtol=0, atol=1e-4)
    more = plan(views, most=6)
    assert more.warped.shape == (1, 6, 3, H, W)
    assert torch.equal(more.warped[:, :3], swept.warped)
    assert bool((more.share[:, 4:] == 0).all()) and bool((more.warped[:, 4:] == 0).all())
    torch.testing.assert_close(more.share.sum(dim=1), torch.ones(1, 1, H, W))


@pytest.mark.parametrize("apart", [0.0, 0.1])
def test_any_order_and_sizes_of_views(apart):
    fine = world(2)
    cameras = [c.resized(s, s) for c, s in zip(off_centre(rig_of(), apart).cameras,
                                               (64, 40, 56, 72), strict=True)]  # fmt: skip
    views = [view_of_sphere(fine, camera, 2.0) for camera in cameras]
    radii = (math.inf, 2.0)
    swept = SweepPlan.for_cameras(cameras, H, W, radii)(views)
    assert decibels(swept.panorama, F.avg_pool2d(fine, 2)) > 20
    order = [2, 0, 3, 1]
    other = SweepPlan.for_cameras([cameras[i] for i in order], H, W, radii)(
        [views[i] for i in order]
    )
    for name in ("panorama", "planes", "apart", "share"):
        torch.testing.assert_close(getattr(swept, name), getattr(other, name), rtol=0, atol=1e-5)
    different = swept.share[:, 0] - swept.share[:, 1] > 1e-4
    shown, again = swept.warped[:, 0], other.warped[:, 0]
    torch.testing.assert_close(shown * different, again * different, rtol=0, atol=1e-5)


def test_what_nobody_sees_is_filled_and_said():
    rig = off_centre(rig_of(), 0.1)
    some = replace(rig, cameras=rig.cameras[:1])
    view = view_of_sphere(world(4), some.cameras[0], 2.0)
    swept = SweepPlan.for_cameras(some.cameras, H, W, (math.inf, 2.0))([view])
    unseen = swept.count[0, 0] == 0
    assert 0.3 < float(unseen.float().mean()) < 0.7
    assert bool((swept.share[..., unseen] == 0).all())
    assert bool((swept.warped[..., unseen] == 0).all())
    for part in (swept.panorama, swept.planes, swept.apart, swept.warped, swept.share):
        assert bool(torch.isfinite(part).all())
    assert float(swept.panorama[..., unseen].std()) > 0
    assert float(swept.panorama.min()) > -1.2
    assert bool((swept.apart == 0).all())  # one view agrees with itself
