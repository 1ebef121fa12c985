"""Gains and offsets given to views: the formula, and what becomes of clipped pixels."""

import numpy as np
import pytest
import torch

from spidereye.errors import SpiderEyeError
from spidereye.pictures import to_float, to_uint8
from spidereye.recolouring import neutral_highlights, recoloured, tables

GAIN = torch.tensor([0.9, 1.1, 0.8], dtype=torch.float64)
OFFSET = torch.tensor([0.02, -0.03, 0.05], dtype=torch.float64)


def test_it_is_gain_times_value_plus_offset():
    view = torch.rand(1, 3, 5, 6) * 1.8 - 0.9
    made = (recoloured(view, GAIN, OFFSET) + 1) / 2
    expected = (view + 1) / 2 * GAIN[:, None, None] + OFFSET[:, None, None]
    torch.testing.assert_close(made, expected.float())
    same = recoloured(view, torch.ones(3).double(), torch.zeros(3).double())
    assert same is view


def test_a_burnt_sky_stays_white():
    white = torch.ones(1, 3, 1, 1)
    made = (recoloured(white, GAIN, OFFSET) + 1) / 2
    torch.testing.assert_close(made.flatten(), torch.full((3,), 1.07))  # the largest of its bounds
    # One burnt channel takes the largest of the others, never less than its own bound.
    half = torch.tensor([1.0, 0.5, 0.0]).view(1, 3, 1, 1)
    made = (recoloured(half, GAIN, OFFSET) + 1) / 2
    assert made.flatten().tolist() == pytest.approx([0.92, 0.795, 0.45], abs=1e-5)


def test_eight_bits_are_the_floats_rounded():
    random = np.random.default_rng(0)
    levels = random.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    levels[:10] = random.choice([0, 1, 254, 255, 120], (10, 50, 3))
    (table,) = tables(GAIN[None], OFFSET[None], (1, 3))
    assert table is not None
    made = np.stack([table[0, levels[..., c], c] for c in range(3)], axis=-1)
    neutral_highlights(levels, made)
    view = to_float(torch.from_numpy(levels).permute(2, 0, 1))[None]
    expected = to_uint8(recoloured(view, GAIN, OFFSET))[0].permute(1, 2, 0).numpy()
    assert int(np.abs(made.astype(int) - expected).max()) <= 1


def test_tables_are_none_where_nothing_changes_and_check_their_shape():
    assert tables(None, None, (2, 3)) == [None, None]
    with pytest.raises(SpiderEyeError, match=r"shape \[2, 3\].*got \[1, 3\]"):
        tables(GAIN[None], None, (2, 3))
