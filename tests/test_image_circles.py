"""Image circles, found where they were drawn and not found where there are none."""

import math

import cv2
import numpy as np
import pytest

from spidereye.image_circles import brightest, find_circles


def texture(width: int, height: int, seed: int) -> np.ndarray:
    """Something to photograph: coarse and fine structure, black and white, float [h, w]."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width), np.float32)
    for cells in (3, 8, 30, 90):
        coarse = rng.random((cells, cells), dtype=np.float32)
        picture += cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR) / 4
    low, high = np.percentile(picture, (5, 95))
    return ((picture - low) / (high - low)).clip(0, 1) * 255


def photograph(
    size, circle, seed=0, light=1.0, noise=2.0, blur=0.7, vignetting=0.5, surround=2.0, scene=None
) -> np.ndarray:
    """A fisheye picture [h, w, 3]. circle: (cx, cy, radius); its rim is smoothed by `blur` pixels;
    vignetting: what is lost at the rim; noise and surround: in 8-bit levels."""
    width, height = size
    cx, cy, radius = circle
    v, u = np.mgrid[:height, :width]
    distance = np.hypot(u - cx, v - cy)
    picture = texture(width, height, seed) if scene is None else scene
    picture = picture * light * (1 - vignetting * (distance / radius) ** 4).clip(0)
    inside = (radius - distance + 0.5).clip(0, 1)
    picture = surround + (picture - surround).clip(0) * inside
    picture = cv2.GaussianBlur(picture, (0, 0), blur)[..., None].repeat(3, axis=2)
    picture += np.random.default_rng(seed).normal(0, noise, picture.shape)
    return picture.round().clip(0, 255).astype(np.uint8)


def found(picture: np.ndarray):
    return find_circles(brightest(None, picture))


def assert_near(circle, truth, tolerance=1.0):
    got = (circle.cx, circle.cy, circle.radius)
    assert np.abs(np.subtract(got, truth)).max() < tolerance, f"{got} instead of {truth}"


CASES = {
    "centred": ((640, 640), (319.5, 319.5, 300.0), {}),
    "off the middle": ((800, 600), (371.3, 322.8, 231.6), {}),
    "touching the edges": ((256, 256), (127.5, 127.5, 128.0), {}),
    "cut above and below": ((900, 600), (455.2, 290.7, 381.4), {}),
    "only the corners are dark": ((900, 600), (447.1, 303.9, 490.2), {}),
    "cut on one side": ((640, 640), (250.4, 330.1, 290.3), {}),
    "small": ((128, 128), (64.2, 63.1, 55.0), {}),
    "large": ((2000, 2000), (990.3, 1011.7, 930.4), {"blur": 2.0}),
    "noisy": ((640, 640), (310.2, 325.5, 260.7), {"noise": 15.0}),
    "dark": ((640, 640), (310.2, 325.5, 280.7), {"light": 0.15}),
    "vignetting": ((640, 640), (310.2, 325.5, 280.7), {"vignetting": 0.7}),
    "soft rim in glare": ((640, 640), (310.2, 325.5, 280.7), {"blur": 4.0, "surround": 12.0}),
    "saturated": ((640, 640), (310.2, 325.5, 280.7), {"light": 4.0}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("seed", [0, 1])
def test_a_circle_is_found_to_a_pixel(name, seed):
    size, truth, how = CASES[name]
    circles = found(photograph(size, truth, seed, **how))
    assert len(circles) == 1
    assert_near(circles[0], truth)
    assert circles[0].support > 0.6
    assert abs(circles[0].squeeze - 1) < 0.01
    assert 0.97 * truth[2] - 1 < circles[0].clear < circles[0].radius


def test_a_sharp_rim_is_found_to_a_tenth_of_a_pixel():
    errors = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        truth = (*rng.uniform(225, 255, 2), rng.uniform(150, 220))
        (circle,) = found(photograph((480, 480), truth, seed))
        errors.append(np.subtract((circle.cx, circle.cy, circle.radius), truth))
    assert np.abs(errors).max() < 0.15


def test_half_of_the_scene_may_be_night():
    truth = (310.2, 325.5, 280.7)
    scene = texture(640, 640, 3)
    scene[:300] = 0
    (circle,) = found(photograph((640, 640), truth, scene=scene))
    assert_near(circle, truth)
    assert circle.support < 0.7


def test_several_shots_show_the_whole_rim():
    truth = (310.2, 325.5, 280.7)
    level, alone = None, []
    for seed, dark in enumerate((np.s_[:320], np.s_[320:])):
        scene = texture(640, 640, seed)
        scene[dark] = 0
        picture = photograph((640, 640), truth, seed, scene=scene)
        alone += [circle.support for circle in found(picture)]
        level = brightest(level, picture)
    (circle,) = find_circles(level)
    assert_near(circle, truth)
    assert circle.support > 0.9 > 0.7 > max(alone)


@pytest.mark.parametrize("upright", [False, True])
@pytest.mark.parametrize("radius", [190.4, 203.3])  # the second is cut by the file's edges
def test_two_lenses_in_one_file(upright, radius):
    first, second = (203.2, 198.7, radius), (605.8, 201.4, radius)
    size = (808, 400)
    picture = photograph(size, first, 0, noise=0) // 2 * 2
    picture = np.maximum(picture, photograph(size, second, 1, noise=2))
    if upright:
        picture = picture.transpose(1, 0, 2).copy()
        first, second = ((y, x, r) for x, y, r in (first, second))
    circles = found(picture)
    assert len(circles) == 2
    assert_near(circles[0], first)
    assert_near(circles[1], second)


def test_one_circle_in_a_wide_picture_is_one():
    truth = (410.3, 231.2, 215.0)
    (circle,) = found(photograph((854, 480), truth))
    assert_near(circle, truth)


def test_an_ellipse_is_noticed():
    picture = photograph((640, 640), (319.5, 319.5, 290.0))
    squeezed = cv2.resize(picture, (640, 621), interpolation=cv2.INTER_AREA)
    (circle,) = found(squeezed)
    assert circle.squeeze == pytest.approx(621 / 640, abs=0.005)


@pytest.mark.parametrize("vignetting", [0.0, 0.5, 0.8])
@pytest.mark.parametrize("seed", range(5))
def test_a_filled_picture_has_no_rim(seed, vignetting):
    far = math.hypot(400, 300)
    picture = photograph((800, 600), (399.5, 299.5, 1e4), seed)
    v, u = np.mgrid[:600, :800]
    loss = 1 - vignetting * (np.hypot(u - 399.5, v - 299.5) / far) ** 2
    assert found((picture * loss[..., None]).astype(np.uint8)) == []


@pytest.mark.parametrize("picture", ["black", "white", "noise", "disc", "tiny"])
def test_what_is_no_photograph_has_no_rim(picture):
    pictures = {
        "black": np.zeros((400, 400, 3), np.uint8),
        "white": np.full((400, 400, 3), 255, np.uint8),
        "noise": np.random.default_rng(0).integers(0, 9, (400, 400, 3)).astype(np.uint8),
        "disc": cv2.circle(np.full((400, 400, 3), 200, np.uint8), (200, 200), 120, (90,) * 3, -1),
        "tiny": np.full((3, 5, 3), 99, np.uint8),
    }
    assert found(pictures[picture]) == []


def test_surround_view_cameras_of_a_car(shared):
    """Rims that fade, glare around them, the car in the picture, height cut. Their calibrations
    have the axis at these columns; the circle's own middle need not be there, but is."""
    axes = {"front": 496.6, "back": 481.3, "left": 486.5, "right": 458.0}
    for name, axis in axes.items():
        picture = cv2.imread(str(shared / "fisheye" / "car_4cam" / "images" / f"{name}.png"))
        (circle,) = found(picture)
        assert abs(circle.cx - axis) < 5
        assert 440 < circle.radius < 480
