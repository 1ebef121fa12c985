"""Rigs without calibration: guessed from rendered pictures, they stitch like the true ones."""

import itertools
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spidereye import rotation
from spidereye.camera import Camera
from spidereye.cli import app
from spidereye.errors import SpiderEyeError
from spidereye.guess_job import GuessOptions, guess_file
from spidereye.lenses.families import family
from spidereye.picture_writing import write_picture
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import SPIDER4_YAW, Rig
from spidereye.rig_files import load_rig
from spidereye.rig_guess import PRESETS, LensGuess, find_views, guessed_rig
from spidereye.rig_poses import DIRECTIONS, direction_at, levelled, poses_of
from spidereye.scenes.scene import Scene
from spidereye.shots import read_shot
from spidereye.stitching import stitch

UP = torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64)
ORIGIN = torch.zeros(3, dtype=torch.float64)
FOUR = list(SPIDER4_YAW)


@pytest.fixture(scope="module")
def panorama() -> torch.Tensor:
    return to_float(torch.from_numpy(Scene.random(7).panorama(512)).permute(2, 0, 1))[None]


def rig_of(name: str, fov: float, poses, size=(300, 260), circle=(152.3, 127.9, 121.4)) -> Rig:
    """Equal cameras with an image circle off the middle of a picture that is not square."""
    cx, cy, radius = circle
    lens = family(name, math.radians(fov) / 2, radius, *size, cx, cy)
    return Rig(tuple(Camera(n, lens, turn, ORIGIN, radius) for n, turn in poses))


def photographs(rig: Rig, panorama: torch.Tensor, noise: float = 1.0) -> list[np.ndarray]:
    views = render_each(panorama, rig.cameras)
    rng = np.random.default_rng(0)
    arrays = [to_uint8(view[0]).permute(1, 2, 0).numpy().astype(float) for view, _ in views]
    return [
        (array + rng.normal(0, noise, array.shape)).round().clip(0, 255).astype(np.uint8)
        for array in arrays
    ]


def written(pictures: list[np.ndarray], folder: Path) -> list[str]:
    paths = [str(folder / f"shot_{number}.png") for number in range(len(pictures))]
    for path, picture in zip(paths, pictures, strict=True):
        write_picture(path, picture)
    return paths


def psnr(paths: list[str], rig: Rig, panorama: torch.Tensor) -> float:
    """Of the stitch at 128 x 256, over all that is seen."""
    shot = read_shot(paths, rig)
    made = stitch(shot.views, shot.rig.cameras, 128, 256)
    truth = torch.nn.functional.avg_pool2d(panorama, panorama.shape[-1] // 256)
    error = (made.panorama - truth)[(made.count > 0).expand_as(truth)]
    return float(10 * torch.log10(4 / error.square().mean()))


@pytest.mark.parametrize("name", ["equidistant", "equisolid", "stereographic"])
def test_a_guessed_rig_stitches_like_the_true_one(name, panorama, tmp_path):
    rig = rig_of(name, 190, poses_of(4))
    paths = written(photographs(rig, panorama), tmp_path)
    guess_file(paths, tmp_path / "rig.yaml", GuessOptions(family=name, fov=190))
    guessed = load_rig(tmp_path / "rig.yaml")
    assert guessed.names == tuple(FOUR)
    for camera in guessed.cameras:
        assert camera.lens.centre.tolist() == pytest.approx([152.3, 127.9], abs=0.3)
        assert 118 < camera.circle < 121.7
    best = psnr(paths, rig, panorama)
    assert best > 40
    assert psnr(paths, guessed, panorama) > best - 0.3
    # The picture tells: another order or another lens does not fit.
    guess_file(paths, tmp_path / "wrong.yaml", GuessOptions(family=name, fov=160))
    assert psnr(paths, load_rig(tmp_path / "wrong.yaml"), panorama) < best - 3


def test_a_dual_fisheye_file_becomes_two_crops(panorama, tmp_path):
    rig = rig_of("equidistant", 200, poses_of(2), (260, 260), (129.5, 129.5, 124.0))
    pictures = [np.concatenate(photographs(rig, panorama, 0.0), axis=1)]
    (path,) = written(pictures, tmp_path)
    guess_file([path], tmp_path / "rig.yaml", GuessOptions(preset="dual-fisheye-200"))
    guessed = load_rig(tmp_path / "rig.yaml")
    assert guessed.names == ("front", "back")
    for camera, cx in zip(guessed.cameras, (129.5, 389.5), strict=True):
        assert camera.crop is not None and camera.crop.file == 0
        assert (camera.crop.file_width, camera.crop.file_height) == (520, 260)
        found = camera.lens.centre.tolist()
        assert found == pytest.approx([cx - camera.crop.left, 129.5 - camera.crop.top], abs=0.2)
    assert psnr([path], guessed, panorama) > 35


def test_circles_given_by_hand(panorama, tmp_path):
    rig = rig_of("equidistant", 190, poses_of(2))
    paths = written(photographs(rig, panorama), tmp_path)
    said = GuessOptions(fov=190, circles=["152.3,127.9,121.4"])
    guess_file(paths, tmp_path / "rig.yaml", said)
    for camera, true in zip(load_rig(tmp_path / "rig.yaml").cameras, rig.cameras, strict=True):
        assert torch.allclose(camera.lens.matrix, true.lens.matrix)
        assert camera.circle == true.circle and camera.crop is None
    (tmp_path / "both").mkdir()
    both = written([np.concatenate(photographs(rig, panorama), axis=1)], tmp_path / "both")
    said = replace(said, circles=["152.3,127.9,121.4", "452.3,127.9,121.4"])
    guess_file(both, tmp_path / "rig.yaml", said)
    assert psnr(both, load_rig(tmp_path / "rig.yaml"), panorama) > 35


def test_a_view_without_a_rim_takes_it_from_the_others(panorama):
    rig = rig_of("equidistant", 190, poses_of(4))
    levels = [(n, p.max(axis=2)) for n, p in zip(FOUR, photographs(rig, panorama), strict=True)]
    levels[2] = ("back", np.full_like(levels[2][1], 130))
    views = find_views(levels)
    assert views[2].circle == views[0].circle
    assert "another view" in views[2].line()


def test_filled_pictures_take_the_circle_that_the_angle_is_over():
    level = np.full((300, 400), 130, np.uint8)
    (view,) = find_views([("a.jpg", level)])
    assert not view.rim and "NO RIM" in view.line()

    def ray(lens: LensGuess, u: float, v: float) -> tuple[float, bool]:
        (camera,) = guessed_rig([view], lens, poses_of(1)).cameras
        direction, seen = camera.unproject(torch.tensor([u, v], dtype=torch.float64))
        return math.degrees(math.acos(float(direction[2]))), bool(seen)

    corner, side, top = (-0.3, -0.3), (-0.5, 149.5), (199.5, -0.5)
    assert ray(PRESETS["full-frame-180"], *corner) == (pytest.approx(90, abs=0.2), True)
    assert ray(LensGuess(fov=140, across="width"), *side) == (pytest.approx(70), True)
    assert ray(LensGuess(fov=100, across="height"), *top) == (pytest.approx(50), True)
    assert ray(LensGuess(fov=180, across="circle"), *top) == (pytest.approx(90), True)
    assert ray(LensGuess(fov=180, across="circle"), *corner)[1] is False


def test_usual_orders_and_named_directions():
    assert [name for name, _ in poses_of(2)] == ["front", "back"]
    names, turns = zip(*poses_of(3), strict=True)
    assert names == ("view1", "view2", "view3")
    assert torch.allclose(turns[1], rotation.from_degrees(120))
    assert torch.allclose(turns[2], rotation.from_degrees(-120))
    axes = {name: turn[:, 2] for name, turn in poses_of(len(DIRECTIONS), list(DIRECTIONS))}
    assert torch.allclose(axes["up"], UP, atol=1e-12)
    assert torch.allclose(axes["back-left"] * math.sqrt(2), -UP.new_tensor([1, 0, 1]))
    (name, turn), _ = poses_of(2, ["a", "b"], yaw=[10, 190], pitch=[-20], roll=[90, -90])
    assert name == "a" and torch.allclose(turn, rotation.from_degrees(10, -20, 90))


@pytest.mark.parametrize("seed", range(6))
def test_levelling_makes_up_up_and_keeps_front(seed):
    tilt = rotation.from_degrees(*np.random.default_rng(seed).uniform(-60, 60, 3).tolist())
    rig = rig_of("equidistant", 190, poses_of(4, yaw=[20, 110, 200, -70], order=FOUR))
    rig = replace(rig, cameras=tuple(replace(c, position=c.axis / 9) for c in rig.cameras))
    up = tilt @ UP
    flat = levelled(rig, 3 * up)
    turns = [
        new.rotation @ old.rotation.T for new, old in zip(flat.cameras, rig.cameras, strict=True)
    ]
    for turn, camera in zip(turns, flat.cameras, strict=True):
        assert torch.allclose(turn @ up, UP, atol=1e-12)
        assert torch.allclose(turn, turns[0], atol=1e-12)  # the rig stays rigid
        assert torch.allclose(camera.position, camera.axis / 9, atol=1e-12)
    assert torch.linalg.det(turns[0]) == pytest.approx(1)
    axis = flat.cameras[0].axis
    assert math.degrees(math.atan2(axis[0], axis[2])) == pytest.approx(20)


@pytest.mark.parametrize("up", list(itertools.product([-1.0, 0.0, 1.0], repeat=3)))
def test_levelling_from_any_direction(up):
    rig, up = rig_of("equidistant", 190, poses_of(4)), torch.tensor(up, dtype=torch.float64)
    if not up.any():
        with pytest.raises(SpiderEyeError, match="direction"):
            levelled(rig, up)
        return
    turn = levelled(rig, up).cameras[0].rotation
    assert torch.allclose(turn @ (up / up.norm()), UP, atol=1e-12)
    assert torch.linalg.det(turn) == pytest.approx(1)


def test_a_rig_that_hung_upside_down_is_turned_by_one_pixel(panorama, tmp_path):
    """Photographed with the whole rig rolled by 180° and tilted; the zenith is pointed at."""
    tilt = rotation.from_degrees(0, 25, 170)
    true = [(name, tilt @ turn) for name, turn in poses_of(4)]
    rig = rig_of("equidistant", 190, true)
    paths = written(photographs(rig, panorama), tmp_path)
    zenith, seen = rig.cameras[0].project(UP)
    name = "front" if bool(seen) else "back"
    zenith = rig.cameras[rig.names.index(name)].project(UP)[0].tolist()
    options = GuessOptions(fov=190, up_pixel=f"{name},{zenith[0]},{zenith[1]}")
    guess_file(paths, tmp_path / "rig.yaml", options)
    guessed = load_rig(tmp_path / "rig.yaml")
    error = (guessed.cameras[0].rotation @ rig.cameras[0].rotation.T) @ UP
    assert torch.allclose(error, UP, atol=2e-3)
    assert guessed.cameras[0].axis[0] == pytest.approx(0, abs=1e-9)


def test_pixels_of_a_crop_are_those_of_its_file(panorama):
    rig = rig_of("equidistant", 200, poses_of(2), (260, 260), (129.5, 129.5, 124.0))
    file = np.concatenate(photographs(rig, panorama, 0.0), axis=1)
    guessed = guessed_rig(
        find_views([("x", file.max(axis=2))]), LensGuess(fov=200, across="circle"), poses_of(2)
    )
    for name, u in (("front", 129.5), ("back", 260 + 129.5)):
        axis = guessed.cameras[guessed.names.index(name)].axis
        assert torch.allclose(direction_at(guessed, name, u, 129.5), axis, atol=3e-3)
    with pytest.raises(SpiderEyeError, match="outside its image circle"):
        direction_at(guessed, "back", 129.5, 129.5)
    with pytest.raises(SpiderEyeError, match="views: front, back"):
        direction_at(guessed, "left", 1, 1)


MISTAKES = {
    "--fov DEG or --preset": [],
    "unknown preset 'gopro'": ["--preset", "gopro"],
    "unknown lens family 'fish'": ["--fov", "180", "--family", "fish"],
    "half angles up to 90": ["--fov", "190", "--family", "perspective"],
    "between 0 and 360": ["--fov", "400"],
    "across must be one of": ["--fov", "180", "--fov-across", "corner"],
    "order names 3": ["--fov", "180", "--order", "front,right,back"],
    "'nord' is no direction": ["--fov", "180", "--order", "nord,right,back,left"],
    "names a view twice": ["--fov", "180", "--order", "front,front,back,left"],
    "2 values of yaw": ["--fov", "180", "--yaw", "0,90"],
    "--yaw takes some numbers": ["--fov", "180", "--yaw", "0,east"],
    "--up takes 3 numbers": ["--fov", "180", "--up", "0,1"],
    "up must be a direction": ["--fov", "180", "--up", "0,0,0"],
    "no view 'top'": ["--fov", "180", "--up-pixel", "top,3,4"],
    "either --up or --up-pixel": ["--fov", "180", "--up-pixel", "front,3,4", "--up", "0,1,0"],
    "3 circles for 4 files": ["--fov", "180", *(["--circle", "3,4,5"] * 3)],
    "radius > 0": ["--fov", "180", "--circle", "3,4,-5"],
    "a circle has its centre in it": ["--fov", "180", "--circle", "30,90,20"],
    "--circle takes 3 numbers": ["--fov", "180", "--circle", "3,nan,20"],
    "ends in .yaml": ["--fov", "180", "-o", "rig.json"],
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_one_line_and_nothing_is_written(message, panorama, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    paths = written([np.full((60, 80, 3), 99, np.uint8)] * 4, tmp_path)
    before = sorted(tmp_path.iterdir())
    result = CliRunner().invoke(app, ["rig", "guess", *paths, "-o", "rig.yaml", *MISTAKES[message]])
    assert isinstance(result.exception, SpiderEyeError)
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    "name,message",
    [
        ("shot_0.png", "too dark"),
        ("no.png", "is not there"),
        ("*.jpg", "matches no picture"),
        ("shot_[12].png", "80x64 pixels, but"),  # two shots of one camera
        (".", "80x60 pixels|80x64 pixels"),
    ],
)
def test_dark_missing_and_unlike_pictures(name, message, tmp_path):
    sizes = ((60, 3), (60, 99), (64, 99))
    written([np.full((height, 80, 3), level, np.uint8) for height, level in sizes], tmp_path)
    with pytest.raises(SpiderEyeError, match=message):
        guess_file([str(tmp_path / name)], tmp_path / "rig.yaml", GuessOptions(fov=180))
    assert not (tmp_path / "rig.yaml").exists()


def test_what_was_found_and_assumed_is_said(panorama, tmp_path, capfd):
    rig = rig_of("equidistant", 190, poses_of(4))
    paths = written(photographs(rig, panorama), tmp_path)
    guess_file(paths[:1], tmp_path / "rig.yaml", GuessOptions(fov=190))
    said = capfd.readouterr().err
    assert "front: shot_0.png: image circle found: centre (152." in said
    assert "assumed, not measured: equidistant, 190°" in said
    assert "coverage: " in said and "WARNING: the views see only" in said
    wrong = [str(Path(path).rename(tmp_path / f"{name}.png")) for path, name in
             zip(paths, ("left", "right", "back", "front"), strict=True)]  # fmt: skip
    for pictures, warned in ((wrong, True), ([wrong[3], *wrong[1:3], wrong[0]], False)):
        guess_file(pictures, tmp_path / "rig.yaml", GuessOptions(fov=190))
        assert ("names tell another" in " ".join(capfd.readouterr().err.split())) == warned
