"""Fusion: the latents of N views to one panorama latent of 2:1.

A new fusion is one class here and one entry in FUSIONS.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.layers import conv3x3, group_count
from spidereye.spherical_fusion import SphericalFusion


@dataclass(frozen=True)
class FusionConfig:
    """type: a key of FUSIONS.   channels: C.   axes: each view's unit axis in the world, N of them.
    hidden: width between the two convolutions of concat_conv, None: 2C; of what spherical attends
    to, None: 64.
    view_encoding: how a view is told apart (see ViewEncoding); None: not at all.
    padding: of the convolution over the panorama's latent (see sphere_padding.py)."""

    type: str = "concat_conv"
    channels: int = 4
    axes: list[list[float]] = field(
        default_factory=lambda: [[0.0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]]
    )
    hidden: int | None = None
    view_encoding: str | None = "sinusoidal"
    padding: str = "zeros"


class ViewEncoding(nn.Module):
    """One C-vector per view, added to all its cells.

    sinusoidal: fixed, by the view's index.   learnable: free vectors, std 0.02.
    directional: linear 3 → C of the view's axis.
    """

    def __init__(self, type: str, axes: list[list[float]], channels: int):
        super().__init__()
        self.kind = type
        if type == "sinusoidal":
            self.register_buffer("embeddings", sinusoidal_embeddings(len(axes), channels))
        elif type == "learnable":
            self.embeddings = nn.Parameter(torch.randn(len(axes), channels, 1, 1) * 0.02)
        elif type == "directional":
            self.project = nn.Linear(3, channels)
            self.register_buffer("directions", torch.tensor(axes, dtype=torch.float32))
        else:
            raise SpiderEyeError(
                "ssdd.view_encoding_type must be one of sinusoidal, learnable, directional, "
                f"got {type!r}"
            )

    def forward(self, z_views: Float[Tensor, "B N C zh zw"]) -> Float[Tensor, "B N C zh zw"]:
        if self.kind == "directional":
            return z_views + self.project(self.directions)[..., None, None]
        return z_views + self.embeddings


def sinusoidal_embeddings(views: int, channels: int) -> Float[Tensor, "N C 1 1"]:
    """e[i, 2k] = sin(i·10000^(-2k/C)), e[i, 2k+1] = cos of the same (Vaswani et al. 2017, §3.5)."""
    index = torch.arange(views, dtype=torch.float32)[:, None]
    rates = 10000 ** (-torch.arange(0, channels, 2, dtype=torch.float32) / channels)
    angles = index * rates
    waves = torch.stack((angles.sin(), angles.cos()), dim=-1).flatten(1)
    return waves[:, :channels, None, None].contiguous()


class ConcatConvFusion(nn.Module):
    """Channels concatenated view by view, conv3x3, group norm, SiLU, conv3x3; then widened."""

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.encoding = _encoding(config)
        views, channels = len(config.axes), config.channels
        hidden = config.hidden or 2 * channels
        self.mix = nn.Sequential(
            nn.Conv2d(views * channels, hidden, 3, padding=1),
            nn.GroupNorm(group_count(hidden), hidden),
            nn.SiLU(),
            nn.Conv2d(hidden, channels, 3, padding=1),
        )
        self.widen = Widen(channels, config.padding)

    def forward(self, z_views: Float[Tensor, "B N C zh zw"]) -> Float[Tensor, "B C zh 2*zw"]:
        return self.widen(self.mix(self.encoding(z_views).flatten(1, 2)))


class AverageFusion(nn.Module):
    """The mean over the views; then widened."""

    def __init__(self, config: FusionConfig):
        super().__init__()
        self.encoding = _encoding(config)
        self.widen = Widen(config.channels, config.padding)

    def forward(self, z_views: Float[Tensor, "B N C zh zw"]) -> Float[Tensor, "B C zh 2*zw"]:
        return self.widen(self.encoding(z_views).mean(dim=1))


class Widen(nn.Module):
    """From a view's square latent to the panorama's 2:1: nearest ×2 in width, conv3x3,
    group norm, SiLU."""

    def __init__(self, channels: int, padding: str):
        super().__init__()
        self.conv = conv3x3(channels, channels, padding)
        self.norm = nn.GroupNorm(group_count(channels), channels)

    def forward(self, z: Float[Tensor, "B C zh zw"]) -> Float[Tensor, "B C zh 2*zw"]:
        return F.silu(self.norm(self.conv(z.repeat_interleave(2, dim=-1))))


FUSIONS: dict[str, Callable[[FusionConfig], nn.Module]] = {
    "concat_conv": ConcatConvFusion,
    "average": AverageFusion,
    "spherical": lambda config: SphericalFusion(config.channels, config.hidden or 64),
}


def build_fusion(config: FusionConfig) -> nn.Module:
    """The fusion that `config.type` names. Raises SpiderEyeError for an unknown one."""
    if config.type not in FUSIONS:
        raise SpiderEyeError(
            f"ssdd.fusion_type must be one of {', '.join(FUSIONS)}, got {config.type!r}"
        )
    return FUSIONS[config.type](config)


def _encoding(config: FusionConfig) -> nn.Module:
    if config.view_encoding is None:
        return nn.Identity()
    return ViewEncoding(config.view_encoding, config.axes, config.channels)
