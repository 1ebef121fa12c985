"""A shot: the pictures that a rig took at one moment, as views with the cameras that fit them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from PIL import Image
from torch import Tensor

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.pictures import read_picture, resize_area, to_float
from spidereye.rig import Rig

Picture = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Shot:
    """views: [1, 3, h, w] in [-1, 1], each of its own size, black outside the mask.
    rig: its cameras are those of the views as they are, at their sizes."""

    views: list[Float[Tensor, "1 3 _ _"]]
    rig: Rig


def read_shot(images: Sequence[Picture], rig: Rig, side: int | None = None) -> Shot:
    """The views in the pictures of a rig.

    images: one per file of the rig, in its order: paths, PIL images or arrays [h, w, 3] uint8, of
    any size; lenses are rescaled to it. Views that are crops share a file.
    side: pixels; square views of this size, as the networks take them; None: as the files are.
    Raises SpiderEyeError for a wrong number of pictures or a wrong shape.
    """
    files = files_of(rig)
    count = max(files) + 1
    if len(images) != count:
        names = [
            "+".join(c.name for c, file in zip(rig.cameras, files, strict=True) if file == number)
            for number in range(count)
        ]
        raise SpiderEyeError(
            f"expected {count} pictures, {', '.join(names)} in this order, got {len(images)}"
        )
    arrays = [_array(image) for image in images]
    _check_order(arrays, rig, files)
    pairs = [
        _view(arrays[file], camera, side, images[file])
        for camera, file in zip(rig.cameras, files, strict=True)
    ]
    cameras = tuple(camera for _, camera in pairs)
    return Shot([view for view, _ in pairs], replace(rig, cameras=cameras))


def files_of(rig: Rig) -> list[int]:
    """For each view the number of the file that holds it, among those of one shot."""
    given = [camera.crop.file for camera in rig.cameras if camera.crop is not None]
    free = iter(number for number in range(len(rig.cameras)) if number not in given)
    return [next(free) if c.crop is None else c.crop.file for c in rig.cameras]


def _check_order(arrays: Sequence[UInt8[np.ndarray, "_ _ 3"]], rig: Rig, files: list[int]) -> None:
    """SpiderEyeError where the pictures have the sizes of the calibrations, but in another order:
    the others' lenses would take them without a complaint."""
    calibrated = [(0, 0)] * len(arrays)
    for camera, file in zip(rig.cameras, files, strict=True):
        size = camera.lens.width, camera.lens.height
        crop = camera.crop
        calibrated[file] = size if crop is None else (crop.file_width, crop.file_height)
    given = [(array.shape[1], array.shape[0]) for array in arrays]
    if given != calibrated and sorted(given) == sorted(calibrated):
        orders = (", ".join(f"{w}x{h}" for w, h in sizes) for sizes in (calibrated, given))
        raise SpiderEyeError(
            "the pictures are not in the rig's order: its {} are {}, got {}".format(
                ", ".join(rig.names), *orders
            )
        )


def _view(
    array: UInt8[np.ndarray, "h w 3"], camera: Camera, side: int | None, image: Picture
) -> tuple[Float[Tensor, "1 3 _ _"], Camera]:
    try:
        camera, part = camera.in_file(array.shape[1], array.shape[0])
    except SpiderEyeError as error:
        label = f"{image}: " if isinstance(image, str | Path) else ""
        raise SpiderEyeError(f"{label}{error}") from None
    array = _window(array, *part)
    if side is not None:
        array = _window(array, *camera.square_window())
        array = resize_area(array, side, side)
        camera = camera.square().resized(side, side)
    view = to_float(torch.from_numpy(array).permute(2, 0, 1))
    return torch.where(camera.mask(), view, -1.0)[None], camera


def _window(
    array: UInt8[np.ndarray, "h w 3"], left: int, top: int, width: int, height: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """A part of a picture, black where it reaches over the edges."""
    part = np.zeros((height, width, 3), np.uint8)
    inside = array[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    y, x = max(0, -top), max(0, -left)
    part[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return part


def _array(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    array = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise SpiderEyeError(
            f"expected an array [h, w, 3] of uint8, got {list(array.shape)} of {array.dtype}"
        )
    return array
