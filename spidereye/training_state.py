"""Where a training run is, to a checkpoint and back."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from spidereye.checkpoint import (
    RIG,
    Checkpoint,
    is_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from spidereye.config import Config
from spidereye.config_files import config_to_dict
from spidereye.distill import DistillationLoss, check_same_teacher
from spidereye.ema import EMA
from spidereye.errors import SpiderEyeError
from spidereye.filling import fill
from spidereye.losses import TrainingLoss
from spidereye.model import SpiderEyeModel
from spidereye.optimizer import is_packed_of, pack_optimizer, raw_weights, unpack_optimizer
from spidereye.rig import Rig, fingerprint
from spidereye.rig_files import read_rig, write_rig
from spidereye.run_log import flat

# What a run begins with. What it goes on with are its own weights.
_BEGINNING = ("ssdd.checkpoint", "ssdd.encoder_checkpoint", "ssdd.weights")  # of those two
# What decides which weights there are, which of them learn, and how.
_FIXED = (
    "training.optimizer", "aux_losses.repa", "ssdd.encoder", "ssdd.encoder_width",
    "ssdd.encoder_train", "ssdd.decoder", "ssdd.n_views", "ssdd.fusion_type",
    "ssdd.fusion_hidden_dim", "ssdd.use_view_encoding", "ssdd.view_encoding_type",
    "ssdd.condition", "ssdd.prior", "ssdd.sphere_radii",
)  # fmt: skip


@dataclass
class TrainingState:
    """Where a run is. step: optimizer steps done.   epoch, batch: where the data goes on.
    sums, count: the loss terms since the last log line.   best: {"metric", "value", "step"}.
    scaler: of the gradients, in half precision of 16 bits."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    sums: dict[str, float] = field(default_factory=dict)
    count: int = 0
    best: dict[str, Any] = field(default_factory=dict)
    scaler: dict[str, Any] = field(default_factory=dict)

    @property
    def is_best(self) -> bool:
        """Whether no evaluation was better than the one at this step."""
        return self.best.get("step") == self.step

    def scaled_by(self, scaler: torch.amp.GradScaler | None) -> "TrainingState":
        """With what the scaler of gradients has come to; None: there is none."""
        return self if scaler is None else replace(self, scaler=scaler.state_dict())


def last_checkpoint(config: Config) -> Checkpoint | None:
    """What the run goes on from; None: it is a new one.

    Raises SpiderEyeError where last/ is damaged, or missing beside a best/ that a new run would
    overwrite.
    """
    run = config.run_folder
    last, best = run / "last", run / "best"
    if last.exists() or is_checkpoint(last):
        return load_checkpoint(last)
    if best.exists() or is_checkpoint(best):
        raise SpiderEyeError(
            f"{run} has best/ but no last/ to go on from: copy the whole folder again, or start "
            f"another run_name with ssdd.checkpoint={config.run_name}@best"
        )
    return None


def changes(checkpoint: Checkpoint, config: Config, rig: Rig | None) -> str | None:
    """What a resumed run does otherwise than its checkpoint was made, or None. rig: of its file."""
    old, new = flat(checkpoint.config), flat(config_to_dict(config))
    changed = [
        f"{key} {old.get(key)} → {value}" for key, value in new.items() if old.get(key) != value
    ]
    was = checkpoint.rig
    if was is not None and rig is not None and fingerprint(was) != fingerprint(_as_kept(rig)):
        changed.append("the rig of dataset.rig differs from the one trained with")
    return f"with changes: {', '.join(changed)}" if changed else None


def _as_kept(rig: Rig) -> Rig:
    """The rig as a checkpoint has it: its file rounds the last digits."""
    with TemporaryDirectory() as folder:
        write_rig(rig, Path(folder) / RIG)
        return read_rig(Path(folder) / RIG)


def snapshot(
    config: Config,
    loss: TrainingLoss | DistillationLoss,
    ema: EMA[SpiderEyeModel],
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    rig: Rig | None,
) -> Checkpoint:
    """Everything that a resumed run needs, and both sets of weights. rig: that of its file."""
    tensors, description = pack_optimizer(optimizer)
    raw = raw_weights(loss.model, optimizer)
    # Under a schedule-free optimizer the weights in training are not the raw ones that are kept.
    tensors |= {
        f"model.{name}": value
        for name, value in loss.model.state_dict().items()
        if value is not raw[name] and not torch.equal(value, raw[name])
    }
    if loss.repa is not None:
        tensors |= {f"repa.{name}": value for name, value in loss.repa.head.state_dict().items()}
    training = {**asdict(state), "ema_updates": ema.updates, "optimizer": description}
    if isinstance(loss, DistillationLoss):
        training["teacher"] = loss.record
    smoothed = dict(ema.model.state_dict())
    return Checkpoint(raw, smoothed, config_to_dict(config), training, tensors, rig)


def restore(
    checkpoint: Checkpoint,
    loss: TrainingLoss | DistillationLoss,
    ema: EMA[SpiderEyeModel],
    optimizer: torch.optim.Optimizer,
    config: Config,
) -> TrainingState:
    """Fill networks, average and optimizer from the last checkpoint; returns the counters.

    Raises SpiderEyeError for changed settings that a run cannot go on with: other networks, another
    optimizer, other weights to begin with or another teacher.
    """

    def part(prefix: str) -> dict[str, Tensor]:
        tensors = checkpoint.training_tensors.items()
        return {n.removeprefix(prefix): t for n, t in tensors if n.startswith(prefix)}

    last, training = str(config.run_folder / "last"), dict(checkpoint.training)
    _refuse_other_beginning(checkpoint.config, config)
    check_same_teacher(training.pop("teacher", None), getattr(loss, "record", None), last)
    as_made = _as_made(checkpoint.config, config)
    fill(loss.model, checkpoint.raw | part("model."), last, as_made)
    fill(ema.model, checkpoint.ema, last, as_made)
    from_it = f"{as_made} with ssdd.checkpoint={config.run_name}@last"
    if loss.repa is not None:
        fill(loss.repa.head, part("repa."), last, from_it)
    ema.updates, description = training.pop("ema_updates"), training.pop("optimizer")
    if not is_packed_of(optimizer, description):
        raise SpiderEyeError(
            f"the optimizer of {last} is of another kind or other weights; {from_it}"
        )
    unpack_optimizer(optimizer, checkpoint.training_tensors, description)
    state = TrainingState(**training)
    if not state.is_best and not is_checkpoint(config.run_folder / "best"):
        state.best = {}  # it was removed: the next one is
    return state


def write_lost_best(checkpoint: Checkpoint, state: TrainingState, run: Path) -> None:
    """best/ of a run that was killed after it had written last/ and before its equal."""
    if state.is_best and not is_checkpoint(run / "best"):
        save_checkpoint(run / "best", checkpoint)


def _refuse_other_beginning(before: dict[str, Any], config: Config) -> None:
    """Raises SpiderEyeError for other weights to begin with, which would not be loaded any more. A
    teacher is compared by what it is, wherever that lies."""
    begun = any(before["ssdd"].get(key) for key in ("checkpoint", "encoder_checkpoint"))
    changed = _changed(before, config, _BEGINNING if begun else _BEGINNING[:-1])
    if changed and not config.distill_teacher:
        raise SpiderEyeError(
            f"{config.run_folder} has begun already and goes on from its last/, so that nothing "
            f"would come of {', '.join(changed)}: leave it as it was, or take another run_name"
        )


def _as_made(before: dict[str, Any], config: Config) -> str:
    """What to do where a checkpoint does not fit, in words."""
    changed = ", ".join(_changed(before, config, _FIXED)) or "what networks and optimizer are"
    return f"leave as it was made: {changed}; or take another run_name"


def _changed(before: dict[str, Any], config: Config, keys: Iterable[str]) -> list[str]:
    """Those keys of sections that are not as before, each with its old and new value."""
    now, found = config_to_dict(config), []
    for key in keys:
        section, name = key.split(".")
        new = now[section][name]
        old = before[section].get(name, new)
        if old != new:
            found.append(f"{key} {old} → {new}")
    return found
