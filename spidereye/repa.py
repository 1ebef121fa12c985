"""REPA: the decoder's inner features should tell what DINOv2 sees in the picture.

Layer: networks. Yu et al., "Representation Alignment for Generation", 2024: an MLP maps a decoder
block's tokens to DINOv2's patch features of the true picture, cell by cell; the loss is one minus
their cosine. DINOv2 (Oquab et al., 2023) comes through transformers (extra `repa`) and is frozen.
"""

from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError, require_extra

DINOV2_BASE = "facebook/dinov2-base"

# ImageNet's mean and deviation per channel, for pictures in [0, 1].
_MEAN = (0.485, 0.456, 0.406)
_DEVIATION = (0.229, 0.224, 0.225)


class DINOv2(nn.Module):
    """The teacher: patch features of pictures.

    model: a transformers Dinov2Model (with registers or without)
    width: of its features
    patch: side of a patch in pixels
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, model: nn.Module, width: int, patch: int):
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.width = width
        self.patch = patch
        for name, value in (("mean", _MEAN), ("deviation", _DEVIATION)):
            self.register_buffer(name, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    @classmethod
    def load(cls, name: str = DINOV2_BASE) -> "DINOv2":
        """The model of this Hugging Face name, or in this folder, on the CPU in float32.

        Looks at the folder and the local cache first, then downloads. Raises SpiderEyeError where
        transformers is not installed, and where the model cannot be had, is incomplete, or is not
        a DINOv2.
        """
        try:
            from transformers import AutoModel
        except ImportError as error:
            raise require_extra("repa", "transformers") from error
        try:
            loaded = AutoModel.from_pretrained(
                name, local_files_only=True, output_loading_info=True, dtype=torch.float32
            )
        except Exception as first:  # transformers wraps what can go wrong in many types
            if Path(name).exists():
                raise _unavailable(name, first) from first
            try:
                loaded = AutoModel.from_pretrained(
                    name, output_loading_info=True, dtype=torch.float32
                )
            except Exception as error:
                raise _unavailable(name, error) from error
        model, info = loaded
        if model.config.model_type not in ("dinov2", "dinov2_with_registers"):
            raise SpiderEyeError(
                f"REPA's teacher must be a DINOv2, {name} is a {model.config.model_type}; use "
                f"{DINOV2_BASE} or another of its sizes"
            )
        # transformers fills what a file lacks with random numbers and goes on.
        lacking = [*info["missing_keys"], *(key for key, *_ in info["mismatched_keys"])]
        if lacking:
            raise SpiderEyeError(
                f"{name} lacks weights of DINOv2, or has them in another shape: "
                f"{', '.join(lacking[:3])}; download {_address(name)} again"
            )
        return cls(model, model.config.hidden_size, model.config.patch_size)

    def train(self, mode: bool = True):
        """Stays in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def patch_features(
        self, picture: Float[Tensor, "B 3 H W"], grid: tuple[int, int]
    ) -> Float[Tensor, "B T D"]:
        """Features of pictures in [-1, 1], one per cell of a grid (rows, columns), row by row.

        The picture is resized (bicubic, anti-aliased) so that each cell is one patch.
        """
        rows, columns = grid
        size = (rows * self.patch, columns * self.patch)
        x = F.interpolate(picture, size, mode="bicubic", antialias=True, align_corners=False)
        x = ((x + 1) / 2 - self.mean) / self.deviation  # [B, 3, rows·patch, columns·patch]
        tokens = self.model(pixel_values=x).last_hidden_state  # [B, 1 + registers + T, D]
        return tokens[:, -rows * columns :]  # the patches come last


class RepaHead(nn.Module):
    """MLP from the decoder's tokens to DINOv2's features, SiLU between its layers.

    width: of the decoder's tokens
    dino_width: of DINOv2's features
    n_layers: linear layers
    hidden: width between them; None: the larger of the other two
    """

    def __init__(self, width: int, dino_width: int, n_layers: int = 2, hidden: int | None = None):
        super().__init__()
        if n_layers < 1:
            raise SpiderEyeError(f"aux_losses.repa.n_layers={n_layers}: use 1 or more")
        inner = hidden or max(width, dino_width)
        widths = [width, *[inner] * (n_layers - 1), dino_width]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.SiLU()]
        self.layers = nn.Sequential(*layers[:-1])  # nothing behind the last linear

    def forward(self, tokens: Float[Tensor, "B T width"]) -> Float[Tensor, "B T D"]:
        return self.layers(tokens)


def repa_loss(
    head_output: Float[Tensor, "B T D"], dino_features: Float[Tensor, "B T D"]
) -> Float[Tensor, " B"]:
    """1 - cosine of the two, averaged over the patches, in [0, 2] per sample, in float32."""
    cosine = F.cosine_similarity(head_output.float(), dino_features.float(), dim=-1)  # [B, T]
    return 1 - cosine.mean(1)


def _address(name: str) -> str:
    return name if Path(name).exists() else f"https://huggingface.co/{name}"


def _unavailable(name: str, error: Exception) -> SpiderEyeError:
    from huggingface_hub import constants

    reason = str(error).partition("\n")[0]
    return SpiderEyeError(
        f"REPA needs the model {name}, which cannot be loaded ({reason}); put {_address(name)} "
        f"into the Hugging Face cache ({constants.HF_HUB_CACHE}) or give the path of a folder that "
        "holds it, or turn the term off with aux_losses.repa=null"
    )
