"""Comparing views where they overlap: all of them read along the same rays, at one sharpness.

A comparison has an angle: views are shrunk and blurred to it, whatever their sizes and lenses, so
that what is compared is the same detail. Where clipped pixels (at either end of the 8-bit range,
which say only "at least" or "at most") take part in the blur, a comparison counts less or not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.colour_compensation import compensate
from spidereye.panorama import latitude_weights, panorama_rays
from spidereye.recolouring import CLIPPED
from spidereye.view_weights import clearance, resolution, weighted_median

_SIGMA = 1.5  # pixels of the shrunken view to a comparison's angle
_MOST_CLIPPED = 0.25  # of what is blurred together; with more it counts for nothing
_RIM = 0.02  # of the way to the middle: closer to the rim nothing is compared
_LEAST_SIDE = 8  # pixels of a shrunken view
_LEAST_PIXELS = 0.8  # of the finest view to a comparison's angle
_MOST_POINTS = 24_000
COARSE = math.radians(4.0)  # of the comparison that finds views which match no other
_LEAST_OVERLAP = 0.01  # of the sphere, which a view has to share with others
_TEXTURE = 0.02  # in [0, 1]: what varies less is flat
_LEAST_CORRELATION = 0.3
_BLANK = 0.1  # of what a view sees is neither black nor saturated: less shows nothing
_NOISE = 0.015  # in [0, 1]: smaller differences are no misalignment


class Stranger(StrEnum):
    """Why a view takes no part."""

    ALONE = "too little of it overlaps with others"
    BLANK = "it is black or saturated"
    UNLIKE = "it does not look like its neighbours"


@dataclass(frozen=True)
class BlurredView:
    """A view at a comparison's angle, with the camera that fits it.

    image: values in [0, 1] by channel, their derivatives along u and along v per pixel, and how
    much of what went into them was good, in [0, 1]: 12 channels.
    resolution: pixels per radian, in the median.
    """

    image: Float[Tensor, "1 12 h w"]
    camera: Camera
    resolution: float


@dataclass(frozen=True)
class Places:
    """Where N views see P rays.

    pixels: of each view.   seen: which rays a view sees.   inside: which of them lie so far from
    the rim, and from what hides the scene, that they are compared.
    """

    pixels: Float[Tensor, "N P 2"]
    seen: Bool[Tensor, "N P"]
    inside: Bool[Tensor, "N P"]

    def of(self, rays: Int64[Tensor, " p"]) -> "Places":
        """Those of some of the rays."""
        parts = (self.pixels, self.seen, self.inside)
        return Places(*(part.index_select(1, rays) for part in parts))


@dataclass(frozen=True)
class Readings:
    """What N views say along P rays. weight is 0 where a view does not see.

    colour: in [0, 1].   slope: its derivatives by the pixel's u and v.   inside: where a view sees,
    whatever it shows there.   resolution: pixels per radian of each view, in the median.
    """

    colour: Float[Tensor, "N 3 P"]
    slope: Float[Tensor, "N 2 3 P"]
    weight: Float[Tensor, "N 3 P"]
    inside: Bool[Tensor, "N P"]
    resolution: Float[Tensor, " N"]


def sphere_points(angle: float) -> Float[Tensor, "P 3"]:
    """Unit rays, spread evenly (Fibonacci lattice), about `angle` radians apart."""
    count = min(_MOST_POINTS, max(64, round(4 * math.pi / angle**2)))
    index = torch.arange(count, dtype=torch.float64)
    y = 1 - (2 * index + 1) / count
    turn = index * (math.pi * (3 - math.sqrt(5)))
    radius = (1 - y * y).sqrt()
    return torch.stack((radius * turn.sin(), y, radius * turn.cos()), dim=-1)


def usual_resolution(camera: Camera) -> float:
    """Pixels per radian in the median over what the camera sees."""
    camera = camera.to(torch.device("cpu"), torch.float64)
    height = 32
    rays = panorama_rays(height, 2 * height).flatten(0, 1)
    pixels, seen = camera.project(rays)
    area = latitude_weights(height)[:, None].expand(height, 2 * height).flatten()
    return weighted_median(resolution(camera, rays, pixels)[seen], area[seen], 1.0)


def finest_angle(fineness: Sequence[float], wanted: float) -> float:
    """The wanted angle of a comparison in radians, or the smallest that views can show whose
    `usual_resolution` is given."""
    return max(wanted, _LEAST_PIXELS / max(fineness))


def blurred(
    view: Float[Tensor, "1 3 h w"], camera: Camera, angle: float, fineness: float | None = None
) -> BlurredView:
    """A view of values in [-1, 1] at a comparison's angle in radians.

    fineness: `usual_resolution` of the camera, where it is known already."""
    mask = camera.mask().to(view)[None, None]
    clipped = (view.abs() >= 1 - CLIPPED).to(view)
    parts = torch.cat(((view + 1) / 2, clipped, torch.ones_like(clipped[:, :1])), dim=1) * mask
    per_radian = usual_resolution(camera) if fineness is None else fineness
    width, height = camera.smaller(_SIGMA / (angle * per_radian), _LEAST_SIDE)
    sigma = max(0.5, angle * per_radian * width / camera.lens.width)
    if width < camera.lens.width:
        parts = F.interpolate(parts, (height, width), mode="area")
        per_radian = per_radian * width / camera.lens.width
        camera = camera.resized(width, height)
    parts = _gaussian(parts, sigma)
    colour, clipped = (parts[:, :6] / parts[:, 6:].clamp_min(1e-4)).split(3, dim=1)
    good = (1 - clipped / _MOST_CLIPPED).clamp(0, 1)
    padded = F.pad(colour, (1, 1, 1, 1), mode="replicate")
    across = (padded[..., 1:-1, 2:] - padded[..., 1:-1, :-2]) / 2
    down = (padded[..., 2:, 1:-1] - padded[..., :-2, 1:-1]) / 2
    image = torch.cat((colour, across, down, good), dim=1)
    return BlurredView(image, camera, per_radian)


def read_overlaps(
    views: Sequence[BlurredView],
    cameras: Sequence[Camera],
    rays: Float[Tensor, "P 3"],
    sphere_radius: float,
) -> Readings:
    """What the views say along rays. cameras: those of the views, as they are believed now."""
    return read_places(views, places_of(cameras, rays, sphere_radius))


def places_of(
    cameras: Sequence[Camera], rays: Float[Tensor, "P 3"], sphere_radius: float
) -> Places:
    """Where cameras, of the views that are to be read, see rays."""
    pixels, seen = zip(*(camera.project(rays, sphere_radius) for camera in cameras), strict=True)
    far = [clearance(camera, where) > _RIM for camera, where in zip(cameras, pixels, strict=True)]
    seen = torch.stack(seen)
    return Places(torch.stack(pixels), seen, seen & torch.stack(far))


def read_places(views: Sequence[BlurredView], places: Places) -> Readings:
    """What the views say at places."""
    read = []
    for view, pixels in zip(views, places.pixels, strict=True):
        size = pixels.new_tensor([view.camera.lens.width, view.camera.lens.height])
        grid = (2 * (pixels + 0.5) / size - 1).to(view.image.dtype)[None, None]
        read.append(F.grid_sample(view.image, grid, padding_mode="border", align_corners=False))
    image = torch.cat(read)[:, :, 0].double()  # [N, 12, P]
    slope = image[:, 3:9].unflatten(1, (2, 3))
    weight = image[:, 9:].clamp(0, 1).square() * places.inside[:, None]
    per_radian = torch.tensor([view.resolution for view in views], dtype=torch.float64)
    return Readings(image[:, :3], slope, weight, places.inside, per_radian)


def read_views(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    fineness: Sequence[float],
    angle: float,
    sphere_radius: float,
) -> Readings:
    """What the views of a shot say at a comparison's angle in radians, along rays so far apart.

    fineness: `usual_resolution` of each camera."""
    made = [
        blurred(view, camera, angle, fine)
        for view, camera, fine in zip(views, cameras, fineness, strict=True)
    ]
    return read_overlaps(made, [v.camera for v in made], sphere_points(angle), sphere_radius)


def strangers(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    sphere_radius: float,
    fineness: Sequence[float] | None = None,
) -> dict[int, Stranger]:
    """The views of a shot that no gain and offset makes agree with the others, and why.

    They are compared so coarsely that poses a few degrees off do not matter.
    fineness: `usual_resolution` of each camera, where it is known already.
    """
    if fineness is None:
        fineness = [usual_resolution(camera) for camera in cameras]
    readings = read_views(views, cameras, fineness, COARSE, sphere_radius)
    gain, offset = compensate(readings.colour, readings.weight)
    reasons = {}
    weight = readings.weight.amin(dim=1)  # a ray counts where all channels are good
    made = (gain[..., None] * readings.colour + offset[..., None]).mean(dim=1)
    for view in range(len(made)):
        others = torch.cat((weight[:view], weight[view + 1 :]))
        theirs = (torch.cat((made[:view], made[view + 1 :])) * others).sum(0)
        both = weight[view] * others.amax(dim=0)
        if float((both > 0.25).double().mean()) < _LEAST_OVERLAP:
            shows = weight[view][readings.inside[view]]
            blank = len(shows) > 0 and float(shows.mean()) < _BLANK
            reasons[view] = Stranger.BLANK if blank else Stranger.ALONE
            continue
        theirs = theirs / others.sum(0).clamp_min(1e-9)
        # Before compensation: a gain near 0 would make any view look flat.
        own = readings.colour[view].mean(dim=0)
        spread, own_spread, correlation = _correlated(theirs, own, both)
        if spread > _TEXTURE and (own_spread < _TEXTURE / 4 or correlation < _LEAST_CORRELATION):
            reasons[view] = Stranger.UNLIKE
    return reasons


def disagreement(readings: Readings) -> tuple[float, float]:
    """The sum of squared differences over all pairs of views that see a ray, and of their weights.
    Colours have to be compensated."""
    differences = total = 0.0
    for one, other, both in _pairs(readings):
        apart = readings.colour[one] - readings.colour[other]
        differences += float((both * apart.square()).sum())
        total += float(both.sum())
    return differences, total


def misalignment(readings: Readings, angle: float) -> float:
    """Radians by which views are off each other: the root mean square of their differences, as a
    multiple of how much their colours change per radian; 0 up to the comparison's angle, which
    views of different sharpness reach. Colours have to be compensated."""
    differences, total = disagreement(readings)
    slopes = 0.0
    # The square per radian, half of it along either direction.
    change = (readings.slope * readings.resolution[:, None, None, None]).square().sum(1) / 2
    for one, other, both in _pairs(readings):
        slopes += float((both * (change[one] + change[other]) / 2).sum())
    if slopes == 0 or differences < _NOISE**2 * total:
        return 0.0
    return math.sqrt(max(0.0, differences / slopes - angle**2))


def _pairs(readings: Readings) -> Iterator[tuple[int, int, Float[Tensor, "3 P"]]]:
    """Every two views, with the weights of the rays that both see."""
    for one in range(len(readings.weight)):
        for other in range(one):
            yield one, other, readings.weight[one] * readings.weight[other]


def _correlated(
    one: Float64[Tensor, " P"], other: Float64[Tensor, " P"], weight: Float64[Tensor, " P"]
) -> tuple[float, float, float]:
    """Standard deviations of both and their correlation, weighted."""
    weight = weight / weight.sum().clamp_min(1e-9)
    one, other = one - (one * weight).sum(), other - (other * weight).sum()
    spread, other_spread = ((x.square() * weight).sum().sqrt() for x in (one, other))
    product = (one * other * weight).sum()
    return float(spread), float(other_spread), float(product / (spread * other_spread + 1e-12))


def _gaussian(picture: Float[Tensor, "1 C h w"], sigma: float) -> Float[Tensor, "1 C h w"]:
    """Gaussian means; outside the picture there is nothing (0)."""
    reach = max(1, math.ceil(3 * sigma))
    offset = torch.arange(-reach, reach + 1, device=picture.device, dtype=picture.dtype)
    bell = (-0.5 * (offset / sigma).square()).exp()
    bell = bell / bell.sum()
    flat = picture.transpose(0, 1)
    flat = F.conv2d(flat, bell.view(1, 1, 1, -1), padding=(0, reach))
    return F.conv2d(flat, bell.view(1, 1, -1, 1), padding=(reach, 0)).transpose(0, 1)
