"""Every file below a folder that cannot be used, and why."""

import io
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from PIL import ImageChops
from PIL.JpegImagePlugin import JpegImageFile

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PICTURE_SUFFIXES, PictureError, read_picture
from spidereye.progress import Meter, progress
from spidereye.sources.bad_files import Complaint
from spidereye.sources.files import SHARD_SUFFIXES, VIDEO_SUFFIXES, listing, split_folder, walk
from spidereye.sources.folder import complaint
from spidereye.sources.shards import complaint as member_complaint
from spidereye.sources.shards import is_picture, read_member
from spidereye.sources.tar_index import index_tar

KINDS = {"picture": PICTURE_SUFFIXES, "video": VIDEO_SUFFIXES, "shard": SHARD_SUFFIXES}

# Of JPEG (ITU-T T.81, B.1.1.2): what is no marker within pixels are zeros and restarts behind 0xFF.
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_START, _END = b"\xff\xd8", b"\xff\xd9"
_ARITHMETIC = range(0xC9, 0xCC)  # their pixels may leave out zeros at the end


@dataclass(frozen=True)
class CheckReport:
    """files: how many there are of each of KINDS.   other: files of other kinds, not looked at.
    panoramas: usable ones, each frame of a video counted.   bad: what is wrong, by file."""

    files: dict[str, int]
    other: int
    panoramas: int
    bad: list[Complaint]

    def summary(self) -> str:
        """One line."""
        counts = ", ".join(f"{count} {kind}s" for kind, count in self.files.items() if count)
        text = f"{counts} with {self.panoramas} usable panoramas; "
        kinds = Counter(complaint.kind for complaint in self.bad).most_common()
        troubles = ", ".join(f"{count} {kind}" for kind, count in kinds)
        text += f"{len(self.bad)} bad: {troubles}" if self.bad else "all good"
        return text + (f"; {self.other} other files left aside" if self.other else "")


def check_files(folder: Path, min_width: int = 0, decode: bool = False) -> CheckReport:
    """Look at every picture, video and shard below a folder, and at each folder.

    min_width: pixels. decode: also decode everything, every frame of every video, which finds the
    damage that headers do not tell; in JPEGs, which have no checksums, only where data is missing
    or makes no sense. Raises SpiderEyeError where there is no such folder or nothing to look at in
    it, and where there are videos but no PyAV.
    """
    split_folder(folder, None)
    panoramas, bad = 0, []
    kind_of = {suffix: kind for kind, suffixes in KINDS.items() for suffix in suffixes}
    everything = sorted(walk(folder, unlisted=bad))
    files = [path for path in everything if path.suffix.lower() in kind_of]
    if not files:
        nothing = "no pictures, videos or shards below"
        raise SpiderEyeError(str(bad[0]) if bad else f"{nothing} {folder}: found {listing(folder)}")
    look = {"picture": _look_at_picture, "video": _look_at_video, "shard": _look_at_shard}
    with progress("checking", len(files)) as meter:
        results = _in_threads(
            files,
            lambda path: look[kind_of[path.suffix.lower()]](path, min_width, decode),
            meter,
        )
        for usable, complaints in results:
            panoramas += usable
            bad += complaints
    counts = Counter(kind_of[path.suffix.lower()] for path in files)
    return CheckReport(
        {kind: counts[kind] for kind in KINDS}, len(everything) - len(files), panoramas, bad
    )


Look = tuple[int, list[Complaint]]  # how many panoramas are usable, and what is wrong


def _in_threads(
    files: Sequence[Path], look: Callable[[Path], Look], meter: Meter
) -> Iterator[Look]:
    # Threads are enough: decoders let go of the interpreter's lock while they decode.
    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        try:
            for result in pool.map(look, files):
                meter.advance()
                yield result
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _look_at_picture(path: Path, min_width: int, decode: bool) -> Look:
    trouble = complaint(path, min_width)
    if trouble is None and decode:
        trouble = _decoded(lambda: read_picture(path)) or _ended_early(path, path.open("rb"))
    return _counted([trouble])


def _look_at_shard(path: Path, min_width: int, decode: bool) -> Look:
    members, bad = index_tar(path, is_picture)
    troubles: list[Complaint | None] = []
    for member in members:
        trouble = member_complaint(member, min_width)
        if trouble is None and decode:
            trouble = _decoded(lambda member=member: read_member(member))
            trouble = trouble or _ended_early(member, member.open())
        troubles.append(trouble)
    usable, worse = _counted(troubles)
    if not members and not bad:
        bad.append(Complaint("empty", f"{path}: there are no pictures in this tar"))
    return usable, [*bad, *worse]


def _look_at_video(path: Path, min_width: int, decode: bool) -> Look:
    from spidereye.sources.video import look_at
    from spidereye.sources.video_file import VideoDecoder

    frames, bad = look_at(path, min_width=min_width)
    if frames is None:
        return 0, bad
    broken: list[str] = []
    if decode:
        decoder = VideoDecoder(path, frames.keys)
        for time in frames.times:
            try:
                height, width = decoder.frame(time).shape[:2]
            except PictureError as error:
                broken.append(str(error))
                continue
            if (width, height) != frames.size:
                seconds = float(time * frames.unit)
                broken.append(f"{path}: changes size to {width}x{height} at {seconds:.2f} s")
        decoder.close()
    if broken:
        count = f"{len(broken)} of {len(frames)} frames cannot be used"
        bad.append(Complaint("damaged frames", f"{broken[0]} ({count})"))
    return len(frames) - len(broken), bad


def _decoded(decode: Callable[[], object]) -> Complaint | None:
    try:
        decode()
    except SpiderEyeError as error:
        return Complaint("damaged inside", str(error))
    return None


def _ended_early(name: object, file: BinaryIO) -> Complaint | None:
    """A complaint about a JPEG whose pixels end before the picture does, with an end marker behind
    them: decoders fill the rest with grey and say nothing. Then, and only then, bytes behind the
    last pixels change the picture."""
    with file:
        if file.read(2) != _START:
            return None
        data = _START + file.read()
    end = _end_of_pixels(data)
    if end is None:
        return None
    pixels = data[:end].rstrip(b"\xff")  # any number of them may fill up before a marker
    plain, more = (
        JpegImageFile(io.BytesIO(pixels + behind + _END)) for behind in (b"", b"\xaa" * 256)
    )
    with suppress(OSError):  # nor does a decoder stop at them
        if ImageChops.difference(plain, more).getbbox() is None:
            return None
    return Complaint("damaged inside", f"{name}: its data ends before the picture does")


def _end_of_pixels(data: bytes) -> int | None:
    """Where the end marker of a JPEG's first picture is; None where that cannot be told."""
    place = len(_START)
    while found := _MARKER.search(data, place):
        if found[0] == _END:
            return found.start()
        if found[0][1] in _ARITHMETIC:
            return None
        place = found.end() + int.from_bytes(data[found.end() : found.end() + 2])
    return None


def _counted(troubles: Iterable[Complaint | None]) -> Look:
    troubles = list(troubles)
    bad = [trouble for trouble in troubles if trouble is not None]
    return len(troubles) - len(bad), bad
