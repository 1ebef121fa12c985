"""OCamCalib's text export (`calib_results.txt`), a file for each camera (Scaramuzza et al. 2006).

Five lines of numbers between comments: the polynomial and the inverse polynomial, each after its
number of coefficients; the centre as row and column; the affine c, d, e; height and width.

A sixth block of ours gives the pose, which OCamCalib does not export: three or four rows of the
matrix [R t] that takes points of the camera to the rig, in metres, or a row of six numbers, the
rotation vector and the translation of the same motion. As everywhere in OCamCalib (its RRfin, and
MultiCol's M_c), the camera's axes are x along the rows (down), y along the columns (right), and z
backwards, away from the scene.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.calibrations.calibration import (
    Calibration,
    calibrated_lens,
    camera_at,
    checked_pose,
    names_of,
)
from spidereye.errors import SpiderEyeError
from spidereye.lenses import Lens
from spidereye.marked import Entry, read_text, words_node
from spidereye.rig import Rig

_BLOCKS = (
    "the number of coefficients and the polynomial",
    "the number of coefficients and the inverse polynomial",
    "the centre: row and column",
    "the affine parameters c, d, e",
    "the picture's height and width",
)
# x right, y down, z forward from OCamCalib's x down, y right, z backward.
_TO_OPENCV = ((0.0, 1.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0), (0.0, 0.0, -1.0, 0.0), (0, 0, 0, 1.0))


def read_ocamcalib(paths: Sequence[Path]) -> Calibration:
    """The rig of one or more files, a camera each, named after the file, in the first one's frame.

    Raises SpiderEyeError, with file and line, where a line has too few or too many numbers or none
    that can be, where the two polynomials contradict each other, and for poses in some files only.
    """
    lenses, poses, ends = [], [], []
    for path in paths:
        rows = _rows(path)
        lenses.append(_lens(path, rows))
        poses.append(_pose(rows[len(_BLOCKS) :]))
        ends.append(rows[-1])
    names = names_of(paths)
    missing = [pose is None for pose in poses]
    if all(missing):
        cameras = [camera_at(*pair) for pair in zip(names, lenses, strict=True)]
        notes = () if len(names) == 1 else ("the files have no pose block",)
        return Calibration(Rig(tuple(cameras)), poses_known=len(names) == 1, notes=notes)
    if any(missing):
        raise ends[missing.index(True)].problem(
            "this camera has no pose block at its end, but others have one; give it to all"
        )
    change = torch.tensor(_TO_OPENCV, dtype=torch.float64)
    to_rig = [pose @ change.T for pose in poses if pose is not None]
    rig_to_first = torch.linalg.inv(to_rig[0])
    cameras = [
        camera_at(name, lens, rig_to_first @ pose)
        for name, lens, pose in zip(names, lenses, to_rig, strict=True)
    ]
    return Calibration(Rig(tuple(cameras)), poses_known=True)


def _rows(path: Path) -> list[Entry]:
    """The lines that have numbers, as lists."""
    rows: list[Entry] = []
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        words = line.partition("#")[0].split()
        if words:
            where = _BLOCKS[len(rows)] if len(rows) < len(_BLOCKS) else "the pose"
            rows.append(Entry(path, words_node(words, number), where))
    if not rows:
        raise SpiderEyeError(f"{path}, line 1: expected {_BLOCKS[0]}, got no numbers at all")
    if len(rows) < len(_BLOCKS):
        raise rows[-1].problem(f"expected {_BLOCKS[len(rows)]} after this line, the file ends here")
    return rows


def _lens(path: Path, rows: list[Entry]) -> Lens:
    polynomial, inverse = _polynomial(rows[0]), _polynomial(rows[1])
    row, column = rows[2].numbers(2, "2 numbers")
    c, d, e = rows[3].numbers(3, "3 numbers")
    rows[4].numbers(2, "2 numbers")
    height, width = (side.integer("a number of pixels", at_least=1) for side in rows[4].sequence())
    if not polynomial[0] < 0:
        raise rows[0].problem(
            f"the polynomial starts with {polynomial[0]:g}; OCamCalib's starts below 0, as its "
            "camera looks along negative z"
        )
    _check_inverse(rows[1], polynomial, inverse, math.hypot(width, height) / 2)
    # OCamCalib: (row, column) = [c d; e 1] (down, right) + centre. Ours: column first.
    return calibrated_lens(
        rows[3], "ocam", {"polynomial": polynomial}, matrix=[[1.0, e], [d, c]],
        width=width, height=height, cx=column, cy=row,
    )  # fmt: skip


def _polynomial(row: Entry) -> list[float]:
    count = row.sequence()[0].integer("the number of coefficients", at_least=1)
    return row.numbers(count + 1, f"{count} coefficients after their number {count}")[1:]


def _check_inverse(row: Entry, polynomial: list[float], inverse: list[float], reach: float) -> None:
    """Raises SpiderEyeError unless the inverse polynomial gives back radii, to 2 % of `reach`, the
    pixels from the picture's middle to its corner. Only half of it: the fit is free outside the
    image circle."""
    for part in (0.1, 0.25, 0.5):
        radius = part * reach
        angle = math.atan2(_value(polynomial, radius), radius)
        found = _value(inverse, angle)
        if not abs(found - radius) < 0.02 * reach:
            raise row.problem(
                f"the two polynomials contradict each other: the inverse one takes a radius of "
                f"{radius:.1f} pixels to {found:.1f}"
            )


def _value(polynomial: list[float], x: float) -> float:
    """By Horner's rule: a power that is too large for a float would raise."""
    value = 0.0
    for coefficient in reversed(polynomial):
        value = value * x + coefficient
    return value


def _pose(rows: list[Entry]) -> Float[Tensor, "4 4"] | None:
    """Camera to rig, in OCamCalib's axes of the camera."""
    if not rows:
        return None
    expected = "3 or 4 rows of 4 numbers, or one row of 6 (rotation vector, translation)"
    counts = [len(row.sequence()) for row in rows]
    if counts == [6]:
        numbers = rows[0].numbers(6)
        if not math.hypot(*numbers[:3]) < 100:
            raise rows[0].problem(f"a rotation vector is in radians, got {numbers[:3]}")
        from scipy.spatial.transform import Rotation  # every start would wait for it

        turn = Rotation.from_rotvec(numbers[:3]).as_matrix().tolist()
        return checked_pose(rows[0], [[*turn[i], numbers[3 + i]] for i in range(3)])
    if counts not in ([4] * 3, [4] * 4):
        raise rows[0].problem(f"the pose must be {expected}, got rows of {counts[:6]}")
    return checked_pose(rows[0], [row.numbers(4) for row in rows])
