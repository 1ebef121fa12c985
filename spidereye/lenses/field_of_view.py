"""Field of view and focal length, for any lens."""

import math
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import Lens

_AZIMUTHS = 64


def half_angle_limit(lens: Lens) -> float:
    """The largest angle from the axis, in radians, that the model sees at all azimuths, wherever
    the picture ends. lens: of batch shape []. To 1e-9, by bisection of its mask."""
    low, high = 0.0, math.pi
    while high - low > 1e-9:
        middle = (low + high) / 2
        seen = bool(lens.project(_cone(lens, middle))[1].all())
        low, high = (middle, high) if seen else (low, middle)
    return low


def with_half_angle(lens: Lens, half_angle: float, radius: float) -> Lens:
    """The lens with its focal lengths scaled so that the rays at `half_angle` (radians) lie
    `radius` pixels from the principal point: the mean over all azimuths, where they differ.

    lens: of batch shape []. Raises SpiderEyeError where the model does not see that angle.
    """
    if not radius > 0:
        raise SpiderEyeError(f"an image circle needs a radius > 0 in pixels, got {radius:g}")
    # Without the principal point: offsets from it lose nothing by its size.
    centred = replace(lens, centre=torch.zeros_like(lens.centre))
    offsets, valid = centred.project(_cone(lens, half_angle))
    if not (0 < half_angle < math.pi and bool(valid.all())):
        limit = math.degrees(half_angle_limit(lens))
        raise SpiderEyeError(
            f"this {lens.model} lens sees half angles up to {limit:.1f}°, not "
            f"{math.degrees(half_angle):.1f}°; take another model or a smaller field of view"
        )
    return lens.zoomed(radius / float(offsets.norm(dim=-1).mean()))


def _cone(lens: Lens, angle: float) -> Float[Tensor, "n 3"]:
    azimuth = torch.arange(_AZIMUTHS, dtype=lens.centre.dtype, device=lens.centre.device)
    azimuth = azimuth * (2 * math.pi / _AZIMUTHS)
    side, ahead = math.sin(angle), torch.full_like(azimuth, math.cos(angle))
    return torch.stack((side * azimuth.cos(), side * azimuth.sin(), ahead), dim=-1)
