"""A camera: a lens with a pose and an image circle.

Its tensors carry one batch shape [*b], usually [] (a rig) or [B] (one camera per sample of a
batch); N views are a tuple of N cameras, so that their lenses may differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.projection import Lens

MaskMode = Literal["inscribed", "diagonal", "none"]


@dataclass(frozen=True)
class Camera:
    """One view: a lens, where it stands and which part of its picture is picture.

    rotation: camera to world.   position: metres in the world, the panorama's centre at 0.
    mask_mode: inscribed keeps the circle of radius w/2, diagonal the one through the corners,
    none the whole picture.
    """

    name: str
    lens: Lens
    rotation: Float[Tensor, "*b 3 3"]
    position: Float[Tensor, "*b 3"]
    mask_mode: MaskMode = "inscribed"

    @property
    def axis(self) -> Float[Tensor, "*b 3"]:
        """Unit world direction that the camera looks along."""
        return self.rotation[..., 2]

    @property
    def circle_radius(self) -> float:
        """Radius of the image circle in pixels, from the principal point; ∞ for mask_mode none."""
        half_width, half_height = self.lens.width / 2, self.lens.height / 2
        radii = {
            "inscribed": min(half_width, half_height),
            "diagonal": math.hypot(half_width, half_height),
            "none": math.inf,
        }
        return radii[self.mask_mode]

    def margin(self, pixels: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s"]:
        """How far inside the visible part of the picture a pixel lies: 1 at the centre of the
        largest circle, 0 on the border, negative outside."""
        u, v = pixels.unbind(-1)
        half_width, half_height = self.lens.width / 2, self.lens.height / 2
        middle_u, middle_v = (self.lens.width - 1) / 2, (self.lens.height - 1) / 2
        inside = torch.minimum(
            half_width - (u - middle_u).abs(), half_height - (v - middle_v).abs()
        )
        if self.mask_mode != "none":
            extra = u.ndim - self.rotation.ndim + 2
            cx, cy = (c.reshape(c.shape + (1,) * extra) for c in self.lens.centre)
            inside = torch.minimum(inside, self.circle_radius - torch.hypot(u - cx, v - cy))
        return inside / min(half_width, half_height)

    def project(
        self, rays: Float[Tensor, "*s 3"], sphere_radius: float = math.inf
    ) -> tuple[Float[Tensor, "*s 2"], Bool[Tensor, "*s"]]:
        """Pixels at which the camera sees world directions, and where it does.

        rays are unit directions from the panorama's centre; they meet the scene on a sphere of
        `sphere_radius` metres (∞: the camera's position does not matter).
        """
        extra = (1,) * (rays.ndim - self.position.ndim)
        if math.isfinite(sphere_radius):
            position = self.position.reshape(*self.position.shape[:-1], *extra, 3)
            rays = sphere_radius * rays - position
        world_to_camera = self.rotation.reshape(*self.rotation.shape[:-2], *extra, 3, 3)
        rays = (rays[..., None, :] @ world_to_camera)[..., 0, :]
        pixels, valid = self.lens.project(rays)
        # A hair's breadth, so that rounding does not drop the rim itself.
        return pixels, valid & (self.margin(pixels) >= -1e-6)

    def unproject(
        self, pixels: Float[Tensor, "*s 2"]
    ) -> tuple[Float[Tensor, "*s 3"], Bool[Tensor, "*s"]]:
        """World directions of pixels, and which pixels are picture."""
        rays, valid = self.lens.unproject(pixels)
        extra = (1,) * (rays.ndim - self.position.ndim)
        camera_to_world = self.rotation.reshape(*self.rotation.shape[:-2], *extra, 3, 3)
        rays = (camera_to_world @ rays[..., None])[..., 0]
        return rays, valid & (self.margin(pixels) >= -1e-6)

    def pixel_grid(self, oversample: int = 1) -> Float[Tensor, "h w 2"]:
        """Pixel centres (u, v), or the centres of oversample² equal parts of every pixel."""
        like = self.rotation
        u = torch.arange(self.lens.width * oversample, device=like.device, dtype=like.dtype)
        v = torch.arange(self.lens.height * oversample, device=like.device, dtype=like.dtype)
        u, v = ((axis + 0.5) / oversample - 0.5 for axis in (u, v))
        v, u = torch.meshgrid(v, u, indexing="ij")
        return torch.stack((u, v), dim=-1)

    def mask(self) -> Bool[Tensor, "*b h w"]:
        """Which pixels are picture: inside the image circle and the lens's valid domain."""
        grid = self.pixel_grid()
        batch = self.rotation.shape[:-2]
        return self.unproject(grid.expand(*batch, *grid.shape))[1]

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "Camera":
        """The same camera on another device or in another floating type."""
        return replace(
            self,
            lens=self.lens.to(device, dtype),
            rotation=self.rotation.to(device=device, dtype=dtype),
            position=self.position.to(device=device, dtype=dtype),
        )


def check_mask_mode(mask_mode: str) -> MaskMode:
    """The mask mode itself, or SpiderEyeError naming the choices."""
    choices: Sequence[MaskMode] = ("inscribed", "diagonal", "none")
    for choice in choices:
        if mask_mode == choice:
            return choice
    raise SpiderEyeError(f"mask_mode must be one of {', '.join(choices)}, got {mask_mode!r}")
