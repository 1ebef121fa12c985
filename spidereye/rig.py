"""Rigs: several cameras around one centre."""

import math
from dataclasses import dataclass, replace

import torch

from spidereye import rotation
from spidereye.camera import Camera, circle_of
from spidereye.lenses import UCM

SPIDER4_YAW = {"front": 0.0, "right": 90.0, "back": 180.0, "left": -90.0}


@dataclass(frozen=True)
class Rig:
    """N cameras around one centre. sphere_radius: metres at which their pictures are made to
    agree; ∞ treats every camera as standing at the centre."""

    cameras: tuple[Camera, ...]
    sphere_radius: float = math.inf

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    def squared(self, size: int) -> "Rig":
        """The rig of square views of `size` pixels, as the networks take them: every camera's
        square window, resized."""
        cameras = tuple(camera.square().resized(size, size) for camera in self.cameras)
        return replace(self, cameras=cameras)


def spider4(f: float, xi: float, size: int, mask_mode: str = "inscribed") -> Rig:
    """The named rig: front, right, back, left, one square UCM lens, all at the centre.

    f: focal length in pixels of a `size`-pixel view.   xi: ξ.   mask_mode: see camera.circle_of.
    """
    lens, circle = UCM.create(f, xi, size), circle_of(mask_mode, size, size)
    origin = torch.zeros(3, dtype=torch.float64)
    return Rig(
        tuple(
            Camera(name, lens, rotation.from_degrees(yaw), origin, circle)
            for name, yaw in SPIDER4_YAW.items()
        )
    )
