"""What the networks are told of shots beside the views, as tensors, and how the decoder's numbers
become the velocity of a flow that starts from what the cameras saw."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.latent_grid import LatentGrid
from spidereye.self_calibration import REFINEMENTS

CONDITIONS = ("latent", "latent+warp")
PRIORS = ("noise", "stitch")
WARPED = 2  # views whose colours the decoder gets

# What self-calibration changed tells how far the rig as a whole may be off, which no overlap shows:
# by how much it turned the views and changed their gains (root mean square, of the logarithm), and
# by how much they still are off each other; in these units.
SHOT = (math.radians(2.0), 0.1, math.radians(2.0))

# In [-1, 1], about how far what geometry makes is from the truth: where it is seen, and how much
# farther where it is only filled in.
RESIDUAL, _GUESSED = 0.1, 0.3
_EXACT = 1e-3  # of spread: less is numerically none


@dataclass(frozen=True)
class ConditioningConfig:
    """grid: whether the fusion asks where views look.   condition, prior: of CONDITIONS, PRIORS.
    sigma: of the noise on the stitch that the flow starts from.
    radii: of the spheres in metres that the views are put together on, ∞ allowed.
    refine: what is self-calibrated first, of gain and rotation.
    factor: pixels of the panorama to a latent cell.
    encoded: the encoder gets larger views at so many pixels across; None: as they are.
    sweep: whether the fusion looks at the views on all spheres; False: on the first. The decoder
    is told of all either way.
    expected: where nothing is seen, there is what the seen lets expect (unseen/), whatever the
    decoder says.
    """

    grid: bool = False
    condition: str = "latent"
    prior: str = "noise"
    sigma: float = 0.0
    radii: tuple[float, ...] = (math.inf,)
    refine: tuple[str, ...] = ()
    factor: int = 8
    encoded: int | None = None
    sweep: bool = True
    expected: bool = False

    def __post_init__(self) -> None:
        for key, value, choices in (
            ("condition", self.condition, CONDITIONS),
            ("prior", self.prior, PRIORS),
            *(("refine", what, REFINEMENTS) for what in self.refine),
        ):
            if value not in choices:
                raise SpiderEyeError(f"ssdd.{key} takes {' or '.join(choices)}, got {value!r}")
        if self.sigma < 0:
            raise SpiderEyeError(f"ssdd.prior_sigma is 0 or more, got {self.sigma:g}")
        if not self.radii or not all(radius > 0 for radius in self.radii):
            raise SpiderEyeError(
                "ssdd.sphere_radii are one or more metres above 0 (inf for ∞, in YAML .inf), got "
                f"{self.radii}"
            )

    @property
    def needed(self) -> bool:
        """Whether the networks are told anything."""
        return self.grid or self.warp or self.prior != "noise" or bool(self.refine)

    @property
    def warp(self) -> bool:
        return self.condition == "latent+warp"

    @property
    def channels(self) -> int:
        """K: what `Conditions.warp` has of channels."""
        return 4 * len(self.radii) + 4 * WARPED + 7 if self.warp else 0


class Conditions(NamedTuple):
    """Of B shots.

    views: N views in [-1, 1], colours as self-calibration made them, [B, N, 3, h, w], or N of
    [B, 3, h, w] of sizes of their own.
    grid: for the fusion, or None.
    warp: for the decoder: the panorama that geometry makes, on each sphere the stitch and how far
    the views are apart, the views that count most with their shares, and where anything is seen;
    or None.
    shot: what self-calibration changed of the shot: see SHOT; 0 without it.
    start, spread: the flow starts from start + spread·ε; None: from ε. start: what geometry makes,
    and where nothing is seen what is filled in.   spread: σ where something is seen, 1 elsewhere.
    """

    views: Float[Tensor, "B N 3 h w"] | tuple[Float[Tensor, "B 3 _ _"], ...]
    grid: LatentGrid | None = None
    warp: Float[Tensor, "B K H W"] | None = None
    start: Float[Tensor, "B 3 H W"] | None = None
    spread: Float[Tensor, "B 1 H W"] | None = None
    shot: Float[Tensor, "B 3"] | None = None

    def to(self, device: torch.device) -> "Conditions":
        """The same on another device."""
        return _mapped(lambda tensor: tensor.to(device), self)

    def noised(self, noise: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """x₁ of the flow, from standard normal noise."""
        if self.start is None or self.spread is None:
            return noise
        return self.start + self.spread * noise

    def velocity(
        self, said: Float[Tensor, "B 3 H W"], x_t: Float[Tensor, "B 3 H W"], t: Float[Tensor, "B"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The velocity at x_t from what the decoder says, numbers of about 1 everywhere.

        Preconditioning as by Karras et al. (2022, §5): with x = start + r, r of variance ρ², and
        x₁ = start + s·ε, the best linear guess of v = x - x₁ from y = x_t - start is
        y·((1-t)ρ² - t·s²) / ((1-t)²ρ² + t²·s²), and what it lacks has the standard deviation
        ρ·s / √((1-t)²ρ² + t²·s²). So a decoder that says 0 leads to start, and where s = 0, where
        x_t tells v for all t < 1, what it says counts at t = 1 only.
        """
        if self.start is None or self.spread is None:
            return said
        t = t.to(self.spread).view(-1, 1, 1, 1)
        s2 = self.spread.clamp_min(_EXACT).square()
        rho2 = (RESIDUAL + _GUESSED * self.spread).square()
        variance = (1 - t).square() * rho2 + t.square() * s2
        known = ((1 - t) * rho2 - t * s2) / variance
        return known * (x_t - self.start) + (rho2 * s2 / variance).sqrt() * said


def collated(conditions: Sequence[Conditions]) -> Conditions:
    """Shots of the same number and sizes of views as one batch."""
    return _mapped(lambda *parts: torch.cat(parts), *conditions)


def with_views(conditions: Conditions, count: int) -> Conditions:
    """The same with black views that nothing sees added up to `count`, so that shots of rigs of
    different numbers of views make one batch. The networks make the same of it.

    Views of one size, and a grid. Raises SpiderEyeError where there are more than `count`.
    """
    views, grid = conditions.views, conditions.grid
    assert isinstance(views, Tensor) and grid is not None
    more = count - views.shape[1]
    if more < 0:
        raise SpiderEyeError(f"{views.shape[1]} views where {count} are the most")
    padded = F.pad(views, (0, 0) * 3 + (0, more), value=-1.0)
    parts = (F.pad(part, (0, 0) * (part.ndim - 2) + (0, more)) for part in grid)
    return conditions._replace(views=padded, grid=LatentGrid(*parts))


def flattened(conditions: Conditions) -> dict[str, Tensor]:
    """Every tensor by its name, for a file; `restored` is the way back. Views of one size only."""
    assert isinstance(conditions.views, Tensor)
    named = {"views": conditions.views, "warp": conditions.warp, "start": conditions.start}
    named |= {"spread": conditions.spread, "shot": conditions.shot}
    if conditions.grid is not None:
        named |= {f"grid.{name}": part for name, part in conditions.grid._asdict().items()}
    return {name: part for name, part in named.items() if part is not None}


def restored(tensors: Mapping[str, Tensor]) -> Conditions:
    """The conditions of what `flattened` gave, in single precision."""
    parts = {k: v.float() if v.is_floating_point() else v for k, v in tensors.items()}
    own = {k.removeprefix("grid."): v for k, v in parts.items() if k.startswith("grid.")}
    grid = LatentGrid(**own) if own else None
    rest = {k: v for k, v in parts.items() if not k.startswith("grid.")}
    return Conditions(**rest, grid=grid)


def _mapped(change: Callable[..., Tensor], *conditions: Conditions) -> Conditions:
    """The conditions with every tensor made of those in its place."""
    columns = []
    for parts in zip(*conditions, strict=True):
        first = parts[0]
        if first is None:
            columns.append(None)
        elif isinstance(first, Tensor):
            columns.append(change(*parts))
        else:
            made = tuple(change(*items) for items in zip(*parts, strict=True))
            columns.append(LatentGrid(*made) if isinstance(first, LatentGrid) else made)
    return Conditions(*columns)
