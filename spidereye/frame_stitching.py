"""Views → panorama in 8 bits, frame after frame of one rig: what depends on the cameras alone is
computed once.

A plan cuts the panorama into tiles. Of each it keeps which views count there, where they are read
(maps for OpenCV's remap, which takes nearly all the time) and their shares in 1/255. A frame is
then, tile by tile in the processor's cache: remap, multiply, add. No whole picture is ever a
float. What a kernel reaches of the black round an image circle is overwritten by the nearest
picture pixel first, through indices that the plan keeps as well.

The float path (`stitching.stitch`) is the reference. Here samples are rounded to 8 bits, places to
1/32 pixel but for bilinear ones, `lanczos` is OpenCV's of 8 taps (4 lobes; there 3), and a view
much finer than the panorama is shrunk by a whole factor instead of read from a pyramid: 57 dB to
59 dB apart, and the same PSNR to 0.01 dB (benchmarks/stitch.py). Bicubic takes a quarter of the
time of Lanczos and is 0.15 dB behind.

Maps are floats: with OpenCV 5.0 a plane is read 1.4 times as fast as through fixed-point maps
(CV_16SC2), three channels about as fast, and bilinear places are not rounded.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.frame_sources import Picture, Source, shrink_of, with_sources
from spidereye.frame_tiles import WHOLE, Patch, Tile, shares_of
from spidereye.push_pull import fill
from spidereye.recolouring import tables
from spidereye.view_sampling import Kernel

Blend = Literal["feather", "none"]

_INTERPOLATION = {
    "bilinear": cv2.INTER_LINEAR,
    "bicubic": cv2.INTER_CUBIC,
    "lanczos": cv2.INTER_LANCZOS4,
}
_REACH = {"bilinear": 1, "bicubic": 2, "lanczos": 4}  # pixels on either side of a place

# Rows and columns of a tile: the sums of blended ones have to stay in the cache, and OpenCV uses
# two threads from 2**17 pixels on.
_TILE = {"feather": (256, 512), "none": (128, 2**15)}

_FILL_ROWS = 256  # of the panorama that unseen directions are filled from, at least
_GREY = 127.5  # what is filled in where nothing is seen at all


@dataclass(frozen=True)
class FramePlan:
    """How the pictures of a rig become a panorama. Made by `for_cameras` or `for_files`.

    count: views that see each pixel.   crops: which part of which picture each view is.
    """

    kernel: Kernel
    blend: Blend
    count: UInt8[np.ndarray, "H W"]
    crops: tuple[Crop, ...]
    sources: tuple[Source, ...]
    tiles: tuple[Tile, ...]

    @classmethod
    def for_cameras(
        cls,
        cameras: Sequence[Camera],
        height: int,
        width: int,
        sphere_radius: float = math.inf,
        kernel: Kernel = "lanczos",
        blend: Blend = "feather",
        misalignment: float = 0.0,
        blank: Sequence[int] = (),
    ) -> "FramePlan":
        """The plan for pictures that are one view each, in the cameras' sizes and order.

        cameras: of batch shape [].   blend: `feather` weighs by view_weights.blend_weight, `none`
        takes every pixel from the view of the largest weight.   misalignment: radians by which the
        views are known to be off each other.   blank: views that count only where no other sees
        (both as in self_calibration.Calibrated).
        Raises SpiderEyeError for views that are too large for OpenCV.
        """
        sizes = [(camera.lens.width, camera.lens.height) for camera in cameras]
        alone = [replace(camera, crop=None) for camera in cameras]
        files = range(len(alone))
        return cls.for_files(
            alone, files, sizes, height, width, sphere_radius, kernel, blend, misalignment, blank
        )

    @classmethod
    def for_files(
        cls,
        cameras: Sequence[Camera],
        files: Sequence[int],
        sizes: Sequence[tuple[int, int]],
        height: int,
        width: int,
        sphere_radius: float = math.inf,
        kernel: Kernel = "lanczos",
        blend: Blend = "feather",
        misalignment: float = 0.0,
        blank: Sequence[int] = (),
    ) -> "FramePlan":
        """The plan for pictures as a rig writes them, with several views in one or not. Views of
        one picture that are not blended are one remap straight from it, unless they are read so
        near to their rims that these have to be continued.

        files: number of the picture that holds each camera's view (shots.files_of).
        sizes: (width, height) of each picture; lenses are rescaled to it (Camera.in_file).
        """
        crops, placed = [], []
        for camera, file in zip(cameras, files, strict=True):
            camera, part = camera.to(torch.device("cpu"), torch.float64).in_file(*sizes[file])
            crops.append(Crop(file, *part, *sizes[file]))
            placed.append(camera)
        hard = blend == "none"
        tiles, count = shares_of(
            placed, height, width, _TILE[blend], sphere_radius, hard, misalignment, blank
        )
        shrinks = [shrink_of(camera, width, sphere_radius) for camera in placed]
        tiles, sources = with_sources(tiles, placed, crops, shrinks, _REACH[kernel], hard)
        return cls(kernel, blend, count, tuple(crops), sources, tuple(tiles))

    def __call__(
        self,
        pictures: Sequence[np.ndarray],
        gain: Float[Tensor, "N C"] | None = None,
        offset: Float[Tensor, "N C"] | None = None,
    ) -> Picture:
        """The panorama [H, W, 3] of pictures [h, w, 3], or one plane of it, [H, W], of planes
        [h, w]. What nobody sees is filled smoothly; `count` is 0 there.

        gain, offset: colours v in [0, 1] of view n are made gain[n]·v + offset[n] first, clipped
        ones as in recolouring.py (in planes each channel is on its own).
        Raises SpiderEyeError for a wrong number, type or size of pictures.
        """
        self._check(pictures)
        channels = pictures[0].shape[2:]
        look_up = tables(gain, offset, (len(self.crops), *(channels or (1,))))
        sources = [source.read(pictures[source.picture], look_up) for source in self.sources]
        panorama = np.empty((*self.count.shape, *channels), np.uint8)
        for tile in self.tiles:
            part = panorama[tile.rows, tile.columns]
            draw = self._mix if self.blend == "feather" else self._lay
            draw(tile, sources, part)
        return panorama if self.sees_all else _filled(panorama, self.count > 0)

    @cached_property
    def sees_all(self) -> bool:
        """Whether some view sees each pixel, so that none has to be filled."""
        return bool(self.count.all())

    def _lay(self, tile: Tile, sources: Sequence[Picture], out: Picture) -> None:
        for patch in tile.patches:
            part = out[patch.rows, patch.columns]
            if patch.is_whole:
                self._remap(sources, patch, part)
            else:
                # Not BORDER_TRANSPARENT: bicubic spoils single pixels there (OpenCV 5.0.0).
                cv2.copyTo(self._remap(sources, patch), patch.share, dst=part)

    def _mix(self, tile: Tile, sources: Sequence[Picture], out: Picture) -> None:
        total = np.zeros(out.shape, np.float32)
        for patch in tile.patches:
            share = patch.share if out.ndim == 2 else cv2.cvtColor(patch.share, cv2.COLOR_GRAY2RGB)
            colours = self._remap(sources, patch)
            cv2.accumulateProduct(colours, share, total[patch.rows, patch.columns])
        cv2.convertScaleAbs(total, dst=out, alpha=1 / WHOLE)  # rounds

    def _remap(
        self, sources: Sequence[Picture], patch: Patch, out: Picture | None = None
    ) -> Picture:
        how = _INTERPOLATION[self.kernel]
        source = sources[patch.source]
        return cv2.remap(source, patch.u, patch.v, how, dst=out, borderMode=cv2.BORDER_CONSTANT)

    def _check(self, pictures: Sequence[np.ndarray]) -> None:
        sizes = {crop.file: (crop.file_height, crop.file_width) for crop in self.crops}
        if len(pictures) != len(sizes):
            raise SpiderEyeError(f"expected {len(sizes)} pictures, got {len(pictures)}")
        for number, picture in enumerate(pictures):
            size = sizes[number]
            fits = picture.shape in (size, (*size, 3)) and picture.ndim == pictures[0].ndim
            if not fits or picture.dtype != np.uint8:
                raise SpiderEyeError(
                    f"expected picture {number} as uint8 {[*size, 3]}, or all as single planes "
                    f"{[*size]}, got {picture.dtype} {list(picture.shape)}; a plan is for one "
                    "size, make another one for this"
                )


def _filled(panorama: Picture, seen: Bool[np.ndarray, "H W"]) -> Picture:
    """Unseen directions in colours that go on smoothly from those round them; in place.

    They are found on a smaller panorama: what is smooth needs no more, and 2048x1024 floats would
    take five times as long, and 170 MB.
    """
    height, width = seen.shape
    cell = max(1, height // _FILL_ROWS)
    cell = 1 if height % cell or width % cell else cell
    size = (width // cell, height // cell)
    small = cv2.resize(panorama, size, interpolation=cv2.INTER_AREA)
    known = seen.reshape(size[1], cell, size[0], cell).all(axis=(1, 3))
    planes = torch.from_numpy(small).reshape(1, *known.shape, -1).permute(0, 3, 1, 2)
    filled = fill(planes.float() - _GREY, torch.from_numpy(known)[None, None]) + _GREY
    filled = filled.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    colours = filled.reshape(small.shape).numpy()
    # One more column on either side, so that enlarging wraps at ±180°.
    colours = np.concatenate((colours[:, -1:], colours, colours[:, :1]), axis=1)
    colours = cv2.resize(colours, (width + 2 * cell, height), interpolation=cv2.INTER_LINEAR)
    cv2.copyTo(colours[:, cell:-cell], (~seen).view(np.uint8), dst=panorama)
    return panorama
