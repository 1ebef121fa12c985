"""What the networks are told beside the views: where the views look, and what geometry makes of
them.

A shot is self-calibrated first; all else follows from the views and cameras that gives. Everything
here is tensors, made once for a shot and the same in training, evaluation and use.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.latent_grid import LatentGrid, latent_grid
from spidereye.recolouring import recoloured_views
from spidereye.rig import Rig, fingerprint
from spidereye.self_calibration import REFINEMENTS, Calibrated, self_calibrate
from spidereye.sphere_sweep import SweepPlan, Swept, stand_apart
from spidereye.super_resolution import SuperResolution

CONDITIONS = ("latent", "latent+warp")
PRIORS = ("noise", "stitch")
_WARPED = 2  # views whose colours the decoder gets
_BLACK = -0.97  # in [-1, 1]: a view that is nowhere brighter is none
_OFF_STEP = math.radians(0.5)  # of misalignment: finer differences decide nothing of their own
_MOST_KEPT = 4  # a grid and plans for each of two rigs

T = TypeVar("T")
RESIDUAL = 0.1  # in [-1, 1]: about how far a stitch is from the truth


@dataclass(frozen=True)
class ConditioningConfig:
    """grid: whether the fusion asks where views look.   condition, prior: of CONDITIONS, PRIORS.
    sigma: of the noise on the stitch that the flow starts from.
    radii: of the spheres in metres that the views are put together on, ∞ allowed.
    refine: what is self-calibrated first, of gain and rotation.
    factor: pixels of the panorama to a latent cell.
    """

    grid: bool = False
    condition: str = "latent"
    prior: str = "noise"
    sigma: float = 0.0
    radii: tuple[float, ...] = (math.inf,)
    refine: tuple[str, ...] = ()
    factor: int = 8

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
                f"ssdd.sphere_radii are one or more metres above 0 (.inf for ∞), got {self.radii}"
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
        return 4 * len(self.radii) + 4 * _WARPED + 4 if self.warp else 0


class Conditions(NamedTuple):
    """Of B shots.

    views: N views in [-1, 1], colours as self-calibration made them, [B, N, 3, h, w], or N of
    [B, 3, h, w] of sizes of their own.
    grid: for the fusion, or None.
    warp: for the decoder: the panorama that geometry makes, on each sphere the stitch and how far
    the views are apart, the views that count most with their shares, and where anything is seen;
    or None.
    start, spread: the flow starts from start + spread·ε; None: from ε.
    """

    views: Float[Tensor, "B N 3 h w"] | tuple[Float[Tensor, "B 3 _ _"], ...]
    grid: LatentGrid | None = None
    warp: Float[Tensor, "B K H W"] | None = None
    start: Float[Tensor, "B 3 H W"] | None = None
    spread: Float[Tensor, "B 1 H W"] | None = None

    def to(self, device: torch.device) -> "Conditions":
        """The same on another device."""
        return _mapped(lambda tensor: tensor.to(device), self)

    def noised(self, noise: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B 3 H W"]:
        """x₁ of the flow, from standard normal noise."""
        if self.start is None or self.spread is None:
            return noise
        return self.start + self.spread * noise


@dataclass(frozen=True)
class Conditioner:
    """Makes the conditions of shots, for panoramas of W x H pixels.

    kept: what the cameras used last decide, so that a rig's is made once.
    """

    config: ConditioningConfig
    height: int
    width: int
    kept: OrderedDict[str, Any] = field(default_factory=OrderedDict)

    def calibrated(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        cameras: Sequence[Camera],
        sphere_radius: float = math.inf,
    ) -> Calibrated | None:
        """What self-calibration finds of one shot; None where it is not asked."""
        if not self.config.refine:
            return None
        return self_calibrate(views, cameras, self.config.refine, None, sphere_radius)

    @torch.no_grad()
    def __call__(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        cameras: Sequence[Camera],
        found: Calibrated | None,
        sphere_radius: float = math.inf,
        fine: tuple[Sequence[Float[Tensor, "1 3 _ _"]], Sequence[Camera]] | None = None,
    ) -> Conditions:
        """The conditions of one shot, on the CPU.

        views: in [-1, 1], in the order of the cameras, of batch shape []; one that is black is
        taken for missing.   found: as `calibrated` gives it.
        sphere_radius: of the rig; a finite one stands for the first of `radii`.
        fine: the same views larger, and their cameras, for what geometry makes of them; None: as
        large as the networks take them.
        """
        absent = {number for number, view in enumerate(views) if float(view.amax()) < _BLACK}
        off = 0.0
        if found is not None:
            off, absent = found.misalignment, absent | set(found.blank)
        present = tuple(number for number in range(len(views)) if number not in absent)
        present = present or tuple(range(len(views)))
        large = (views, cameras) if fine is None else fine
        views, cameras = _corrected(views, cameras, found)
        grid = None
        if self.config.grid:
            key = f"grid {fingerprint(Rig(cameras, sphere_radius))} {present}"
            grid = self._kept(key, lambda: self._grid(cameras, present, sphere_radius))
        stacked = _together(views)
        if not self.config.warp and self.config.prior == "noise":
            return Conditions(stacked, grid)
        views, cameras = _corrected(*large, found)
        some = tuple(cameras[number] for number in present)
        off = round(off / _OFF_STEP) * _OFF_STEP
        key = f"panorama {fingerprint(Rig(some, sphere_radius))} {off}"
        plan, sharper = self._kept(key, lambda: self._plans(some, sphere_radius, off))
        shown = [views[number] for number in present]
        swept = plan(shown, _WARPED)
        made = swept.panorama if sharper is None else sharper(shown, swept.panorama)
        seen = (swept.count > 0).to(made)
        warp = _channels(swept, made, seen) if self.config.warp else None
        if self.config.prior == "noise":
            return Conditions(stacked, grid, warp)
        return Conditions(stacked, grid, warp, made * seen, self.config.sigma * seen + (1 - seen))

    def _grid(
        self, cameras: Sequence[Camera], present: tuple[int, ...], radius: float
    ) -> LatentGrid:
        factor = self.config.factor
        radii = self._radii(radius)
        grid = latent_grid(cameras, self.height // factor, self.width // factor, radii)
        here = torch.tensor([number in present for number in range(len(cameras))])
        return grid._replace(seen=grid.seen & here[:, None, None, None])

    def _plans(
        self, cameras: Sequence[Camera], radius: float, off: float
    ) -> tuple[SweepPlan, SuperResolution | None]:
        """How views become a panorama, and how it becomes sharper. Views that are finer than the
        panorama have no detail left to give, and from places apart they do not show one panorama.
        """
        height, width = self.height, self.width
        plan = SweepPlan.for_cameras(cameras, height, width, self._radii(radius), misalignment=off)
        possible = SuperResolution.is_possible(height, width)
        if plan.plans[0].divisions or stand_apart(cameras) or not possible:
            return plan, None
        return plan, SuperResolution.for_cameras(cameras, height, width)

    def _radii(self, radius: float) -> tuple[float, ...]:
        first, *others = self.config.radii
        return (radius if math.isfinite(radius) else first, *others)

    def _kept(self, key: str, make: Callable[[], T]) -> T:
        """What is kept under a key, or made in place of what was used longest ago."""
        if key not in self.kept:
            while len(self.kept) >= _MOST_KEPT:
                self.kept.popitem(last=False)
            self.kept[key] = make()
        self.kept.move_to_end(key)
        return self.kept[key]


def collated(conditions: Sequence[Conditions]) -> Conditions:
    """Shots of the same number and sizes of views as one batch."""
    return _mapped(lambda *parts: torch.cat(parts), *conditions)


def flattened(conditions: Conditions) -> dict[str, Tensor]:
    """Every tensor by its name, for a file; `restored` is the way back. Views of one size only."""
    assert isinstance(conditions.views, Tensor)
    named = {"views": conditions.views, "warp": conditions.warp, "start": conditions.start}
    named |= {"spread": conditions.spread}
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


def _channels(
    swept: Swept, made: Float[Tensor, "1 3 H W"], seen: Float[Tensor, "1 1 H W"]
) -> Float[Tensor, "1 K H W"]:
    """The decoder's further channels, each of a size of about 1 at most. Views and spheres are
    told as differences: what counts is where they differ."""
    different = swept.warped - made[:, None]
    return torch.cat(
        (
            made,
            (swept.planes - made[:, None]).flatten(1, 2) / RESIDUAL,
            swept.apart.flatten(1, 2) / RESIDUAL,
            (different * (swept.share > 0)).flatten(1, 2) / RESIDUAL,
            swept.share.flatten(1, 2),
            seen,
        ),
        dim=1,
    )


def _corrected(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    found: Calibrated | None,
) -> tuple[list[Float[Tensor, "1 3 _ _"]], tuple[Camera, ...]]:
    """Views and cameras, of any size, as self-calibration found them."""
    made = [view.float().cpu() for view in views]
    turned = tuple(camera.to(torch.device("cpu"), torch.float64) for camera in cameras)
    if found is None:
        return made, turned
    turned = tuple(
        replace(camera, rotation=new.rotation)
        for camera, new in zip(turned, found.cameras, strict=True)
    )
    return recoloured_views(made, turned, found.gain, found.offset), turned


def _together(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
) -> Float[Tensor, "1 N 3 h w"] | tuple[Float[Tensor, "1 3 _ _"], ...]:
    if len({view.shape for view in views}) == 1:
        return torch.stack(list(views), dim=1)
    return tuple(views)


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
