"""A transformer block over the cells of a panorama, told each cell's context."""

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.attention import LocalAttention
from spidereye.layers import modulate


class TransformerBlock(nn.Module):
    """x += attention(norm modulated by the context); x += feed-forward(norm)."""

    def __init__(self, width: int, heads: int, base: int, padding: str):
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Linear(base, 2 * width)
        self.attention = LocalAttention(width, heads, padding)
        self.norm2 = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width)

    def forward(
        self, x: Float[Tensor, "B H W D"], context: Float[Tensor, "B H W K"]
    ) -> Float[Tensor, "B H W D"]:
        # Shift before scale here, scale before shift in the residual blocks: as published.
        shift, scale = self.modulation(context).chunk(2, dim=-1)
        x = x + self.attention(modulate(self.norm1(x), scale, shift))
        return x + self.feed_forward(self.norm2(x))


class FeedForward(nn.Module):
    """Gated: linear to 8·width = (value, gate), value·GELU(gate), linear back (Shazeer 2020)."""

    def __init__(self, width: int):
        super().__init__()
        self.linear_in = nn.Linear(width, 8 * width)
        self.linear_out = nn.Linear(4 * width, width)

    def forward(self, x: Float[Tensor, "*b D"]) -> Float[Tensor, "*b D"]:
        value, gate = self.linear_in(x).chunk(2, dim=-1)
        return self.linear_out(value * F.gelu(gate))
