"""Reading a view between its pixels: bilinear, bicubic or Lanczos, from pyramids where it is finer
than what is made of it.

Beside the rim every kernel reaches out of the picture. There the view is continued by the colours
next to it, so that the black round the image circle never counts; Lanczos, whose weights are partly
negative, has no use for "only those that are picture".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from spidereye.camera import Camera

Kernel = Literal["bilinear", "bicubic", "lanczos"]
KERNELS: tuple[Kernel, ...] = ("bilinear", "bicubic", "lanczos")

_LOBES = 3  # of Lanczos
_RING = 4  # pixels by which a view is continued: what the widest kernel reaches over the rim
_POINTS = 2**16  # sampled at a time: 36 taps each have to fit into memory


@dataclass(frozen=True)
class Points:
    """Where a view is read: P places of its pixel grid, the same in every picture of a batch, or
    places of single pictures.

    pixels: (u, v).   sample: the picture of each, or None for all pictures.
    level: of the pyramid, between 0 (the view itself) and the last, fractions blend two.
    """

    pixels: Float[Tensor, "P 2"]
    sample: Int64[Tensor, " P"] | None
    level: Float[Tensor, " P"]


def pyramid(
    view: Float[Tensor, "B C h w"], mask: Bool[Tensor, "*b h w"], levels: int
) -> list[Float[Tensor, "B C _ _"]]:
    """The view continued over the border of its mask, and halved levels - 1 times (area means).

    mask: where the view is picture, of batch shape [] or [B].
    """
    known = mask.to(view.dtype).expand(len(view), *mask.shape[-2:])[:, None]
    made = []
    for level in range(levels):
        if level:
            share = _halved(known)
            view = _halved(view * known) / share.clamp_min(1e-6)
            known = (share > 0).to(view.dtype)
        made.append(_continued(view, known))
    return made


def sample(
    levels: Sequence[Float[Tensor, "B C _ _"]], points: Points, kernel: Kernel
) -> Float[Tensor, "B C P"] | Float[Tensor, "C P"]:
    """Colours of a pyramid at points: [B, C, P] where they are those of all pictures, [C, P] where
    each has a picture of its own."""
    if len(levels) == 1:
        return _sample_level(levels[0], points.pixels, points.sample, kernel)
    shape = levels[0].shape[:2] if points.sample is None else levels[0].shape[1:2]
    made = levels[0].new_zeros(*shape, len(points.pixels))
    for number, level in enumerate(levels):
        share = (1 - (points.level - number).abs()).clamp_min(0)
        here = share.nonzero()[:, 0]
        if len(here):
            own = None if points.sample is None else points.sample[here]
            pixels = (points.pixels[here] + 0.5) / 2**number - 0.5
            colours = _sample_level(level, pixels, own, kernel)
            made[..., here] += colours * share[here].to(colours.dtype)
    return made


def reproject(
    view: Float[Tensor, "B 3 h w"], camera: Camera, target: Camera, kernel: Kernel = "lanczos"
) -> tuple[Float[Tensor, "B 3 _ _"], Bool[Tensor, "_ _"]]:
    """What `target` would see of the scene that `camera` sees, for example a perspective picture
    of a fisheye's, and where it sees any of it; black (-1) elsewhere.

    Both cameras have batch shape []; their positions do not matter.
    """
    dtype = torch.promote_types(view.dtype, torch.float32)
    camera, target = (one.to(view.device, dtype) for one in (camera, target))
    rays, valid = target.unproject(target.pixel_grid())
    pixels, seen = camera.project(rays)
    seen = seen & valid
    flat = pixels.reshape(-1, 2)
    points = Points(flat, None, torch.zeros_like(flat[:, 0]))
    colours = sample(pyramid(view.to(dtype), camera.mask(), 1), points, kernel).to(view.dtype)
    return torch.where(seen, colours.unflatten(-1, seen.shape), -1.0), seen


def _sample_level(
    view: Float[Tensor, "B C h w"],
    pixels: Float[Tensor, "P 2"],
    sample_of: Int64[Tensor, " P"] | None,
    kernel: Kernel,
) -> Float[Tensor, "*B C P"]:
    """The taps of every point as rows of one table, which embedding_bag gathers, weighs and sums
    in one pass."""
    batch, channels, height, width = view.shape
    if sample_of is None:
        table = view.permute(2, 3, 0, 1).reshape(height * width, batch * channels)
    else:
        table = view.permute(0, 2, 3, 1).reshape(batch * height * width, channels)
    parts = []
    for start in range(0, max(1, len(pixels)), _POINTS):
        part = slice(start, start + _POINTS)
        rows, weights = _taps(pixels[part].to(view.dtype), height, width, kernel)
        if sample_of is not None:
            rows = rows + sample_of[part, None] * (height * width)
        parts.append(F.embedding_bag(rows, table, mode="sum", per_sample_weights=weights))
    colours = torch.cat(parts).T
    return colours if sample_of is not None else colours.unflatten(0, (batch, channels))


def _taps(
    pixels: Float[Tensor, "P 2"], height: int, width: int, kernel: Kernel
) -> tuple[Int64[Tensor, "P K"], Float[Tensor, "P K"]]:
    """Flat indices of the pixels that count at each point, and their weights, which sum to 1.
    Outside the picture its border goes on."""
    reach = {"bilinear": 1, "bicubic": 2, "lanczos": _LOBES}[kernel]
    size = pixels.new_tensor([width, height])
    # Farther out there is nothing but border; NaN and infinities would be no index.
    pixels = torch.minimum(pixels.nan_to_num(0.0).clamp_min(-reach - 1.0), size + reach)
    first = pixels.floor()
    offsets = torch.arange(1 - reach, reach + 1, device=pixels.device)
    distance = (pixels - first)[..., None] - offsets.to(pixels.dtype)  # [P, 2, taps]
    weights = _weights(distance, kernel)
    weights = weights / weights.sum(dim=-1, keepdim=True)
    index = first.long()[..., None] + offsets
    column, row = index[:, 0].clamp(0, width - 1), index[:, 1].clamp(0, height - 1)
    rows = (row[:, :, None] * width + column[:, None, :]).flatten(1)
    return rows, (weights[:, 1, :, None] * weights[:, 0, None, :]).flatten(1)


def _weights(distance: Float[Tensor, "*s"], kernel: Kernel) -> Float[Tensor, "*s"]:
    """The kernel at distances in pixels within its reach."""
    x = distance.abs()
    if kernel == "bilinear":
        return 1 - x
    if kernel == "bicubic":  # Keys 1981, with the steeper a = -0.75 of OpenCV and PyTorch
        a = -0.75
        inner = ((a + 2) * x - (a + 3)) * x * x + 1
        outer = ((x - 5) * x + 8) * a * x - 4 * a
        return torch.where(x <= 1, inner, outer)
    return torch.sinc(x) * torch.sinc(x / _LOBES)


def _continued(
    view: Float[Tensor, "B C h w"], known: Float[Tensor, "B 1 h w"]
) -> Float[Tensor, "B C h w"]:
    """The view with a ring of pixels round the known ones, each the mean of its known neighbours;
    what lies farther out is of no matter."""
    for _ in range(_RING):
        if bool((known == 1).all()):
            break
        share = F.avg_pool2d(known, 3, 1, 1)
        mean = F.avg_pool2d(view * known, 3, 1, 1) / share.clamp_min(1e-6)
        view = torch.where(known > 0, view, mean)
        known = (share > 0).to(view.dtype)
    return view


def _halved(picture: Float[Tensor, "B C h w"]) -> Float[Tensor, "B C h2 w2"]:
    """Means of 2x2 pixels; an odd row or column at the end is taken twice."""
    height, width = picture.shape[-2:]
    padded = F.pad(picture, (0, width % 2, 0, height % 2), mode="replicate")
    return F.avg_pool2d(padded, 2)
