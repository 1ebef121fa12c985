"""Means of the panorama over view pixels, each of several points round the pixel's own ray.

The points of a pixel are put along the differences to the pixel beside it and the one below, in
panorama pixels: the rays between are not computed. On a GPU all views of all samples are one
grid_sample. 8-bit panoramas on the CPU go through OpenCV's remap, sample by sample so that the maps
stay in the processor's cache: about three times as fast there as PyTorch's grid_sample of
floats, at 1/32 of a panorama pixel and with every sample rounded.
"""

from collections.abc import Iterator
from itertools import product

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, Shaped, UInt8
from torch import Tensor

from spidereye.panorama import pad_sphere, sample_padded

_PAD = 16  # panorama pixels that points may lie over the edge
_REMAP_ROWS = 2**14  # at a time: OpenCV counts rows in 16 bits

Plane = Float[Tensor, "b N h w"]


def mean_samples(
    panorama: Shaped[Tensor, "B 3 H W"],
    u: Float[Tensor, "b N h1 w1"],
    v: Float[Tensor, "b N h1 w1"],
    valid: Bool[Tensor, "b N h1 w1"],
    mask: Bool[Tensor, "b N h w"],
    points: int,
) -> Shaped[Tensor, "B N 3 h w"]:
    """Pixels of N views of h x w pixels, the mean over points² bilinear samples each.

    u, v, valid: panorama pixels of the views' pixels and where there are any, with a row and a
    column more than the views have, which give the differences. b is B, or 1 for the same in all.
    panorama: [-1, 1], or 8 bits on the CPU.   mask: the views are black where it is False.
    """
    batch, _, height, width = panorama.shape
    pad = min(_PAD, height)
    exists = valid.to(u.dtype)
    if panorama.dtype == torch.uint8:
        made = torch.empty(batch, *mask.shape[1:], 4, dtype=torch.uint8)
        planes = _planes(u[:1], v[:1], exists[:1], width, pad)
        for index, picture in enumerate(panorama.permute(0, 2, 3, 1).numpy()):
            if 0 < index < len(u):  # where b is 1 they are the same for all samples
                here = slice(index, index + 1)
                planes = _planes(u[here], v[here], exists[here], width, pad)
            made[index] = _remapped_mean(_padded_rgba(picture, pad), planes, points)
        made.view(torch.int32).mul_(mask[..., None])  # four channels at once
        return made.movedim(-1, 2)[:, :, :3]
    across, down = zip(*_points(_planes(u, v, exists, width, pad), points), strict=True)
    grid = torch.stack((torch.cat(across, dim=1), torch.cat(down, dim=1)), dim=-1)
    grid = grid.flatten(1, 2).expand(batch, -1, -1, -1)
    samples = sample_padded(pad_sphere(panorama, pad), grid)
    views = samples.unflatten(2, (points**2, *mask.shape[1:3])).mean(dim=2).transpose(1, 2)
    return torch.where(mask[:, :, None], views, torch.full_like(views, -1.0))


def _planes(
    u: Float[Tensor, "b N h1 w1"],
    v: Float[Tensor, "b N h1 w1"],
    exists: Float[Tensor, "b N h1 w1"],
    period: int,
    pad: int,
) -> list[tuple[Plane, Plane, Plane]]:
    """For u and for v: the pixels' own in the padded panorama, the differences to the right, and
    those downwards, the short way round and 0 where there is no next ray. Beside a pole, where
    columns crowd, they are cut to what the padding holds."""
    right, below = exists[..., :-1, 1:], exists[..., 1:, :-1]
    made = []
    for plane, turns in ((u, period), (v, None)):
        here = plane[..., :-1, :-1]
        steps = []
        for there, is_there in ((plane[..., :-1, 1:], right), (plane[..., 1:, :-1], below)):
            step = there - here
            if turns is not None:
                step -= (step * (1 / turns)).round_().mul_(turns)
            steps.append(step.clamp_(-pad, pad).mul_(is_there))
        made.append((here + pad, *steps))
    return made


def _points(planes: list[tuple[Plane, Plane, Plane]], points: int) -> Iterator[tuple[Plane, Plane]]:
    """(u, v) of every pixel's first point, of its second, …"""
    offsets = [(index + 0.5) / points - 0.5 for index in range(points)]
    for down, across in product(offsets, offsets):
        u, v = (
            torch.add(middle, right, alpha=across).add_(below, alpha=down)
            for middle, right, below in planes
        )
        yield u, v


def _remapped_mean(
    padded: UInt8[np.ndarray, "H W 4"], planes: list[tuple[Plane, Plane, Plane]], points: int
) -> UInt8[Tensor, "N h w 4"]:
    _, count, h, w = planes[0][0].shape
    total = torch.zeros(count * h, w, 4).numpy()
    samples = torch.empty(count * h, w, 4, dtype=torch.uint8).numpy()
    for point in _points(planes, points):
        across, down = (plane.view(count * h, w).numpy() for plane in point)
        for top in range(0, count * h, _REMAP_ROWS):
            part = slice(top, top + _REMAP_ROWS)
            cv2.remap(
                padded,
                across[part],
                down[part],
                cv2.INTER_LINEAR,
                dst=samples[part],
                borderMode=cv2.BORDER_REPLICATE,
            )
        cv2.accumulate(samples, total)
    mean = cv2.convertScaleAbs(total, dst=samples, alpha=1 / points**2)  # rounds
    return torch.from_numpy(mean).view(count, h, w, 4)


def _padded_rgba(picture: UInt8[np.ndarray, "H W 3"], pad: int) -> UInt8[np.ndarray, "H2 W2 4"]:
    """pad_sphere of one picture in OpenCV's order of memory, with a fourth channel that nobody
    reads: remap is nearly twice as fast on four as on three."""
    height, width = picture.shape[:2]
    rgba = cv2.cvtColor(picture, cv2.COLOR_RGB2RGBA)
    padded = np.empty((height + 2 * pad, width + 2 * pad, 4), np.uint8)
    middle = padded[:, pad : pad + width]
    middle[pad : pad + height] = rgba
    middle[:pad] = np.roll(rgba[:pad][::-1], width // 2, axis=1)
    middle[pad + height :] = np.roll(rgba[height - pad :][::-1], width // 2, axis=1)
    padded[:, :pad] = padded[:, width : width + pad]
    padded[:, width + pad :] = padded[:, pad : 2 * pad]
    return padded
