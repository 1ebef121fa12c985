"""Finding the files of a split: which folder it is, and what lies below it in any depth."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES
from spidereye.sources.bad_files import WAYS_OUT, Complaint

VIDEO_SUFFIXES = (".mp4", ".mov", ".mkv", ".avi", ".webm")
SHARD_SUFFIXES = (".tar",)
SUFFIXES = {"folder": PICTURE_SUFFIXES, "video": VIDEO_SUFFIXES, "shards": SHARD_SUFFIXES}
_FOLDERS = {"train": ("train",), "val": ("val", "eval")}


def split_folder(root: str | Path, split: Literal["train", "val"] | None) -> Path:
    """The folder of a split below root, root itself for None.

    Raises SpiderEyeError where root or the folder is missing.
    """
    if not str(root):
        raise SpiderEyeError(f"no data: dataset.root is empty; {WAYS_OUT}")
    root = Path(root)
    if not root.is_dir():
        reason = "it is a file" if root.exists() else "there is no such folder"
        ways_out = "name a folder" if split is None else WAYS_OUT
        raise SpiderEyeError(f"no data at {root}: {reason}; {ways_out}")
    if split is None:
        return root
    for name in _FOLDERS[split]:
        if (root / name).is_dir():
            return root / name
    wanted = " or ".join(f"{name}/" for name in _FOLDERS[split])
    raise SpiderEyeError(f"dataset.root={root} has no {wanted}; found: {listing(root)}; {WAYS_OUT}")


def find_files(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    """The files below a folder with one of the suffixes (lower case, with dot), sorted by path.

    Raises SpiderEyeError for a folder that cannot be listed.
    """
    return sorted(path for path in walk(folder) if path.suffix.lower() in suffixes)


def walk(folder: Path, unlisted: list[Complaint] | None = None) -> Iterator[Path]:
    """All files below a folder, in no order; what starts with a dot is left out, and what is no
    file, a pipe say, which a reader would wait for.

    unlisted: gets a complaint about each folder that cannot be listed, whose files are missing;
    None: such a folder raises SpiderEyeError.
    """
    # Data sets are often put together with links to folders, which are followed, hence a guard
    # against links in a circle or to a folder that is there already.
    seen = {os.path.realpath(folder)}
    waiting = [str(folder)]
    while waiting:
        where = waiting.pop()
        try:
            with os.scandir(where) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            text = f"{where}: the folder cannot be listed: {error.strerror or error}"
            if unlisted is None:
                raise SpiderEyeError(f"{text}; let it be read, or name other folders") from error
            unlisted.append(Complaint("unreadable", text))
            continue
        inside: list[str] = []
        for entry in entries:
            # lost+found: of disks' own, which only root may look into.
            hidden = entry.name.startswith(".") or entry.name == "lost+found"
            kind = None if hidden else _kind(entry)
            if kind == "file":
                yield Path(entry.path)
            elif kind == "folder" and (place := os.path.realpath(entry.path)) not in seen:
                seen.add(place)
                inside.append(entry.path)
        waiting += reversed(inside)


def _kind(entry: os.DirEntry[str]) -> Literal["file", "folder"] | None:
    """What an entry is, or leads to; a link that leads nowhere is a file, which cannot be read."""
    try:
        if entry.is_dir():
            return "folder"
        if entry.is_file():
            return "file"
        entry.stat()  # raises where a link leads nowhere
        return None
    except OSError:
        return "file"


def files_of_type(folder: Path, kind: str) -> list[Path]:
    """The files below a folder that dataset.type=`kind` reads, a key of SUFFIXES, sorted by path.

    Raises SpiderEyeError where there are none, saying which types would read what is there.
    """
    files = find_files(folder, SUFFIXES[kind])
    if files:
        return files
    counts = {name: len(find_files(folder, suffixes)) for name, suffixes in SUFFIXES.items()}
    others = [f"{count} for dataset.type={name}" for name, count in counts.items() if count]
    hint = f" (but {', '.join(others)})" if others else ""
    raise SpiderEyeError(
        f"no panoramas below {folder}: found {listing(folder)}, but no "
        f"{', '.join(suffix[1:] for suffix in SUFFIXES[kind])}{hint}; {WAYS_OUT}"
    )


def listing(folder: Path, most: int = 8) -> str:
    """What a folder holds, for an error message."""
    entries = sorted(entry.name + "/" * entry.is_dir() for entry in folder.iterdir())
    if not entries:
        return "nothing"
    rest = f" and {len(entries) - most} more" if len(entries) > most else ""
    return ", ".join(entries[:most]) + rest
