"""Checkpoints on disk: whole or not there at all, and without pickles.

A checkpoint is a folder of
    raw.safetensors, ema.safetensors   the two sets of weights, under our names
    config.yaml                        the configuration that made them
    training.safetensors, .json        the training state (optimizer, counters)
    rig.yaml (and its masks)           the rig, where the configuration names a file of one
    manifest.json                      the size of every file above, written last
It is written to a temporary folder, synced and renamed, so that a crash leaves the previous one.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args

import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.rig import Rig
from spidereye.rig_files import read_rig, write_rig

_T = TypeVar("_T")
Weights = Literal["ema", "raw"]
MANIFEST, RIG = "manifest.json", "rig.yaml"


@dataclass
class Checkpoint:
    """What a checkpoint folder holds. training: anything JSON; training_tensors: its tensors.
    rig: None where the configuration describes it by itself."""

    raw: dict[str, Tensor]
    ema: dict[str, Tensor]
    config: dict[str, Any]
    training: dict[str, Any] = field(default_factory=dict)
    training_tensors: dict[str, Tensor] = field(default_factory=dict)
    rig: Rig | None = None


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace `folder` by this checkpoint. Raises SpiderEyeError where it cannot be written (a full
    disk, say); the previous checkpoint is then still whole and in place."""

    def write(new: Path) -> None:
        _write_tensors(new / "raw.safetensors", checkpoint.raw)
        _write_tensors(new / "ema.safetensors", checkpoint.ema)
        _write_tensors(new / "training.safetensors", checkpoint.training_tensors)
        _write_text(new / "training.json", json.dumps(checkpoint.training, indent=1))
        if checkpoint.rig is not None:
            write_rig(checkpoint.rig, new / RIG)

    _replace(folder, checkpoint.config, write)


def save_for_use(folder: Path, ema: Mapping[str, Tensor], config: dict[str, Any]) -> None:
    """Replace `folder` by a checkpoint to use or to start from, not to resume: EMA weights alone,
    in half precision. Errors as of save_checkpoint."""
    half = {name: part.half() if part.is_floating_point() else part for name, part in ema.items()}
    _replace(folder, config, lambda new: _write_tensors(new / "ema.safetensors", half))


def _replace(folder: Path, config: dict[str, Any], write: Callable[[Path], None]) -> None:
    """The folder by one that `write` fills, whole or not at all."""
    new, old = _beside(folder, "new"), _beside(folder, "old")
    recover(folder)
    try:
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(parents=True)
        _write_text(new / "config.yaml", yaml.safe_dump(config, sort_keys=False))
        write(new)
        sizes = {path.name: path.stat().st_size for path in sorted(new.iterdir())}
        _write_text(new / MANIFEST, json.dumps(sizes, indent=1))
        _sync_folder(new)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(new, ignore_errors=True)
        kept = f"the checkpoint before it at {folder} is untouched" if folder.exists() else (
            "there was none before it"
        )  # fmt: skip
        raise SpiderEyeError(f"cannot save a checkpoint to {folder}: {error}; {kept}") from error
    if folder.exists():
        folder.rename(old)
    new.rename(folder)
    _sync_folder(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def recover(folder: Path) -> None:
    """Undo a replacement that a crash cut between its two renames."""
    old = _beside(folder, "old")
    if old.exists():
        if folder.exists():
            shutil.rmtree(old, ignore_errors=True)
        else:
            old.rename(folder)


def is_checkpoint(folder: Path) -> bool:
    """Whether `folder` is, or after `recover` would be, one of our checkpoints."""
    return (folder / MANIFEST).exists() or (_beside(folder, "old") / MANIFEST).exists()


def load_checkpoint(folder: Path) -> Checkpoint:
    """Everything, for resuming. Raises SpiderEyeError for an incomplete or damaged copy."""
    config = _config(folder)
    return Checkpoint(
        raw=_read(folder / "raw.safetensors", load_file),
        ema=_read(folder / "ema.safetensors", load_file),
        config=config,
        training=_read(folder / "training.json", _json),
        training_tensors=_read(folder / "training.safetensors", load_file),
        rig=read_rig(folder / RIG) if (folder / RIG).is_file() else None,
    )


def read_config(folder: Path) -> dict[str, Any]:
    """The configuration that a checkpoint was made with. Errors as of load_checkpoint."""
    config = _config(folder)
    if (folder / RIG).is_file():  # the file it was read from may be elsewhere, changed or gone
        config["dataset"]["rig"] = str(folder / RIG)
    return config


def _config(folder: Path) -> dict[str, Any]:
    recover(folder)
    _verify(folder)
    return _read(folder / "config.yaml", _yaml)


def read_weights(folder: Path, weights: Weights) -> dict[str, Tensor]:
    """One of a checkpoint's two sets of weights. Raises SpiderEyeError for an incomplete or damaged
    copy, and for weights that it has not."""
    if weights not in get_args(Weights):
        raise SpiderEyeError(f"weights are {' or '.join(get_args(Weights))}, got {weights!r}")
    recover(folder)
    _verify(folder)
    file = folder / f"{weights}.safetensors"
    if not file.is_file():
        raise SpiderEyeError(f"{folder} holds its EMA weights only; leave weights at ema")
    return _read(file, load_file)


def _read(file: Path, how: Callable[[Path], _T]) -> _T:
    """A file of a checkpoint as `how` reads it."""
    try:
        return how(file)
    except (SafetensorError, yaml.YAMLError, ValueError, OSError) as error:
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise SpiderEyeError(
            f"the checkpoint {file.parent} is damaged: {file.name}: {why}; copy the folder again"
        ) from error


def _json(file: Path) -> dict[str, Any]:
    return _mapping(json.loads(file.read_text(encoding="utf-8")))


def _yaml(file: Path) -> dict[str, Any]:
    return _mapping(yaml.safe_load(file.read_text(encoding="utf-8")))


def _mapping(values: Any) -> dict[str, Any]:
    if not isinstance(values, dict):
        raise ValueError(f"expected names and values, got {type(values).__name__}")
    return values


def _verify(folder: Path) -> None:
    if not (folder / MANIFEST).is_file():
        raise SpiderEyeError(
            f"{folder} is no checkpoint of ours, or a half-copied one: it has no {MANIFEST}; "
            "copy the whole folder again"
        )
    for name, size in _read(folder / MANIFEST, _json).items():
        path = folder / name
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            state = "is missing" if found is None else f"has {found} of {size} bytes"
            raise SpiderEyeError(
                f"the checkpoint {folder} is incomplete: {name} {state}; copy the folder again"
            )


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    # A clone of each, because safetensors refuses tensors that share memory.
    cpu = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    save_file(cpu, path)
    with path.open("rb") as file:
        os.fsync(file.fileno())


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(folder: Path, kind: str) -> Path:
    folder = folder.absolute()  # "." has no name
    return folder.parent / f".{folder.name}.{kind}"
