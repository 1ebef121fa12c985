"""Lenses against OpenCV, and against their papers' formulas written down once more."""

import math

import cv2
import numpy as np
import pytest
import torch

from spidereye.lenses import OCam, lens_of, plane_of
from spidereye.lenses.ucm import alpha_from_xi

PLANE = plane_of(1280, 960, fx=412.3, fy=409.8, cx=641.7, cy=472.2, skew=1.9)
K = np.array([[412.3, 1.9, 641.7], [0, 409.8, 472.2], [0, 0, 1]])


def directions(widest: float, count: int = 4000) -> torch.Tensor:
    """Unit rays in our axes, up to `widest` degrees from the axis: float64 [count, 3]."""
    random = np.random.default_rng(0)
    angle = np.radians(widest) * np.sqrt(random.random(count))
    azimuth = 2 * np.pi * random.random(count)
    side = np.sin(angle)
    return torch.from_numpy(
        np.stack((side * np.cos(azimuth), side * np.sin(azimuth), np.cos(angle)), axis=-1)
    )


def opencv_points(rays: torch.Tensor) -> np.ndarray:
    """Our rays in OpenCV's axes, y down, as the 1 x n x 3 that its functions take."""
    return (rays.numpy() * [1, -1, 1])[None]


NO_POSE = np.zeros((3, 1)), np.zeros((3, 1))


@pytest.mark.parametrize(
    "k", [(0.0, 0.0, 0.0, 0.0), (-0.0133, 0.0107, -0.0091, 0.0019), (0.05, -0.01, 0.003, -0.0005)]
)
def test_kb4_is_opencvs_fisheye(k):
    lens = lens_of("kb4", PLANE, {"k": list(k)})
    rays = directions(85)  # OpenCV divides by z: less than 90° only
    square = K.copy()
    square[0, 1] = 0  # there skew is alpha·fx
    expected, _ = cv2.fisheye.projectPoints(
        opencv_points(rays), *NO_POSE, square, np.array(k), alpha=1.9 / 412.3
    )
    pixels, valid = lens.project(rays)
    assert valid.all()
    np.testing.assert_allclose(pixels.numpy(), expected[0], rtol=0, atol=1e-9)

    # Its undistortPoints cuts r off at π/2.
    rays = rays[(pixels - lens.centre).norm(dim=-1) < 1.5 * 409]
    plain = lens_of("kb4", PLANE | {"matrix": torch.from_numpy(square[:2, :2])}, {"k": list(k)})
    pixels, _ = plain.project(rays)
    criteria = (cv2.TERM_CRITERIA_COUNT + cv2.TERM_CRITERIA_EPS, 100, 1e-15)
    planar = cv2.fisheye.undistortPoints(
        pixels.numpy()[None], square, np.array(k), criteria=criteria
    )[0]
    back, _ = plain.unproject(pixels)
    ours = (back[:, :2] / back[:, 2:]).numpy() * [1, -1]
    np.testing.assert_allclose(ours, planar, rtol=1e-9, atol=1e-9)


def test_kb4_beyond_90_degrees_follows_its_polynomial():
    k = (-0.0133, 0.0107, -0.0091, 0.0019)
    lens = lens_of("kb4", plane_of(1280, fx=300.0), {"k": list(k)})
    for degrees in (91.0, 110.0, 150.0):
        theta = math.radians(degrees)
        radius = theta + sum(c * theta ** (2 * n + 3) for n, c in enumerate(k))
        ray = torch.tensor([0.0, math.sin(theta), math.cos(theta)], dtype=torch.float64)
        pixel, valid = lens.project(ray)
        assert valid
        assert pixel.tolist() == pytest.approx([639.5, 639.5 - 300 * radius], abs=1e-9)


@pytest.mark.parametrize("xi", [0.0, 0.85, 1.0, 1.6])
@pytest.mark.parametrize(
    ("k", "p"), [((0.0, 0.0), (0.0, 0.0)), ((-0.21, 0.043), (0.0021, -0.0013))]
)
def test_mei_is_opencvs_omnidir(xi, k, p):
    lens = lens_of("mei", PLANE, {"xi": xi, "k": list(k), "p": list(p)})
    widest = {0.0: 50, 0.85: 95, 1.0: 100, 1.6: 110}[xi]
    rays = directions(widest)
    pixels, valid = lens.project(rays)
    assert valid.all()
    expected, _ = cv2.omnidir.projectPoints(
        opencv_points(rays), *NO_POSE, K, xi, np.array([*k, *p])
    )
    np.testing.assert_allclose(pixels.numpy(), expected[0], rtol=0, atol=1e-9)

    # Its undistortPoints stops after 20 fixed-point steps: rays nearer to the axis only, where
    # these have converged. It gives planar points, for rays before the camera.
    near = directions(35)
    pixels, _ = lens.project(near)
    planar = cv2.omnidir.undistortPoints(
        pixels.numpy()[None], K, np.array([*k, *p]), np.array([xi]), np.eye(3)
    )[0]
    back, _ = lens.unproject(pixels)
    ours = (back[:, :2] / back[:, 2:]).numpy() * [1, -1]
    np.testing.assert_allclose(ours, planar, rtol=0, atol=1e-9)


def test_mei_sees_up_to_where_its_distortion_folds():
    """k₁ = -0.25 alone: r + k₁r³ has its maximum at r = 1/√(-3k₁) = 1.1547."""
    lens = lens_of("mei", plane_of(400, fx=100.0), {"xi": 1.0, "k": [-0.25, 0.0], "p": [0.0, 0.0]})
    limit = 2 * math.atan(1 / math.sqrt(0.75))  # ξ = 1: r = tan(θ/2)
    angles = torch.tensor([limit - 1e-6, limit + 1e-6], dtype=torch.float64)
    rays = torch.stack((angles.sin(), torch.zeros(2, dtype=torch.float64), angles.cos()), dim=-1)
    assert lens.project(rays)[1].tolist() == [True, False]
    rim = 100 * (2 / 3) / math.sqrt(0.75)
    pixels = torch.tensor([[rim - 1e-6, 0], [rim + 1e-6, 0]], dtype=torch.float64) + 199.5
    assert lens.unproject(pixels)[1].tolist() == [True, False]


@pytest.mark.parametrize("xi", [0.0, 0.6, 1.0, 1.9])
def test_special_cases_are_the_ucm(xi):
    alpha, f = alpha_from_xi(xi, 220.0)
    ucm = lens_of("ucm", plane_of(560, fx=220.0), {"xi": xi})
    plane = plane_of(560, fx=f)
    same = [
        lens_of("eucm", plane, {"alpha": alpha, "beta": 1.0}),
        lens_of("ds", plane, {"xi": 0.0, "alpha": alpha}),
        lens_of("mei", plane_of(560, fx=220.0), {"xi": xi, "k": [0.0] * 2, "p": [0.0] * 2}),
    ]
    rays = directions(180)
    pixels, seen = ucm.project(rays)
    grid = torch.cartesian_prod(*[torch.linspace(-100, 660, 77, dtype=torch.float64)] * 2)
    ucm_rays, valid = ucm.unproject(grid)
    for lens in same:
        got, got_seen = lens.project(rays)
        # Mei's plane ends at r = 100.
        inside = seen & ((pixels - ucm.centre).norm(dim=-1) < 22000)
        assert torch.equal(got_seen & inside, inside) and not (got_seen & ~seen).any()
        torch.testing.assert_close(got[inside], pixels[inside], rtol=1e-9, atol=1e-9)
        got, got_valid = lens.unproject(grid)
        assert torch.equal(got_valid, valid)
        torch.testing.assert_close(got[valid], ucm_rays[valid], rtol=0, atol=1e-9)


def test_eucm_follows_its_implicit_equation():
    """Khomutenko, Garcia & Martinet 2016: x = m·z' with β(X² + Y²) + Z² = d², on EuRoC-like
    numbers; a ray 100° from the axis by hand."""
    alpha, beta, theta = 0.6, 1.2, math.radians(100)
    x, z = math.sin(theta), math.cos(theta)
    expected = x / (alpha * math.sqrt(beta * x * x + z * z) + (1 - alpha) * z)
    lens = lens_of("eucm", plane_of(640, fx=200.0), {"alpha": alpha, "beta": beta})
    pixel, valid = lens.project(torch.tensor([x, 0.0, z], dtype=torch.float64))
    assert valid
    assert pixel.tolist() == pytest.approx([319.5 + 200 * expected, 319.5], abs=1e-9)


@pytest.mark.parametrize(("xi", "alpha"), [(-0.2, 0.58), (0.4, 0.7), (0.5, 0.3)])
def test_double_sphere_follows_its_construction(xi, alpha):
    """A ray of the unit sphere, seen from ξ behind its centre, on a UCM of the α form."""
    rays = directions(100)
    lens = lens_of("ds", plane_of(640, fx=200.0), {"xi": xi, "alpha": alpha})
    moved = rays + torch.tensor([0.0, 0.0, xi], dtype=torch.float64)
    mirror = alpha / (1 - alpha)
    ucm = lens_of("ucm", plane_of(640, fx=200.0 * (1 + mirror)), {"xi": mirror})
    expected, seen = ucm.project(moved)
    pixels, valid = lens.project(rays)
    assert torch.equal(valid, seen)
    torch.testing.assert_close(pixels[valid], expected[valid], rtol=0, atol=1e-9)


OCAM = {"row": 241.6, "column": 318.3, "c": 1.0007, "d": 2.1e-4, "e": -3.3e-4}
POLYNOMIAL = [-131.0, 0.0, 1.8e-3, 2.2e-6, 1.1e-9]


def test_ocam_pixels_to_rays_are_the_toolboxs():
    """cam2world in its own order (row, column) and axes: x down, y right, z backward."""
    lens = OCam.from_ocamcalib(POLYNOMIAL, **OCAM, width=640, height=480)
    affine = np.array([[OCAM["c"], OCAM["d"]], [OCAM["e"], 1.0]])
    for row, column in [(0, 0), (479, 639), (100.5, 401.25), (241.6, 318.3)]:
        down, right = np.linalg.solve(affine, [row - OCAM["row"], column - OCAM["column"]])
        backward = np.polyval(POLYNOMIAL[::-1], math.hypot(down, right))
        expected = np.array([right, -down, -backward]) / np.linalg.norm([right, down, backward])
        ray, valid = lens.unproject(torch.tensor([column, row], dtype=torch.float64))
        assert valid
        np.testing.assert_allclose(ray.numpy(), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("polynomial", [POLYNOMIAL, [-131.0, 0.0, 1.8e-3, -9e-6, 1.1e-9]])
def test_ocam_rays_to_pixels_are_roots_of_its_polynomial(polynomial):
    """world2cam: the smallest ρ > 0 with f(ρ) = -ρ·cot θ, if it lies before the angle's first
    maximum, which is the smallest root of a₂ρ² + 2a₃ρ³ + 3a₄ρ⁴ = a₀."""
    plane = plane_of(640, 480, fx=1.0)
    lens = lens_of("ocam", plane, {"polynomial": polynomial})
    roots = np.roots([(n - 1) * a for n, a in enumerate(polynomial)][::-1])
    folds = [r.real for r in roots if abs(r.imag) < 1e-9 and 0 < r.real < 13100]
    fold = min(folds, default=13100.0)
    angles = np.radians(np.arange(1, 180, 2.0))
    rays = np.stack((np.sin(angles), 0 * angles, np.cos(angles)), axis=-1)
    pixels, seen = lens.project(torch.from_numpy(rays))
    for theta, pixel, valid in zip(angles, pixels[:, 0].tolist(), seen.tolist(), strict=True):
        equation = np.array(polynomial)
        equation[1] += 1 / math.tan(theta)
        roots = np.polynomial.polynomial.polyroots(equation)
        found = [r.real for r in roots if abs(r.imag) < 1e-9 * abs(r) and 0 < r.real <= fold]
        assert valid == bool(found)
        if valid:
            assert pixel - 319.5 == pytest.approx(min(found), rel=1e-9)
