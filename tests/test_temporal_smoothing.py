"""What a model makes of a video: noise is evened out, and what moves or changes leaves no ghost."""

import weakref

import numpy as np
import pytest
from made_checkpoints import tiny_checkpoint
from made_shots import small_rig, taken, world
from test_video_stitching import NAMES, SIZE, arrays, flicker, noisy, steadied, write

from spidereye import Stitcher, video_job
from spidereye.pictures import to_uint8
from spidereye.stitch_job import StitchJob
from spidereye.temporal_smoothing import TemporalSmoothing
from spidereye.video_job import VideoJob, stitch_videos

NOISE = 2.0  # levels


def scene(seed: int = 0) -> np.ndarray:
    """A panorama [64, 128, 3] in levels, sharp enough to show ghosts."""
    return to_uint8(world(seed)[0, :, ::2, ::2]).permute(1, 2, 0).numpy().astype(float)


def filmed(moments: list[np.ndarray], sigma=NOISE) -> list[np.ndarray]:
    """With the noise of a sensor. sigma: a number, or one for every pixel."""
    draw = np.random.default_rng(0)
    return [
        np.clip(one + sigma * draw.normal(size=one.shape), 0, 255).round().astype(np.uint8)
        for one in moments
    ]


def smoothed(frames: list[np.ndarray]) -> list[np.ndarray]:
    smoothing = TemporalSmoothing()
    return [smoothing(frame) for frame in frames]


def off(made: np.ndarray, expected: np.ndarray) -> np.ndarray:
    return np.abs(made.astype(float) - expected)


@pytest.mark.parametrize("sigma", [0.3, 1.0, 3.0, 6.0])
def test_a_still_scene_flickers_less_and_is_the_same_on_average(sigma):
    frames = filmed([scene()] * 24, sigma)
    made = smoothed(frames)
    assert flicker(made[2:]) < 0.75 * flicker(frames[2:])
    bias = np.mean(made, axis=0) - np.mean(frames, axis=0)
    assert abs(bias.mean()) < 0.02 and np.abs(bias).max() < 0.75 + 2 * sigma


def test_noise_that_is_stronger_in_places_is_evened_out_there_too():
    sigma = np.where(np.arange(128) < 64, 1.5, 3.0)[None, :, None]
    frames = filmed([scene()] * 24, sigma)
    pairs = np.stack(smoothed(frames)[2:]).std(axis=0) / np.stack(frames[2:]).std(axis=0)
    assert pairs[:, :64].mean() < 0.75 and pairs[:, 64:].mean() < 0.85


def test_what_stands_still_without_noise_is_left_as_it_is():
    frames = filmed([scene()] * 5, 0)
    assert all(np.array_equal(made, frames[0]) for made in smoothed(frames))


def test_what_moves_leaves_no_ghost():
    """Something bright on its way round the sphere, past the edge of the picture."""
    places = [[(100 + 5 * n + k) % 128 for k in range(8)] for n in range(16)]
    moments = []
    for columns in places:
        moments.append(scene())
        moments[-1][20:30, columns] = 250
    frames = filmed(moments)
    for number, made in enumerate(smoothed(frames)):
        shown = off(made, frames[number])
        assert shown[20:30, places[number]].max() == 0
        for before in places[max(0, number - 2) : number]:  # one and two frames ago
            assert shown[20:30, before].max() <= 3 * NOISE


@pytest.mark.parametrize("after", [scene(1), 0.8 * scene(), scene() + 12])
def test_a_cut_and_another_light_pass_at_once(after):
    frames = filmed([scene()] * 8 + [after] * 8)
    made = smoothed(frames)
    assert off(made[8], frames[8]).mean() < 0.5 * NOISE
    assert off(made[8], frames[8]).max() < 5 * NOISE
    assert flicker(made[10:]) < 0.8 * flicker(frames[10:])  # and it goes on


@pytest.mark.parametrize("columns", [1, 3, 10])
def test_a_camera_that_turns_stays_sharp(columns):
    """Motion in all of the panorama is not taken for noise."""
    frames = filmed([np.roll(scene(), columns * n, axis=1) for n in range(30)])
    late = [off(*pair).mean() for pair in zip(smoothed(frames)[5:], frames[5:], strict=True)]
    assert max(late) < 0.5


def test_nothing_is_kept_but_the_last_panorama():
    smoothing, held = TemporalSmoothing(), []
    for frame in filmed([scene()] * 6):
        smoothing(frame)
        held.append(weakref.ref(smoothing._last.made))
    assert [one() is None for one in held] == [True] * 5 + [False]


def test_a_model_flickers_less_than_the_stitch(tmp_path):
    """Its start is the stitch sharpened, and so is the sensor's noise in it."""
    rig = small_rig()
    frames = noisy(arrays(taken(world(3), rig)), 20)
    stitch = Stitcher.geometric(rig, SIZE)
    model = Stitcher.load(tiny_checkpoint(tmp_path / "start", spread=0), rig=rig)
    plain = flicker([stitch(views).picture for views in frames])
    sharpened = steadied(model, frames)
    assert flicker(sharpened) > 1.05 * plain
    assert flicker(smoothed(sharpened)) < 0.95 * plain


def test_videos_of_models_are_smoothed_and_stitches_stay(tmp_path, monkeypatch):
    written: list[np.ndarray] = []

    class Watched(video_job.PanoramaVideo):
        def write(self, picture, seconds):
            written.append(picture.copy())
            super().write(picture, seconds)

    def made(job: VideoJob) -> list[np.ndarray]:
        written.clear()
        stitch_videos(job)
        return list(written)

    monkeypatch.setattr(video_job, "PanoramaVideo", Watched)
    frames = noisy(arrays(taken(world(3), small_rig())), 8)
    videos = [
        write(tmp_path / f"{name}.mp4", list(view))
        for name, view in zip(NAMES, zip(*frames, strict=True), strict=True)
    ]
    output = tmp_path / "pano.mp4"
    checkpoint = str(tiny_checkpoint(tmp_path / "start", spread=0))
    model = StitchJob(videos, output, checkpoint=checkpoint)
    as_made = made(VideoJob(model, smooth=False))
    for one, expected in zip(made(VideoJob(model)), smoothed(as_made), strict=True):
        np.testing.assert_array_equal(one, expected)
    stitch = StitchJob(videos, output, "geometric", size=SIZE)
    stitched = made(VideoJob(stitch))
    monkeypatch.setattr(video_job, "TemporalSmoothing", None)  # nothing that could be called
    np.testing.assert_array_equal(made(VideoJob(stitch)), stitched)
