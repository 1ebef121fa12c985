"""The Kannala-Brandt lens with four coefficients, OpenCV's `fisheye` and Kalibr's `equi`."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Component, Lens, Mask, lift, radius_of
from spidereye.lenses.newton import RadialInverse, first_root, invert, tabulate

# The direction straight back would be a circle of the picture, not a point.
_BEHIND = math.pi - 1e-6


@dataclass(frozen=True)
class KannalaBrandt(Lens):
    """KB4 (Kannala & Brandt 2006, Eq. 6 without asymmetric terms, as OpenCV's `fisheye` has it).

    The ray at angle θ from the axis lies at radius r(θ) = θ + k₁θ³ + k₂θ⁵ + k₃θ⁷ + k₄θ⁹ of the
    plane. k = 0 is the equidistant lens. Sees angles below 180° up to where r stops growing.

    k: k₁ … k₄, no units.
    """

    k: Float[Tensor, "*b 4"]

    model: ClassVar[str] = "kb4"
    parameters: ClassVar[dict[str, int | None]] = {"k": 4}

    def checked(self) -> "KannalaBrandt":
        """The lens itself. Raises SpiderEyeError where r stops growing within 1° of the axis."""
        if not bool((self._inverse.limit > math.radians(1)).all()):
            raise SpiderEyeError(
                f"a KB4 lens with k={self.k.tolist()} folds over within 1° of its axis; these are "
                "no coefficients of θ³, θ⁵, θ⁷ and θ⁹"
            )
        return self

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: up to the first maximum of r(θ), and less than 180° from the axis."""
        off_axis = radius_of(x, y)
        theta = torch.atan2(off_axis, z)
        valid = theta <= lift(self._inverse.limit, theta)
        theta = torch.where(valid, theta, 0)
        scale = self._radius(theta)[0] / off_axis
        # Behind, off_axis may be the 1e-15 of the axis: 0 instead of a gradient of 1e30.
        scale = torch.where(valid, scale, 0)
        return scale * x, scale * y, valid

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: up to the first maximum of r(θ)."""
        radius = radius_of(x, y)
        theta, valid = invert(self._radius, self._inverse, radius)
        scale = theta.sin() / radius
        return scale * x, scale * y, theta.cos(), valid

    def _radius(self, theta: Tensor) -> tuple[Tensor, Tensor]:
        """r(θ) and its derivative."""
        k1, k2, k3, k4 = (lift(k, theta) for k in self.k.unbind(-1))
        t2 = theta * theta
        radius = theta * (1 + t2 * (k1 + t2 * (k2 + t2 * (k3 + t2 * k4))))
        slope = 1 + t2 * (3 * k1 + t2 * (5 * k2 + t2 * (7 * k3 + t2 * (9 * k4))))
        return radius, slope

    @cached_property
    def _inverse(self) -> RadialInverse:
        powers = torch.arange(3, 10, 2, device=self.k.device, dtype=self.k.dtype)
        slope = torch.cat((torch.ones_like(self.k[..., :1]), powers * self.k), dim=-1)
        limit = first_root(slope, _BEHIND**2).sqrt()  # a polynomial in θ²
        return tabulate(self._radius, limit)
