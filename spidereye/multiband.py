"""Multi-band blending of warped views on the sphere: coarse bands mix widely, details hardly.

After "A Multiresolution Spline with Application to Image Mosaics" (Burt & Adelson 1983), used for
panoramas by "Automatic Panoramic Image Stitching using Invariant Features" (Brown & Lowe 2007, §6).
Every view is split into a Laplacian pyramid, and every pixel belongs to the view that has most say
there. The map of what belongs to a view, low-passed to a band's scale, is its weight in that band,
so that a band is blended over about the width of its own pixels. The pyramid's steps are those of
push-pull, which continue round the back and over the poles; beside the poles, where columns crowd,
the maps are low-passed along the rows too, or the views would meet there in a star of hard edges.
"""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.push_pull import expanded, fill, reduced, smooth_at_poles

# Rows of the coarsest band where the number of bands is not given. On the training panoramas, of
# 128 rows, 3, 4, 5 and 6 bands give 37.3, 37.2, 36.8 and 35.9 dB of clean views and 17.9, 18.6,
# 19.8 and 20.0 of views with jitter (benchmarks/stitch_quality.py).
COARSEST_ROWS = 8

# A coarse cell that a view sees only a part of is partly extrapolated, and counts by this power of
# the part where another view knows better.
_SIGHT_POWER = 4

_LEAST = 1e-6  # share of every view everywhere: where none sees, all count alike


def default_bands(height: int) -> int:
    """So many that the coarsest has COARSEST_ROWS rows or a few more: 5 for a panorama of 128 rows,
    8 for 1024."""
    return max(1, 1 + int(math.log2(max(1, height / COARSEST_ROWS))))


def multiband(
    warped: Float[Tensor, "N B 3 H W"],
    weight: Float[Tensor, "N b 1 H W"],
    bands: int | None = None,
) -> Float[Tensor, "B 3 H W"]:
    """The blend of N views that have been warped to the panorama, W = 2H; smooth extrapolations
    where none sees.

    warped: any values; only those with weight > 0 matter, NaN elsewhere included: a view is
    extended smoothly into what it does not see, so that its rim does not bleed.
    weight: how much say each view has (`view_weights.blend_weight`), ≥ 0, of any unit; b is B or 1.
    bands: 1 is to paste without blending, each more doubles the widest zone; None: default_bands.
    A panorama has no more than ⌈log2 H⌉ + 1.
    """
    height = warped.shape[-2]
    bands = default_bands(height) if bands is None else bands
    bands = max(1, min(bands, 1 + math.ceil(math.log2(height))))
    dtype = torch.promote_types(warped.dtype, torch.float32)
    most = weight.amax(dim=0)
    holders = (weight == most).sum(dim=0).to(dtype)
    total: list[Tensor] = []
    total_share: list[Tensor] = []
    for view, say in zip(warped, weight, strict=True):
        seen = say > 0
        shares = _shares(((say == most) & seen) / holders, seen, bands)
        whole = fill(view.to(dtype), seen.expand(len(view), -1, -1, -1))
        mixed = laplacian(whole, bands)
        mixed = [band.mul_(share) for band, share in zip(mixed, shares, strict=True)]
        if not total:
            total, total_share = mixed, shares
            continue
        for sums, terms in ((total, mixed), (total_share, shares)):
            for one, term in zip(sums, terms, strict=True):
                one += term
    made = collapsed([band / share for band, share in zip(total, total_share, strict=True)])
    return made.to(warped.dtype)


def laplacian(x: Float[Tensor, "B C H W"], bands: int) -> list[Float[Tensor, "B C _ _"]]:
    """The band-pass pictures of a panorama, the finest first, and at last what is left."""
    made = []
    for _ in range(bands - 1):
        coarser = reduced(x)
        made.append(x - expanded(coarser, x.shape[-2]))
        x = coarser
    return [*made, x.clone()]


def collapsed(bands: Sequence[Float[Tensor, "B C _ _"]]) -> Float[Tensor, "B C H W"]:
    """The panorama of a Laplacian pyramid, the finest band first: undoes `laplacian`."""
    made = bands[-1]
    for band in reversed(bands[:-1]):
        made = expanded(made, band.shape[-2]) + band
    return made


def _shares(
    belongs: Float[Tensor, "b 1 H W"], seen: Bool[Tensor, "b 1 H W"], bands: int
) -> list[Float[Tensor, "b 1 _ _"]]:
    """How much of each band a view makes, for comparison with other views; never 0."""
    both = torch.cat((belongs, seen.to(belongs.dtype)), dim=1)
    made = []
    for level in range(bands):
        if level:
            both = smooth_at_poles(reduced(both))
        made.append(both[:, :1] * both[:, 1:] ** _SIGHT_POWER + _LEAST)
    return made
