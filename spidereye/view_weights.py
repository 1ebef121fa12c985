"""How much say each view has at a direction: what blending weighs views by.

A view counts by the fourth power of its angular resolution, because the finer one knows more and
the others only blur it, and less and less over the last tenth of the way to its rim, so that no
border shows. Measured on the training panoramas by benchmarks/stitch_quality.py: the powers 0
(margin only), 1, 2, 4 and 6 of the resolution give 36.6, 37.1, 37.3, 37.5 and 37.5 dB.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.camera import Camera

RESOLUTION_POWER = 4.0
RIM = 0.1  # of the way from the rim to the middle of the picture
BLANK = 1e-6  # the say of a view that shows nothing: it counts where no other sees
LEAST = 1e-3  # what is left on the rim itself: where nothing else is seen it is all there is

_TOLERABLE = 0.75  # panorama pixels: as much blur as sharp views would add
_STEP = 1e-4  # radians between the rays whose pixels are compared


def sharpness(misalignment: float) -> tuple[float, float]:
    """(resolution_power, rim) for views that are off each other by so many panorama pixels.

    Where views contradict each other none of them is right, and their mean is closer to it than
    the finest; so with growing misalignment they are weighed more alike. 0: they agree.
    """
    softer = 1 + (misalignment / _TOLERABLE) ** 2
    return RESOLUTION_POWER / softer, min(4 * RIM, RIM * softer)


def blend_weight(
    camera: Camera,
    rays: Float[Tensor, "*s 3"],
    pixels: Float[Tensor, "*s 2"],
    seen: Bool[Tensor, "*s"],
    sphere_radius: float = float("inf"),
    resolution_power: float = RESOLUTION_POWER,
    rim: float = RIM,
    fineness: Float[Tensor, "*s"] | None = None,
) -> Float[Tensor, "*s"]:
    """The weight of a view along world rays, 0 where it does not see: a number for comparison with
    other views of the same rig.

    pixels, seen: `camera.project(rays, sphere_radius)`.   rim: over how much of the way to the
    middle the weight rises.   fineness: `resolution` along the rays, where it is known.
    """
    weight = (clearance(camera, pixels) / rim).clamp(LEAST, 1)
    if resolution_power:
        if fineness is None:
            fineness = resolution(camera, rays, pixels, sphere_radius)
        # What is seen has some weight, however little of it there is.
        weight = weight * fineness.clamp_min(1.0) ** resolution_power
    return weight * seen


def resolution(
    camera: Camera,
    rays: Float[Tensor, "*s 3"],
    pixels: Float[Tensor, "*s 2"],
    sphere_radius: float = float("inf"),
) -> Float[Tensor, "*s"]:
    """Pixels per radian, the geometric mean over both directions: the square root of the view's
    pixels per steradian of the panorama. At most 1e6, and 0 where the lens has none."""
    # Two directions square to the ray, built on the axis that it is farthest from.
    least = rays.abs().argmin(dim=-1, keepdim=True)
    across = torch.linalg.cross(rays, torch.zeros_like(rays).scatter_(-1, least, 1.0))
    across = across / across.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    down = torch.linalg.cross(rays, across)
    # Below float64 the difference of two pixels has few digits, so the step is longer.
    step = _STEP if rays.dtype == torch.float64 else 30 * _STEP
    right = (camera.project(rays + step * across, sphere_radius)[0] - pixels) / step
    below = (camera.project(rays + step * down, sphere_radius)[0] - pixels) / step
    area = right[..., 0] * below[..., 1] - right[..., 1] * below[..., 0]
    return area.abs().sqrt().nan_to_num(0.0).clamp(max=1e6)


def weighted_median(
    values: Float[Tensor, " n"], weights: Float[Tensor, " n"], none: float
) -> float:
    """The value up to which half of the weight lies; `none` where there are no values."""
    if not len(values):
        return none
    values, order = values.sort()
    share = weights[order].cumsum(0)
    return float(values[int((share < share[-1] / 2).sum())])


def clearance(camera: Camera, pixels: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s"]:
    """How far inside what the view shows a pixel lies: `Camera.margin`, or the distance to what
    hides the scene where that is closer, in the same unit; negative outside."""
    margin = camera.margin(pixels)
    hidden = camera.hidden_distance
    if hidden is None:
        return margin
    height, width = hidden.shape
    distance = hidden.to(pixels) / (min(width, height) / 2)
    u, v = pixels.detach().round().long().unbind(-1)
    return torch.minimum(margin, distance[v.clamp(0, height - 1), u.clamp(0, width - 1)])
