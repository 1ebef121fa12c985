"""Panoramas in a folder with train/ and val/ (or eval/), in any depth of subfolders.

Every file is looked at when the source is opened, header and end only, so that a bad one is known
before the work starts and not in its third hour.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from jaxtyping import UInt8

from spidereye.pictures import PictureError, probe, read_picture
from spidereye.sources.bad_files import Complaint, check_choice, settle
from spidereye.sources.files import (
    files_of_type,
    split_folder,
)
from spidereye.sources.source import Origin, file_origin

ASPECT_TOLERANCE = 0.01  # how far width / height may be from 2, relative

T = TypeVar("T")


class FolderSource:
    """The panoramas below root/train, or root/val (root/eval where there is no val), by path.

    split None: everything below root. min_width: pixels, a narrower panorama is a bad file.
    on_bad_file: "stop" raises one error that lists every bad file, "skip" warns with the same list
    and leaves them out. limit: only the first so many good files, None for all; those after them
    are not looked at. Videos and tars that lie in the same folders are not read.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"] | None,
        min_width: int = 0,
        on_bad_file: str = "stop",
        limit: int | None = None,
    ) -> None:
        check_choice(on_bad_file)
        folder = split_folder(root, split)
        files = files_of_type(folder, "folder")
        good, bad = first_good(
            files, lambda file: complaint(file, min_width), limit, on_bad_file == "stop"
        )
        settle(bad, len(good), folder, on_bad_file)
        self._files = good
        self.names: Sequence[str] = [file.relative_to(root).as_posix() for file in good]

    def __len__(self) -> int:
        return len(self._files)

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` as 8-bit RGB, at least min_width pixels wide where its file is.

        Raises PictureError with the path where the file cannot be decoded after all.
        """
        return read_picture(self._files[index], min_width)

    def origin(self, index: int) -> Origin | None:
        """The file of panorama `index`."""
        return file_origin(self._files[index])


def complaint(path: Path, min_width: int = 0) -> Complaint | None:
    """What is wrong with a file as a panorama of min_width pixels, or None; names its path."""
    try:
        width, height = probe(path)
    except PictureError as error:
        return Complaint("unreadable", str(error))
    return size_complaint(path, width, height, min_width)


def size_complaint(
    name: Path | str, width: int, height: int, min_width: int = 0
) -> Complaint | None:
    """What is wrong with a size in pixels, or None."""
    if abs(width / (2 * height) - 1) > ASPECT_TOLERANCE:
        return Complaint("not 2:1", f"{name}: {width}x{height} pixels, but a full panorama is 2:1")
    if width < min_width:
        return Complaint("too narrow", f"{name}: {width} pixels wide, but {min_width} are needed")
    return None


def first_good(
    files: Sequence[T],
    look: Callable[[T], Complaint | None],
    limit: int | None,
    stop: bool,
) -> tuple[list[T], list[Complaint]]:
    """The first `limit` good files, and the complaints about the bad ones on the way to them."""
    good: list[T] = []
    bad: list[Complaint] = []
    # Threads: the wait is for the disk, on a network drive a long one for each file.
    with ThreadPoolExecutor(max_workers=8) as pool:
        while files and (limit is None or len(good) < limit):
            wanted = len(files) if limit is None else limit - len(good)
            batch, files = files[:wanted], files[wanted:]
            for file, trouble in zip(batch, pool.map(look, batch), strict=True):
                if trouble is None:
                    good.append(file)
                else:
                    bad.append(trouble)
            if stop and bad:
                break
    return good, bad
