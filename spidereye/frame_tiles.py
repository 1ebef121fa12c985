"""Which views count in each tile of the panorama that a frame plan makes, how much, and where they
are read."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int, UInt8
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import panorama_rays
from spidereye.view_weights import BLANK, blend_weight, sharpness

WHOLE = 255  # what the shares of a pixel's views sum to

NOWHERE = -(2.0**14)  # a place outside of every picture: remap skips it, which is fast
STRIP = 2**15  # pixels whose rays are computed at a time: bounds the memory
LEAST = 1e-12  # weight of a view wherever it sees anything


@dataclass(frozen=True)
class Patch:
    """What a tile takes from a source: rows and columns of the tile, where the source is read, and
    its share in 1/255; u and v are nowhere where that is 0."""

    source: int
    rows: slice
    columns: slice
    u: Float32[np.ndarray, "h w"]
    v: Float32[np.ndarray, "h w"]
    share: UInt8[np.ndarray, "h w"]

    @cached_property
    def is_whole(self) -> bool:
        """Whether every pixel of it counts."""
        return bool(self.share.all())


@dataclass(frozen=True)
class Tile:
    """A part of the panorama, with the patches that it is made of."""

    rows: slice
    columns: slice
    patches: list[Patch]


def shares_of(
    cameras: Sequence[Camera],
    height: int,
    width: int,
    tile: tuple[int, int],
    sphere_radius: float,
    hard: bool,
    misalignment: float = 0.0,
    blank: Sequence[int] = (),
) -> tuple[list[Tile], UInt8[np.ndarray, "{height} {width}"]]:
    """Tiles of at most `tile` rows and columns, and how many views see each pixel of the panorama.

    The patches' sources are the views' numbers, their u and v pixels of the views.
    hard: the view of the largest weight has the whole share.   misalignment: radians by which the
    views are known to be off each other.   blank: views that count only where no other sees.
    """
    how = sharpness(misalignment * width / (2 * math.pi))
    say = [(BLANK if view in blank else 1.0, *how) for view in range(len(cameras))]
    rays = panorama_rays(height, width, dtype=torch.float32)
    count = np.empty((height, width), np.uint8)
    tiles = []
    for top in range(0, height, tile[0]):
        for left in range(0, width, tile[1]):
            rows = slice(top, min(top + tile[0], height))
            columns = slice(left, min(left + tile[1], width))
            patches, count[rows, columns] = _patches(
                cameras, rays[rows, columns], sphere_radius, hard, say
            )
            tiles.append(Tile(rows, columns, patches))
    return tiles, count


def in_eight_bits(count: Int[Tensor, "h w"]) -> UInt8[np.ndarray, "h w"]:
    """How many views see each pixel, 255 where they are more."""
    return count.clamp(max=255).to(torch.uint8).cpu().numpy()


def _patches(
    cameras: Sequence[Camera],
    rays: Float32[Tensor, "h w 3"],
    sphere_radius: float,
    hard: bool,
    say: Sequence[tuple[float, float, float]],
) -> tuple[list[Patch], UInt8[np.ndarray, "h w"]]:
    strips = rays.split(max(1, STRIP // rays.shape[1]))
    places, weights = [], []
    for camera, own in zip(cameras, say, strict=True):
        parts = [_places_and_weights(camera, strip, sphere_radius, own) for strip in strips]
        places.append(torch.cat([pixels for pixels, _ in parts]))
        weights.append(torch.cat([weight for _, weight in parts]))
    weight = torch.stack(weights)
    shares = _shares(weight, hard).numpy()
    patches = []
    for number, (pixels, share) in enumerate(zip(places, shares, strict=True)):
        if not share.any():
            continue
        rows, columns = (_extent(share.any(axis=axis)) for axis in (1, 0))
        share = np.ascontiguousarray(share[rows, columns])
        part = np.where(share[..., None] > 0, pixels[rows, columns].numpy(), np.float32(NOWHERE))
        u, v = (np.ascontiguousarray(part[..., axis]) for axis in (0, 1))
        patches.append(Patch(number, rows, columns, u, v, share))
    return patches, in_eight_bits((weight > 0).sum(dim=0))


def _places_and_weights(
    camera: Camera,
    rays: Float32[Tensor, "h w 3"],
    sphere_radius: float,
    say: tuple[float, float, float],
) -> tuple[Float32[Tensor, "h w 2"], Float32[Tensor, "h w"]]:
    rays = rays.double()
    pixels, seen = camera.project(rays, sphere_radius)
    factor, power, rim = say
    weight = factor * blend_weight(camera, rays, pixels, seen, sphere_radius, power, rim)
    # The weights' scale is of no matter, but they may be below what float32 can count.
    return pixels.float(), (weight.clamp(LEAST, 1e30) * seen).float()


def _shares(weight: Float32[Tensor, "N h w"], hard: bool) -> UInt8[Tensor, "N h w"]:
    """Weights as whole numbers that sum to WHOLE wherever there are any: rounded, and the rest is
    the largest's."""
    total, most = weight.sum(dim=0, keepdim=True), weight.argmax(dim=0, keepdim=True)
    whole = WHOLE * (total > 0).to(torch.int16)
    shares = torch.zeros_like(weight, dtype=torch.int16)
    if not hard:
        shares = (weight / total.clamp_min(LEAST) * WHOLE).round_().to(torch.int16)
    rest = whole - shares.sum(dim=0, keepdim=True, dtype=torch.int16)
    return shares.scatter_add_(0, most, rest).to(torch.uint8)


def _extent(used: Bool[np.ndarray, " n"]) -> slice:
    first = int(used.argmax())
    return slice(first, len(used) - int(used[::-1].argmax()))


def one_per_source(patches: Sequence[Patch]) -> list[Patch]:
    """Patches of a tile whose pixels are all different, those of the same source as one."""
    made: dict[int, Patch] = {}
    for patch in patches:
        other = made.get(patch.source)
        made[patch.source] = patch if other is None else _both(other, patch)
    return list(made.values())


def _both(one: Patch, two: Patch) -> Patch:
    rows, columns = (
        slice(min(a.start, b.start), max(a.stop, b.stop))
        for a, b in ((one.rows, two.rows), (one.columns, two.columns))
    )
    shape = rows.stop - rows.start, columns.stop - columns.start
    u, v = (np.full(shape, NOWHERE, np.float32) for _ in range(2))
    share = np.zeros(shape, np.uint8)
    for patch in (one, two):
        part = (
            slice(patch.rows.start - rows.start, patch.rows.stop - rows.start),
            slice(patch.columns.start - columns.start, patch.columns.stop - columns.start),
        )
        used = patch.share > 0
        for whole, values in ((u, patch.u), (v, patch.v), (share, patch.share)):
            whole[part][used] = values[used]
    return Patch(one.source, rows, columns, u, v, share)
