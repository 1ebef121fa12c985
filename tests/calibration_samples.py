"""One valid file of each calibration format, as their programs write them; tests damage them."""

KALIBR = """\
cam0:
  cam_overlaps: [1, 2, 3]
  camera_model: omni
  distortion_coeffs: [-0.2211, 0.0451, 0.00061, -0.00042]
  distortion_model: radtan
  intrinsics: [1.4729, 725.31, 724.98, 322.4, 241.7]
  resolution: [640, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [0.0174524064372835, 0.0, -0.999847695156391, 0.05]
  - [0.0, 1.0, 0.0, 0.002]
  - [0.999847695156391, 0.0, 0.0174524064372835, -0.04]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: pinhole
  distortion_coeffs: [-0.0131, 0.0212, -0.0124, 0.0021]
  distortion_model: equidistant
  intrinsics: [301.5, 300.9, 330.1, 244.2]
  resolution: [640, 480]
cam2:
  T_cn_cnm1:
  - [-0.5, 0.0, -0.866025403784439, 0.06]
  - [0.0, 1.0, 0.0, 0.0]
  - [0.866025403784439, 0.0, -0.5, -0.01]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: ds
  distortion_coeffs: []
  distortion_model: none
  intrinsics: [-0.1834, 0.5921, 352.1, 352.3, 359.7, 255.8]
  resolution: [720, 512]
cam3:
  T_cn_cnm1:
  - [0.0, -1.0, 0.0, 0.01]
  - [1.0, 0.0, 0.0, 0.02]
  - [0.0, 0.0, 1.0, 0.03]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: eucm
  distortion_coeffs: []
  distortion_model: none
  intrinsics: [0.6021, 1.0812, 310.4, 310.1, 318.9, 238.3]
  resolution: [640, 480]
"""

BASALT = """\
{
    "value0": {
        "T_imu_cam": [
            {
                "px": 0.0451, "py": -0.0713, "pz": -0.0476,
                "qx": -0.5, "qy": 0.5, "qz": -0.5, "qw": 0.5
            },
            {
                "px": 0.0452, "py": 0.0387, "pz": -0.0453,
                "qx": 0.18257418583505536, "qy": 0.3651483716701107,
                "qz": 0.5477225575051661, "qw": 0.7302967433402214
            },
            {"px": 0.01, "py": 0.02, "pz": 0.03, "qx": 0.0, "qy": 0.6, "qz": 0.0, "qw": 0.8}
        ],
        "intrinsics": [
            {
                "camera_type": "ds",
                "intrinsics": {
                    "fx": 158.28, "fy": 158.27, "cx": 254.96, "cy": 256.33,
                    "xi": -0.172, "alpha": 0.593
                }
            },
            {
                "camera_type": "kb4",
                "intrinsics": {
                    "fx": 190.97, "fy": 190.96, "cx": 254.93, "cy": 256.89,
                    "k1": 0.0034, "k2": 0.0007, "k3": -0.0020, "k4": 0.0002
                }
            },
            {
                "camera_type": "eucm",
                "intrinsics": {
                    "fx": 191.1, "fy": 190.8, "cx": 256.1, "cy": 255.2, "alpha": 0.63, "beta": 1.04
                }
            }
        ],
        "resolution": [[512, 512], [512, 512], [512, 512]],
        "vignette": [],
        "cam_time_offset_ns": 0
    }
}
"""

OPENCV_FISHEYE = """\
%YAML:1.0
---
camera_matrix: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 302.45, 0., 496.64, 0., 320.74, 331.19, 0., 0., 1. ]
dist_coeffs: !!opencv-matrix
   rows: 4
   cols: 1
   dt: d
   data: [ -4.37e-02, 2.16e-02,
       -2.63e-02, 8.41e-03 ]
resolution: !!opencv-matrix
   rows: 2
   cols: 1
   dt: i
   data: [ 960, 640 ]
R: !!opencv-matrix
   rows: 3
   cols: 3
   dt: d
   data: [ 0.6, 0., -0.8, 0., 1., 0., 0.8, 0., 0.6 ]
T: !!opencv-matrix
   rows: 3
   cols: 1
   dt: d
   data: [ 0.1, -0.05, 0.2 ]
"""

OPENCV_OMNIDIR = """\
<?xml version="1.0"?>
<opencv_storage>
<image_width>640</image_width>
<image_height>480</image_height>
<K type_id="opencv-matrix">
  <rows>3</rows>
  <cols>3</cols>
  <dt>d</dt>
  <data>
    410.5 0.31 318.2 0. 411.25 242.75 0. 0. 1.</data></K>
<D type_id="opencv-matrix">
  <rows>1</rows>
  <cols>4</cols>
  <dt>d</dt>
  <data>
    -0.21 0.042 0.0007 -0.0011</data></D>
<xi>1.13</xi>
<rvec type_id="opencv-matrix">
  <rows>3</rows>
  <cols>1</cols>
  <dt>d</dt>
  <data>
    0.1 -1.2 0.05</data></rvec>
<tvec type_id="opencv-matrix">
  <rows>3</rows>
  <cols>1</cols>
  <dt>d</dt>
  <data>
    0.02 0.03 -0.11</data></tvec>
</opencv_storage>
"""

OPENCV_JSON = """\
{
\t"K": {"type_id": "opencv-matrix", "rows": 3, "cols": 3, "dt": "d",
\t\t"data": [ 250.0, 0.0, 319.5, 0.0, 250.0, 239.5, 0.0, 0.0, 1.0 ]},
\t"D": {"type_id": "opencv-matrix", "rows": 4, "cols": 1, "dt": "d",
\t\t"data": [ 0.01, -0.002, 0.0005, -0.0001 ]},
\t"image_size": [ 640, 480 ]
}
"""

OCAMCALIB = """\
#polynomial coefficients for the DIRECT mapping function (ocam_model.ss in MATLAB).

5 -2.091800e+02 0.000000e+00 2.046100e-03 -3.155600e-06 1.193100e-08

#polynomial coefficients for the inverse mapping function (ocam_model.invpol in MATLAB).

8 307.9657 175.2020 -4.489398 26.90440 18.56985 -1.764292 -4.943433 -1.138882

#center: "row" and "column", starting from 0 (C convention)

242.315 376.984

#affine parameters "c", "d", "e"

1.000254 0.000096 -0.000175

#image size: "height" and "width"

480 752
"""

OCAMCALIB_POSE = """
#pose: camera to rig, metres
0.8 0 0.6 0.10
0   1 0   -0.20
-0.6 0 0.8 0.05
0 0 0 1
"""
