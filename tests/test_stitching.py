"""The geometric stitch: exact cases, and that its settings do what they are for."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.panorama import panorama_rays
from spidereye.render import RenderPlan, render_each, select
from spidereye.rig import spider4
from spidereye.sources import SourceConfig, open_source
from spidereye.stitching import BLENDS, StitchPlan, stitch
from spidereye.view_sampling import KERNELS
from spidereye.view_weights import blend_weight, clearance, resolution, sharpness

F_128 = 220 * 128 / 560
RIG = spider4(F_128, 0.85, 128)


def waves(height: int) -> torch.Tensor:
    """A smooth panorama of low frequencies, different in its channels."""
    x, y, z = panorama_rays(height, 2 * height).unbind(-1)
    return torch.stack((torch.sin(5 * x + y), torch.cos(4 * z - 2 * x), torch.sin(6 * y * z)))[None]


def views_of(panorama, rig):
    return [view for view, _ in render_each(panorama, rig.cameras)]


def psnr(made, truth):
    return float(10 * torch.log10(4 / (made - truth).square().mean()))


@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("kernel", KERNELS)
def test_every_kernel_and_blend_gives_a_smooth_panorama_back(kernel, blend):
    views = views_of(waves(256), RIG)
    made = stitch(views, RIG.cameras, 64, 128, kernel=kernel, blend=blend).panorama
    truth = F.avg_pool2d(waves(128), 2)
    # Coarse bands are blended so widely that they meet what is extrapolated beyond a rim.
    enough = 33 if blend == "multiband" else 38 if kernel == "bilinear" else 44
    assert psnr(made, truth) > enough
    steps = (made - made.roll(1, dims=-1)).abs().amax((0, 1, 2))  # the first is the ±180° seam
    assert float(steps[0]) <= 1.001 * float(steps[1:].max())


@pytest.mark.parametrize("blend", BLENDS)
def test_white_views_make_a_white_panorama(blend):
    """Up to the rims, over seams and where nobody looks: nothing of the black outside."""
    rig = spider4(220, 0.85, 128)
    views = views_of(torch.ones(1, 3, 128, 256), rig)
    made = stitch(views, rig.cameras, 64, 128, blend=blend)
    assert float(made.panorama.min()) > 0.999 and float(made.panorama.max()) < 1.001
    share = float((made.count == 0).double().mean())
    assert 0.6 < share < 0.9


def test_a_plan_serves_batches_and_single_cameras_alike():
    views = views_of(torch.cat((waves(128), waves(128).flip(-1))), RIG)
    plan = StitchPlan.for_cameras(RIG.cameras, 32, 64)
    together = plan(views).panorama
    batched = [camera.expanded(2) for camera in RIG.cameras]
    torch.testing.assert_close(stitch(views, batched, 32, 64).panorama, together)
    for index in range(2):
        alone = plan([view[index : index + 1] for view in views])
        torch.testing.assert_close(alone.panorama[0], together[index])
        assert torch.equal(alone.count, plan.count)


def test_each_sample_is_stitched_with_its_own_cameras():
    turned = spider4(F_128, 1.2, 128)
    cameras = [
        replace(
            one.expanded(2),
            lens=replace(one.lens.expanded(2), xi=torch.stack((one.lens.xi, two.lens.xi))),
        )
        for one, two in zip(RIG.cameras, turned.cameras, strict=True)
    ]
    both = views_of(waves(128), RIG), views_of(waves(128), turned)
    views = [torch.cat(pair) for pair in zip(*both, strict=True)]
    made = stitch(views, cameras, 32, 64).panorama
    for index in range(2):
        own = [select(camera, index) for camera in cameras]
        alone = stitch([view[index : index + 1] for view in views], own, 32, 64)
        torch.testing.assert_close(made[index : index + 1], alone.panorama)


def test_a_sample_is_stitched_alike_in_any_batch():
    """Also where samples need the panorama divided and not."""
    near, far = spider4(60.0, 0.85, 174), spider4(68.4, 0.85, 174)
    cameras = [
        replace(
            one.expanded(2),
            lens=replace(
                one.lens.expanded(2), matrix=torch.stack((one.lens.matrix, two.lens.matrix))
            ),
        )
        for one, two in zip(near.cameras, far.cameras, strict=True)
    ]
    views = [torch.rand(2, 3, 174, 174) for _ in cameras]
    made = stitch(views, cameras, 128, 256).panorama
    turned = [select(camera, [1, 0]) for camera in cameras]
    other = stitch([view.flip(0) for view in views], turned, 128, 256).panorama
    torch.testing.assert_close(made, other.flip(0))


def test_half_precision_costs_half_precision_only():
    views = [view.float() for view in views_of(waves(128), RIG)]
    exact = stitch(views, RIG.cameras, 32, 64, blank=(0, 1, 2, 3)).panorama
    for dtype, enough in ((torch.float16, 2e-3), (torch.bfloat16, 2e-2)):
        made = stitch([v.to(dtype) for v in views], RIG.cameras, 32, 64, blank=(0, 1, 2, 3))
        assert made.panorama.dtype == dtype
        assert float((made.panorama.float() - exact).abs().max()) < enough


def test_views_of_different_sizes_and_half_precision():
    big = spider4(F_128 * 3, 0.85, 384)
    rig = replace(RIG, cameras=(big.cameras[0], *RIG.cameras[1:]))
    views = views_of(waves(256), rig)
    truth = F.avg_pool2d(waves(128), 2)
    assert psnr(stitch(views, rig.cameras, 64, 128).panorama, truth) > 44
    single = stitch([view.float() for view in views], rig.cameras, 64, 128)
    assert single.panorama.dtype == torch.float32 and psnr(single.panorama, truth) > 44


def test_fine_views_do_not_alias_in_a_small_panorama():
    """Stripes that only the views resolve come out as their mean."""
    fine = (torch.arange(2048) % 8 // 4 * 2.0 - 1).expand(1, 3, 1024, 2048)
    rig = spider4(F_128 * 4, 0.85, 512)
    plan = StitchPlan.for_cameras(rig.cameras, 32, 64)
    made = plan(views_of(fine, rig)).panorama[..., 8:24, :]  # the poles' stripes are wide
    assert plan.divisions == 2 and float(made.std()) < 0.06
    assert StitchPlan.for_cameras(RIG.cameras, 128, 256).divisions == 0


def test_the_finer_view_has_the_say_and_rims_fade():
    camera = RIG.cameras[0]
    big = camera.resized(512, 512)
    rays = panorama_rays(32, 64)
    ahead, seen = camera.project(rays)
    pixels, _ = big.project(rays)
    ratio = resolution(big, rays, pixels) / resolution(camera, rays, ahead)
    torch.testing.assert_close(ratio[seen], torch.full_like(ratio[seen], 4.0), rtol=1e-4, atol=0)
    # Against the derivative by hand, on the axis: f/(1 + ξ) pixels per radian.
    axis = torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64)
    on_axis = resolution(camera, axis, camera.project(axis)[0])
    assert float(on_axis) == pytest.approx(F_128 / 1.85, rel=1e-4)
    weight = blend_weight(camera, rays, ahead, seen)
    assert bool((weight[~seen] == 0).all()) and bool((weight[seen] > 0).all())
    rim = seen & (clearance(camera, ahead) < 0.01)
    assert float(weight[rim].max()) < 0.2 * float(weight.max())


def test_what_hides_the_scene_has_a_rim_too():
    visible = torch.ones(128, 128, dtype=torch.bool)
    visible[100:] = False
    camera = replace(RIG.cameras[0], visible=visible)
    pixels = torch.tensor([[64.0, 99.0], [64.0, 90.0], [64.0, 63.5]], dtype=torch.float64)
    expected = torch.tensor([1 / 64, 10 / 64, 37 / 64], dtype=torch.float64)
    torch.testing.assert_close(clearance(camera, pixels)[:2], expected[:2])
    assert float(clearance(camera, pixels)[2]) == pytest.approx(37 / 64, abs=0.02)


def test_views_that_contradict_each_other_are_weighed_alike():
    assert sharpness(0.0) == (4.0, 0.1)
    power, rim = sharpness(3.0)
    assert power < 0.5 and rim == pytest.approx(0.4)


def test_real_panoramas_come_back_with_36_decibels(shared):
    """The figure of the whole issue: panoramas/val, 128-px views to 256x128."""
    plan = RenderPlan.for_cameras(RIG.cameras, "exact")
    source = open_source(SourceConfig(root=str(shared / "panoramas")), "val")
    dataset = PanoramaDataset(source, (256, 128), plan)
    renderer = Renderer(RIG, plan, source.names)
    plans = {
        kernel: StitchPlan.for_cameras(RIG.cameras, 128, 256, kernel=kernel) for kernel in KERNELS
    }
    scores: dict[str, list[float]] = {kernel: [] for kernel in KERNELS}
    for index in range(0, len(dataset), 2):
        batch = renderer([dataset[index]])
        for kernel, own in plans.items():
            made = own(batch.views.unbind(1)).panorama
            levels = ((made.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
            scores[kernel].append(psnr(levels, batch.panorama))
    means = {kernel: np.mean(values) for kernel, values in scores.items()}
    assert means["lanczos"] > 35.2 and means["lanczos"] > means["bicubic"] > means["bilinear"]
    assert math.isfinite(means["bilinear"])
