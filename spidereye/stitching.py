"""Views → panorama by geometry alone: sharp reprojection, blended by who sees best.

The classical answer, the baseline of every table, and what is there without weights: a model that
loses to it is not worth having.

The defaults are measured (benchmarks/stitch_quality.py): Lanczos, and weights that follow the
angular resolution. Where a view is finer than the panorama it is read from a pyramid, and where the
best views are finer over half of what is seen the panorama is made finer and averaged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spidereye.camera import Camera
from spidereye.multiband import multiband
from spidereye.panorama import latitude_weights, panorama_rays
from spidereye.push_pull import fill
from spidereye.render import select
from spidereye.view_sampling import Kernel, Points, pyramid, sample
from spidereye.view_weights import (
    BLANK,
    blend_weight,
    resolution,
    sharpness,
    weighted_median,
)

Blend = Literal["feather", "multiband", "none"]
BLENDS: tuple[Blend, ...] = ("feather", "multiband", "none")

# How many pixels of the best view there may be to one of the panorama before the panorama is
# divided, before it is divided again, and of any view before its pyramid is used. Averaging loses
# detail that Lanczos still could use, and not averaging aliases: 192-px views to 256x128 (1.72
# pixels) give 40.9 dB undivided and 41.9 divided, 160-px views 39.8 and 39.4, on six training
# panoramas.
_DIVIDE_FROM, _AGAIN_FROM = 1.55, 6.0
_SHARP_ENOUGH = 2.0
_MOST_LEVELS = 6


@dataclass(frozen=True)
class Stitch:
    """panorama: [-1, 1], smoothly filled where nothing is seen; a sharp kernel may overshoot.
    count: how many views see each pixel; 0 is what was filled."""

    panorama: Float[Tensor, "B 3 H W"]
    count: Int[Tensor, "B 1 H W"]


@dataclass(frozen=True)
class Warp:
    """How one view enters the panorama, at the working size. b is 1 or B.

    mask: where the view is picture.
    index: the panorama's pixels that it is read for, counted through [b, H, W], and where they lie
    in the view.   weight: for comparison with other views.   levels: of the view's pyramid.
    """

    mask: Bool[Tensor, "*b h w"]
    index: Int[Tensor, " P"]
    points: Points
    weight: Float[Tensor, "b 1 H W"]
    levels: int

    def __call__(self, view: Float[Tensor, "B C h w"], kernel: Kernel) -> Float[Tensor, "B C H W"]:
        """The view's colours in the panorama, 0 where it sees nothing."""
        colours = sample(pyramid(view, self.mask, self.levels), self.points, kernel)
        size = self.weight.shape[-2:]
        if self.points.sample is None:
            made = view.new_zeros(*view.shape[:2], math.prod(size))
            made[..., self.index] = colours
            return made.unflatten(-1, size)
        made = view.new_zeros(view.shape[1], len(view) * math.prod(size))
        made[:, self.index] = colours
        return made.unflatten(-1, (len(view), *size)).transpose(0, 1)


@dataclass(frozen=True)
class StitchPlan:
    """All of a stitch that its cameras decide: made once for a rig, used for every shot.

    divisions: how often the panorama is doubled before it is averaged to its size.
    """

    warps: tuple[Warp, ...]
    count: Int[Tensor, "b 1 H W"]
    divisions: int
    kernel: Kernel
    blend: Blend

    @classmethod
    @torch.no_grad()
    def for_cameras(
        cls,
        cameras: Sequence[Camera],
        height: int,
        width: int,
        sphere_radius: float = math.inf,
        kernel: Kernel = "lanczos",
        blend: Blend = "feather",
        device: torch.device | None = None,
        misalignment: float = 0.0,
        blank: Sequence[int] = (),
    ) -> "StitchPlan":
        """The plan for cameras of batch shape [] or [B], and a panorama of W x H pixels. How far
        the panorama is divided follows from the first sample's cameras.

        misalignment: radians by which the views are known to be off each other.   blank: views that
        show nothing and count only where no other sees. Both as in self_calibration.Calibrated.
        """
        cameras = [camera.to(device) for camera in cameras]
        device, dtype = cameras[0].rotation.device, cameras[0].rotation.dtype
        doubled = divisions(cameras, height, width, sphere_radius)
        rays = panorama_rays(height << doubled, width << doubled, device, dtype)
        warps = [_warp(c, rays, sphere_radius, misalignment) for c in cameras]
        count = views_seen(cameras, height, width, sphere_radius) if doubled else _counted(warps)
        for view in blank:
            warps[view] = replace(warps[view], weight=warps[view].weight * BLANK)
        if blend == "none":
            warps = _winner_takes_all(warps)
        return cls(tuple(warps), count, doubled, kernel, blend)

    def __call__(self, views: Sequence[Float[Tensor, "B 3 _ _"]]) -> Stitch:
        """The panorama of views in [-1, 1], each of its own size, in the order of the cameras."""
        batch, given = len(views[0]), views[0].dtype
        # Of half precision neither places nor weights could be told apart.
        views = [view.to(torch.promote_types(given, torch.float32)) for view in views]
        pairs = list(zip(self.warps, views, strict=True))
        if self.blend == "multiband" and len(pairs) > 1:
            warped = torch.stack([warp(view, self.kernel) for warp, view in pairs])
            weights = torch.broadcast_tensors(*(warp.weight for warp, _ in pairs))
            made = multiband(warped, torch.stack(weights).to(warped.dtype))
        else:
            total = total_weight = 0.0
            for warp, view in pairs:
                weight = warp.weight.to(view.dtype)
                total = total + warp(view, self.kernel) * weight
                total_weight = total_weight + weight
            assert isinstance(total, Tensor) and isinstance(total_weight, Tensor)
            made = total / total_weight.clamp_min(torch.finfo(total.dtype).tiny)
        if self.divisions:
            seen = torch.broadcast_tensors(*(warp.weight > 0 for warp in self.warps))
            known = torch.stack(seen).any(0).to(made.dtype)
            parts = 2**self.divisions
            share = F.avg_pool2d(known, parts).clamp_min(1e-6)
            made = F.avg_pool2d(made * known, parts) / share
        count = self.count.expand(batch, -1, -1, -1)
        return Stitch(fill(made, count > 0).to(given), count)


def stitch(
    views: Sequence[Float[Tensor, "B 3 _ _"]],
    cameras: Sequence[Camera],
    height: int,
    width: int,
    sphere_radius: float = math.inf,
    kernel: Kernel = "lanczos",
    blend: Blend = "feather",
    misalignment: float = 0.0,
    blank: Sequence[int] = (),
) -> Stitch:
    """The panorama that the views add up to: StitchPlan for one use. A sample's is the same
    whatever else is in its batch.

    views in [-1, 1], each of its own size, in the order of the cameras, whose batch shape is [] or
    [B].   misalignment, blank: see StitchPlan.for_cameras.
    """

    def made_of(views: Sequence[Tensor], cameras: Sequence[Camera]) -> Stitch:
        plan = StitchPlan.for_cameras(
            cameras, height, width, sphere_radius, kernel, blend, views[0].device, misalignment,
            blank,
        )  # fmt: skip
        return plan(views)

    if all(camera.rotation.ndim == 2 for camera in cameras):
        return made_of(views, cameras)
    groups: dict[int, list[int]] = {}
    for one in range(len(views[0])):
        own = [select(camera, one) for camera in cameras]
        groups.setdefault(divisions(own, height, width, sphere_radius), []).append(one)
    if len(groups) == 1:
        return made_of(views, cameras)
    made = [
        made_of([view[group] for view in views], [select(camera, group) for camera in cameras])
        for group in groups.values()
    ]
    order = [one for group in groups.values() for one in group]
    back = sorted(range(len(order)), key=lambda place: order[place])
    panorama, count = (
        torch.cat([getattr(part, name) for part in made])[back] for name in ("panorama", "count")
    )
    return Stitch(panorama, count)


def views_seen(
    cameras: Sequence[Camera], height: int, width: int, sphere_radius: float = math.inf
) -> Int[Tensor, "b 1 H W"]:
    """How many cameras see the centre of each pixel of a panorama; b is 1 or B."""
    like = cameras[0].rotation
    rays = panorama_rays(height, width, like.device, like.dtype)
    seen = [_lead(c.project(_expanded(rays, c), sphere_radius)[1]) for c in cameras]
    return torch.stack(torch.broadcast_tensors(*seen)).sum(0)[:, None]


def _expanded(rays: Float[Tensor, "H W 3"], camera: Camera) -> Float[Tensor, "*b H W 3"]:
    return rays.expand(*camera.rotation.shape[:-2], *rays.shape)


def _lead(plane: Tensor) -> Tensor:
    """[H, W] or [b, H, W] to [b, H, W]."""
    return plane.reshape(-1, *plane.shape[-2:])


def _warp(
    camera: Camera, rays: Float[Tensor, "H W 3"], sphere_radius: float, misalignment: float
) -> Warp:
    rays = _expanded(rays, camera)
    pixels, seen = camera.project(rays, sphere_radius)
    pixel = 2 * math.pi / rays.shape[-2]  # radians
    power, rim = sharpness(misalignment / pixel)
    fineness = _fineness(camera, rays, pixels, seen, sphere_radius)
    weight = blend_weight(camera, rays, pixels, seen, sphere_radius, power, rim, fineness)
    weight = weight * pixel**power  # about 1: float32 holds the smallest beside it
    finer = (fineness * pixel).clamp_min(1e-6)
    level = torch.log2(finer / _SHARP_ENOUGH).clamp(0, _MOST_LEVELS - 1)
    index = seen.flatten().nonzero()[:, 0]
    batched = camera.rotation.ndim == 3
    own = index // math.prod(seen.shape[-2:]) if batched else None
    points = Points(pixels.reshape(-1, 2)[index], own, level.flatten()[index])
    levels = 1 + math.ceil(float(points.level.max())) if len(index) else 1
    return Warp(camera.mask(), index, points, _lead(weight)[:, None], levels)


def _fineness(
    camera: Camera,
    rays: Float[Tensor, "*b H W 3"],
    pixels: Float[Tensor, "*b H W 2"],
    seen: Bool[Tensor, "*b H W"],
    sphere_radius: float,
) -> Float[Tensor, "*b H W"]:
    """`resolution` where the camera sees, 0 elsewhere. One camera is asked only there: of a large
    panorama that is half the time."""
    if camera.rotation.ndim > 2:
        return resolution(camera, rays, pixels, sphere_radius) * seen
    made = torch.zeros_like(pixels[..., 0])
    made[seen] = resolution(camera, rays[seen], pixels[seen], sphere_radius)
    return made


def divisions(
    cameras: Sequence[Camera], height: int, width: int, sphere_radius: float = math.inf
) -> int:
    """How often a panorama should be doubled before it is averaged to its size: from how much finer
    the best view is than the panorama, in the median over what is seen."""
    step = max(1, height // 64)
    nominal = [select(camera, 0) for camera in cameras]
    some = panorama_rays(height, width, nominal[0].rotation.device, nominal[0].rotation.dtype)
    some = some[step // 2 :: step, step // 2 :: step]
    best = torch.zeros_like(some[..., 0])
    for camera in nominal:
        pixels, seen = camera.project(some, sphere_radius)
        best = torch.maximum(best, resolution(camera, some, pixels, sphere_radius) * seen)
    area = latitude_weights(height, best.device, best.dtype)[step // 2 :: step, None]
    some_see = best > 0
    finest = weighted_median(best[some_see], area.expand_as(best)[some_see], 0.0)
    median = finest * 2 * math.pi / width
    return int(median >= _DIVIDE_FROM) + int(median >= _AGAIN_FROM)


def _counted(warps: Sequence[Warp]) -> Int[Tensor, "b 1 H W"]:
    """How many of the warps' views see each of their rays."""
    seen = [torch.zeros_like(warp.weight, dtype=torch.int64) for warp in warps]
    for one, warp in zip(seen, warps, strict=True):
        one.view(-1)[warp.index] = 1
    return torch.stack(torch.broadcast_tensors(*seen)).sum(dim=0)


def _winner_takes_all(warps: Sequence[Warp]) -> list[Warp]:
    """Weight 1 for the view of the largest weight, the first of equals, 0 for the others."""
    weights = torch.stack(torch.broadcast_tensors(*(warp.weight for warp in warps)))
    best = weights.argmax(dim=0)
    made = []
    for number, warp in enumerate(warps):
        won = ((best == number) & (warp.weight > 0)).to(warp.weight)
        here = won.expand_as(warp.weight).flatten()[warp.index] > 0  # nothing else is to be read
        points = warp.points
        own = None if points.sample is None else points.sample[here]
        points = Points(points.pixels[here], own, points.level[here])
        made.append(replace(warp, index=warp.index[here], points=points, weight=won))
    return made
