"""Local attention: each cell attends to its window of ±7 cells, with a learned relative bias.

The grid is cut into blocks; a block's queries look at the block and a halo of 7 cells around it,
so memory and time grow linearly with the number of cells, and no N×N bias is ever built. Cells
outside a query's window are left out of the softmax, and so are cells off the grid. A sphere has
none off: there the halo holds what lies beyond the grid's edges. On GPUs flex_windows.py does the
same without a halo.
"""

from collections.abc import Callable
from functools import lru_cache

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from spidereye import flex_windows
from spidereye.sphere_padding import pad_sphere

REACH = 7  # cells that a window extends to each side
WINDOW = 2 * REACH + 1
BLOCK = 8  # side of a block of queries, in cells


class LocalAttention(nn.Module):
    """Multi-head attention over ±7 windows; q, k, v without bias, output with; scale 1/√head width.

    relative_bias: [15, 15, heads], read at (yq - yk + 7, xq - xk + 7).
    padding: "zeros": cells off the grid are not attended; "sphere": windows wrap in longitude and
    cross the poles, as `pad_sphere` does. On a grid smaller than the window a cell is then in it
    several times, each with the bias of that place, so that rolling the grid rolls the output.
    """

    def __init__(self, width: int, heads: int, padding: str = "zeros"):
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not divisible into {heads} heads")
        self.heads, self.padding = heads, padding
        self.to_q = nn.Linear(width, width, bias=False)
        self.to_k = nn.Linear(width, width, bias=False)
        self.to_v = nn.Linear(width, width, bias=False)
        self.to_out = nn.Linear(width, width)
        self.relative_bias = nn.Parameter(torch.zeros(WINDOW, WINDOW, heads))

    def forward(self, x: Float[Tensor, "B H W D"]) -> Float[Tensor, "B H W D"]:
        height, width = x.shape[1:3]
        query, key, value = self.to_q(x), self.to_k(x), self.to_v(x)
        if x.is_cuda and flex_windows.is_possible(height, width, REACH, self.padding):
            q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (query, key, value))
            bias = self.relative_bias.to(q.dtype)
            return self.to_out(flex_windows.attend(q, k, v, bias, self.padding).flatten(-2))
        return self.to_out(self._in_blocks(query, key, value))

    def _in_blocks(
        self,
        query: Float[Tensor, "B H W D"],
        key: Float[Tensor, "B H W D"],
        value: Float[Tensor, "B H W D"],
    ) -> Float[Tensor, "B H W D"]:
        batch, height, width, channels = query.shape
        rows, columns = -(-height // BLOCK), -(-width // BLOCK)
        query = _blocks(_padded(query, halo=0))  # [B, blocks, 64, D]
        key = _blocks(_padded(key, REACH, self.padding), REACH)  # [B, blocks, 484, D]
        value = _blocks(_padded(value, REACH, self.padding), REACH)
        bias = self._bias(height, width).to(query.dtype)  # [blocks or 1, heads, 64, 484]
        # PyTorch has fast kernels for 4 dimensions only, the last of them contiguous: blocks join
        # the batch where its samples need no biases of their own, else the heads.
        to_batch = bias.shape[0] == 1 or batch == 1
        parts = [self._split_heads(part) for part in (query, key, value)]
        joined = [part.flatten(0, 1) if to_batch else part.flatten(1, 2) for part in parts]
        mask = bias if to_batch else bias.flatten(0, 1)[None]
        out = F.scaled_dot_product_attention(*joined, attn_mask=mask).reshape(parts[0].shape)
        out = out.transpose(-3, -2).reshape(batch, rows, columns, BLOCK, BLOCK, channels)
        out = out.transpose(2, 3).reshape(batch, rows * BLOCK, columns * BLOCK, channels)
        return out[:, :height, :width]

    def _split_heads(self, x: Float[Tensor, "B n cells D"]) -> Float[Tensor, "B n heads cells d"]:
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)

    def _bias(self, height: int, width: int) -> Float[Tensor, "n heads q k"]:
        device = str(self.relative_bias.device)
        # An embedding, because its gradient is deterministic where that of indexing is not.
        bias = F.embedding(_window_index(device), self.relative_bias.flatten(0, 1)).permute(2, 0, 1)
        attended = _within(device)[None]
        if self.padding == "zeros":
            attended = _attended(height, width, device)
        return torch.where(attended[:, None], bias, -torch.inf)


def _padded(
    x: Float[Tensor, "B H W D"], halo: int, padding: str = "zeros"
) -> Float[Tensor, "B h w D"]:
    """The grid with a halo, made up to whole blocks at the bottom and at the right."""
    bottom, right = (halo + -side % BLOCK for side in x.shape[1:3])
    if padding == "zeros":
        return F.pad(x, (0, 0, halo, right, halo, bottom))
    return pad_sphere(x.permute(0, 3, 1, 2), halo, bottom, halo, right).permute(0, 2, 3, 1)


def _blocks(x: Float[Tensor, "B h w D"], halo: int = 0) -> Float[Tensor, "B n cells D"]:
    """Every block of a padded grid with `halo` cells around it."""
    side, channels = BLOCK + 2 * halo, x.shape[-1]
    x = x.unfold(1, side, BLOCK).unfold(2, side, BLOCK)  # [B, rows, columns, D, side, side]
    return x.permute(0, 1, 2, 4, 5, 3).reshape(x.shape[0], -1, side * side, channels)


def _table(make: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Makes a table once for its arguments. It outlives the call that makes it, so it must not
    become an inference tensor, which training could not save for its backward pass."""
    return lru_cache(maxsize=8)(torch.inference_mode(False)(make))


@_table
def _window_index(device: str) -> Int[Tensor, "q k"]:
    """For each query and key of a block: the row of the flat bias table; 0 outside the window."""
    down, across = _offsets(device)
    return (down * WINDOW + across).clamp(0, WINDOW**2 - 1)


@_table
def _within(device: str) -> Bool[Tensor, "q k"]:
    """For each query and key of a block: whether the key is within the query's window."""
    down, across = _offsets(device)
    return (down >= 0) & (down < WINDOW) & (across >= 0) & (across < WINDOW)


def _offsets(device: str) -> tuple[Int[Tensor, "q k"], Int[Tensor, "q k"]]:
    """Rows and columns from each key of a block and its halo to each query, plus REACH."""
    q = torch.arange(BLOCK, device=device)
    k = torch.arange(BLOCK + 2 * REACH, device=device) - REACH
    offset = q[:, None] - k[None, :] + REACH  # [8, 22] along one axis
    down, across = torch.broadcast_tensors(
        offset[:, None, :, None], offset[None, :, None, :]
    )  # [8, 8, 22, 22]
    return down.flatten(2).flatten(0, 1), across.flatten(2).flatten(0, 1)


@_table
def _attended(height: int, width: int, device: str) -> Bool[Tensor, "n q k"]:
    """For each block: which keys are within a query's window and on the grid."""
    grid = torch.ones(1, height, width, 1, device=device)
    on_grid = _blocks(_padded(grid, REACH), REACH)[0, :, :, 0] > 0  # [n, k]
    return _within(device) & on_grid[:, None]


def prepare_compiling() -> None:
    """Let compiled code take the tables as they are instead of making them itself; to be called
    before a network is compiled. Not done on import: it loads the compiler, which takes seconds."""
    for table in (_window_index, _within, _attended):
        torch.compiler.assume_constant_result(table)
