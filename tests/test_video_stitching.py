"""Videos of views to one 360° video: aligned, steady, with sound, marked, playable when stopped."""

import math
import os
import re
import resource
import shutil
import signal
import struct
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from made_checkpoints import tiny_checkpoint
from made_shots import shaken, small_rig, taken, world
from PIL import Image

from spidereye import Stitcher, stopped_video, video_job, video_writing, view_videos
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt
from spidereye.pictures import PictureError, to_uint8
from spidereye.rotation import angle_between
from spidereye.sources.video_file import Timeline, VideoDecoder, read_timeline
from spidereye.sphere_boxes import say_spherical
from spidereye.steady import Poses, SteadyCalibration
from spidereye.stitch_job import StitchJob
from spidereye.video_job import VideoJob, stitch_videos
from spidereye.video_writing import CODECS, has_sound
from spidereye.view_videos import ViewFrames, ViewVideos

NAMES = ("front", "right", "back", "left")
RATE = 10
SIZE = (64, 32)
LUMA = (0.2126, 0.7152, 0.0722)  # BT.709


def arrays(views) -> list[np.ndarray]:
    return [to_uint8(view[0]).permute(1, 2, 0).contiguous().numpy() for view in views]


def write(
    path: Path,
    pictures: list[np.ndarray],
    sound: str | None = None,
    rate: int = 48000,
    times: list[float] | None = None,
) -> Path:
    """Frames, 10 a second, and a tone beside them: lossless but for the change to YUV. rate: of the
    sound.   times: of the frames, in seconds."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt, stream.codec_context.gop_size = "yuv444p", 4
        clock = Fraction(1, RATE if times is None else 100)
        stream.codec_context.time_base = clock
        layout = "stereo" if sound == "vorbis" else "mono"  # which FFmpeg's own encoder asks for
        options = {"strict": "experimental"}
        track = container.add_stream(sound, rate, options, layout=layout) if sound else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = number if times is None else round(100 * times[number])
            frame.time_base = clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if track is not None:
            time = np.arange(rate * len(pictures) // RATE) / rate
            tone = (0.3 * np.sin(2 * np.pi * 440 * time)).astype(np.float32)
            tone[: len(tone) // 2] = 0  # so that its time can be told
            for start in range(0, len(tone) - 1023, 1024):
                part = (32767 * tone[None, start : start + 1024]).astype(np.int16)
                frame = av.AudioFrame.from_ndarray(part, format="s16", layout="mono")
                frame.sample_rate, frame.pts = rate, start
                frame.time_base = Fraction(1, rate)
                resampled = av.AudioResampler(track.codec_context.format, layout, rate)
                for piece in resampled.resample(frame):
                    container.mux(track.encode(piece))
            container.mux(track.encode(None))
    return path


@pytest.fixture(scope="module")
def scene() -> list[np.ndarray]:
    """The views of one moment, each with an exposure of its own."""
    return arrays(taken(world(3), small_rig(), 5))


@pytest.fixture
def videos(tmp_path, scene) -> list[Path]:
    """Twelve frames in which the light falls; a tone in the second half of the right one."""
    made = []
    for name, view in zip(NAMES, scene, strict=True):
        frames = [(view * (1 - 0.04 * number)).astype(np.uint8) for number in range(12)]
        suffix = ".mkv" if name == "right" else ".mp4"
        sound = "pcm_s16le" if name == "right" else None
        made.append(write(tmp_path / f"{name}{suffix}", frames, sound))
    return made


def job(videos: list[Path], **more) -> VideoJob:
    output = videos[0].parent / "pano.mp4"
    return replace(VideoJob(StitchJob(videos, output, "geometric", size=SIZE)), **more)


def read(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_each_frame_is_the_stitch_of_its_moment(videos, scene, capsys):
    stitch_videos(job([videos[2], videos[0], videos[3], videos[1]], quality=4))
    made = read(videos[0].parent / "pano.mp4")
    assert len(made) == 12 and made[0].shape == (32, 64, 3)
    assert "12 frames of 64x32, geometric stitch" in capsys.readouterr().out
    stitcher = Stitcher.geometric(small_rig(), SIZE)
    for number in (0, 5, 11):
        dark = [(view * (1 - 0.04 * number)).astype(np.uint8) for view in scene]
        expected = stitcher(dark).picture.astype(float)
        # Brightness: 2x2 pixels share a colour, and at this size most change within them.
        assert np.abs((made[number] - expected) @ LUMA).mean() < 2
    assert made[0].mean() - made[11].mean() > 20


def tone_from(path: Path) -> float:
    """When the tone of a video begins, in seconds."""
    with av.open(str(path)) as container:
        assert container.streams.audio[0].codec_context.name == "aac"
        for frame in container.decode(audio=0):
            loud = np.abs(frame.to_ndarray()).max(axis=0) > 0.1
            if loud.any():
                return frame.time + loud.argmax() / frame.sample_rate
    raise AssertionError("no tone")


def test_sound_is_kept_and_in_time(videos):
    """It begins half way, whether copied or encoded anew, and where the video starts later."""
    black = [np.zeros((96, 96, 3), np.uint8)] * 12
    with_aac = write(videos[0].parent / "loud.mp4", black, "aac")
    with_vorbis = write(videos[0].parent / "loud.mkv", black, "vorbis")
    for more, expected in (
        ({}, 0.6),
        ({"start": 0.3}, 0.3),
        ({"offsets": ["right=0.2"]}, 0.6),  # front begins where right does, 0.2 s into it
        ({"stitch": replace(job(videos).stitch, images=[*videos[:3], with_aac])}, 0.6),
        ({"stitch": replace(job(videos).stitch, images=[*videos[:3], with_vorbis])}, 0.6),
        (
            {
                "stitch": replace(job(videos).stitch, images=[*videos[:3], with_vorbis]),
                "start": 0.3,
            },
            0.3,
        ),
    ):
        one = job(videos, **more)
        stitch_videos(replace(one, sound="left") if "stitch" in more else one)
        assert abs(tone_from(one.stitch.output) - expected) < 0.05, more
    stitch_videos(job(videos, sound="none"))
    with av.open(str(job(videos).stitch.output)) as container:
        assert not container.streams.audio


def test_sound_at_a_rate_that_aac_cannot_have(videos):
    """It ends at 96 kHz: the whole video was refused."""
    black = [np.zeros((96, 96, 3), np.uint8)] * 12
    loud = write(videos[0].parent / "loud.mkv", black, "pcm_s16le", 192_000)
    for start in (0, 0.3):
        one = job([*videos[:3], loud], sound="left", start=start)
        stitch_videos(one)
        assert abs(tone_from(one.stitch.output) - (0.6 - start)) < 0.05


def test_trouble_with_sound_is_said_to_be_that(videos, monkeypatch):
    """Sound that cannot be decoded or encoded, a rate that there is not, times that go back."""

    def broken(*_):
        raise av.error.InvalidDataError(1, "Invalid data")

    def back(self, stream):
        for number, packet in enumerate(shifted(self, stream)):
            packet.pts = packet.dts = 0 if number else 10
            yield packet

    shifted = video_writing._SoundTrack._shifted
    black = [np.zeros((96, 96, 3), np.uint8)] * 12
    loud = write(videos[0].parent / "loud.mp4", black, "aac")
    odd = write(videos[0].parent / "odd.mkv", black, "pcm_s16le", 192_000)
    for left, place, name, value, words in (
        (videos[1], video_writing._SoundTrack, "_encode", broken, "made AAC: Invalid data"),
        (odd, video_writing, "_ANY_RATE", 192_000, "made AAC: Invalid argument"),
        (loud, video_writing._SoundTrack, "_shifted", back, "written: Invalid argument"),
    ):
        views = [videos[0], videos[2], videos[3], left]
        ordered = replace(job(videos).stitch, images=views)
        with monkeypatch.context() as patch:
            patch.setattr(place, name, value)
            with pytest.raises(SpiderEyeError) as raised:
                stitch_videos(job(videos, stitch=ordered))
        said = f"{left}: its sound cannot be {words}; leave it out with --audio none"
        assert str(raised.value) == said and not job(videos).stitch.output.exists()


@pytest.mark.parametrize("codec", CODECS)
def test_uneven_frames_last_until_after_the_last(tmp_path, scene, codec):
    """Frames that come in another order than they are shown in made it say 2.1 s."""
    times = [0, 0.1, 0.13, 0.5, 0.6, 0.7, 0.71, 0.9, 1, 1.1, 1.2, 1.7, 1.8, 1.9, 3]
    uneven = [
        write(tmp_path / f"{name}.mp4", [view] * len(times), times=times)
        for name, view in zip(NAMES, scene, strict=True)
    ]
    stitch_videos(job(uneven, codec=codec))
    with av.open(str(job(uneven).stitch.output)) as container:
        stream = container.streams.video[0]
        lasts = [stream.duration * stream.time_base, Fraction(container.duration, av.time_base)]
        shown = [frame.time for frame in container.decode(stream)]
    np.testing.assert_allclose(shown, times, atol=1e-3)
    np.testing.assert_allclose(np.array(lasts, float), 3 + 3 / 14, atol=1e-3)


def test_encoders_keep_their_remarks_to_themselves(videos, monkeypatch, capfd):
    monkeypatch.delenv("SVT_LOG", raising=False)
    for codec in CODECS:
        stitch_videos(job(videos, codec=codec))
        said = capfd.readouterr().err.splitlines()
        assert all(line.startswith(("coverage", "frames")) for line in said), said


def test_players_are_told_that_it_is_a_sphere(videos, tmp_path):
    path = write(tmp_path / "plain.mp4", [np.full((32, 64, 3), 80, np.uint8)] * 3)
    before, pictures = path.read_bytes(), read(path)
    say_spherical(path)
    after = path.read_bytes()
    index = before.index(b"moov") - 4
    assert after[:index] == before[:index] and len(after) > len(before)
    np.testing.assert_array_equal(read(path), pictures)
    with pytest.raises(SpiderEyeError, match="no MP4 with its index at the end"):
        say_spherical(videos[1])
    if shutil.which("exiftool") is None:
        pytest.skip("exiftool is not installed")
    stitch_videos(job(videos))
    told = subprocess.run(
        ["exiftool", "-s", str(job(videos).stitch.output)], capture_output=True, text=True
    ).stdout
    values = dict(line.replace(" ", "").split(":", 1) for line in told.splitlines())
    assert values["Spherical"] == "true" and values["ProjectionType"] == "equirectangular"
    assert values["MetadataSource"] == "SpiderEye"  # of version 2
    assert values["ColorPrimaries"] == "BT.709" and values["VideoFrameRate"] == "10"


def timeline(times: list[int], unit: Fraction = Fraction(1, 100)) -> Timeline:
    return Timeline(Path("a.mp4"), unit, tuple(times), ((times[0], times[0]),), 0, 0)


def test_frames_are_aligned_by_their_timestamps():
    clock = timeline([0, 10, 20, 30, 40])
    late = timeline([5 * k for k in range(3, 30)], Fraction(1, 50))  # 0.3 s, every 0.1 s
    pairs = [m.times for m in ViewVideos((clock, late), (0, 0)).moments()]
    assert pairs == [(30, 15), (40, 20)]
    moved = ViewVideos((clock, late), (0, -0.3)).moments()
    assert [m.times for m in moved] == [(10 * k, 15 + 5 * k) for k in range(5)]
    assert [round(m.seconds, 6) for m in moved] == [0, 0.1, 0.2, 0.3, 0.4]
    part = ViewVideos((clock, late), (0, -0.3)).moments(start=0.1, seconds=0.2)
    assert [(m.times[0], round(m.seconds, 6)) for m in part] == [(10, 0), (20, 0.1)]
    # A frame that one camera dropped: the nearest stands for it.
    gap = timeline([0, 10, 31, 40])
    assert [m.times[1] for m in ViewVideos((clock, gap), (0, 0)).moments()] == [0, 10, 10, 31, 40]
    with pytest.raises(SpiderEyeError, match=r"of 0\.\d+ s nothing is left from 9 s on"):
        ViewVideos((clock, gap), (0, 0)).moments(start=9)


def test_what_videos_lack_and_what_is_left_of_them_is_said(videos, capsys):
    """The result is as long as what all have: 4 frames of 30, 60, 20 and 30 came without a word."""
    seconds = ((10, 0, 30), (30, 0, 60), (24, 0, 20), (10, 5, 35))  # rate, frames from and to
    lines = [timeline(list(range(a, b)), Fraction(1, rate)) for rate, a, b in seconds]
    assert ViewVideos(tuple(lines), (0,) * 4).notes(NAMES) == [
        "all views together: 0.50 to 0.79 s, of front 0.00 to 2.90 s, right 0.00 to 1.97 s, "
        "back 0.00 to 0.79 s, left 0.50 to 3.40 s"
    ]
    nearly = [timeline([0, 10, 20, 30, 40]), timeline([4, 14, 24, 34, 44])]
    assert ViewVideos(tuple(nearly), (0, 0)).notes(NAMES[:2]) == []
    marked = [nearly[0], replace(nearly[1], damaged=2)]
    assert ViewVideos(tuple(marked), (0, 0)).notes(NAMES[:2]) == [
        "right: 2 frames are marked as damaged, and left out"
    ]
    stitch_videos(job(videos))
    assert "note" not in capsys.readouterr().err
    data = videos[1].read_bytes()
    videos[1].write_bytes(data[: len(data) * 4 // 10])
    stitch_videos(job(videos))
    said = capsys.readouterr().err
    assert re.search(r"^note: right: ends 0\.\d s before its announced end$", said, re.M)
    assert re.search(r"^note: all views together: 0\.00 to 0\.\d\d s, of front", said, re.M)


def test_videos_without_a_common_moment_are_named(videos):
    with pytest.raises(SpiderEyeError, match=r"no moment in common: front\.mp4 0\.00 to 1\.10 s,"):
        ViewVideos.open(videos, {2: 7.5})


def noisy(views: list[np.ndarray], count: int) -> list[list[np.ndarray]]:
    """Frames of a still scene with the noise of a sensor."""
    noise = np.random.default_rng(0)
    return [
        [np.clip(view + noise.normal(0, 3, view.shape), 0, 255).astype(np.uint8) for view in views]
        for _ in range(count)
    ]


def flicker(pictures: list[np.ndarray]) -> float:
    """Standard deviation over time."""
    return float(np.stack(pictures).astype(float).std(axis=0).mean())


def steadied(stitcher: Stitcher, frames: list[list[np.ndarray]]) -> list[np.ndarray]:
    steady = SteadyCalibration(stitcher, Poses.of(stitcher, frames[:3]))
    pairs = enumerate(frames)
    return [stitcher(views, found=steady.at(n / RATE, views)).picture for n, views in pairs]


def test_a_still_scene_does_not_flicker(scene):
    """No more than where each frame is calibrated anew, and than the stitch of views as they are. A
    second and more, so that colours are compared again."""
    frames = noisy(scene, 14)
    plain = flicker([Stitcher.geometric(small_rig(), SIZE)(views).picture for views in frames])
    refined = Stitcher.geometric(small_rig(), SIZE, refine=("gain", "rotation"))
    steady = flicker(steadied(refined, frames))
    anew = flicker([refined(views).picture for views in frames])
    assert 0.3 < steady < 1.002 * min(plain, anew)  # 8 bits round them differently


def test_a_models_noise_is_fixed_over_time(tmp_path):
    """Where nothing is seen its panorama comes from noise alone, and stands still all the same."""
    views = arrays(taken(world(3), small_rig(), 5))
    stitcher = Stitcher.load(tiny_checkpoint(tmp_path / "tiny"), rig=small_rig())
    some = [views[0], None, None, views[3]]
    made = [stitcher(some, seed=2).picture for _ in range(3)]
    assert flicker(made) == 0 and np.abs(stitcher(some).picture.astype(int) - made[0]).max() > 5
    assert flicker(steadied(stitcher, [views] * 12)) == 0


def test_colours_follow_the_light_slowly_and_poses_stay(scene):
    """A view that suddenly is half as bright: its gain comes to 2 in a few seconds, not at once."""
    rig = small_rig()
    stitcher = Stitcher.geometric(shaken(rig, 2), SIZE, refine=("gain", "rotation"))
    poses = Poses.of(stitcher, [scene, scene])
    for wrong, found, right in zip(
        stitcher.rig.cameras, poses.rig.cameras, rig.cameras, strict=True
    ):
        off = [float(angle_between(one.rotation, right.rotation)) for one in (wrong, found)]
        assert off[1] < off[0] or off[0] < 0.01
    steady = SteadyCalibration(stitcher, poses)
    dark = [scene[0] // 2, *scene[1:]]
    gains = []
    for number in range(80):
        found = steady.at(number / RATE, scene if number < 10 else dark)
        gains.append(found.gain[0, 1].item() / found.gain[2, 1].item())
        np.testing.assert_array_equal(found.cameras[1].rotation, poses.rig.cameras[1].rotation)
    steps = np.abs(np.diff(gains))
    assert steps[:9].max() == 0
    assert steps.max() < 0.15 * abs(gains[-1] - gains[0]) and gains[-1] > 1.4 * gains[0]


@pytest.mark.parametrize("by_model", [False, True])
def test_a_frame_that_lacks_a_view_has_the_poses_and_colours_of_the_others(
    scene, by_model, tmp_path, monkeypatch
):
    rig, both = shaken(small_rig(), 2), ("gain", "rotation")
    if by_model:
        checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
        stitcher = Stitcher.load(checkpoint, rig=rig, refine=both)
    else:
        stitcher = Stitcher.geometric(rig, SIZE, refine=both)
    steady = SteadyCalibration(stitcher, Poses.of(stitcher, [scene]))
    lacking = [scene[0], None, *scene[2:]]
    first = steady.lacking(lacking)
    assert first is not None and bool((first.gain == 1).all()) and len(first.cameras) == 3
    whole = steady.at(0.0, [scene[0] // 2, *scene[1:]])
    monkeypatch.setattr("spidereye.stitched.self_calibrate", None)  # nothing is found anew
    found = steady.lacking(lacking)
    assert whole is not None and found is not None
    assert torch.equal(found.gain, whole.gain[[0, 2, 3]])
    for one, other in zip(found.cameras, whole.cameras[:1] + whole.cameras[2:], strict=True):
        assert one.name == other.name and torch.equal(one.rotation, other.rotation)
    made = stitcher(lacking, found=found)
    assert [one.view for one in made.corrections] == [camera.name for camera in found.cameras]
    plain = SteadyCalibration(Stitcher.geometric(rig, SIZE), Poses(rig, 0.0))
    assert plain.lacking(lacking) is None


def test_what_cannot_be_decoded_is_said_and_replaced(videos, capsys):
    data = bytearray(videos[0].read_bytes())
    with av.open(str(videos[0])) as container:
        places = [(packet.pos, packet.size) for packet in container.demux(video=0) if packet.size]
    place, size = places[5]
    data[place : place + size] = bytes(size)
    videos[0].write_bytes(bytes(data))
    stitch_videos(job(videos))
    assert len(read(job(videos).stitch.output)) == 12
    assert "note: front: " in capsys.readouterr().err


def test_what_stands_in_for_damaged_frames_comes_before_them(videos, monkeypatch, capsys):
    """Not from where poses were looked for; without a view before there is one."""
    decode = view_videos.VideoDecoder.frame
    bad = {0, 1, 5}

    def frame(self, time):
        if self.path == videos[0] and round(time * units[self.path] * RATE) in bad:
            raise PictureError("damaged")
        return decode(self, time)

    opened = ViewVideos.open(videos)
    units = {line.path: line.unit for line in opened.timelines}
    monkeypatch.setattr(view_videos.VideoDecoder, "frame", frame)
    moments = opened.moments()
    with ViewFrames(opened) as frames:
        list(frames.pictures([moments[0], moments[11]]))
        front = [shown[0] for shown in frames.pictures(moments)]
        assert front[0] is None and front[1] is None
        np.testing.assert_array_equal(front[5], front[4])
        assert frames.damaged == [3, 0, 0, 0]
        (again,) = frames.pictures(moments[5:6], moments[:5])
        np.testing.assert_array_equal(again[0], front[4])
    one = job(videos)
    stitch_videos(replace(one, stitch=replace(one.stitch, refine="gain,rotation")))
    assert (
        "note: front: 3 frames could not be decoded; the ones before stand in, but before 2 there "
        "is none: it is missing there\n"
    ) in capsys.readouterr().err


def test_a_video_of_which_nothing_can_be_decoded_is_said_to_be_missing(videos, monkeypatch, capsys):
    decode = view_videos.VideoDecoder.frame

    def frame(self, time):
        if self.path == videos[1]:
            raise PictureError("damaged")
        return decode(self, time)

    monkeypatch.setattr(view_videos.VideoDecoder, "frame", frame)
    stitch_videos(job(videos))
    said = capsys.readouterr().err
    assert "note: right: none of 12 frames could be decoded; it is missing throughout\n" in said
    assert "stand in" not in said


def test_a_frame_that_cannot_be_made_leaves_those_before(videos, monkeypatch):
    make, seen = Stitcher.__call__, []

    def failing(self, *given, **more):
        seen.append(None)
        if len(seen) == 5:
            raise SpiderEyeError("front changes its size")
        return make(self, *given, **more)

    with monkeypatch.context() as patch:
        patch.setattr(Stitcher, "__call__", failing)
        with pytest.raises(SpiderEyeError, match=r"changes its size; .* has the 4 frames before"):
            stitch_videos(job(videos))
    output = job(videos).stitch.output
    assert len(read(output)) == 4
    stitch_videos(job(videos))
    assert len(read(output)) == 12


def test_a_full_disk_is_one_line(videos, monkeypatch):
    def full(self, picture, seconds):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(video_job.PanoramaVideo, "write", full)
    with pytest.raises(SpiderEyeError, match=r"pano\.mp4: cannot be written: No space left"):
        stitch_videos(job(videos))
    assert not job(videos).stitch.output.exists()


def test_a_camera_on_its_head_is_turned_as_its_video_says(tmp_path):
    upright = np.zeros((32, 64, 3), np.uint8)
    upright[:16, :32] = 200
    path = write(tmp_path / "a.mp4", [upright] * 2)
    turned = tmp_path / "turned.mp4"
    matrices = {90: (0, -1, 1, 0), 180: (-1, 0, 0, -1), -90: (0, 1, -1, 0)}
    for degrees, (a, b, c, d) in matrices.items():
        data = bytearray(path.read_bytes())
        at = data.index(b"tkhd") + 4 + 40  # the track's matrix (ISO/IEC 14496-12, 8.3.2)
        data[at : at + 36] = struct.pack(
            ">9i", a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30
        )
        turned.write_bytes(bytes(data))
        line = read_timeline(turned)
        decoder = VideoDecoder(turned, line.keys)
        shown = decoder.frame(line.times[0])
        decoder.close()
        expected = np.rot90(upright, degrees // 90)
        assert shown.shape == expected.shape and np.abs(shown.astype(int) - expected).max() < 8


def stopped_after(seconds: float, asked: VideoJob, said: str = "stopped; ") -> None:
    """Ctrl-C when the first frame later than that is written. said: what the message matches."""

    class Interrupted(video_job.PanoramaVideo):
        def write(self, picture, now):
            super().write(picture, now)
            if now > seconds:
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Interrupt, match=said):
        patch.setattr(video_job, "PanoramaVideo", Interrupted)
        stitch_videos(asked)


def test_ctrl_c_leaves_a_playable_video(videos):
    stopped_after(0.35, job(videos), r"stopped; .*pano\.mp4: 5 frames of 64x32.*, of 12")
    assert len(read(job(videos).stitch.output)) == 5
    with av.open(str(job(videos).stitch.output)) as container:
        assert abs(float(container.duration / av.time_base) - 0.5) < 0.1


@pytest.mark.parametrize("method", ["geometric", "model"])
def test_the_same_command_goes_on_to_the_same_video(videos, tmp_path, method, capsys):
    """Encoded without loss. Colours and what a model makes follow what was before, and the sound
    goes through."""
    made = job(videos, quality=0, seconds=1.0)
    if method == "model":
        checkpoint = str(tiny_checkpoint(tmp_path / "model"))
        stitch = replace(made.stitch, method="model", checkpoint=checkpoint, size=None)
    else:
        stitch = replace(made.stitch, refine="gain,rotation")
    made = replace(made, stitch=stitch)
    stitch_videos(made)
    output = stitch.output
    whole = read(output)
    output.rename(tmp_path / "whole.mp4")
    stopped_after(0.25, made)
    assert len(read(output)) == 4
    stopped_after(0.55, made)
    assert len(read(output)) == 7 and stopped_video.record_of(output).exists()
    stitch_videos(made)
    assert "going on after 7 of 10 frames" in capsys.readouterr().err
    again = read(output)
    assert len(again) == len(whole) == 10
    assert all(np.array_equal(one, other) for one, other in zip(again, whole, strict=True))
    assert not stopped_video.record_of(output).exists()
    with av.open(str(output)) as container, av.open(str(tmp_path / "whole.mp4")) as other:
        seconds = [
            [float(p.pts * p.time_base) for p in video.demux(audio=0) if p.size]
            for video in (container, other)
        ]
    assert seconds[0] == seconds[1] and len(seconds[0]) > 10


def test_another_command_starts_anew(videos, capsys):
    stopped_after(0.35, job(videos, quality=30))
    stitch_videos(job(videos, quality=4))
    assert "going on" not in capsys.readouterr().err and len(read(job(videos).stitch.output)) == 12
    stopped_after(0.35, job(videos))
    write(job(videos).stitch.output, [np.zeros((32, 64, 3), np.uint8)] * 4)  # of somebody else
    stitch_videos(job(videos))
    assert "going on" not in capsys.readouterr().err and len(read(job(videos).stitch.output)) == 12


@pytest.mark.parametrize("codec", ["hevc", "av1"])
def test_other_codecs_go_on_too(videos, codec):
    asked = job(videos, codec=codec)
    stopped_after(0.35, asked)
    stitch_videos(asked)
    made = read(asked.stitch.output)
    assert len(made) == 12 and made[0].mean() - made[11].mean() > 20


def test_nothing_is_left_of_a_video_that_fails(videos, monkeypatch):
    def failing(*_):
        raise SpiderEyeError("no")

    monkeypatch.setattr(video_job, "say_spherical", failing)
    with pytest.raises(SpiderEyeError, match="no"):
        stitch_videos(job(videos))
    assert {path.name for path in videos[0].parent.iterdir()} == {path.name for path in videos}


@pytest.mark.parametrize("refine", ["rotation", "gain,rotation"])
def test_views_in_each_others_places_are_named(tmp_path, scene, refine, capsys):
    front, right, back, left = scene
    wrong = [
        write(tmp_path / f"{name}.mp4", [view, view])
        for name, view in zip("abcd", (front, left, back, right), strict=True)
    ]
    stitch_videos(replace(job(wrong), stitch=replace(job(wrong).stitch, refine=refine)))
    said = " ".join(capsys.readouterr().err.split())
    assert "in their places: left's for right, right's for left; are they in the rig's" in said


def test_settings_that_make_no_sense_are_explained(videos, tmp_path):
    stitch = job(videos).stitch
    text, still = tmp_path / "left.txt", tmp_path / "left.png"
    text.write_text("this is no video\n" * 50)
    Image.new("RGB", (64, 64)).save(still)
    for more, words in (
        ({"stitch": replace(stitch, output=Path("pano.avi"))}, "let it end in .mp4"),
        (
            {"stitch": replace(stitch, images=videos[:3])},
            "expected 4 files, front, right, .* got 3: there is none for left$",
        ),
        ({"stitch": replace(stitch, images=[*videos[:3], Path("-")])}, "needs every view"),
        ({"stitch": replace(stitch, images=[*videos[:3], Path("no.mp4")])}, "no.mp4"),
        (
            {"stitch": replace(stitch, images=[*videos[:3], text])},
            "left.txt: not a video: it",
        ),
        (
            {"stitch": replace(stitch, images=[*videos[:3], still])},
            "left.png: not a video but",
        ),
        ({"stitch": replace(stitch, images=[*videos[:3], videos[0]])}, "front.mp4 is given twice"),
        ({"stitch": replace(stitch, size=(66, 33))}, "even numbers of rows"),
        ({"stitch": replace(stitch, output=videos[0])}, "front.mp4 is one of the views"),
        ({"smooth": False}, "--no-smooth goes with --method model"),
        ({"codec": "vp8"}, "--codec takes h264"),
        ({"quality": 60}, "--crf is from 0"),
        ({"quality": 0, "codec": "av1"}, "--crf is from 1 to 51 for av1"),
        ({"start": -1.0}, "--start is 0 or more"),
        ({"start": math.nan}, "--start is 0 or more"),
        ({"seconds": math.nan}, "--seconds more than 0"),
        ({"offsets": ["top=1"]}, "got 'top=1'; the views are front"),
        ({"offsets": ["left=soon"]}, "as left=0.12, got 'left=soon'"),
        ({"sound": "top"}, "--audio is one of front"),
        ({"sound": "front"}, "front.mp4 has no sound"),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            stitch_videos(job(videos, **more))


@pytest.mark.slow
def test_memory_does_not_grow_over_an_hour_of_video(tmp_path, monkeypatch):
    """3600 s at a frame a second: what the process holds after a tenth and at the end. Half of
    what it would be if one view's picture of each moment stayed; the checks of types, which run
    here, keep 10 MB."""
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 255, (8, 8, 3), np.uint8).repeat(12, 0).repeat(12, 1)
    videos = []
    for name in NAMES:
        videos.append(tmp_path / f"{name}.mp4")
        with av.open(str(videos[-1]), "w") as container:
            stream = container.add_stream("libx264", rate=1, options={"preset": "ultrafast"})
            stream.width = stream.height = 96
            stream.pix_fmt = "yuv420p"
            for number in range(3600):
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    held: list[int] = []

    class Watched(video_job.PanoramaVideo):
        def write(self, picture, seconds):
            super().write(picture, seconds)
            pages = Path("/proc/self/statm").read_text(encoding="utf-8").split()[1]
            held.append(int(pages) * resource.getpagesize())

    monkeypatch.setattr(video_job, "PanoramaVideo", Watched)
    stitch_videos(job(videos))
    assert len(held) == 3600 and held[-1] - held[360] < 0.5 * 3240 * picture.nbytes
    with av.open(str(job(videos).stitch.output)) as container:
        assert container.streams.video[0].frames == 3600


def test_sound_of_a_name_with_colons(videos, monkeypatch):
    monkeypatch.chdir(videos[0].parent)
    named = [path.rename(f"12:30:00_{path.name}") for path in videos]
    one = job([Path(path.name) for path in named])
    one = replace(one, stitch=replace(one.stitch, output=Path("12:30:00.mp4")))
    stitch_videos(one)
    with av.open(str(one.stitch.output.absolute())) as container:
        assert container.streams.audio
    Path("none:x.mkv").touch()
    assert not has_sound(Path("none:x.mkv"))
