"""Stitching cameras that stand apart: at which distance do the views agree?

The views are put together on several spheres (a sweep: Meuleman, Jang, Jeon & Kim 2021), and each
direction is taken from those spheres on which its neighbourhood agrees best. Cameras that share a
place see the same on every sphere; then there is one.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import blurred
from spidereye.push_pull import fill
from spidereye.stitching import StitchPlan
from spidereye.view_sampling import Kernel

# Measured on near procedural scenes (benchmarks/quality.py names the protocol), 64-px views, six
# spheres: standard deviations of 1, 1.5 and 2.5 pixels give 33.3, 33.6 and 33.8 dB; differences of
# 0.0003, 0.001 and 0.003 give 33.7, 33.8 and 33.4. The plain stitch has 27.9, on its best sphere
# 30.6.
_SIGMA = 2.5 / 64  # of the panorama's height: the neighbourhood that has to agree
_APART = 1e-6  # metres: less is rounding of a rig's file
_TOLERABLE = 0.001  # mean squared difference of values in [-1, 1] that hardly counts
# By so much views have to agree better on another sphere than on the first. Where all is far, 0
# would lose 0.7 dB to knowing that, this 0.45 and 0.001 0.25; near scenes it costs 0.02 and 0.1.
_FIRST = 0.0005


@dataclass(frozen=True)
class Swept:
    """panorama: [-1, 1], smoothly filled where nothing is seen.   count: views that see a pixel.
    planes: the stitch on each sphere, filled.   apart: root mean squared difference of the views
    on each sphere, 0 where fewer than two see.   warped, share: the views on the sphere that a
    pixel is taken from most, in the order of their weight there, and these weights as shares; 0
    where none is left.   R spheres; K views at most."""

    panorama: Float[Tensor, "1 3 H W"]
    count: Int[Tensor, "1 1 H W"]
    planes: Float[Tensor, "1 R 3 H W"]
    apart: Float[Tensor, "1 R 1 H W"]
    warped: Float[Tensor, "1 K 3 H W"]
    share: Float[Tensor, "1 K 1 H W"]


@dataclass(frozen=True)
class SweepPlan:
    """All of it that the cameras decide: the plans of the stitch on each of R spheres, or one plan
    where the cameras share a place."""

    plans: tuple[StitchPlan, ...]
    spheres: int

    @classmethod
    def for_cameras(
        cls,
        cameras: Sequence[Camera],
        height: int,
        width: int,
        radii: Sequence[float] = (math.inf,),
        kernel: Kernel = "lanczos",
        misalignment: float = 0.0,
        blank: Sequence[int] = (),
    ) -> "SweepPlan":
        """For cameras of batch shape [], and a panorama of W x H pixels.

        radii: of the spheres in metres, ∞ allowed, at least one.   misalignment,
        blank: see StitchPlan.for_cameras.
        """
        used = radii if stand_apart(cameras) else radii[:1]
        plans = [
            StitchPlan.for_cameras(
                cameras, height, width, radius, kernel, misalignment=misalignment, blank=blank
            )
            for radius in used
        ]
        return cls(tuple(plans), len(radii))

    @torch.no_grad()
    def __call__(self, views: Sequence[Float[Tensor, "1 3 _ _"]], most: int = 2) -> Swept:
        """The stitch of one shot, each direction from the spheres on which its views agree.

        views: in [-1, 1], each of its own size, in the order of the cameras.   most: K, views
        whose colours are returned.
        """
        made = [_plane(plan, views) for plan in self.plans]
        planes, apart = zip(*(_blended(plane) for plane in made), strict=True)
        counts = torch.stack([plan.count[0, 0] for plan in self.plans])
        several = torch.stack([(plane.weight > 0).sum(dim=0)[0] > 1 for plane in made])
        chosen = _agreement(torch.stack(apart), several, counts)
        panorama = (chosen[:, None] * torch.stack(planes)).sum(dim=0)
        count = counts.amax(dim=0)[None, None]
        warped, share = _best(made, chosen.argmax(dim=0), most)
        filled = fill(torch.stack(planes), counts[:, None] > 0, layered=True)
        repeat = self.spheres // len(self.plans)
        return Swept(
            fill(panorama[None], count > 0, layered=True),
            count,
            filled[None].repeat(1, repeat, 1, 1, 1),
            torch.stack(apart)[None, :, None].sqrt().repeat(1, repeat, 1, 1, 1),
            warped[None],
            share[None],
        )


@dataclass(frozen=True)
class _Plane:
    """The views of a shot on one sphere, at the panorama's size."""

    colour: Float[Tensor, "N 3 H W"]
    weight: Float[Tensor, "N 1 H W"]


def stand_apart(cameras: Sequence[Camera]) -> bool:
    """Whether any camera stands elsewhere than in the panorama's centre."""
    return any(float(camera.position.abs().max()) > _APART for camera in cameras)


def _plane(plan: StitchPlan, views: Sequence[Tensor]) -> _Plane:
    pairs = zip(plan.warps, views, strict=True)
    colour = torch.cat([warp(view, plan.kernel) for warp, view in pairs])
    weight = torch.cat([warp.weight for warp in plan.warps]).to(colour)
    if plan.divisions:
        parts = 2**plan.divisions
        seen = (weight > 0).to(colour)
        share = F.avg_pool2d(seen, parts)
        colour = F.avg_pool2d(colour * seen, parts) / share.clamp_min(1e-6)
        weight = F.avg_pool2d(weight, parts)
    return _Plane(colour, weight)


def _blended(plane: _Plane) -> tuple[Float[Tensor, "3 H W"], Float[Tensor, "H W"]]:
    """The stitch on a sphere, and the mean squared difference of the views from their mean."""
    total = plane.weight.sum(dim=0)
    made = (plane.weight * plane.colour).sum(dim=0)
    made = made / total.clamp_min(torch.finfo(total.dtype).tiny)
    even = (plane.weight > 0).to(made)
    count = even.sum(dim=0).clamp_min(1)
    mean = (even * plane.colour).sum(dim=0) / count
    apart = (even * (plane.colour - mean).square()).sum(dim=0) / count
    return made, apart.mean(dim=0)


def _agreement(
    apart: Float[Tensor, "R H W"], several: Bool[Tensor, "R H W"], count: Int[Tensor, "R H W"]
) -> Float[Tensor, "R H W"]:
    """How much of each direction is taken from each sphere. several: where more than one view sees;
    elsewhere the neighbourhood decides."""
    if len(apart) == 1:
        return torch.ones_like(apart)
    sigma = _SIGMA * apart.shape[-2]
    share = several[:, None].to(apart)
    near = blurred(apart[:, None] * share, sigma) / blurred(share, sigma).clamp_min(1e-3)
    near = near[:, 0]
    near[1:] += _FIRST
    # What is not seen on a sphere cannot be taken from it.
    near = near + 1e3 * (count == 0)
    return (-near / _TOLERABLE).softmax(dim=0)


def _best(
    planes: Sequence[_Plane], which: Int[Tensor, "H W"], most: int
) -> tuple[Float[Tensor, "K 3 H W"], Float[Tensor, "K 1 H W"]]:
    """Colours of the views that count most, on the sphere `which`, and their shares."""
    weight = torch.stack([plane.weight for plane in planes])  # [R, N, 1, H, W]
    colour = torch.stack([plane.colour for plane in planes])
    index = which[None, None, None]
    weight = weight.gather(0, index.expand(1, *weight.shape[1:]))[0]
    colour = colour.gather(0, index.expand(1, *colour.shape[1:]))[0]
    share = weight / weight.sum(dim=0, keepdim=True).clamp_min(torch.finfo(weight.dtype).tiny)
    share, order = share.sort(dim=0, descending=True, stable=True)
    colour = colour.gather(0, order.expand_as(colour)) * (share > 0)
    missing = max(0, most - len(share))
    share, colour = (F.pad(x, (0, 0, 0, 0, 0, 0, 0, missing)) for x in (share, colour))
    return colour[:most], share[:most]
