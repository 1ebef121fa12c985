"""Panoramas to a 360° MP4, frame after frame, with the sound of one of the views.

Importing this module raises SpiderEyeError where PyAV is not installed.
"""

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError, require_extra

try:
    import av
except ImportError as error:
    raise require_extra("video", "av") from error

from av import AudioFrame, AudioResampler, Codec, Packet, VideoFrame
from av.bitstream import BitStreamFilterContext
from av.error import ArgumentError, FFmpegError
from av.video.reformatter import ColorRange, Colorspace

CODECS = {"h264": "libx264", "hevc": "libx265", "av1": "libsvtav1"}
SUFFIXES = (".mp4", ".mov", ".m4v")
_CLOCK = Fraction(1, 90_000)  # seconds; what MPEG counts in
_BT709 = 1  # colour primaries, transfer and matrix (ITU-T H.273)
_WITH_LENGTHS = {"h264": "h264_mp4toannexb", "hevc": "hevc_mp4toannexb"}
# What MP4 holds; other sound becomes AAC.
_SOUND = ("aac", "ac3", "eac3", "opus", "alac", "flac")
_ANY_RATE = 48_000  # samples a second, where AAC has none like the sound's


@dataclass(frozen=True)
class Sound:
    """The sound of a video from `start` seconds of its own clock on, for so many seconds."""

    path: Path
    start: float
    seconds: float


class PanoramaVideo:
    """A video that is being written: `write` frames in the order of their times, then `close`.

    file: an empty file to write.   size: (W, H), both even.   interval: seconds from frame to
    frame, on the mean.   codec: of CODECS.   quality: the encoder's constant rate factor, less is
    better.   before: a video that this class wrote with the same settings, whose frames are the
    first of this one, as they were encoded.   even: whether frames come at nearly equal intervals.
    Raises SpiderEyeError for sizes that cannot be encoded and sound that cannot be read or written,
    FFmpegError where the file cannot be written.
    """

    def __init__(
        self,
        file: BinaryIO,
        size: tuple[int, int],
        interval: float,
        codec: str = "h264",
        quality: int = 18,
        sound: Sound | None = None,
        before: Path | None = None,
        even: bool = True,
    ):
        if size[0] % 2 or size[1] % 2:
            raise SpiderEyeError(
                f"videos have even numbers of rows and columns, got {size[0]}x{size[1]}; give "
                "another --size"
            )
        self._size = size
        self._container = av.open(file, "w", format="mp4")
        rate = Fraction(1 / interval).limit_denominator(1001)
        self._stream: Any = self._container.add_stream(CODECS[codec], rate=rate)
        self._stream.width, self._stream.height = size
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": str(quality)}
        if codec == "av1":  # 1: of its remarks on the terminal only errors
            os.environ.setdefault("SVT_LOG", "1")
        if codec == "hevc":  # the tag that Apple's players want, and no remarks on the terminal
            self._stream.codec_context.codec_tag = "hvc1"
            self._stream.options |= {"x265-params": "log-level=none"}
        context = self._stream.codec_context
        # About a second from keyframe to keyframe: players seek to them.
        context.gop_size = max(1, 2 * round(1 / interval / 2))
        context.time_base = _CLOCK
        # MP4's length is a sum over the order of decoding. Where that is not the order of showing,
        # it is right at equal intervals only.
        if not even:
            context.max_b_frames = 0
        context.color_primaries = context.color_trc = context.colorspace = _BT709
        context.color_range = ColorRange.MPEG
        self._sound = None if sound is None else _SoundTrack(self._container, sound)
        self._container.start_encoding()  # so that its trouble is not taken for the sound's
        self._decoded_by = -math.inf  # the time stamp of the last packet, which only grow
        if before is not None:
            for packet in _packets(before, codec):
                self._mux_sound(float((packet.pts or 0) * packet.time_base))
                self._mux([packet])

    def write(self, picture: UInt8[np.ndarray, "H W 3"], seconds: float) -> None:
        """A frame at so many seconds after the first. Raises SpiderEyeError for sound that cannot
        be written, FFmpegError where the file cannot be."""
        self._mux_sound(seconds)
        frame = VideoFrame.from_ndarray(picture, format="rgb24").reformat(
            format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
        )
        frame.pts, frame.time_base = round(seconds / _CLOCK), _CLOCK
        self._mux(self._stream.encode(frame))

    def close(self, seconds: float) -> None:
        """Finish the file; `seconds`: how long it lasts, for the sound. Raises as `write` does."""
        self._mux(self._stream.encode(None))
        self._mux_sound(seconds)
        if self._sound is not None:
            self._sound.mux_rest()
        self._container.close()

    def _mux_sound(self, seconds: float) -> None:
        """What sounds up to so many seconds after the first frame."""
        if self._sound is not None:
            self._sound.mux_until(seconds)

    def _mux(self, packets: Sequence[Any]) -> None:
        """Pictures' packets. Those of an encoder that starts anew in the midst of a video may want
        to be decoded no later than the last ones; then it is a tick later."""
        for packet in packets:
            packet.stream = self._stream
            when = packet.dts * packet.time_base
            if when <= self._decoded_by:
                packet.dts = math.floor(self._decoded_by / packet.time_base) + 1
                when = packet.dts * packet.time_base
            self._decoded_by = when
            self._container.mux(packet)

    def abandon(self) -> None:
        """Let go of what is open; the file is of no use."""
        if self._sound is not None:
            self._sound.close()


class _SoundTrack:
    """Packets of sound for a container, as they are where MP4 holds them, else made AAC."""

    def __init__(self, container: Any, sound: Sound):
        self._container, self._sound = container, sound
        try:
            self._input = av.open(str(sound.path.absolute()))  # 12:30.mp4 would be a protocol
        except (FFmpegError, OSError) as error:
            raise self._error("read", error) from error
        if not self._input.streams.audio:
            raise SpiderEyeError(f"{sound.path} has no sound; name another view or none")
        stream = self._input.streams.audio[0]
        if stream.codec_context.name in _SOUND:
            self._stream = container.add_stream_from_template(stream)
            self._packets = self._shifted(stream)
        else:
            rate = stream.codec_context.sample_rate
            if rate not in (Codec("aac", "w").audio_rates or ()):
                rate = _ANY_RATE
            self._stream = container.add_stream("aac", rate=rate, layout="stereo")
            try:
                self._stream.codec_context.open()
            except FFmpegError as error:
                raise self._error("made AAC", error) from error
            self._packets = self._encoded(stream, rate)
        self._waiting: Packet | None = None
        self._begun = False  # with encoding

    def mux_until(self, seconds: float) -> None:
        """What sounds up to so many seconds after the first frame, and was not written yet. Raises
        SpiderEyeError for sound that cannot be written, FFmpegError where the file cannot be."""
        while True:
            try:
                packet = self._waiting or next(self._packets, None)
            except FFmpegError as error:
                raise self._error("made AAC", error) from error
            self._waiting = packet
            if packet is None:
                return
            if packet.pts is not None and float(packet.pts * packet.time_base) > seconds:
                return
            self._waiting = None
            self._mux(packet)

    def mux_rest(self) -> None:
        """What the encoder still holds. Raises as `mux_until` does."""
        self.close()
        for packet in self._stream.encode(None) if self._begun else ():
            self._mux(packet)

    def close(self) -> None:
        """Close the video that the sound comes from."""
        self._input.close()

    def _mux(self, packet: Packet) -> None:
        try:
            self._container.mux(packet)
        except ArgumentError as error:  # what MP4 does not hold, such as times that go back
            raise self._error("written", error) from error

    def _error(self, done: str, error: Exception) -> SpiderEyeError:
        reason = getattr(error, "strerror", None) or error
        return SpiderEyeError(
            f"{self._sound.path}: its sound cannot be {done}: {reason}; leave it out with "
            "--audio none"
        )

    def _shifted(self, stream: Any) -> Iterator[Packet]:
        shift = round(self._sound.start / stream.time_base)
        for packet in self._demuxed(stream):
            if packet.pts is None or packet.pts < shift:
                continue
            packet.pts -= shift
            packet.dts = packet.pts if packet.dts is None else packet.dts - shift
            packet.stream = self._stream
            yield packet

    def _encoded(self, stream: Any, rate: int) -> Iterator[Packet]:
        resampler = AudioResampler("fltp", "stereo", rate)
        skipped = round(self._sound.start * rate)
        for packet in self._demuxed(stream):
            for frame in packet.decode():
                for part in resampler.resample(frame):
                    yield from self._encode(part, skipped, rate)

    def _encode(self, frame: AudioFrame, skipped: int, rate: int) -> list[Packet]:
        if frame.pts is None:
            return []
        # What needs no resampling keeps the clock of its file.
        sample = round(frame.pts * (frame.time_base or Fraction(1, rate)) * rate)
        if sample < skipped:
            return []
        frame.pts, frame.time_base = sample - skipped, Fraction(1, rate)
        self._begun = True
        return self._stream.encode(frame)

    def _demuxed(self, stream: Any) -> Iterator[Packet]:
        """Packets of the sound, up to where it ends or cannot be read further."""
        end = self._sound.start + self._sound.seconds
        try:
            for packet in self._input.demux(stream):
                if packet.pts is not None and float(packet.pts * packet.time_base) >= end:
                    return
                if packet.size:
                    yield packet
        except FFmpegError:
            return


def _packets(path: Path, codec: str) -> Iterator[Packet]:
    """The encoded pictures of an MP4, as an encoder gives them: with start codes in place of the
    lengths that MP4 has."""
    with av.open(str(path.absolute())) as container:
        stream = container.streams.video[0]
        filters = None
        if codec in _WITH_LENGTHS:
            filters = BitStreamFilterContext(_WITH_LENGTHS[codec], stream)
        for packet in container.demux(stream):
            if packet.size:
                yield from [packet] if filters is None else filters.filter(packet)


def has_sound(path: Path) -> bool:
    """Whether a video holds sound."""
    try:
        with av.open(str(path.absolute())) as container:
            return bool(container.streams.audio)
    except (FFmpegError, OSError):
        return False
