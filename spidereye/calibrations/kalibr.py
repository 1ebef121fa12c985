"""Kalibr's camchain YAML (`camchain-*.yaml`): one mapping `cam0`, `cam1`, … for each camera.

Intrinsics in Kalibr's order: pinhole [fu, fv, pu, pv], omni [ξ, fu, fv, pu, pv], ds [ξ, α, fu, …],
eucm [α, β, fu, …]; radtan coefficients are k1 k2 p1 p2, equidistant ones k1 k2 k3 k4. T_cn_cnm1 is
the 4x4 matrix that takes points of the camera before into this one. Where a chain has no
T_cn_cnm1, T_cam_imu (points of the IMU into the camera) says the same.
"""

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
from spidereye.marked import Entry, parse_yaml, read_text
from spidereye.rig import Rig

# Camera model, distortion model: our lens, the parameters that stand before the focal lengths, and
# how the distortion's coefficients are named here.
_MODELS: dict[tuple[str, str], tuple[str, tuple[str, ...], dict[str, slice]]] = {
    ("omni", "radtan"): ("mei", ("xi",), {"k": slice(0, 2), "p": slice(2, 4)}),
    ("omni", "none"): ("ucm", ("xi",), {}),
    ("pinhole", "equidistant"): ("kb4", (), {"k": slice(0, 4)}),
    ("pinhole", "radtan"): ("mei", (), {"k": slice(0, 2), "p": slice(2, 4)}),
    ("pinhole", "none"): ("ucm", (), {}),
    ("ds", "none"): ("ds", ("xi", "alpha"), {}),
    ("eucm", "none"): ("eucm", ("alpha", "beta"), {}),
}


def read_kalibr(path: Path) -> Calibration:
    """The rig of a camchain file, in the first camera's frame.

    Raises SpiderEyeError, with file and line, for bad syntax, missing keys, numbers too few or too
    many, models not listed above, and poses that are none or are given for some cameras only.
    """
    root = parse_yaml(read_text(path), path)
    found = root.mapping()
    names = [name for name in found if name.startswith("cam") and name[3:].isdecimal()]
    expected = [f"cam{index}" for index in range(len(names))]
    if not names or sorted(names) != sorted(expected):
        raise root.problem(
            f"a Kalibr camchain has the keys cam0, cam1, … without a gap, got {', '.join(found)}"
        )
    cameras = [found[name].mapping(required=("camera_model", "intrinsics")) for name in expected]
    lenses = [_lens(found[name], camera) for name, camera in zip(expected, cameras, strict=True)]
    poses = _poses([found[name] for name in expected], cameras)
    notes = () if poses or len(cameras) == 1 else ("the file has no T_cn_cnm1 and no T_cam_imu",)
    placed = [
        camera_at(name, lens, pose)
        for name, lens, pose in zip(expected, lenses, poses or [None] * len(lenses), strict=True)
    ]
    return Calibration(Rig(tuple(placed)), poses_known=bool(poses), notes=notes)


def _lens(entry: Entry, camera: dict[str, Entry]) -> Lens:
    camera = entry.mapping(
        required=("camera_model", "distortion_model", "intrinsics", "resolution")
    )
    kind = (camera["camera_model"].text("a text"), camera["distortion_model"].text("a text"))
    if kind not in _MODELS:
        known = ", ".join("-".join(pair) for pair in _MODELS)
        raise camera["camera_model"].problem(
            f"{entry.where} has the model {'-'.join(kind)!r}, which is not known; known: {known}"
        )
    model, before, coefficients = _MODELS[kind]
    order = [*before, "fu", "fv", "pu", "pv"]
    numbers = camera["intrinsics"].numbers(
        len(order), f"{len(order)} numbers ({', '.join(order)}) for {kind[0]}"
    )
    parameters: dict[str, Any] = dict(zip(before, numbers, strict=False))
    if kind[0] == "pinhole" and model != "kb4":
        parameters["xi"] = 0.0  # seen from the sphere's centre, the unified model is the pinhole
    if coefficients:
        # "none" may come without a list, or with an empty one.
        entry.mapping(required=("distortion_coeffs",))
        listed = camera["distortion_coeffs"].numbers(4, f"4 numbers for {kind[1]} distortion")
        parameters |= {name: listed[part] for name, part in coefficients.items()}
    fx, fy, cx, cy = numbers[len(before) :]
    width, height = (
        side.integer("pixels of the picture", at_least=1)
        for side in _two(camera["resolution"], "[width, height] in pixels")
    )
    return calibrated_lens(
        camera["intrinsics"], model, parameters,
        width=width, height=height, fx=fx, fy=fy, cx=cx, cy=cy,
    )  # fmt: skip


def _two(entry: Entry, expected: str) -> list[Entry]:
    entry.numbers(2, expected)
    return entry.sequence()


def _poses(entries: list[Entry], cameras: list[dict[str, Entry]]) -> list[Float[Tensor, "4 4"]]:
    """Camera to first camera, for each; empty where the file has no poses."""
    if len(cameras) == 1:
        return [torch.eye(4, dtype=torch.float64)]
    for key, first in (("T_cn_cnm1", 1), ("T_cam_imu", 0)):
        given = [key in camera for camera in cameras[first:]]
        if not any(given):
            continue
        if not all(given):
            raise entries[first + given.index(False)].problem(
                f"{entries[first + given.index(False)].where} lacks {key}, which other cameras have"
            )
        motions = [_motion(camera[key]) for camera in cameras[first:]]
        if key == "T_cam_imu":
            imu_to_camera = motions
            return [imu_to_camera[0] @ torch.linalg.inv(motion) for motion in imu_to_camera]
        first_to_camera = [torch.eye(4, dtype=torch.float64)]
        for motion in motions:
            first_to_camera.append(motion @ first_to_camera[-1])
        return [torch.linalg.inv(motion) for motion in first_to_camera]
    return []


def _motion(entry: Entry) -> Float[Tensor, "4 4"]:
    return checked_pose(entry, entry.matrix(4, 4, "a 4x4 matrix"))
