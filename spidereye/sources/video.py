"""Frames of 360° videos as panoramas: every `interval`-th frame of each file below train/ or val/.

Which frames there are is found when the source is opened, from the packets alone; besides two
keyframes of each video nothing is decoded. Damage inside a frame is found when it is reached.
"""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PictureError
from spidereye.progress import progress
from spidereye.sources.bad_files import Complaint, check_choice, settle
from spidereye.sources.files import (
    files_of_type,
    split_folder,
)
from spidereye.sources.folder import size_complaint
from spidereye.sources.source import Origin, file_origin
from spidereye.sources.video_file import (
    VideoDecoder,
    first_other_size,
    read_timeline,
    size_at,
)

_OPEN_VIDEOS = 4  # decoders that each process keeps open


@dataclass(frozen=True)
class VideoFrames:
    """The frames of one video that are panoramas.

    numbers: of the frames, counted from 0 in order of presentation.   times, keys, unit: see
    `video_file.Timeline`.   size: (width, height) in pixels.
    """

    path: Path
    numbers: tuple[int, ...]
    times: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]
    unit: Fraction
    size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.numbers)


class VideoSource:
    """Every interval-th frame of the videos below root/train or root/val (root/eval), by path.

    split None: everything below root. most: frames per video at most, the first ones; None for all.
    min_width: pixels. on_bad_file: "stop" raises one error that lists every video that cannot be
    used as a whole, "skip" warns with the same list and takes what is whole. limit: of panoramas;
    videos after the last one needed are not looked at. Pictures that lie there are not read.
    """

    def __init__(
        self,
        root: str | Path,
        split: Literal["train", "val"] | None,
        interval: int = 24,
        most: int | None = None,
        min_width: int = 0,
        on_bad_file: str = "stop",
        limit: int | None = None,
    ) -> None:
        check_choice(on_bad_file)
        if interval < 1 or (most is not None and most < 1):
            raise SpiderEyeError(
                "dataset.frame_interval and dataset.max_frames_per_video must be greater than 0, "
                f"got {interval} and {most}"
            )
        folder = split_folder(root, split)
        files = files_of_type(folder, "video")
        self._videos: list[VideoFrames] = []
        bad: list[Complaint] = []
        quiet = os.environ.get("LOCAL_RANK", "0") != "0" or len(files) < 10
        with progress(f"reading videos below {folder.name}/", len(files), quiet=quiet) as meter:
            for path in files:
                frames, complaints = look_at(path, interval, most, min_width)
                bad += complaints
                if frames is not None:
                    self._videos.append(frames)
                meter.advance()
                if limit is not None and sum(map(len, self._videos)) >= limit:
                    break
        settle(bad, len(self._videos), folder, on_bad_file)
        self._starts = [0, *accumulate(map(len, self._videos))]
        self._length = self._starts[-1] if limit is None else min(limit, self._starts[-1])
        self.names: Sequence[str] = [
            f"{video.path.relative_to(root).as_posix()}#{number:06d}"
            for video in self._videos
            for number in video.numbers
        ][: self._length]
        self._decoders: OrderedDict[int, VideoDecoder] = OrderedDict()
        self._process = os.getpid()

    def __len__(self) -> int:
        return self._length

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_decoders": OrderedDict()}

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` as 8-bit RGB, at its full size.

        The same picture whichever were asked for before. Raises PictureError, naming video and
        frame, where it is damaged or of another size than the video's first.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"panorama {index} of {len(self)}")
        place = bisect_right(self._starts, index) - 1
        video = self._videos[place]
        picture = self._decoder(place).frame(video.times[index - self._starts[place]])
        height, width = picture.shape[:2]
        if (width, height) != video.size:
            raise PictureError(
                f"{self.names[index]}: the video changes size, from {_text(video.size)} to "
                f"{width}x{height}; cut it there"
            )
        return picture

    def origin(self, index: int) -> Origin | None:
        """The frame of the video's file."""
        place = bisect_right(self._starts, index) - 1
        video = self._videos[place]
        return file_origin(video.path, f"frame {video.numbers[index - self._starts[place]]}")

    def _decoder(self, place: int) -> VideoDecoder:
        # A worker that was forked holds its parent's decoders; both would move one file position.
        if self._process != os.getpid():
            self._decoders, self._process = OrderedDict(), os.getpid()
        if place not in self._decoders:
            if len(self._decoders) == _OPEN_VIDEOS:
                self._decoders.popitem(last=False)[1].close()
            video = self._videos[place]
            self._decoders[place] = VideoDecoder(video.path, video.keys)
        self._decoders.move_to_end(place)
        return self._decoders[place]


def look_at(
    path: Path, interval: int = 1, most: int | None = None, min_width: int = 0
) -> tuple[VideoFrames | None, list[Complaint]]:
    """The usable frames of a video, None where there are none, and what is wrong with it."""
    try:
        timeline = read_timeline(path)
        decoder = VideoDecoder(path, timeline.keys)
        try:
            size = size_at(decoder, timeline.keys[0][0])
            change = first_other_size(decoder, timeline)
        finally:
            decoder.close()
    except PictureError as error:
        return None, [Complaint("unreadable", str(error))]
    trouble = size_complaint(path, *size, min_width)
    if trouble is not None:
        return None, [trouble]
    bad: list[Complaint] = []
    if timeline.missing:
        there = f"{len(timeline.times)} frames, {timeline.seconds:.1f} s"
        bad.append(
            Complaint(
                "ends early",
                f"{path}: the video ends {timeline.missing:.1f} s before its announced end "
                f"({there} are there); copy it again",
            )
        )
    elif timeline.damaged:
        count = f"{timeline.damaged} frame{'s are' if timeline.damaged > 1 else ' is'}"
        bad.append(Complaint("damaged frames", f"{path}: {count} marked as damaged"))
    times = timeline.times
    if change is not None:
        times = tuple(time for time in times if time < change[0])
        at = f"frame {len(times)} ({float(change[0] * timeline.unit):.1f} s)"
        bad.append(
            Complaint(
                "changes size",
                f"{path}: the video changes size at {at}, from {_text(size)} to "
                f"{_text(change[1])}; cut it there",
            )
        )
    numbers = tuple(range(0, len(times), interval))[:most]
    chosen = tuple(times[number] for number in numbers)
    return VideoFrames(path, numbers, chosen, timeline.keys, timeline.unit, size), bad


def _text(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
