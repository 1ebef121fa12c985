"""The flow between data and noise. This module owns the direction of time: t = 0 is data, 1 noise.

x_t = (1-t)·x + (σmin + t(1-σmin))·ε; the network is given 1000·t and predicts v = x - (1-σmin)·ε,
so x̂0 = x_t + t·v (exact for σmin = 0), and a step from t to t' < t adds v·(t - t')
(rectified flow: Liu et al. 2022; flow matching: Lipman et al. 2022).
"""

import torch
from jaxtyping import Float
from torch import Tensor


def noised(
    x: Float[Tensor, "B *s"],
    noise: Float[Tensor, "B *s"],
    t: Float[Tensor, "B"],
    sigma_min: float = 0.0,
) -> Float[Tensor, "B *s"]:
    """x_t, the point at time t on the straight path from data x to noise."""
    t = _per_sample(t, x)
    return (1 - t) * x + (sigma_min + t * (1 - sigma_min)) * noise


def velocity_target(
    x: Float[Tensor, "B *s"], noise: Float[Tensor, "B *s"], sigma_min: float = 0.0
) -> Float[Tensor, "B *s"]:
    """v = x - (1-σmin)·ε: minus the path's derivative, so that adding it leads back to the data."""
    return x - (1 - sigma_min) * noise


def predicted_data(
    x_t: Float[Tensor, "B *s"], velocity: Float[Tensor, "B *s"], t: Float[Tensor, "B"]
) -> Float[Tensor, "B *s"]:
    """x̂0 = x_t + t·v: where the straight line from x_t ends."""
    return x_t + _per_sample(t, x_t) * velocity


def logit_normal(normal: Float[Tensor, "B"]) -> Float[Tensor, "B"]:
    """Training times t = sigmoid(n) of standard normal draws n (Esser et al. 2024, §3.1)."""
    return torch.sigmoid(normal)


def _per_sample(t: Tensor, like: Tensor) -> Tensor:
    return t.reshape(-1, *(1,) * (like.ndim - 1)).to(like.dtype)
