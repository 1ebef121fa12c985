"""What the patches of a frame plan read: pictures, or windows of them that are made ready first:
colours changed, continued beyond the rim, made smaller."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Int64, UInt8

from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.frame_tiles import LEAST, STRIP, Patch, Tile, one_per_source
from spidereye.panorama import panorama_rays
from spidereye.recolouring import neutral_highlights
from spidereye.view_weights import blend_weight, resolution

Picture = UInt8[np.ndarray, "_ _ 3"] | UInt8[np.ndarray, "_ _"]

_MOST = 2**15 - 1  # OpenCV counts a remapped picture's rows and columns in 16 bits
_COARSE = 64  # rows of the panorama that tells how fine a view is


@dataclass(frozen=True)
class Source:
    """What patches read: a window of a picture with one view in it, or several.

    left, top, width, height: of the window, in pixels of the picture; it may reach over its edges.
    views: numbers of the views in it, with the parts of the picture that they are.
    outside: pixels of the window, counted along its rows, that are read without being picture.
    nearest: the picture pixels to put there.   shrink: factor by which the window is made smaller.
    is_plain: whether none of this is needed, and it can be read where it lies in the picture.
    """

    picture: int
    left: int
    top: int
    width: int
    height: int
    views: tuple[tuple[int, Crop], ...]
    outside: Int64[np.ndarray, " n"]
    nearest: Int64[np.ndarray, " n"]
    shrink: int
    is_plain: bool

    def read(self, picture: Picture, tables: Sequence[UInt8[np.ndarray, "..."] | None]) -> Picture:
        """The window, its views' colours sent through their look-up tables, where they have any."""
        if self.is_plain and all(tables[view] is None for view, _ in self.views):
            return picture[self.top : self.top + self.height, self.left : self.left + self.width]
        window = np.empty((self.height, self.width, *picture.shape[2:]), np.uint8)
        for view, crop in self.views:
            left, right = max(0, crop.left), min(picture.shape[1], crop.left + crop.width)
            top, bottom = max(0, crop.top), min(picture.shape[0], crop.top + crop.height)
            part = picture[top:bottom, left:right]
            rows = slice(top - self.top, bottom - self.top)
            place = window[rows, left - self.left : right - self.left]
            table = tables[view]
            if table is None:
                np.copyto(place, part)
            else:
                cv2.LUT(part, table, dst=place)
                if part.ndim == 3:
                    neutral_highlights(part, place)
        flat = window.reshape(-1, *picture.shape[2:])
        flat[self.outside] = flat[self.nearest]
        if self.shrink == 1:
            return window
        size = (self.width // self.shrink, self.height // self.shrink)
        return cv2.resize(window, size, interpolation=cv2.INTER_AREA)


def shrink_of(camera: Camera, width: int, sphere_radius: float) -> int:
    """The whole factor by which a view is finer than a panorama of `width` columns, on the weighted
    mean over what it sees; at least 1."""
    camera = camera.to(dtype=torch.float64)
    rays = panorama_rays(_COARSE, 2 * _COARSE)
    pixels, seen = camera.project(rays, sphere_radius)
    weight = blend_weight(camera, rays, pixels, seen, sphere_radius)
    fineness = resolution(camera, rays, pixels, sphere_radius) * (2 * math.pi / width)
    mean = (weight * fineness).sum() / weight.sum().clamp_min(LEAST)
    return max(1, math.floor(float(mean)))


def with_sources(
    tiles: Sequence[Tile],
    cameras: Sequence[Camera],
    crops: Sequence[Crop],
    shrinks: Sequence[int],
    reach: int,
    joined: bool,
) -> tuple[list[Tile], tuple[Source, ...]]:
    """The tiles with patches that read sources in place of views, and the sources.

    reach: pixels on either side that the kernel takes.   joined: views that lie in one picture and
    can be read there become one source, and in every tile one patch.
    """
    sources = [
        _source(number, camera, crop, tiles, shrink, reach)
        for number, (camera, crop, shrink) in enumerate(zip(cameras, crops, shrinks, strict=True))
    ]
    kept, source_of = _joined(sources) if joined else (sources, list(range(len(sources))))
    made = []
    for tile in tiles:
        moved = [
            _moved(patch, crops[patch.source], source_of[patch.source], kept)
            for patch in tile.patches
        ]
        made.append(replace(tile, patches=one_per_source(moved) if joined else moved))
    return made, tuple(kept)


def _source(
    number: int, camera: Camera, crop: Crop, tiles: Sequence[Tile], shrink: int, reach: int
) -> Source:
    """A view as it lies in its picture, or where taps fall beside what is picture, a window with a
    border in which these are overwritten."""
    pad = shrink * (reach + 2)
    width = math.ceil((crop.width + 2 * pad) / shrink) * shrink
    height = math.ceil((crop.height + 2 * pad) / shrink) * shrink
    if max(width, height) // shrink > _MOST:
        raise SpiderEyeError(
            f"view {camera.name} is {crop.width}x{crop.height} pixels and can be at most "
            f"{_MOST * shrink - 2 * pad} for this panorama: resize it first"
        )
    read = np.zeros((height // shrink, width // shrink), np.uint8)
    for patch in (patch for tile in tiles for patch in tile.patches if patch.source == number):
        used = patch.share > 0
        u, v = (
            np.floor((axis[used] + (pad + 0.5)) / shrink - 0.5).astype(np.intp)
            for axis in (patch.u, patch.v)
        )
        read[v, u] = 1
    # Taps lie at floor - reach + 1 … floor + reach, and one farther where OpenCV rounds up.
    taps = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    read = cv2.dilate(read, taps, anchor=(reach + 1, reach + 1))
    read = read.repeat(shrink, axis=0).repeat(shrink, axis=1).astype(bool)
    known = np.zeros((height, width), bool)
    known[pad : pad + crop.height, pad : pad + crop.width] = _mask(camera)
    outside = np.flatnonzero(read & ~known)
    whole = ((number, crop),)
    in_picture = min(crop.left, crop.top) >= 0 and (
        crop.left + crop.width <= crop.file_width and crop.top + crop.height <= crop.file_height
    )
    if shrink == 1 and in_picture and not len(outside):
        place = (crop.left, crop.top, crop.width, crop.height)
        return Source(crop.file, *place, whole, outside, outside, 1, True)
    place = (crop.left - pad, crop.top - pad, width, height)
    return Source(crop.file, *place, whole, outside, _nearest(known, outside), shrink, False)


def _mask(camera: Camera) -> Bool[np.ndarray, "h w"]:
    """camera.mask(), computed in strips."""
    strips = camera.pixel_grid().split(max(1, STRIP // camera.lens.width))
    return torch.cat([camera.unproject(strip)[1] for strip in strips]).numpy()


def _nearest(
    known: Bool[np.ndarray, "h w"], outside: Int64[np.ndarray, " n"]
) -> Int64[np.ndarray, " n"]:
    """The known pixels next to the pixels `outside`, both counted along the rows."""
    _, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    places = np.flatnonzero(known)
    place_of = np.zeros(int(label.max()) + 1, np.int64)
    labels = label.reshape(-1).astype(np.intp)
    place_of[labels[places]] = places
    return place_of[labels[outside]]


def _joined(sources: Sequence[Source]) -> tuple[list[Source], list[int]]:
    """Plain sources of one picture as one, where their parts do not overlap; and for each of the
    sources the number of that which holds it now."""
    kept: list[Source] = []
    source_of = []
    for source in sources:
        for number, other in enumerate(kept):
            both = (*other.views, *source.views)
            if (
                other.picture == source.picture
                and other.is_plain
                and source.is_plain
                and _apart([crop for _, crop in both])
            ):
                left, top = min(other.left, source.left), min(other.top, source.top)
                right = max(other.left + other.width, source.left + source.width)
                bottom = max(other.top + other.height, source.top + source.height)
                kept[number] = replace(
                    other, left=left, top=top, width=right - left, height=bottom - top, views=both
                )
                source_of.append(number)
                break
        else:
            source_of.append(len(kept))
            kept.append(source)
    return kept, source_of


def _apart(crops: Sequence[Crop]) -> bool:
    return all(
        a.left + a.width <= b.left
        or b.left + b.width <= a.left
        or a.top + a.height <= b.top
        or b.top + b.height <= a.top
        for index, a in enumerate(crops)
        for b in crops[:index]
    )


def _moved(patch: Patch, crop: Crop, number: int, sources: Sequence[Source]) -> Patch:
    """A patch that reads pixels of a view as one that reads the source which holds it."""
    source = sources[number]
    used = patch.share > 0
    for axis, start in ((patch.u, crop.left - source.left), (patch.v, crop.top - source.top)):
        # In place: the maps are most of what a plan takes.
        axis[used] = (axis[used] + (start + 0.5)) / source.shrink - 0.5
    return replace(patch, source=number)
