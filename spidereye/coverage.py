"""What a rig sees of the sphere: printed before training, evaluation and stitching."""

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import latitude_weights, panorama_rays
from spidereye.rig import Rig

ENOUGH_COVERAGE = 0.9  # of the sphere; below, people are warned


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


@dataclass(frozen=True)
class BlindSpot:
    """The largest disc of the sphere that no view sees. yaw, pitch of its middle and its diameter
    in degrees, to about the width of a map's pixel."""

    yaw: float
    pitch: float
    diameter: float


@dataclass(frozen=True)
class AngularResolution:
    """Pixels of a view per degree of the scene: the root of pixels per solid angle.

    centre: at the principal point, nan where that is no picture.   mean: over the solid angle that
    the view sees, 0 where it sees nothing.
    """

    centre: float
    mean: float


def coverage(rig: Rig, height: int = 256) -> Coverage:
    """Fractions of the sphere that at least one and at least two views see, by area on a
    [height, 2·height] panorama, and each view's angular field of view."""
    count = seen_by(rig, height).sum(dim=0)
    return Coverage(
        seen=float(sphere_fraction(count >= 1)),
        seen_twice=float(sphere_fraction(count >= 2)),
        fields_of_view={camera.name: field_of_view(camera) for camera in rig.cameras},
    )


def seen_by(rig: Rig, height: int = 256) -> Bool[Tensor, "N {height} 2*{height}"]:
    """Which view sees which direction, on a [height, 2·height] panorama on the CPU."""
    rays = panorama_rays(height, 2 * height)
    cpu = torch.device("cpu")
    cameras = (camera.to(cpu, torch.float64) for camera in rig.cameras)
    return torch.stack([camera.project(rays, rig.sphere_radius)[1] for camera in cameras])


def sphere_fraction(where: Bool[Tensor, "*n H W"]) -> Float[Tensor, "*n"]:
    """The share of the sphere, in [0, 1], where a panorama is true: float64."""
    weights = latitude_weights(where.shape[-2])[:, None]
    return (where * weights).sum(dim=(-2, -1)) / (weights.sum() * where.shape[-1])


def blind_spot(seen: Bool[Tensor, "H W"]) -> BlindSpot | None:
    """The widest disc without a seen direction, one of them where several are equally wide; None
    where everything is seen."""
    height, width = seen.shape
    rays = panorama_rays(height, width)
    if bool(seen.all()):
        return None
    if not bool(seen.any()):
        return BlindSpot(0.0, 0.0, 360.0)
    from scipy.spatial import KDTree  # a third of a second of every start, for this alone

    blind = rays[~seen].numpy()
    # A chord of the unit sphere grows with its angle, so the nearest by chord is the nearest.
    chord, _ = KDTree(rays[seen].numpy()).query(blind)
    angle = np.degrees(2 * np.arcsin(np.minimum(chord / 2, 1)))
    widest = int(angle.argmax())
    x, y, z = blind[widest]
    yaw, pitch = math.atan2(x, z), math.atan2(y, math.hypot(x, z))
    # The edge lies within a pixel before the nearest seen middle of one.
    diameter = 2 * float(angle[widest]) - 90 / height
    return BlindSpot(math.degrees(yaw), math.degrees(pitch), diameter)


def angular_resolution(camera: Camera, samples: int = 256) -> AngularResolution:
    """How finely a camera of batch shape [] sees, from the solid angles of up to samples x samples
    of its pixels, evenly spread."""
    camera = camera.to(torch.device("cpu"), torch.float64)
    lens = camera.lens
    every = (slice(None, None, max(1, side // samples)) for side in (lens.height, lens.width))
    grid = camera.pixel_grid(1, *every).reshape(-1, 2)
    solid_angle, valid = _pixel_solid_angles(camera, grid)
    mean = solid_angle[valid].sqrt().sum() / solid_angle[valid].sum() if bool(valid.any()) else 0.0
    middle, there = _pixel_solid_angles(camera, lens.centre[None])
    centre = 1 / math.sqrt(float(middle)) if bool(there) else math.nan
    return AngularResolution(centre=math.radians(centre), mean=math.radians(float(mean)))


def _pixel_solid_angles(
    camera: Camera, pixels: Float[Tensor, "n 2"]
) -> tuple[Float[Tensor, "n"], Bool[Tensor, "n"]]:
    """Steradians of pixels, from the rays of the middles of their sides; False where they are no
    picture or only a part of the pixel has rays."""
    _, valid = camera.unproject(pixels)
    sides = []
    for offset in ((0.5, 0.0), (-0.5, 0.0), (0.0, 0.5), (0.0, -0.5)):
        rays, there = camera.lens.unproject(pixels + pixels.new_tensor(offset))
        valid = valid & there
        sides.append(rays)
    across, down = sides[0] - sides[1], sides[2] - sides[3]
    solid_angle = torch.linalg.cross(across, down).norm(dim=-1)
    return solid_angle, valid & (solid_angle > 0)


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
