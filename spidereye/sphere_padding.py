"""An equirectangular grid continued by what lies beyond its edges on the sphere.

Columns wrap in longitude. Over a pole the grid continues on the opposite meridian: row -1-k is row
k, and row H+k is row H-1-k, both shifted by W/2 columns. This commutes with rolling the columns,
so a network of convolutions that pad so has no seam. It does not commute with other rotations.
"""

from itertools import pairwise

import torch
from jaxtyping import Float
from torch import Tensor


def pad_sphere(
    x: Float[Tensor, "B C H W"], top: int, bottom: int, left: int, right: int
) -> Float[Tensor, "B C {x.shape[2]+top+bottom} {x.shape[3]+left+right}"]:
    """x with that many rows and columns more on each side (≥ 0), taken from the sphere.

    Any amount: past W columns or 2H rows the same sphere is seen again. Values are copied, none is
    interpolated. Raises ValueError where W is odd, so that no column lies opposite another.
    """
    if x.shape[3] % 2:
        raise ValueError(
            "a grid on the sphere needs an even width, since column j continues over the poles as "
            f"column j + W/2; got {x.shape[2]}x{x.shape[3]}"
        )
    return _extended(_extended(x, 2, top, bottom), 3, left, right)


def _extended(x: Tensor, dim: int, before: int, after: int) -> Tensor:
    """x with more rows (dim 2, over the poles) or columns (dim 3, in longitude) on both sides."""
    size = x.shape[dim]
    spans: list[tuple[int, int, bool]] = []  # cells start … stop - 1 of x, and whether over a pole
    for tile in range(-before // size, (size + after - 1) // size + 1):  # tile 0 is x itself
        start = max(-before - tile * size, 0)
        stop = min(size + after - tile * size, size)
        over_pole = dim == 2 and tile % 2 == 1
        spans.append((size - stop, size - start, True) if over_pole else (start, stop, False))
    # x is cut once, because the gradient of a split is one concatenation, where that of each slice
    # is a whole picture of zeros but for the slice, to be added to all the others.
    cuts = sorted({0, size}.union(*(span[:2] for span in spans)))
    pieces = x.split([stop - start for start, stop in pairwise(cuts)], dim)
    parts: list[Tensor] = []
    for start, stop, over_pole in spans:
        within = [piece for cut, piece in zip(cuts, pieces, strict=False) if start <= cut < stop]
        if over_pole:
            within = [piece.flip(2).roll(x.shape[3] // 2, 3) for piece in reversed(within)]
        parts += within
    return torch.cat(parts, dim)
