"""Calibration files that are malformed, cut off or contradict themselves: one line says where."""

from pathlib import Path

import calibration_samples as samples
import pytest

from spidereye.calibrations import read_calibration
from spidereye.errors import SpiderEyeError


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


DAMAGE = [
    ("k.yaml", samples.KALIBR, "0.0451, ", "", "line 4: cam0.distortion_coeffs must be 4 numbers"),
    ("k.yaml", samples.KALIBR, "omni\n", "fov\n", "line 3: cam0 has the model 'fov-radtan'"),
    ("k.yaml", samples.KALIBR, "resolution: [640, 480]\n  ros", "ros", "line 2: cam0 lacks resol"),
    (
        "k.yaml",
        samples.KALIBR,
        "cam1:",
        "cam7:",
        "line 1: a Kalibr camchain has the keys cam0, cam1",
    ),
    ("k.yaml", samples.KALIBR, "[0.0, 1.0, 0.0, 0.002]", "[0, 1.1, 0, 0]", "line 11: .*rotation"),
    ("k.yaml", samples.KALIBR, "[0.0, 1.0, 0.0, 0.002]", "[0, -1, 0, 0]", "line 11: .*reflection"),
    (
        "k.yaml",
        samples.KALIBR,
        "1.4729, 725",
        "725",
        "line 6: .*5 numbers \\(xi, fu, fv, pu, pv\\)",
    ),
    ("k.yaml", samples.KALIBR, "322.4", "4322.4", "line 6: .*principal point .4322.4.*640x480"),
    ("k.yaml", samples.KALIBR, "322.4", ".nan", "line 6: .*must be a number, got '.nan'"),
    (
        "k.yaml",
        samples.KALIBR,
        "resolution: [640, 480]\n  ros",
        "resolution: [640, 480",
        "line 8: ",
    ),
    ("b.json", samples.BASALT, '"kb4"', '"fov"', "line 24: .*camera_type must be one of ds, eucm"),
    (
        "b.json",
        samples.BASALT,
        '"qw": 0.8',
        '"qw": 0.9',
        "line 13: .*quaternion has the length 1.08",
    ),
    ("b.json", samples.BASALT, '"alpha": 0.593', '"a": 1', "line 18: .*lacks alpha"),
    ("b.json", samples.BASALT, "[512, 512], [512", "[512", "line 37: .*must be a list of 3"),
    ("b.json", samples.BASALT, '"xi": -0.172,', '"xi": -0.172, "xi": 2,', "line 20: .*second time"),
    ("f.yml", samples.OPENCV_FISHEYE, "rows: 4", "rows: 5", "line 12: dist_coeffs says 5 rows"),
    ("f.yml", samples.OPENCV_FISHEYE, "8.41e-03", "8e-03, 1", "line 12: .* has 5 numbers"),
    ("f.yml", samples.OPENCV_FISHEYE, "resolution", "size", "line 3: the size of the picture is"),
    ("f.yml", samples.OPENCV_FISHEYE, "T: ", "Q: ", "line 19: R is a half of a pose"),
    ("f.yml", samples.OPENCV_FISHEYE, "0., 0., 1. ]", "0., 0., 2. ]", "line 3: .*last row 0 0 1"),
    ("o.xml", samples.OPENCV_OMNIDIR, "</cols>", "</c>", "line 7: not valid XML: mismatched tag"),
    (
        "o.xml",
        samples.OPENCV_OMNIDIR,
        "<xi>1.13",
        "<xi>?",
        "line 17: xi must be a number, got '\\?'",
    ),
    ("t.txt", samples.OCAMCALIB, "5 -2.09", "6 -2.09", "line 3: .*6 coefficients after their"),
    ("t.txt", samples.OCAMCALIB, "480 752", "", "line 15: expected the picture's height and width"),
    ("t.txt", samples.OCAMCALIB, "5 -2.09", "5 -3.09", "line 7: .*contradict each other"),
    (
        "t.txt",
        samples.OCAMCALIB,
        "5 -2.091800e+02 0.000000e+00 2.046100e-03 -3.155600e-06 1.193100e-08",
        f"205 -2.091800e+02 0 2.046100e-03 -3.155600e-06 1.193100e-08{' 0' * 200}",
        "line 15: .*at most 20 coefficients, got 205",
    ),
    (
        "t.txt",
        samples.OCAMCALIB + samples.OCAMCALIB_POSE,
        "0.8 0 0.6",
        "0.8 0 0.9",
        "line 22: .*rota",
    ),
]


@pytest.mark.parametrize(("name", "text", "old", "new", "message"), DAMAGE)
def test_errors_name_the_file_the_line_and_what_was_expected(
    tmp_path, name, text, old, new, message
):
    assert old in text
    path = write(tmp_path, name, text.replace(old, new, 1))
    form = {"k": "kalibr", "b": "basalt", "t": "ocamcalib"}.get(name[0], "opencv")
    with pytest.raises(SpiderEyeError, match=f"{name}, {message}") as caught:
        read_calibration([path], form)
    assert "\n" not in str(caught.value)


def test_sources_that_do_not_go_together(tmp_path):
    kalibr, fisheye = write(tmp_path, "k.yaml", samples.KALIBR), tmp_path / "f.yml"
    fisheye.write_text(samples.OPENCV_FISHEYE)
    with pytest.raises(SpiderEyeError, match=r"one format: .*k.yaml is kalibr, .*f.yml is opencv"):
        read_calibration([kalibr, fisheye])
    with pytest.raises(SpiderEyeError, match="holds all cameras"):
        read_calibration([kalibr, kalibr])
    with pytest.raises(SpiderEyeError, match="3 names for 4 views"):
        read_calibration([kalibr], names=["a", "b", "c"])
    with pytest.raises(SpiderEyeError, match="name of its own"):
        read_calibration([fisheye, fisheye])
    assert read_calibration([kalibr], names=list("abcd")).rig.names == tuple("abcd")
    with pytest.raises(SpiderEyeError, match=r"line 1: expected a calibration of kalibr"):
        read_calibration([write(tmp_path, "other.yaml", "fx: 3\n")])
    with pytest.raises(SpiderEyeError, match=r"nowhere.yaml cannot be read: No such file"):
        read_calibration([tmp_path / "nowhere.yaml"])
