"""Panorama → views, as cameras would see it: anti-aliased, masked, in batches.

A view pixel is the mean over points² places of its square, each a bilinear sample of the panorama,
halved until it is only a little finer than the view. How often it is halved and how many points
there are follows from the nominal camera and the panorama's width alone (`RenderPlan`), so that a
picture does not depend on what else is in its batch.

`exact` takes the ray of every point. `training` takes those of the pixels and puts the points round
them along the pixels' differences. Against the mean of 16x16 points per pixel on real panoramas the
former reaches 57 dB and the latter 43, where point sampling has 31 (benchmarks/data.py).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.panorama import pixel_planes, sample_panorama
from spidereye.resampling import mean_samples

Quality = Literal["training", "exact"]
QUALITIES: tuple[Quality, ...] = ("training", "exact")

# The margin by which a panorama is finer than the view's finest pixel, in panorama pixels how far
# apart the points lie in the coarsest one, and how many there are at most. Measured on real
# panoramas by benchmarks/data.py.
_FINENESS = {"training": 1.05, "exact": 3.0}
_SPACING = {"training": 2.1, "exact": 1.2}
_MOST_POINTS = {"training": 4, "exact": 16}

_STRIP = 2**20  # points of `exact` that are sampled at a time: bounds the memory
_MULTIPLE = 64  # working widths are multiples of it


@dataclass(frozen=True)
class Detail:
    """Radians across the finest and the coarsest pixels of a view."""

    finest: float
    coarsest: float


@dataclass(frozen=True)
class Sampling:
    """halvings: of the panorama before it is sampled.   points: per view pixel and axis."""

    halvings: int
    points: int


@dataclass(frozen=True)
class RenderPlan:
    """How a rig's views are rendered. details: of its nominal cameras, in their order."""

    quality: Quality
    details: tuple[Detail, ...]

    @classmethod
    def for_cameras(cls, cameras: Sequence[Camera], quality: Quality = "training") -> "RenderPlan":
        """The plan for cameras of batch shape [], of any sizes."""
        return cls(quality, tuple(_detail(camera) for camera in cameras))

    @property
    def width(self) -> int:
        """Pixels across that a panorama needs for these views; more bring nothing."""
        finest = min(detail.finest for detail in self.details)
        wanted = _FINENESS[self.quality] * 2 * math.pi / finest
        return max(1, math.ceil(wanted / _MULTIPLE - 0.05)) * _MULTIPLE

    def samplings(self, width: int) -> list[Sampling]:
        """How each camera samples a panorama of `width` pixels."""
        return [self._sampling(detail, width) for detail in self.details]

    def _sampling(self, detail: Detail, width: int) -> Sampling:
        needed = _FINENESS[self.quality] * 2 * math.pi / detail.finest
        halvings = 0
        while width % 4 == 0 and width / 2 >= 0.95 * needed:
            width, halvings = width // 2, halvings + 1
        texels = detail.coarsest * width / (2 * math.pi)
        points = max(2, math.ceil(texels / _SPACING[self.quality] - 0.05))
        return Sampling(halvings, min(points, _MOST_POINTS[self.quality]))


def quality(name: str) -> Quality:
    """The quality of this name. Raises SpiderEyeError for another."""
    for known in QUALITIES:
        if name == known:
            return known
    raise SpiderEyeError(f"dataset.render must be one of {', '.join(QUALITIES)}, got {name!r}")


def render_each(
    panorama: Float[Tensor, "B 3 H W"], cameras: Sequence[Camera], quality: Quality = "exact"
) -> list[tuple[Float[Tensor, "B 3 _ _"], Bool[Tensor, "B _ _"]]]:
    """(view, mask) of each camera at its lens's size, for panoramas with values in [-1, 1]; black
    (-1) where the mask is False.

    cameras: with batch shape [] or [B], on any device. Each makes its own plan.
    """
    made = []
    for camera in cameras:
        if camera.rotation.ndim == 2:
            plan = RenderPlan.for_cameras((camera,), quality)
            views, mask = render_views(panorama, (camera,), plan)
            made.append((views[:, 0], mask[:, 0]))
            continue
        parts = [
            render_each(one[None], (select(camera, index),), quality)[0]
            for index, one in enumerate(panorama)
        ]
        made.append((torch.cat([view for view, _ in parts]), torch.cat([m for _, m in parts])))
    return made


def render_views(
    panorama: Shaped[Tensor, "B 3 H W"], cameras: Sequence[Camera], plan: RenderPlan
) -> tuple[Shaped[Tensor, "B N 3 h w"], Bool[Tensor, "B N h w"]]:
    """Views of panoramas, and their masks; black outside the mask.

    panorama: values in [-1, 1], or 8 bits, which makes 8-bit views; a plan of quality `exact` takes
    the former only. cameras: N of one picture size, with batch shape [] or [B], those of the plan
    or jittered ones in their place.
    """
    levels = [panorama]
    groups: dict[Sampling, list[int]] = {}
    for index, sampling in enumerate(plan.samplings(panorama.shape[-1])):
        groups.setdefault(sampling, []).append(index)
    draw = _render_exactly if plan.quality == "exact" else _render_quickly
    views: dict[int, Tensor] = {}
    masks: dict[int, Tensor] = {}
    for sampling, members in groups.items():
        while len(levels) <= sampling.halvings:
            levels.append(_halved(levels[-1]))
        level = levels[sampling.halvings]
        made, mask = draw(level, [cameras[index] for index in members], sampling.points)
        if len(groups) == 1:
            return made, mask
        views |= dict(zip(members, made.unbind(1), strict=True))
        masks |= dict(zip(members, mask.unbind(1), strict=True))
    order = range(len(cameras))
    return torch.stack([views[i] for i in order], 1), torch.stack([masks[i] for i in order], 1)


def select(camera: Camera, index: int | list[int]) -> Camera:
    """Of a camera of batch shape [B], those of these samples; one of batch shape [] as it is."""
    if camera.rotation.ndim == 2:
        return camera
    lens = camera.lens
    values = {field.name: getattr(lens, field.name) for field in fields(lens)}
    chosen = {name: value[index] for name, value in values.items() if isinstance(value, Tensor)}
    return replace(
        camera,
        lens=replace(lens, **chosen),
        rotation=camera.rotation[index],
        position=camera.position[index],
    )


def _render_exactly(
    panorama: Float[Tensor, "B 3 H W"], cameras: Sequence[Camera], points: int
) -> tuple[Float[Tensor, "B N 3 h w"], Bool[Tensor, "B N h w"]]:
    """Every point's own ray; points that are not picture do not count."""
    batch = len(panorama)
    views, masks = [], []
    for camera in cameras:
        camera = camera.to(panorama.device, panorama.dtype)
        lead = camera.rotation.shape[:-2]
        grid = camera.pixel_grid(points)
        strips = []
        for strip in grid.split(max(1, _STRIP // (batch * points * grid.shape[1])) * points):
            rays, valid = camera.unproject(strip.expand(*lead, *strip.shape))
            colours = sample_panorama(panorama, rays.expand(batch, *rays.shape[-3:]))
            weight = valid.expand(batch, *valid.shape[-2:])[:, None].to(panorama.dtype)
            total = F.avg_pool2d(weight, points).clamp_min(1e-6)
            strips.append(F.avg_pool2d(colours * weight, points) / total)
        views.append(torch.cat(strips, dim=-2))
        masks.append(camera.mask().expand(batch, *views[-1].shape[-2:]))
    view, mask = torch.stack(views, dim=1), torch.stack(masks, dim=1)
    return torch.where(mask[:, :, None], view, torch.full_like(view, -1.0)), mask


def _render_quickly(
    panorama: Shaped[Tensor, "B 3 H W"], cameras: Sequence[Camera], points: int
) -> tuple[Shaped[Tensor, "B N 3 h w"], Bool[Tensor, "B N h w"]]:
    """Every pixel's own ray, its points round it, all views of the batch in one resampling."""
    batch, _, height, width = panorama.shape
    dtype = panorama.dtype if panorama.is_floating_point() else torch.float32
    u, v, valid, mask = _pixels(cameras, height, width, panorama.device, dtype)
    views = mean_samples(panorama, u, v, valid, mask, points)
    return views, mask.expand(batch, *mask.shape[1:])


def _pixels(
    cameras: Sequence[Camera], height: int, width: int, device: torch.device, dtype: torch.dtype
) -> tuple[
    Float[Tensor, "b N h1 w1"],
    Float[Tensor, "b N h1 w1"],
    Bool[Tensor, "b N h1 w1"],
    Bool[Tensor, "b N h w"],
]:
    """Panorama pixels (u, v) of the views' pixels with a row and a column more, where the lens has
    rays, and the views' masks. b is 1 where no camera is batched. A lens that several cameras share
    (the same object) is asked once."""
    batch = max((len(c.rotation) for c in cameras if c.rotation.ndim == 3), default=1)
    shared: dict[int, list[int]] = {}
    for index, camera in enumerate(cameras):
        shared.setdefault(id(camera.lens), []).append(index)
    h, w = cameras[0].lens.height, cameras[0].lens.width
    columns, rows, valid, masks = [], [], [], []
    for members in shared.values():
        moved = [cameras[index].to(device, dtype) for index in members]
        first = moved[0]
        lead = first.rotation.shape[:-2]
        # Pixels from 0 to w, not w - 1.
        larger = replace(first, lens=first.lens.window(0, 0, w + 1, h + 1), visible=None)
        grid = larger.pixel_grid()
        rays, ok = first.lens.unproject(grid.expand(*lead, *grid.shape))
        turns = torch.stack([camera.rotation for camera in moved], dim=-3).flatten(-3, -2)
        flat = rays.flatten(-3, -2).transpose(-1, -2)  # [*b, 3, pixels]
        world = (turns @ flat).reshape(-1, len(members), 3, h + 1, w + 1)
        x, y, z = world.unbind(2)
        u, v = pixel_planes(x, y, z, height, width)
        columns.append(u.expand(batch, -1, -1, -1))
        rows.append(v.expand(batch, -1, -1, -1))
        valid.append(ok.reshape(-1, 1, h + 1, w + 1).expand(batch, len(members), -1, -1))
        pictures: dict[tuple[float, int], Tensor] = {}
        for camera in moved:
            key = (camera.circle, id(camera.visible))
            if key not in pictures:
                inside = camera.is_picture(grid[:-1, :-1].expand(*lead, h, w, 2))
                pictures[key] = (ok[..., :-1, :-1] & inside).expand(batch, h, w)
            masks.append(pictures[key])
    if len(shared) == 1:
        return columns[0], rows[0], valid[0], torch.stack(masks, dim=1)
    order = [index for members in shared.values() for index in members]
    back = sorted(range(len(order)), key=lambda place: order[place])
    u, v, ok = (torch.cat(parts, dim=1)[:, back] for parts in (columns, rows, valid))
    return u, v, ok, torch.stack([masks[place] for place in back], dim=1)


def _halved(panorama: Shaped[Tensor, "B 3 H W"]) -> Shaped[Tensor, "B 3 H/2 W/2"]:
    if panorama.is_floating_point():
        return F.avg_pool2d(panorama, 2)
    return F.avg_pool2d(panorama.float(), 2).round_().to(panorama.dtype)


def _detail(camera: Camera) -> Detail:
    """Over the whole mask. The coarsest is the 95th percentile: where a model's valid domain ends,
    single pixels may be wide without bound."""
    camera = camera.to(torch.device("cpu"), torch.float64)
    step = max(1, min(camera.lens.width, camera.lens.height) // 32)
    some = slice(step // 2, None, step)
    centres = camera.pixel_grid(1, some, some).reshape(-1, 2)
    angles = []
    for half in ((0.5, 0.0), (0.0, 0.5)):
        before, seen = camera.unproject(centres - centres.new_tensor(half))
        after, also = camera.unproject(centres + centres.new_tensor(half))
        chord = (after - before).norm(dim=-1)[seen & also]
        angles.append(2 * torch.asin((chord / 2).clamp(max=1)))
    sizes = torch.cat(angles)
    if not len(sizes):
        return Detail(2 * math.pi, 2 * math.pi)
    return Detail(float(sizes.min()), float(sizes.quantile(0.95)))
