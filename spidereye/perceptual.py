"""LPIPS: the distance of two pictures as a classifier's features see it.

Layer: networks. Zhang et al., "The Unreasonable Effectiveness of Deep Features as a Perceptual
Metric", 2018: the features of five layers are scaled to unit length per cell, their squared
differences weighted per channel by learned heads ("lin", version 0.1), averaged over the picture
and summed over the layers. VGG16 serves as training loss, AlexNet as metric.

The convolutions come from torchvision's checkpoint files under their published key names, the heads
from the files that torchmetrics ships. All of it is frozen; gradients reach the pictures only.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.filling import fill
from spidereye.weight_files import find, load_state, read_tensors

Net = Literal["vgg", "alex"]

# Per channel, for pictures in [-1, 1]: ImageNet's mean and deviation in that range, as LPIPS
# was trained with.
_SHIFT = (-0.030, -0.088, -0.188)
_SCALE = (0.458, 0.448, 0.450)

# Inside the root: a cell whose features are all zero then has a finite gradient.
_EPS = 1e-8


@dataclass(frozen=True)
class _Conv:
    """A convolution followed by ReLU; index: its number among torchvision's `features`."""

    index: int
    inputs: int
    outputs: int
    kernel: int = 3
    stride: int = 1
    padding: int = 1


@dataclass(frozen=True)
class _Stage:
    """A max pooling (size, stride) or none, then convolutions; the last ReLU's output is judged."""

    pool: tuple[int, int] | None
    convs: tuple[_Conv, ...]


_STAGES: Final[dict[str, tuple[_Stage, ...]]] = {
    "vgg": (
        _Stage(None, (_Conv(0, 3, 64), _Conv(2, 64, 64))),
        _Stage((2, 2), (_Conv(5, 64, 128), _Conv(7, 128, 128))),
        _Stage((2, 2), (_Conv(10, 128, 256), _Conv(12, 256, 256), _Conv(14, 256, 256))),
        _Stage((2, 2), (_Conv(17, 256, 512), _Conv(19, 512, 512), _Conv(21, 512, 512))),
        _Stage((2, 2), (_Conv(24, 512, 512), _Conv(26, 512, 512), _Conv(28, 512, 512))),
    ),
    "alex": (
        _Stage(None, (_Conv(0, 3, 64, kernel=11, stride=4, padding=2),)),
        _Stage((3, 2), (_Conv(3, 64, 192, kernel=5, padding=2),)),
        _Stage((3, 2), (_Conv(6, 192, 384),)),
        _Stage(None, (_Conv(8, 384, 256),)),
        _Stage(None, (_Conv(10, 256, 256),)),
    ),
}

_WEIGHTS: Final[dict[str, str]] = {"vgg": "vgg16", "alex": "alexnet"}


class LPIPS(nn.Module):
    """The LPIPS distance; `LPIPS(net)` has random weights, `LPIPS.load(net)` the published ones.

    Attributes: smallest, the least height and width of a picture in pixels.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, net: Net):
        super().__init__()
        self.net = net
        self.stages = _STAGES[net]
        self.smallest = 16 if net == "vgg" else 31  # where the last stage still has one cell
        convs = [conv for stage in self.stages for conv in stage.convs]
        self.features = nn.ModuleDict(
            {
                str(c.index): nn.Conv2d(c.inputs, c.outputs, c.kernel, c.stride, c.padding)
                for c in convs
            }
        )
        self.heads = nn.ParameterList(
            [torch.ones(1, stage.convs[-1].outputs, 1, 1) for stage in self.stages]
        )
        # On the CPU even where `load` builds the rest without memory.
        for name, value in (("shift", _SHIFT), ("scale", _SCALE)):
            constant = torch.tensor(value, device="cpu").view(1, 3, 1, 1)
            self.register_buffer(name, constant, persistent=False)
        self.requires_grad_(False)

    @classmethod
    def load(cls, net: Net) -> "LPIPS":
        """The published network, on the CPU.

        Raises SpiderEyeError where its file is missing (naming file, address, folders and the
        override that turns the term off), damaged, or not the published network.
        """
        with torch.device("meta"):  # no memory, and no draw from the global generator
            lpips = cls(net)
        convolutions = load_state(_WEIGHTS[net])
        fill(
            lpips.features,
            {key.removeprefix("features."): value for key, value in convolutions.items()},
            str(find(_WEIGHTS[net])),
            ignored=("classifier.",),
            assign=True,
        )
        path = _heads_path(net)
        heads = read_tensors(path, "reinstall torchmetrics")
        fill(
            lpips.heads,
            {
                key.removeprefix("lin").removesuffix(".model.1.weight"): value
                for key, value in heads.items()
            },
            str(path),
            assign=True,
        )
        return lpips

    def forward(
        self, prediction: Float[Tensor, "B 3 H W"], truth: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, " B"]:
        """The distance of each pair of pictures in [-1, 1]: 0 for equal ones, usually below 1.

        Raises SpiderEyeError where a picture is smaller than `smallest` pixels on a side.
        """
        height, width = prediction.shape[-2:]
        if min(height, width) < self.smallest:
            raise SpiderEyeError(
                f"LPIPS ({self.net}) needs pictures of at least {self.smallest} x {self.smallest} "
                f"pixels, came {width} x {height}; use larger pictures or turn LPIPS off"
            )
        distance = prediction.new_zeros(prediction.shape[0])
        taps = zip(self.taps(prediction), self.taps(truth), self.heads, strict=True)
        for seen, wanted, head in taps:
            difference = (_unit(seen) - _unit(wanted)).square()  # [B, C, h, w]
            distance = distance + (head * difference).sum(1).mean((1, 2))  # [B]
        return distance

    def taps(self, picture: Float[Tensor, "B 3 H W"]) -> list[Float[Tensor, "B _ _ _"]]:
        """The five feature maps that are compared, [B, C, h, w] with C and h, w of their layer."""
        x = (picture - self.shift) / self.scale
        maps = []
        for stage in self.stages:
            if stage.pool is not None:
                x = F.max_pool2d(x, *stage.pool)
            for conv in stage.convs:
                x = F.relu(self.features[str(conv.index)](x))
            maps.append(x)
        return maps


def _unit(features: Tensor) -> Tensor:
    """Each cell's feature vector at length 1; half precision is widened: the differences of unit
    vectors are too small for it."""
    wide = features.float() if features.dtype in (torch.bfloat16, torch.float16) else features
    return wide / (wide.square().sum(1, keepdim=True) + _EPS).sqrt()


def _heads_path(net: Net) -> Path:
    # By path: the module beside these files is made for torchvision, which we do without.
    spec = find_spec("torchmetrics")
    if spec is None or not spec.submodule_search_locations:
        raise SpiderEyeError(
            "LPIPS needs the package torchmetrics: pip install --force-reinstall spidereye"
        )
    package = Path(spec.submodule_search_locations[0])
    return package / "functional" / "image" / "lpips_models" / f"{net}.pth"
