"""What a refinement may change about cameras: rotations, focal lengths, principal points.

The parameters of a view stand in its own frame: a rotation vector in radians (the camera's rotation
becomes R·exp([w]), see rotation.from_vector), log of the factor on f, and the principal point's
shift along u and v as a share of the view's width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float, Float64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.overlaps import sphere_points
from spidereye.rotation import from_vector

Freedom = Literal["rotation", "f", "centre"]
FREEDOMS: tuple[Freedom, ...] = ("rotation", "f", "centre")

_WIDTHS = {"rotation": 3, "f": 1, "centre": 2}
_USUAL = {"rotation": math.radians(3.0), "f": 0.02, "centre": 0.01}
_HELD = 1e8  # times the prior's weight
_HELD_BENDING = 1e4
_APART = math.radians(6.0)  # rays that tell what bending does to a view
_STEP = 1e-5  # radians, of the numerical derivatives


@dataclass(frozen=True)
class Parameters:
    """The k numbers of each view: those of the free kinds, in this order."""

    free: tuple[Freedom, ...]

    @property
    def count(self) -> int:
        return sum(_WIDTHS[name] for name in self.free)

    def columns(self, name: Freedom) -> slice:
        """Where a kind stands among a view's numbers; empty where it is not free."""
        if name not in self.free:
            return slice(0, 0)
        first = sum(_WIDTHS[other] for other in self.free[: self.free.index(name)])
        return slice(first, first + _WIDTHS[name])

    def prior(self, cameras: Sequence[Camera], reference: int | None) -> Float64[Tensor, "K K"]:
        """The precision of the numbers before any data, K = N·k; their mean is 0.

        The rotation of the whole rig, or that of the reference, is held: the data could only tell
        of it what interpolation and the moving borders of the overlaps feign. With free principal
        points the views can also agree on a bent world (see _bendings), which is held in part: of
        near stereographic lenses overlaps hardly tell it.
        """
        usual = [_USUAL[name] for name in self.free for _ in range(_WIDTHS[name])]
        each = torch.tensor(usual, dtype=torch.float64).pow(-2)
        precision = torch.diag(each.repeat(len(cameras)))
        if "rotation" not in self.free:
            return precision
        held = torch.zeros(3, len(cameras), self.count, dtype=torch.float64)
        for number, camera in enumerate(cameras):
            if reference is None or number == reference:
                held[:, number, self.columns("rotation")] = camera.rotation
        held = held.flatten(1) / _USUAL["rotation"]
        precision = precision + _HELD * held.T @ held
        if "centre" in self.free:
            for mode in self._bendings(cameras):
                along = each.repeat(len(cameras)) * mode
                precision += _HELD_BENDING / (along @ mode) * torch.outer(along, along)
        return precision

    def _bendings(self, cameras: Sequence[Camera]) -> Float64[Tensor, "3 K"]:
        """The numbers that come closest to every view seeing the world drawn together towards an
        axis, d + a - (a·d)d: f falls in a view that looks there, and others turn and shift."""
        rays = sphere_points(_APART)
        modes = []
        for camera in cameras:
            pixels, seen = camera.project(rays)
            some = rays[seen]
            slopes = self.derivatives(camera, some, math.inf).flatten(0, 1)
            shifts = []
            for axis in torch.eye(3, dtype=rays.dtype):
                drawn = some + _STEP * (axis - (some @ axis)[:, None] * some)
                shifts.append(((camera.project(drawn)[0] - pixels[seen]) / _STEP).flatten())
            # Where the scene moves in the picture, the camera has to follow: the same sign.
            modes.append(torch.linalg.lstsq(slopes, torch.stack(shifts, dim=-1)).solution)
        return torch.stack(modes).permute(2, 0, 1).flatten(1)

    def moved(self, cameras: Sequence[Camera], state: Float64[Tensor, "N k"]) -> list[Camera]:
        """The cameras, of any size, with their parameters changed by the rows of a state."""
        if "rotation" not in self.free:
            return [self._zoomed(camera, row) for camera, row in zip(cameras, state, strict=True)]
        turns = from_vector(state[:, self.columns("rotation")])
        return [
            replace(self._zoomed(camera, row), rotation=camera.rotation @ turn)
            for camera, row, turn in zip(cameras, state, turns, strict=True)
        ]

    def _zoomed(self, camera: Camera, row: Float64[Tensor, " k"]) -> Camera:
        """The camera with its lens changed by a row of a state."""
        lens = camera.lens
        if "f" in self.free:
            lens = lens.zoomed(torch.exp(row[self.columns("f")][0]))
        if "centre" in self.free:
            lens = replace(lens, centre=lens.centre + row[self.columns("centre")] * lens.width)
        return replace(camera, lens=lens)

    def derivatives(
        self, camera: Camera, rays: Float[Tensor, "P 3"], sphere_radius: float
    ) -> Float64[Tensor, "P 2 k"]:
        """Of the pixels of world rays by the camera's numbers; by the rotation numerically, which
        does for any lens."""
        if math.isfinite(sphere_radius):
            rays = F.normalize(sphere_radius * rays - camera.position, dim=-1)
        rays = rays @ camera.rotation
        unit = torch.eye(3, dtype=rays.dtype)
        # A camera turned by w sees what is turned by -w, r + r × w: here for each axis w.
        across = torch.linalg.cross(unit.expand(3, 3, 3), unit[:, None].expand(3, 3, 3))
        steps = torch.cat((torch.zeros_like(unit)[None], _STEP * across))
        (pixels, *turned), _ = camera.lens.project(rays + rays @ steps)
        parts = []
        for name in self.free:
            if name == "rotation":
                parts += [(other - pixels) / _STEP for other in turned]
            elif name == "f":
                parts.append(pixels - camera.lens.centre)
            else:
                parts += [(unit[i, :2] * camera.lens.width).expand_as(pixels) for i in (0, 1)]
        return torch.stack(parts, dim=-1)
