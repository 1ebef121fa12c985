"""A folder of panoramas as train/ and val/, so that no place is in both."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES
from spidereye.places import place_of, split_of
from spidereye.progress import progress
from spidereye.sources import Split
from spidereye.sources.files import VIDEO_SUFFIXES, find_files, listing, split_folder
from spidereye.sources.folder import complaint
from spidereye.whole_files import temporary_beside, unwritable

PLACES = ("folder", "name", "file")


@dataclass(frozen=True)
class Assignment:
    """One file: where it is, its path below the folder it came from, its place and its split."""

    path: Path
    below: Path
    place: str
    split: Split


def assign(folder: Path, val: float, seed: int, places: str = "folder") -> list[Assignment]:
    """Assign every picture and video below a folder to train or val.

    val: the share of places that goes to val, about. A place's split is a hash of place and seed,
    so it stays what it is when files are added. places says which files show one place:
    "folder": those of one subfolder; files directly in the folder go by name
    "name": those whose names agree up to a number, time of day or weather (`places.place_of`)
    "file": every file is a place of its own
    Raises SpiderEyeError where there is nothing to split, or a split would be empty.
    """
    if not 0 < val < 1:
        raise SpiderEyeError(f"--val {val:g} must lie between 0 and 1, for example 0.1")
    if places not in PLACES:
        raise SpiderEyeError(f"--places {places} is unknown; use {', '.join(PLACES)}")
    split_folder(folder, None)
    if (folder / "train").is_dir() and places == "folder":
        raise SpiderEyeError(
            f"{folder} has a train/ already, and its subfolders are taken for places; split its "
            "subfolders one by one, or use --places name"
        )
    files = find_files(folder, (*PICTURE_SUFFIXES, *VIDEO_SUFFIXES))
    if not files:
        raise SpiderEyeError(
            f"no pictures or videos below {folder}: found {listing(folder)}; name a folder of them"
        )
    belows = [path.relative_to(folder) for path in files]
    named = [_place(below, places) for below in belows]
    splits: dict[str, Split] = {place: split_of(place, seed, val) for place in named}
    if len(set(splits.values())) < 2:
        raise SpiderEyeError(_one_sided(splits, seed, val, places))
    return [
        Assignment(path, below, place, splits[place])
        for path, below, place in zip(files, belows, named, strict=True)
    ]


def unusable(assignments: list[Assignment]) -> int:
    """How many of the pictures could not be used as panoramas."""
    paths = (item.path for item in assignments)
    pictures = [path for path in paths if path.suffix.lower() in PICTURE_SUFFIXES]
    return sum(complaint(path) is not None for path in pictures)


def write_split(assignments: list[Assignment], out: Path, link: bool) -> Counter[str]:
    """Link or copy the files to out/train and out/val, below the paths they had.

    Files that are there already are left; the same call goes on with what an interrupted one left.
    Each file appears whole or not at all. Raises SpiderEyeError, before anything is written, where
    out lies in the folder that the files come from, another file is in the way, or a file lies in
    the other split, from another seed perhaps.
    Returns how many files are new.
    """
    place = Path(os.path.realpath(out))  # which stands links that lead in a circle
    within = {place, *place.parents}
    for folder in {item.path.parents[len(item.below.parts) - 1] for item in assignments}:
        if Path(os.path.realpath(folder)) in within:
            raise SpiderEyeError(
                f"-o {out} lies in {folder}, the folder that is split: the next call would take "
                "its files for more of them; choose another folder"
            )
    todo: list[tuple[Path, Path]] = []
    for item in assignments:
        other = out / ("val" if item.split == "train" else "train") / item.below
        if other.exists() or other.is_symlink():
            raise SpiderEyeError(
                f"{other} is there, but belongs to {item.split} now: {out} was made with another "
                "--seed, --val or --places; use the same ones, or remove it"
            )
        target = out / item.split / item.below
        source = Path(os.path.realpath(item.path))
        if not (target.exists() or target.is_symlink()):
            todo.append((source, target))
        elif not _is_same(source, target, link):
            raise SpiderEyeError(
                f"{target} is in the way: it is not a {'link to' if link else 'copy of'} {source}; "
                "remove it, or write to another folder with -o"
            )
    new: Counter[str] = Counter()
    with progress("linking" if link else "copying", len(todo)) as meter:
        for source, target in todo:
            _place_file(source, target, link)
            new[target.relative_to(out).parts[0]] += 1
            meter.advance()
    return new


def _place(below: Path, places: str) -> str:
    if places == "file":
        return below.as_posix()
    if places == "folder" and below.parent != Path():
        return below.parent.as_posix()
    return place_of(below.name)


def _one_sided(splits: dict[str, Split], seed: int, val: float, by: str) -> str:
    missing = "val" if "train" in splits.values() else "train"
    count = len(splits)
    text = f"no place falls to {missing}: there {'is' if count == 1 else 'are'} {count}, by {by}"
    if count == 1:
        finer = PLACES[PLACES.index(by) + 1 :]
        return f"{text}; " + (f"try --places {finer[0]}" if finer else "one file cannot be split")

    def distance(candidate: int) -> float:
        share = sum(split_of(place, candidate, val) == "val" for place in splits) / count
        return abs(share - val) if 0 < share < 1 else 2.0

    best = min(range(1000), key=distance)
    return f"{text}, and each is drawn with --val {val:g} at --seed {seed}; try --seed {best}"


def _is_same(source: Path, target: Path, link: bool) -> bool:
    if link or target.is_symlink():
        return link and target.is_symlink() and os.path.realpath(target) == str(source)
    here, there = source.stat(), target.stat()
    return here.st_size == there.st_size and int(here.st_mtime) == int(there.st_mtime)


def _place_file(source: Path, target: Path, link: bool) -> None:
    temporary = temporary_beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if link:
                temporary.symlink_to(source)
            else:
                shutil.copy2(source, temporary)
                with temporary.open("rb") as file:
                    os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(target, error) from error
