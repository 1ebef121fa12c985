"""U-ViT decoder of SSDD, the single-step diffusion decoder: velocity of the panorama's flow from
the noisy panorama, the time and the panorama latent."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.layers import (
    PADDINGS,
    Downsample,
    Recomputing,
    StraightPath,
    TimeEmbedding,
    Upsample,
    conv3x3,
    modulated_silu,
    resize_nearest,
    silu_by_cells,
)
from spidereye.transformer import FeedForward, TransformerBlock

# name: (base width, width multipliers, transformer blocks)
SIZES = {
    "XXS": (32, (1, 1, 2, 2), 4),  # ours, for CPUs and tests; the others are published
    "XS": (32, (1, 2, 3, 3), 8),
    "S": (48, (1, 2, 3, 3), 8),
    "B": (64, (1, 2, 3, 3), 10),
    "M": (96, (1, 2, 3, 3), 12),
    "L": (96, (1, 2, 4, 4), 16),
    "XL": (128, (1, 2, 4, 4), 16),
    "H": (192, (1, 2, 4, 4), 16),
}


@dataclass(frozen=True)
class DecoderConfig:
    """widths: channels of the four levels.   heads, blocks: of the middle's transformer.
    latent_channels: C.   extract: the block, counted from 1, whose output REPA reads.
    padding: what convolutions and attention windows find beyond the panorama's edges: "zeros", as
    published, or "sphere", the panorama itself (sphere_padding.py; W must be a multiple of 16).
    shot_numbers: how many numbers of a whole shot there are beside the time.
    extra_channels: input channels after [x_t, z], whose weights start at zero.
    residual: for flows that start close to the data. The last convolution starts at zero, and with
    it the velocity; the last norm has one group.
    straight: inputs also lead straight to the velocity, by weights that depend on the time: where
    residual the extra channels, which have candidates for it among them, else all. Narrow decoders
    without it leave 1 % of the noise's power in a picture of one step.
    groups: of every norm; 32 as published. Groups of one channel, which width 32 then has, take a
    picture's mean out of what is said of it; with fewer than 32, the last norm has one."""

    widths: tuple[int, int, int, int]
    heads: int
    blocks: int
    latent_channels: int = 4
    extract: int = 4
    padding: str = "zeros"
    extra_channels: int = 0
    residual: bool = False
    shot_numbers: int = 0
    groups: int = 32
    straight: bool = False

    def __post_init__(self) -> None:
        if self.padding not in PADDINGS:
            raise SpiderEyeError(
                f"ssdd.padding must be one of {', '.join(PADDINGS)}, got {self.padding!r}"
            )

    @classmethod
    def named(
        cls,
        size: str,
        latent_channels: int = 4,
        extract: int = 4,
        padding: str = "zeros",
        extra_channels: int = 0,
        residual: bool = False,
        shot_numbers: int = 0,
    ) -> "DecoderConfig":
        """One of SIZES: the published XS S B M L XL H (5 to 363 M parameters), or XXS."""
        if size not in SIZES:
            raise SpiderEyeError(f"ssdd.decoder must be one of {', '.join(SIZES)}, got {size!r}")
        base, multipliers, blocks = SIZES[size]
        a, b, c, d = (-(-base * multiplier // 32) * 32 for multiplier in multipliers)
        heads = min(max(d // 64, 4), 16)
        # A shallow decoder is read at half its depth (design: block min(4, depth/2)).
        extract = min(extract, blocks // 2)
        return cls(
            (a, b, c, d),
            heads,
            blocks,
            latent_channels,
            extract,
            padding,
            extra_channels,
            residual,
            shot_numbers,
            groups=8 if size == "XXS" else 32,
            straight=extra_channels > 0 if residual else size == "XXS",
        )


class Decoded(NamedTuple):
    """velocity: of the flow at x_t.   features: the middle's tokens after block `extract`."""

    velocity: Float[Tensor, "B 3 H W"]
    features: Float[Tensor, "B H/8 W/8 D"]


class UViT(Recomputing):
    """Four levels down, a transformer at 1/8 size, four levels up, with skips.

    Start: linears Xavier uniform, convs N(0, 0.02), biases and bias tables 0; second convs of the
    residual blocks and outputs of the feed-forwards 0, so that every block starts as its shortcut;
    weights of extra input channels 0, so that it starts as the decoder without them.
    """

    def __init__(self, config: DecoderConfig):
        super().__init__()
        self.config = config
        widths, base, padding = config.widths, config.widths[0], config.padding
        known = 3 + config.latent_channels
        self.conv_in = conv3x3(known + config.extra_channels, base, padding)
        self.time_embedding = TimeEmbedding(base)
        self.shot_embedding = None
        if config.shot_numbers:
            self.shot_embedding = nn.Linear(config.shot_numbers, 4 * base)
        self.context = nn.Sequential(
            conv3x3(config.latent_channels, base, padding),
            nn.SiLU(),
            conv3x3(base, base, padding),
        )
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        skips, previous = [base], base
        for level, width in enumerate(widths):
            for _ in range(2):
                self.down.append(ResidualBlock(previous, width, config))
                skips.append(width)
                previous = width
            if level < 3:
                self.down.append(Downsample(width, padding))
                skips.append(width)
        self.middle = Middle(config)
        for level, width in reversed(tuple(enumerate(widths))):
            for _ in range(3):
                self.up.append(ResidualBlock(previous + skips.pop(), width, config))
                previous = width
            if level > 0:
                self.up.append(Upsample(width, padding))
        whole = config.residual or config.groups < 32
        self.norm_out = nn.GroupNorm(1 if whole else config.groups, base)
        self.conv_out = conv3x3(base, 3, padding)
        self.straight = None
        if config.straight:
            channels = config.extra_channels if config.residual else known + config.extra_channels
            self.straight = StraightPath(channels, 4 * base)
        self.apply(_start)
        for module in self.modules():
            if isinstance(module, ResidualBlock):
                nn.init.zeros_(module.conv2.weight)
            elif isinstance(module, FeedForward):
                nn.init.zeros_(module.linear_out.weight)
        nn.init.zeros_(self.conv_in.weight[:, known:])
        if config.residual:
            nn.init.zeros_(self.conv_out.weight)
        if self.straight is not None:
            # From noise with v = -x_t: one step leads to 0, and leaves nothing of the noise.
            self.straight.start(-torch.eye(3) if not config.residual else None)

    def forward(
        self,
        x_t: Float[Tensor, "B 3 H W"],
        t1000: Float[Tensor, "B"],
        z: Float[Tensor, "B C zH zW"],
        extra: Float[Tensor, "B K H W"] | None = None,
        shot: Float[Tensor, "B S"] | None = None,
    ) -> Decoded:
        """x_t: the panorama at flow time t, H and W multiples of 8.   t1000: 1000·t.
        extra: what else is known of every pixel; None where config.extra_channels is 0.
        shot: of the whole shot; None where config.shot_numbers is 0.

        Raises ValueError where extra has another number of channels than config.extra_channels.
        """
        given = 0 if extra is None else extra.shape[1]
        if given != self.config.extra_channels:
            raise ValueError(
                f"the decoder was made for {self.config.extra_channels} extra input channels and "
                f"got {given}; give `extra` as DecoderConfig.extra_channels says"
            )
        time = self.time_embedding(t1000)  # [B, 4·ch0]
        if self.shot_embedding is not None:
            assert shot is not None, "this decoder was made for numbers of the shot"
            time = time + self.shot_embedding(shot)
        context = self.context(z)  # [B, ch0, zH, zW]
        inputs = [x_t, resize_nearest(z, x_t)] + ([] if extra is None else [extra])
        inputs = torch.cat(inputs, dim=1)
        x = self.conv_in(inputs)  # [B, ch0, H, W]
        skips = [x]
        for module in self.down:
            if isinstance(module, ResidualBlock):
                x = self.run(module, x, time, context)
            else:
                x = module(x)
            skips.append(x)
        x, features = self.middle(x, context)  # [B, ch3, H/8, W/8]
        for module in self.up:
            if isinstance(module, ResidualBlock):
                x = torch.cat((x, skips.pop()), dim=1)  # by itself, so that the old x can go
                x = self.run(module, x, time, context)
            else:
                x = module(x)
        velocity = self.conv_out(F.silu(self.norm_out(x)))  # [B, 3, H, W]
        if self.straight is not None:
            velocity = velocity + self.straight(inputs, time)
        return Decoded(velocity, features)


class ResidualBlock(nn.Module):
    """conv3x3 twice, the first norm modulated per place by the context, the second by the time."""

    def __init__(self, width_in: int, width_out: int, config: DecoderConfig):
        super().__init__()
        base, groups, padding = config.widths[0], config.groups, config.padding
        self.norm1 = nn.GroupNorm(groups, width_in, affine=False)
        self.modulation1 = nn.Conv2d(base, 2 * width_in, 1)
        self.conv1 = conv3x3(width_in, width_out, padding)
        self.norm2 = nn.GroupNorm(groups, width_out)
        self.modulation2 = nn.Linear(4 * base, 2 * width_out)
        self.conv2 = conv3x3(width_out, width_out, padding)
        same = width_in == width_out
        self.shortcut = nn.Identity() if same else nn.Conv2d(width_in, width_out, 1)

    def forward(
        self,
        x: Float[Tensor, "B C H W"],
        time: Float[Tensor, "B T"],
        context: Float[Tensor, "B K zH zW"],
    ) -> Float[Tensor, "B D H W"]:
        # The 1x1 conv before the resizing is the same function for 64 times less work.
        scale, shift = self.modulation1(context).chunk(2, dim=1)
        h = self.conv1(silu_by_cells(self.norm1(x), scale, shift))
        scale, shift = self.modulation2(F.silu(time))[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(modulated_silu(self.norm2(h), scale, shift))
        return self.shortcut(x) + h if torch.is_grad_enabled() else h.add_(self.shortcut(x))


class Middle(Recomputing):
    """x + linear(blocks(linear(group norm(x)))), one token per cell."""

    def __init__(self, config: DecoderConfig):
        super().__init__()
        width = config.widths[-1]
        self.extract = config.extract
        self.norm = nn.GroupNorm(config.groups, width, eps=1e-6)
        self.linear_in = nn.Linear(width, width)
        self.blocks = nn.ModuleList(
            TransformerBlock(width, config.heads, config.widths[0], config.padding)
            for _ in range(config.blocks)
        )
        self.linear_out = nn.Linear(width, width)

    def forward(
        self, x: Float[Tensor, "B D H W"], context: Float[Tensor, "B K zH zW"]
    ) -> tuple[Float[Tensor, "B D H W"], Float[Tensor, "B H W D"]]:
        tokens = self.linear_in(self.norm(x).permute(0, 2, 3, 1))  # [B, H, W, D]
        context = F.silu(resize_nearest(context, x)).permute(0, 2, 3, 1)  # [B, H, W, K]
        features = tokens
        for depth, block in enumerate(self.blocks, start=1):
            tokens = self.run(block, tokens, context)
            if depth == self.extract:
                features = tokens
        return x + self.linear_out(tokens).permute(0, 3, 1, 2), features


def _start(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    elif isinstance(module, nn.Conv2d):
        nn.init.normal_(module.weight, std=0.02)
    if isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
