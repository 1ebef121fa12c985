"""Imported calibrations put every point of the world on the pixel that the original puts it on."""

import json
import math
from pathlib import Path

import calibration_samples as samples
import cv2
import numpy as np
import pytest
import torch
import yaml
from scipy.spatial.transform import Rotation

from spidereye.calibrations import format_of, read_calibration
from spidereye.calibrations.storage import parse_storage, read_array
from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError

FLIP = np.array([1.0, -1.0, 1.0])
RADIUS = 3.0  # metres
ZERO = np.zeros(3)


def project_fisheye(points, fx, fy, cx, cy, k, skew=0.0):
    matrix = np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]])
    args = (points[:, None], ZERO, ZERO, matrix, np.array(k))
    return cv2.fisheye.projectPoints(*args, alpha=skew / fx)[0][:, 0]


def project_omnidir(points, fx, fy, cx, cy, xi, d, skew=0.0):
    matrix = np.array([[fx, skew, cx], [0, fy, cy], [0, 0, 1]])
    return cv2.omnidir.projectPoints(points[:, None], ZERO, ZERO, matrix, xi, np.array([d]))[0][
        :, 0
    ]


def project_ds(points, fx, fy, cx, cy, xi, alpha):
    """Usenko et al. 2018, Eqs. 40-42."""
    x, y, z = points.T
    d1 = np.sqrt(x * x + y * y + z * z)
    d2 = np.sqrt(x * x + y * y + (xi * d1 + z) ** 2)
    depth = alpha * d2 + (1 - alpha) * (xi * d1 + z)
    return np.stack((fx * x / depth + cx, fy * y / depth + cy), -1)


def project_eucm(points, fx, fy, cx, cy, alpha, beta):
    """Khomutenko et al. 2016, Eq. 8."""
    x, y, z = points.T
    depth = alpha * np.sqrt(beta * (x * x + y * y) + z * z) + (1 - alpha) * z
    return np.stack((fx * x / depth + cx, fy * y / depth + cy), -1)


def compare(camera: Camera, world_to_camera: np.ndarray, oracle, *numbers, **more) -> None:
    """camera: imported. world_to_camera: 4x4, from the file. oracle: OpenCV axes to pixels."""
    generator = torch.Generator().manual_seed(3)
    rays = torch.randn(4000, 3, dtype=torch.float64, generator=generator)
    rays = rays / rays.norm(dim=-1, keepdim=True)
    pixels, valid = camera.project(rays, RADIUS)
    assert 150 < int(valid.sum()) < 4000
    points = RADIUS * rays.numpy()[valid.numpy()] * FLIP
    points = points @ world_to_camera[:3, :3].T + world_to_camera[:3, 3]
    # cv2.fisheye takes atan(r/z) and with it points behind the camera to the wrong side.
    ahead = points[:, 2] > (0.02 if oracle is project_fisheye else -math.inf)
    expected = oracle(points[ahead], *numbers, **more)
    np.testing.assert_allclose(pixels[valid].numpy()[ahead], expected, rtol=0, atol=1e-9)


def write(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_kalibr(tmp_path):
    path = write(tmp_path, "camchain.yaml", samples.KALIBR)
    assert format_of(path) == "kalibr"
    calibration = read_calibration([path])
    chain, cameras = yaml.safe_load(samples.KALIBR), calibration.rig.cameras
    assert [c.lens.model for c in cameras] == ["mei", "kb4", "ds", "eucm"]
    assert calibration.poses_known and (cameras[2].lens.width, cameras[2].lens.height) == (720, 512)
    poses = [np.eye(4)]
    for index in (1, 2, 3):
        poses.append(np.array(chain[f"cam{index}"]["T_cn_cnm1"]) @ poses[-1])
    omni, equi, ds, eucm = (chain[f"cam{i}"]["intrinsics"] for i in range(4))
    k = [chain[f"cam{i}"]["distortion_coeffs"] for i in range(2)]
    compare(cameras[0], poses[0], project_omnidir, *omni[1:], omni[0], k[0])
    compare(cameras[1], poses[1], project_fisheye, *equi, k[1])
    compare(cameras[2], poses[2], project_ds, *ds[2:], *ds[:2])
    compare(cameras[3], poses[3], project_eucm, *eucm[2:], *eucm[:2])
    # Camera 1 stands 89° to the right of camera 0, if T_cn_cnm1 is read the right way round.
    assert math.degrees(math.asin(float(cameras[1].axis[0]))) == pytest.approx(89, abs=1e-6)


def test_kalibr_with_poses_of_the_imu_only(tmp_path):
    chain = {f"cam{i}": yaml.safe_load(samples.KALIBR)[f"cam{i}"] for i in (0, 1)}
    to_camera = []
    for index, vector in enumerate(([0.3, -0.2, 1.1], [-1.0, 0.7, 0.2])):
        pose = np.eye(4)
        pose[:3, :3] = Rotation.from_rotvec(vector).as_matrix()
        pose[:3, 3] = [0.1 * index, 0.05, -0.2]
        to_camera.append(pose)
        chain[f"cam{index}"].pop("T_cn_cnm1", None)
        chain[f"cam{index}"]["T_cam_imu"] = pose.tolist()
    cameras = read_calibration([write(tmp_path, "c.yaml", yaml.safe_dump(chain))]).rig.cameras
    equi = chain["cam1"]
    first_to_second = to_camera[1] @ np.linalg.inv(to_camera[0])
    numbers = (*equi["intrinsics"], equi["distortion_coeffs"])
    compare(cameras[1], first_to_second, project_fisheye, *numbers)


def test_basalt(tmp_path):
    path = write(tmp_path, "calibration.json", samples.BASALT)
    assert format_of(path) == "basalt"
    cameras = read_calibration([path]).rig.cameras
    value = json.loads(samples.BASALT)["value0"]
    poses = []
    for pose in value["T_imu_cam"]:
        matrix = np.eye(4)
        matrix[:3, :3] = Rotation.from_quat([pose[f"q{a}"] for a in "xyzw"]).as_matrix()
        matrix[:3, 3] = [pose[f"p{a}"] for a in "xyz"]
        poses.append(matrix)
    to_camera = [np.linalg.inv(pose) @ poses[0] for pose in poses]
    ds, kb4, eucm = (list(c["intrinsics"].values()) for c in value["intrinsics"])
    compare(cameras[0], to_camera[0], project_ds, *ds)
    compare(cameras[1], to_camera[1], project_fisheye, *kb4[:4], kb4[4:])
    compare(cameras[2], to_camera[2], project_eucm, *eucm)


def test_opencv_fisheye_and_omnidir(tmp_path):
    paths = [
        write(tmp_path, "reference.json", samples.OPENCV_JSON),
        write(tmp_path, "fisheye.yml", samples.OPENCV_FISHEYE),
        write(tmp_path, "omni.xml", samples.OPENCV_OMNIDIR),
    ]
    assert {format_of(path) for path in paths} == {"opencv"}
    calibration = read_calibration(paths)
    assert calibration.rig.names == ("reference", "fisheye", "omni") and calibration.poses_known
    cameras = calibration.rig.cameras
    files = [cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ) for path in paths]
    (fx, skew, cx), (_, fy, cy), _ = files[1].getNode("camera_matrix").mat()
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3:] = files[1].getNode("R").mat(), files[1].getNode("T").mat()
    k = files[1].getNode("dist_coeffs").mat().ravel()
    compare(cameras[1], pose, project_fisheye, fx, fy, cx, cy, k)
    (fx, skew, cx), (_, fy, cy), _ = files[2].getNode("K").mat()
    pose[:3, :3] = cv2.Rodrigues(files[2].getNode("rvec").mat())[0]
    pose[:3, 3:] = files[2].getNode("tvec").mat()
    d, xi = files[2].getNode("D").mat().ravel(), files[2].getNode("xi").real()
    compare(cameras[2], pose, project_omnidir, fx, fy, cx, cy, xi, d, skew=skew)


def test_files_named_after_sides_look_there(tmp_path):
    text = samples.OPENCV_JSON
    paths = [write(tmp_path, f"{name}.json", text) for name in ("front", "right", "rear", "roof")]
    calibration = read_calibration(paths)
    assert not calibration.poses_known and len(calibration.notes) == 3
    axes = [camera.axis.round(decimals=9).tolist() for camera in calibration.rig.cameras]
    assert axes == [[0, 0, 1], [1, 0, 0], [0, 0, -1], [0, 0, 1]]


@pytest.mark.parametrize("text", [samples.OPENCV_JSON, samples.OCAMCALIB])
def test_files_called_alike_take_the_names_that_are_given(tmp_path, text):
    """A folder for each camera."""
    paths = []
    for side in ("left", "right"):
        (tmp_path / side).mkdir()
        paths.append(write(tmp_path / side, "calib.txt", text))
    assert read_calibration(paths, names=["left", "right"]).rig.names == ("left", "right")
    with pytest.raises(SpiderEyeError, match=r"a name of its own, got calib, calib; .*--names"):
        read_calibration(paths)


def test_car_4cam_reads_as_opencv_reads_it(shared):
    names = ("front", "right", "back", "left")
    paths = [shared / "fisheye" / "car_4cam" / "yaml" / f"{name}.yaml" for name in names]
    calibration = read_calibration(paths)
    assert calibration.rig.names == names and not calibration.poses_known
    for path, camera in zip(paths, calibration.rig.cameras, strict=True):
        opencv = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        root = parse_storage(path.read_text(), path).mapping()
        for key in opencv.root().keys():  # noqa: SIM118
            expected = opencv.getNode(key).mat()
            got = read_array(root[key], (expected.size,), "a matrix")
            np.testing.assert_array_equal(np.array(got, expected.dtype), expected.ravel())
        (fx, _, cx), (_, fy, cy), _ = opencv.getNode("camera_matrix").mat()
        k = opencv.getNode("dist_coeffs").mat().ravel()
        rotation = camera.rotation.numpy()
        to_camera = np.eye(4)
        to_camera[:3, :3] = (FLIP[:, None] * rotation * FLIP).T
        compare(camera, to_camera, project_fisheye, fx, fy, cx, cy, k)
        assert (camera.lens.width, camera.lens.height) == (960, 640)


def ocam_rays(pixels: np.ndarray) -> np.ndarray:
    """cam2world of the toolbox: rows and columns to unit rays, x down, y right, z backward."""
    polynomial = [-209.18, 0, 2.0461e-3, -3.1556e-6, 1.1931e-8]
    c, d, e = 1.000254, 0.000096, -0.000175
    row, column = pixels[:, 1] - 242.315, pixels[:, 0] - 376.984
    x, y = (row - d * column) / (c - d * e), (-e * row + c * column) / (c - d * e)
    z = np.polyval(polynomial[::-1], np.hypot(x, y))
    rays = np.stack((x, y, z), -1)
    return rays / np.linalg.norm(rays, axis=-1, keepdims=True)


def test_ocamcalib(tmp_path):
    first = np.eye(4)
    first[:3, :3] = Rotation.from_rotvec([0.4, 0.1, -0.9]).as_matrix()
    first[:3, 3] = [0.3, 0.1, 0.2]
    row = [*Rotation.from_matrix(first[:3, :3]).as_rotvec(), *first[:3, 3]]
    text = samples.OCAMCALIB + " ".join(map(str, row)) + "\n"
    paths = [
        write(tmp_path, "a.txt", text),
        write(tmp_path, "b.txt", samples.OCAMCALIB + samples.OCAMCALIB_POSE),
    ]
    assert format_of(paths[0]) == "ocamcalib"
    camera = read_calibration(paths).rig.cameras[1]
    pixels = np.random.default_rng(1).uniform([-0.4, -0.4], [751.4, 479.4], (4000, 2))
    rays, valid = camera.unproject(torch.from_numpy(pixels))
    assert int(valid.sum()) > 3000
    second = np.eye(4)
    second[:3] = [[0.8, 0, 0.6, 0.1], [0, 1, 0, -0.2], [-0.6, 0, 0.8, 0.05]]
    # b's axes to a's axes, then a's from the toolbox's (down, right, backward) to ours.
    relative = np.linalg.inv(first) @ second
    expected = (ocam_rays(pixels) @ relative[:3, :3].T)[:, [1, 0, 2]] * [1, -1, -1]
    np.testing.assert_allclose(rays.numpy()[valid], expected[valid], rtol=0, atol=1e-12)
    position = relative[:3, 3][[1, 0, 2]] * [1, -1, -1]
    np.testing.assert_allclose(camera.position.numpy(), position, atol=1e-12)
