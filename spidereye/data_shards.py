"""A folder of panoramas as WebDataset tar shards.

The conventions of WebDataset: a sample's key is its path up to the first dot of its last part, and
what follows the dot says what it is. So a/b.jpg is the key a/b with the entry jpg. Dots inside a
name are written as %2E (and % as %25), which `ShardSource` undoes.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.progress import progress
from spidereye.resuming import is_done
from spidereye.sources.files import listing, split_folder
from spidereye.sources.folder import FolderSource
from spidereye.sources.tar_index import index_tar
from spidereye.whole_files import unwritable, whole_file

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@dataclass(frozen=True)
class Shard:
    """A tar to write. members: (file, name in the tar, size in bytes)."""

    path: Path
    members: tuple[tuple[Path, str, int], ...]


def write_shards(folder: Path, out: Path, shard_size: str = "1GB", skip_bad: bool = False) -> int:
    """Write out/<split>/<split>-000000.tar … for the splits below a folder; returns how many.

    shard_size: of a tar at most (unless one picture is larger), as 500MB or 2GB. skip_bad: leave
    out unusable pictures, with a list, instead of stopping. Order and bytes of the tars depend on
    the pictures alone. Shards that are there already are left, so the same call goes on with what
    an interrupted one left. Raises SpiderEyeError; a shard is there whole or not at all.
    """
    limit = parse_size(shard_size)
    split_folder(folder, None)
    if os.path.realpath(out) == os.path.realpath(folder):  # which stands links in a circle
        raise SpiderEyeError(f"-o {out} is the folder of the pictures; name another one")
    splits = [name for name in ("train", "val", "eval") if (folder / name).is_dir()]
    if "val" in splits and "eval" in splits:
        splits.remove("eval")  # as everywhere: eval/ counts where there is no val/
    if not splits:
        raise SpiderEyeError(
            f"{folder} has no train/ or val/; found: {listing(folder)}; make them with "
            "`spidereye data split`"
        )
    shards = [shard for name in splits for shard in plan(folder, name, out, limit, skip_bad)]
    todo = [shard for shard in shards if not _is_written(shard)]
    _refuse_strangers(shards, out, splits)
    pictures = sum(len(shard.members) for shard in todo)
    with progress("packing", pictures) as meter:
        for shard in todo:
            _write(shard)
            meter.advance(len(shard.members))
    return len(shards)


def plan(folder: Path, name: str, out: Path, limit: int, skip_bad: bool) -> Iterator[Shard]:
    """The shards of the split in folder/name, each of at most `limit` bytes of tar."""
    on_bad_file = "skip" if skip_bad else "stop"
    source = FolderSource(folder, "train" if name == "train" else "val", on_bad_file=on_bad_file)
    files = [folder / panorama for panorama in source.names]
    members: list[tuple[Path, str, int]] = []
    keys: dict[str, Path] = {}
    number, used = 0, 2 * tarfile.BLOCKSIZE
    for path in files:
        member = member_name(path.relative_to(folder / name))
        key = member.rsplit(".", 1)[0]
        if key in keys:
            raise SpiderEyeError(
                f"{keys[key]} and {path} differ in their suffix only, which WebDataset takes for "
                "parts of one sample; rename one of them"
            )
        keys[key] = path
        size = path.stat().st_size
        needed = tarfile.BLOCKSIZE * -(-size // tarfile.BLOCKSIZE)
        needed += len(_header(member, size).tobuf(tarfile.PAX_FORMAT))  # long names take several
        if members and _whole_records(used + needed) > limit:
            yield Shard(out / name / f"{name}-{number:06d}.tar", tuple(members))
            members, number, used = [], number + 1, 2 * tarfile.BLOCKSIZE
        members.append((path, member, size))
        used += needed
    yield Shard(out / name / f"{name}-{number:06d}.tar", tuple(members))


def _whole_records(size: int) -> int:
    """The size of a tar of so many bytes, which is filled up with zeros."""
    return -(-size // tarfile.RECORDSIZE) * tarfile.RECORDSIZE


def member_name(below: Path) -> str:
    """The name in a shard of a picture at this path below its split's folder."""
    folders = below.parent.as_posix().replace("%", "%25")
    stem = below.stem.replace("%", "%25").replace(".", "%2E")
    return f"{stem}{below.suffix}" if folders == "." else f"{folders}/{stem}{below.suffix}"


def parse_size(text: str) -> int:
    """Bytes of a size such as 500MB, 1.5G or 2GiB; SpiderEyeError for anything else."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?) ?([KMGT]?)(i?)B?", text.strip(), re.IGNORECASE)
    size = 0.0
    if found:
        unit = _UNITS[found[2].upper()]
        if found[3]:
            unit = 2 ** (10 * list(_UNITS).index(found[2].upper()))
        size = float(found[1]) * unit
    if size < 1:
        raise SpiderEyeError(f"--shard-size {text!r} is not a size; write for example 500MB or 2GB")
    return int(size)


def _is_written(shard: Shard) -> bool:
    """Whether the shard is there and newer than its pictures; SpiderEyeError if it is another."""
    if not shard.path.exists():
        return False
    found, bad = index_tar(shard.path)
    there = [(member.name, member.size) for member in found]
    if bad or there != [(name, size) for _, name, size in shard.members]:
        raise SpiderEyeError(
            f"{shard.path} is in the way: it holds other pictures than it would now (made from "
            "other files, or with another --shard-size?); remove it, or write elsewhere with -o"
        )
    return is_done([shard.path], [path for path, _, _ in shard.members], 0)


def _refuse_strangers(shards: list[Shard], out: Path, splits: list[str]) -> None:
    planned = {shard.path for shard in shards}
    for name in splits:
        others = sorted(set((out / name).glob("*.tar")) - planned)
        if others:
            raise SpiderEyeError(
                f"{others[0]} is there too and would be read as part of {name}; remove it, or "
                "write elsewhere with -o"
            )


def _header(name: str, size: int) -> tarfile.TarInfo:
    """Of a member. Owner 0, time 0: the same bytes every time."""
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info


def _write(shard: Shard) -> None:
    try:
        with (
            whole_file(shard.path) as file,
            tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar,
        ):
            for path, name, size in shard.members:
                info = _header(name, size)
                with path.open("rb") as picture:
                    tar.addfile(info, picture)
    except OSError as error:
        raise unwritable(shard.path, error) from error
