"""Filling the directions that nobody sees: push-pull on the sphere, and the pyramid steps it is of.

After "The Lumigraph" (Gortler, Grzeszczuk, Szeliski, Cohen 1996, §3.4). Pull: a coarser level is
the weighted mean of what is known of the finer one. Push: what a level does not know comes from the
coarser one. Both steps continue round the back and over the poles (`panorama.pad_sphere`).

Every level has W = 2H; above one of H rows are ⌈H/2⌉, whatever H is. Layered filling halves the
columns alone first. Pulling takes a triangle as wide as two coarse cells, [1 3 3 1]/8 where H is
even. Pushing is bilinear, which for cells that halve, over and over, is the subdivision of the
quadratic B-spline: large holes have no kinks.
Solid angle: rows count by cos(latitude), and what is pushed is smoothed along the rows beside a
pole, where columns crowd, so that colours meet there instead of forming a star.

What is filled is the same for a panorama rolled by whole cells of the coarsest level that was
needed; rolled by other numbers of columns the cells lie elsewhere, and it differs a little, nowhere
by a seam.
"""

import math

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spidereye.panorama import latitude_weights, pad_sphere

# A coarse cell stands for itself once a quarter of it is known (Gortler et al. sum four children
# and cut at 1). To ask for more would let distant colours into the rim of a hole.
_ENOUGH = 0.25

# Rows beside each pole that are smoothed, and the width in pixels along the parallel: a harmonic
# of longitude fades towards the pole about as it does in a solution of Laplace's equation.
_POLAR_ROWS = 8
_POLAR_SIGMA = 0.7


# Pulls along rows alone before those along both ways, of layered filling: as if the world was so
# often halved along its horizon. Where two adjacent views of four are missing, on real panoramas of
# 128x64, 0 to 4 of them have 18.17, 18.80, 19.00, 18.88 and 18.70 dB.
_ROW_PULLS = 2


def fill(
    picture: Float[Tensor, "B C H W"], known: Bool[Tensor, "B 1 H W"], layered: bool = False
) -> Float[Tensor, "B C H W"]:
    """The panorama with smooth colours where it is not known, between the least and the greatest
    known one; 0 (mid-grey) where nothing is known at all.

    picture: W = 2H, any values; those that are not known do not matter, NaN included. Known pixels
    come back bit by bit. Where all are known that is the picture itself, not a copy.
    layered: colours come from the sides rather than from above and below, for upright panoramas:
    skies, horizons and floors go on round the world.
    """
    if bool(known.all()):
        return picture
    dtype = torch.promote_types(picture.dtype, torch.float32)
    colour, weight = torch.where(known, picture, 0).to(dtype), known.to(dtype)
    levels = [(colour, weight)]
    row_pulls = _ROW_PULLS if layered else 0
    while colour.shape[-2] > 1 and colour.shape[-1] > 2 and bool((weight < 1).any()):
        rows = colour.shape[-2] if len(levels) <= row_pulls else (colour.shape[-2] + 1) // 2
        colour, weight = _pulled(colour, weight, rows)
        levels.append((colour, weight))
    area = weight * latitude_weights(colour.shape[-2], colour.device, dtype)[:, None]
    total = area.sum((-2, -1), keepdim=True)
    mean = (colour * area).sum((-2, -1), keepdim=True) / total.clamp_min(_tiny(dtype))
    filled = mean + (colour - mean) * weight
    for colour, weight in reversed(levels[1:-1]):
        pushed = smooth_at_poles(expanded(filled, *colour.shape[-2:]))
        filled = torch.lerp(pushed, colour, weight)
    if len(levels) > 1:
        filled = smooth_at_poles(expanded(filled, *picture.shape[-2:]))
    return torch.where(known, picture, filled.to(picture.dtype))


def reduced(x: Float[Tensor, "B C H W"], rows: int | None = None) -> Float[Tensor, "B C H2 W2"]:
    """The next coarser level: means under triangles, across edges of the sphere. Of half as many
    columns, an even number, and of `rows` rows, ⌈H/2⌉ by default, or H for a pull along rows."""
    height, width = x.shape[-2:]
    coarse = (height + 1) // 2 if rows is None else rows
    if coarse != height:
        x = _reduced_along(_over_poles(x), -2, height, coarse)
    return _reduced_along(_round_the_back(x), -1, width, 2 * ((width + 3) // 4))


def expanded(
    x: Float[Tensor, "B C H2 W2"], height: int, width: int | None = None
) -> Float[Tensor, "B C {height} W"]:
    """A level bilinearly enlarged to `height` rows and `width` columns, 2·height by default."""
    rows, columns = x.shape[-2:]
    x = _expanded_along(_round_the_back(x), -1, columns, 2 * height if width is None else width)
    return x if rows == height else _expanded_along(_over_poles(x), -2, rows, height)


def smooth_at_poles(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
    """The same level, changed in place: rows beside the poles filtered along longitude, over about
    as many columns as lie within a pixel there. The filter is a binomial one, whose weights are
    positive at any width and sum to 1."""
    height, width = x.shape[-2:]
    rows = min(_POLAR_ROWS, height // 2)
    if not rows:
        return x
    distance = torch.arange(rows, device=x.device, dtype=x.dtype) + 0.5  # from the pole, in rows
    columns = _POLAR_SIGMA * width / (2 * math.pi) / distance  # standard deviation
    steps = (2 * columns.square()).ceil()  # of [1 2 1]/4, whose variance is half a column's
    wave = torch.arange(width // 2 + 1, device=x.device, dtype=x.dtype) * (math.pi / width)
    kept = wave.cos().square() ** steps[:, None]
    kept[:, -1] = 0  # the fastest wave, of which cos² only nearly is
    for part, gain in ((slice(0, rows), kept), (slice(height - rows, height), kept.flip(0))):
        x[..., part, :] = torch.fft.irfft(torch.fft.rfft(x[..., part, :]) * gain, n=width)
    return x


def _pulled(
    colour: Float[Tensor, "B C H W"], weight: Float[Tensor, "B 1 H W"], rows: int
) -> tuple[Float[Tensor, "B C {rows} W2"], Float[Tensor, "B 1 {rows} W2"]]:
    """The coarser level's colours and how much it knows, in [0, 1]."""
    area = weight * latitude_weights(colour.shape[-2], colour.device, colour.dtype)[:, None]
    both = reduced(torch.cat((colour * area, area), dim=1), rows)
    colour, area = both[:, :-1], both[:, -1:]
    whole = latitude_weights(area.shape[-2], area.device, area.dtype)[:, None]
    known = (area / (whole * _ENOUGH)).clamp_(max=1)
    return colour / area.clamp_min(_tiny(area.dtype)), known


def _over_poles(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H+2 W"]:
    """The rows of pad_sphere: one more at each pole."""
    edges = pad_sphere(torch.cat((x[..., :1, :], x[..., -1:, :]), dim=-2), 1)[..., 1:-1]
    return torch.cat((edges[..., :1, :], x, edges[..., -1:, :]), dim=-2)


def _round_the_back(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W+2"]:
    """The columns of pad_sphere: one more on each side."""
    return torch.cat((x[..., -1:], x, x[..., :1]), dim=-1)


def _reduced_along(
    x: Float[Tensor, "B C H W"], dim: int, size: int, coarse: int
) -> Float[Tensor, "B C _ _"]:
    """Triangle means along an axis of `size` cells, padded by one on each side."""
    if size == 2 * coarse:
        outer, inner, after, last = (x[_every_second(dim, tap, coarse)] for tap in range(4))
        return (inner + after).mul_(0.375).add_(outer, alpha=0.125).add_(last, alpha=0.125)
    ratio = size / coarse
    centre = (torch.arange(coarse, device=x.device, dtype=torch.float64) + 0.5) * ratio - 0.5
    place = centre.floor() + torch.arange(-1, 3, device=x.device)[:, None]
    weight = (1 - (place - centre).abs() / ratio).clamp_min(0)
    return _weighted_sum(x, dim, place.long() + 1, (weight / weight.sum(0)).to(x.dtype))


def _expanded_along(
    x: Float[Tensor, "B C H W"], dim: int, coarse: int, size: int
) -> Float[Tensor, "B C _ _"]:
    """`size` places bilinearly between the cells of an axis, padded by one on each side."""
    if size == 2 * coarse:
        shape = list(x.shape)
        shape[dim] = size
        made, middle = x.new_empty(shape), x.narrow(dim, 1, coarse)
        for first in (0, 1):
            beside = x.narrow(dim, 2 * first, coarse)
            made[_every_second(dim, first, coarse)] = torch.lerp(beside, middle, 0.75)
        return made
    fine = torch.arange(size, device=x.device, dtype=torch.float64)
    centre = (fine + 0.5) * (coarse / size) - 0.5
    place = centre.floor()
    share, index = centre - place, place.long() + 1
    weight = torch.stack((1 - share, share)).to(x.dtype)
    return _weighted_sum(x, dim, torch.stack((index, index + 1)), weight)


def _every_second(dim: int, first: int, count: int) -> tuple:
    """Index of `count` places of an axis, of the last two: first, first + 2, …"""
    part = slice(first, first + 2 * count - 1, 2)
    return (..., part, slice(None)) if dim == -2 else (..., part)


def _weighted_sum(
    x: Float[Tensor, "B C H W"],
    dim: int,
    places: Int64[Tensor, "taps size"],
    weights: Float[Tensor, "taps size"],
) -> Float[Tensor, "B C _ _"]:
    """One term for each tap along an axis: out[i] = Σ weights[tap, i]·x[places[tap, i]]."""
    shaped = weights[:, :, None] if dim == -2 else weights
    total = x.index_select(dim, places[0]).mul_(shaped[0])
    for place, weight in zip(places[1:], shaped[1:], strict=True):
        total.addcmul_(x.index_select(dim, place), weight)
    return total


def _tiny(dtype: torch.dtype) -> float:
    return torch.finfo(dtype).tiny
