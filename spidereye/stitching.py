"""Views → panorama by geometry alone: reprojection with feathered blending.

The classical answer, and the baseline of every table: a model that loses to it is not worth having.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import panorama_rays

# The square root of the margin: 0.4 dB better on panoramas/val than the margin itself, because the
# rim, where a fisheye is sharpest, keeps more say.
FEATHER_POWER = 0.5


@dataclass(frozen=True)
class Stitch:
    """panorama: [-1, 1], mid-grey (0) where nothing is seen.   count: views that see each pixel."""

    panorama: Float[Tensor, "B 3 H W"]
    count: Int[Tensor, "B 1 H W"]


def stitch(
    views: Sequence[Float[Tensor, "B 3 _ _"]],
    cameras: Sequence[Camera],
    height: int,
    width: int,
    sphere_radius: float = math.inf,
) -> Stitch:
    """The panorama that the views add up to.

    views in [-1, 1], each of its own size, in the order of the cameras, whose batch shape is [] or
    [B]. Each view is sampled bilinearly where the panorama's rays fall and weighted by its margin
    to the rim.
    """
    like, batch = views[0], len(views[0])
    rays = panorama_rays(height, width, like.device, like.dtype)
    total = like.new_zeros(batch, 3, height, width)
    total_weight = like.new_zeros(batch, 1, height, width)
    count = torch.zeros(batch, 1, height, width, dtype=torch.int64, device=like.device)
    for view, camera in zip(views, cameras, strict=True):
        camera = camera.to(like.device, like.dtype)
        lead = camera.rotation.shape[:-2]
        pixels, seen = camera.project(rays.expand(*lead, *rays.shape), sphere_radius)
        weight = camera.margin(pixels).clamp(1e-3, 1) ** FEATHER_POWER * seen
        colour = sample_view(view, camera, pixels)
        weight = weight.expand(batch, height, width)[:, None]
        total += colour * weight
        total_weight += weight
        count += seen.expand(batch, height, width)[:, None]
    return Stitch(total / total_weight.clamp_min(1e-6), count)


def reproject(
    view: Float[Tensor, "B 3 h w"], camera: Camera, target: Camera
) -> tuple[Float[Tensor, "B 3 _ _"], Bool[Tensor, "_ _"]]:
    """What `target` would see of the scene that `camera` sees, for example a perspective picture
    of a fisheye's, and where it sees any of it; black (-1) elsewhere.

    Both cameras have batch shape []; their positions do not matter.
    """
    camera, target = (one.to(view.device, view.dtype) for one in (camera, target))
    rays, valid = target.unproject(target.pixel_grid())
    pixels, seen = camera.project(rays)
    seen = seen & valid
    return torch.where(seen, sample_view(view, camera, pixels), -1.0), seen


def sample_view(
    view: Float[Tensor, "B C h w"], camera: Camera, pixels: Float[Tensor, "*s 2"]
) -> Float[Tensor, "B C H W"]:
    """Bilinear samples of a view at pixels [B, H, W, 2] or [H, W, 2], from its masked part only:
    the black outside the image circle does not bleed into the rim."""
    batch, _, height, width = view.shape
    mask = camera.mask().to(view.dtype).expand(batch, height, width)[:, None]
    size = pixels.new_tensor([width, height])
    grid = (2 * (pixels + 0.5) / size - 1).expand(batch, *pixels.shape[-3:])
    both = torch.cat((view * mask, mask), dim=1)
    both = F.grid_sample(both, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return both[:, :-1] / both[:, -1:].clamp_min(1e-6)
