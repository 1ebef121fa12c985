"""Multi-band blending: nothing is lost, coarse bands mix widely, details hardly."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor

from spidereye.multiband import collapsed, default_bands, laplacian, multiband

SIZES = [1, 2, 7, 16, 31, 50]


def noise(height: int, batch: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.rand(batch, 3, height, 2 * height, generator=generator) * 2 - 1


def halves(height: int, overlap: int = 16) -> Tensor:
    """Weights of two views that see a half of the panorama and `overlap` columns beyond: their
    seams are at column W/2 and at ±180°."""
    width = 2 * height
    column = torch.arange(width, dtype=torch.float32)
    off_axis = ((column - 0.75 * width + 0.5 + width / 2) % width - width / 2).abs()
    right = width / 4 + overlap - off_axis
    left = right.roll(width // 2)
    return torch.stack((left, right)).clamp_min(0)[:, None, None, None].expand(2, 1, 1, height, -1)


def checkers(height: int) -> Tensor:
    row, column = torch.arange(height)[:, None], torch.arange(2 * height)
    return ((row + column) % 2 * 2.0 - 1).expand(1, 3, -1, -1)


@pytest.mark.parametrize("height", SIZES)
@pytest.mark.parametrize("bands", [1, 2, 5])
def test_the_pyramid_loses_nothing(height, bands):
    bands = min(bands, 1 + (height - 1).bit_length())
    picture = noise(height, 2)
    torch.testing.assert_close(collapsed(laplacian(picture, bands)), picture, atol=1e-5, rtol=0)


@pytest.mark.parametrize("height", SIZES)
@pytest.mark.parametrize("bands", [None, 1, 3, 99])
def test_one_view_and_equal_views_are_what_they_were(height, bands):
    picture = noise(height, 2)
    weight = torch.rand(3, 2, 1, height, 2 * height, generator=torch.manual_seed(2)) - 0.5
    weight = weight.clamp_min(0)
    seen = weight > 0
    one = multiband(torch.where(seen, picture, torch.nan)[:1], weight[:1], bands)
    error = torch.where(seen[0], one - picture, 0).abs().max()
    assert float(error) < 1e-5
    everywhere = weight + 0.01
    same = multiband(picture.expand(3, -1, -1, -1, -1), everywhere, bands)
    torch.testing.assert_close(same, picture, atol=1e-5, rtol=0)


def test_a_constant_stays_constant_and_nothing_bleeds_in_from_outside():
    weight = halves(32, 3).clone()
    weight[..., :5, :] = 0  # nobody looks up
    warped = torch.where(weight > 0, torch.tensor(0.4), torch.tensor(-1.0)).expand(2, 2, 3, -1, -1)
    made = multiband(warped, weight)
    torch.testing.assert_close(made, torch.full_like(made, 0.4), atol=1e-5, rtol=0)
    nothing = multiband(warped, torch.zeros_like(weight))
    assert not nothing.any()


def step_width(bands: int, roll: int = 0) -> int:
    """Columns over which two flat views, 0 and 1, blend at one of their seams."""
    weight = halves(128, 60).roll(roll, -1)
    warped = torch.stack((torch.zeros(1, 3, 128, 256), torch.ones(1, 3, 128, 256)))
    row = multiband(warped, weight, bands)[0, 0, 64].roll(-roll)
    part = row[64:192]  # from the middle of one view to that of the other
    assert float(part[0]) < 0.01 and float(part[-1]) > 0.99
    assert (part.diff() > -1e-4).all()  # no ringing
    return int(((part > 0.05) & (part < 0.95)).sum())


def test_a_step_blends_over_a_width_that_doubles_with_each_band():
    widths = [step_width(bands) for bands in (1, 2, 3, 4, 5)]
    assert widths[0] == 0
    for finer, coarser in pairwise(widths[1:]):
        assert 1.5 * finer <= coarser <= 2.6 * finer, widths
    assert widths[3] >= 12


def test_details_belong_to_one_view_while_the_step_is_blended():
    """Two views with opposite checkers on two levels: feathering would cancel the checkers over the
    whole blending zone, and multi-band keeps them to within three columns of the seam."""
    pattern = checkers(64)
    warped = torch.stack((0.3 * pattern - 0.4, 0.4 - 0.3 * pattern))
    made = multiband(warped, halves(64, 40), 5)
    contrast = (made - made.roll(1, -1)).abs()[0, 0, 32] / 0.6
    beside = torch.cat((contrast[40:62], contrast[68:90]))
    assert float(beside.min()) > 0.85
    mean = (made + made.roll(1, -1))[0, 0, 32] / 2
    assert float(mean[58].abs()) < 0.3 and float(mean[70].abs()) < 0.3  # and the step is smooth
    feathered = (warped * halves(64, 40)).sum(0) / halves(64, 40).sum(0)
    plain = (feathered - feathered.roll(1, -1)).abs()[0, 0, 32] / 0.6
    assert float(plain[56:72].max()) < 0.5


def test_the_back_is_no_other_place_than_the_front():
    """Seams at column 64 and at ±180°: rolled half way round the blend is the same, and so are the
    steps across both."""
    warped = torch.stack((noise(64) * 0.2 - 0.4, noise(64) * 0.2 + 0.4))
    made = multiband(warped, halves(64))
    moved = multiband(warped.roll(64, -1), halves(64).roll(64, -1))
    torch.testing.assert_close(moved.roll(64, -1), made, atol=1e-5, rtol=0)
    assert step_width(4, 128) == step_width(4)
    flat = torch.stack((torch.zeros(1, 3, 64, 128), torch.ones(1, 3, 64, 128)))
    row = multiband(flat, halves(64))[0, 0, 32]
    assert float((row[0] - row[-1]).abs()) < 0.2


def test_views_meet_at_a_pole_without_a_star():
    """Two flat views that part along a meridian: round the pole their colours mix."""
    warped = torch.stack((torch.zeros(1, 3, 64, 128), torch.ones(1, 3, 64, 128)))
    made = multiband(warped, halves(64, 40), 4)
    at_pole, at_equator = made[0, 0, 0], made[0, 0, 32]
    assert float(at_equator.max() - at_equator.min()) > 0.98
    assert float(at_pole.max() - at_pole.min()) < 0.4


def test_batches_ties_and_the_number_of_bands():
    warped = torch.stack((noise(16, 2), -noise(16, 2)))
    weight = halves(16, 4)
    both = multiband(warped, weight)
    torch.testing.assert_close(both, multiband(warped, weight.expand(-1, 2, -1, -1, -1)))
    torch.testing.assert_close(both[:1], multiband(warped[:, :1], weight))
    torch.testing.assert_close(both, multiband(warped, 1e6 * weight), atol=1e-5, rtol=0)
    equal = multiband(warped, torch.ones(2, 1, 1, 16, 32))
    torch.testing.assert_close(equal, torch.zeros_like(equal), atol=1e-5, rtol=0)
    wide = multiband(warped.double(), weight.double())
    assert wide.dtype == torch.float64
    torch.testing.assert_close(wide.float(), both, atol=1e-5, rtol=0)
    assert [default_bands(rows) for rows in (1, 8, 64, 128, 1024)] == [1, 1, 4, 5, 8]
    rough = multiband(warped.bfloat16(), weight.bfloat16())
    assert rough.dtype == torch.bfloat16
    torch.testing.assert_close(rough.float(), both, atol=0.03, rtol=0)
