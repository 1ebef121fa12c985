"""Panoramas in a folder with train/ and val/ (or eval/), in any depth of subfolders.

Every file is looked at when the source is opened, header and end only, so that a bad one is known
before the work starts and not in its third hour.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES, PictureError, probe, read_picture

logger = logging.getLogger(__name__)

ASPECT_TOLERANCE = 0.01  # how far width / height may be from 2, relative
_FOLDERS = {"train": ("train",), "val": ("val", "eval")}
_WAYS_OUT = (
    "set dataset.root=<a folder with train/ and val/> or use the built-in scenes with "
    "dataset.type=scenes"
)


class FolderSource:
    """The panoramas below root/train, or root/val (root/eval where there is no val), by path.

    min_width: pixels, a narrower panorama is a bad file. on_bad_file: "stop" raises one error that
    lists every bad file, "skip" warns with the same list and leaves them out. limit: only the first
    so many good files, None for all; those after them are not looked at.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"],
        min_width: int = 0,
        on_bad_file: str = "stop",
        limit: int | None = None,
    ) -> None:
        if on_bad_file not in ("stop", "skip"):
            raise SpiderEyeError(f"dataset.on_bad_file={on_bad_file} is unknown; use stop or skip")
        folder = split_folder(root, split)
        files = find_panoramas(folder)
        if not files:
            raise SpiderEyeError(
                f"no panoramas below {folder}: found {_listing(folder)}, but no "
                f"{', '.join(suffix[1:] for suffix in PICTURE_SUFFIXES)}; {_WAYS_OUT}"
            )
        good, bad = _first_good(files, min_width, limit, stop=on_bad_file == "stop")
        if bad and on_bad_file == "stop":
            raise _bad_files(bad)
        if not good:
            head = f"none of {len(bad)} files below {folder} can be used; {_WAYS_OUT}:"
            raise SpiderEyeError("\n  ".join([head, *bad]))
        if bad:
            count = f"{len(bad)} bad file{'s' if len(bad) > 1 else ''}"
            logger.warning("\n  ".join([f"{count} skipped (dataset.on_bad_file=skip):", *bad]))
        self._files = good
        self.names: Sequence[str] = [file.relative_to(root).as_posix() for file in good]

    def __len__(self) -> int:
        return len(self._files)

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` as 8-bit RGB, at least min_width pixels wide where its file is.

        Raises PictureError with the path where the file cannot be decoded after all.
        """
        return read_picture(self._files[index], min_width)


def split_folder(root: str | Path, split: Literal["train", "val"]) -> Path:
    """The folder of a split below root; SpiderEyeError where root or the folder is missing."""
    if not str(root):
        raise SpiderEyeError(f"no data: dataset.root is empty; {_WAYS_OUT}")
    root = Path(root)
    if not root.is_dir():
        reason = "it is a file" if root.exists() else "there is no such folder"
        raise SpiderEyeError(f"no data at {root}: {reason}; {_WAYS_OUT}")
    for name in _FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    wanted = " or ".join(f"{name}/" for name in _FOLDERS[split])
    raise SpiderEyeError(
        f"dataset.root={root} has no {wanted}; found: {_listing(root)}; {_WAYS_OUT}"
    )


def find_panoramas(folder: Path) -> list[Path]:
    """The picture files below a folder, sorted by path; what starts with a dot is left out."""
    found: list[Path] = []
    # Data sets are often put together with links to folders, hence followlinks, and a guard
    # against links in a circle or to a folder that is there already.
    seen = {os.path.realpath(folder)}
    for where, folders, files in os.walk(folder, followlinks=True):
        inside = sorted(name for name in folders if not name.startswith("."))
        folders.clear()
        for name in inside:
            place = os.path.realpath(Path(where, name))
            if place not in seen:
                seen.add(place)
                folders.append(name)
        found += [
            Path(where, name)
            for name in files
            if not name.startswith(".") and Path(name).suffix.lower() in PICTURE_SUFFIXES
        ]
    return sorted(found)


def complaint(path: Path, min_width: int = 0) -> str | None:
    """What is wrong with a file as a panorama of min_width pixels, or None; names its path."""
    try:
        width, height = probe(path)
    except PictureError as error:
        return str(error)
    if abs(width / (2 * height) - 1) > ASPECT_TOLERANCE:
        return f"{path}: {width}x{height} pixels, but a full panorama is 2:1"
    if width < min_width:
        return f"{path}: {width} pixels wide, but {min_width} are needed"
    return None


def _first_good(
    files: list[Path], min_width: int, limit: int | None, stop: bool
) -> tuple[list[Path], list[str]]:
    """The first `limit` good files, and the complaints about the bad ones on the way to them."""
    good: list[Path] = []
    bad: list[str] = []
    # Threads: the wait is for the disk, on a network drive a long one for each file.
    with ThreadPoolExecutor(max_workers=8) as pool:
        while files and (limit is None or len(good) < limit):
            wanted = len(files) if limit is None else limit - len(good)
            batch, files = files[:wanted], files[wanted:]
            complaints = pool.map(lambda file: complaint(file, min_width), batch)
            for file, trouble in zip(batch, complaints, strict=True):
                if trouble is None:
                    good.append(file)
                else:
                    bad.append(trouble)
            if stop and bad:
                break
    return good, bad


def _bad_files(bad: list[str]) -> SpiderEyeError:
    if len(bad) == 1:
        return SpiderEyeError(
            f"{bad[0]}; mend or remove the file, or leave it out with dataset.on_bad_file=skip"
        )
    head = (
        f"{len(bad)} bad files; mend or remove them, or leave them out with "
        "dataset.on_bad_file=skip:"
    )
    return SpiderEyeError("\n  ".join([head, *bad]))


def _listing(folder: Path, most: int = 8) -> str:
    """What a folder holds, for an error message."""
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not entries:
        return "nothing"
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
