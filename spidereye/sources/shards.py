"""Panoramas in WebDataset tar shards, on disk or behind URLs, in the order of shards and members.

A tar is read at random through an index of its members, so that shards are split over processes
and workers by sample like any other source: nothing is lost or repeated, and a panorama is the same
sample under the same name as in the folder that the shards were made from (`spidereye data
shards`). Shards behind URLs are fetched once, into a cache.
"""

import glob
import hashlib
import itertools
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

import numpy as np
from jaxtyping import UInt8

from spidereye.downloads import Patience, fetch
from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES, PictureError, probe, read_picture
from spidereye.progress import progress
from spidereye.sources.bad_files import Complaint, check_choice, settle
from spidereye.sources.files import (
    files_of_type,
    split_folder,
)
from spidereye.sources.folder import first_good, size_complaint
from spidereye.sources.source import Origin, file_origin
from spidereye.sources.tar_index import Member, index_tar

_URL = ("http://", "https://")
_MOST_SHARDS = 1_000_000  # that one pattern may stand for


class ShardSource:
    """The pictures in the tar shards of a split.

    root, split: the shards are those below root/train or root/val (root/eval); split None: all
    below root. pattern: where they are instead, a path below root, an absolute path or a URL, with
    {000..012} and {a,b} for several and, where it is a path, * and ?. cache: folder for what comes
    from URLs, None for ~/.cache/spidereye/shards. min_width: pixels. on_bad_file: "stop" raises one
    error that lists every truncated shard and bad picture, "skip" warns with the same list and
    takes the rest. limit: of panoramas; shards after the last one needed are neither fetched nor
    looked at.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"] | None,
        pattern: str | None = None,
        cache: str | Path | None = None,
        min_width: int = 0,
        on_bad_file: str = "stop",
        limit: int | None = None,
        patience: Patience | None = None,
    ) -> None:
        check_choice(on_bad_file)
        shards, prefix = find_shards(root, split, pattern)
        self._members: list[Member] = []
        bad: list[Complaint] = []
        stop = on_bad_file == "stop"
        quiet = os.environ.get("LOCAL_RANK", "0") != "0" or len(shards) < 10
        with progress("reading shards", len(shards), quiet=quiet) as meter:
            for shard in shards:
                path = local_shard(shard, cache, patience)
                members, complaints = index_tar(path, is_picture)
                left = None if limit is None else limit - len(self._members)
                good, worse = first_good(
                    members, lambda member: complaint(member, min_width), left, stop
                )
                self._members += good
                bad += [*complaints, *worse]
                meter.advance()
                if limit is not None and len(self._members) >= limit:
                    break
        settle(bad, len(self._members), shards[0], on_bad_file)
        plain = [prefix + unquote(member.name.removeprefix("./")) for member in self._members]
        often = Counter(plain)
        # Other people's shards may each count their pictures from 0.
        common = os.path.commonpath([member.tar.parent for member in self._members])
        self.names: Sequence[str] = [
            name
            if often[name] == 1
            else f"{prefix}{member.tar.relative_to(common).as_posix()}/{member.name}"
            for name, member in zip(plain, self._members, strict=True)
        ]

    def __len__(self) -> int:
        return len(self._members)

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` as 8-bit RGB, at least min_width pixels wide where its picture is.

        Raises PictureError with shard and member where it cannot be decoded after all.
        """
        return read_member(self._members[index], min_width)

    def origin(self, index: int) -> Origin | None:
        """The member of the shard's file."""
        return file_origin(self._members[index].tar, self._members[index].name)


def is_picture(name: str) -> bool:
    """Whether a member of a shard is a picture, by its suffix; dot files are not."""
    last = name.rsplit("/", 1)[-1].lower()
    return last.endswith(PICTURE_SUFFIXES) and not last.startswith(".")


def complaint(member: Member, min_width: int = 0) -> Complaint | None:
    """What is wrong with a member as a panorama of min_width pixels, or None."""
    try:
        with member.open() as file:
            width, height = probe(str(member), file)
    except PictureError as error:
        return Complaint("unreadable", str(error))
    except OSError as error:
        return Complaint("unreadable", f"{member}: {error.strerror or error}")
    return size_complaint(str(member), width, height, min_width)


def read_member(member: Member, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
    """A member as `pictures.read_picture` reads files."""
    try:
        with member.open() as file:
            return read_picture(str(member), min_width, file)
    except OSError as error:
        raise PictureError(f"{member}: {error.strerror or error}") from error


def find_shards(
    root: str | Path, split: Literal["train", "val"] | None, pattern: str | None
) -> tuple[list[str], str]:
    """Paths and URLs of a split's shards, in order, and what their panoramas' names begin with.

    SpiderEyeError where there are none.
    """
    setting = f"dataset.shards_{split or 'train'}"
    if pattern is None:
        if str(root).startswith(_URL):
            raise SpiderEyeError(
                f"dataset.root={root} is a URL, which cannot be listed: say which shards there are "
                f"with {setting}, for example {split or 'train'}/{{000000..000009}}.tar"
            )
        folder = split_folder(root, split)
        found = files_of_type(folder, "shards")
        prefix = "" if split is None else f"{folder.name}/"
        return [str(path) for path in found], prefix
    base = ""
    if str(root) and not pattern.startswith((*_URL, "/")):
        base = f"{str(root).rstrip('/')}/"
    shards: list[str] = []
    for one in expand_braces(pattern):
        place = f"{base}{one}"
        if place.startswith(_URL):
            shards.append(place)
            continue
        anchor = Path(place).anchor
        sought = Path(glob.escape(base) + one.replace("[", "[[]"))
        paths = sorted(Path(anchor).glob(str(sought.relative_to(anchor))))
        if not paths:
            raise SpiderEyeError(f"{setting}: there is no shard {place}")
        shards += map(str, paths)
    return shards, "" if split is None else f"{split}/"


def expand_braces(pattern: str) -> Iterator[str]:
    """What a pattern stands for: {000..012} counts, with leading zeros kept, {a,b} lists.

    SpiderEyeError for braces without a partner, within each other, and for endless counts.
    """
    pieces: list[Sequence[str]] = []
    total = 1
    for text, inside in re.findall(r"([^{}]+)|\{([^{}]*)\}", pattern):
        numbers = re.fullmatch(r"(\d+)\.\.(\d+)", inside)
        if text:
            pieces.append([text])
        elif numbers:
            first, last = int(numbers[1]), int(numbers[2])
            total *= max(0, last - first + 1)
            if not 0 < total <= _MOST_SHARDS:
                raise SpiderEyeError(f"{pattern}: {{{inside}}} must count up, and not so far")
            width = len(numbers[1]) if numbers[1].startswith("0") else 0
            pieces.append([f"{number:0{width}d}" for number in range(first, last + 1)])
        else:
            pieces.append(inside.split(","))
    if re.search(r"[{}]", re.sub(r"\{[^{}]*\}", "", pattern)):
        raise SpiderEyeError(f"{pattern}: a brace has no partner, or there are braces in braces")
    return map("".join, itertools.product(*pieces))


def local_shard(
    shard: str, cache: str | Path | None = None, patience: Patience | None = None
) -> Path:
    """The path of a shard, fetched first where it is a URL that is not in the cache yet."""
    if not shard.startswith(_URL):
        return Path(shard)
    folder = Path(cache) if cache else Path.home() / ".cache" / "spidereye" / "shards"
    # The hash keeps apart files of one name from several places.
    key = hashlib.sha256(shard.encode()).hexdigest()[:12]
    path = folder / f"{key}-{Path(urlsplit(shard).path).name}"
    fetch(shard, path, patience=patience)
    return path
