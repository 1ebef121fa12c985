"""Calibrations that other programs wrote, as rigs: one file for each format.

A new format is one reader here, its entry in `READERS`, and how to recognise it in `format_of`.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from spidereye.calibrations.basalt import read_basalt
from spidereye.calibrations.calibration import (
    Calibration,
    calibrated_lens,
    checked_rotation,
)
from spidereye.calibrations.kalibr import read_kalibr
from spidereye.calibrations.ocamcalib import read_ocamcalib
from spidereye.calibrations.opencv import read_opencv
from spidereye.errors import SpiderEyeError
from spidereye.marked import read_text
from spidereye.rig import Rig

READERS: dict[str, Callable[[Sequence[Path]], Calibration]] = {
    "kalibr": lambda paths: read_kalibr(_only(paths, "kalibr")),
    "opencv": read_opencv,
    "basalt": lambda paths: read_basalt(_only(paths, "basalt")),
    "ocamcalib": read_ocamcalib,
}

__all__ = [
    "READERS",
    "Calibration",
    "calibrated_lens",
    "checked_rotation",
    "format_of",
    "read_calibration",
]


def read_calibration(
    paths: Sequence[Path], form: str = "auto", names: Sequence[str] = ()
) -> Calibration:
    """The rig that calibration files describe: one file of all cameras, or a file for each.

    form: a key of READERS, or auto.   names: of the views, in order; none: those of the format.
    Raises SpiderEyeError for files that cannot be read, files of different formats, and names that
    are too few, too many or double.
    """
    if form not in ("auto", *READERS):
        raise SpiderEyeError(f"format must be auto or one of {', '.join(READERS)}, got {form!r}")
    if not paths:
        raise SpiderEyeError("give at least one calibration file")
    forms = [format_of(path) for path in paths] if form == "auto" else [form]
    if len(set(forms)) > 1:
        pairs = ", ".join(f"{path} is {kind}" for path, kind in zip(paths, forms, strict=True))
        raise SpiderEyeError(f"all files must have one format: {pairs}")
    calibration = READERS[forms[0]](paths)
    stems = [path.stem for path in paths]
    if len(set(stems)) < len(stems):  # as in a folder for each camera
        names = names or stems
    return replace(calibration, rig=_renamed(calibration.rig, names))


def format_of(path: Path) -> str:
    """The format, a key of READERS, by what the file starts with and which keys it has.

    Raises SpiderEyeError where it is none of them.
    """
    text = read_text(path)
    start = text.lstrip()
    keys = {line.strip().strip('"').partition(":")[0].strip('" ') for line in text.splitlines()}
    if "spidereye_rig" in keys:
        raise SpiderEyeError(f"{path} already is a rig of ours; use it as it is")
    if start.startswith(("<", "%YAML")) or "!!opencv-matrix" in text or "opencv-matrix" in text:
        return "opencv"
    if "value0" in text[:2000] and start.startswith("{"):
        return "basalt"
    if "cam0" in keys:
        return "kalibr"
    if start.startswith("#poly") or (start[:1].isdigit() and len(start.split()) > 10):
        return "ocamcalib"
    if start.startswith("{"):
        return "opencv"
    raise SpiderEyeError(
        f"{path}, line 1: expected a calibration of {', '.join(READERS)}, got {start[:40]!r}; "
        "say which one it is with --format"
    )


def _only(paths: Sequence[Path], form: str) -> Path:
    if len(paths) != 1:
        raise SpiderEyeError(
            f"a {form} file holds all cameras of a rig: give one, got {', '.join(map(str, paths))}"
        )
    return paths[0]


def _renamed(rig: Rig, names: Sequence[str]) -> Rig:
    names = names or rig.names
    if len(names) != len(rig.cameras):
        raise SpiderEyeError(
            f"{len(names)} names for {len(rig.cameras)} views: {', '.join(names)} for "
            f"{', '.join(rig.names)}"
        )
    double = {name for name in names if names.count(name) > 1}
    if double or not all(names):
        raise SpiderEyeError(
            f"every view needs a name of its own, got {', '.join(names)}; give them with --names"
        )
    cameras = (replace(c, name=name) for c, name in zip(rig.cameras, names, strict=True))
    return replace(rig, cameras=tuple(cameras))
