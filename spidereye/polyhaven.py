"""Panoramas of Poly Haven as a data set: chosen, downloaded, tone mapped, split by place.

Layer: verbs. What a folder holds is noted in its SOURCES.tsv after each panorama, so that the same
command goes on where it was stopped and downloads nothing that is there.
"""

import contextlib
import math
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TypeVar

from spidereye.downloads import Patience, fetch
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt, StopRequest, stop_after_step
from spidereye.parallel import each_in_threads
from spidereye.picture_writing import write_picture
from spidereye.pictures import read_picture
from spidereye.places import place_of, split_of
from spidereye.polyhaven_api import POLY_HAVEN, Asset, PolyHaven, RadianceFile, choose, thousands
from spidereye.progress import progress
from spidereye.provenance import SourceRow, read_sources, write_sources
from spidereye.sources.folder import complaint
from spidereye.whole_files import write_whole

_LICENSE = """\
The panoramas in this folder come from Poly Haven, https://polyhaven.com. They are in the public
domain: CC0 1.0 Universal, https://creativecommons.org/publicdomain/zero/1.0/, see
https://polyhaven.com/license. SOURCES.tsv lists where each of them came from; its page is
https://polyhaven.com/a/<asset>. They were tone mapped from high dynamic range to 8-bit sRGB.
"""
_MEGABYTE = 1_000_000
_LISTED = 20  # failures that the error message names

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Collection:
    """What to collect, and where. Error messages name the fields as options of the command."""

    folder: Path
    n: int = 100  # panoramas
    resolution: str = "1k"  # thousands of pixels in width; the next lower where there is none
    val: float = 0.1  # about this share of the places goes to val/
    seed: int = 0  # of the choice and of the split
    jobs: int = 4  # downloads at a time
    suffix: str = "jpg"  # jpg (quality 95, 4:4:4) | png
    keep_hdr: bool = False  # keep what was downloaded, in hdr/
    api: str = POLY_HAVEN
    patience: Patience | None = None  # with the network; None: Patience()

    def check(self) -> None:
        """SpiderEyeError for a value that makes no sense."""
        for right, message in (
            (self.n >= 1, f"--n {self.n}: ask for at least one panorama"),
            (
                thousands(self.resolution),
                f"--resolution {self.resolution}: expected one such as 1k, 2k, 4k or 8k",
            ),
            (0 <= self.val <= 1, f"--val {self.val}: expected a share from 0 to 1"),
            (1 <= self.jobs <= 16, f"--jobs {self.jobs}: expected 1 to 16 downloads at a time"),
            (self.suffix in ("jpg", "png"), f"--format {self.suffix}: expected jpg or png"),
        ):
            if not right:
                raise SpiderEyeError(message)

    def split(self, asset: str) -> str:
        """train or val, the same for all assets of a place."""
        return split_of(place_of(asset), self.seed, self.val)

    def picture(self, asset: str) -> str:
        """Where an asset's picture goes, below the folder."""
        return f"{self.split(asset)}/{asset}.{self.suffix}"

    def radiance(self, asset: str, resolution: str) -> Path:
        """Where an asset's download goes."""
        return self.folder / "hdr" / f"{asset}_{resolution}.hdr"


def collect(wanted: Collection, say: Callable[[str], object]) -> None:
    """Fill wanted.folder with train/, val/, LICENSE.txt and SOURCES.tsv.

    say is given what the user should read, line by line. Raises SpiderEyeError for what cannot be
    done, and in the end for panoramas that could not be had, the others being there; Interrupt
    after Ctrl-C.
    """
    wanted.check()
    rows = read_sources(wanted.folder)
    for row in rows.values():
        if row.split != wanted.split(row.asset):
            raise SpiderEyeError(
                f"{wanted.folder / row.file}: --seed {wanted.seed} --val {wanted.val:g} puts this "
                "place into the other split; use the seed and share of the first time, or another "
                "folder (-o)"
            )
    with stop_after_step() as request:
        _Collector(wanted, rows, request, say).run()


class _Collector:
    """The steps of one run, and what they share."""

    def __init__(
        self,
        wanted: Collection,
        rows: dict[str, SourceRow],
        request: StopRequest,
        say: Callable[[str], object],
    ):
        self.wanted, self.rows, self.say = wanted, rows, say
        self.failures: dict[str, SpiderEyeError] = {}
        self._request, self._stop = request, threading.Event()
        self._api = PolyHaven(wanted.api, wanted.patience, self._stop)
        self._tone_mapping = threading.Lock()  # one at a time: 4k was seen to take 540 MB
        self._counting = threading.Lock()
        self._arrived = 0  # bytes

    def run(self) -> None:
        chosen = self._choose()
        files = self._find([asset for asset in chosen if not self._is_there(asset)])
        if files:
            self._check_space(files)
            write_whole(self.wanted.folder / "LICENSE.txt", _LICENSE)
            self._download(files)
        self._summarise(len(chosen))

    def _choose(self) -> list[Asset]:
        assets: list[Asset] = []
        for _, listed in self._in_threads(PolyHaven.panoramas, [self._api]):
            if isinstance(listed, SpiderEyeError):
                raise listed
            assets = listed
        if not assets:
            raise SpiderEyeError(f"{self.wanted.api} lists no panoramas; is --api right?")
        if len(assets) < self.wanted.n:
            self.say(f"Poly Haven has {len(assets)} panoramas; all of them are taken")
        return choose(assets, self.wanted.n, self.wanted.seed)

    def _find(self, assets: list[Asset]) -> list[RadianceFile]:
        """Where the files lie of the panoramas that are still missing."""
        files: list[RadianceFile] = []
        find = partial(self._api.radiance_file, resolution=self.wanted.resolution)
        with progress("asking for files", len(assets)) as meter:
            for asset, file in self._in_threads(find, assets):
                if isinstance(file, SpiderEyeError):
                    self.failures[asset.id] = file
                else:
                    files.append(file)
                meter.advance()
        lower = [file for file in files if file.resolution != self.wanted.resolution]
        if lower:
            names = sorted(f"{file.asset.id} ({file.resolution})" for file in lower)
            self.say(f"not at {self.wanted.resolution}, so at the next lower: {', '.join(names)}")
        return [file for file in files if not self._is_there(file.asset, file)]

    def _is_there(self, asset: Asset, file: RadianceFile | None = None) -> bool:
        """Whether nothing is left to do for an asset. file: what the API has, once asked."""
        row = self.rows.get(asset.id)
        if row is None or row.file != self.wanted.picture(asset.id):
            return False
        if file is None and row.resolution != self.wanted.resolution:
            return False
        if file is not None and (row.md5, row.resolution) != (file.md5, file.resolution):
            return False
        if self.wanted.keep_hdr and not self.wanted.radiance(asset.id, row.resolution).exists():
            return False
        return (self.wanted.folder / row.file).exists()

    def _check_space(self, files: list[RadianceFile]) -> None:
        sizes = sorted((file.size for file in files), reverse=True)
        # A picture of 8 bits takes less than its .hdr; those at work are there at the same time.
        needed = sum(sizes) + sum(sizes if self.wanted.keep_hdr else sizes[: self.wanted.jobs])
        folder = self.wanted.folder.absolute()
        free = shutil.disk_usage(next(p for p in (folder, *folder.parents) if p.exists())).free
        if needed > free:
            raise SpiderEyeError(
                f"{self.wanted.folder}: {len(files)} panoramas need up to {_size(needed)}, the "
                f"disk has {_size(free)} free; choose a smaller --n or --resolution, or another "
                "folder (-o)"
            )

    def _download(self, files: list[RadianceFile]) -> None:
        megabytes = math.ceil(sum(file.size for file in files) / _MEGABYTE)
        done = 0
        with progress("downloading, MB:", megabytes) as meter:

            def tick() -> None:
                news = min(self._arrived // _MEGABYTE, megabytes - 1) - meter.done
                if news > 0:
                    meter.advance(news, f"({done} of {len(files)} panoramas)")

            for file, picture in self._in_threads(self._make, files, tick):
                if isinstance(picture, SpiderEyeError):
                    self.failures[file.asset.id] = picture
                else:
                    self._record(file, picture)
                    done += 1
            meter.advance(megabytes - meter.done, f"({done} of {len(files)} panoramas)")
        with contextlib.suppress(OSError):  # it stays where it holds something
            (self.wanted.folder / "hdr").rmdir()

    def _make(self, file: RadianceFile) -> str:
        """Download, check and tone map one panorama; the picture's place below the folder."""
        path = self.wanted.radiance(file.asset.id, file.resolution)
        fetch(
            file.url, path, md5=file.md5, size=file.size, patience=self.wanted.patience,
            stop=self._stop, on_bytes=self._count,
        )  # fmt: skip
        trouble = complaint(path)
        if trouble:
            raise SpiderEyeError(trouble.text)
        picture = self.wanted.picture(file.asset.id)
        with self._tone_mapping:
            write_picture(self.wanted.folder / picture, read_picture(path))
        return picture

    def _record(self, file: RadianceFile, picture: str) -> None:
        """Note a finished panorama, and only then remove what it replaces or was made from."""
        asset, folder = file.asset, self.wanted.folder
        before = self.rows.get(asset.id)
        self.rows[asset.id] = SourceRow(
            picture, self.wanted.split(asset.id), asset.id, asset.name, file.resolution, file.url,
            file.md5, "CC0 1.0 (Poly Haven)", datetime.now(UTC).date().isoformat(),
        )  # fmt: skip
        write_sources(folder, self.rows)
        if before is not None and before.file != picture:
            (folder / before.file).unlink(missing_ok=True)
        if not self.wanted.keep_hdr:
            self.wanted.radiance(asset.id, file.resolution).unlink(missing_ok=True)

    def _count(self, news: int) -> None:
        with self._counting:
            self._arrived += news

    def _in_threads(
        self,
        work: Callable[[_Item], _Result],
        items: Sequence[_Item],
        tick: Callable[[], object] = lambda: None,
    ) -> Iterator[tuple[_Item, _Result | SpiderEyeError]]:
        """Results and errors as they come; then Interrupt, where Ctrl-C has cut them short."""
        jobs = self.wanted.jobs
        for item, result in each_in_threads(work, items, jobs, self._request, self._stop, tick):
            if isinstance(result, Exception) and not isinstance(result, SpiderEyeError):
                raise result  # a mistake of ours
            yield item, result
        if self._stop.is_set():
            raise Interrupt(
                f"stopped; {len(self.rows)} panoramas are in {self.wanted.folder}, the same "
                "command gets the others"
            )

    def _summarise(self, asked: int) -> None:
        splits = [row.split for row in self.rows.values()]
        places = len({place_of(asset) for asset in self.rows})
        train, val = splits.count("train"), splits.count("val")
        if self.rows:
            self.say(
                f"{self.wanted.folder}: {len(splits)} panoramas of {places} places, {train} in "
                f"train/, {val} in val/. CC0, powered by Poly Haven (https://polyhaven.com)"
            )
            if 0 < self.wanted.val < 1 and not (train and val):
                self.say(
                    "WARNING: one split is empty; choose a larger --n, or start over with "
                    "another --val or --seed"
                )
        if self.failures:
            lines = [f"{asset}: {error}" for asset, error in sorted(self.failures.items())]
            more = [f"and {len(lines) - _LISTED} more"] if len(lines) > _LISTED else []
            raise SpiderEyeError(
                "\n  ".join([
                    f"{len(lines)} of {asked} panoramas could not be had; the same command tries "
                    "these again:", *lines[:_LISTED], *more,
                ])
            )  # fmt: skip


def _size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"
