"""The enhanced unified camera model."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Component, Lens, Mask, lift

_DEEPEST = -1e18  # of z, in single precision too the square of it is a number


@dataclass(frozen=True)
class EUCM(Lens):
    """Enhanced Unified Camera Model (Khomutenko, Garcia & Martinet 2016), in the form that
    Usenko, Demmel & Cremers 2018 give it.

    (u, v) = c + K·(x, y)/(α·d + (1 - α)·z) with d = √(β·(x² + y²) + z²). β = 1 is the UCM.

    alpha: 0 ≤ α ≤ 1.   beta: β > 0. No units.
    """

    alpha: Float[Tensor, "*b"]
    beta: Float[Tensor, "*b"]

    model: ClassVar[str] = "eucm"
    parameters: ClassVar[dict[str, int | None]] = {"alpha": 0, "beta": 0}

    def checked(self) -> "EUCM":
        """The lens itself. Raises SpiderEyeError for α outside [0, 1] or β ≤ 0."""
        check_alpha(self.alpha, "an EUCM lens")
        if not bool((self.beta > 0).all()):
            raise SpiderEyeError(f"an EUCM lens needs beta > 0, got beta={self.beta.tolist()}")
        return self

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: z > -w·d, w = α/(1-α) for α ≤ 1/2 and (1-α)/α beyond."""
        d = (lift(self.beta, z) * (x * x + y * y) + z * z).sqrt()
        return divide_by_depth(self.alpha, x, y, z, d)

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: everywhere for α ≤ 1/2, r² ≤ 1/(β·(2α-1)) beyond."""
        z, valid = depth_of(self.alpha, lift(self.beta, x) * (x * x + y * y))
        return x, y, z, valid


def check_alpha(alpha: Float[Tensor, "*b"], lens: str) -> None:
    """Raises SpiderEyeError for α outside [0, 1]. lens: the subject of its sentence."""
    if not bool(((alpha >= 0) & (alpha <= 1)).all()):
        raise SpiderEyeError(f"{lens} needs 0 <= alpha <= 1, got alpha={alpha.tolist()}")


def divide_by_depth(
    alpha: Float[Tensor, "*b"], x: Component, y: Component, z: Component, d: Component
) -> tuple[Component, Component, Mask]:
    """(x, y)/(α·d + (1-α)·z) of points at distance d, and where that is one to one: up to where
    the denominator is 0 (α ≤ 1/2), or where the picture folds over (α > 1/2)."""
    w = lift(torch.minimum(alpha, 1 - alpha) / torch.maximum(alpha, 1 - alpha), z)
    alpha = lift(alpha, z)
    depth = alpha * d + (1 - alpha) * z
    # z > -w·d alone lets depths of 1e-17 through, whose pixels are infinite.
    valid = (z > -w * d) & (depth > 1e-9)
    depth = torch.where(valid, depth, 1)
    return x / depth, y / depth, valid


def depth_of(alpha: Float[Tensor, "*b"], r2: Component) -> tuple[Component, Mask]:
    """z of the ray (x, y, z) through a point of the plane with β·(x² + y²) = r2, and where there
    is one (Usenko, Demmel & Cremers 2018, m_z)."""
    alpha = lift(alpha, r2)
    root = 1 - (2 * alpha - 1) * r2
    # Both bounds matter for α = 1 only, on the rim: a finite gradient, and 0/0 = 0.
    denominator = alpha * root.clamp_min(1e-30).sqrt() + 1 - alpha
    z = (1 - alpha * alpha * r2) / denominator.clamp_min(1e-15)
    return z.clamp_min(_DEEPEST), root >= 0  # beyond the rim -∞ is not far, and ∞/∞ would follow
