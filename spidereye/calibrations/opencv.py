"""OpenCV calibrations in FileStorage files: one file, one camera.

`cv2.fisheye` (K and 4 coefficients) is our kb4, `cv2.omnidir` (K, 4 coefficients and ξ) our mei.
Names differ from program to program; the usual ones are listed below. R, T or rvec, tvec take
points of the rig's frame (that of the first camera where it has none) into the camera, as in
cv2.fisheye.projectPoints; their unit is taken to be the metre.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye import rotation
from spidereye.calibrations.calibration import (
    Calibration,
    calibrated_lens,
    camera_at,
    checked_pose,
    names_of,
)
from spidereye.calibrations.storage import parse_storage, read_array
from spidereye.lenses import Lens
from spidereye.marked import Entry, key_of, read_text
from spidereye.rig import Rig
from spidereye.rig_poses import DIRECTIONS

_K = ("camera_matrix", "K", "Camera_Matrix", "cameraMatrix", "CameraMatrix", "intrinsic_matrix")
_D = (
    *("dist_coeffs", "D", "distortion_coefficients", "Distortion_Coefficients", "distCoeffs"),
    *("dist_coeff", "DistCoeffs", "distortion"),
)
_XI = ("xi", "Xi", "XI")
_SIZE = ("resolution", "image_size", "imageSize", "Image_Size", "img_size")
_WIDTH, _HEIGHT = (
    ("image_width", "width", "image_Width"),
    ("image_height", "height", "image_Height"),
)
_R, _T = (
    ("R", "rotation_matrix", "rvec", "Rvec", "rotation_vector"),
    (*("T", "t", "tvec", "Tvec", "translation_vector"),),
)
# Names of files that say where their camera looks.
_NOMINAL = {**DIRECTIONS, "rear": DIRECTIONS["back"]}


def read_opencv(paths: Sequence[Path]) -> Calibration:
    """The rig of one or more files, a camera each, named after the file.

    Where no file has a pose, files called front, right, back (rear), left, up, down … look there;
    others face front. Raises SpiderEyeError, with file and line, for bad syntax, missing keys,
    counts that are wrong, and poses in some of the files only.
    """
    lenses, poses, roots = [], [], []
    for path in paths:
        root = parse_storage(read_text(path), path)
        found = root.mapping()
        lenses.append(_lens(root, found))
        poses.append(_pose(found))
        roots.append(root)
    names = names_of(paths)
    given = [pose is not None for pose in poses]
    # One file without a pose is the frame that the others' poses refer to.
    if any(given) and given.count(False) > 1:
        without = roots[given.index(False)]
        raise without.problem(
            "this camera has no pose (R and T, or rvec and tvec), but others have one; "
            "give it to all, or leave it away from the reference only"
        )
    if not any(given):
        return _nominal(names, lenses)
    identity = torch.eye(4, dtype=torch.float64)
    motions = [identity if pose is None else pose for pose in poses]
    first = motions[0]
    cameras = [
        camera_at(name, lens, first @ torch.linalg.inv(motion))
        for name, lens, motion in zip(names, lenses, motions, strict=True)
    ]
    return Calibration(Rig(tuple(cameras)), poses_known=True)


def _nominal(names: list[str], lenses: list[Lens]) -> Calibration:
    cameras, notes = [], []
    for name, lens in zip(names, lenses, strict=True):
        camera = camera_at(name, lens)
        if name.lower() in _NOMINAL:
            yaw, pitch = _NOMINAL[name.lower()]
            # Angles of our frame: nothing to convert.
            camera = replace(camera, rotation=rotation.from_degrees(yaw, pitch))
            notes.append(
                f"{name} was taken to look at yaw {yaw:g}°, pitch {pitch:g}°, as its file is called"
            )
        cameras.append(camera)
    return Calibration(Rig(tuple(cameras)), poses_known=len(names) == 1, notes=tuple(notes))


def _lens(root: Entry, found: dict[str, Entry]) -> Lens:
    matrix, coefficients, mirror = (key_of(found, names) for names in (_K, _D, _XI))
    for entry, names in ((matrix, _K), (coefficients, _D)):
        if entry is None:
            raise root.problem(
                f"an OpenCV calibration has the key {names[0]} (or {', '.join(names[1:])}), "
                f"got {', '.join(list(found)[:12])}"
            )
    assert matrix is not None and coefficients is not None
    fx, skew, cx, zero, fy, cy, *last = read_array(matrix, (9,), "a 3x3 camera matrix")
    if (zero, *last) != (0, 0, 0, 1):
        raise matrix.problem(
            f"{matrix.where} must be [fx skew cx; 0 fy cy; 0 0 1], its last row 0 0 1, "
            f"got {[zero, *last]}"
        )
    expected = (
        "the 4 coefficients of cv2.fisheye or cv2.omnidir (5 or more are those of an ordinary "
        "lens, which SpiderEye does not read)"
    )
    d = read_array(coefficients, (4,), expected)
    if "fisheye_model" in found and found["fisheye_model"].number() == 0:
        raise found["fisheye_model"].problem(
            "fisheye_model is 0: these are the coefficients of an ordinary lens; calibrate with "
            "cv2.fisheye or cv2.omnidir"
        )
    width, height = _size(root, found)
    plane = {"width": width, "height": height, "fx": fx, "fy": fy, "cx": cx, "cy": cy, "skew": skew}
    if mirror is None:
        return calibrated_lens(matrix, "kb4", {"k": d}, **plane)
    xi = (
        mirror.number()
        if not (mirror.is_mapping or mirror.is_sequence)
        else read_array(mirror, (1,), "one number")[0]
    )
    return calibrated_lens(matrix, "mei", {"xi": xi, "k": d[:2], "p": d[2:]}, **plane)


def _size(root: Entry, found: dict[str, Entry]) -> tuple[int, int]:
    both = key_of(found, _SIZE)
    width, height = key_of(found, _WIDTH), key_of(found, _HEIGHT)
    expected = "the picture's width and height in pixels"
    if both is not None:
        sides = read_array(both, (2,), expected)
        if any(side != int(side) or not 1 <= side < 1e6 for side in sides):
            raise both.problem(f"{both.where} must be {expected}, got {sides}")
        size = int(sides[0]), int(sides[1])
        if width and height and size != (width.integer(expected), height.integer(expected)):
            raise both.problem(
                f"{both.where} says {size[0]}x{size[1]} pixels, {width.where} and {height.where} "
                f"say {width.integer(expected)}x{height.integer(expected)}"
            )
        return size
    if width is None or height is None:
        raise root.problem(
            f"the size of the picture is missing: add {_SIZE[0]} [width, height], or "
            f"{_WIDTH[0]} and {_HEIGHT[0]}"
        )
    return width.integer(expected, 1), height.integer(expected, 1)


def _pose(found: dict[str, Entry]) -> Float[Tensor, "4 4"] | None:
    turn, shift = key_of(found, _R), key_of(found, _T)
    if turn is None and shift is None:
        return None
    given = turn or shift
    assert given is not None
    if turn is None or shift is None:
        raise given.problem(
            f"{given.where} is a half of a pose: give both R and T, or rvec and tvec"
        )
    numbers = read_array(turn, (3, 9), "a 3x3 rotation or a rotation vector of 3 numbers")
    if len(numbers) == 3:
        if not math.hypot(*numbers) < 100:
            raise turn.problem(f"{turn.where} must be a rotation vector in radians, got {numbers}")
        from scipy.spatial.transform import Rotation  # every start would wait for it

        numbers = Rotation.from_rotvec(numbers).as_matrix().ravel().tolist()
    offset = read_array(shift, (3,), "a translation of 3 numbers")
    rows = [[*numbers[3 * row : 3 * row + 3], offset[row]] for row in range(3)]
    return checked_pose(turn, rows)
