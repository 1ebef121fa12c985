"""Rotations. This module owns the frame convention.

World and camera axes: x right, y up, z forward (left-handed). A rotation R maps camera to world,
R = yaw · pitch · roll; yaw + turns right, pitch + looks up, roll + turns the camera clockwise
(seen from behind it). Angles are radians here, degrees in configs.
"""

import torch
from jaxtyping import Float
from torch import Tensor


def from_yaw_pitch_roll(
    yaw: Float[Tensor, "*b"], pitch: Float[Tensor, "*b"], roll: Float[Tensor, "*b"]
) -> Float[Tensor, "*b 3 3"]:
    """Camera-to-world rotation R = yaw · pitch · roll from angles in radians."""
    one, zero = torch.ones_like(yaw), torch.zeros_like(yaw)
    c, s = torch.cos(yaw), torch.sin(yaw)
    turn = _matrix((c, zero, s), (zero, one, zero), (-s, zero, c))
    c, s = torch.cos(pitch), torch.sin(pitch)
    tilt = _matrix((one, zero, zero), (zero, c, s), (zero, -s, c))
    c, s = torch.cos(roll), torch.sin(roll)
    spin = _matrix((c, s, zero), (-s, c, zero), (zero, zero, one))
    return turn @ tilt @ spin


def from_degrees(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Tensor:
    """`from_yaw_pitch_roll` of three numbers in degrees: float64 [3, 3]."""
    angles = torch.deg2rad(torch.tensor([yaw, pitch, roll], dtype=torch.float64))
    return from_yaw_pitch_roll(angles[0], angles[1], angles[2])


def convert_opencv(rotation: Float[Tensor, "*b 3 3"]) -> Float[Tensor, "*b 3 3"]:
    """A rotation between right-handed frames (x right, y down, z forward: OpenCV, Kalibr, basalt)
    in our frame, and back: conjugation with diag(1, -1, 1), its own inverse.
    """
    flip = rotation.new_tensor([1.0, -1.0, 1.0])
    return flip[:, None] * rotation * flip


def _matrix(*rows: tuple[Tensor, Tensor, Tensor]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def angle_between(
    one: Float[Tensor, "*b 3 3"], other: Float[Tensor, "*b 3 3"]
) -> Float[Tensor, "*b"]:
    """Radians by which one rotation is turned from the other, in [0, π]; exact for small ones."""
    # |A - B| (Frobenius) is 2√2·sin(angle/2); the trace's arc cosine would lose small angles.
    chord = (one - other).square().sum((-2, -1)).sqrt() / (2 * 2**0.5)
    return 2 * torch.asin(chord.clamp(max=1))


def from_vector(vector: Float[Tensor, "*b 3"]) -> Float[Tensor, "*b 3 3"]:
    """The rotation by |vector| radians about a vector, differentiable at 0."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.linalg.matrix_exp(_matrix((zero, -z, y), (z, zero, -x), (-y, x, zero)))
