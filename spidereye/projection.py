"""Lenses: pixel → unit ray and ray → pixel, each with a validity mask.

This module owns the image convention: u right, v down, pixel centres at integer coordinates,
default principal point ((w-1)/2, (h-1)/2), so a picture spans [-0.5, w-0.5] x [-0.5, h-0.5] and
its inscribed circle has radius w/2. Camera axes as in rotation.py.

Parameters are tensors of one batch shape [*b]; rays and pixels are [*b, ..., 3] and [*b, ..., 2].
Both directions are differentiable and free of NaN for any finite input; where the mask is False
the value is finite and means nothing.
"""

import math
from dataclasses import dataclass, fields, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.errors import SpiderEyeError


@runtime_checkable
class Lens(Protocol):
    """What every lens can do. `width` and `height` are the picture's size in pixels."""

    @property
    def width(self) -> int: ...
    @property
    def height(self) -> int: ...
    @property
    def centre(self) -> tuple[Tensor, Tensor]: ...
    def project(self, rays: Tensor) -> tuple[Tensor, Tensor]: ...
    def unproject(self, pixels: Tensor) -> tuple[Tensor, Tensor]: ...
    def resized(self, width: int, height: int) -> "Lens": ...
    def to(
        self, device: torch.device | None = None, dtype: torch.dtype | None = None
    ) -> "Lens": ...


@dataclass(frozen=True)
class UCM:
    """Unified Camera Model with one parameter (Mei & Rives 2007; Geyer & Daniilidis 2000).

    u = cx + f·X/(Z+ξ), v = cy - f·Y/(Z+ξ) for a unit ray (X, Y, Z).

    f: Mei's γ in pixels, > 0.   xi: ξ ≥ 0, no unit.   cx, cy: principal point in pixels.
    width, height: size in pixels of the picture that these parameters hold for.
    """

    f: Float[Tensor, "*b"]
    xi: Float[Tensor, "*b"]
    cx: Float[Tensor, "*b"]
    cy: Float[Tensor, "*b"]
    width: int
    height: int

    @classmethod
    def create(
        cls,
        f: float | Tensor,
        xi: float | Tensor,
        width: int,
        height: int | None = None,
        cx: float | None = None,
        cy: float | None = None,
    ) -> "UCM":
        """A lens from numbers, float64; height None: square; cx, cy None: the picture's centre.

        Raises SpiderEyeError for f ≤ 0 or ξ < 0.
        """
        height = width if height is None else height
        focal = torch.as_tensor(f, dtype=torch.float64)
        mirror = torch.as_tensor(xi, dtype=torch.float64)
        if not (bool((focal > 0).all()) and bool((mirror >= 0).all())):
            raise SpiderEyeError(f"a UCM lens needs f > 0 and xi >= 0, got f={f}, xi={xi}")
        focal, mirror = torch.broadcast_tensors(focal, mirror)
        cx = (width - 1) / 2 if cx is None else cx
        cy = (height - 1) / 2 if cy is None else cy
        centre = torch.full_like(focal, cx), torch.full_like(focal, cy)
        return cls(focal, mirror, *centre, width, height)

    @property
    def centre(self) -> tuple[Tensor, Tensor]:
        """Principal point (cx, cy) in pixels, each [*b]."""
        return self.cx, self.cy

    def project(
        self, rays: Float[Tensor, "*s 3"]
    ) -> tuple[Float[Tensor, "*s 2"], Bool[Tensor, "*s"]]:
        """Pixels of camera rays of any positive length. Valid: Z > -ξ for ξ ≤ 1, Z > -1/ξ beyond,
        where the model folds over."""
        x, y, z = (rays / rays.norm(dim=-1, keepdim=True).clamp_min(1e-30)).unbind(-1)
        f, xi, cx, cy = (_lift(p, x) for p in (self.f, self.xi, self.cx, self.cy))
        limit = torch.where(xi > 1, 1 / xi.clamp_min(1), xi)
        depth = z + xi
        # Z > -limit alone lets depths of 1e-17 through, whose pixels are infinite.
        valid = (z > -limit) & (depth > 1e-9)
        depth = torch.where(valid, depth, torch.ones_like(depth))
        pixels = torch.stack((cx + f * x / depth, cy - f * y / depth), dim=-1)
        return pixels, valid

    def unproject(
        self, pixels: Float[Tensor, "*s 2"]
    ) -> tuple[Float[Tensor, "*s 3"], Bool[Tensor, "*s"]]:
        """Unit camera rays of pixels. Valid: everywhere for ξ ≤ 1, r² ≤ 1/(ξ²-1) beyond."""
        u, v = pixels.unbind(-1)
        f, xi, cx, cy = (_lift(p, u) for p in (self.f, self.xi, self.cx, self.cy))
        mx, my = (u - cx) / f, (cy - v) / f
        r2 = mx * mx + my * my
        root = 1 + (1 - xi * xi) * r2
        valid = root >= 0
        # The inner where keeps the square root's gradient finite where the mask is False.
        safe = torch.where(root > 0, root, torch.ones_like(root))
        root = torch.where(root > 0, safe.sqrt(), torch.zeros_like(root))
        omega = (xi + root) / (1 + r2)
        rays = torch.stack((omega * mx, omega * my, omega - xi), dim=-1)
        # Unit by construction where valid; elsewhere this keeps the promise of a finite unit ray.
        return rays / rays.norm(dim=-1, keepdim=True).clamp_min(1e-12), valid

    def resized(self, width: int, height: int) -> "UCM":
        """The same lens for the same picture at another size; exact for pixel centres at integers.

        Raises SpiderEyeError where the aspect ratio changes: one focal length cannot say that.
        """
        scale = width / self.width
        if abs(height / self.height - scale) > 1e-9 * scale:
            raise SpiderEyeError(
                f"a UCM lens of {self.width}x{self.height} pixels cannot be resized to "
                f"{width}x{height}: the aspect ratio changes; crop the picture instead"
            )
        return replace(
            self,
            f=self.f * scale,
            cx=(self.cx + 0.5) * scale - 0.5,
            cy=(self.cy + 0.5) * scale - 0.5,
            width=width,
            height=height,
        )

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "UCM":
        """The same lens with its parameters on another device or in another floating type."""
        moved = {
            field.name: getattr(self, field.name).to(device=device, dtype=dtype)
            for field in fields(self)
            if field.name not in ("width", "height")
        }
        return replace(self, **moved)


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


def _lift(parameter: Tensor, like: Tensor) -> Tensor:
    """[*b] → [*b, 1, …, 1] as many axes as `like`: parameters broadcast over pixels."""
    return parameter.reshape(parameter.shape + (1,) * (like.ndim - parameter.ndim))
