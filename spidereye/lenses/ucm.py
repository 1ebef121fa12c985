"""The unified camera model, and conversions of its parameters."""

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Component, Lens, Mask, lift, plane_of


@dataclass(frozen=True)
class UCM(Lens):
    """Unified Camera Model with one parameter (Mei & Rives 2007; Geyer & Daniilidis 2000).

    u = cx + f·X/(Z+ξ), v = cy - f·Y/(Z+ξ) for a unit ray (X, Y, Z).

    f: Mei's γ in pixels, > 0.   xi: ξ ≥ 0, no unit.
    """

    xi: Float[Tensor, "*b"]

    model: ClassVar[str] = "ucm"
    parameters: ClassVar[dict[str, int | None]] = {"xi": 0}

    @classmethod
    def create(
        cls,
        f: float | Tensor,
        xi: float | Tensor,
        width: int,
        height: int | None = None,
        cx: float | None = None,
        cy: float | None = None,
        fy: float | None = None,
    ) -> "UCM":
        """A lens from numbers, float64; height None: square; cx, cy None: the picture's centre;
        fy None: f.

        Raises SpiderEyeError for f ≤ 0 or ξ < 0.
        """
        focal = torch.as_tensor(f, dtype=torch.float64)
        focal, mirror = torch.broadcast_tensors(focal, torch.as_tensor(xi, dtype=torch.float64))
        lens = cls(**plane_of(width, height, fx=focal, fy=fy, cx=cx, cy=cy), xi=mirror)
        return lens.checked()

    def checked(self) -> "UCM":
        """The lens itself. Raises SpiderEyeError for ξ < 0."""
        if not bool((self.xi >= 0).all()):
            raise SpiderEyeError(f"a UCM lens needs xi >= 0, got xi={self.xi.tolist()}")
        return self

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: Z > -ξ for ξ ≤ 1, Z > -1/ξ beyond, where the model folds over."""
        return sphere_to_plane(self.xi, x, y, z)

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: everywhere for ξ ≤ 1, r² ≤ 1/(ξ²-1) beyond."""
        return plane_to_sphere(self.xi, x, y)


def sphere_to_plane(
    xi: Float[Tensor, "*b"], x: Component, y: Component, z: Component
) -> tuple[Component, Component, Mask]:
    """UCM without its matrix: unit rays to (x, y)/(z + ξ), and where that is one to one."""
    xi = lift(xi, z)
    limit = torch.where(xi > 1, 1 / xi.clamp_min(1), xi)
    depth = z + xi
    # z > -limit alone lets depths of 1e-17 through, whose pixels are infinite.
    valid = (z > -limit) & (depth > 1e-9)
    depth = torch.where(valid, depth, 1)
    return x / depth, y / depth, valid


def plane_to_sphere(
    xi: Float[Tensor, "*b"], x: Component, y: Component
) -> tuple[Component, Component, Component, Mask]:
    """The inverse of `sphere_to_plane`."""
    xi = lift(xi, x)
    r2 = x * x + y * y
    root = 1 + (1 - xi * xi) * r2
    # At least 1e-30: the square root's gradient stays finite on the rim and beyond.
    omega = (xi + root.clamp_min(1e-30).sqrt()) / (1 + r2)
    return omega * x, omega * y, omega - xi, root >= 0


def alpha_from_xi(xi: float, f: float) -> tuple[float, float]:
    """(ξ, f) of Mei's form to (α, f_α) of the α form: α = ξ/(1+ξ), f_α = f/(1+ξ)."""
    return xi / (1 + xi), f / (1 + xi)


def xi_from_alpha(alpha: float, f_alpha: float) -> tuple[float, float]:
    """(α, f_α) of the α form, 0 ≤ α < 1, to (ξ, f) of Mei's form."""
    return alpha / (1 - alpha), f_alpha / (1 - alpha)


def focal_for_half_angle(half_angle: float, xi: float, radius: float) -> float:
    """f in pixels that puts the ray at `half_angle` (radians) on the circle of `radius` pixels:
    f = R·(cos θ + ξ)/sin θ. Raises SpiderEyeError where the model does not reach that angle."""
    limit = math.acos(-1 / xi) if xi > 1 else math.acos(-xi)
    if not 0 < half_angle < limit:
        raise SpiderEyeError(
            f"a UCM lens with xi={xi:g} sees half angles up to {math.degrees(limit):.1f}°, "
            f"not {math.degrees(half_angle):.1f}°; raise xi or lower the field of view"
        )
    return radius * (math.cos(half_angle) + xi) / math.sin(half_angle)
