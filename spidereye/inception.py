"""The Inception v3 network that FID is defined with.

Layer: networks. Szegedy et al., "Rethinking the Inception Architecture", 2016, in the edition of
TensorFlow's 2015 weights that Heusel et al., "GANs Trained by a Two Time-Scale Update Rule", 2017
chose for FID. It differs from the usual network: average pools leave the padding out of the mean,
the last block pools by maximum, pictures are resized by TensorFlow 1's bilinear rule and scaled as
(x - 128) / 128. Module names are the keys of the published file. All of it is frozen.

The network is a table: a block is branches whose outputs are joined, a branch is steps in order.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from spidereye.filling import fill
from spidereye.weight_files import find, load_state

INPUT_SIZE: Final = 299  # pixels a side


@dataclass(frozen=True)
class _Conv:
    """Convolution without bias, batch norm, ReLU. kernel: (rows, columns); same: keeps the size."""

    name: str
    width: int
    kernel: tuple[int, int] = (1, 1)
    stride: int = 1
    same: bool = True


_Pool = Callable[[Tensor], Tensor]
_Step = _Conv | _Pool | tuple[_Conv, _Conv]  # a pair: both on the same input, outputs joined
_Branch = tuple[_Step, ...]

_mean3: Final[_Pool] = partial(
    F.avg_pool2d, kernel_size=3, stride=1, padding=1, count_include_pad=False
)
_max3: Final[_Pool] = partial(F.max_pool2d, kernel_size=3, stride=1, padding=1)
_halve: Final[_Pool] = partial(F.max_pool2d, kernel_size=3, stride=2)

_3x3 = (3, 3)
_row = (1, 7)
_column = (7, 1)


def _block_35(pooled: int) -> tuple[_Branch, ...]:
    """On 35 x 35 cells; pooled: width of the branch behind the pool."""
    return (
        (_Conv("branch1x1", 64),),
        (_Conv("branch5x5_1", 48), _Conv("branch5x5_2", 64, (5, 5))),
        (
            _Conv("branch3x3dbl_1", 64),
            _Conv("branch3x3dbl_2", 96, _3x3),
            _Conv("branch3x3dbl_3", 96, _3x3),
        ),
        (_mean3, _Conv("branch_pool", pooled)),
    )


def _block_17(inner: int) -> tuple[_Branch, ...]:
    """On 17 x 17 cells, 7 x 7 convolutions split into rows and columns of width `inner`."""
    return (
        (_Conv("branch1x1", 192),),
        (
            _Conv("branch7x7_1", inner),
            _Conv("branch7x7_2", inner, _row),
            _Conv("branch7x7_3", 192, _column),
        ),
        (
            _Conv("branch7x7dbl_1", inner),
            _Conv("branch7x7dbl_2", inner, _column),
            _Conv("branch7x7dbl_3", inner, _row),
            _Conv("branch7x7dbl_4", inner, _column),
            _Conv("branch7x7dbl_5", 192, _row),
        ),
        (_mean3, _Conv("branch_pool", 192)),
    )


def _block_8(pool: _Pool) -> tuple[_Branch, ...]:
    """On 8 x 8 cells, 3 x 3 convolutions spread over a row and a column side by side."""
    return (
        (_Conv("branch1x1", 320),),
        (
            _Conv("branch3x3_1", 384),
            (_Conv("branch3x3_2a", 384, (1, 3)), _Conv("branch3x3_2b", 384, (3, 1))),
        ),
        (
            _Conv("branch3x3dbl_1", 448),
            _Conv("branch3x3dbl_2", 384, _3x3),
            (_Conv("branch3x3dbl_3a", 384, (1, 3)), _Conv("branch3x3dbl_3b", 384, (3, 1))),
        ),
        (pool, _Conv("branch_pool", 192)),
    )


_STEM: Final[_Branch] = (
    _Conv("Conv2d_1a_3x3", 32, _3x3, stride=2, same=False),
    _Conv("Conv2d_2a_3x3", 32, _3x3, same=False),
    _Conv("Conv2d_2b_3x3", 64, _3x3),
    _halve,
    _Conv("Conv2d_3b_1x1", 80),
    _Conv("Conv2d_4a_3x3", 192, _3x3, same=False),
    _halve,
)

_BLOCKS: Final[dict[str, tuple[_Branch, ...]]] = {
    "Mixed_5b": _block_35(32),
    "Mixed_5c": _block_35(64),
    "Mixed_5d": _block_35(64),
    "Mixed_6a": (
        (_Conv("branch3x3", 384, _3x3, stride=2, same=False),),
        (
            _Conv("branch3x3dbl_1", 64),
            _Conv("branch3x3dbl_2", 96, _3x3),
            _Conv("branch3x3dbl_3", 96, _3x3, stride=2, same=False),
        ),
        (_halve,),
    ),
    "Mixed_6b": _block_17(128),
    "Mixed_6c": _block_17(160),
    "Mixed_6d": _block_17(160),
    "Mixed_6e": _block_17(192),
    "Mixed_7a": (
        (_Conv("branch3x3_1", 192), _Conv("branch3x3_2", 320, _3x3, stride=2, same=False)),
        (
            _Conv("branch7x7x3_1", 192),
            _Conv("branch7x7x3_2", 192, _row),
            _Conv("branch7x7x3_3", 192, _column),
            _Conv("branch7x7x3_4", 192, _3x3, stride=2, same=False),
        ),
        (_halve,),
    ),
    "Mixed_7b": _block_8(_mean3),
    "Mixed_7c": _block_8(_max3),
}


class _Unit(nn.Module):
    def __init__(self, inputs: int, spec: _Conv):
        super().__init__()
        rows, columns = spec.kernel
        padding = (rows // 2, columns // 2) if spec.same else 0
        self.conv = nn.Conv2d(inputs, spec.width, spec.kernel, spec.stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(spec.width, eps=1e-3)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


def _add_units(owner: nn.Module, inputs: int, steps: _Branch) -> int:
    """Give `owner` the convolutions of these steps; returns the width they end at."""
    width = inputs
    for step in steps:
        convs = (step,) if isinstance(step, _Conv) else step if isinstance(step, tuple) else ()
        for conv in convs:
            owner.add_module(conv.name, _Unit(width, conv))
        width = sum(conv.width for conv in convs) or width
    return width


def _run(owner: nn.Module, steps: _Branch, x: Tensor) -> Tensor:
    for step in steps:
        if isinstance(step, _Conv):
            x = owner.get_submodule(step.name)(x)
        elif isinstance(step, tuple):
            x = torch.cat([owner.get_submodule(conv.name)(x) for conv in step], dim=1)
        else:
            x = step(x)
    return x


class _Mixed(nn.Module):
    def __init__(self, inputs: int, branches: tuple[_Branch, ...]):
        super().__init__()
        self.branches = branches
        self.width = sum(_add_units(self, inputs, branch) for branch in branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([_run(self, branch, x) for branch in self.branches], dim=1)


class FIDInception(nn.Module):
    """Pictures to the 2048 features of FID; `FIDInception.load()` has the published weights.

    Attributes: num_features = 2048, which torchmetrics reads.
    """

    def __init__(self):
        super().__init__()
        width = _add_units(self, 3, _STEM)
        for name, branches in _BLOCKS.items():
            block = _Mixed(width, branches)
            self.add_module(name, block)
            width = block.width
        self.num_features = width
        self.requires_grad_(False)
        self.eval()

    @classmethod
    def load(cls) -> "FIDInception":
        """The published network, on the CPU.

        Raises SpiderEyeError where its file is missing (naming file, address and folders),
        damaged, or not the published network.
        """
        with torch.device("meta"):  # no memory, and no draw from the global generator
            inception = cls()
        # Batch norms count training batches, which means nothing here: some editions of the file
        # have the counters, some do not.
        names = inception.state_dict()
        counters = {k: torch.tensor(0) for k in names if k.endswith("num_batches_tracked")}
        state = counters | load_state("inception")
        fill(inception, state, str(find("inception")), ignored=("fc.",), assign=True)
        return inception

    def train(self, mode: bool = True):
        """Stays in evaluation mode: batch norms use the stored statistics."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, pictures: UInt8[Tensor, "B 3 H W"]) -> Float[Tensor, "B 2048"]:
        """The features of 8-bit pictures of any size, in float32 also under autocast."""
        x = resize_like_tensorflow1(pictures.float(), INPUT_SIZE, INPUT_SIZE)
        x = (x - 128) / 128  # [B, 3, 299, 299]
        with torch.autocast(x.device.type, enabled=False):
            x = _run(self, _STEM, x)  # [B, 192, 35, 35]
            for name in _BLOCKS:
                x = self.get_submodule(name)(x)  # [B, 2048, 8, 8] at the end
        return x.mean((2, 3))  # [B, 2048]


def resize_like_tensorflow1(
    x: Float[Tensor, "B C H W"], height: int, width: int
) -> Float[Tensor, "B C {height} {width}"]:
    """Bilinear resizing with TensorFlow 1's default: output pixel i samples at i·(old/new), no
    half-pixel centres, no anti-aliasing, the last row and column repeated."""
    return _resize_axis(_resize_axis(x, width, -1), height, -2)


def _resize_axis(x: Tensor, size: int, dim: int) -> Tensor:
    old = x.shape[dim]
    position = torch.arange(size, device=x.device, dtype=x.dtype) * (old / size)
    below = position.floor().long().clamp(max=old - 1)
    above = (below + 1).clamp(max=old - 1)
    fraction = (position - below).view(-1, *[1] * (-1 - dim))
    return torch.lerp(x.index_select(dim, below), x.index_select(dim, above), fraction)
