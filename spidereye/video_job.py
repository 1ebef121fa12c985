"""`spidereye video`: the videos of a rig's views to one 360° video."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from rich.console import Console
from torch import Tensor

from spidereye import stopped_video
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.progress import notes_console, progress
from spidereye.shot_files import by_name
from spidereye.shots import file_labels, widths_of
from spidereye.sphere_boxes import say_spherical
from spidereye.steady import Poses, SteadyCalibration
from spidereye.stitch_files import check_none_lacks, refinement_lines, say_coverage
from spidereye.stitch_job import StitchJob, geometric_stitcher, model_stitcher, rig_of
from spidereye.stitch_many import settings_of
from spidereye.stitcher import Stitcher
from spidereye.temporal_smoothing import TemporalSmoothing
from spidereye.video_writing import (
    CODECS,
    SUFFIXES,
    FFmpegError,
    PanoramaVideo,
    Sound,
    has_sound,
)
from spidereye.view_videos import Frame, Moment, ViewFrames, ViewVideos
from spidereye.whole_files import unwritable, whole_file

_NO_SOUND = "none"
_POSES_FROM = 5  # moments of the video
_EVEN = 1.5  # the longest interval to the shortest; a frame that was dropped makes 2


@dataclass(frozen=True)
class VideoJob:
    """stitch: what to stitch and how; its images are videos, its output an .mp4.

    offsets: seconds to add to a view's timestamps, as "right=0.12".   sound: name of the view whose
    sound is kept, none, or None for the first that has any.   codec: of CODECS.   quality: the
    encoder's constant rate factor.   start, seconds: which part of the videos; None: to the end.
    smooth: even out what a model makes over time; the geometric stitch stays as it is.
    """

    stitch: StitchJob
    offsets: list[str] = field(default_factory=list)
    sound: str | None = None
    codec: str = "h264"
    quality: int = 18
    start: float = 0.0
    seconds: float | None = None
    smooth: bool = True

    def check(self) -> None:
        """SpiderEyeError for values that make no sense, alone or together."""
        self.stitch.check()
        if self.stitch.output.suffix.lower() not in SUFFIXES:
            raise SpiderEyeError(
                f"{self.stitch.output}: the video is written as MP4; let it end in "
                f"{' or '.join(SUFFIXES)}"
            )
        self.stitch.check_output()
        if not self.smooth and self.stitch.method == "geometric":
            raise SpiderEyeError("--no-smooth goes with --method model: nothing else is smoothed")
        if None in self.stitch.pictures:
            raise SpiderEyeError("a video needs every view: - is for pictures only")
        if self.codec not in CODECS:
            raise SpiderEyeError(f"--codec takes {', '.join(CODECS)}; got {self.codec!r}")
        best = 1 if self.codec == "av1" else 0  # its encoder takes 0 for not given
        if not best <= self.quality <= 51:
            raise SpiderEyeError(f"--crf is from {best} to 51 for {self.codec}, got {self.quality}")
        if not 0 <= self.start < math.inf or not (self.seconds is None or self.seconds > 0):
            raise SpiderEyeError("--start is 0 or more, and --seconds more than 0")


@dataclass
class _Making:
    """Makes the frames of a video in their order, each by what those before it were like.

    smoothing: over time, or None.   console: gets what users should know, as
    what was refined on the first frame made.
    """

    job: StitchJob
    stitcher: Stitcher
    steady: SteadyCalibration
    smoothing: TemporalSmoothing | None
    console: Console
    said: bool = False

    def frame(self, moment: Moment, pictures: Sequence[Frame | None]) -> UInt8[np.ndarray, "H W 3"]:
        """The panorama of a moment; None stands for a view that has no picture then."""
        if _is_whole(pictures):
            found = self.steady.at(moment.seconds, pictures)
        else:
            found = self.steady.lacking(pictures)
        made = self.stitcher(pictures, steps=self.job.steps, seed=self.job.seed, found=found)
        if not self.said:
            for line in refinement_lines(made, self.stitcher.refine):
                self.console.print(f"first frame: {line}")
            self.said = True
        return made.picture if self.smoothing is None else self.smoothing(made.picture)

    def state(self) -> dict[str, dict[str, Tensor]]:
        """What the frames to come depend on, for `restore`."""
        states = {"colours": self.steady.state()}
        return states if self.smoothing is None else {**states, "smoothing": self.smoothing.state()}

    def restore(self, stopped: stopped_video.StoppedVideo) -> None:
        """Go on as the stopped video would have."""
        self.steady.restore(stopped.of("colours"))
        if self.smoothing is not None:
            self.smoothing.restore(stopped.of("smoothing"))


def stitch_videos(job: VideoJob) -> None:
    """Make the video and say what was seen. Raises SpiderEyeError for what cannot be done, and
    Interrupt after Ctrl-C, with a video of what was done in its place, which the same call goes on
    with."""
    job.check()
    console = notes_console()
    stitcher = model_stitcher(job.stitch) if job.stitch.method == "model" else None
    rig = stitcher.rig if stitcher is not None else rig_of(job.stitch)
    check_none_lacks(job.stitch.pictures, rig)
    paths = [path for path in by_name(job.stitch.pictures, rig) if path is not None]
    labels = file_labels(rig)
    if len(paths) != len(labels):
        raise SpiderEyeError(
            f"expected {len(labels)} videos, {', '.join(labels)}, got {len(paths)}"
        )
    videos = ViewVideos.open(paths, _offsets(job.offsets, labels))
    moments = videos.moments(job.start, job.seconds)
    for line in videos.notes(labels):
        console.print(f"note: {line}")
    with ViewFrames(videos) as frames:
        if stitcher is None or stitcher.fits:
            (first,) = frames.pictures(moments[:1])
            if stitcher is None:
                stitcher = geometric_stitcher(job.stitch, rig, widths_of(first))
            stitcher = stitcher.fitted(first)
        say_coverage(job.stitch, stitcher, console)
        some = frames.pictures(_spread(moments)) if stitcher.refine else ()
        steady = SteadyCalibration(stitcher, Poses.of(stitcher, filter(_is_whole, some)))
        smoothing = TemporalSmoothing() if job.smooth and job.stitch.method == "model" else None
        making = _Making(job.stitch, stitcher, steady, smoothing, console)
        sound = _sound(job.sound, videos, labels, moments)
        try:
            done = _write(job, making, frames, moments, sound)
        except (OSError, FFmpegError) as error:
            raise unwritable(job.stitch.output, error) from error
    for line in frames.notes(labels):
        console.print(f"note: {line}")
    width, height = stitcher.size
    what = f"{job.stitch.output}: {done} frames of {width}x{height}, {stitcher.origin}"
    if done < len(moments):
        raise Interrupt(f"stopped; {what}, of {len(moments)}; the same command goes on")
    print(what)


def _write(
    job: VideoJob,
    making: _Making,
    frames: ViewFrames,
    moments: Sequence[Moment],
    sound: Sound | None,
) -> int:
    """How many frames are written, those of an earlier call with the same settings among them.
    Raises SpiderEyeError for a frame that cannot be made, with those before it written as if it had
    been stopped there; OSError and FFmpegError where nothing can be written."""
    output = job.stitch.output
    settings = _settings(job, making.stitcher, frames.videos)
    stopped = stopped_video.find(output, settings)
    done, trouble = 0, None
    if stopped is not None:
        done = stopped.frames
        making.restore(stopped)
        making.console.print(f"going on after {done} of {len(moments)} frames of {output}")
    with stop_after_step() as stop, whole_file(output) as file:
        before = output if done else None
        interval, size = frames.videos.interval, making.stitcher.size
        video = PanoramaVideo(
            file, size, interval, job.codec, job.quality, sound, before, _are_even(moments)
        )
        try:
            with progress("frames", len(moments), done) as meter:
                left = moments[done:]
                coming = frames.pictures(left, moments[:done])
                for moment, pictures in zip(left, coming, strict=False):
                    try:
                        made = making.frame(moment, pictures)
                    except SpiderEyeError as error:
                        if not done:
                            raise
                        trouble = error
                        break
                    video.write(made, moment.seconds)
                    done += 1
                    meter.advance()
                    if stop.requested:
                        break
            video.close(moments[done - 1].seconds + interval)
        except BaseException:
            video.abandon()
            raise
        file.flush()
        say_spherical(Path(file.name))
    if done < len(moments):
        stopped_video.keep(output, settings, done, making.state())
    else:
        stopped_video.forget(output)
    if trouble is not None:
        raise SpiderEyeError(f"{trouble}; {output} has the {done} frames before that") from trouble
    return done


def _settings(job: VideoJob, stitcher: Stitcher, videos: ViewVideos) -> str:
    """What the frames and their encoding depend on."""
    files = [line.path.stat() for line in videos.timelines]
    return json.dumps(
        {
            **settings_of(job.stitch, stitcher),
            "videos": [str(line.path.resolve()) for line in videos.timelines],
            "files": [[file.st_size, file.st_mtime_ns] for file in files],
            "offsets": videos.offsets, "codec": job.codec, "quality": job.quality,
            "start": job.start, "seconds": job.seconds, "smooth": job.smooth, "sound": job.sound,
        }
    )  # fmt: skip


def _are_even(moments: Sequence[Moment]) -> bool:
    """Whether they come at nearly equal intervals."""
    steps = [after.seconds - now.seconds for now, after in pairwise(moments)]
    return not steps or max(steps) <= _EVEN * min(steps)


def _is_whole(pictures: Sequence[Frame | None]) -> bool:
    """Whether every view has a picture."""
    return all(picture is not None for picture in pictures)


def _spread(moments: Sequence[Moment]) -> list[Moment]:
    """A few moments over the whole video, the first among them."""
    count = min(_POSES_FROM, len(moments))
    last = len(moments) - 1
    return [moments[round(k * last / max(1, count - 1))] for k in range(count)]


def _offsets(given: Sequence[str], labels: Sequence[str]) -> dict[int, float]:
    found = {}
    for text in given:
        label, _, value = text.partition("=")
        try:
            seconds = float(value)
        except ValueError:
            seconds = math.nan
        if label not in labels or not math.isfinite(seconds):
            raise SpiderEyeError(
                f"--offset is a view and the seconds to add to its times, as {labels[-1]}=0.12, "
                f"got {text!r}; the views are {', '.join(labels)}"
            )
        found[labels.index(label)] = seconds
    return found


def _sound(
    wanted: str | None, videos: ViewVideos, labels: Sequence[str], moments: Sequence[Moment]
) -> Sound | None:
    if wanted == _NO_SOUND:
        return None
    if wanted is not None and wanted not in labels:
        raise SpiderEyeError(
            f"--audio is one of {', '.join(labels)}, or {_NO_SOUND}, got {wanted!r}"
        )
    length = moments[-1].seconds - moments[0].seconds + videos.interval
    for number, (label, line) in enumerate(zip(labels, videos.timelines, strict=True)):
        if label == wanted or (wanted is None and has_sound(line.path)):
            return Sound(line.path, videos.seconds_at(moments[0], number), length)
    return None
