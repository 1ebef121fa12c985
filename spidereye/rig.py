"""Rigs: several cameras around one centre, and those that have a name."""

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye import rotation
from spidereye.camera import Camera, circle_of
from spidereye.errors import SpiderEyeError
from spidereye.lenses import UCM, Lens
from spidereye.lenses.families import family
from spidereye.lenses.field_of_view import with_half_angle

SPIDER4_YAW = {"front": 0.0, "right": 90.0, "back": 180.0, "left": -90.0}


@dataclass(frozen=True, eq=False)  # tensors have no one answer to it; `fingerprint` has
class Rig:
    """N cameras around one centre. sphere_radius: metres at which their pictures are made to
    agree; ∞ treats every camera as standing at the centre.

    Raises SpiderEyeError for no cameras, two of one name, poses that are none, another radius, and
    a camera that does not stand inside the sphere.
    """

    cameras: tuple[Camera, ...]
    sphere_radius: float = math.inf

    def __post_init__(self) -> None:
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if not self.cameras:
            raise SpiderEyeError("a rig is of at least one camera, got none")
        for camera in self.cameras:
            if self.names.count(camera.name) > 1:
                raise SpiderEyeError(
                    f"two views of a rig are called {camera.name!r}: give each a name of its own"
                )
            camera.check_pose()
        if not self.sphere_radius > 0:
            raise SpiderEyeError(
                f"sphere_radius is in metres above 0, or math.inf, got {self.sphere_radius}"
            )
        for camera in self.cameras:
            away = float(camera.position.norm())
            if not away < self.sphere_radius:
                raise SpiderEyeError(
                    f"view {camera.name} stands {away:g} m from the centre, not inside the sphere "
                    f"of {self.sphere_radius:g} m: positions and sphere_radius are in metres"
                )

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(camera.name for camera in self.cameras)

    def squared(self, size: int) -> "Rig":
        """The rig of square views of `size` pixels, as the networks take them: every camera's
        square window, resized."""
        cameras = tuple(camera.square().resized(size, size) for camera in self.cameras)
        return replace(self, cameras=cameras)

    def centred(self) -> "Rig":
        """The rig with the mean of its cameras' positions at 0, where the panorama is."""
        middle = torch.stack([camera.position for camera in self.cameras]).mean(dim=0)
        cameras = tuple(replace(c, position=c.position - middle) for c in self.cameras)
        return replace(self, cameras=cameras)


def spider4(f: float, xi: float, size: int, mask_mode: str = "inscribed") -> Rig:
    """The named rig: front, right, back, left, one square UCM lens, all at the centre.

    f: focal length in pixels of a `size`-pixel view.   xi: ξ.   mask_mode: see camera.circle_of.
    """
    circle = circle_of(mask_mode, size, size)
    return _around(
        {n: (yaw, 0.0) for n, yaw in SPIDER4_YAW.items()}, UCM.create(f, xi, size), circle
    )


def _around(axes: Mapping[str, tuple[float, float]], lens: Lens, circle: float) -> Rig:
    """A rig of one lens at the centre. axes: (yaw, pitch) in degrees by the view's name."""
    origin = torch.zeros(3, dtype=torch.float64)
    return Rig(
        tuple(
            Camera(name, lens, rotation.from_degrees(yaw, pitch), origin, circle)
            for name, (yaw, pitch) in axes.items()
        )
    )


def _equidistant(fov: float, size: int) -> Lens:
    """r = f·θ, `fov` degrees across the inscribed circle of a square of `size` pixels."""
    return family("equidistant", math.radians(fov / 2), size / 2, size)


def _dual190() -> Rig:
    return _around({"front": (0, 0), "back": (180, 0)}, _equidistant(190, 1024), 512)


def _tri190() -> Rig:
    axes = {"front": (0.0, 0.0), "right": (120.0, 0.0), "left": (-120.0, 0.0)}
    return _around(axes, _equidistant(190, 1024), 512)


def _cube6() -> Rig:
    sides = {name: (yaw, 0.0) for name, yaw in SPIDER4_YAW.items()}
    return _around({**sides, "up": (0.0, 90.0), "down": (0.0, -90.0)}, _equidistant(120, 512), 256)


# Rigs that go by a name wherever a rig file can be given.
NAMED_RIGS: dict[str, Callable[[], Rig]] = {
    "spider4": lambda: spider4(f=220.0, xi=0.85, size=560),
    "dual190": _dual190,
    "tri190": _tri190,
    "cube6": _cube6,
}


def index_of_view(rig: Rig, key: str, name: str) -> int:
    """Which view of the rig has this name. key: what asks for it, for the SpiderEyeError where none
    has."""
    if name not in rig.names:
        raise SpiderEyeError(
            f"{key}={name} is no view of this rig, which has {', '.join(rig.names)}"
        )
    return rig.names.index(name)


def off_centre(rig: Rig, metres: float) -> Rig:
    """The rig with each camera so far from the centre, along its own axis. Raises SpiderEyeError
    for less than 0."""
    if not metres >= 0:
        raise SpiderEyeError(f"cameras stand 0 m or more off the centre, got {metres:g}")
    cameras = tuple(replace(camera, position=metres * camera.axis) for camera in rig.cameras)
    return replace(rig, cameras=cameras)


def yaw_pitch_roll(matrix: Float[Tensor, "3 3"]) -> tuple[float, float, float]:
    """The angles in degrees of R = yaw · pitch · roll; roll is 0 where the camera looks straight
    up or down, and only yaw ± roll is determined. Inverse of rotation.from_degrees."""
    row = [[float(entry) for entry in line] for line in matrix]
    pitch = math.atan2(row[1][2], math.hypot(row[0][2], row[2][2]))
    if math.hypot(row[0][2], row[2][2]) < 1e-9:
        yaw, roll = math.atan2(-row[2][0], row[0][0]), 0.0
    else:
        yaw, roll = math.atan2(row[0][2], row[2][2]), math.atan2(-row[1][0], row[1][1])
    return math.degrees(yaw), math.degrees(pitch), math.degrees(roll)


def circle_of_fov(lens: Lens, degrees: float) -> float:
    """Radius in pixels of the image circle of a field of view, up to 360 degrees: the mean over all
    azimuths, where they differ. Raises SpiderEyeError where the lens does not see so far."""
    if not 0 < degrees <= 360:
        raise SpiderEyeError(f"a field of view is above 0 and up to 360 degrees, got {degrees:g}")
    return float(lens.f / with_half_angle(lens, math.radians(degrees / 2), 1.0).f)


def fingerprint(rig: Rig) -> str:
    """A digest of all that a rig is: two rigs whose files would differ have different ones."""
    digest = hashlib.sha256(f"{rig.sphere_radius!r};".encode())
    for camera in rig.cameras:
        for part in (camera, camera.lens):
            for field in fields(part):
                value = getattr(part, field.name)
                if isinstance(value, Tensor):
                    digest.update(value.cpu().numpy().tobytes())
                elif field.name != "lens":
                    digest.update(f"{field.name}={value!r};".encode())
        digest.update(camera.lens.model.encode())
    return digest.hexdigest()
