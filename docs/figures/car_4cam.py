"""Draws car_4cam.png: photographs of a car's fisheye rig, undistorted through their calibration.

    SPIDEREYE_SHARED=<folder> python docs/figures/car_4cam.py

The poses of that rig are unknown, so each picture is seen as a perspective camera in its own place
would see it: every straight edge of the scene must come out straight.
"""

import os
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import torch

from spidereye.calibrations import read_calibration
from spidereye.camera import Camera
from spidereye.lenses import UCM
from spidereye.pictures import to_uint8
from spidereye.shots import read_shot
from spidereye.view_sampling import reproject

NAMES = ("front", "right", "back", "left")
FOCAL, WIDTH, HEIGHT = 300.0, 900, 600  # 112.6 degrees across


def main() -> None:
    folder = Path(os.environ["SPIDEREYE_SHARED"]) / "fisheye" / "car_4cam"
    calibration = read_calibration([folder / "yaml" / f"{name}.yaml" for name in NAMES])
    pictures = [folder / "images" / f"{name}.png" for name in NAMES]
    shot = read_shot(pictures, calibration.rig)
    perspective = UCM.create(FOCAL, 0.0, WIDTH, HEIGHT)
    figure, axes = plt.subplots(2, 4, figsize=(16, 5.6))
    for index, (view, camera) in enumerate(zip(shot.views, shot.rig.cameras, strict=True)):
        target = Camera("perspective", perspective, camera.rotation, camera.position)
        flat, _ = reproject(view, camera, target)
        for row, picture in enumerate((view, flat)):
            axes[row, index].imshow(to_uint8(picture[0]).permute(1, 2, 0).numpy())
            axes[row, index].set_axis_off()
        axes[0, index].set_title(f"{camera.name}, {camera.lens.model}")
    axes[1, 0].set_title("the same, perspective, 112.6 degrees across", loc="left", fontsize=9)
    figure.tight_layout()
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
