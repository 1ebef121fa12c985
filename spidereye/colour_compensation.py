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

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

_RIDGE = 1e-3  # towards identity, beside a mean square of values in the overlaps of about 0.1
_HUBER = 0.03  # in [0, 1]: differences beyond it count less and less
_ROUNDS = 5
_TAIL = 0.001  # of the pixels may leave [0, 1]
_AT_ONCE = 2**15  # rays, of pairs that are worked on together


def compensate(
    colour: Float64[Tensor, "N 3 P"],
    weight: Float64[Tensor, "N 3 P"],
    reference: int | None = None,
) -> tuple[Float64[Tensor, "N 3"], Float64[Tensor, "N 3"]]:
    """(gain, offset) of N views that were read along P rays that are even on the sphere.

    colour: in [0, 1].   weight: how good a reading is, 0 for none.   reference: stays as it is.
    A view without overlaps stays as it is, and all do where the reference has none; both are
    decided for each channel.
    """
    shared = (weight * (weight.sum(dim=0) - weight)).sum(dim=-1) > 0  # [N, 3]
    if not bool(shared.any()):
        return torch.ones_like(colour[..., 0]), torch.zeros_like(colour[..., 0])
    gain, offset = _agreement(colour, weight)
    weight = weight * shared[..., None]
    scale, shift = _common(gain, offset, colour, weight, shared, reference)
    changed = shared if reference is None else shared & shared[reference]
    gain, offset = gain * scale, offset * scale + shift
    return torch.where(changed, gain, 1.0), torch.where(changed, offset, 0.0)


@dataclass(frozen=True)
class Overlaps:
    """The rays that n pairs of views share.

    one, other: numbers of the views.   rays: of each pair, m of them; where it shares fewer, some
    that it does not share fill up, at which one of the two has no weight.
    """

    one: Int64[Tensor, " n"]
    other: Int64[Tensor, " n"]
    rays: Int64[Tensor, "n m"]

    def of(self, values: Float64[Tensor, "N P *C"]) -> tuple[Tensor, Tensor]:
        """What the two views of each pair have at the rays: [n, m, *C] twice."""
        count = values.shape[1]
        table = values.flatten(0, 1)
        places = [view[:, None] * count + self.rays for view in (self.one, self.other)]
        one, other = (table.index_select(0, p.flatten()) for p in places)
        return one.unflatten(0, self.rays.shape), other.unflatten(0, self.rays.shape)


def overlaps_of(weight: Float64[Tensor, "N C P"]) -> list[Overlaps]:
    """All pairs of views that share rays, in batches of which each needs little memory."""
    sees = (weight > 0).any(dim=1)
    one, other = torch.tril_indices(len(sees), len(sees), -1)
    shared = sees[one] & sees[other]
    counts = shared.sum(dim=-1)
    some = counts > 0
    if not bool(some.any()):
        return []
    one, other, shared, most = one[some], other[some], shared[some], int(counts.max())
    return [
        Overlaps(i, j, both.int().topk(most, sorted=False).indices)
        for i, j, both in zip(
            *(part.split(max(1, _AT_ONCE // most)) for part in (one, other, shared)), strict=True
        )
    ]


def _agreement(
    colour: Float64[Tensor, "N 3 P"], weight: Float64[Tensor, "N 3 P"]
) -> tuple[Float64[Tensor, "N 3"], Float64[Tensor, "N 3"]]:
    """Gains and offsets of each channel up to those that all views have in common."""
    count = len(colour)
    parts = []
    table = torch.cat((colour, weight), dim=1).mT
    for overlaps in overlaps_of(weight):
        i, j = overlaps.one, overlaps.other
        (one, seen), (other, seen_too) = (part.mT.split(3, dim=1) for part in overlaps.of(table))
        ones = torch.ones_like(one)
        # Their product with two gains and two offsets is the difference of compensated values.
        rows = torch.stack((one, -other, ones, -ones), dim=2)  # [n, 3, 4, m]
        both = (seen * seen_too)[:, :, None]
        parts.append((torch.stack((i, j, count + i, count + j), dim=-1), rows, both))
    identity = torch.cat((colour.new_ones(count), colour.new_zeros(count)))
    ridge = _RIDGE * torch.eye(2 * count, dtype=colour.dtype)
    unknowns = identity.expand(3, 2 * count)
    for _ in range(_ROUNDS):
        normal = colour.new_zeros(2 * count, 2 * count, 3)
        total = colour.new_zeros(3)
        for places, rows, both in parts:
            difference = unknowns[:, places].transpose(0, 1)[:, :, None] @ rows  # [n, 3, 1, m]
            robust = both / (1 + (difference / _HUBER).square())
            products = (rows * robust) @ rows.mT  # [n, 3, 4, 4]
            index = (places[:, :, None], places[:, None, :])
            normal.index_put_(index, products.movedim(1, -1), accumulate=True)
            total += robust.sum(dim=(0, 2, 3))
        normal = (normal / total.clamp_min(1e-9)).movedim(-1, 0)
        unknowns = torch.linalg.solve(normal + ridge, (ridge @ identity).expand_as(unknowns))
    return unknowns[:, :count].T, unknowns[:, count:].T


def _common(
    gain: Float64[Tensor, "N 3"],
    offset: Float64[Tensor, "N 3"],
    colour: Float64[Tensor, "N 3 P"],
    weight: Float64[Tensor, "N 3 P"],
    shared: Bool[Tensor, "N 3"],
    reference: int | None,
) -> tuple[Float64[Tensor, "3"], Float64[Tensor, "3"]]:
    """The gain and offset for all views by channel: those of least change, then within the range.
    Only views that share something count."""
    if reference is not None:
        return 1 / gain[reference], -offset[reference] / gain[reference]
    # Least Σ (s·gain - 1)² + (s·offset + t)² over s and t.
    mean = (offset * shared).sum(0) / shared.sum(0).clamp_min(1)
    square = (gain.square() + (offset - mean).square()) * shared
    scale = (gain * shared).sum(0) / square.sum(0).clamp_min(1e-9)
    shift = -scale * mean
    # A ray's value is the mean of those who see it.
    made = ((gain[..., None] * colour + offset[..., None]) * weight).sum(0)
    total = weight.sum(0)
    made = scale[:, None] * (made / total.clamp_min(1e-9)) + shift[:, None]
    made = torch.where(total > 1e-3, made, math.nan)
    low, high = made.nanquantile(made.new_tensor([_TAIL, 1 - _TAIL]), dim=-1)
    low_to, high_to = low.clamp(min=0), high.clamp(max=1)
    # Of less contrast nothing is squeezed.
    stretch = torch.where(high - low > 0.1, (high_to - low_to) / (high - low), 1.0).clamp(0.5, 1)
    seen = (total > 1e-3).any(dim=-1)
    return (
        torch.where(seen, scale * stretch, scale),
        torch.where(seen, (shift - low) * stretch + low_to, shift),
    )
