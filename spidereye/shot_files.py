"""Which picture files are one shot of a rig, by their names, and shots read as they are needed.

A file belongs to a view whose name it bears, in one of four ways:

    0001/front.jpg   0001_front.jpg   front_0001.jpg   front/0001.jpg

The rest of the path names the shot. Views that are crops of one file bear its views' names with a
plus, front+back.jpg; where a rig has one file a shot, every picture is a shot.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from spidereye.coverage import angular_resolution
from spidereye.errors import SpiderEyeError
from spidereye.picture_paths import matching_pictures
from spidereye.pictures import PictureError, probe, read_picture, resize_area
from spidereye.rig import Rig
from spidereye.shots import calibrated_sizes, file_labels, files_of, read_shot

_SEPARATORS = "_- ."
_MASK = re.compile(r"(^|[_\- .])mask\d*($|[_\- .])", re.IGNORECASE)
_MOST_LISTED = 4


@dataclass(frozen=True)
class ShotFiles:
    """The pictures of one shot, in the order of the rig's files. name: as people would find it."""

    name: str
    paths: tuple[Path, ...]


@dataclass(frozen=True)
class FoundShots:
    """shots: the complete ones, in order of their names.   left_out: what is wrong with the others,
    a line each.   notes: what else there is to say."""

    shots: list[ShotFiles]
    left_out: list[str]
    notes: list[str]


def find_shots(names: Sequence[str], rig: Rig) -> FoundShots:
    """The shots among pictures.

    names: folders, patterns, files.
    Raises SpiderEyeError for names that stand for nothing and where no shot is complete.
    """
    labels = file_labels(rig)
    found: dict[tuple[str, str], dict[str, list[Path]]] = {}
    strays: list[Path] = []
    for path in matching_pictures(names):
        key = _place(path, labels)
        if key is None:
            strays.append(path)
        else:
            found.setdefault(key[0], {}).setdefault(key[1], []).append(path)
    shots, left_out = [], []
    for (folder, rest), files in sorted(found.items()):
        name = str(Path(folder, rest))
        lacking = [label for label in labels if label not in files]
        twice = [paths for paths in files.values() if len(paths) > 1]
        if lacking:
            left_out.append(f"shot {name} has no {', '.join(lacking)}")
        elif twice:
            both = f"{twice[0][0]}, {twice[0][1]}"
            left_out.append(f"shot {name} has two pictures for one view: {both}")
        else:
            shots.append(ShotFiles(name, tuple(files[label][0] for label in labels)))
    if not shots:
        where = ", ".join(names)
        if left_out:
            raise SpiderEyeError(listed(f"no complete shot in {where}", left_out))
        examples = f"0001/{labels[0]}.jpg or 0001_{labels[0]}.jpg"
        raise SpiderEyeError(
            f"no shots in {where}: pictures are told by the names of the rig's views, "
            f"{', '.join(labels)}, as in {examples}; found {_some(strays)}"
        )
    notes = [f"{len(strays)} pictures bear no view's name: {_some(strays)}"] if strays else []
    return FoundShots(shots, left_out, notes)


def by_name(pictures: Sequence[Path | None], rig: Rig) -> list[Path | None]:
    """The pictures of one shot, None for one that is missing, in the order of the rig's files where
    their names tell it, each that of another view; else as they are."""
    labels = file_labels(rig)
    places: dict[str, Path] = {}
    for path in filter(None, pictures):
        place = _place(path, labels) if len(labels) > 1 else None
        if place is None or place[1] in places:
            return list(pictures)
        places[place[1]] = path
    same_number = len(pictures) == len(labels)
    return [places.get(label) for label in labels] if same_number else list(pictures)


def unnamed(pictures: Sequence[Path | None], rig: Rig) -> list[str]:
    """What the missing pictures of one shot are called, where each of too few bears the name of
    another view; else none."""
    labels = file_labels(rig)
    places = [_place(path, labels) for path in pictures if path is not None]
    named = {place[1] for place in places if place is not None}
    if len(pictures) >= len(labels) or len(named) < len(pictures):
        return []
    return [label for label in labels if label not in named]


def _place(path: Path, labels: Sequence[str]) -> tuple[tuple[str, str], str] | None:
    """((folder, rest of the name), label) of a picture, None where it bears no label. A longer
    label goes before a shorter one that it ends with."""
    stem, folder = path.stem, path.parent
    if _MASK.search(stem):  # `spidereye views` writes <view>_mask.png beside views
        return None
    if len(labels) == 1:
        return (str(folder), stem), labels[0]
    by_length = sorted(labels, key=len, reverse=True)
    # Capitals are small letters, where that leaves the labels different.
    fold = str.lower if len({label.lower() for label in labels}) == len(labels) else str
    name = fold(stem)
    for label in by_length:
        end = fold(label)
        if name == end:
            return (str(folder), ""), label
        if name.endswith(end) and name[-len(end) - 1] in _SEPARATORS:
            return (str(folder), stem[: -len(end) - 1]), label
    for label in by_length:
        start = fold(label)
        if name.startswith(start) and name[len(start)] in _SEPARATORS:
            return (str(folder), stem[len(start) + 1 :]), label
    for label in by_length:
        if fold(folder.name) == fold(label):
            return (str(folder.parent), stem), label
    return None


def reduced_sizes(
    shots: Sequence[ShotFiles], rig: Rig, per_degree: float
) -> tuple[list[tuple[int, int]], list[ShotFiles], list[str]]:
    """(width, height) of each file of a shot at which its views have about `per_degree` pixels per
    degree, no finer than the coarsest shot; the shots whose pictures fit the rig; what is wrong
    with the others. Looks at the pictures' headers only.

    Raises SpiderEyeError where no shot fits.
    """
    calibrated = calibrated_sizes(rig)
    widths = [0.0] * len(calibrated)
    for camera, file in zip(rig.cameras, files_of(rig), strict=True):
        across = camera.crop.width if camera.crop else camera.lens.width
        own = angular_resolution(camera).mean * across / camera.lens.width
        width = calibrated[file][0] * min(1.0, per_degree / max(own, 1e-6))
        widths[file] = max(widths[file], width)
    good, notes = [], []
    for shot in shots:
        try:
            sizes = [probe(path) for path in shot.paths]
        except PictureError as error:
            notes.append(f"shot {shot.name}: {error}")
            continue
        trouble = [
            f"shot {shot.name}: {path.name} is {width}x{height} pixels, which is not the shape of "
            f"the rig's {across}x{down}"
            for path, (width, height), (across, down) in zip(
                shot.paths, sizes, calibrated, strict=True
            )
            if abs(height - down * width / across) > 1
        ]
        notes += trouble
        if not trouble:
            good.append(shot)
            pairs = zip(widths, sizes, strict=True)
            widths = [min(width, float(size[0])) for width, size in pairs]
    if not good:
        raise SpiderEyeError(listed("no shot fits the rig", notes))
    made = [
        (max(8, round(width)), max(1, round(max(8, round(width)) * down / across)))
        for width, (across, down) in zip(widths, calibrated, strict=True)
    ]
    return made, good, notes


class ReducedShots(Sequence[Any]):
    """The views of shots at one size each file: kept in 8 bits, made views when asked for."""

    def __init__(self, rig: Rig, sizes: Sequence[tuple[int, int]]):
        self._rig, self._sizes = rig, list(sizes)
        self._pictures: list[list[UInt8[np.ndarray, "_ _ 3"]]] = []
        self.names: list[str] = []
        cameras = [
            camera.in_file(*self._sizes[file])[0]
            for camera, file in zip(rig.cameras, files_of(rig), strict=True)
        ]
        self.rig = replace(rig, cameras=tuple(cameras))

    def add(self, shot: ShotFiles) -> None:
        """Read one more shot. Raises PictureError for a damaged picture."""
        pictures = [
            resize_area(read_picture(path, min_width=width), width, height)
            for path, (width, height) in zip(shot.paths, self._sizes, strict=True)
        ]
        self._pictures.append(pictures)
        self.names.append(shot.name)

    def leave_out(self, unwanted: Collection[int]) -> None:
        """Forget the shots of these numbers."""
        kept = [number for number in range(len(self)) if number not in unwanted]
        self._pictures = [self._pictures[number] for number in kept]
        self.names = [self.names[number] for number in kept]

    def __len__(self) -> int:
        return len(self._pictures)

    def __getitem__(self, index: Any) -> Any:
        return read_shot(self._pictures[index], self._rig).views


def _some(paths: Sequence[Path]) -> str:
    text = ", ".join(str(path) for path in paths[:_MOST_LISTED])
    return text + (" …" if len(paths) > _MOST_LISTED else "")


def listed(what: str, notes: Sequence[str]) -> str:
    """One message of several, the first of them only where there are many."""
    more = f" (and {len(notes) - _MOST_LISTED} more)" if len(notes) > _MOST_LISTED else ""
    return f"{what}: {'; '.join(notes[:_MOST_LISTED])}{more}"
