"""Layers that the decoder and the fusions share."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from spidereye.sphere_padding import pad_sphere

PADDINGS = ("zeros", "sphere")

_STRAIGHT_RATE, _GATE_RATE = 8.0, 4.0  # how much faster than others these weights learn


def group_count(width: int) -> int:
    """The largest divisor of `width` that is at most 32."""
    return max(groups for groups in range(1, 33) if width % groups == 0)


def resize_nearest(x: Float[Tensor, "B C h w"], like: Tensor) -> Float[Tensor, "B C H W"]:
    """x nearest-resized to the height and width of `like`."""
    return x if x.shape[-2:] == like.shape[-2:] else F.interpolate(x, size=like.shape[-2:])


def modulate(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x·(1 + scale) + shift."""
    return torch.addcmul(shift, x, 1 + scale)


def modulated_silu(x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """SiLU of x·(1 + scale) + shift. Where no gradient is needed, in the place of x, which nobody
    else may hold: of a large picture's peak of memory that is half."""
    if torch.is_grad_enabled():
        return F.silu(modulate(x, scale, shift))
    return F.silu(x.mul_(1 + scale).add_(shift), inplace=True)


def silu_by_cells(
    x: Float[Tensor, "B C H W"], scale: Float[Tensor, "B C h w"], shift: Float[Tensor, "B C h w"]
) -> Float[Tensor, "B C H W"]:
    """`modulated_silu` by a scale and a shift of each cell, nearest-resized to x.

    Where a cell is a whole number of pixels, nothing is resized: pixels of a cell share its
    numbers. At full size that is two of x's size less to write and to read.
    """
    (height, width), (rows, columns) = x.shape[-2:], scale.shape[-2:]
    if height % rows or width % columns:
        return modulated_silu(x, resize_nearest(scale, x), resize_nearest(shift, x))
    cells = x.unflatten(3, (columns, width // columns)).unflatten(2, (rows, height // rows))
    scale, shift = scale[:, :, :, None, :, None], shift[:, :, :, None, :, None]
    return modulated_silu(cells, scale, shift).flatten(4, 5).flatten(2, 3)


class Recomputing(nn.Module):
    """A network that can keep less for the backward pass: of each of its blocks only the inputs,
    so that the block runs again there (Chen et al. 2016). recompute: whether it does."""

    recompute = False

    def run(self, block: nn.Module, *inputs: Tensor) -> Tensor:
        """block(*inputs)."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(block, *inputs, use_reentrant=False, preserve_rng_state=False)
        return block(*inputs)


class SphereConv2d(nn.Conv2d):
    """3x3 convolution that pads by one cell of the sphere where nn.Conv2d pads by zeros. Parameters
    and their names are those of nn.Conv2d, so state dicts fit both."""

    def __init__(self, width_in: int, width_out: int, stride: int = 1):
        super().__init__(width_in, width_out, 3, stride=stride)

    def forward(self, input: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        # Compiled code pads while it convolves, and the gradient of written edges takes copies.
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or input.shape[2] < 2:
            return super().forward(pad_sphere(input, 1, 1, 1, 1))
        return self._with_edges(input)

    def _with_edges(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B D h w"]:
        """The same without a padded copy of x, which takes as long as the convolution where x is
        large and has few channels: padded by zeros, and then the lines along the edges again."""
        weight, bias, stride = self.weight, self.bias, self.stride[0]
        made = F.conv2d(x, weight, bias, stride, padding=1)
        height, width = x.shape[2:]
        first, last = x[..., (-1, 0, 1)], x[..., (-2, -1, 0)]
        made[..., :1] = F.conv2d(first, weight, bias, stride, padding=(1, 0))
        if stride * (made.shape[3] - 1) == width - 1:  # else it sees nothing beyond the edge
            made[..., -1:] = F.conv2d(last, weight, bias, stride, padding=(1, 0))
        # Rows after columns: they know the corners.
        made[:, :, :1] = F.conv2d(pad_sphere(x[:, :, :2], 1, 0, 1, 1), weight, bias, stride)
        if stride * (made.shape[2] - 1) == height - 1:
            made[:, :, -1:] = F.conv2d(pad_sphere(x[:, :, -2:], 0, 1, 1, 1), weight, bias, stride)
        return made


def conv3x3(width_in: int, width_out: int, padding: str = "zeros", stride: int = 1) -> nn.Conv2d:
    """The 3x3 convolution of a network whose grid is padded by `padding`, one of PADDINGS.

    Raises ValueError for another name.
    """
    if padding not in PADDINGS:
        raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
    if padding == "sphere":
        return SphereConv2d(width_in, width_out, stride)
    return nn.Conv2d(width_in, width_out, 3, stride=stride, padding=1)


class TimeEmbedding(nn.Module):
    """[cos, sin] of t·10000^(-k/(width/2)), k = 0 … width/2 - 1, then linear, SiLU, linear."""

    def __init__(self, width: int):
        super().__init__()
        self.width = width
        self.linear_1 = nn.Linear(width, 4 * width)
        self.linear_2 = nn.Linear(4 * width, 4 * width)

    def forward(self, t1000: Float[Tensor, "B"]) -> Float[Tensor, "B {4*self.width}"]:
        half = self.width // 2
        k = torch.arange(half, device=t1000.device, dtype=torch.float32)
        angles = t1000[:, None].float() * torch.exp(-math.log(10000) / half * k)
        waves = torch.cat((angles.cos(), angles.sin()), dim=-1).to(self.linear_1.weight.dtype)
        return self.linear_2(F.silu(self.linear_1(waves)))


class Downsample(nn.Module):
    """Stride-2 conv3x3, padded by 1 on every side."""

    def __init__(self, width: int, padding: str = "zeros"):
        super().__init__()
        self.conv = conv3x3(width, width, padding, stride=2)

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C H/2 W/2"]:
        return self.conv(x)


class Upsample(nn.Module):
    """Nearest ×2, then conv3x3: as the one transposed convolution that this is, of stride 2, whose
    kernel is the 3x3 one with a square of 2x2 ones. It takes 4/9 of the products."""

    kept: Tensor | None

    def __init__(self, width: int, padding: str = "zeros"):
        super().__init__()
        self.conv = conv3x3(width, width, padding)
        self.register_buffer("kept", None, persistent=False)

    def keep_kernel(self) -> None:
        """Where the weights stay as they are: makes the kernel once and for all."""
        self.kept = self._kernel().detach()

    def forward(self, x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C 2*H 2*W"]:
        kernel = self._kernel() if self.kept is None else self.kept
        crop = 1
        if isinstance(self.conv, SphereConv2d):
            x, crop = pad_sphere(x, 1, 1, 1, 1), 3  # of what its edges become
        return F.conv_transpose2d(x, kernel, self.conv.bias, stride=2, padding=crop)

    def _kernel(self) -> Float[Tensor, "C C 4 4"]:
        shifted = [(left, 1 - left, top, 1 - top) for left in (0, 1) for top in (0, 1)]
        summed = torch.stack([F.pad(self.conv.weight, shift) for shift in shifted]).sum(dim=0)
        return summed.flip(2, 3).transpose(0, 1)


class StraightPath(nn.Module):
    """The last `channels` of a network's inputs straight to its three outputs: linear, where they
    are, each weighed by the time. Made to learn fast under Adam, whose steps have one size for all:
    its weights may have to grow to about 1."""

    def __init__(self, channels: int, time_width: int):
        super().__init__()
        self.channels = channels
        self.weights = nn.Conv2d(channels, 3, 1, bias=False)
        self.gate = nn.Linear(time_width, channels)

    def start(self, first: Float[Tensor, "3 K"] | None = None) -> None:
        """At 0 and alike at all times; first: what the first K channels start with instead."""
        for parameter in self.parameters():
            nn.init.zeros_(parameter)
        if first is not None:
            with torch.no_grad():
                self.weights.weight[:, : first.shape[1], 0, 0] = first / _STRAIGHT_RATE

    def forward(
        self, inputs: Float[Tensor, "B _ H W"], time: Float[Tensor, "B T"]
    ) -> Float[Tensor, "B 3 H W"]:
        gate = 1 + _GATE_RATE * self.gate(F.silu(time))[:, :, None, None]
        return _STRAIGHT_RATE * self.weights(gate * inputs[:, -self.channels :])
