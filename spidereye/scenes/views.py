"""Views of a procedural scene by the cameras of a rig, each from where it stands.

Layer: data. `render.render_views` makes views out of a panorama and knows one place only; here
every camera looks from its own position, so that parallax and occlusion are real. Positions are
metres in the world, the panorama's centre at 0. Cameras have batch shape [].
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float32
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import panorama_rays
from spidereye.pictures import to_float, to_uint8
from spidereye.scenes.scene import Scene

_SLACK = 0.005  # metres, and that share of the distance: how far two rays to one point may differ


def render_rig(
    scene: Scene, cameras: Sequence[Camera], oversample: int = 2
) -> list[Float32[Tensor, "3 _h _w"]]:
    """One view for each camera, in [-1, 1], of 8-bit values like a camera's, black (-1) outside
    `Camera.mask()`. A pixel is the mean of oversample² points of its square."""
    return [_render_view(scene, camera, oversample) for camera in cameras]


def view_depth(scene: Scene, camera: Camera) -> Float32[np.ndarray, "h w"]:
    """Metres from the camera, along the ray, to what each pixel's centre shows; inf for sky, NaN
    outside `Camera.mask()`."""
    rays, valid, _ = _rays(camera, 1)
    depth = scene.depth(_position(camera), rays)
    return np.where(valid, depth, np.float32(np.nan))


def really_seen(
    scene: Scene, camera: Camera, height: int
) -> Bool[np.ndarray, "{height} 2*{height}"]:
    """Which pixels of a [height, 2·height] panorama the camera sees from its position.

    The first surface along each panorama pixel's ray must lie in the camera's picture and nothing
    may stand before it, up to 5 mm and 0.5 % of the distance. The sky is infinitely far away.
    """
    rays = panorama_rays(height, 2 * height, dtype=torch.float32).numpy()
    depth = scene.depth(np.zeros(3, np.float32), rays)
    position = _position(camera)
    sky = np.isinf(depth)
    towards = np.where(sky, 1.0, depth)[..., None] * rays - np.where(sky[..., None], 0.0, position)
    distance = np.linalg.norm(towards, axis=-1)
    towards /= np.maximum(distance, 1e-9)[..., None]
    distance[sky] = np.inf
    in_picture = camera.project(torch.from_numpy(towards).to(camera.rotation.dtype))[1].numpy()
    clear = scene.depth(position, towards) >= (1 - _SLACK) * distance - _SLACK
    return in_picture & clear


def _render_view(scene: Scene, camera: Camera, oversample: int) -> Float32[Tensor, "3 h w"]:
    rays, valid, angle = _rays(camera, oversample)
    seen = torch.from_numpy(scene.radiance(_position(camera), rays, angle)).permute(2, 0, 1)[None]
    weight = torch.from_numpy(valid).float()[None, None]
    # As render_views does: the mean over those points of a pixel that are picture.
    mean = F.avg_pool2d(seen * weight, oversample)
    mean = mean / F.avg_pool2d(weight, oversample).clamp_min(1e-6)
    view = to_float(to_uint8(mean[0] * 2 - 1))
    return torch.where(camera.mask(), view, torch.full_like(view, -1.0))


def _rays(
    camera: Camera, oversample: int
) -> tuple[Float32[np.ndarray, "H W 3"], Bool[np.ndarray, "H W"], Float32[np.ndarray, "H W"]]:
    """World rays of a view's points, which are picture, and the radians that each stands for."""
    rays, valid = camera.unproject(camera.pixel_grid(oversample))
    rays = torch.where(valid[..., None], rays, camera.axis)
    down, right = np.gradient(rays.numpy(), axis=(0, 1))
    area = np.linalg.norm(np.cross(down, right), axis=-1)
    # At the rim a difference may reach across to rays that are no picture.
    usual = float(np.median(area[valid.numpy()])) if bool(valid.any()) else 1.0
    angle = np.sqrt(area.clip(0.05 * usual, 4 * usual))
    return rays.numpy().astype(np.float32), valid.numpy(), angle.astype(np.float32)


def _position(camera: Camera) -> Float32[np.ndarray, "3"]:
    return camera.position.numpy().astype(np.float32)
