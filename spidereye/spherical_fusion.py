"""Spherical fusion: each cell of the panorama latent asks the views that see it.

A cell's rays are projected into every view with that shot's cameras (latent_grid.py), the view
latents are read there, and attention over all that was read, told how the views see the cell,
decides what has to be added to their mean. Cells do not mix, views have no numbers: the order of
the views is of no matter, and a view counts only in the cells that it sees.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.latent_grid import RAYS, SIGHT, LatentGrid

_HEADS = 4
_ROUNDS = 2  # of attention: the second asks with what the first found


class SphericalFusion(nn.Module):
    """Any number and order of views, of any size, lens and rig; a learned token where none sees.

    channels: C.   hidden: width D of what is attended to.
    """

    def __init__(self, channels: int, hidden: int):
        if hidden % _HEADS:
            raise SpiderEyeError(
                f"ssdd.fusion_hidden_dim is a multiple of {_HEADS}, its heads; got {hidden}"
            )
        super().__init__()
        # A cell of a view with its neighbours, so that reading between cells loses little.
        self.channels = channels
        self.lift = nn.Conv2d(channels, hidden, 3, padding=1, padding_mode="replicate")
        self.tell = nn.Sequential(
            nn.Linear(SIGHT, hidden), nn.SiLU(), nn.Linear(hidden, 2 * hidden)
        )
        self.ray = nn.Parameter(torch.zeros(RAYS**2, hidden))  # which of a cell's rays
        self.agree = nn.Linear(hidden, hidden, bias=False)
        self.token = _feed_forward(hidden)
        self.start = nn.Parameter(torch.randn(hidden) * 0.02)
        self.rounds = nn.ModuleList(Round(hidden) for _ in range(_ROUNDS))
        self.out = nn.Linear(hidden, channels)
        # So it starts as the mean, of which the decoder can learn from the first step on.
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(
        self, z_views: Sequence[Float[Tensor, "B C _ _"]], grid: LatentGrid
    ) -> Float[Tensor, "B C zH zW"]:
        """z_views: N latents, of any sizes."""
        batch = z_views[0].shape[0]
        read = torch.stack([self._read(z, grid, i) for i, z in enumerate(z_views)], dim=1)
        seen = grid.seen.expand(batch, *grid.seen.shape[1:])  # [B, N, T, zH, zW]
        read, own = read.split((read.shape[-1] - self.channels, self.channels), dim=-1)
        mean = _mean(own, seen, dim=(1, 2))[:, 0, 0].permute(0, 3, 1, 2)  # [B, C, zH, zW]
        scale, shift = self.tell(grid.sight).chunk(2, dim=-1)
        read = torch.where(seen[..., None], read, 0.0)
        tokens = read * (1 + scale) + shift + self._rays(read) - self.agree(self._apart(read, seen))
        tokens = read + self.token(tokens)
        # [B, N, T, zH, zW, D] to [B, cells, N·T, D]
        tokens = tokens.permute(0, 3, 4, 1, 2, 5).flatten(3, 4)
        mask = seen.permute(0, 3, 4, 1, 2).flatten(3, 4)
        x = self.start.expand(*tokens.shape[:3], -1)
        for one in self.rounds:
            x = one(x, tokens, mask)
        return mean + self.out(x).permute(0, 3, 1, 2)

    def _read(self, z: Tensor, grid: LatentGrid, view: int) -> Float[Tensor, "B T zH zW E"]:
        """A view's latent along the rays: D lifted channels, then its own C."""
        place = grid.place[:, view]  # [b, T, zH, zW, 2]
        place = place.expand(z.shape[0], *place.shape[1:])
        lifted = torch.cat((self.lift(z), z), dim=1)
        # In half precision a place would lose a tenth of a cell.
        exact = torch.promote_types(lifted.dtype, place.dtype)
        lifted, flat = lifted.to(exact), place.flatten(1, 2).to(exact)
        made = F.grid_sample(
            lifted, flat, padding_mode="border", align_corners=False
        )  # [B, E, T·zH, zW]
        return made.unflatten(2, place.shape[1:3]).permute(0, 2, 3, 4, 1)

    def _rays(self, read: Tensor) -> Float[Tensor, "T 1 1 D"]:
        """The vector of each point's ray."""
        radii = read.shape[2] // len(self.ray)
        return self.ray.repeat(radii, 1)[:, None, None]

    def _apart(self, read: Tensor, seen: Tensor) -> Float[Tensor, "B N T zH zW D"]:
        """How far each view is from the mean of all at a point: on the right sphere they agree."""
        return (read - _mean(read, seen, dim=(1,))).square() * seen[..., None]


def _mean(
    read: Float[Tensor, "B N T zH zW K"], seen: Bool[Tensor, "B N T zH zW"], dim: tuple[int, ...]
) -> Float[Tensor, "B n t zH zW K"]:
    """Over the views, or views and points, that see; 0 where none does."""
    weight = seen[..., None].to(read.dtype)
    count = weight.sum(dim=dim, keepdim=True).clamp_min(1)
    return (read * weight).sum(dim=dim, keepdim=True) / count


class Round(nn.Module):
    """x += attention of each cell to its tokens; x += feed-forward."""

    def __init__(self, width: int):
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.norm_tokens = nn.LayerNorm(width)
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_kv = nn.Linear(width, 2 * width, bias=False)
        self.to_out = nn.Linear(width, width, bias=False)
        self.feed_forward = _feed_forward(width)

    def forward(
        self,
        x: Float[Tensor, "B zH zW D"],
        tokens: Float[Tensor, "B zH zW M D"],
        mask: Bool[Tensor, "B zH zW M"],
    ) -> Float[Tensor, "B zH zW D"]:
        """mask: which tokens may be attended to; where none may, attention adds nothing."""
        q = self.to_q(self.norm1(x)).unflatten(-1, (_HEADS, -1))
        k, v = self.to_kv(self.norm_tokens(tokens)).chunk(2, dim=-1)
        k, v = k.unflatten(-1, (_HEADS, -1)), v.unflatten(-1, (_HEADS, -1))
        score = (q[..., None, :, :] * k).sum(-1) / q.shape[-1] ** 0.5  # [B, zH, zW, M, heads]
        # Finite, and multiplied by the mask again: softmax of nothing would be NaN.
        score = score.masked_fill(~mask[..., None], torch.finfo(score.dtype).min)
        share = score.softmax(dim=-2) * mask[..., None]
        found = (share[..., None] * v).sum(dim=-3).flatten(-2)
        x = x + self.to_out(found)
        return x + self.feed_forward(self.norm2(x))


def _feed_forward(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, 2 * width), nn.SiLU(), nn.Linear(2 * width, width))
