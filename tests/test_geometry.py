"""Lens, panorama mapping and frames, against OpenCV and against cases a person can check."""

import math

import cv2
import numpy as np
import pytest
import torch

from spidereye import rotation
from spidereye.errors import SpiderEyeError
from spidereye.lenses.ucm import UCM, alpha_from_xi, focal_for_half_angle, xi_from_alpha
from spidereye.panorama import (
    latitude_weights,
    pad_sphere,
    panorama_pixels,
    panorama_rays,
    sample_panorama,
)

XIS = [0.0, 0.3, 0.85, 1.0, 1.19, 1.7, 2.5]


def directions(count: int = 4000, seed: int = 0) -> torch.Tensor:
    rays = torch.randn(count, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return rays / rays.norm(dim=-1, keepdim=True)


@pytest.mark.parametrize("xi", XIS)
def test_projection_equals_opencv_omnidir(xi):
    lens = UCM.create(f=231.7, xi=xi, width=640, height=480, cx=310.25, cy=251.5)
    rays = directions()
    pixels, valid = lens.project(rays)
    # Keep clear of the pole of the projection, where pixels of 1e9 have no ninth decimal.
    depth = rays[:, 2] + xi
    valid = valid & (depth > 0.02)
    assert valid.sum() > 500
    opencv_rays = (rays[valid] * torch.tensor([1.0, -1.0, 1.0])).numpy()
    matrix = np.array([[231.7, 0, 310.25], [0, 231.7, 251.5], [0, 0, 1.0]])
    zero = np.zeros(3)
    expected, _ = cv2.omnidir.projectPoints(
        opencv_rays[:, None], zero, zero, matrix, xi, np.zeros((1, 4))
    )
    np.testing.assert_allclose(pixels[valid].numpy(), expected[:, 0], rtol=1e-13, atol=1e-9)


@pytest.mark.parametrize("xi", XIS)
def test_round_trip_inside_the_valid_domain(xi):
    lens = UCM.create(f=90.0, xi=xi, width=256)
    grid = torch.rand(3000, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    pixels = grid * 256 - 0.5
    rays, ok = lens.unproject(pixels)
    assert ok.sum() > 150
    assert torch.allclose(rays.norm(dim=-1), torch.ones(3000, dtype=torch.float64), atol=1e-12)
    back, seen = lens.project(rays[ok])
    inside = lens.unproject(pixels)[1][ok]
    # On the very limit of ξ > 1 rounding may land on either side.
    r2 = (((pixels[ok] - 127.5) / 90.0) ** 2).sum(-1)
    clear = (xi <= 1) | (r2 < 0.999 / max(xi * xi - 1, 1e-9))
    assert bool(seen[clear & inside].all())
    assert torch.allclose(back[clear], pixels[ok][clear], atol=1e-9)


@pytest.mark.parametrize("xi", XIS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_nan_anywhere(xi, dtype):
    lens = UCM.create(f=30.0, xi=xi, width=128).to(dtype=dtype)
    special = torch.tensor([[0, 0, -1.0], [0, 0, 1], [0, 0, 0], [1, 0, -xi], [1e-9, 0, -1]])
    rays = torch.cat((directions(), special)).to(dtype).requires_grad_()
    pixels, valid = lens.project(rays)
    assert torch.isfinite(pixels).all()
    pixels[valid].sum().backward()
    assert rays.grad is not None and torch.isfinite(rays.grad).all()
    everywhere = (torch.rand(4000, 2, dtype=dtype) * 4000 - 2000).requires_grad_()
    back, _ = lens.unproject(everywhere)
    assert torch.isfinite(back).all()
    back.sum().backward()
    assert everywhere.grad is not None and torch.isfinite(everywhere.grad).all()


def test_resizing_a_lens_keeps_every_ray():
    lens = UCM.create(f=220.0, xi=0.85, width=560, cx=270.0, cy=283.0)
    small = lens.resized(128, 128)
    assert float(small.f) == pytest.approx(50.2857142857)
    pixels = torch.rand(50, 2, dtype=torch.float64) * 560 - 0.5
    rays, _ = lens.unproject(pixels)
    shrunk, _ = small.unproject((pixels + 0.5) * 128 / 560 - 0.5)
    assert torch.allclose(rays, shrunk, atol=1e-12)
    squeezed, _ = lens.resized(128, 100).unproject(
        (pixels + 0.5) * torch.tensor([128, 100]) / 560 - 0.5
    )
    assert torch.allclose(rays, squeezed, atol=1e-12)


def test_focal_length_and_alpha_form():
    # The documented lens at the width it fits: f=220 at 560 px, i.e. 50.29 at 128 px, is 187.6°.
    f = focal_for_half_angle(math.radians(187.6 / 2), 0.85, 64)
    assert f == pytest.approx(50.29, abs=0.05)
    rays, _ = UCM.create(f, 0.85, 128).unproject(torch.tensor([[127.5, 63.5]], dtype=torch.float64))
    assert math.degrees(math.acos(float(rays[0, 2]))) == pytest.approx(93.8, abs=1e-9)
    assert xi_from_alpha(*alpha_from_xi(0.85, 220.0)) == pytest.approx((0.85, 220.0))
    with pytest.raises(SpiderEyeError, match="half angles up to"):
        focal_for_half_angle(math.radians(170), 0.3, 64)
    with pytest.raises(SpiderEyeError, match="f > 0"):
        UCM.create(-1, 0.85, 128)


def test_signs_of_yaw_pitch_and_roll():
    forward, up, right = torch.eye(3, dtype=torch.float64)[[2, 1, 0]]
    assert torch.allclose(rotation.from_degrees(90, 0, 0) @ forward, right, atol=1e-15)
    assert torch.allclose(rotation.from_degrees(0, 90, 0) @ forward, up, atol=1e-15)
    # Turned clockwise, the camera's up points to the world's right.
    assert torch.allclose(rotation.from_degrees(0, 0, 90) @ up, right, atol=1e-15)
    combined = rotation.from_degrees(30, 20, 10)
    parts = (
        rotation.from_degrees(30) @ rotation.from_degrees(0, 20) @ rotation.from_degrees(0, 0, 10)
    )
    assert torch.allclose(combined, parts, atol=1e-15)
    assert torch.allclose(combined @ combined.T, torch.eye(3, dtype=torch.float64), atol=1e-15)


def test_conversion_from_right_handed_frames_is_its_own_inverse():
    opencv = torch.from_numpy(cv2.Rodrigues(np.array([0.3, -0.2, 0.5]))[0])
    ours = rotation.convert_opencv(opencv)
    assert torch.allclose(rotation.convert_opencv(ours), opencv)
    flip = torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    ray = directions(1)[0]
    assert torch.allclose(ours @ ray, flip * (opencv @ (flip * ray)), atol=1e-15)


def test_panorama_pixels_and_rays_are_inverse_and_follow_the_convention():
    rays = panorama_rays(64, 128)
    assert torch.allclose(rays.norm(dim=-1), torch.ones(64, 128, dtype=torch.float64))
    pixels = panorama_pixels(rays, 64, 128)
    v, u = torch.meshgrid(torch.arange(64.0), torch.arange(128.0), indexing="ij")
    assert torch.allclose(pixels, torch.stack((u, v), -1).double(), atol=1e-10)
    named = torch.tensor([[0, 0, 1], [1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, -1, 0]]).double()
    where = panorama_pixels(named, 64, 128)
    assert torch.allclose(
        where[:3, 0], torch.tensor([63.5, 95.5, 31.5]).double()
    )  # front, right, left
    assert torch.allclose(where[:3, 1], torch.tensor([31.5] * 3).double())
    assert where[3, 1] == -0.5 and where[4, 1] == 63.5  # zenith on top, nadir at the bottom


def test_half_pixel_ramp():
    """A panorama that is linear in its column reads back its column, also between pixels."""
    width, height = 64, 32
    ramp = torch.arange(width, dtype=torch.float64).expand(1, 1, height, width)
    u = torch.linspace(0.25, width - 1.25, 50, dtype=torch.float64)
    longitude = ((u + 0.5) / width * 2 - 1) * math.pi
    rays = torch.stack((longitude.sin(), torch.zeros_like(u), longitude.cos()), -1)[None, None]
    assert torch.allclose(sample_panorama(ramp, rays)[0, 0, 0], u, atol=1e-10)


def test_sampling_wraps_in_longitude_and_crosses_the_poles():
    pano = torch.rand(1, 3, 16, 32, dtype=torch.float64)
    padded = pad_sphere(pano, 2)
    assert torch.equal(padded[0, :, 2:-2, 0], pano[0, :, :, -2])
    assert torch.equal(padded[0, :, 1, 2:-2], pano[0, :, 0].roll(16, -1))
    assert torch.equal(padded[0, :, 0, 2:-2], pano[0, :, 1].roll(16, -1))
    assert torch.equal(padded[0, :, -1, 2:-2], pano[0, :, -2].roll(16, -1))
    # Just left and right of ±180° the samples meet; so do both sides of a pole.
    for a, b in (
        ([1e-9, 0.1, -1], [-1e-9, 0.1, -1]),
        ([1e-9, 1, 2e-9], [-1e-9, 1, -2e-9]),
    ):
        rays = torch.tensor([[a, b]], dtype=torch.float64)[None]
        left, right = sample_panorama(pano, rays)[0, :, 0].T
        assert torch.allclose(left, right, atol=1e-6)


def test_latitude_weights_sum_to_the_sphere():
    weights = latitude_weights(512)
    solid_angle = weights.sum() * (math.pi / 512) * 2 * math.pi
    assert float(solid_angle) == pytest.approx(4 * math.pi, rel=1e-5)
