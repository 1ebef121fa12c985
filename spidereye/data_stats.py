"""What a data set consists of: how many panoramas, of which sizes and formats, in what colours."""

import math
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64, UInt8
from rich.table import Table

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES, PictureError
from spidereye.progress import progress
from spidereye.sources import FolderSource, ShardSource, Source, Split
from spidereye.sources.files import SHARD_SUFFIXES, VIDEO_SUFFIXES, find_files, split_folder

_ROWS = 64  # of a picture that are squared at a time


@dataclass
class Stats:
    """bytes: of the files.   formats: panoramas by suffix.   sizes: by (width, height) in pixels.

    mean, std: per channel R, G, B of values in [0, 1], each panorama with the same weight, its
    pixels with the area that they have on the sphere (the cosine of their latitude).
    unreadable: what could not be decoded, left out of the numbers.
    """

    bytes: int = 0
    formats: Counter[str] = field(default_factory=Counter)
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    unreadable: list[str] = field(default_factory=list)
    _sums: Float64[np.ndarray, "2 3"] = field(default_factory=lambda: np.zeros((2, 3)))

    @property
    def count(self) -> int:
        """How many panoramas."""
        return sum(self.sizes.values())

    @property
    def mean(self) -> list[float]:
        """Mean colour."""
        return (self._sums[0] / max(self.count, 1)).tolist()

    @property
    def std(self) -> list[float]:
        """Standard deviation of the colour over all panoramas together."""
        mean, square = self._sums / max(self.count, 1)
        return np.sqrt(np.maximum(square - mean**2, 0)).tolist()

    def add(self, suffix: str, picture: UInt8[np.ndarray, "H W 3"]) -> None:
        """Take one more panorama into account."""
        self.formats[suffix] += 1
        self.sizes[picture.shape[1], picture.shape[0]] += 1
        self._sums += moments(picture)

    def as_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        sizes = {f"{width}x{height}": n for (width, height), n in self.sizes.most_common()}
        return {
            "panoramas": self.count, "bytes": self.bytes, "formats": dict(self.formats),
            "sizes": sizes, "mean": self.mean, "std": self.std, "unreadable": self.unreadable,
        }  # fmt: skip


def moments(picture: UInt8[np.ndarray, "H W 3"]) -> Float64[np.ndarray, "2 3"]:
    """Mean and mean square per channel of values in [0, 1], weighted by area on the sphere."""
    height, width = picture.shape[:2]
    latitude = (0.5 - (np.arange(height) + 0.5) / height) * math.pi
    weight = np.cos(latitude) / np.cos(latitude).sum()
    rows = np.empty((2, height, 3))
    for first in range(0, height, _ROWS):
        block = picture[first : first + _ROWS].astype(np.uint32)
        rows[0, first : first + _ROWS] = block.sum(axis=1, dtype=np.uint64)
        rows[1, first : first + _ROWS] = (block * block).sum(axis=1, dtype=np.uint64)
    scale = np.array([255.0, 255.0**2])[:, None]
    return np.einsum("h,mhc->mc", weight, rows) / (width * scale)


def measure(folder: Path, frame_interval: int = 24) -> dict[str, Stats]:
    """Statistics of train and val below a folder, or of the whole folder ("all") without them.

    Everything is decoded at full size; of videos every frame_interval-th frame is. What cannot be
    used is left out with a warning. Raises SpiderEyeError where nothing can.
    """
    split_folder(folder, None)
    splits: list[Split] = []
    if (folder / "train").is_dir():
        splits.append("train")
    if (folder / "val").is_dir() or (folder / "eval").is_dir():
        splits.append("val")
    if not splits:
        return {"all": _measure(folder, None, frame_interval)}
    return {split: _measure(folder, split, frame_interval) for split in splits}


def _measure(folder: Path, split: Split | None, frame_interval: int) -> Stats:
    sources, troubles = _sources(folder, split, frame_interval)
    stats = Stats(unreadable=troubles)
    for source, files in sources:
        stats.bytes += sum(map(_bytes, files))
        with progress(f"measuring {split or folder.name}", len(source)) as meter:
            for index, name in enumerate(source.names):
                try:
                    file = re.sub(r"#\d+$", "", name)  # a frame's video
                    stats.add(Path(file).suffix.lower(), source.panorama(index, 0))
                except PictureError as error:
                    stats.unreadable.append(str(error))
                meter.advance()
    return stats


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:  # a link that leads nowhere, which is among the unreadable
        return 0


def _sources(
    folder: Path, split: Split | None, frame_interval: int
) -> tuple[list[tuple[Source, list[Path]]], list[str]]:
    """What there is of each kind, with its files, and what is wrong with kinds of which nothing can
    be used. Raises SpiderEyeError where nothing can at all."""

    def videos() -> Source:
        from spidereye.sources.video import VideoSource

        return VideoSource(folder, split, frame_interval, on_bad_file="skip")

    kinds: dict[tuple[str, ...], Callable[[], Source]] = {
        PICTURE_SUFFIXES: lambda: FolderSource(folder, split, on_bad_file="skip"),
        VIDEO_SUFFIXES: videos,
        SHARD_SUFFIXES: lambda: ShardSource(folder, split, on_bad_file="skip"),
    }
    below = split_folder(folder, split)
    found: list[tuple[Source, list[Path]]] = []
    troubles: list[SpiderEyeError] = []
    for suffixes, opened in kinds.items():
        if files := find_files(below, suffixes):
            try:
                found.append((opened(), files))
            except SpiderEyeError as error:
                troubles.append(error)
    if not found:
        nothing = SpiderEyeError(f"no pictures, videos or shards below {below}")
        raise troubles[0] if troubles else nothing
    return found, [str(error) for error in troubles]


def as_table(stats: dict[str, Stats]) -> Table:
    """The numbers, a column for each split."""
    table = Table("", *stats)
    columns = list(stats.values())
    table.add_row("panoramas", *(str(one.count) for one in columns))
    table.add_row("megabytes", *(f"{one.bytes / 1e6:.1f}" for one in columns))
    for title, part in (("formats", "formats"), ("sizes", "sizes")):
        table.add_row(title, *(_counts(getattr(one, part)) for one in columns))
    for title, part in (("mean R G B", "mean"), ("std R G B", "std")):
        values = (getattr(one, part) for one in columns)
        table.add_row(title, *(" ".join(f"{value:.4f}" for value in row) for row in values))
    if any(one.unreadable for one in columns):
        table.add_row("unreadable", *(str(len(one.unreadable)) for one in columns))
    return table


def _counts(counter: Counter[Any], most: int = 6) -> str:
    rows = [
        f"{count} × {key if isinstance(key, str) else f'{key[0]}x{key[1]}'}"
        for key, count in counter.most_common(most)
    ]
    rest = len(counter) - most
    return "\n".join([*rows, *([f"and {rest} more"] if rest > 0 else [])])
