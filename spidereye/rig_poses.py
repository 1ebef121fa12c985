"""Where the views of a rig look, as people say it: an order of names, angles, which way is up."""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye import rotation
from spidereye.errors import SpiderEyeError
from spidereye.rig import SPIDER4_YAW, Rig

# (yaw, pitch) in degrees of the directions that have a name.
DIRECTIONS: dict[str, tuple[float, float]] = {
    **{name: (yaw, 0.0) for name, yaw in SPIDER4_YAW.items()},
    "front-right": (45.0, 0.0),
    "back-right": (135.0, 0.0),
    "back-left": (-135.0, 0.0),
    "front-left": (-45.0, 0.0),
    "up": (0.0, 90.0),
    "down": (0.0, -90.0),
}
_USUAL = {1: ("front",), 2: ("front", "back"), 4: tuple(SPIDER4_YAW)}

Pose = tuple[str, Float[Tensor, "3 3"]]


def poses_of(
    count: int,
    order: Sequence[str] | None = None,
    yaw: Sequence[float] | None = None,
    pitch: Sequence[float] | None = None,
    roll: Sequence[float] | None = None,
) -> list[Pose]:
    """A name and a rotation for each of `count` views.

    order: names, in DIRECTIONS unless yaw is given. yaw, pitch, roll: degrees, one for each view
    or one for all; None: as the name says, roll 0. Without order and yaw: front, back; front,
    right, back, left; or else spread evenly, clockwise seen from above.
    Raises SpiderEyeError for unknown or repeated names and wrong numbers of them.
    """
    names = tuple(order) if order is not None else None
    if names is None and yaw is None:
        names = _USUAL.get(count)
    if names is None:
        names = tuple(f"view{number + 1}" for number in range(count))
        # 360·i/N from front, in (-180, 180].
        spread = [180 - (180 - 360 * number / count) % 360 for number in range(count)]
        yaw = spread if yaw is None else yaw
    if len(names) != count:
        raise SpiderEyeError(f"{count} views, but the order names {len(names)}: {', '.join(names)}")
    if len(set(names)) < len(names):
        raise SpiderEyeError(f"the order names a view twice: {', '.join(names)}")
    unknown = [name for name in names if name not in DIRECTIONS]
    if unknown and yaw is None:
        raise SpiderEyeError(
            f"{unknown[0]!r} is no direction ({', '.join(DIRECTIONS)}); other names need --yaw"
        )
    said = [DIRECTIONS.get(name, (0.0, 0.0)) for name in names]
    yaws = _each("yaw", yaw, count) or [direction[0] for direction in said]
    pitches = _each("pitch", pitch, count) or [d[1] if yaw is None else 0.0 for d in said]
    rolls = _each("roll", roll, count) or [0.0] * count
    angles = zip(names, yaws, pitches, rolls, strict=True)
    return [(name, rotation.from_degrees(*degrees)) for name, *degrees in angles]


def _each(what: str, values: Sequence[float] | None, count: int) -> list[float] | None:
    if values is None:
        return None
    if len(values) not in (1, count):
        raise SpiderEyeError(f"{len(values)} values of {what} for {count} views: one each, or one")
    if not all(math.isfinite(value) for value in values):
        raise SpiderEyeError(f"{what} must be degrees, got {list(values)}")
    return list(values) * (count if len(values) == 1 else 1)


def levelled(rig: Rig, up: Float[Tensor, "3"]) -> Rig:
    """The rig turned as a whole so that the world direction `up` becomes (0, 1, 0), with the least
    turn; then about the vertical, so that the first view looks to its old compass point again
    (unless it looks straight up or down). Raises SpiderEyeError for up = 0."""
    if not bool(torch.isfinite(up).all()) or float(up.norm()) < 1e-9:
        raise SpiderEyeError(f"up must be a direction x,y,z, got {up.tolist()}")
    a = up.to(torch.float64)
    a = a / a.norm()
    front = rig.cameras[0].axis
    flat = front.new_tensor([1.0, 0.0, 1.0])
    if float(a[1]) < -1 + 1e-9:  # upside down: any level axis will do, so roll about the front's
        along = front * flat
        along = along / along.norm() if float(along.norm()) > 1e-3 else a.new_tensor([0.0, 0, 1])
        turn = 2 * torch.outer(along, along) - torch.eye(3, dtype=a.dtype)
    else:  # Rodrigues' formula for the rotation of a onto b: I + [a×b] + [a×b]²/(1 + a·b)
        x, y, z = torch.linalg.cross(a, a.new_tensor([0.0, 1.0, 0.0])).tolist()
        cross = a.new_tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        turn = torch.eye(3, dtype=a.dtype) + cross + cross @ cross / (1 + a[1])
    turned = turn @ front
    if min(float((front * flat).norm()), float((turned * flat).norm())) > 1e-3:
        before, after = (math.atan2(float(v[0]), float(v[2])) for v in (front, turned))
        turn = rotation.from_degrees(math.degrees(before - after)) @ turn
    cameras = (
        replace(c, rotation=turn @ c.rotation, position=turn @ c.position) for c in rig.cameras
    )
    return replace(rig, cameras=tuple(cameras))


def direction_at(rig: Rig, name: str, u: float, v: float) -> Float[Tensor, "3"]:
    """The world direction at pixel (u, v) of the file that a view is in.

    Raises SpiderEyeError for an unknown view, and where it sees nothing at that pixel.
    """
    if name not in rig.names:
        raise SpiderEyeError(f"there is no view {name!r}; views: {', '.join(rig.names)}")
    camera = rig.cameras[rig.names.index(name)]
    pixel = torch.tensor([u, v], dtype=torch.float64)
    if camera.crop is not None:
        pixel -= torch.tensor([camera.crop.left, camera.crop.top])
        camera = camera.resized(camera.crop.width, camera.crop.height)
    ray, seen = camera.unproject(pixel)
    if not bool(seen):
        raise SpiderEyeError(f"pixel ({u:g}, {v:g}) of view {name} is outside its image circle")
    return ray
