"""A shot: the pictures that a rig took at one moment, and the views in them with the cameras that
fit them."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.given_pictures import Picture, array_of, check_several, width_of
from spidereye.pictures import PictureError, resize_area, to_float
from spidereye.rig import Rig

# Of one shot: in the rig's order, None for one that is missing, or by the names of the views.
Images = Sequence[Picture | None] | Mapping[str, Picture | None]

_BLACK = 3  # of 255: a view that is nowhere brighter shows nothing (conditioning.py says the same)
_GLANCE = 64  # pixels along a side that tell nearly every view from a black one


@dataclass(frozen=True)
class Shot:
    """pictures: 8-bit RGB, of any sizes.   crops: which part of which of them each view is.
    rig: its cameras are those of the views as they are, at their sizes."""

    pictures: tuple[UInt8[np.ndarray, "_ _ 3"], ...]
    crops: tuple[Crop, ...]
    rig: Rig

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """(width, height) of the pictures."""
        return [(picture.shape[1], picture.shape[0]) for picture in self.pictures]

    @cached_property
    def views(self) -> list[Float[Tensor, "1 3 _ _"]]:
        """In [-1, 1], each of its own size, black outside the mask. Made when first asked for: four
        times the memory of the pictures, and more."""
        made = []
        for number, camera in enumerate(self.rig.cameras):
            view = to_float(torch.from_numpy(self.part(number)).permute(2, 0, 1))
            made.append(torch.where(camera.mask(), view, -1.0)[None])
        return made

    @cached_property
    def black(self) -> tuple[int, ...]:
        """The numbers of the views that are black wherever they are picture."""
        return tuple(number for number in range(len(self.crops)) if self._is_black(number))

    def _is_black(self, number: int) -> bool:
        view, camera = self.part(number), self.rig.cameras[number]
        step = max(1, max(view.shape) // _GLANCE)
        rows, columns = (view[::step, ::step].max(axis=-1) > _BLACK).nonzero()
        bright = torch.from_numpy(step * np.stack((columns, rows), axis=-1))
        if bool(camera.is_picture(bright.to(camera.rotation)).any()):
            return False
        mask = camera.mask().numpy()
        return bool(mask.any()) and int(view[mask].max()) <= _BLACK

    def part(self, number: int) -> UInt8[np.ndarray, "_ _ 3"]:
        """What a view is of its picture, in 8 bits, masked parts included."""
        crop = self.crops[number]
        return _window(self.pictures[crop.file], crop.left, crop.top, crop.width, crop.height)

    def shrunk(self, most: int) -> "Shot":
        """The shot with views of at most so many pixels along their longer sides, shrunk by area
        averaging where they have more; each is a picture of its own."""
        made = []
        for number, camera in enumerate(self.rig.cameras):
            array, lens = self.part(number), camera.lens
            size = camera.smaller(most / max(lens.width, lens.height))
            made.append((resize_area(array, *size), camera.resized(*size)))
        return _of_views(made, self.rig)

    def squared(self, side: int) -> "Shot":
        """The shot with square views of so many pixels, as the networks take them: every camera's
        square window, resized by area averaging; each is a picture of its own."""
        made = []
        for number, camera in enumerate(self.rig.cameras):
            square = _window(self.part(number), *camera.square_window())
            made.append((resize_area(square, side, side), camera.square().resized(side, side)))
        return _of_views(made, self.rig)


def in_order(images: Images, rig: Rig) -> list[Picture | None]:
    """The pictures in the order of the rig's files, None for one that is missing.

    images: in that order already, or by label: a view's name, or those of all views in a file with
    a plus; labels left out are missing. Raises SpiderEyeError for other names, and for one picture
    where a list of them is expected.
    """
    check_several(images)
    if not isinstance(images, Mapping):
        return list(images)
    labels = file_labels(rig)
    unknown = [str(name) for name in images if name not in labels]
    if unknown:
        raise SpiderEyeError(
            f"no view of this rig is called {', '.join(unknown)}: its pictures are "
            f"{', '.join(labels)}"
        )
    return [images.get(label) for label in labels]


def widths_of(images: Sequence[Picture | None], labels: Sequence[str] = ()) -> list[int | None]:
    """Pixels across each picture, None for one that is missing; of files by their header.

    labels: what they are called. Raises PictureError for a damaged one, SpiderEyeError for what is
    no picture."""
    made = []
    for image, label in zip_longest(images, labels[: len(images)], fillvalue=""):
        with _called(label):
            made.append(None if image is None else width_of(image))
    return made


def present(images: Sequence[Picture | None], rig: Rig) -> tuple[list[Picture], Rig]:
    """The pictures that are there, and the rig of the views in them.

    images: one per file of the rig, None for one that is missing.
    Raises SpiderEyeError for a wrong number, and where every picture is missing.
    """
    files = files_of(rig)
    _check_number(images, rig, files)
    there = [number for number, image in enumerate(images) if image is not None]
    made = [image for image in images if image is not None]
    if len(made) == len(images):
        return made, rig
    place = {file: number for number, file in enumerate(there)}
    cameras = []
    for camera, file in zip(rig.cameras, files, strict=True):
        if file in place and camera.crop is not None:
            camera = replace(camera, crop=replace(camera.crop, file=place[file]))
        if file in place:
            cameras.append(camera)
    if not cameras:
        raise SpiderEyeError(
            f"every picture of the shot is missing: give at least one of {', '.join(rig.names)}"
        )
    return made, replace(rig, cameras=tuple(cameras))


def with_black(images: Sequence[Picture | None], rig: Rig) -> list[Picture]:
    """The pictures with a black one of the calibration's size in the place of each missing one.

    Raises SpiderEyeError as `present` does.
    """
    present(images, rig)
    sizes = calibrated_sizes(rig)
    return [
        np.zeros((height, width, 3), np.uint8) if image is None else image
        for image, (width, height) in zip(images, sizes, strict=True)
    ]


def read_shot(images: Sequence[Picture], rig: Rig) -> Shot:
    """The views in the pictures of a rig.

    images: one per file of the rig, in its order: paths, PIL images or arrays [h, w, 3] uint8, of
    any size; lenses are rescaled to it. Views that are crops share a file. Files may be grey, have
    transparency or 16 bits.
    Raises SpiderEyeError for a wrong number of pictures, a wrong shape and what is no picture.
    """
    files = files_of(rig)
    _check_number(images, rig, files)
    arrays = []
    for image, label in zip(images, file_labels(rig), strict=True):
        with _called(label):
            arrays.append(array_of(image))
    _check_order(arrays, rig)
    crops, cameras = [], []
    for camera, file in zip(rig.cameras, files, strict=True):
        height, width = arrays[file].shape[:2]
        try:
            camera, part = camera.in_file(width, height)
        except SpiderEyeError as error:
            image = images[file]
            label = f"{image}: " if isinstance(image, str | Path) else ""
            raise SpiderEyeError(
                f"{label}{error}; if it is no picture of this rig, give its own "
                "(`spidereye rig guess` makes one from pictures)"
            ) from None
        crops.append(Crop(file, *part, width, height))
        cameras.append(camera)
    return Shot(tuple(arrays), tuple(crops), replace(rig, cameras=tuple(cameras)))


@contextmanager
def _called(label: str) -> Iterator[None]:
    """Errors about pictures that are no files, which have names, tell which view's they are."""
    try:
        yield
    except PictureError:
        raise
    except SpiderEyeError as error:
        raise SpiderEyeError(f"{label}: {error}" if label else str(error)) from error.__cause__


def files_of(rig: Rig) -> list[int]:
    """For each view the number of the file that holds it, among those of one shot."""
    given = [camera.crop.file for camera in rig.cameras if camera.crop is not None]
    free = iter(number for number in range(len(rig.cameras)) if number not in given)
    return [next(free) if c.crop is None else c.crop.file for c in rig.cameras]


def file_labels(rig: Rig) -> list[str]:
    """What each file of a shot is called: its view's name, or its views' with a plus."""
    files = files_of(rig)
    pairs = [list(zip(rig.names, files, strict=True)) for _ in range(max(files) + 1)]
    return ["+".join(n for n, file in views if file == k) for k, views in enumerate(pairs)]


def calibrated_sizes(rig: Rig) -> list[tuple[int, int]]:
    """(width, height) of each file of a shot, by the calibration."""
    files = files_of(rig)
    sizes = [(0, 0)] * (max(files) + 1)
    for camera, file in zip(rig.cameras, files, strict=True):
        size = camera.lens.width, camera.lens.height
        crop = camera.crop
        sizes[file] = size if crop is None else (crop.file_width, crop.file_height)
    return sizes


def _check_number(images: Sequence[Picture | None], rig: Rig, files: list[int]) -> None:
    """SpiderEyeError where there is not one picture for each file."""
    count = max(files) + 1
    if len(images) == count:
        return
    raise SpiderEyeError(
        f"expected {count} pictures, {', '.join(file_labels(rig))} in this order, got "
        f"{len(images)}; one that is missing has its place too: None in Python, - for a command"
    )


def _check_order(arrays: Sequence[UInt8[np.ndarray, "_ _ 3"]], rig: Rig) -> None:
    """SpiderEyeError where the pictures have the sizes of the calibrations, but in another order:
    the others' lenses would take them without a complaint."""
    calibrated = calibrated_sizes(rig)
    given = [(array.shape[1], array.shape[0]) for array in arrays]
    if given != calibrated and sorted(given) == sorted(calibrated):
        orders = (", ".join(f"{w}x{h}" for w, h in sizes) for sizes in (calibrated, given))
        raise SpiderEyeError(
            "the pictures are not in the rig's order: its {} are {}, got {}".format(
                ", ".join(rig.names), *orders
            )
        )


def _of_views(views: Sequence[tuple[UInt8[np.ndarray, "_ _ 3"], Camera]], rig: Rig) -> Shot:
    """A shot of views that each are a whole picture."""
    crops = []
    for number, (array, _) in enumerate(views):
        height, width = array.shape[:2]
        crops.append(Crop(number, 0, 0, width, height, width, height))
    cameras = tuple(camera for _, camera in views)
    return Shot(tuple(array for array, _ in views), tuple(crops), replace(rig, cameras=cameras))


def _window(
    array: UInt8[np.ndarray, "h w 3"], left: int, top: int, width: int, height: int
) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """A part of a picture, black where it reaches over the edges."""
    if left >= 0 and top >= 0 and left + width <= array.shape[1] and top + height <= len(array):
        return np.ascontiguousarray(array[top : top + height, left : left + width])
    part = np.zeros((height, width, 3), np.uint8)
    inside = array[max(0, top) : max(0, top + height), max(0, left) : max(0, left + width)]
    y, x = max(0, -top), max(0, -left)
    part[y : y + inside.shape[0], x : x + inside.shape[1]] = inside
    return part
