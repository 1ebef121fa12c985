"""synth.py: the same files however they come about, and every mistake in one line."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from spidereye.errors import SpiderEyeError
from spidereye.pictures import read_picture
from spidereye.rig import Rig, off_centre, spider4
from spidereye.rig_files import read_rig
from spidereye.scenes.views import render_rig, view_depth
from spidereye.sources.folder import FolderSource
from spidereye.sources.scenes import SceneSource
from spidereye.synth import Synthesis, read_depth, synthesise

WIDTH = 32


def _rig(baseline: float = 0.2) -> Rig:
    return off_centre(spider4(5.0, 0.85, 12), baseline)


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_panoramas_are_those_of_the_built_in_source(tmp_path: Path):
    line = synthesise(Synthesis(tmp_path / "d", 2, 1, WIDTH, seed=3))
    assert "2 scenes in train/" in line and "1 in val/" in line
    for split in ("train", "val"):
        written, source = FolderSource(tmp_path / "d", split), SceneSource(split, 2, seed=3)
        assert len(written) == {"train": 2, "val": 1}[split]
        assert np.array_equal(written.panorama(0), source.panorama(0, WIDTH))


def test_views_come_from_their_own_positions(tmp_path: Path):
    rig = _rig()
    synthesise(Synthesis(tmp_path, 1, 0, WIDTH, rig))
    scene = SceneSource("train", 1).scene(0)
    for camera, view in zip(rig.cameras, render_rig(scene, rig.cameras), strict=True):
        written = read_picture(tmp_path / "views" / "train" / "scene-00000" / f"{camera.name}.png")
        expected = (view * 127.5 + 127.5).round().permute(1, 2, 0).numpy()
        assert np.array_equal(written, expected)
        assert torch.allclose(camera.position, 0.2 * camera.axis)
    central = render_rig(scene, _rig(0.0).cameras)
    assert not torch.equal(central[0], render_rig(scene, rig.cameras)[0])
    again = read_rig(tmp_path / "views" / "rig.yaml")
    assert again.names == rig.names
    assert torch.allclose(again.cameras[1].position, rig.cameras[1].position)
    # Views are not taken for panoramas.
    assert len(FolderSource(tmp_path, "train")) == 1


@pytest.mark.parametrize("kind", ["npy", "png"])
def test_depth_is_metres_along_the_ray(tmp_path: Path, kind: str):
    rig = _rig()
    synthesise(Synthesis(tmp_path, 1, 0, WIDTH, rig, depth=kind))
    scene = SceneSource("train", 1).scene(0)
    folder = tmp_path / "depth" / "train"
    pairs = [(folder / f"scene-00000.{kind}", scene.panorama_depth(WIDTH))]
    pairs += [
        (folder / "scene-00000" / f"{c.name}.{kind}", view_depth(scene, c)) for c in rig.cameras
    ]
    for path, expected in pairs:
        depth = read_depth(path)
        assert np.array_equal(np.isnan(depth), np.isnan(expected))
        near = expected < 65.5
        assert near.any() and np.allclose(depth[near], expected[near], atol=6e-4)
        if kind == "npy":
            assert np.array_equal(depth, expected, equal_nan=True)
        else:
            assert np.isinf(depth[expected > 65.6]).all()


def test_two_processes_write_what_one_writes(tmp_path: Path):
    for jobs in (1, 2):
        synthesise(Synthesis(tmp_path / str(jobs), 3, 1, WIDTH, _rig(), depth="png"), jobs)
    assert _files(tmp_path / "1") == _files(tmp_path / "2")


def test_the_same_command_makes_only_what_is_missing(tmp_path: Path):
    wanted = Synthesis(tmp_path, 2, 1, WIDTH, _rig())
    synthesise(wanted)
    whole = _files(tmp_path)
    kept = tmp_path / "train" / "scene-00001.png"
    (tmp_path / "views" / "train" / "scene-00000" / "back.png").unlink()
    before = kept.stat().st_mtime_ns
    assert "2 of them made before" in synthesise(wanted)
    assert _files(tmp_path) == whole and kept.stat().st_mtime_ns == before
    assert "3 of them" in synthesise(replace(wanted, n=3))  # a larger n adds


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"seed": 1}, "seed"), ({"width": 64}, "width"), ({"depth": "png"}, "depth"),
        ({"rig": _rig(0.1)}, "rig"),
    ],
)  # fmt: skip
def test_a_folder_keeps_to_its_settings(tmp_path: Path, change: dict, named: str):
    wanted = Synthesis(tmp_path, 1, 0, WIDTH, _rig())
    synthesise(wanted)
    before = _files(tmp_path)
    with pytest.raises(SpiderEyeError, match=f"another {named}.*choose another -o"):
        synthesise(replace(wanted, **change))
    assert _files(tmp_path) == before


def test_mistakes_are_one_line(tmp_path: Path):
    for change, said in (
        ({"n": -1}, "n=-1"), ({"n": 0, "val": 0}, "at least one"), ({"width": 33}, "33"),
        ({"depth": "jpg"}, "npy or png"), ({"rig": _rig(0.6)}, "front stands 0.6 m"),
    ):  # fmt: skip
        with pytest.raises(SpiderEyeError, match=said):
            Synthesis(tmp_path, **{"n": 1, **change})
    with pytest.raises(SpiderEyeError, match="0 m or more"):
        _rig(-0.1)
    with pytest.raises(SpiderEyeError, match="jobs"):
        synthesise(Synthesis(tmp_path, 1), 0)
    (tmp_path / "file").write_text("")
    with pytest.raises(SpiderEyeError, match="choose another -o"):
        synthesise(Synthesis(tmp_path / "file", 1, 0, WIDTH))
    (tmp_path / "synth.json").write_text("[not json")
    with pytest.raises(SpiderEyeError, match=r"synth\.json cannot be read"):
        synthesise(Synthesis(tmp_path, 1, 0, WIDTH))
    (tmp_path / "synth.json").unlink()
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "scene-00000.png").write_bytes(b"")
    with pytest.raises(SpiderEyeError, match=r"no .*synth\.json"):
        synthesise(Synthesis(tmp_path, 1, 0, WIDTH))


def test_ctrl_c_finishes_the_scene_at_hand(tmp_path: Path):
    """The command stops with exit code 130 and one line; the same command goes on."""
    command = [
        sys.executable, "-c", "from spidereye.cli import main; main()", "data", "synth", "-o",
        str(tmp_path), "--n", "300", "--val", "0", "--width", "64", "--jobs", "2",
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("train/*.png")) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130, said
    assert "stopped with" in said and "Traceback" not in said
    made = sorted(tmp_path.glob("train/*.png"))
    assert made and not list(tmp_path.rglob(".*.tmp"))
    assert all(read_picture(path).shape == (32, 64, 3) for path in made)
    assert json.loads((tmp_path / "synth.json").read_text())["width"] == 64
