"""Gains and offsets that make views agree in their overlaps: one per view and channel.

Brown & Lowe (2007, §6) compensate one gain per picture; cameras also differ in tint and black
level, so here value' = gain·value + offset per channel, jointly least squares over all overlaps, in
closed form, reweighted a few times so that parallax and moving things count little. Values are the
encoded ones, in which errors count as they are seen: under the jitter protocol on panoramas/val, at
refined poses, that gives 23.3 dB, and linear light (exponent 2.2) 23.0.

The overlaps alone leave two numbers per channel open, a gain and an offset of all views. They are
chosen so that all views change least, and no further than values stay in [0, 1]; or so that a
reference view stays as it is.
"""

import torch
from jaxtyping import Float64
from torch import Tensor

_RIDGE = 1e-3  # towards identity, beside a mean square of values in the overlaps of about 0.1
_HUBER = 0.03  # in [0, 1]: differences beyond it count less and less
_ROUNDS = 5
_TAIL = 0.001  # of the pixels may leave [0, 1]


def compensate(
    colour: Float64[Tensor, "N 3 P"],
    weight: Float64[Tensor, "N 3 P"],
    reference: int | None = None,
) -> tuple[Float64[Tensor, "N 3"], Float64[Tensor, "N 3"]]:
    """(gain, offset) of N views that were read along P rays that are even on the sphere.

    colour: in [0, 1].   weight: how good a reading is, 0 for none.   reference: stays as it is.
    A view without overlaps stays as it is, and all do where the reference has none.
    """
    gain, offset = torch.ones_like(colour[..., 0]), torch.zeros_like(colour[..., 0])
    for channel in range(3):
        seen = weight[:, channel]
        shared = (seen * (seen.sum(dim=0) - seen)).sum(dim=1) > 0
        if reference is not None and not shared[reference]:
            continue
        views = shared.nonzero()[:, 0].tolist()
        if not views:
            continue
        values, seen = colour[views, channel], seen[views]
        anchor = None if reference is None else views.index(reference)
        a, b = _agreement(values, seen)
        scale, shift = _common(a, b, values, seen, anchor)
        gain[views, channel], offset[views, channel] = a * scale, b * scale + shift
    return gain, offset


def differences(
    colour: Float64[Tensor, "N P"],
    weight: Float64[Tensor, "N P"],
    gain: Float64[Tensor, " N"],
    offset: Float64[Tensor, " N"],
) -> list[tuple[int, int, Float64[Tensor, " P"], Float64[Tensor, " P"]]]:
    """For every pair that overlaps: (i, j, difference of the compensated values, robust weight)."""
    made = gain[:, None] * colour + offset[:, None]
    pairs = []
    for i in range(len(colour)):
        for j in range(i):
            both = weight[i] * weight[j]
            if bool((both > 0).any()):
                difference = made[i] - made[j]
                pairs.append((i, j, difference, both / (1 + (difference / _HUBER).square())))
    return pairs


def _agreement(
    colour: Float64[Tensor, "N P"], weight: Float64[Tensor, "N P"]
) -> tuple[Float64[Tensor, " N"], Float64[Tensor, " N"]]:
    """Gains and offsets of one channel up to those that all views have in common."""
    count = len(colour)
    gain, offset = torch.ones_like(colour[:, 0]), torch.zeros_like(colour[:, 0])
    identity = torch.cat((gain, offset))
    for _ in range(_ROUNDS):
        normal = torch.zeros(2 * count, 2 * count, dtype=colour.dtype)
        total = torch.zeros((), dtype=colour.dtype)
        for i, j, _difference, robust in differences(colour, weight, gain, offset):
            one = torch.ones_like(robust)
            row = torch.stack((colour[i], -colour[j], one, -one))
            index = torch.tensor([i, j, count + i, count + j])
            normal[index[:, None], index] += (row * robust) @ row.T
            total += robust.sum()
        normal = normal / total.clamp_min(1e-9)
        ridge = _RIDGE * torch.eye(2 * count, dtype=colour.dtype)
        solution = torch.linalg.solve(normal + ridge, ridge @ identity)
        gain, offset = solution[:count], solution[count:]
    return gain, offset


def _common(
    gain: Float64[Tensor, " N"],
    offset: Float64[Tensor, " N"],
    colour: Float64[Tensor, "N P"],
    weight: Float64[Tensor, "N P"],
    reference: int | None,
) -> tuple[Tensor, Tensor]:
    """The gain and offset for all views: those of least change, then within the range."""
    if reference is not None:
        return 1 / gain[reference], -offset[reference] / gain[reference]
    # Least Σ (s·gain - 1)² + (s·offset + t)² over s and t.
    n = len(gain)
    centred = offset - offset.mean()
    scale = gain.sum() / (gain.square().sum() + centred.square().sum())
    shift = -scale * offset.mean()
    # A ray's value is the mean of those who see it.
    made = ((gain[:, None] * colour + offset[:, None]) * weight).sum(0)
    total = weight.sum(0)
    made = scale * (made / total.clamp_min(1e-9))[total > 1e-3] + shift
    if n < 2 or not len(made):
        return scale, shift
    low, high = made.quantile(_TAIL), made.quantile(1 - _TAIL)
    low_to, high_to = low.clamp(min=0), high.clamp(max=1)
    stretch = torch.ones_like(scale)
    if float(high - low) > 0.1:  # of less contrast nothing is squeezed
        stretch = ((high_to - low_to) / (high - low)).clamp(0.5, 1)
    return scale * stretch, (shift - low) * stretch + low_to
