"""One video file: which frames it has, found without decoding, and any of them, exactly.

A frame is known by its timestamp. To get one, the file is read from the last keyframe before it and
decoded up to it: always from the same packet, so that the picture does not depend on what was read
before. Timestamps are integers in the stream's own unit (`Timeline.unit` seconds).

Importing this module raises SpiderEyeError where PyAV is not installed.
"""

import contextlib
import itertools
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import require_extra
from spidereye.pictures import PictureError

try:
    import av
except ImportError as error:
    raise require_extra("video", "av") from error

from av import Packet, VideoFrame
from av.container import InputContainer
from av.error import FFmpegError
from av.video.reformatter import Colorspace
from av.video.stream import VideoStream

_EARLY = 0.5  # seconds that the last packet may end before the length that the file announces
_TEXT, _PICTURES = "tty", ("_pipe", "image2")  # FFmpeg makes films of texts and pictures, too
_UNNAMED = 2  # matrix coefficients "unspecified" (ITU-T H.273)
_MOST_REORDERED = 32  # frames; H.264 and HEVC hold back 16 at most


@dataclass(frozen=True)
class Timeline:
    """The frames of one video, in the order of their timestamps.

    times: one timestamp a frame.   keys: (timestamp, decoding time) of each keyframe, ascending.
    damaged: packets that the file itself marks as damaged.   missing: seconds that the file
    announces but does not hold, 0 where it ends as it should.
    """

    path: Path
    unit: Fraction
    times: tuple[int, ...]
    keys: tuple[tuple[int, int], ...]
    damaged: int
    missing: float

    @property
    def seconds(self) -> float:
        """From the first frame to the last."""
        return float((self.times[-1] - self.times[0]) * self.unit)


def read_timeline(path: Path) -> Timeline:
    """Reads a video's packets without decoding them.

    Raises PictureError, naming the file, where it cannot be opened or holds no frames.
    """
    times: set[int] = set()
    keys: dict[int, int] = {}
    damaged, end = 0, 0.0
    with _opened(path) as (container, stream):
        announced = _announced_seconds(container, stream)
        for packet in _until_broken(container.demux()):
            label = _label(packet)
            if label is None or packet.time_base is None:
                continue
            end = max(end, float((label + (packet.duration or 0)) * packet.time_base))
            if packet.stream_index != stream.index or packet.is_discard or _is_hidden(packet):
                continue
            if packet.is_corrupt:
                damaged += 1
                continue
            times.add(label)
            if packet.is_keyframe:
                keys[label] = label if packet.dts is None else packet.dts
        unit = stream.time_base or Fraction(1)
        started = (container.start_time or 0) / 1e6
    if not keys:
        raise PictureError(f"{path}: the video has no keyframe, so nothing of it can be decoded")
    # What comes before the first keyframe has nothing that it could be decoded from.
    whole = tuple(sorted(time for time in times if time >= min(keys)))
    missing = announced - (end - started)
    return Timeline(
        path, unit, whole, tuple(sorted(keys.items())), damaged, missing if missing > _EARLY else 0
    )


class VideoDecoder:
    """An open video. Not to be shared between processes, which would share the file's position."""

    def __init__(self, path: Path, keys: Sequence[tuple[int, int]]) -> None:
        self.path = path
        self._keys = keys
        self._open = contextlib.ExitStack()
        self._run: Iterator[VideoFrame] = iter(())
        self._run_key = -1  # where in keys the run began
        self._passed: set[int] = set()  # timestamps of the frames that the run has given
        self._container, self._stream = self._open.enter_context(_opened(path))

    def close(self) -> None:
        """Close the file."""
        self._open.close()

    def frame(self, time: int) -> UInt8[np.ndarray, "H W 3"]:
        """The frame with this timestamp as RGB; PictureError where it is damaged or missing."""
        key = bisect_right(self._keys, time, key=lambda pair: pair[0]) - 1
        # A few streams (frames of an open group without timestamps of their own) need the keyframe
        # before that.
        for start in (key, key - 1):
            if start < 0:
                break
            found = self._search(start, time)
            if found is not None:
                return _to_rgb(found)
        raise self._error(time, "it is not there")

    def _search(self, key: int, time: int) -> VideoFrame | None:
        if key != self._run_key or time in self._passed:
            self._run, self._run_key, self._passed = self._decode_from(key), key, set()
        later = 0
        for frame in self._run:
            if frame.pts is None:
                continue
            self._passed.add(frame.pts)
            if frame.pts == time:
                return frame
            later += frame.pts > time
            if later > _MOST_REORDERED:
                break
        self._run_key = -1
        return None

    def _decode_from(self, key: int) -> Iterator[VideoFrame]:
        """Frames from a keyframe to the end, or to the first damaged one, which raises."""
        start = self._keys[key][0]
        for packet in self._packets_from(key):
            label = _label(packet)
            packet.pts = label
            trouble = ""
            try:
                frames = packet.decode()
            except FFmpegError as error:
                trouble = _reason(error)
                # What came before the damage and is held back is whole.
                frames = self._drained()
            for frame in frames:
                # Before the keyframe lie frames of the group before, which lack their references.
                if frame.pts is not None and frame.pts < start:
                    continue
                if frame.is_corrupt:
                    raise self._error(frame.pts, "its data is damaged")
                yield frame
            if trouble and (label is None or label >= start):
                raise self._error(label, trouble)

    def _packets_from(self, key: int) -> Iterator[Packet]:
        time, decoding_time = self._keys[key]
        self._container.seek(decoding_time, stream=self._stream)
        packets = self._demux()
        for packet in packets:
            label = _label(packet)
            if label is None or (label > time and packet.is_keyframe):
                break
            if label == time:
                return itertools.chain([packet], packets)
        # The file's table of keyframes leads past it: read on from the beginning.
        self.close()
        self._container, self._stream = self._open.enter_context(_opened(self.path))
        packets = self._demux()
        return itertools.dropwhile(lambda packet: _label(packet) not in (time, None), packets)

    def _demux(self) -> Iterator[Packet]:
        return _until_broken(self._container.demux(self._stream))

    def _drained(self) -> list[VideoFrame]:
        try:
            return self._stream.codec_context.decode(None)
        except FFmpegError:
            return []

    def _error(self, time: int | None, reason: str) -> PictureError:
        self._run_key = -1
        unit = self._stream.time_base or Fraction(1)
        place = "a frame" if time is None else f"the frame at {float(time * unit):.2f} s"
        return PictureError(f"{self.path}: {place} cannot be decoded: {reason}")


def size_at(decoder: VideoDecoder, time: int) -> tuple[int, int]:
    """(width, height) of the frame with this timestamp."""
    height, width = decoder.frame(time).shape[:2]
    return width, height


def first_other_size(
    decoder: VideoDecoder, timeline: Timeline
) -> tuple[int, tuple[int, int]] | None:
    """Timestamp of the keyframe where the pictures change size, with the new size, or None.

    Looks at the first and the last keyframe, and searches between them only where they differ: a
    change to another size and back is not seen. Frames that cannot be decoded count as unchanged.
    """
    times = [time for time, _ in timeline.keys]
    first = size_at(decoder, times[0])

    def new_size(time: int) -> tuple[int, int] | None:
        try:
            size = size_at(decoder, time)
        except PictureError:
            return None
        return size if size != first else None

    changed = new_size(times[-1])
    if changed is None:
        return None
    place = bisect_left(times, True, key=lambda time: new_size(time) is not None)
    return times[place], new_size(times[place]) or changed


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    try:
        container = av.open(str(path.absolute()))  # 12:30.mp4 would be a protocol
    except (FFmpegError, OSError, ValueError) as error:
        raise PictureError(f"{path}: not a video that can be read: {_reason(error)}") from error
    with container:
        kind = container.format.name
        if kind == _TEXT:
            raise PictureError(f"{path}: not a video: it is text")
        if kind.endswith(_PICTURES):
            raise PictureError(f"{path}: not a video but a picture; `spidereye stitch` takes those")
        if not container.streams.video:
            raise PictureError(f"{path}: there is no video in this file")
        stream = container.streams.video[0]
        if stream.codec_context is None:
            raise PictureError(f"{path}: no decoder for this video; convert it, to H.264 say")
        # Workers are processes already; and with threads errors come late, at other frames.
        stream.codec_context.thread_count = 1
        yield container, stream


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _until_broken(packets: Iterator[Packet]) -> Iterator[Packet]:
    """The packets up to where the file cannot be read further."""
    try:
        yield from packets
    except FFmpegError:
        return


def _label(packet: Packet) -> int | None:
    """What a packet's frame is known by: AVI has no times of presentation."""
    return packet.dts if packet.pts is None else packet.pts


def _is_hidden(packet: Packet) -> bool:
    """Whether it is a VP8 frame that is only referred to, never shown (RFC 6386, 9.1)."""
    context = packet.stream.codec_context
    return context.name == "vp8" and packet.size > 0 and not bytes(packet)[0] >> 4 & 1


def _announced_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The length that the header speaks of; 0 where it does not."""
    # AVI's own length is guessed from the file's size, which is the question.
    if "avi" in container.format.name and stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1e6


def _to_rgb(frame: VideoFrame) -> UInt8[np.ndarray, "H W 3"]:
    """The frame as players show it: turned as the file says, colours by the matrix that the stream
    names; BT.709 from 720 lines on and BT.601 below where it names none."""
    matrix = None
    if int(frame.colorspace) == _UNNAMED and frame.height >= 720:
        matrix = Colorspace.ITU709
    # One thread: a forked worker that frees a converter of its parent would wait for threads that
    # it does not have, or crash.
    picture = frame.to_ndarray(format="rgb24", src_colorspace=matrix, threads=1)
    quarters = round(frame.rotation / 90) % 4  # counterclockwise
    return np.ascontiguousarray(np.rot90(picture, quarters)) if quarters else picture
