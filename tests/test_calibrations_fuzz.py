"""Whatever a rig or calibration file holds: a rig, or one line that says what is wrong."""

from pathlib import Path

import calibration_samples as samples
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_rig_files import EXAMPLE

from spidereye.calibrations import READERS, read_calibration
from spidereye.errors import SpiderEyeError
from spidereye.rig import Rig
from spidereye.rig_files import read_rig

VALID = {
    "rig": EXAMPLE.replace("  mask: front.png\n", ""),
    "kalibr": samples.KALIBR,
    "basalt": samples.BASALT,
    "opencv": samples.OPENCV_FISHEYE,
    "omnidir": samples.OPENCV_OMNIDIR,
    "json": samples.OPENCV_JSON,
    "ocamcalib": samples.OCAMCALIB + samples.OCAMCALIB_POSE,
}
FUZZED = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What people and programs leave in files, and what parsers stumble over.
PIECES = (
    *("0", "-1", "1e999", ".nan", ".inf", "null", "true", "~", "1_0", "0x1F", "12:30", "9" * 400),
    *("[]", "{}", "[[1]]", '""', "'", '"', "&a", "*a", "<<: *a", "!!python/name:os.system", "!"),
    *("\t", "\n", "\r", ": ", "- ", "#", "%", "@", "\x00", "\ud7ff", "é", "<", "</K>", "&amp;"),
    *("<!DOCTYPE a [<!ENTITY b 'c'>]>", "\\U99999999", "---\n", "? ", "| ", "rows: 0"),
)


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    """A valid file after one to four accidents."""
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 30)))
        accident = draw(st.sampled_from(("cut", "delete", "insert", "replace", "double", "swap")))
        if accident == "cut":
            text = text[:start]
        elif accident == "double":
            text = text[:end] + text[start:]
        elif accident == "swap":
            words = text.split(" ")
            i, j = (draw(st.integers(0, len(words) - 1)) for _ in range(2))
            words[i], words[j] = words[j], words[i]
            text = " ".join(words)
        else:
            piece = "" if accident == "delete" else draw(st.sampled_from(PIECES) | st.text())
            text = text[:start] + piece + text[start if accident == "insert" else end :]
    return text


def read(kind: str, path: Path) -> Rig:
    if kind == "rig":
        return read_rig(path)
    form = {"omnidir": "opencv", "json": "opencv"}.get(kind, kind)
    return read_calibration([path], form).rig


def check(kind: str, path: Path) -> None:
    try:
        rig = read(kind, path)
    except SpiderEyeError as error:
        assert str(path) in str(error) and "\n" not in str(error) and "\r" not in str(error)
    else:
        assert len(rig.cameras) >= 1
        for camera in rig.cameras:
            assert camera.lens.matrix.isfinite().all() and camera.rotation.isfinite().all()
            assert camera.position.isfinite().all() and camera.circle > 0


@pytest.mark.parametrize("kind", VALID)
def test_the_valid_files_are_valid(tmp_path, kind):
    path = tmp_path / "file"
    path.write_text(VALID[kind], encoding="utf-8")
    assert read(kind, path).cameras


@pytest.mark.parametrize("kind", VALID)
@FUZZED
@given(data=st.data())
def test_damaged_files(tmp_path, kind, data):
    path = tmp_path / "file"
    path.write_bytes(data.draw(damaged(VALID[kind])).encode("utf-8", "surrogatepass"))
    check(kind, path)


@settings(FUZZED, max_examples=100)
@given(st.sampled_from([*READERS, "rig", "auto"]), st.binary(max_size=80) | st.text(max_size=80))
def test_any_bytes(tmp_path, kind, content):
    path = tmp_path / "file"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    check(kind, path)


SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
    | st.sampled_from(["ucm", "kb4", "front", "omni", "radtan"])
)  # fmt: skip
KEYS = st.sampled_from(
    (
        *("spidereye_rig", "views", "name", "lens", "rotation", "model", "width", "xi", "matrix"),
        *("cam0", "camera_model", "intrinsics", "resolution", "value0", "T_imu_cam", "K", "D"),
    )
)
STRUCTURES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@settings(FUZZED, max_examples=100)
@given(st.sampled_from(["rig", "kalibr", "basalt", "opencv"]), STRUCTURES)
def test_any_structure(tmp_path, kind, structure):
    path = tmp_path / "file"
    path.write_text(yaml.safe_dump(structure), encoding="utf-8")
    check(kind, path)
