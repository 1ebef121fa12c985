"""Where the cells of a panorama latent lie in each view, and how the view sees them.

A cell is looked at along several rays, and each ray meets the scene on several spheres (a sweep,
Meuleman et al. 2021): a rig whose cameras stand apart does not know how far away a thing is.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import panorama_rays
from spidereye.view_weights import clearance

RAYS = 2  # along either side of a cell
SIGHT = 8  # numbers that tell how a view sees a point
_STEP = 1e-3  # radians between the rays whose pixels are compared


class LatentGrid(NamedTuple):
    """What N cameras say about zH x zW cells of a panorama, T = radii · rays² points each.

    place: of a point in a view, -1 to 1 from edge to edge of its picture, as grid_sample takes it.
    sight: the cosine between the view's axis and the point's direction, the margin to the rim
    (view_weights.clearance, at most 1), the log of how much of the view a radian takes, how the
    panorama's right and up lie in the view (2x2, of unit norm), and 1/radius.
    seen: whether the view shows the point.   b is 1 or B.
    """

    place: Float[Tensor, "b N T zH zW 2"]
    sight: Float[Tensor, "b N T zH zW 8"]
    seen: Bool[Tensor, "b N T zH zW"]


@torch.no_grad()
def latent_grid(
    cameras: Sequence[Camera], height: int, width: int, radii: Sequence[float] = (math.inf,)
) -> LatentGrid:
    """The grid of cameras of batch shape [] or [B], of any lenses and sizes.

    height, width: of the latent in cells.   radii: of the spheres in metres, ∞ allowed.
    """
    like = cameras[0].rotation
    rays = panorama_rays(RAYS * height, RAYS * width, like.device, like.dtype)
    east, north = _tangents(rays)
    # [zH·S, zW·S, 3] to [S², zH, zW, 3]
    rays, east, north = (_by_cell(x, height, width) for x in (rays, east, north))
    parts = [
        [_seen_by(camera, rays, east, north, radius) for radius in radii] for camera in cameras
    ]
    views = []
    for of_radii in parts:
        joined = [torch.cat(values, dim=1) for values in zip(*of_radii, strict=True)]
        views.append(joined)
    place, sight, seen = (
        torch.stack(torch.broadcast_tensors(*values), dim=1) for values in zip(*views, strict=True)
    )
    return LatentGrid(place.float(), sight.float(), seen)


def _seen_by(
    camera: Camera, rays: Tensor, east: Tensor, north: Tensor, radius: float
) -> tuple[Float[Tensor, "b s zH zW 2"], Float[Tensor, "b s zH zW 8"], Bool[Tensor, "b s zH zW"]]:
    """One camera's part of the grid on one sphere."""
    batch = camera.rotation.shape[:-2]
    rays, east, north = (x.expand(*batch, *x.shape) for x in (rays, east, north))
    pixels, seen = camera.project(rays, radius)
    size = pixels.new_tensor([camera.lens.width, camera.lens.height])
    right, up = (
        (camera.project(rays + _STEP * way, radius)[0] - pixels) / (_STEP * size)
        for way in (east, north)
    )
    ways = torch.cat((right, up), dim=-1)  # of the picture's width a radian takes
    scale = ways.norm(dim=-1, keepdim=True).clamp(1e-3, 1e3)
    towards = rays
    if math.isfinite(radius):
        extra = (1,) * (rays.ndim - camera.position.ndim)
        position = camera.position.reshape(*camera.position.shape[:-1], *extra, 3)
        towards = torch.nn.functional.normalize(radius * rays - position, dim=-1)
    extra = (1,) * (rays.ndim - camera.axis.ndim)
    axis = camera.axis.reshape(*camera.axis.shape[:-1], *extra, 3)
    cosine = (towards * axis).sum(dim=-1, keepdim=True)
    margin = clearance(camera, pixels)[..., None].clamp(0, 1)
    nearness = torch.full_like(cosine, 1 / radius)
    sight = torch.cat((cosine, margin, scale.log(), ways / scale, nearness), dim=-1)
    sight = torch.where(seen[..., None], sight, 0.0).nan_to_num(0.0)
    place = torch.where(seen[..., None], 2 * (pixels + 0.5) / size - 1, 0.0)
    lead = (-1, *rays.shape[-4:-1])
    return place.reshape(*lead, 2), sight.reshape(*lead, SIGHT), seen.reshape(lead)


def _tangents(rays: Float[Tensor, "H W 3"]) -> tuple[Tensor, Tensor]:
    """Unit vectors along the panorama's rows and columns: to the right, and up."""
    x, y, z = rays.unbind(-1)
    level = torch.hypot(x, z).clamp_min(1e-9)
    zero = torch.zeros_like(x)
    east = torch.stack((z / level, zero, -x / level), dim=-1)
    north = torch.stack((-y * x / level, level, -y * z / level), dim=-1)
    return east, north


def _by_cell(x: Tensor, height: int, width: int) -> Float[Tensor, "s zH zW 3"]:
    x = x.unflatten(0, (height, RAYS)).unflatten(2, (width, RAYS))  # [zH, S, zW, S, 3]
    return x.permute(1, 3, 0, 2, 4).reshape(RAYS**2, height, width, 3)
