"""Panorama → views, as cameras would see it: anti-aliased, masked, one batched resampling.

A view pixel is the mean over oversample² points of its square, each a bilinear sample of the
panorama. `RenderPlan` fixes the panorama width to work at and the oversampling from the nominal
cameras, so that a jittered sample is rendered in the same way whatever else is in its batch.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import sample_panorama


@dataclass(frozen=True)
class RenderPlan:
    """panorama_width: pixels that source panoramas are brought to before rendering.
    oversample: points per view pixel and axis."""

    panorama_width: int
    oversample: int

    @classmethod
    def for_cameras(cls, cameras: Sequence[Camera], target_width: int) -> "RenderPlan":
        """The target's width doubled until a panorama pixel is no coarser than a view pixel at the
        rim, where a fisheye is sharpest, and enough points to cover the widest view pixel."""
        finest = max(max(_pixels_per_radian(camera)) for camera in cameras)
        coarsest = min(min(_pixels_per_radian(camera)) for camera in cameras)
        width = target_width
        while width < 0.95 * 2 * math.pi * finest:
            width *= 2
        return cls(width, max(1, math.ceil(width / (2 * math.pi * coarsest) - 0.05)))


def render_views(
    panorama: Float[Tensor, "B 3 H W"], cameras: Sequence[Camera], oversample: int
) -> tuple[Float[Tensor, "B N 3 h w"], Bool[Tensor, "B N h w"]]:
    """Views of panoramas with values in [-1, 1], and their masks; outside the mask black (-1).

    cameras: N of one picture size, with batch shape [] or [B], on the panorama's device.
    """
    batch = len(panorama)
    rays, valid, masks = [], [], []
    for camera in cameras:
        camera = camera.to(panorama.device, panorama.dtype)
        points = camera.pixel_grid(oversample)
        lead = camera.rotation.shape[:-2]
        ray, ok = camera.unproject(points.expand(*lead, *points.shape))
        rays.append(ray.expand(batch, *ray.shape[-3:]))
        valid.append(ok.expand(batch, *ok.shape[-2:]))
        masks.append(camera.mask().expand(batch, camera.lens.height, camera.lens.width))
    # Views become rows of one tall grid: all views of the batch are one resampling.
    samples = sample_panorama(panorama, torch.cat(rays, dim=1))
    weight = torch.cat(valid, dim=1)[:, None].to(panorama.dtype)
    weighted = F.avg_pool2d(samples * weight, oversample)
    weight = F.avg_pool2d(weight, oversample)
    views = weighted / weight.clamp_min(1e-6)
    views = torch.stack(views.chunk(len(cameras), dim=2), dim=1)
    mask = torch.stack(masks, dim=1)
    return torch.where(mask[:, :, None], views, torch.full_like(views, -1.0)), mask


def _pixels_per_radian(camera: Camera) -> tuple[float, float]:
    """Radial resolution of a camera at its centre and at its rim, by difference quotient."""
    lens = camera.lens.to(torch.device("cpu"), torch.float64)
    radius = min(camera.circle, lens.width / 2)
    cx, cy = lens.centre.reshape(-1, 2)[0].tolist()
    points = [(cx + r, cy) for r in (0.0, 1.0, radius - 1, radius)]
    pixels = torch.tensor(points, dtype=torch.float64)
    rays, valid = lens.unproject(pixels.expand(*lens.centre.shape[:-1], *pixels.shape))
    rays, valid = rays.reshape(-1, 4, 3)[0], valid.reshape(-1, 4)[0]
    angles = torch.acos(rays[:, 2].clamp(-1, 1))
    centre = 1 / float(angles[1] - angles[0])
    if not bool(valid.all()):  # ξ > 1 with a rim outside the lens's domain
        return centre, centre
    return centre, 1 / float(angles[3] - angles[2])
