"""Optimizers, their warm-up, and which weights they mean.

A schedule-free optimizer trains at points y while the weights that it recommends are the average
x; "raw" weights then means x, which `raw_weights` computes into a copy.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spidereye.errors import require_extra

if TYPE_CHECKING:
    from spidereye.config import TrainingConfig


def adamw(groups: list[dict], config: "TrainingConfig") -> torch.optim.Optimizer:
    """AdamW (Loshchilov & Hutter 2019)."""
    return torch.optim.AdamW(groups, lr=config.lr)


def radam_schedulefree(groups: list[dict], config: "TrainingConfig") -> torch.optim.Optimizer:
    """Schedule-free RAdam (Defazio et al. 2024), SSDD's choice; it has its own warm-up."""
    try:
        from schedulefree import RAdamScheduleFree
    except ImportError as error:
        raise require_extra("schedulefree", "schedulefree") from error
    optimizer = RAdamScheduleFree(groups, lr=config.lr)
    optimizer.train()
    return optimizer


OPTIMIZERS: dict[str, Callable[[list[dict], "TrainingConfig"], torch.optim.Optimizer]] = {
    "adamw": adamw,
    "radam_schedulefree": radam_schedulefree,
}


def build_optimizer(module: nn.Module, config: "TrainingConfig") -> torch.optim.Optimizer:
    """The configured optimizer over a module's trainable parameters, weight decay on matrices
    (linear and convolution weights) only."""
    matrices, others = [], []
    for owner in module.modules():
        is_matrix_owner = isinstance(owner, nn.Linear | nn.Conv2d)
        for name, parameter in owner.named_parameters(recurse=False):
            if parameter.requires_grad:
                decays = is_matrix_owner and name == "weight"
                (matrices if decays else others).append(parameter)
    groups = [
        {"params": matrices, "weight_decay": config.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return OPTIMIZERS[config.optimizer](groups, config)


def set_learning_rate(
    optimizer: torch.optim.Optimizer, config: "TrainingConfig", step: int, total: int
) -> float:
    """The rate of step `step` (from 0): linear warm-up over `warmup` steps, constant, and falling
    linearly to 0 over the last `cooldown` of the run's `total` (Hägele et al. 2024)."""
    rate = config.lr
    if config.optimizer == "adamw" and config.warmup:
        rate *= min(1.0, (step + 1) / config.warmup)
    if config.cooldown:
        rate *= min(1.0, max(0, total - step) / config.cooldown)
    for group in optimizer.param_groups:
        group["lr"] = rate
    return rate


def is_schedule_free(optimizer: torch.optim.Optimizer) -> bool:
    """Whether the trained weights are not the ones to use."""
    return "train_mode" in optimizer.param_groups[0]


@torch.no_grad()
def raw_weights(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The state dict that "raw" means: the model's own, or under a schedule-free optimizer a copy
    with x = y + (1 - 1/β₁)(z - y) in place of each trained y."""
    state = dict(model.state_dict())
    if not is_schedule_free(optimizer):
        return state
    averaged = {
        parameter: parameter.lerp(optimizer.state[parameter]["z"], 1 - 1 / group["betas"][0])
        for group in optimizer.param_groups
        for parameter in _with_state(group["params"], optimizer)
    }
    for name, parameter in model.named_parameters():
        if parameter in averaged:
            state[name] = averaged[parameter]
    return state


def _with_state(parameters: Iterable[Tensor], optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [parameter for parameter in parameters if "z" in optimizer.state.get(parameter, {})]


def pack_optimizer(optimizer: torch.optim.Optimizer) -> tuple[dict[str, Tensor], dict]:
    """An optimizer's state as named tensors and JSON, so that no pickle is needed."""
    state = optimizer.state_dict()
    tensors, scalars = {}, {}
    for index, values in state["state"].items():
        for name, value in values.items():
            place = tensors if isinstance(value, Tensor) else scalars
            place[f"optimizer.{index}.{name}"] = value
    return tensors, {"groups": state["param_groups"], "scalars": scalars}


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor], description: dict
) -> None:
    """Load what `pack_optimizer` returned, but for the weight decay, which may change in a run."""
    decays = [group["weight_decay"] for group in optimizer.param_groups]
    state: dict[int, dict] = {}
    for name, value in {**tensors, **description["scalars"]}.items():
        kind, index, entry = name.split(".", 2)
        if kind == "optimizer":
            state.setdefault(int(index), {})[entry] = value
    optimizer.load_state_dict({"state": state, "param_groups": description["groups"]})
    for group, decay in zip(optimizer.param_groups, decays, strict=True):
        group["weight_decay"] = decay


def is_packed_of(optimizer: torch.optim.Optimizer, description: dict) -> bool:
    """Whether what `pack_optimizer` returned is of such an optimizer, over as many parameters."""
    theirs, ours = description["groups"], optimizer.param_groups
    same_kind = ("train_mode" in theirs[0]) == is_schedule_free(optimizer)
    return same_kind and [len(g["params"]) for g in theirs] == [len(g["params"]) for g in ours]
