"""What training does to views so that models survive real rigs: lens, pose and colour jitter.

Each sample's draws come from (seed, epoch, sample index) alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.lenses import UCM, Lens, Mei
from spidereye.randomness import generator
from spidereye.rotation import from_yaw_pitch_roll

XI_RANGE = (0.05, 3.0)


@dataclass(frozen=True)
class JitterConfig:
    """Half widths of the uniform draws; 0 switches one off.

    xi: ξ·U(1-xi, 1+xi), clamped to [0.05, 3], per sample.   f: f/U(1-f, 1+f), per sample.
    rotation: yaw, pitch and roll in degrees, per view.
    contrast, brightness, color: clip(a·(g∘v) + b) on [0, 1] values v with a in 1 ± contrast and
    b in ± brightness per view, g in 1 ± color per view and channel.
    yaw: turn the whole panorama by a random number of its columns, per sample.
    share: of the samples whose poses and colours vary; the others have those of the rig.
    missing: share of the samples that lack views, which are black: one, or any number up to all but
    one.
    """

    xi: float = 0.4
    f: float = 0.1
    rotation: float = 3.0
    contrast: float = 0.2
    brightness: float = 0.2
    color: float = 0.1
    yaw: bool = False
    share: float = 1.0
    missing: float = 0.0


@dataclass(frozen=True)
class Jitter:
    """The draws of one sample of N views."""

    xi_scale: float
    f_divisor: float
    angles: Float[Tensor, "N 3"]  # yaw, pitch, roll in radians
    contrast: Float[Tensor, "N"]
    brightness: Float[Tensor, "N"]
    color: Float[Tensor, "N 3"]
    yaw: float  # of the panorama, as a fraction of a turn
    missing: tuple[int, ...] = ()  # the views that there are not


def draw(config: JitterConfig, views: int, seed: int, epoch: int, index: int) -> Jitter:
    """One sample's jitter. All numbers are drawn whatever the widths, so that switching one kind
    off leaves the draws of the others alone."""
    source = generator(seed, "jitter", epoch, index)

    def around(middle: float, half: float, *shape: int) -> Tensor:
        return middle + half * (2 * torch.rand(shape, generator=source, dtype=torch.float64) - 1)

    made = Jitter(
        xi_scale=float(around(1, config.xi)),
        f_divisor=float(around(1, config.f)),
        angles=around(0, math.radians(config.rotation), views, 3),
        contrast=around(1, config.contrast, views),
        brightness=around(0, config.brightness, views),
        color=around(1, config.color, views, 3),
        yaw=float(torch.rand((), generator=source, dtype=torch.float64)) * config.yaw,
    )
    # Drawn last, so that the other draws are those of every configuration.
    still, lacks, how_many = torch.rand(3, generator=source, dtype=torch.float64).tolist()
    order = torch.randperm(views, generator=source).tolist()
    if still >= config.share:
        made = without(made, range(views))
    if lacks < config.missing and views > 1:
        made = replace(made, missing=tuple(order[: 1 + int(how_many * (views - 1))]))
    return made


def without(jitter: Jitter, views: Sequence[int]) -> Jitter:
    """The same draws, but of some views neither pose nor colours; the lens is all views'."""
    values = {"angles": 0.0, "contrast": 1.0, "brightness": 0.0, "color": 1.0}
    changed = {name: getattr(jitter, name).clone() for name in values}
    for name, value in values.items():
        changed[name][list(views)] = value
    return replace(jitter, **changed)


def jittered_cameras(
    cameras: Sequence[Camera], draws: Sequence[Jitter]
) -> tuple[tuple[Camera, ...], tuple[Camera, ...]]:
    """(believed, true) cameras with batch shape [B]: both have the jittered lens, which a
    calibrated rig knows; only the true ones have the jittered pose, which it does not."""
    xi_scale = torch.tensor([jitter.xi_scale for jitter in draws], dtype=torch.float64)
    f_divisor = torch.tensor([jitter.f_divisor for jitter in draws], dtype=torch.float64)
    angles = torch.stack([jitter.angles for jitter in draws])  # [B, N, 3]
    believed, true = [], []
    lenses: dict[int, Lens] = {}  # views that share a lens still do: its rays are found once
    for view, camera in enumerate(cameras):
        batched = camera.to(dtype=torch.float64).expanded(len(draws))
        lens = lenses.get(id(camera.lens))
        if lens is None:
            lens = batched.lens.zoomed(1 / f_divisor)
            if isinstance(lens, UCM | Mei):
                xi = torch.where(xi_scale != 1, (lens.xi * xi_scale).clamp(*XI_RANGE), lens.xi)
                lens = replace(lens, xi=xi)
            lenses[id(camera.lens)] = lens
        yaw, pitch, roll = angles[:, view].unbind(-1)
        shaken = batched.rotation @ from_yaw_pitch_roll(yaw, pitch, roll)
        believed.append(replace(batched, lens=lens))
        true.append(replace(batched, lens=lens, rotation=shaken))
    return tuple(believed), tuple(true)


def jitter_colour(
    views: Float[Tensor, "B N 3 h w"], draws: Sequence[Jitter]
) -> Float[Tensor, "B N 3 h w"]:
    """clip(a·(g∘v) + b) on the [0, 1] values of views in [-1, 1]."""
    like = {"device": views.device, "dtype": views.dtype}
    gain = torch.stack([jitter.contrast[:, None] * jitter.color for jitter in draws]).to(**like)
    offset = torch.stack([jitter.brightness for jitter in draws]).to(**like)
    # On [-1, 1], v = (x + 1)/2: 2·(gain·v + offset) - 1 = gain·x + (gain + 2·offset - 1).
    shift = gain + 2 * offset[..., None] - 1
    return torch.addcmul(shift[..., None, None], views, gain[..., None, None]).clamp_(-1, 1)
