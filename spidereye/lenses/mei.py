"""The unified camera model with radial-tangential distortion."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Component, Lens, Mask, lift, radius_of
from spidereye.lenses.newton import (
    RadialInverse,
    first_root,
    guess,
    step_tolerance,
    tabulate,
)
from spidereye.lenses.ucm import plane_to_sphere, sphere_to_plane

_FARTHEST = 100.0  # of the plane; 89.4° from the axis for ξ = 0, 178.9° for ξ = 1
_ITERATIONS = 12  # 2 to 4 are usual


@dataclass(frozen=True)
class Mei(Lens):
    """Mei's model (Mei & Rives 2007): a UCM, then radial-tangential distortion of its plane, as
    in OpenCV's `omnidir` (skew is in the matrix) and Kalibr's `omni-radtan`.

    x' = x·(1 + k₁r² + k₂r⁴) + 2p₁xy + p₂(r² + 2x²)
    y' = y·(1 + k₁r² + k₂r⁴) + 2p₂xy + p₁(r² + 2y²)

    xi: ξ ≥ 0.   k: k₁, k₂.   p: p₁, p₂. No units.

    The distortion is the gradient of r²/2 + k₁r⁴/4 + k₂r⁶/6 + (p₂x + p₁y)·r². On a disc where
    this is strictly convex it is one to one; the lens's domain is the largest such disc, up to
    r = 100.
    """

    xi: Float[Tensor, "*b"]
    k: Float[Tensor, "*b 2"]
    p: Float[Tensor, "*b 2"]

    model: ClassVar[str] = "mei"
    parameters: ClassVar[dict[str, int | None]] = {"xi": 0, "k": 2, "p": 2}

    def checked(self) -> "Mei":
        """The lens itself. Raises SpiderEyeError for ξ < 0."""
        if not bool((self.xi >= 0).all()):
            raise SpiderEyeError(f"a Mei lens needs xi >= 0, got xi={self.xi.tolist()}")
        return self

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: where the UCM is, and up to where the distortion folds over."""
        x, y, valid = sphere_to_plane(self.xi, x, y, z)
        limit = lift(self._inverse.limit, x)
        valid = valid & (x * x + y * y <= limit * limit)
        x, y = torch.where(valid, x, 0), torch.where(valid, y, 0)
        return *self._distorted(x, y), valid

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: where Newton finds an undistorted point of the domain."""
        x, y, valid = self._undistorted(x, y)
        x, y, z, seen = plane_to_sphere(self.xi, x, y)
        return x, y, z, valid & seen

    def _distorted(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        k1, k2, p1, p2 = self._coefficients(x)
        r2 = x * x + y * y
        # 2p₁xy + p₂(r² + 2x²) = p₂r² + 2x·(p₂x + p₁y)
        along = 1 + r2 * (k1 + r2 * k2) + 2 * (p2 * x + p1 * y)
        return along * x + p2 * r2, along * y + p1 * r2

    def _undistorted(self, x: Component, y: Component) -> tuple[Component, Component, Mask]:
        """The point of the domain that is distorted to (x, y), and where there is one."""
        inverse = self._inverse
        radius, top, limit = radius_of(x, y), lift(inverse.top, x), lift(inverse.limit, x)
        # The tangential part moves a point by at most 3·|p|·r².
        valid = radius <= top + 3 * lift(self.p.detach().norm(dim=-1), x) * limit * limit
        x, y = torch.where(valid, x, 0), torch.where(valid, y, 0)
        with torch.no_grad():
            scale = torch.where(valid, guess(inverse, radius) / radius, 0)
            a, b = scale * x, scale * y
            iterations = 0
            while True:
                step_x, step_y, (xx, xy, yy), convex = self._newton_step(a, b, x, y)
                settled = torch.maximum(step_x.abs(), step_y.abs()) <= step_tolerance(x.dtype)
                if iterations == _ITERATIONS or bool(settled.all()):
                    break
                iterations += 1
                a, b = a + step_x, b + step_y
                shrink = (limit / radius_of(a, b)).clamp_max(1)  # back into the domain
                a, b = a * shrink, b * shrink
            valid = valid & settled & convex & (a * a + b * b <= limit * limit)
        # The last step once more, for gradients.
        got_x, got_y = self._distorted(a, b)
        dx, dy = x - got_x, y - got_y
        a, b = a + xx * dx + xy * dy, b + xy * dx + yy * dy
        return torch.where(valid, a, 0), torch.where(valid, b, 0), valid

    def _newton_step(
        self, a: Tensor, b: Tensor, x: Tensor, y: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor, Tensor], Tensor]:
        """Step from (a, b) towards the point that is distorted to (x, y); the inverse of the
        (symmetric) Jacobian, xx, xy, yy; and where that is positive definite."""
        k1, k2, p1, p2 = self._coefficients(a)
        r2 = a * a + b * b
        along = 1 + r2 * (k1 + r2 * k2) + 2 * (p2 * a + p1 * b)
        growth = 2 * k1 + 4 * k2 * r2
        xx = along + a * (growth * a + 4 * p2)
        yy = along + b * (growth * b + 4 * p1)
        xy = growth * a * b + 2 * (p1 * a + p2 * b)
        determinant = xx * yy - xy * xy
        convex = (determinant > 1e-12) & (xx > 0)
        scale = 1 / torch.where(convex, determinant, 1)
        xx, xy, yy = yy * scale, -xy * scale, xx * scale
        dx, dy = x - (along * a + p2 * r2), y - (along * b + p1 * r2)
        return xx * dx + xy * dy, xy * dx + yy * dy, (xx, xy, yy), convex

    def _coefficients(self, like: Tensor) -> list[Tensor]:
        return [lift(c, like) for c in (*self.k.unbind(-1), *self.p.unbind(-1))]

    def _radius(self, r: Tensor) -> tuple[Tensor, Tensor]:
        """Radial part of the distortion, r·(1 + k₁r² + k₂r⁴), and its derivative."""
        k1, k2 = (lift(k, r) for k in self.k.unbind(-1))
        r2 = r * r
        return r * (1 + r2 * (k1 + r2 * k2)), 1 + r2 * (3 * k1 + r2 * (5 * k2))

    @cached_property
    def _inverse(self) -> RadialInverse:
        # The smallest second derivative of the potential on a circle is the radial one on the
        # side away from p: 1 + 3k₁r² + 5k₂r⁴ - 6·|p|·r.
        k1, k2 = self.k.unbind(-1)
        tilt = self.p.norm(dim=-1)
        one, zero = torch.ones_like(tilt), torch.zeros_like(tilt)
        convexity = torch.stack((one, -6 * tilt, 3 * k1, zero, 5 * k2), dim=-1)
        return tabulate(self._radius, first_root(convexity, _FARTHEST))
