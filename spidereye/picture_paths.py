"""Pictures as people name them on a command line: files, folders, patterns."""

from collections.abc import Sequence
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES
from spidereye.sources.files import find_files, listing


def names_a_file(name: str) -> bool:
    """Whether it can be part of a file's name on every system."""
    return bool(name) and not set(name) & set('/\\:*?"<>|\0\n')


def matching_pictures(names: Sequence[str]) -> list[Path]:
    """The picture files that names stand for, each once: a file, every picture below a folder, or
    what a pattern with *, ? and [] matches (** for folders of any depth), sorted within a name.

    Raises SpiderEyeError for a name that stands for nothing.
    """
    found: dict[Path, None] = {}  # a set that keeps its order
    for name in names:
        path = _path_of(name)
        if not name:  # an unset variable of the shell, and not the current folder
            raise SpiderEyeError("an empty name; give picture files, folders or patterns")
        if path.is_file():
            pictures = [path]
        elif path.is_dir():
            pictures = find_files(path, PICTURE_SUFFIXES)
            if not pictures:
                raise SpiderEyeError(f"no pictures below {path}: found {listing(path)}")
        else:
            pictures = _matches(path)
            if not pictures:
                what = "matches no picture" if set("*?[") & set(name) else "is not there"
                raise SpiderEyeError(f"{name} {what}; give picture files, folders or patterns")
        found |= dict.fromkeys(pictures)
    return list(found)


def _path_of(name: str) -> Path:
    """With ~ as the home folder, unless a file is called so or nobody is."""
    path = Path(name)
    try:
        return path if path.exists() else path.expanduser()
    except RuntimeError:  # there is no such user
        return path


def _matches(path: Path) -> list[Path]:
    try:
        matches = Path(path.anchor).glob(str(path.relative_to(path.anchor)))
        return sorted(p for p in matches if p.suffix.lower() in PICTURE_SUFFIXES and p.is_file())
    except (ValueError, NotImplementedError, OSError):  # "", "**a": no pattern
        return []
