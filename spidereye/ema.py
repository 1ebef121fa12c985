"""Exponential moving average of a model's weights: a plain frozen copy and one update function.

Until `start_iter` updates the copy equals the model; afterwards it decays with
min(decay, (1 + n)/(10 + n)), n being the averaging updates made before this one.
"""

import copy
from dataclasses import dataclass

import torch
from torch import nn


@dataclass
class EmaConfig:
    """decay: 0.999 keeps about the last thousand steps.   start_iter: optimizer steps that copy."""

    decay: float = 0.999
    start_iter: int = 1000


class EMA:
    """The averaged copy, `ema.model`. It is always in eval mode and never requires gradients."""

    def __init__(self, model: nn.Module, config: EmaConfig):
        self.config = config
        self.updates = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """One update; call it once after each optimizer step."""
        ours, theirs = list(self.model.parameters()), list(model.parameters())
        decay = self.next_decay()
        if decay == 0:
            torch._foreach_copy_(ours, theirs)
        else:
            torch._foreach_lerp_(ours, theirs, 1 - decay)
        for mine, other in zip(self.model.buffers(), model.buffers(), strict=True):
            mine.copy_(other)
        self.updates += 1

    def next_decay(self) -> float:
        """The decay of the next update; 0 while it copies."""
        averaging = self.updates - self.config.start_iter
        if averaging < 0:
            return 0.0
        return min(self.config.decay, (1 + averaging) / (10 + averaging))
