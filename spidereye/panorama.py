"""The equirectangular panorama: which ray each pixel is, and reading it anywhere on the sphere.

This module owns the mapping. W = 2H, pixel centres at integer coordinates; column j has longitude
((j + 0.5)/W·2 - 1)·π, row i has latitude (0.5 - (i + 0.5)/H)·π, longitude = atan2(x, z),
latitude = asin(y); the centre of the picture is "front", (0, 0, 1).
Beyond ±180° a panorama wraps; beyond a pole it goes on along the opposite meridian: the row
reflects and the column shifts by W/2. Rows are never clamped or wrapped.
"""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from spidereye import sphere_padding


def panorama_rays(
    height: int,
    width: int,
    device: torch.device | None = None,
    dtype: torch.dtype = torch.float64,
) -> Float[Tensor, "{height} {width} 3"]:
    """Unit world ray of every pixel centre of a [height, width] panorama."""
    columns = torch.arange(width, device=device, dtype=dtype)
    rows = torch.arange(height, device=device, dtype=dtype)
    longitude = ((columns + 0.5) / width * 2 - 1) * math.pi
    latitude = (0.5 - (rows + 0.5) / height) * math.pi
    cos_latitude = torch.cos(latitude)[:, None]
    x = cos_latitude * torch.sin(longitude)
    y = torch.sin(latitude)[:, None].expand(height, width)
    z = cos_latitude * torch.cos(longitude)
    return torch.stack((x, y, z), dim=-1)


def panorama_pixels(rays: Float[Tensor, "*b 3"], height: int, width: int) -> Float[Tensor, "*b 2"]:
    """Pixel (u, v) of world rays of any positive length: u in [-0.5, W-0.5], v in [-0.5, H-0.5]."""
    x, y, z = rays.unbind(-1)
    return torch.stack(pixel_planes(x, y, z, height, width), dim=-1)


def pixel_planes(
    x: Float[Tensor, "*b"], y: Float[Tensor, "*b"], z: Float[Tensor, "*b"], height: int, width: int
) -> tuple[Float[Tensor, "*b"], Float[Tensor, "*b"]]:
    """panorama_pixels with its components side by side, which is faster: u and v."""
    longitude = torch.atan2(x, z)
    # atan2 keeps full precision near the poles, where asin(y) loses half its digits.
    latitude = torch.atan2(y, (x * x + z * z).sqrt_())
    u = longitude.mul(width / (2 * math.pi)).add_((width - 1) / 2)
    v = latitude.mul(-height / math.pi).add_((height - 1) / 2)
    return u, v


def latitude_weights(
    height: int, device: torch.device | None = None, dtype: torch.dtype = torch.float64
) -> Float[Tensor, "{height}"]:
    """cos(latitude) of each row: the solid angle of its pixels up to a factor."""
    rows = torch.arange(height, device=device, dtype=dtype)
    return torch.cos((0.5 - (rows + 0.5) / height) * math.pi)


def pad_sphere(x: Float[Tensor, "B C H W"], pad: int) -> Float[Tensor, "B C H+2*{pad} W+2*{pad}"]:
    """The panorama continued by `pad` pixels past each edge, over the poles and round the back."""
    height, width = x.shape[-2:]
    if width % 2:
        raise ValueError(f"a panorama needs an even width to cross its poles, got {width}")
    if pad > height or pad > width:
        raise ValueError(f"cannot continue a {width}x{height} panorama by {pad} pixels")
    return sphere_padding.pad_sphere(x, pad, pad, pad, pad)


def blurred(picture: Float[Tensor, "B C H W"], sigma: float) -> Float[Tensor, "B C H W"]:
    """A panorama's Gaussian means over `sigma` pixels along rows and columns."""
    reach = min(math.ceil(3 * sigma), picture.shape[-2])
    offset = torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype)
    bell = (-0.5 * (offset / sigma).square()).exp()
    bell = bell / bell.sum()
    flat = pad_sphere(picture, reach).flatten(0, 1)[:, None]
    made = F.conv2d(F.conv2d(flat, bell.view(1, 1, 1, -1)), bell.view(1, 1, -1, 1))
    return made.view_as(picture)


def sample_panorama(
    panorama: Float[Tensor, "B C H W"], rays: Float[Tensor, "B h w 3"]
) -> Float[Tensor, "B C h w"]:
    """Bilinear samples of the panorama along world rays, seamless everywhere."""
    pixels = panorama_pixels(rays, *panorama.shape[-2:]) + 1  # one pixel of padding on each side
    return sample_padded(pad_sphere(panorama, 1), pixels.to(panorama.dtype))


def sample_padded(
    padded: Float[Tensor, "B C H W"], pixels: Float[Tensor, "B h w 2"]
) -> Float[Tensor, "B C h w"]:
    """Bilinear samples at pixels (u, v) of a panorama that pad_sphere has continued, counted from
    its padded corner; what lies outside still is taken from the edge."""
    height, width = padded.shape[-2:]
    # -1 and 1 are the centres of the first and of the last pixel.
    grid = pixels * pixels.new_tensor([2 / (width - 1), 2 / (height - 1)]) - 1
    return F.grid_sample(padded, grid, mode="bilinear", padding_mode="border", align_corners=True)
