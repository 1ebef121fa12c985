"""What a calibration file says, and the one place where its poses become ours.

All formats but OCamCalib have right-handed camera axes x right, y down, z forward. Poses come out
relative to the first camera, whose axis becomes the panorama's front: the frame of a calibration's
body or IMU has axes that nobody agrees on.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye import rotation
from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.lenses import Lens, lens_of, plane_of
from spidereye.marked import Entry
from spidereye.rig import Rig

# Calibrations are printed with few digits, and a rotation is as good as its digits.
_TOLERANCE = 1e-4
_FARTHEST = 1e5  # metres


@dataclass(frozen=True)
class Calibration:
    """A rig as a calibration describes it. Image circles are unknown there: none is set.

    poses_known: False where all cameras face front because the file does not say where they look.
    notes: what had to be assumed, a sentence each.
    """

    rig: Rig
    poses_known: bool
    notes: tuple[str, ...] = ()


def names_of(paths: Sequence[Path]) -> list[str]:
    """Of the cameras of these files: as a file is called, with its number where others are called
    so too, until `read_calibration` gives them names of their own."""
    stems = [path.stem for path in paths]
    return [
        stem if stems.count(stem) == 1 else f"{stem} {number}"
        for number, stem in enumerate(stems, start=1)
    ]


def calibrated_lens(
    entry: Entry,
    model: str,
    parameters: Mapping[str, float | Sequence[float]],
    *,
    matrix: Sequence[Sequence[float]] | None = None,
    **plane: Any,
) -> Lens:
    """A lens from numbers of a file. plane: see lenses.plane_of.   matrix: in place of fx, fy and
    skew. Errors name the line of `entry`, the part of the file that the numbers are from.

    Raises SpiderEyeError for what lens_of refuses, and for a picture that its own principal point
    does not fit.
    """
    try:
        shared = plane_of(**({"fx": 1.0} if matrix else {}), **plane)
        if matrix is not None:
            shared["matrix"] = torch.tensor(matrix, dtype=torch.float64)
            _check_matrix(shared["matrix"])
        lens = lens_of(model, shared, parameters)
    except SpiderEyeError as error:
        raise entry.problem(str(error)) from error
    size = torch.tensor([lens.width, lens.height], dtype=torch.float64)
    if bool(((lens.centre - size / 2).abs() > size).any()):
        cx, cy = (round(c, 1) for c in lens.centre.tolist())
        raise entry.problem(
            f"the principal point ({cx:g}, {cy:g}) lies far outside the picture of "
            f"{lens.width}x{lens.height} pixels; one of the two is wrong"
        )
    return lens


def _check_matrix(matrix: Float[Tensor, "2 2"]) -> None:
    determinant = float(torch.linalg.det(matrix))
    if not 1e-9 < determinant < math.inf:
        raise SpiderEyeError(
            f"the 2x2 matrix of a lens must have a positive determinant, got {determinant:g}"
        )


def checked_rotation(entry: Entry, rows: Sequence[Sequence[float]]) -> Float[Tensor, "3 3"]:
    """The rotation nearest to a printed one, float64.

    Raises SpiderEyeError, with the line of `entry`, where RᵀR differs from the identity by more
    than 1e-4 anywhere, and where the matrix is a reflection.
    """
    matrix = torch.tensor(rows, dtype=torch.float64)
    error = float((matrix.T @ matrix - torch.eye(3, dtype=torch.float64)).abs().max())
    if not error <= _TOLERANCE:
        raise entry.problem(
            f"{entry.where} is not a rotation: RᵀR differs from the identity by {error:.2g}, "
            f"more than {_TOLERANCE:g}"
        )
    if float(torch.linalg.det(matrix)) < 0:
        raise entry.problem(
            f"{entry.where} is not a rotation but a reflection (determinant -1); "
            "is an axis the wrong way round?"
        )
    u, _, v = torch.linalg.svd(matrix)
    return u @ v


def checked_pose(entry: Entry, rows: Sequence[Sequence[float]]) -> Float[Tensor, "4 4"]:
    """The rigid motion [R t; 0 1] from its 3x4 or 4x4 matrix. Raises SpiderEyeError like
    checked_rotation, and where a fourth row is not 0 0 0 1."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = checked_rotation(entry, [row[:3] for row in rows[:3]])
    pose[:3, 3] = torch.tensor([row[3] for row in rows[:3]], dtype=torch.float64)
    if not float(pose[:3, 3].abs().max()) < _FARTHEST:
        raise entry.problem(
            f"the translation of {entry.where} must be in metres and below {_FARTHEST:g}, "
            f"got {pose[:3, 3].tolist()}"
        )
    if len(rows) == 4 and any(
        abs(a - b) > 1e-9 for a, b in zip(rows[3], (0, 0, 0, 1), strict=True)
    ):
        raise entry.problem(f"the last row of {entry.where} must be 0 0 0 1, got {rows[3]}")
    return pose


def camera_at(name: str, lens: Lens, camera_to_first: Float[Tensor, "4 4"] | None = None) -> Camera:
    """A camera from its pose in the first camera's frame, OpenCV axes, metres; None: facing front
    at the centre."""
    pose = torch.eye(4, dtype=torch.float64) if camera_to_first is None else camera_to_first
    # Positions change frame by the same diag(1, -1, 1) that conjugates rotations.
    position = pose[:3, 3] * pose.new_tensor([1.0, -1.0, 1.0])
    return Camera(name, lens, rotation.convert_opencv(pose[:3, :3]), position)
