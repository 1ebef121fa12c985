"""From picture files to views: crops, other sizes, square windows, masks."""

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch

from spidereye import rotation
from spidereye.calibrations import read_calibration
from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.lenses import UCM
from spidereye.pictures import to_uint8
from spidereye.rig import Rig
from spidereye.rig_poses import direction_at
from spidereye.shots import files_of, present, read_shot, with_black
from spidereye.view_sampling import reproject

EYE = torch.eye(3, dtype=torch.float64)
ORIGIN = torch.zeros(3, dtype=torch.float64)


def camera(name: str, width: int = 64, height: int = 48, **more) -> Camera:
    lens = UCM.create(20.0, 0.9, width, height, cx=30.0, cy=25.0)
    return Camera(name, lens, EYE, ORIGIN, **{"circle": 22.0} | more)


def position_picture(width: int, height: int) -> np.ndarray:
    """Red is the column, green the row, as fractions of the picture."""
    rows, columns = np.mgrid[:height, :width]
    blue = np.full((height, width), 200.0)
    channels = (255 * (columns + 0.5) / width, 255 * (rows + 0.5) / height, blue)
    return np.rint(np.stack(channels, axis=-1)).astype(np.uint8)


def fractions(view: torch.Tensor) -> torch.Tensor:
    """[h, w, 2]: the columns and rows that a view of a position_picture shows, as fractions."""
    return ((view[0, :2] + 1) / 2).permute(1, 2, 0)


@pytest.mark.parametrize("factor", [0.5, 1, 3])
def test_a_lens_fits_files_of_any_size(factor):
    """The pixel that shows a ray shows the same part of the picture, whatever the file's size."""
    rays = torch.tensor([[0.2, -0.1, 0.9], [-0.5, 0.3, 0.4]], dtype=torch.float64)
    size = round(64 * factor), round(48 * factor)
    shot = read_shot([position_picture(*size)], Rig((camera("a"),)))
    assert shot.views[0].shape == (1, 3, size[1], size[0])
    pixels, valid = shot.rig.cameras[0].project(rays)
    assert bool(valid.all())
    seen = (pixels + 0.5) / torch.tensor(size)
    expected = (camera("a").project(rays)[0] + 0.5) / torch.tensor([64, 48])
    assert torch.allclose(seen, expected, atol=1e-12)


def test_two_views_of_one_file_are_cut_from_it_at_any_size():
    """A dual-fisheye file: the same rays show the same places of the file at every file size."""
    lens = UCM.create(20.0, 0.9, 64, 64)
    crops = [Crop(0, left, 3, 64, 64, 150, 70) for left in (5, 80)]
    back = rotation.from_degrees(180)
    cameras = (
        Camera("front", lens, EYE, ORIGIN, 32.0, crop=crops[0]),
        Camera("back", lens, back, ORIGIN, 32.0, crop=crops[1]),
    )
    for file_width, file_height in ((150, 70), (300, 140), (101, 47)):
        shot = read_shot([position_picture(file_width, file_height)], Rig(cameras))
        for original, view, cut in zip(cameras, shot.views, shot.rig.cameras, strict=True):
            ray = original.axis[None]
            (u, v), valid = cut.project(ray)[0][0], cut.project(ray)[1]
            assert bool(valid.all())
            at = fractions(view)[round(float(v)), round(float(u))]
            assert original.crop is not None
            expected = torch.tensor(
                [(original.crop.left + 32) / 150, (original.crop.top + 32) / 70]
            )
            assert float((at - expected).abs().max()) < 1.01 / file_height


@pytest.mark.parametrize("factor", [0.5, 1, 2])
def test_a_lens_may_be_calibrated_at_another_size_than_its_crop(factor):
    """The lens's picture is half as large as what the crop says of its file."""
    lens = UCM.create(20.0, 0.9, 64, 64)
    crop = Crop(0, 128, 0, 128, 128, 256, 128)
    whole = Camera("back", lens, EYE, ORIGIN, 32.0, crop=crop)
    size = round(256 * factor), round(128 * factor)
    cut, part = whole.in_file(*size)
    assert part == (size[0] // 2, 0, size[0] // 2, size[1])
    alone = replace(whole, crop=None).resized(size[0] // 2, size[1])
    assert float(cut.lens.f) == pytest.approx(float(alone.lens.f))
    torch.testing.assert_close(cut.lens.centre, alone.lens.centre)
    assert cut.circle == pytest.approx(alone.circle)
    assert torch.equal(cut.mask(), alone.mask())
    rig = Rig((whole,))
    middle = direction_at(rig, "back", 128 + 63.5, 63.5)
    assert torch.allclose(middle, whole.axis, atol=1e-12)


def test_a_mask_is_resized_where_rounding_changes_one_side_alone():
    shown = torch.ones(481, 640, dtype=torch.bool)
    shown[:100] = False
    masked = camera("a", 640, 481, visible=shown, circle=200.0)
    other = masked.resized(640, 480)
    assert other.visible is not None and other.visible.shape == (480, 640)
    assert not other.visible[:99].any() and other.visible[101:].all()


def test_a_squared_rig_has_no_crops_left():
    """Of a crop that is square already the place in the file stayed, at the size before."""
    lens = UCM.create(20.0, 0.9, 64, 64)
    crop = Crop(0, 64, 0, 64, 64, 128, 64)
    rig = Rig((Camera("back", lens, EYE, ORIGIN, 32.0, crop=crop),))
    squared = rig.squared(16).cameras[0]
    assert squared.crop is None and squared.lens.width == 16


def test_square_views_keep_every_ray_and_black_out_what_the_file_does_not_hold():
    whole = Rig((camera("a", circle=math.inf),))
    shot = read_shot([position_picture(64, 48)], whole).squared(80)
    square = shot.rig.cameras[0]
    assert (square.lens.width, square.lens.height) == (80, 80)
    mask = square.mask()
    assert 0.4 < float(mask.float().mean()) < 0.7  # 64 x 48 of the square about (30, 25)
    assert bool((shot.views[0][0][:, ~mask] == -1).all())
    rays = torch.tensor([[0.3, 0.2, 0.8], [-0.4, -0.3, 0.7]], dtype=torch.float64)
    pixels, valid = square.project(rays)
    assert bool(valid.all())
    expected = (camera("a").project(rays)[0] + 0.5) / torch.tensor([64, 48])
    for (u, v), place in zip(pixels.round().long().tolist(), expected, strict=True):
        assert float((fractions(shot.views[0])[v, u] - place).abs().max()) < 0.02


def test_a_mask_hides_pixels_at_every_size():
    visible = torch.ones(48, 64, dtype=torch.bool)
    visible[30:] = False
    for factor in (1, 2):
        size = 64 * factor, 48 * factor
        shot = read_shot([position_picture(*size)], Rig((camera("a", visible=visible),)))
        cut = shot.rig.cameras[0]
        assert not bool(cut.mask()[30 * factor :].any())
        assert bool(cut.mask()[25 * factor, 30 * factor])
        hidden = torch.tensor([[0.0, -0.7, 0.7]], dtype=torch.float64)
        assert not bool(cut.project(hidden)[1].any())


def test_files_count_crops_once():
    crop = Crop(0, 0, 0, 64, 48, 128, 48)
    views = (camera("left", crop=crop), camera("right", crop=crop), camera("up"))
    assert files_of(Rig(views)) == [0, 0, 1]
    with pytest.raises(SpiderEyeError, match=r"expected 2 pictures, left\+right, up in this order"):
        read_shot([position_picture(64, 48)], Rig(views))


def test_pictures_in_another_order_than_the_rig_are_refused():
    rig = Rig((camera("front"), camera("right", 32, 32)))
    with pytest.raises(SpiderEyeError, match="front, right are 64x48, 32x32, got 32x32, 64x48"):
        read_shot([position_picture(32, 32), position_picture(64, 48)], rig)


def test_wrong_shapes_are_explained():
    rig = Rig((camera("front"),))
    with pytest.raises(SpiderEyeError, match=r"front is 64x48.*cannot be 64x64.*aspect ratio"):
        read_shot([position_picture(64, 64)], rig)
    with pytest.raises(SpiderEyeError, match=r"expected an array \[h, w, 3\] of uint8"):
        read_shot([np.zeros((48, 64), np.uint8)], rig)


@pytest.mark.parametrize("name", ["front", "right", "back", "left"])
def test_a_car_photograph_is_undistorted_as_opencv_does_it(shared, name):
    """The calibration through our importer and lens, against OpenCV's own fisheye undistortion."""
    folder = shared / "fisheye" / "car_4cam"
    path = folder / "yaml" / f"{name}.yaml"
    rig = read_calibration([path]).rig
    photograph = cv2.imread(str(folder / "images" / f"{name}.png"))[..., ::-1]
    shot = read_shot([np.ascontiguousarray(photograph)], rig)
    perspective = UCM.create(250.0, 0.0, 600, 400)
    seen_from = Camera("perspective", perspective, rig.cameras[0].rotation, ORIGIN)
    ours, seen = reproject(shot.views[0], shot.rig.cameras[0], seen_from, "bilinear")

    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
    matrix, distortion = (storage.getNode(k).mat() for k in ("camera_matrix", "dist_coeffs"))
    new = np.array([[250.0, 0, 299.5], [0, 250.0, 199.5], [0, 0, 1]])
    maps = cv2.fisheye.initUndistortRectifyMap(
        matrix, distortion, np.eye(3), new, (600, 400), cv2.CV_32FC1
    )
    expected = cv2.remap(photograph, maps[0], maps[1], cv2.INTER_LINEAR)
    difference = to_uint8(ours[0]).permute(1, 2, 0).numpy().astype(int) - expected
    # OpenCV keeps 1/32 of a pixel when it interpolates.
    assert float(seen.float().mean()) > 0.9
    assert np.abs(difference)[seen.numpy()].mean() < 1


def test_what_is_missing_leaves_the_numbers_of_the_files_right():
    """Four views in three files, two of them crops of the second."""
    crops = [Crop(1, left, 0, 64, 48, 128, 48) for left in (0, 64)]
    rig = Rig(
        (
            camera("right", crop=crops[1]),
            camera("up"),
            camera("left", crop=crops[0]),
            camera("down"),
        )
    )
    assert files_of(rig) == [1, 0, 1, 2]
    pair = np.concatenate([np.full((48, 64, 3), level, np.uint8) for level in (50, 100)], axis=1)
    pictures = [np.full((48, 64, 3), 200, np.uint8), pair, np.full((48, 64, 3), 250, np.uint8)]
    levels = {"right": 100, "up": 200, "left": 50, "down": 250}
    for lost, names in ((0, "right left down"), (1, "up down"), (2, "right up left")):
        given = [None if number == lost else picture for number, picture in enumerate(pictures)]
        there, seeing = present(given, rig)
        assert seeing.names == tuple(names.split()) and len(there) == 2
        shot = read_shot(there, seeing)
        for number, name in enumerate(seeing.names):
            assert int(np.median(shot.part(number))) == levels[name]
        whole = read_shot(with_black(given, rig), rig)
        assert [rig.names[number] for number in whole.black] == [
            name for name in rig.names if name not in seeing.names
        ]
    assert present(pictures, rig)[1] is rig
    with pytest.raises(SpiderEyeError, match="every picture of the shot is missing: give at least"):
        present([None] * 3, rig)
    with pytest.raises(
        SpiderEyeError, match=r"expected 3 pictures, up, right\+left, down .* got 2"
    ):
        present([None, pair], rig)


def test_black_is_what_is_black_where_it_is_picture():
    """Neither what the mask hides nor a dark scene counts."""
    visible = torch.ones(48, 64, dtype=torch.bool)
    visible[30:] = False
    rig = Rig((camera("a", visible=visible),))
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[30:] = 255
    assert read_shot([picture], rig).black == (0,)
    picture[:30] = 3
    assert read_shot([picture], rig).black == (0,)
    picture[23, 31] = 4  # one pixel, between those of a first glance at a larger picture
    assert read_shot([picture], rig).black == ()
    large = cv2.resize(picture, (640, 480), interpolation=cv2.INTER_NEAREST)
    assert read_shot([large], rig).black == ()
