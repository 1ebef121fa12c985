"""Rig files of ours: every key read, every mistake named with its line, round trips exact."""

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from spidereye import rotation
from spidereye.camera import Crop
from spidereye.errors import SpiderEyeError
from spidereye.lenses import LENSES, UCM, lens_of, plane_of
from spidereye.rig import NAMED_RIGS, Rig, circle_of_fov, yaw_pitch_roll
from spidereye.rig_files import load_rig, read_rig, write_rig

PARAMETERS = {
    "ucm": {"xi": 0.85},
    "eucm": {"alpha": 0.6, "beta": 1.1},
    "ds": {"xi": -0.2, "alpha": 0.59},
    "kb4": {"k": [0.01, -0.002, 0.0004, -0.00001]},
    "mei": {"xi": 1.2, "k": [-0.1, 0.02], "p": [0.001, -0.002]},
    "ocam": {"polynomial": [-150.0, 0.0, 0.002, -3e-6, 1e-8]},
}

EXAMPLE = """\
spidereye_rig: 1
sphere_radius: 8.5
views:
- name: front
  lens: &fisheye {model: ucm, width: 64, height: 48, fx: 20, fy: 21, cx: 30.5, skew: 0.1, xi: 0.85}
  rotation: {yaw: 10, pitch: -20, roll: 180}
  position: [0.1, -0.2, 0.3]
  fov: 150
  mask: front.png
  crop: {file: 1, left: 64, top: 0, width: 128, height: 96, file_width: 256, file_height: 96}
- name: back
  lens: {<<: *fisheye, xi: 1.1}
  rotation:
    matrix: [[-1, 0, 0], [0, 1, 0], [0, 0, -1]]
  circle: diagonal
- name: up
  lens: {model: ocam, width: 64, height: 48, c: 1.01, d: 0.02, e: -0.01, polynomial: [-20, 0, 0.01]}
  rotation: {pitch: 90}
  circle: 21.5
"""


@pytest.fixture
def example(tmp_path) -> Path:
    mask = np.full((48, 64), 255, np.uint8)
    mask[40:] = 0
    Image.fromarray(mask).save(tmp_path / "front.png")
    path = tmp_path / "rig.yaml"
    path.write_text(EXAMPLE, encoding="utf-8")
    return path


def test_every_key_is_read(example):
    rig = read_rig(example)
    front, back, up = rig.cameras
    assert rig.names == ("front", "back", "up") and rig.sphere_radius == 8.5
    assert front.lens.model == "ucm" and (front.lens.width, front.lens.height) == (64, 48)
    assert front.lens.matrix.tolist() == [[20, 0.1], [0, 21]]
    assert front.lens.centre.tolist() == [30.5, 23.5]
    assert torch.equal(front.rotation, rotation.from_degrees(10, -20, 180))
    assert front.position.tolist() == [0.1, -0.2, 0.3]
    assert front.crop == Crop(1, 64, 0, 128, 96, 256, 96)
    assert front.visible is not None and not bool(front.visible[40:].any())
    assert bool(front.visible[:40].all())
    assert front.circle == pytest.approx(circle_of_fov(front.lens, 150))
    assert isinstance(back.lens, UCM) and float(back.lens.xi) == 1.1
    assert back.lens.matrix.tolist() == front.lens.matrix.tolist()
    assert back.circle == 40 and back.position.tolist() == [0, 0, 0]
    assert back.axis.tolist() == [0, 0, -1]
    assert up.lens.matrix.tolist() == [[1, -0.01], [0.02, 1.01]] and up.circle == 21.5
    assert up.axis.round(decimals=12).tolist() == [0, 1, 0]


def test_masks_of_16_bits_are_read_as_those_of_8(example, tmp_path):
    """Dark grey of 16 bits is white where it is clipped."""
    mask = np.full((48, 64), 40000, np.uint16)
    mask[40:] = 20000
    Image.fromarray(mask).save(tmp_path / "front.png")
    visible = read_rig(example).cameras[0].visible
    assert visible is not None and not bool(visible[40:].any()) and bool(visible[:40].all())


def test_a_field_of_view_becomes_the_circle_that_its_rays_lie_on():
    lens = NAMED_RIGS["dual190"]().cameras[0].lens
    assert circle_of_fov(lens, 190) == pytest.approx(512, abs=1e-9)
    assert circle_of_fov(lens, 95) == pytest.approx(256, abs=1e-9)


MISTAKES = [
    ("spidereye_rig: 1", "spidereye_rig: 2", "line 1: spidereye_rig must be 1, .* got '2'"),
    ("spidereye_rig: 1", "rig: 1", "line 1: expected the key spidereye_rig"),
    ("sphere_radius: 8.5", "sphere_radius: -1", "line 2: sphere_radius must be metres above 0"),
    ("views:", "view:", "line 3: the file has the unknown key 'view'; did you mean 'views'"),
    (
        "  position",
        "  name: x\n  position",
        r"line 7: views\[0\].name is given a second time.*line 4",
    ),
    ("name: back", "name: front", "line 11: another view is called 'front'"),
    ("model: ucm", "model: fisheye", r"line 5: views\[0\].lens.model must be one of ucm, eucm"),
    ("xi: 0.85", "xi: .nan", r"line 5: views\[0\].lens.xi must be a number, got '.nan'"),
    ("xi: 0.85", "xi: -1", "line 5: a UCM lens needs xi >= 0"),
    (", xi: 0.85", "", "line 5: .*lacks xi"),
    ("width: 64, height: 48, fx", "width: 64.5, height: 48, fx", "line 5: .*a number of pixels"),
    ("fx: 20", "fx: 0", "line 5: a lens needs f > 0"),
    ("fx: 20", "f: 20", "line 5: .*unknown key 'f'; did you mean 'f"),
    ("cx: 30.5", "cx: 305", "line 5: the principal point .305, 23.5. lies far outside"),
    ("yaw: 10", "yaw: ten", r"line 6: views\[0\].rotation.yaw must be degrees, got 'ten'"),
    ("yaw: 10", "jaw: 10", "line 6: .*unknown key 'jaw'; did you mean 'yaw'"),
    (
        "[0.1, -0.2, 0.3]",
        "[0.1, -0.2]",
        r"line 7: .*must be \[x, y, z\] in metres, got a list of 2",
    ),
    ("fov: 150", "fov: 360", r"line 8: .*half angles up to"),
    ("fov: 150", "circle: 3\n  fov: 150", "line 8: give either fov or circle"),
    (
        "mask: front",
        "mask: gone",
        "line 9: the mask .*gone.png cannot be read: there is no such file",
    ),
    ("left: 64", "left: 164", "line 10: the crop of 128x96 .* reaches over the edge"),
    (
        "width: 128",
        "width: 100",
        "line 10: the crop of 100x96 pixels has not the shape of its lens",
    ),
    ("radius: 8.5", "radius: 0.3", "line 4: .*view front stands 0.37.* m .* sphere of 0.3 m"),
    ("file: 1", "file: 3", "line 4: the views are in 3 files .* there is no file 3"),
    ("file: 1", "file: 999999999", "line 4: .* there is no file 999999999"),
    ("file_height: 96", "file_hight: 96", "line 10: .*file_height|line 10: .*file_hight"),
    ("[-1, 0, 0], ", "[-1, 0.1, 0], ", "line 14: .*is not a rotation: RᵀR differs .* by 0.1"),
    ("[-1, 0, 0], ", "[1, 0, 0], ", "line 14: .*reflection"),
    ("[-1, 0, 0], ", "", "line 14: .*must be a 3x3 matrix, got a list of 2"),
    ("circle: diagonal", "circle: round", "line 15: .*inscribed, diagonal, none, got 'round'"),
    ("*fisheye", "*fish", "line 12: not valid YAML: found undefined alias 'fish'"),
    (
        "polynomial: [-20, 0, 0.01]",
        "polynomial: []",
        r"line 17: .*a list of numbers, got a list of 0",
    ),
    ("rotation: {pitch: 90}", "rotation: 90", "line 18: .*must be a mapping of keys"),
    ("circle: 21.5", "\tcircle: 21.5", "line 19: not valid YAML: .*tab|line 19: not valid YAML"),
]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_every_mistake_names_its_line_and_what_was_expected(example, old, new, message):
    assert old in EXAMPLE
    example.write_text(EXAMPLE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(SpiderEyeError, match=f"rig.yaml, {message}") as caught:
        read_rig(example)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_text_or_have_no_end(tmp_path):
    path = tmp_path / "rig.yaml"
    for data, message in (
        (b"spidereye_rig: 1\nviews: \xff", "line 2: expected text in UTF-8, got the byte 0xff"),
        (b"", "line 1: the file is empty"),
        (b"a: \x00", "line 1: not valid YAML"),
        (b"[" * 5000, "line 1: not valid YAML: nested too deeply"),
        (b'a: "\\UFFFFFFFF"', "line 1: not valid YAML: Python int too large"),
        (b"&a {<<: *a, views: 1}", "line 1: << includes itself"),
        (b"- 1\n- 2\n", "line 1: the file must be a mapping"),
        (b"#" * 5_000_000, "are too many"),
    ):
        path.write_bytes(data)
        with pytest.raises(SpiderEyeError, match=message):
            read_rig(path)
    with pytest.raises(
        SpiderEyeError, match=r"neither a rig file nor a named rig .spider4, dual190"
    ):
        load_rig(tmp_path / "none.yaml")


def assert_same(rig: Rig, again: Rig) -> None:
    assert rig.names == again.names and rig.sphere_radius == again.sphere_radius
    for camera, other in zip(rig.cameras, again.cameras, strict=True):
        assert type(camera.lens) is type(other.lens)
        sizes = (camera.lens.width, camera.lens.height)
        assert sizes == (other.lens.width, other.lens.height)
        for name in ("matrix", "centre", *camera.lens.parameters):
            assert torch.equal(getattr(camera.lens, name), getattr(other.lens, name)), name
        assert float((camera.rotation - other.rotation).abs().max()) < 1e-12
        assert torch.equal(camera.position, other.position)
        assert camera.circle == other.circle and camera.crop == other.crop
        assert (camera.visible is None) == (other.visible is None)
        if camera.visible is not None and other.visible is not None:
            assert torch.equal(camera.visible, other.visible)


@pytest.mark.parametrize("model", LENSES)
def test_round_trip_of_every_lens(tmp_path, model):
    plane = plane_of(320, 240, fx=101 / 3, fy=100 / 3, cx=155.1, cy=121.7, skew=0.07)
    if model == "ocam":
        plane["matrix"] = torch.tensor([[1.0, 0.001], [0.002, 0.999]], dtype=torch.float64)
    lens = lens_of(model, plane, PARAMETERS[model])
    camera = replace(
        NAMED_RIGS["spider4"]().cameras[1],
        lens=lens,
        circle=math.inf,
        position=torch.tensor([0.1, 1 / 3, -2e-9], dtype=torch.float64),
        visible=torch.rand(240, 320) > 0.5,
        crop=Crop(0, 5, 6, 640, 480, 1000, 700),
    )
    small = replace(camera, name="klein über", lens=lens.resized(160, 100), visible=None, crop=None)
    rig = Rig((camera, small), 7.25)
    write_rig(rig, tmp_path / "deep" / "rig.yaml")
    assert_same(rig, read_rig(tmp_path / "deep" / "rig.yaml"))
    assert sorted(p.name for p in (tmp_path / "deep").iterdir()) == ["rig.yaml", "rig_mask0.png"]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.floats(-720, 720), min_size=3, max_size=3), st.integers(0, 3))
def test_round_trip_of_every_rotation(tmp_path_factory, angles, straight_up):
    if straight_up == 0:
        angles[1] = 90.0
    turned = rotation.from_degrees(*angles)
    again = rotation.from_degrees(*yaw_pitch_roll(turned))
    assert float((again - turned).abs().max()) < 1e-7
    rig = NAMED_RIGS["dual190"]()
    rig = replace(rig, cameras=(replace(rig.cameras[0], rotation=turned),))
    path = tmp_path_factory.mktemp("rig") / "rig.yaml"
    write_rig(rig, path)
    assert_same(rig, read_rig(path))


@pytest.mark.parametrize("name", NAMED_RIGS)
def test_named_rigs_are_read_back_with_their_lens_given_once(tmp_path, name):
    path = tmp_path / f"{name}.yaml"
    write_rig(load_rig(name), path)
    assert_same(load_rig(name), load_rig(path))
    text = path.read_text()
    assert text.count("model:") == 1 and "*lens1" in text and "{yaw: 0.0" in text


def test_masks_are_written_beside_what_a_link_leads_to(example, tmp_path):
    rig, there = read_rig(example), tmp_path / "there" / "rig.yaml"
    link = tmp_path / "link.yaml"
    link.symlink_to(there)
    write_rig(rig, link)
    for path in (link, there):
        assert torch.equal(read_rig(path).cameras[0].mask(), rig.cameras[0].mask())


def test_what_cannot_be_written_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "rig.yaml"
    path.write_text("old")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(SpiderEyeError, match=r"rig.yaml: cannot be written: No space left"):
        write_rig(load_rig("spider4"), path)
    assert path.read_text() == "old" and [p.name for p in tmp_path.iterdir()] == ["rig.yaml"]


def test_the_file_in_the_documentation_is_one(tmp_path):
    text = (Path(__file__).parents[1] / "docs" / "rigs.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```yaml\n(.*?)```", text, re.S)
    (tmp_path / "rig.yaml").write_text(block)
    Image.fromarray(np.full((1920, 1920), 255, np.uint8)).save(tmp_path / "car_body.png")
    rig = read_rig(tmp_path / "rig.yaml")
    assert rig.names == ("front", "back") and rig.sphere_radius == 3
    for model in LENSES:
        assert f"| `{model}` |" in text


def test_what_cannot_be_a_file_is_no_rig(monkeypatch):
    text = "spidereye_rig: 1\nviews:\n" + "- name: front\n" * 30
    with pytest.raises(
        SpiderEyeError, match=r"neither a rig file nor a named rig.*spider4"
    ) as told:
        load_rig(text)
    assert "\n" not in str(told.value) and len(str(told.value)) < 200
    with pytest.raises(SpiderEyeError, match=r"^'views:\\nname: front'… is neither"):
        load_rig("views:\nname: front")

    def refused(path: Path, **_: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(SpiderEyeError, match=r"^locked/rig\.yaml is neither .*Permission denied$"):
        load_rig("locked/rig.yaml")
