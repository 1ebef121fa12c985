"""Files that appear whole or not at all, whatever stops the program that writes them."""

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from spidereye.errors import SpiderEyeError

_MOST_LETTERS = 50  # of a name that its temporary has too: of up to 4 bytes each, of 255 in all


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write that will stand at `path`: written beside it, synced and renamed once the
    block has ended well; an earlier file stays as it was until then. Missing folders are made. A
    link stays a link, and its target is what is written; one in a circle is replaced.

    OSErrors pass as they are.
    """
    path = Path(os.path.realpath(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """A new name, hidden and free, for what is renamed to `path` once it is whole."""
    return path.with_name(f".{path.name[:_MOST_LETTERS]}.{secrets.token_hex(4)}.tmp")


def write_whole(path: Path, data: str | bytes) -> None:
    """Write a file, text in UTF-8. Raises SpiderEyeError where it cannot be written."""
    try:
        with whole_file(path) as file:
            file.write(data.encode() if isinstance(data, str) else data)
    except OSError as error:
        raise unwritable(path, error) from error


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file is below a folder, by whatever links; those in a circle lead to themselves."""
    return Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents


def check_place(path: Path) -> None:
    """Raises SpiderEyeError where no file can be written at `path`: for before the work that makes
    it, which would be lost."""
    try:
        if path.is_dir():
            raise SpiderEyeError(f"{path} is a folder: name a file in it")
        place = Path(os.path.realpath(path))
        nearest = next(folder for folder in place.parents if folder.exists())
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise unwritable(path, error) from error


def unwritable(path: Path, error: Exception) -> SpiderEyeError:
    """What to raise where a file could not be written."""
    return SpiderEyeError(f"{path}: cannot be written: {getattr(error, 'strerror', '') or error}")
