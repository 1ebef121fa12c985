"""Samplers: plain functions over `velocity(x, t)`, from noise at t = 1 to data at t = 0.

t is a tensor [B] in [0, 1]; the velocity points towards the data (see flow.py). Samplers never
clamp; only the conversion to 8 bits does. A new sampler is one function here. Sizes are read as
x.shape, never len(x), which would fix the batch of an exported network.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

Velocity = Callable[[Tensor, Tensor], Tensor]


def time_steps(steps: int, t_pow_shift: float) -> Float[Tensor, "{steps}+1"]:
    """linspace(1, 0, steps + 1)^t_pow_shift: above 1 more of the steps lie close to the data."""
    if steps < 1:
        raise ValueError(f"a sampler needs at least one step, got {steps}")
    return torch.linspace(1, 0, steps + 1, dtype=torch.float32) ** t_pow_shift


def euler(
    velocity: Velocity, x: Float[Tensor, "B *s"], steps: int = 12, t_pow_shift: float = 2.0
) -> Float[Tensor, "B *s"]:
    """x at t = 0 after `steps` Euler steps x += v·(t - t') from x at t = 1."""
    times = time_steps(steps, t_pow_shift)
    for t, t_next in zip(times[:-1].tolist(), times[1:].tolist(), strict=True):
        now = torch.full(x.shape[:1], t, dtype=torch.float32, device=x.device)
        x = x + velocity(x, now) * (t - t_next)
    return x
