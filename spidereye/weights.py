"""Finding weights and filling networks with them, strictly.

A specification is a path, `run_name`, `run_name@best`, `run_name@last`, the name of weights that
come with the package, or a Hugging Face id. What it leads to is one of our checkpoint folders, or a
flat safetensors file of the published family or of its multi-view fork.
"""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from spidereye.checkpoint import Weights, is_checkpoint, read_weights
from spidereye.decoder import UViT
from spidereye.errors import SpiderEyeError
from spidereye.filling import fill
from spidereye.model import SpiderEyeModel
from spidereye.published import from_published, is_published
from spidereye.released import released

AS_MADE = "set ssdd.encoder, ssdd.encoder_width, ssdd.decoder and ssdd.fusion_type as it was made"


@dataclass(frozen=True)
class Found:
    """Where a specification leads. note: what a reader should know, e.g. a licence."""

    path: Path
    note: str = ""

    @property
    def is_ours(self) -> bool:
        """Whether it is one of our checkpoint folders, which carry their configuration."""
        return is_checkpoint(self.path)


def find_checkpoint(specification: str, runs_dir: str = "runs") -> Found:
    """The folder or file that a specification means. Raises SpiderEyeError with what was tried."""
    if not specification:
        raise SpiderEyeError("the checkpoint's name is empty; leave it out, or give a path or run")
    try:
        return _find(specification, runs_dir)
    except OSError as error:
        raise SpiderEyeError(f"no checkpoint {specification!r}: {error.strerror}") from error


def _find(specification: str, runs_dir: str) -> Found:
    path = Path(specification)
    for folder in (path, path / "best", path / "last"):  # a run stands for its best checkpoint
        if is_checkpoint(folder):
            return Found(folder)
    # Anything else that bears the name of the package's own is not meant by it.
    if path.exists() and specification not in released():
        return Found(_weight_file(path) if path.is_dir() else path)
    run_name, _, which = specification.partition("@")
    run = Path(runs_dir) / "jobs" / run_name
    if which not in ("", "best", "last"):
        raise SpiderEyeError(f"{specification!r}: after @ comes best or last, got {which!r}")
    for inner in [which] if which else ["best", "last"]:
        if is_checkpoint(run / inner):
            return Found(run / inner)
    if specification in released():
        return Found(released()[specification])
    if re.fullmatch(r"\w[\w.-]*/\w[\w.-]*", specification):
        return _from_hub(specification)
    raise SpiderEyeError(
        f"no checkpoint {specification!r}: there is no such path, no run {run} with a checkpoint, "
        f"it is none of the package's own ({', '.join(released())}), and it does not read like a "
        "Hugging Face id (owner/name)"
    )


def load_weights(
    model: SpiderEyeModel,
    found: Found,
    weights: Weights = "ema",
    only: str | None = None,
    whole: bool = False,
    to_train: bool = False,
) -> str:
    """Fill a model from a checkpoint, strictly; returns what was loaded, in words.

    only: the name of one network ("encoder") to fill; None: all.   whole: nothing may start fresh.
    to_train: weights that have no use as they are may still be what training starts from.
    A published file must fill encoder and decoder exactly; the fusion then starts fresh, which the
    returned text says. So it says what starts at zero where the weights are of a decoder that is
    told less: what else it is told, and to train a flow from a stitch, what is added to the stitch.
    Anything else missing, unexpected or misshapen raises SpiderEyeError naming it.
    """
    published, extended = False, ""
    if found.is_ours:
        state, text = read_weights(found.path, weights), f"{weights} weights of {found.path}"
    else:
        state = _read_safetensors(found.path)
        text = f"weights of {found.path}"
        published = is_published(state)
        if published:
            state = from_published(state, weights)
            text = f"published {text}"
    if not whole:
        state, extended = _told_more(state, model.decoder, to_train and published)
    target: nn.Module = model
    if only is not None:
        state = {
            name.removeprefix(f"{only}."): tensor
            for name, tensor in state.items()
            if name.startswith(f"{only}.")
        }
        target = getattr(model, only)
        text = f"{only} from {text}"
    elif not whole and not any(name.startswith("fusion.") for name in state):
        state |= {f"fusion.{name}": value for name, value in model.fusion.state_dict().items()}
        text += " (they have no fusion, which starts fresh)"
    if extended and only in (None, "decoder"):
        text += f" ({extended})"
    fill(target, state, str(found.path), AS_MADE)
    return text + (f"; {found.note}" if found.note else "")


def _told_more(
    state: dict[str, Tensor], decoder: UViT, from_stitch: bool
) -> tuple[dict[str, Tensor], str]:
    """Weights of a decoder that is told nothing but x_t, t and z, made to fit one that is told
    more, with zeros: from noise the same function, from a stitch that stitch. Also what starts so,
    in words; other weights come back as they are.

    from_stitch: whether they may become those of a flow from a stitch, which leaves their output
    without a use."""
    name, extra = "decoder.conv_in.weight", decoder.config.extra_channels
    weight, wanted = state.get(name), decoder.conv_in.in_channels - extra
    if not extra or (decoder.config.residual and not from_stitch):
        return state, ""
    if weight is None or weight.ndim != 4 or weight.shape[1] != wanted:
        return state, ""
    zeros = weight.new_zeros(len(weight), extra, *weight.shape[2:])
    parts, text = ("shot_embedding.",), f"the decoder's {extra} extra input channels start at zero"
    if decoder.config.residual:
        parts, text = (*parts, "straight.", "conv_out."), f"{text}, and so does its output"
    started = {
        f"decoder.{key}": torch.zeros_like(value)
        for key, value in decoder.state_dict().items()
        if key.startswith(parts)
    }
    return {**state, **started, name: torch.cat((weight, zeros), dim=1)}, text


def _weight_file(folder: Path) -> Path:
    files = sorted(folder.glob("*.safetensors"))
    preferred = folder / "model.safetensors"
    if preferred in files:
        return preferred
    if len(files) == 1:
        return files[0]
    raise SpiderEyeError(
        f"{folder} holds {len(files)} .safetensors files and no checkpoint of ours; "
        "name the file itself"
    )


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    if path.suffix != ".safetensors":
        raise SpiderEyeError(
            f"{path}: weights are read from .safetensors files or checkpoint folders only"
        )
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise SpiderEyeError(f"{path} is damaged or no safetensors file: {error}") from error


def digest(model: nn.Module) -> str:
    """SHA-256 of all weights' names and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def _from_hub(identifier: str) -> Found:
    from huggingface_hub import model_info, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    patterns = ["*.safetensors", "*.yaml", "*.json", "*.png", "README.md"]
    try:
        folder = Path(snapshot_download(identifier, allow_patterns=patterns))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        raise SpiderEyeError(
            f"no checkpoint {identifier!r}: neither a path nor a run of ours, and the Hugging Face "
            f"hub gave none ({type(error).__name__}); download it elsewhere and give its path"
        ) from error
    try:
        card = model_info(identifier).card_data
        licence = (card.get("license") if card else None) or "not stated"
    except (HfHubHTTPError, OSError):
        licence = "unknown (the hub could not be asked)"
    path = folder if is_checkpoint(folder) else _weight_file(folder)
    return Found(path, note=f"licence of {identifier}: {licence}")
