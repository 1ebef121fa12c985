"""Exponential moving average of a model's weights: a plain frozen copy and one update function.

Until `start_iter` updates the copy equals the model; afterwards it decays with
min(decay, (1 + n)/(10 + n)), n being the averaging updates made before this one.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


@dataclass
class EmaConfig:
    """decay: 0.999 keeps about the last thousand steps.   start_iter: optimizer steps that copy."""

    decay: float = 0.999
    start_iter: int = 1000


class EMA(Generic[Model]):
    """The averaged copy, `ema.model`. It is always in eval mode and never requires gradients."""

    def __init__(self, model: Model, config: EmaConfig):
        self.config = config
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, state: Mapping[str, Tensor]) -> None:
        """One update from the model's raw weights; call it once after each optimizer step.

        state: the model's state dict; parameters are averaged, buffers copied.
        """
        averaged = dict(self.model.named_parameters())
        ours: list[Tensor] = list(averaged.values())
        theirs = [state[name] for name in averaged]
        decay = self.next_decay()
        if decay == 0:
            torch._foreach_copy_(ours, theirs)  # pyright: ignore[reportPrivateImportUsage]
        else:
            torch._foreach_lerp_(ours, theirs, 1 - decay)  # pyright: ignore[reportPrivateImportUsage]
        for name, buffer in self.model.named_buffers():
            buffer.copy_(state[name])
        self.updates += 1

    def next_decay(self) -> float:
        """The decay of the next update; 0 while it copies."""
        averaging = self.updates - self.config.start_iter
        if averaging < 0:
            return 0.0
        return min(self.config.decay, (1 + averaging) / (10 + averaging))
