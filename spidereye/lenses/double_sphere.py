"""The double sphere camera model."""

from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.eucm import check_alpha, depth_of, divide_by_depth
from spidereye.lenses.lens import Component, Lens, Mask, lift


@dataclass(frozen=True)
class DoubleSphere(Lens):
    """Double sphere camera model (Usenko, Demmel & Cremers 2018).

    (u, v) = c + K·(x, y)/(α·d₂ + (1 - α)·(z + ξ)) for a unit ray, d₂ = √(x² + y² + (z + ξ)²): the
    sphere is shifted by ξ, then seen by a UCM. ξ = 0 is the UCM; ξ = α = 1 the equisolid lens.

    xi: -1 < ξ ≤ 1.   alpha: 0 ≤ α ≤ 1. No units.
    """

    xi: Float[Tensor, "*b"]
    alpha: Float[Tensor, "*b"]

    model: ClassVar[str] = "ds"
    parameters: ClassVar[dict[str, int | None]] = {"xi": 0, "alpha": 0}

    def checked(self) -> "DoubleSphere":
        """The lens itself. Raises SpiderEyeError for ξ outside (-1, 1] or α outside [0, 1]."""
        check_alpha(self.alpha, "a double sphere lens")
        if not bool(((self.xi > -1) & (self.xi <= 1)).all()):
            raise SpiderEyeError(
                f"a double sphere lens needs -1 < xi <= 1, got xi={self.xi.tolist()}"
            )
        return self

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: z + ξ > -w·d₂, w = α/(1-α) for α ≤ 1/2 and (1-α)/α beyond.

        This is exactly where the model reaches infinity or folds over: the UCM's bound after the
        shift. The paper's bound on z, with w₂, is the same for ξ = 0 only.
        """
        shifted = z + lift(self.xi, z)
        d = (x * x + y * y + shifted * shifted).clamp_min(1e-30).sqrt()
        return divide_by_depth(self.alpha, x, y, shifted, d)

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: everywhere for α ≤ 1/2, r² ≤ 1/(2α-1) beyond."""
        xi, r2 = lift(self.xi, x), x * x + y * y
        z, valid = depth_of(self.alpha, r2)
        root = (z * z + (1 - xi * xi) * r2).clamp_min(1e-30).sqrt()
        scale = (z * xi + root) / (z * z + r2).clamp_min(1e-30)
        return scale * x, scale * y, scale * z - xi, valid
