"""Scaramuzza's omnidirectional camera model, as the OCamCalib toolbox calibrates it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Component, Lens, Mask, lift, radius_of
from spidereye.lenses.newton import RadialInverse, first_root, invert, tabulate

# Beyond 100 focal lengths no picture goes, and powers would leave float32.
_FARTHEST = 100.0
_MOST_COEFFICIENTS = 20  # the toolbox makes 5, seldom 10; powers of more would leave float32


@dataclass(frozen=True)
class OCam(Lens):
    """Polynomial model (Scaramuzza, Martinelli & Siegwart 2006).

    A point at distance ρ pixels from the centre, after the affine map is undone, is seen in the
    direction (x, y, -f(ρ)) with f(ρ) = a₀ + a₁ρ + a₂ρ² + …; a₀ < 0 in pixels, as in the toolbox's
    files. Both directions follow this polynomial; the files' inverse polynomial is not used.

    OCamCalib orders pixels (row, column), and its axes are x down, y right, z backward. There a
    pixel is [c d; e 1]·(x', y') + (row, column) of the centre. With (x, y) = (y', x') this is ours
    with matrix [1 e; d c] and centre (column, row); its rows and columns start at 0 at pixel
    centres in the text files, as ours do (at 1 in Matlab's own variables).

    polynomial: a₀, a₁, a₂ …, of pixel^(1-n); matrix without unit.
    """

    polynomial: Float[Tensor, "*b n"]

    model: ClassVar[str] = "ocam"
    parameters: ClassVar[dict[str, int | None]] = {"polynomial": None}

    @classmethod
    def from_ocamcalib(
        cls,
        polynomial: Sequence[float],
        row: float,
        column: float,
        c: float,
        d: float,
        e: float,
        width: int,
        height: int,
    ) -> "OCam":
        """A lens from the numbers of a calib_results.txt, float64. row, column: its centre,
        counted from 0. Raises SpiderEyeError as `checked` does, and for a singular [c d; e 1]."""
        if not abs(c - d * e) > 1e-6:
            raise SpiderEyeError(
                f"the affine map of an OCamCalib lens needs c - d*e > 0, got c={c}, d={d}, e={e}"
            )
        numbers: dict[str, Any] = {
            "matrix": [[1.0, e], [d, c]],
            "centre": [column, row],
            "polynomial": list(polynomial),
        }
        tensors = {name: torch.tensor(n, dtype=torch.float64) for name, n in numbers.items()}
        return cls(**tensors, width=width, height=height).checked()

    def checked(self) -> "OCam":
        """The lens itself. Raises SpiderEyeError for a₀ ≥ 0, too many or too large coefficients,
        and where it folds over at once."""
        count = self.polynomial.shape[-1]
        if count > _MOST_COEFFICIENTS:
            raise SpiderEyeError(
                f"the polynomial of an OCamCalib lens has at most {_MOST_COEFFICIENTS} "
                f"coefficients, got {count}; leave out zeros at its end, or calibrate with fewer"
            )
        if not bool((self.polynomial[..., 0] < 0).all()):
            raise SpiderEyeError(
                "the polynomial of an OCamCalib lens begins with a0 < 0 (z points backward), got "
                f"{self.polynomial.tolist()}; where z points forward change all signs"
            )
        single = replace(self, polynomial=self.polynomial.float())
        if not bool(single._scaled().isfinite().all()):
            raise SpiderEyeError(
                "the polynomial of an OCamCalib lens is in pixels, a0 about minus the focal length "
                f"and aₙ about |a0|^(1-n); got {self.polynomial.tolist()}, which is far beyond"
            )
        if not bool((self._inverse.limit > math.radians(1)).all()):
            raise SpiderEyeError(
                f"an OCamCalib lens with polynomial {self.polynomial.tolist()} folds over within "
                "1° of its axis"
            )
        return self

    @property
    def f(self) -> Float[Tensor, "*b"]:
        """Focal length along u in pixels, at the centre."""
        return -self.matrix[..., 0, 0] * self.polynomial[..., 0]

    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """Valid: up to where the angle stops growing with ρ."""
        off_axis = radius_of(x, y)
        t, valid = invert(self._angle, self._inverse, torch.atan2(off_axis, z))
        scale = -lift(self.polynomial[..., 0], t) * torch.where(valid, t / off_axis, 0)
        return scale * x, scale * y, valid

    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Valid: up to where the angle stops growing with ρ."""
        focal = -lift(self.polynomial[..., 0], x)
        x, y = x / focal, y / focal
        t = radius_of(x, y)
        valid = t <= lift(self._inverse.limit, t)
        t = torch.where(valid, t, 0)
        return x, y, self._depth(t)[0], valid

    def _scaled(self) -> Float[Tensor, "*b n"]:
        """aₙ·|a₀|ⁿ⁻¹: the polynomial with ρ and f in focal lengths, so that it begins with -1."""
        powers = torch.arange(self.polynomial.shape[-1], device=self.polynomial.device)
        # In float64: in float32 the last powers may be ∞, and coefficients of 0 would become NaN.
        wide = self.polynomial.double()
        return (wide * wide[..., :1].abs() ** (powers - 1)).to(self.polynomial)

    def _depth(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """z = -f and its derivative, at ρ = t focal lengths."""
        coefficients = [-lift(a, t) for a in self._scaled().unbind(-1)]
        depth, slope = torch.zeros_like(t), torch.zeros_like(t)
        for coefficient in reversed(coefficients):
            slope = slope * t + depth
            depth = depth * t + coefficient
        return depth, slope

    def _angle(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """The angle from the axis at ρ = t focal lengths, and its derivative."""
        depth, slope = self._depth(t)
        return torch.atan2(t, depth), (depth - t * slope) / (t * t + depth * depth)

    @cached_property
    def _inverse(self) -> RadialInverse:
        # The derivative of the angle has the sign of z - ρ·dz/dρ = -a₀ + a₂ρ² + 2a₃ρ³ + ….
        scaled = self._scaled()
        factors = torch.arange(scaled.shape[-1], device=scaled.device) - 1
        limit = first_root(scaled * factors, _FARTHEST)
        return tabulate(self._angle, limit)
