"""What a rig sees of the sphere: printed before training, evaluation and stitching."""

import math
from dataclasses import dataclass

import torch

from spidereye.camera import Camera
from spidereye.panorama import latitude_weights, panorama_rays
from spidereye.rig import Rig


@dataclass(frozen=True)
class Coverage:
    """What a rig sees. Fractions of the sphere in [0, 1]; fields of view in degrees by name."""

    seen: float
    seen_twice: float
    fields_of_view: dict[str, float]

    def line(self) -> str:
        """One line to print before work starts."""
        angles = ", ".join(f"{name} {angle:.1f}°" for name, angle in self.fields_of_view.items())
        return (
            f"coverage: {self.seen:.1%} of the sphere seen, {self.seen_twice:.1%} at least twice; "
            f"field of view: {angles}"
        )


def coverage(rig: Rig, height: int = 256) -> Coverage:
    """Fractions of the sphere that at least one and at least two views see, by area on a
    [height, 2·height] panorama, and each view's angular field of view."""
    rays = panorama_rays(height, 2 * height)
    weights = latitude_weights(height)[:, None].expand(height, 2 * height)
    count = torch.zeros(height, 2 * height)
    for camera in rig.cameras:
        count += camera.to(torch.device("cpu"), torch.float64).project(rays, rig.sphere_radius)[1]
    total = weights.sum()
    return Coverage(
        seen=float(weights[count >= 1].sum() / total),
        seen_twice=float(weights[count >= 2].sum() / total),
        fields_of_view={camera.name: field_of_view(camera) for camera in rig.cameras},
    )


def field_of_view(camera: Camera) -> float:
    """Angular width in degrees of the visible part of a camera's middle row, or of its diagonal
    where the mask is not the inscribed circle."""
    lens = camera.lens.to(torch.device("cpu"), torch.float64)
    half = torch.tensor(
        [lens.width / 2, 0.0 if camera.mask_mode == "inscribed" else lens.height / 2]
    )
    steps = torch.linspace(0, 1, 4097, dtype=torch.float64)[:, None]
    angle = 0.0
    for side in (-1, 1):
        middle = torch.tensor([(lens.width - 1) / 2, (lens.height - 1) / 2], dtype=torch.float64)
        rays, valid = lens.unproject(middle + side * steps * half)
        angle += float(torch.acos(rays[valid][:, 2].clamp(-1, 1)).max())
    return math.degrees(angle)
