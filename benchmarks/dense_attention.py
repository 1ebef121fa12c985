"""The decoder as it is published: attention of every cell to every cell, with a dense N x N bias.

The baseline of the speed benchmarks, with LocalAttention's parameters: `rebuilt` makes the bias
anew in every block and every step, as the published code does; `cached` keeps each block's, in
the precision that attention computes in.
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spidereye.attention import REACH, LocalAttention
from spidereye.layers import Upsample

FORMS = ("rebuilt", "cached")  # of the bias


class DenseAttention(nn.Module):
    """The same function of [B, H, W, D] with zeros beyond the edges. like: whose parameters."""

    def __init__(self, like: LocalAttention, cached: bool):
        super().__init__()
        self.heads, self.cached = like.heads, cached
        self.to_q, self.to_k, self.to_v, self.to_out = like.to_q, like.to_k, like.to_v, like.to_out
        self.relative_bias = like.relative_bias
        self._kept: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        q, k, v = (
            part(x.flatten(1, 2)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in (self.to_q, self.to_k, self.to_v)
        )
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=self._bias(height, width, q.dtype))
        return self.to_out(out.transpose(1, 2).reshape(batch, height, width, channels))

    def _bias(self, height: int, width: int, dtype: torch.dtype) -> Tensor:
        if not self.cached:
            return dense_bias(self.relative_bias, height, width)
        if self._kept is None:
            self._kept = dense_bias(self.relative_bias, height, width).to(dtype)
        return self._kept


def dense_bias(table: Tensor, height: int, width: int) -> Tensor:
    """[heads, N, N]: of every pair of cells, -∞ outside the windows. table: [15, 15, heads]."""
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width)).to(table.device)
    down = cells[:, None, 0] - cells[None, :, 0] + REACH
    across = cells[:, None, 1] - cells[None, :, 1] + REACH
    inside = (down >= 0) & (down <= 2 * REACH) & (across >= 0) & (across <= 2 * REACH)
    index = (down * (2 * REACH + 1) + across).masked_fill(~inside, 0)
    bias = table.flatten(0, 1).T[:, index]  # [heads, N, N]
    return bias.masked_fill(~inside, -torch.inf)


class PublishedUpsample(nn.Module):
    """Enlarged first and then convolved. like: whose parameters."""

    def __init__(self, like: Upsample):
        super().__init__()
        self.conv = like.conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(F.interpolate(x, scale_factor=2.0))


def make_published(network: nn.Module) -> None:
    """Replace whatever the published code does otherwise: attention and upsampling."""
    make_dense(network, cached=False)
    _replace(network, Upsample, PublishedUpsample)


def make_dense(network: nn.Module, cached: bool) -> None:
    """Replace every LocalAttention of a network in place."""
    _replace(network, LocalAttention, lambda child: DenseAttention(child, cached))


def _replace(network: nn.Module, kind: type[nn.Module], made: Callable[..., nn.Module]) -> None:
    """Every module of a kind by what is made of it."""
    for module in list(network.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, kind):
                setattr(module, name, made(child))
