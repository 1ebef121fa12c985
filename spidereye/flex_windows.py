"""Local attention by PyTorch's FlexAttention, for GPUs: no halo is gathered and no bias is built.

Tokens are put in the order of tiles, so that a window touches few blocks of the block mask. Which
blocks is decided once for a grid. Equal to the form of attention.py, which says what is computed.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

TILE = (8, 16)  # cells of a tile, as many tokens as a block of FlexAttention's has
_BLOCK = TILE[0] * TILE[1]


class Tiles(NamedTuple):
    """order: for each token the cell of the flat grid, cells off it repeat the last.   place: for
    each cell its token.   row, column: of each token, off the grid where it is none.
    mask: FlexAttention's block mask."""

    order: Int64[Tensor, " T"]
    place: Int64[Tensor, " N"]
    row: Int64[Tensor, " T"]
    column: Int64[Tensor, " T"]
    mask: Any


def is_possible(height: int, width: int, reach: int, padding: str) -> bool:
    """Whether FlexAttention is there, and no cell lies in a window twice, as on small spheres."""
    if padding == "sphere" and (width < 4 * reach + 2 or height < 2 * reach + 1):
        return False
    try:
        import torch.nn.attention.flex_attention  # noqa: F401
    except ImportError:
        return False
    return True


def attend(
    query: Float[Tensor, "B H W heads d"],
    key: Float[Tensor, "B H W heads d"],
    value: Float[Tensor, "B H W heads d"],
    table: Float[Tensor, "window window heads"],
    padding: str,
) -> Float[Tensor, "B H W heads d"]:
    """What the windows make of the values. table: the relative bias."""
    height, width = query.shape[1:3]
    reach = table.shape[0] // 2
    tiles = _tiles(height, width, reach, padding, str(query.device))
    offset = _offsets(tiles.row, tiles.column, height, width, reach, padding)

    def ordered(x: Tensor) -> Tensor:
        return x.flatten(1, 2)[:, tiles.order].transpose(1, 2).contiguous()

    # FlexAttention counts the arguments of a function's own code, which a lambda always has.
    made = _kernel(query.is_cuda)(
        ordered(query),
        ordered(key),
        ordered(value),
        score_mod=lambda score, b, head, q, k: score + table[(*offset(q, k)[:2], head)],
        block_mask=tiles.mask,
    )
    return made.transpose(1, 2)[:, tiles.place].reshape(query.shape)


def _offsets(
    row: Int64[Tensor, " T"],
    column: Int64[Tensor, " T"],
    height: int,
    width: int,
    reach: int,
    padding: str,
) -> Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]:
    """For tokens q and k: where in the table their bias stands, and whether k is in q's window."""

    def offset(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        down, right = row[q] - row[k], column[q] - column[k]
        if padding == "sphere":
            # Over a pole row -1-i is row i and row H+i row H-1-i, half the way round.
            north, south = row[q] + row[k] + 1, row[q] + row[k] + 1 - 2 * height
            over = (north <= reach) | (south >= -reach)
            over = over & ~((down.abs() <= reach) & (_wrapped(right, width).abs() <= reach))
            down = torch.where(over, torch.where(north <= reach, north, south), down)
            right = _wrapped(torch.where(over, right - width // 2, right), width)
        inside = (down.abs() <= reach) & (right.abs() <= reach)
        inside = inside & (row[q] < height) & (row[k] < height)
        inside = inside & (column[q] < width) & (column[k] < width)
        # A token off the grid attends to itself, so that its softmax is of something.
        inside = inside | (q == k)
        return down.clamp(-reach, reach) + reach, right.clamp(-reach, reach) + reach, inside

    return offset


def _wrapped(difference: Tensor, width: int) -> Tensor:
    """To within half a turn."""
    return (difference + width // 2) % width - width // 2


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _tiles(height: int, width: int, reach: int, padding: str, device: str) -> Tiles:
    from torch.nn.attention.flex_attention import create_block_mask

    rows, columns = -(-height // TILE[0]), -(-width // TILE[1])
    y = torch.arange(rows * TILE[0]).view(rows, 1, TILE[0], 1)
    x = torch.arange(columns * TILE[1]).view(1, columns, 1, TILE[1])
    row, column = (part.expand(rows, columns, *TILE).flatten().to(device) for part in (y, x))
    order = row.clamp(max=height - 1) * width + column.clamp(max=width - 1)
    here: Bool[Tensor, " T"] = (row < height) & (column < width)
    token = torch.arange(len(row), device=device)
    place = torch.empty(height * width, dtype=torch.int64, device=device)
    place[order[here]] = token[here]
    offset = _offsets(row, column, height, width, reach, padding)

    count = len(row)
    mask = create_block_mask(
        lambda b, h, q, k: offset(q, k)[2],
        None, None, count, count, device=device, BLOCK_SIZE=_BLOCK,
    )  # fmt: skip
    return Tiles(order, place, row, column, mask)


@lru_cache(maxsize=2)
def _kernel(compiled: bool) -> Callable[..., Tensor]:
    """Uncompiled it is the plain definition, with a matrix of all scores: for tests."""
    from torch.nn.attention.flex_attention import flex_attention

    if not compiled:
        return flex_attention
    return torch.compile(flex_attention, dynamic=False)
