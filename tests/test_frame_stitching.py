"""The 8-bit stitch of frames: equal to the float one, and exact where that can be said."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from spidereye import rotation
from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.frame_stitching import FramePlan
from spidereye.frame_tiles import in_eight_bits, shares_of
from spidereye.lenses import UCM
from spidereye.lenses.families import family
from spidereye.panorama import panorama_rays
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import Rig, spider4
from spidereye.stitching import stitch
from spidereye.view_sampling import KERNELS

H, W = 64, 128
BLENDS = ("feather", "none")
ORIGIN = torch.zeros(3, dtype=torch.float64)


def two_lenses(side: int = 64, fov: float = 190, **more) -> tuple[Camera, Camera]:
    lens = family("equidistant", math.radians(fov / 2), side / 2, side)
    front, back = (rotation.from_degrees(yaw, 0) for yaw in (0, 180))
    circle = {"circle": side / 2} | more
    return Camera("front", lens, front, ORIGIN, **circle), Camera(
        "back", lens, back, ORIGIN, **circle
    )


def scene(height: int = 128, detail: int = 24) -> torch.Tensor:
    """A panorama [1, 3, h, 2h] in [-1, 1] of blobs, without a seam at ±180°."""
    noise = torch.rand(1, 3, detail, 2 * detail, generator=torch.Generator().manual_seed(0))
    noise = torch.cat((noise[..., -2:], noise, noise[..., :2]), dim=-1)
    size = (height, height * (2 * detail + 4) // detail)
    large = F.interpolate(noise, size=size, mode="bicubic", align_corners=False)
    pad = (size[1] - 2 * height) // 2
    return (large[..., pad : pad + 2 * height] * 1.2 - 0.6).clamp(-0.9, 0.9)


def shot(cameras, panorama: torch.Tensor) -> list[np.ndarray]:
    views = render_each(panorama.double(), cameras)
    return [to_uint8(view[0]).permute(1, 2, 0).numpy() for view, _ in views]


def floats(pictures) -> list[torch.Tensor]:
    return [to_float(torch.from_numpy(one).permute(2, 0, 1))[None] for one in pictures]


def in_float(pictures, cameras, kernel, blend, **more) -> np.ndarray:
    made = stitch(floats(pictures), cameras, H, W, kernel=kernel, blend=blend, **more).panorama
    return to_uint8(made[0]).permute(1, 2, 0).numpy()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    error = np.square(a.astype(float) - b.astype(float)).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("blend", BLENDS)
def test_equals_the_float_path(kernel, blend):
    rig = spider4(220 * 72 / 560, 0.85, 72)
    pictures = shot(rig.cameras, scene())
    plan = FramePlan.for_cameras(rig.cameras, H, W, kernel=kernel, blend=blend)
    # Lanczos has another number of lobes here.
    wanted = 42 if kernel == "lanczos" else 46
    assert psnr(plan(pictures), in_float(pictures, rig.cameras, kernel, blend)) > wanted
    seen = [camera.project(panorama_rays(H, W))[1] for camera in rig.cameras]
    np.testing.assert_array_equal(plan.count, torch.stack(seen).sum(0))


def test_a_positioned_rig_on_a_sphere():
    cameras = two_lenses()
    forward = torch.tensor([0.1, 0.0, 0.3], dtype=torch.float64)
    cameras = (replace(cameras[0], position=forward), replace(cameras[1], position=-forward))
    pictures = shot(cameras, scene())
    plan = FramePlan.for_cameras(cameras, H, W, sphere_radius=2.0, kernel="bicubic")
    expected = in_float(pictures, cameras, "bicubic", "feather", sphere_radius=2.0)
    assert psnr(plan(pictures), expected) > 46
    without = in_float(pictures, cameras, "bicubic", "feather")
    assert psnr(plan(pictures), without) < 40


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("fov", [180, 190])
def test_one_colour_stays_that_colour_up_to_the_last_bit(kernel, blend, fov):
    """No halo of the black at rims, seams or ±180°, and none of a view that fills its picture."""
    third = Camera("up", UCM.create(20.0, 0.5, 40, 30), rotation.from_degrees(0, 90), ORIGIN)
    cameras = (*two_lenses(fov=fov), third)
    pictures = [np.zeros((c.lens.height, c.lens.width, 3), np.uint8) for c in cameras]
    for picture, camera in zip(pictures, cameras, strict=True):
        picture[camera.mask().numpy()] = (201, 17, 96)
    made = FramePlan.for_cameras(cameras, H, W, kernel=kernel, blend=blend)(pictures)
    assert (made == np.array([201, 17, 96])).all()


def test_the_back_wraps_round():
    cameras = two_lenses()
    panorama = scene()
    rolled = torch.roll(panorama, panorama.shape[-1] // 2, dims=-1)
    plan = FramePlan.for_cameras(cameras, H, W, kernel="bicubic")
    here, there = plan(shot(cameras, panorama)), plan(shot(cameras, rolled))
    assert psnr(np.roll(here, W // 2, axis=1), there) > 55


@pytest.mark.parametrize("blend", BLENDS)
def test_views_of_different_sizes(blend):
    big, small = two_lenses(96), two_lenses(64)
    cameras = (big[0], small[1])
    pictures = shot(cameras, scene())
    plan = FramePlan.for_cameras(cameras, H, W, kernel="bilinear", blend=blend)
    assert psnr(plan(pictures), in_float(pictures, cameras, "bilinear", blend)) > 44


@pytest.mark.parametrize("blend", BLENDS)
def test_planes_are_the_channels_of_the_interleaved_picture(blend):
    cameras = two_lenses()
    pictures = shot(cameras, scene())
    plan = FramePlan.for_cameras(cameras, H, W, blend=blend)
    planes = [plan([np.ascontiguousarray(p[..., c]) for p in pictures]) for c in range(3)]
    np.testing.assert_allclose(np.stack(planes, -1), plan(pictures), atol=1)


@pytest.mark.parametrize("blend", BLENDS)
def test_gains_by_table_are_gains_by_float(blend):
    cameras = two_lenses()
    # Clipped ones are another test's.
    pictures = [picture.clip(2, 253) for picture in shot(cameras, scene())]
    gain = torch.tensor([[0.8, 1.0, 1.2], [1.1, 0.9, 1.0]], dtype=torch.float64)
    offset = torch.tensor([[0.1, 0.0, -0.1], [0.0, 0.05, 0.0]], dtype=torch.float64)
    before = [
        np.rint((p * g.numpy() + 255 * o.numpy()).clip(0, 255)).astype(np.uint8)
        for p, g, o in zip(pictures, gain, offset, strict=True)
    ]
    plan = FramePlan.for_cameras(cameras, H, W, kernel="bicubic", blend=blend)
    kept = [picture.copy() for picture in pictures]
    np.testing.assert_array_equal(plan(pictures, gain, offset), plan(before))
    np.testing.assert_array_equal(plan(pictures, gain), plan(pictures, gain, 0 * offset))
    for picture, copy in zip(pictures, kept, strict=True):
        np.testing.assert_array_equal(picture, copy)
    one = plan([p[..., 0].copy() for p in pictures], gain[:, :1], offset[:, :1])
    np.testing.assert_allclose(one, plan(before)[..., 0], atol=1)


def test_a_fine_view_is_shrunk_and_does_not_alias():
    """A checkerboard of single pixels, four times as fine as the panorama, is grey."""
    cameras = two_lenses(256)
    board = np.indices((256, 256)).sum(0) % 2 * 255
    picture = np.repeat(board[..., None], 3, axis=2).astype(np.uint8)
    plan = FramePlan.for_cameras(cameras, H, W)
    assert [source.shrink for source in plan.sources] == [4, 4]
    made = plan([picture, picture])
    assert abs(made.astype(int) - 127.5).max() < 12
    pictures = shot(cameras, scene(detail=12))
    truth = to_uint8(F.avg_pool2d(scene(detail=12), 2)[0]).permute(1, 2, 0).numpy()
    away = slice(H // 8, -H // 8)  # from the poles, where the scene is not smooth
    assert psnr(plan(pictures)[away], truth[away]) > 38


@pytest.mark.parametrize("blend", BLENDS)
def test_unseen_directions_are_flagged_and_filled_smoothly(blend):
    camera = two_lenses(fov=170)[0]
    picture = np.full((64, 64, 3), (10, 120, 230), np.uint8)
    plan = FramePlan.for_cameras([camera], H, W, blend=blend)
    assert set(np.unique(plan.count)) == {0, 1}
    made = plan([picture])
    assert (made == np.array([10, 120, 230])).all()
    assert plan([picture[..., 1].copy()]).tolist() == made[..., 1].tolist()
    picture = shot([camera], scene(detail=12))
    made = plan(picture).astype(int)
    expected = in_float(picture, [camera], "lanczos", blend)
    assert psnr(made, expected) > 40
    assert abs(np.diff(np.roll(made, W // 2, axis=1), axis=1))[:, W // 2 - 8 : W // 2 + 8].max() < 9


def test_a_large_panorama_is_filled_from_a_smaller_one():
    camera = two_lenses(fov=170)[0]
    size = (512, 1024)
    pictures = shot([camera], scene(detail=12))
    made = FramePlan.for_cameras([camera], *size, kernel="bicubic")(pictures).astype(int)
    expected = stitch(floats(pictures), [camera], *size, kernel="bicubic").panorama
    expected = to_uint8(expected[0]).permute(1, 2, 0).numpy()
    assert psnr(made, expected) > 40
    back = np.roll(made, 512, axis=1)[:, 256:-256]
    assert abs(np.diff(back, axis=1)).max() < 9


def test_where_nothing_is_seen_at_all_is_grey():
    nothing = replace(two_lenses()[0], visible=torch.zeros(64, 64, dtype=torch.bool))
    made = FramePlan.for_cameras([nothing], H, W)([np.zeros((64, 64, 3), np.uint8)])
    assert set(np.unique(made)) <= {127, 128}


def test_a_view_that_sees_nothing_counts_for_nothing():
    front, back = two_lenses()
    nothing = replace(front, visible=torch.zeros(64, 64, dtype=torch.bool))
    pictures = shot((front, back), scene())
    plan = FramePlan.for_cameras((front, back, nothing), H, W)
    without = FramePlan.for_cameras((front, back), H, W)
    np.testing.assert_array_equal(plan([*pictures, pictures[0]]), without(pictures))


def in_one_file(side: int, fov: float) -> tuple[Rig, list[Camera]]:
    """A rig whose two views lie side by side in one file, the back one first."""
    cameras = two_lenses(side, fov)
    crops = [Crop(0, left, 0, side, side, 2 * side, side) for left in (side, 0)]
    placed = [replace(c, crop=crop) for c, crop in zip(cameras, crops, strict=True)]
    return Rig(tuple(placed)), list(cameras)


@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("blend", BLENDS)
@pytest.mark.parametrize("fov", [180, 200])
def test_two_views_in_one_file(kernel, blend, fov):
    rig, alone = in_one_file(64, fov)
    front, back = shot(alone, scene())
    file = np.concatenate((back, front), axis=1)
    how = {"kernel": kernel, "blend": blend}
    plan = FramePlan.for_files(rig.cameras, [0, 0], [(128, 64)], H, W, **how)
    apart = FramePlan.for_cameras(alone, H, W, **how)
    gain = torch.tensor([[0.9, 1.0, 1.1], [1.2, 1.0, 0.8]], dtype=torch.float64)
    kept = file.copy()
    np.testing.assert_allclose(plan([file]), apart([front, back]), atol=1)
    # Places in a file are larger numbers and have fewer digits after the point.
    np.testing.assert_allclose(plan([file], gain), apart([front, back], gain), atol=1)
    np.testing.assert_array_equal(file, kept)


def test_an_unblended_file_is_one_map_unless_its_rims_are_read():
    rig, _ = in_one_file(64, 200)
    plan = FramePlan.for_files(
        rig.cameras, [0, 0], [(128, 64)], H, W, kernel="bilinear", blend="none"
    )
    assert len(plan.sources) == 1 and plan.sources[0].is_plain
    assert all(len(tile.patches) == 1 for tile in plan.tiles)
    rig, _ = in_one_file(64, 180)
    plan = FramePlan.for_files(
        rig.cameras, [0, 0], [(128, 64)], H, W, kernel="bilinear", blend="none"
    )
    assert len(plan.sources) == 2 and not plan.sources[0].is_plain


def test_a_file_of_another_size_than_the_calibration():
    rig, _ = in_one_file(128, 190)
    smaller = two_lenses(64)
    front, back = shot(smaller, scene())
    plan = FramePlan.for_files(rig.cameras, [0, 0], [(128, 64)], H, W)
    apart = FramePlan.for_cameras(smaller, H, W)
    file = np.concatenate((back, front), axis=1)
    assert psnr(plan([file]), apart([front, back])) > 55


@pytest.mark.parametrize("blend", BLENDS)
def test_a_view_that_reaches_over_the_edges_of_its_file(blend):
    """As a lens that is not quite in the middle of a sensor does."""
    front, back = two_lenses()
    pictures = shot((front, back), scene())
    cut = pictures[0][3:, :-2]
    placed = replace(front, crop=Crop(0, 0, -3, 64, 64, 62, 61))
    rigs = [placed, replace(back, crop=None)]
    plan = FramePlan.for_files(rigs, [0, 1], [(62, 61), (64, 64)], H, W, blend=blend)
    hidden = torch.ones(64, 64, dtype=torch.bool)
    hidden[:3], hidden[:, -2:] = False, False
    whole = FramePlan.for_cameras((replace(front, visible=hidden), back), H, W, blend=blend)
    np.testing.assert_array_equal(plan.count, whole.count)
    assert 0 < (plan.count == 1).mean() < 1
    made = plan([np.ascontiguousarray(cut), pictures[1]])
    np.testing.assert_allclose(made, whole(pictures), atol=1)


def test_bad_input_is_an_error_that_says_what_was_expected():
    cameras = two_lenses()
    plan = FramePlan.for_cameras(cameras, H, W)
    good = np.zeros((64, 64, 3), np.uint8)
    with pytest.raises(SpiderEyeError, match="expected 2 pictures, got 1"):
        plan([good])
    for bad in (good[:60], good[..., 0], good.astype(np.int32), np.zeros((64, 64, 4), np.uint8)):
        with pytest.raises(SpiderEyeError, match=r"picture 1 .*\[64, 64, 3\]"):
            plan([good, bad])
    with pytest.raises(SpiderEyeError, match=r"\[2, 3\].*\[1, 3\]"):
        plan([good, good], torch.ones(1, 3, dtype=torch.float64))
    huge = Camera("huge", UCM.create(9e3, 0.9, 40000, 8), rotation.from_degrees(0, 0), ORIGIN)
    with pytest.raises(SpiderEyeError, match="huge is 40000x8 pixels"):
        FramePlan.for_cameras([huge], 1024, 2048)


def test_more_views_than_eight_bits_count_are_255():
    front, _ = two_lenses(side=8)
    cameras = [replace(front, name=f"{number}") for number in range(257)]
    _, count = shares_of(cameras, 4, 8, (4, 8), math.inf, False)
    assert count.max() == 255 and set(np.unique(count)) == {0, 255}
    assert in_eight_bits(torch.tensor([[0, 255, 256, 300]])).tolist() == [[0, 255, 255, 255]]
