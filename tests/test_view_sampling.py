"""Views read between their pixels: exact where a kernel is, untouched by what is no picture."""

import math

import pytest
import torch
import torch.nn.functional as F

from spidereye.rig import spider4
from spidereye.view_sampling import KERNELS, Points, pyramid, sample


def points(pixels, level=0.0, sample_of=None):
    pixels = torch.as_tensor(pixels, dtype=torch.float64)
    return Points(pixels, sample_of, torch.full((len(pixels),), level, dtype=torch.float64))


def scattered(count: int, low: float, high: float) -> torch.Tensor:
    source = torch.Generator().manual_seed(3)
    return low + (high - low) * torch.rand(count, 2, generator=source, dtype=torch.float64)


@pytest.mark.parametrize("kernel", KERNELS)
def test_at_pixel_centres_every_kernel_gives_the_pixel(kernel):
    view = torch.rand(2, 3, 9, 12, dtype=torch.float64)
    v, u = torch.meshgrid(torch.arange(9), torch.arange(12), indexing="ij")
    made = sample([view], points(torch.stack((u, v), -1).reshape(-1, 2)), kernel)
    torch.testing.assert_close(made.unflatten(-1, (9, 12)), view, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kernel", KERNELS)
def test_constants_stay_constant_also_over_the_border(kernel):
    made = sample([torch.full((1, 3, 8, 8), 0.4)], points(scattered(200, -20, 30)), kernel)
    torch.testing.assert_close(made, torch.full_like(made, 0.4))


@pytest.mark.parametrize("kernel", ["bilinear", "bicubic"])
def test_bilinear_and_bicubic_are_those_of_pytorch(kernel):
    view = torch.rand(2, 3, 16, 20, dtype=torch.float64)
    pixels = scattered(300, -1, 21)
    made = sample([view], points(pixels), kernel)
    grid = 2 * (pixels + 0.5) / torch.tensor([20.0, 16.0]).double() - 1
    mode = {"bilinear": "bilinear", "bicubic": "bicubic"}[kernel]
    expected = F.grid_sample(
        view, grid.expand(2, 1, -1, 2), mode=mode, padding_mode="border", align_corners=False
    )[:, :, 0]
    inside = ((pixels > 2) & (pixels < torch.tensor([17, 13]))).all(-1)
    torch.testing.assert_close(made[..., inside], expected[..., inside], rtol=0, atol=1e-12)


def test_sharper_kernels_read_waves_better():
    """A wave of 5 pixels: bilinear flattens it, bicubic less, Lanczos least."""
    u = torch.arange(60, dtype=torch.float64)
    view = torch.sin(2 * math.pi * u / 5).expand(1, 1, 60, 60)
    pixels = scattered(2000, 10, 50)
    truth = torch.sin(2 * math.pi * pixels[:, 0] / 5)
    errors = [float((sample([view], points(pixels), k)[0, 0] - truth).norm()) for k in KERNELS]
    assert errors[0] > 2 * errors[1] > 2 * errors[2]


def test_points_of_single_pictures_equal_points_of_all():
    view = torch.rand(3, 3, 10, 10, dtype=torch.float64)
    pixels = scattered(50, 0, 9)
    everywhere = sample([view], points(pixels), "lanczos")
    for picture in range(3):
        own = torch.full((50,), picture)
        made = sample([view], points(pixels, sample_of=own), "lanczos")
        torch.testing.assert_close(made, everywhere[picture], rtol=0, atol=1e-12)


def test_black_outside_the_circle_never_counts():
    camera = spider4(30, 0.85, 64).cameras[0]
    view = torch.where(camera.mask(), 0.7, -1.0).expand(1, 3, 64, 64)
    angle = torch.linspace(0, 2 * math.pi, 500, dtype=torch.float64)
    rim = 31.5 + 31.9 * torch.stack((angle.cos(), angle.sin()), -1)
    for number, level in enumerate(pyramid(view, camera.mask(), 3)):
        at = (rim + 0.5) / 2**number - 0.5
        for kernel in KERNELS:
            made = sample([level], points(at), kernel)
            torch.testing.assert_close(made, torch.full_like(made, 0.7), rtol=0, atol=1e-5)


def test_levels_between_two_are_their_blend():
    view = torch.rand(1, 3, 16, 16, dtype=torch.float64)
    mask = torch.ones(16, 16, dtype=torch.bool)
    levels = pyramid(view, mask, 3)
    pixels = scattered(80, 0, 15)
    fine, coarse = (sample(levels, points(pixels, level), "bicubic") for level in (1.0, 2.0))
    between = sample(levels, points(pixels, 1.25), "bicubic")
    torch.testing.assert_close(between, 0.75 * fine + 0.25 * coarse, rtol=0, atol=1e-12)
    torch.testing.assert_close(levels[1], F.avg_pool2d(view, 2))


def test_odd_sizes_and_lost_places_are_no_trouble():
    view = torch.rand(1, 3, 7, 5)
    levels = pyramid(view, torch.ones(7, 5, dtype=torch.bool), 4)
    wild = torch.tensor([[math.nan, 0.0], [math.inf, 3.0], [-1e30, 2.0], [1e8, -1e8]])
    for kernel in KERNELS:
        for level in (0.0, 1.5, 3.0):
            assert torch.isfinite(sample(levels, points(wild, level), kernel)).all()
