"""The videos of a rig's views, frame by frame, aligned by their timestamps.

The first video's frames are the clock: to each belong the frames of the others that are nearest in
time. Each view is decoded by a thread of its own, a few frames ahead, so that memory does not grow
with the videos' length.
"""

from bisect import bisect_left
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError
from spidereye.pictures import PictureError
from spidereye.sources.video_file import Timeline, VideoDecoder, read_timeline

_AHEAD = 3  # moments that are decoded before they are asked for
# Less of a view may lie outside of what all have in common before that is said.
_TRIVIAL, _TRIVIAL_SHARE = 0.5, 0.1  # seconds, of its length
Frame = UInt8[np.ndarray, "h w 3"]


@dataclass(frozen=True)
class Moment:
    """seconds: from the first moment.   times: the timestamp of each video's frame, in its unit."""

    seconds: float
    times: tuple[int, ...]


@dataclass(frozen=True)
class ViewVideos:
    """Timelines of videos, and seconds to add to the timestamps of each."""

    timelines: tuple[Timeline, ...]
    offsets: tuple[float, ...]

    @classmethod
    def open(
        cls, paths: Sequence[Path], offsets: Mapping[int, float] | None = None
    ) -> "ViewVideos":
        """Reads the files' packets, decodes nothing.   offsets: by number of the video, else 0.

        Raises PictureError for a file that is no video, SpiderEyeError where they show no moment in
        common.
        """
        made = cls(
            tuple(read_timeline(path) for path in paths),
            tuple((offsets or {}).get(number, 0.0) for number in range(len(paths))),
        )
        start, end = made.common
        if start > end:
            spans = made._spans([line.path.name for line in made.timelines])
            raise SpiderEyeError(
                f"the videos show no moment in common: {spans}; shift one with --offset"
            )
        return made

    def begin(self, number: int) -> float:
        """Seconds of a video's first frame on the common clock."""
        line = self.timelines[number]
        return float(line.times[0] * line.unit) + self.offsets[number]

    def end(self, number: int) -> float:
        """Seconds of a video's last frame on the common clock."""
        return self.begin(number) + self.timelines[number].seconds

    @property
    def common(self) -> tuple[float, float]:
        """From when to when all videos have frames, in seconds on the common clock, with half a
        frame of grace, in which the nearest frame is still the right one."""
        numbers = range(len(self.timelines))
        grace = self.interval / 2
        return max(map(self.begin, numbers)) - grace, min(map(self.end, numbers)) + grace

    @property
    def interval(self) -> float:
        """Seconds from frame to frame of the first video, on the mean."""
        line = self.timelines[0]
        return line.seconds / max(1, len(line.times) - 1) or 1 / 30

    def notes(self, labels: Sequence[str]) -> list[str]:
        """What the files lack, and what of them is left out. labels: the views' names."""
        found = []
        for label, line in zip(labels, self.timelines, strict=True):
            if line.missing:
                found.append(f"{label}: ends {line.missing:.1f} s before its announced end")
            elif line.damaged:
                count = f"{line.damaged} frame{'s are' if line.damaged > 1 else ' is'}"
                found.append(f"{label}: {count} marked as damaged, and left out")
        first, last = self.common
        for number, line in enumerate(self.timelines):
            outside = max(0, first - self.begin(number)) + max(0, self.end(number) - last)
            if outside > min(_TRIVIAL, _TRIVIAL_SHARE * line.seconds):
                grace = self.interval / 2
                start = first + grace
                shared = f"{start:.2f} to {max(start, last - grace):.2f} s"
                found.append(f"all views together: {shared}, of {self._spans(labels)}")
                break
        return found

    def moments(self, start: float = 0.0, seconds: float | None = None) -> list[Moment]:
        """One for each frame of the first video that all have, from `start` seconds after the first
        on, for so many seconds."""
        first, last = self.common
        clock, shift = self.timelines[0], self.offsets[0]
        numbers = range(1, len(self.timelines))
        found: list[Moment] = []
        begin: float | None = None
        zero = 0.0
        for time in clock.times:
            now = float(time * clock.unit) + shift
            if now < first or now > last:
                continue
            begin = now if begin is None else begin
            if now - begin < start - 1e-9:
                continue
            zero = zero if found else now
            if seconds is not None and now - zero >= seconds - 1e-9:
                break
            found.append(Moment(now - zero, (time, *(self._nearest(n, now) for n in numbers))))
        if not found:
            raise SpiderEyeError(
                f"of {last - first:.2f} s nothing is left from {start:g} s on; start earlier"
            )
        return found

    def seconds_at(self, moment: Moment, number: int) -> float:
        """When a moment is on a video's own clock, as its timestamps have it."""
        clock = self.timelines[0]
        return float(moment.times[0] * clock.unit) + self.offsets[0] - self.offsets[number]

    def _spans(self, names: Sequence[str]) -> str:
        return ", ".join(
            f"{name} {self.begin(n):.2f} to {self.end(n):.2f} s" for n, name in enumerate(names)
        )

    def _nearest(self, number: int, now: float) -> int:
        line = self.timelines[number]
        wanted = (now - self.offsets[number]) / float(line.unit)
        place = bisect_left(line.times, wanted)
        around = line.times[max(0, place - 1) : place + 1]
        return min(around, key=lambda time: abs(time - wanted))


@dataclass
class ViewFrames:
    """The pictures of moments, in their order; to be used in a with block. Of frames that cannot be
    decoded the last one that could stands in."""

    videos: ViewVideos

    def __enter__(self) -> "ViewFrames":
        self._decoders = [VideoDecoder(line.path, line.keys) for line in self.videos.timelines]
        # One thread a decoder: none may be used by two at once.
        self._threads = [ThreadPoolExecutor(1, "decoder") for _ in self._decoders]
        self._last: list[tuple[int, Frame] | None] = [None] * len(self._decoders)
        self._damaged: list[set[int]] = [set() for _ in self._decoders]
        self._first: list[int | None] = [None] * len(self._decoders)  # time of the first whole one
        return self

    @property
    def damaged(self) -> list[int]:
        """How many frames of each video could not be decoded."""
        return [len(times) for times in self._damaged]

    def notes(self, labels: Sequence[str]) -> list[str]:
        """What could not be decoded, and what stands for it. labels: the views' names."""
        found = []
        for label, times, first in zip(labels, self._damaged, self._first, strict=True):
            count = f"{len(times)} frame{'s' if len(times) > 1 else ''}"
            lacking = sum(first is None or time < first for time in times)
            if times and first is None:
                found.append(f"{label}: none of {count} could be decoded; it is missing throughout")
            elif times:
                line = f"{label}: {count} could not be decoded; the ones before stand in"
                but = f", but before {lacking} there is none: it is missing there"
                found.append(line + but if lacking else line)
        return found

    def __exit__(self, *_: object) -> None:
        for thread in self._threads:
            thread.shutdown(wait=True, cancel_futures=True)
        for decoder in self._decoders:
            decoder.close()

    def pictures(
        self, moments: Sequence[Moment], before: Sequence[Moment] = ()
    ) -> Iterator[list[Frame | None]]:
        """Of each moment one picture per video, None where not even an earlier one could be
        decoded. before: the moments that came before these, whose frames may stand in, too."""
        for number, thread in enumerate(self._threads):
            thread.submit(self._begin, number, [moment.times[number] for moment in before])
        waiting: deque[list[Future[Frame | None]]] = deque()
        coming = iter(moments)
        for moment in coming:
            waiting.append(self._asked(moment))
            if len(waiting) > _AHEAD:
                yield [future.result() for future in waiting.popleft()]
        while waiting:
            yield [future.result() for future in waiting.popleft()]

    def _asked(self, moment: Moment) -> list[Future[Frame | None]]:
        return [
            thread.submit(self._decode, number, time)
            for number, (thread, time) in enumerate(zip(self._threads, moment.times, strict=True))
        ]

    def _decode(self, number: int, time: int) -> Frame | None:
        last = self._last[number]
        if last is not None and last[0] == time:  # a slower video's frame serves several moments
            return last[1]
        try:
            frame = self._decoders[number].frame(time)
        except PictureError:
            self._damaged[number].add(time)
            return last and last[1]
        self._last[number] = time, frame
        first = self._first[number]
        self._first[number] = time if first is None else min(first, time)
        return frame

    def _begin(self, number: int, before: Sequence[int]) -> None:
        """After frames of these times, whatever was decoded since."""
        self._last[number] = None
        for time in reversed(before):
            if self._decode(number, time) is not None:
                break
