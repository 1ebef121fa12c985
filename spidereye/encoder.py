"""KL encoder `f{F}c{C}`: a view to the mean and log-variance of its latent (Rombach et al. 2022,
the convolutional autoencoder of latent diffusion)."""

import re
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.layers import Recomputing

NORM_EPS = 1e-6
LOGVAR_RANGE = (-30.0, 20.0)
START_LOGVAR = -6.0
START_GAIN = 4.0  # over the usual start of the last layer: means with a deviation of about 0.6


@dataclass(frozen=True)
class Posterior:
    """The Gaussian that a view is encoded to."""

    mean: Float[Tensor, "B C zh zw"]
    logvar: Float[Tensor, "B C zh zw"]  # clamped to [-30, 20]

    def sample(self, noise: Float[Tensor, "B C zh zw"]) -> Float[Tensor, "B C zh zw"]:
        """mean + σ·noise."""
        return self.mean + torch.exp(0.5 * self.logvar) * noise

    def kl(self) -> Float[Tensor, "B"]:
        """KL divergence from N(0, 1): ½Σ(μ² + σ² - 1 - ln σ²) over C, h, w; one per picture."""
        terms = self.mean.square() + self.logvar.exp() - 1 - self.logvar
        return 0.5 * terms.sum(dim=(1, 2, 3))


@dataclass(frozen=True)
class EncoderConfig:
    """name: f<downsampling>c<latent channels>, the factor a power of two, e.g. f8c4.
    width: channels of the first level, a multiple of 32 (group norm), or 8, 16 or 24 for CPUs."""

    name: str = "f8c4"
    width: int = 128

    def __post_init__(self) -> None:
        match = re.fullmatch(r"f(\d+)c(\d+)", self.name)
        factor = int(match[1]) if match else 0
        if not match or factor & (factor - 1) or factor < 2 or int(match[2]) < 1:
            raise SpiderEyeError(
                f"ssdd.encoder must read f<2, 4, 8, 16 …>c<channels>, like f8c4, got {self.name!r}"
            )
        if self.width not in (8, 16, 24) and (self.width % 32 or self.width < 32):
            raise SpiderEyeError(
                "ssdd.encoder_width must be 8, 16, 24 or a multiple of 32 (32, 64, 96 …), "
                f"got {self.width}"
            )

    @property
    def factor(self) -> int:
        """Downsampling factor F: a view of F·n pixels has a latent of n cells."""
        return int(self.name[1:].split("c")[0])

    @property
    def channels(self) -> int:
        """Latent channels C."""
        return int(self.name.split("c")[1])

    @property
    def groups(self) -> int:
        """Of every norm. 32 as published; narrower networks have four channels a group at the first
        level, as the published width has: groups of one take out how bright a view is."""
        return 32 if self.width % 32 == 0 else self.width // 4


class KLEncoder(Recomputing):
    """View [B, 3, h, w] in [-1, 1] → Posterior over [B, C, h/F, w/F].
    34.16 M parameters for f8c4 at width 128."""

    def __init__(self, config: EncoderConfig):
        super().__init__()
        self.config = config
        levels = config.factor.bit_length()  # n + 1 for F = 2^n
        widths = [config.width * min(2**level, 4) for level in range(levels)]
        self.conv_in = nn.Conv2d(3, widths[0], 3, padding=1)
        self.levels = nn.ModuleList()
        previous = widths[0]
        for level, width in enumerate(widths):
            blocks: list[nn.Module] = [
                ResidualBlock(previous, width, config.groups),
                ResidualBlock(width, width, config.groups),
            ]
            if level < levels - 1:
                blocks.append(PadRightBottomDownsample(width))
            self.levels.append(nn.Sequential(*blocks))
            previous = width
        self.middle = nn.Sequential(
            ResidualBlock(previous, previous, config.groups),
            SelfAttention(previous, config.groups),
            ResidualBlock(previous, previous, config.groups),
        )
        self.norm_out = _norm(previous, config.groups)
        self.conv_out = nn.Conv2d(previous, 2 * config.channels, 3, padding=1)
        self.project_out = nn.Conv2d(2 * config.channels, 2 * config.channels, 1)
        # As in the decoder: every block starts as its shortcut, and biases as 0. Their usual start
        # is as large as what a view says, and the last norm would leave little but them.
        for module in self.modules():
            if isinstance(module, ResidualBlock | SelfAttention):
                last = module.conv2 if isinstance(module, ResidualBlock) else module.out
                nn.init.zeros_(last.weight)
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        # Small posteriors to start with: at σ = 1 the means drown in the noise of sampling, and the
        # decoder learns to ignore the latent before the encoder has learnt to raise its voice.
        with torch.no_grad():
            self.project_out.bias[config.channels :] = START_LOGVAR  # pyright: ignore
            self.project_out.weight[: config.channels] *= START_GAIN

    def forward(self, view: Float[Tensor, "B 3 h w"]) -> Posterior:
        x = self.conv_in(view)  # [B, b, h, w]
        for level in self.levels:
            x = self.run(level, x)  # [B, 4b, h/F, w/F] at the last
        x = self.middle(x)
        x = self.project_out(self.conv_out(F.silu(self.norm_out(x))))
        mean, logvar = x.chunk(2, dim=1)  # [B, C, h/F, w/F] each
        return Posterior(mean, logvar.clamp(*LOGVAR_RANGE))


class ResidualBlock(nn.Module):
    """(group norm, SiLU, conv3x3) twice, plus the input (through conv1x1 where widths differ)."""

    def __init__(self, width_in: int, width_out: int, groups: int):
        super().__init__()
        self.norm1 = _norm(width_in, groups)
        self.conv1 = nn.Conv2d(width_in, width_out, 3, padding=1)
        self.norm2 = _norm(width_out, groups)
        self.conv2 = nn.Conv2d(width_out, width_out, 3, padding=1)
        same = width_in == width_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(width_in, width_out, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D H W"]:
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return self.shortcut(x) + h


class SelfAttention(nn.Module):
    """Single-head attention over all cells, q, k, v and out as conv1x1, residual."""

    def __init__(self, width: int, groups: int):
        super().__init__()
        self.norm = _norm(width, groups)
        self.q = nn.Conv2d(width, width, 1)
        self.k = nn.Conv2d(width, width, 1)
        self.v = nn.Conv2d(width, width, 1)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H W"]:
        h = self.norm(x)
        q, k, v = (part(h).flatten(2).transpose(1, 2) for part in (self.q, self.k, self.v))
        h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + self.out(h.transpose(1, 2).reshape(x.shape))


class PadRightBottomDownsample(nn.Module):
    """Stride-2 conv3x3, padded by one pixel at the right and at the bottom only."""

    def __init__(self, width: int):
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
        return self.conv(F.pad(x, (0, 1, 0, 1)))


def _norm(width: int, groups: int) -> nn.GroupNorm:
    return nn.GroupNorm(groups, width, eps=NORM_EPS)
