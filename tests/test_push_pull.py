"""Filling what nobody sees: nothing known changes, and what is made up is smooth on the sphere."""

import math

import pytest
import torch
from torch import Tensor

from spidereye.panorama import pad_sphere, panorama_rays
from spidereye.push_pull import expanded, fill, reduced

HEIGHTS = [1, 2, 3, 5, 16, 31, 50]


def noise(height: int, batch: int = 1, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    picture = torch.rand(batch, 3, height, 2 * height, generator=generator) * 2 - 1
    return picture.to(dtype)


def outside_cone(height: int, axis: tuple[float, float, float], degrees: float) -> Tensor:
    """Known pixels: all but those within an angle of a direction."""
    direction = torch.tensor(axis, dtype=torch.float64)
    cosine = panorama_rays(height, 2 * height) @ (direction / direction.norm())
    return (cosine < math.cos(math.radians(degrees)))[None, None]


def directions(height: int) -> Tensor:
    """The smoothest picture there is: colour x, y, z."""
    return panorama_rays(height, 2 * height, dtype=torch.float32).permute(2, 0, 1)[None]


@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize(
    "dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64], ids=str
)
def test_known_pixels_come_back_bit_by_bit_and_the_rest_within_their_range(height, dtype):
    picture = noise(height, 2, dtype)
    known = torch.rand(2, 1, height, 2 * height, generator=torch.manual_seed(1)) < 0.3
    known[:, :, 0, 0], known[:, :, 0, 1] = True, False
    hidden = torch.where(known, picture, math.nan)
    filled = fill(hidden, known)
    assert filled.dtype == dtype
    assert torch.equal(filled[known.expand_as(filled)], picture[known.expand_as(filled)])
    least = torch.where(known, picture, math.inf).amin((2, 3))
    most = torch.where(known, picture, -math.inf).amax((2, 3))
    assert (filled.amin((2, 3)) >= least - 1e-5).all()
    assert (filled.amax((2, 3)) <= most + 1e-5).all()


@pytest.mark.parametrize("height", HEIGHTS)
def test_nothing_known_is_grey_all_known_is_the_picture_and_samples_do_not_mix(height):
    picture = noise(height, 3)
    known = torch.zeros(3, 1, height, 2 * height, dtype=torch.bool)
    assert not fill(picture, known).any()
    assert fill(picture, ~known) is picture
    known[0], known[1, :, 0, 0] = True, True
    filled = fill(picture, known)
    assert torch.equal(filled[0], picture[0])
    torch.testing.assert_close(filled[1], picture[1, :, :1, :1].expand_as(filled[1]))
    assert not filled[2].any()


def test_holes_in_a_smooth_picture_are_nearly_what_was_there():
    """Error of the worst pixel of 20° and 45° holes, of values from -1 to 1, anywhere. What lies in
    the middle of a cap is at most 1 - cos(radius) beyond its rim, which no smooth filling knows."""
    picture = directions(64)
    for axis in ((0, 0, 1), (0, 0, -1), (0, 1, 0), (0, -1, 0), (0.3, -0.8, -0.5), (1, 0.6, 0)):
        for radius, allowed in ((20, 0.12), (45, 0.42)):
            filled = fill(picture, outside_cone(64, axis, radius))
            assert float((filled - picture).abs().max()) < allowed, (axis, radius)


def test_no_seam_and_no_steps_inside_a_hole():
    """Second differences in a wide hole of a noisy picture: those of blocks would be as large as
    the steps between cells. The same across ±180° as elsewhere."""
    known = torch.ones(1, 1, 64, 128, dtype=torch.bool)
    known[..., 12:52, :24] = known[..., 12:52, -24:] = False
    picture = directions(64) + 0.3 * noise(64)
    filled = fill(picture, known)[..., 18:46, :].roll(64, dims=-1)[..., 46:82]
    for dim in (-2, -1):
        bend = filled.diff(n=2, dim=dim).abs()
        assert float(bend.max()) < 0.04, dim
    seam = (filled[..., 18] - filled[..., 17]).abs()
    beside = (filled[..., 10:26].diff(dim=-1)).abs().amax(-1)
    assert (seam <= beside).all() and float(seam.max()) < 0.1


def test_rolling_the_panorama_rolls_what_is_filled():
    """Exactly by cells of the coarsest level that is needed, and half way round always; by any
    number of columns closely."""
    picture = directions(64) + 0.2 * noise(64)
    known = outside_cone(64, (0.4, 0.2, -1), 25)
    hole = ~known
    filled = fill(picture, known)
    for shift in range(1, 64):
        moved = fill(picture.roll(shift, -1), known.roll(shift, -1)).roll(-shift, -1)
        error = float((moved - filled).abs().max())
        assert error < (1e-5 if shift % 16 == 0 else 0.12), shift
        assert float((moved - filled)[hole.expand_as(filled)].square().mean().sqrt()) < 0.025
    few = torch.rand(1, 1, 64, 128, generator=torch.manual_seed(3)) < 0.002
    moved = fill(picture.roll(64, -1), few.roll(64, -1)).roll(-64, -1)
    torch.testing.assert_close(moved, fill(picture, few), atol=1e-5, rtol=0)


@pytest.mark.parametrize("latitude", [90, -90])
@pytest.mark.parametrize("harmonic", [1, 2, 3])
@pytest.mark.parametrize("radius", [6, 20, 40])
def test_colours_meet_at_a_pole_instead_of_forming_a_star(latitude, harmonic, radius):
    """The rim of a hole round a pole has colours cos(m·longitude); a solution of Laplace's equation
    falls towards the pole like the m-th power of the distance."""
    height = 64
    rays = panorama_rays(height, 2 * height, dtype=torch.float32)
    picture = torch.cos(harmonic * torch.atan2(rays[..., 0], rays[..., 2])).expand(1, 3, -1, -1)
    known = outside_cone(height, (0, latitude / 90, 0), radius)
    filled = fill(picture, known)
    rows = filled if latitude > 0 else filled.flip(-2)
    hole = int((~known).any(-1).sum())  # rows
    spread = rows[0, 0].amax(-1)  # of rows from the pole on
    at_pole = (0.5 / (radius / 180 * height)) ** harmonic  # of Laplace's solution, flat
    assert float(spread[0]) < max(0.12, at_pole)
    assert (spread[: hole - 1] <= spread[1:hole] + 1e-3).all()
    # Across the pole: from one meridian to the opposite one.
    across = pad_sphere(rows, 1)[..., :2, :].diff(dim=-2).abs()
    assert float(across.max()) < max(0.2, 2 * at_pole)


def test_crowded_columns_at_a_pole_do_not_shout():
    """A pole's row has as many pixels as a patch at the equator, and a twentieth of its area."""
    picture = torch.zeros(1, 1, 32, 64)
    known = torch.zeros(1, 1, 32, 64, dtype=torch.bool)
    picture[..., 0, :] = 1
    known[..., 0, :] = True
    known[..., 12:20, 0:4] = known[..., 12:20, -4:] = True
    filled = fill(picture, known)
    assert float(filled[..., 20:, :].mean()) < 0.18  # 0.22 where all pixels count alike
    assert float(filled[..., 1, :].mean()) > 0.5  # beside it, it has its say


@pytest.mark.parametrize("height", HEIGHTS[1:])
def test_levels_keep_two_to_one_and_directions(height):
    """A reduced and a widened picture show the same directions, whatever the size."""
    constant = torch.full((1, 1, height, 2 * height), 0.7)
    coarse = reduced(constant)
    assert coarse.shape[-2:] == ((height + 1) // 2, (height + 1) // 2 * 2)
    torch.testing.assert_close(expanded(coarse, height), constant)
    if height >= 16:
        picture = directions(height)
        torch.testing.assert_close(
            reduced(picture), directions((height + 1) // 2), atol=0.05, rtol=0
        )
        torch.testing.assert_close(expanded(reduced(picture), height), picture, atol=0.06, rtol=0)


def test_layered_filling_takes_colours_from_the_sides():
    """A world of layers comes back where a column of it is missing, which plain filling mixes; and
    it keeps what all filling keeps."""
    height, width = 32, 64
    layers = torch.linspace(-1, 1, height, dtype=torch.float64).round(decimals=1)
    picture = layers[None, None, :, None].expand(1, 3, -1, width).contiguous()
    known = torch.ones(1, 1, height, width, dtype=torch.bool)
    known[..., 24:40] = False
    plain, layered = (fill(picture, known, layered=kind) for kind in (False, True))
    wrong, less_wrong = ((one - picture).abs().mean() for one in (plain, layered))
    assert float(less_wrong) < 0.6 * float(wrong)
    assert torch.equal(layered[known.expand_as(layered)], picture[known.expand_as(picture)])
    assert float(layered.min()) >= -1 and float(layered.max()) <= 1
    rolled = fill(picture.roll(32, -1), known.roll(32, -1), layered=True).roll(-32, -1)
    assert torch.allclose(rolled, layered, atol=1e-12)


@pytest.mark.parametrize("height", [1, 2, 3, 5, 8, 45])
def test_layered_filling_takes_any_height(height):
    torch.manual_seed(height)
    picture = torch.rand(2, 3, height, 2 * height, dtype=torch.float64)
    known = torch.rand(2, 1, height, 2 * height) < 0.3
    filled = fill(picture, known, layered=True)
    assert bool(torch.isfinite(filled).all())
    assert float(filled.min()) >= -1e-12 and float(filled.max()) <= 1 + 1e-12
