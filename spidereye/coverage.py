"""What a rig sees of the sphere: printed before training, evaluation and stitching."""

import math
from dataclasses import dataclass, replace

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
    """Angular width in degrees of what a camera sees, across its principal point: the widest of
    the horizontal, the vertical and the two diagonals."""
    camera = replace(camera.to(torch.device("cpu"), torch.float64), visible=None)
    lens = camera.lens
    width, height = lens.width, lens.height
    # From the principal point to beyond the edge; what lies outside is not picture.
    steps = torch.linspace(0, max(width, height), 8193, dtype=torch.float64)[:, None]
    angles = []
    for across in ((1, 0), (0, 1), (width, height), (width, -height)):
        direction = torch.tensor(across, dtype=torch.float64)
        direction = direction / direction.norm()
        angle = 0.0
        for side in (-1, 1):
            rays, valid = lens.unproject(lens.centre + side * steps * direction)
            valid &= camera.margin(lens.centre + side * steps * direction) >= -1e-6
            if bool(valid.any()):
                angle += float(torch.acos(rays[valid][:, 2].clamp(-1, 1)).max())
        angles.append(angle)
    return math.degrees(max(angles))
