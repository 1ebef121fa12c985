"""Basalt's calibration JSON (`calibration.json`): `value0` with a list of each thing.

T_imu_cam[i] takes points of camera i to the IMU: position px py pz in metres, quaternion
qx qy qz qw. Camera axes are x right, y down, z forward.
"""

import math
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.calibrations.calibration import (
    Calibration,
    calibrated_lens,
    camera_at,
    checked_pose,
)
from spidereye.lenses import Lens
from spidereye.lenses.ucm import xi_from_alpha
from spidereye.marked import Entry, parse_yaml, read_text
from spidereye.rig import Rig

_QUATERNION = ("qx", "qy", "qz", "qw")
_POSITION = ("px", "py", "pz")
_PLANE = ("fx", "fy", "cx", "cy")
# Basalt's camera_type: the numbers that follow the focal lengths and the principal point.
_PARAMETERS = {
    "ds": ("xi", "alpha"),
    "eucm": ("alpha", "beta"),
    "kb4": ("k1", "k2", "k3", "k4"),
    "ucm": ("alpha",),
}


def read_basalt(path: Path) -> Calibration:
    """The rig of a calibration file, in the first camera's frame.

    Raises SpiderEyeError, with file and line, for bad syntax, missing keys, unknown camera types,
    quaternions that are none and lists of different lengths.
    """
    value = parse_yaml(read_text(path), path).mapping(required=("value0",))["value0"]
    lists = value.mapping(required=("T_imu_cam", "intrinsics", "resolution"))
    parts = {name: lists[name].sequence() for name in ("intrinsics", "resolution", "T_imu_cam")}
    count = len(parts["intrinsics"])
    for name, entries in parts.items():
        if not entries or len(entries) != count:
            raise lists[name].unexpected(
                f"a list of {count} (one for each camera)" if count else "a list of cameras"
            )
    lenses = [
        _lens(intrinsics, resolution)
        for intrinsics, resolution in zip(parts["intrinsics"], parts["resolution"], strict=True)
    ]
    camera_to_imu = [_pose(entry) for entry in parts["T_imu_cam"]]
    imu_to_first = torch.linalg.inv(camera_to_imu[0])
    cameras = [
        camera_at(f"cam{index}", lens, imu_to_first @ pose)
        for index, (lens, pose) in enumerate(zip(lenses, camera_to_imu, strict=True))
    ]
    return Calibration(Rig(tuple(cameras)), poses_known=True)


def _lens(entry: Entry, resolution: Entry) -> Lens:
    found = entry.mapping(required=("camera_type", "intrinsics"))
    kind = found["camera_type"].text("a camera type", choices=_PARAMETERS)
    names = _PARAMETERS[kind]
    listed = found["intrinsics"].mapping(required=(*_PLANE, *names))
    fx, fy, cx, cy = (listed[name].number() for name in _PLANE)
    numbers = [listed[name].number() for name in names]
    parameters: dict[str, Any] = dict(zip(names, numbers, strict=True))
    if kind == "kb4":
        parameters = {"k": numbers}
    if kind == "ucm":
        (alpha,) = numbers
        if not 0 <= alpha < 1:
            raise listed["alpha"].unexpected("a number from 0 to below 1")
        xi, enlarged = xi_from_alpha(alpha, fx)
        parameters, fx, fy = {"xi": xi}, enlarged, xi_from_alpha(alpha, fy)[1]
    resolution.numbers(2, "[width, height] in pixels")
    width, height = (side.integer("pixels", at_least=1) for side in resolution.sequence())
    return calibrated_lens(
        found["intrinsics"], kind, parameters,
        width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy,
    )  # fmt: skip


def _pose(entry: Entry) -> Float[Tensor, "4 4"]:
    found = entry.mapping(required=(*_POSITION, *_QUATERNION))
    x, y, z, w = (found[name].number() for name in _QUATERNION)
    length = math.hypot(x, y, z, w)
    if not abs(length - 1) < 1e-3:
        raise entry.problem(
            f"{entry.where} is not a rotation: its quaternion has the length {length:.6g}, not 1"
        )
    x, y, z, w = x / length, y / length, z / length, w / length
    position = [found[name].number() for name in _POSITION]
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w), position[0]],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w), position[1]],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y), position[2]],
    ]
    return checked_pose(entry, rows)
