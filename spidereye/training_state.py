"""Where a training run is, to a checkpoint and back."""

from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from spidereye.checkpoint import Checkpoint
from spidereye.config import Config
from spidereye.config_files import config_to_dict
from spidereye.distill import DistillationLoss, check_same_teacher
from spidereye.ema import EMA
from spidereye.filling import fill
from spidereye.losses import TrainingLoss
from spidereye.model import SpiderEyeModel
from spidereye.optimizer import pack_optimizer, raw_weights, unpack_optimizer
from spidereye.rig import Rig
from spidereye.weights import AS_MADE


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

    def scaled_by(self, scaler: torch.amp.GradScaler | None) -> "TrainingState":
        """With what the scaler of gradients has come to; None: there is none."""
        return self if scaler is None else replace(self, scaler=scaler.state_dict())


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
    folder: Path,
) -> TrainingState:
    """Fill networks, average and optimizer from a checkpoint of `folder`; returns the counters.

    Raises SpiderEyeError where it is a distillation and the run is none, or of another teacher.
    """

    def part(prefix: str) -> dict[str, Tensor]:
        tensors = checkpoint.training_tensors.items()
        return {n.removeprefix(prefix): t for n, t in tensors if n.startswith(prefix)}

    training = dict(checkpoint.training)
    check_same_teacher(training.pop("teacher", None), getattr(loss, "record", None), str(folder))
    fill(loss.model, checkpoint.raw | part("model."), str(folder), AS_MADE)
    fill(ema.model, checkpoint.ema, str(folder), AS_MADE)
    if loss.repa is not None:
        fill(loss.repa.head, part("repa."), str(folder), AS_MADE)
    ema.updates = training.pop("ema_updates")
    unpack_optimizer(optimizer, checkpoint.training_tensors, training.pop("optimizer"))
    return TrainingState(**training)
