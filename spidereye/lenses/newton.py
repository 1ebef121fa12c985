"""Inverses without a closed form: bounded Newton from a table, and where a polynomial turns.

A radial function (angle → radius or back) is inverted in two parts. What depends on the lens alone
is tabulated once; a pixel then looks up a guess that is right to about 1e-6 and does one or two
Newton steps from there. The last step is the only one that gradients pass through: by the
implicit function theorem it has the inverse's first derivatives. Second ones are not provided.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses.lens import lift

# t to its value and derivative. Parameters must broadcast over any axes behind [*b].
RadialFunction = Callable[[Tensor], tuple[Tensor, Tensor]]

_ITERATIONS = 30  # at a fold, where Newton only halves the error, about 12 are needed
_CELLS = 2048
_SLOPE = 1e-12  # a smaller derivative is a fold


@dataclass(frozen=True)
class RadialInverse:
    """Table of the inverse of a function that increases from 0 at 0 up to `limit`.

    top: the function's value at the limit.   table: t at the table's nodes, falling.
    """

    limit: Float[Tensor, "*b"]
    top: Float[Tensor, "*b"]
    table: Float[Tensor, "*b n"]


def step_tolerance(dtype: torch.dtype) -> float:
    """Newton's last step has converged below this (times t where t > 1): 1e-9 in float64. In
    float32 rounding allows no less than 1e-4 near a fold; elsewhere the step's result is right to
    1e-7."""
    return 1e-9 if dtype == torch.float64 else 1e-4


@torch.no_grad()
def tabulate(function: RadialFunction, limit: Float[Tensor, "*b"]) -> RadialInverse:
    """The table of a function that increases on [0, limit]."""
    line = torch.linspace(0, 1, 4 * _CELLS + 1, dtype=limit.dtype, device=limit.device)
    t = limit[..., None] * line * line  # denser at 0: limits reach far beyond where pictures end
    values, _ = function(t)
    nodes = _node(values, values[..., -1:]).flip(-1).contiguous()
    t = t.flip(-1)
    wanted = line[::4].expand(*limit.shape, _CELLS + 1).contiguous()
    after = torch.searchsorted(nodes, wanted).clamp(1, nodes.shape[-1] - 1)
    start, end = nodes.gather(-1, after - 1), nodes.gather(-1, after)
    part = ((wanted - start) / (end - start).clamp_min(1e-12)).clamp(0, 1)
    table = torch.lerp(t.gather(-1, after - 1), t.gather(-1, after), part)
    return RadialInverse(limit, values[..., -1], table)


@torch.no_grad()
def guess(inverse: RadialInverse, value: Float[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """t at which the function has about this value; values beyond [0, top] count as the ends."""
    position = _node(value, lift(inverse.top, value)) * _CELLS
    cell = position.long().clamp_(0, _CELLS - 1)
    batch = inverse.limit.shape
    flat = cell.reshape(*batch, math.prod(value.shape[len(batch) :]))
    start, end = inverse.table.gather(-1, flat), inverse.table.gather(-1, flat + 1)
    return torch.lerp(start.reshape(value.shape), end.reshape(value.shape), position - cell)


def invert(
    function: RadialFunction, inverse: RadialInverse, value: Float[Tensor, "*s"]
) -> tuple[Float[Tensor, "*s"], Bool[Tensor, "*s"]]:
    """t in [0, limit] with function(t) = value ≥ 0, and where there is one and Newton found it.

    Differentiable once in `value` and in the function's parameters. t is 0 where the mask is False.
    """
    valid = value <= lift(inverse.top, value)
    value = torch.where(valid, value, 0)
    t = guess(inverse, value.detach())
    low, high = torch.zeros_like(t), lift(inverse.limit, t).expand(t.shape)
    rounding = 8 * torch.finfo(t.dtype).eps
    iterations = 0
    while True:
        reached, slope = function(t)
        missing, slope = value - reached, slope.detach().clamp_min(_SLOPE)
        step = missing.detach() / slope
        settled = step.abs() <= step_tolerance(t.dtype) * t.clamp_min(1)
        if iterations == _ITERATIONS or bool(settled.all()):
            break
        # Next to a fold steps may stay large where nothing is missing any more.
        if bool((settled | (missing.abs() <= rounding * value)).all()):
            break
        iterations += 1
        low, high = torch.where(step > 0, t, low), torch.where(step > 0, high, t)
        t = t + step
        t = torch.where((t >= low) & (t <= high), t, (low + high) / 2)
    valid = valid & settled
    return torch.where(valid, t + missing / slope, 0), valid


@torch.no_grad()
def first_root(coefficients: Float[Tensor, "*b n"], bound: float) -> Float[Tensor, "*b"]:
    """The smallest root in (0, bound] of c₀ + c₁·x + c₂·x² + …, c₀ > 0; `bound` where none is.

    From the eigenvalues of a companion matrix in float64, for 1/x, so that the highest
    coefficients may be 0. Two roots closer than 1e-6 of their size count as one, real ones.
    Raises SpiderEyeError for coefficients that are not finite, by c₀.
    """
    c = coefficients.double().cpu()
    degree = c.shape[-1] - 1
    if degree < 1:
        return torch.full_like(coefficients[..., 0], bound)
    shift = torch.diag(torch.ones(degree - 1, dtype=torch.float64), -1)
    companion = shift.repeat(*c.shape[:-1], 1, 1)
    companion[..., 0, :] -= c[..., 1:] / c[..., :1]
    if not bool(companion.isfinite().all()):  # of which LAPACK may end the process
        raise SpiderEyeError(
            f"the coefficients of this lens are too large to compute with, got {c.tolist()}"
        )
    inverse = torch.linalg.eigvals(companion)
    real = inverse.imag.abs() <= 1e-6 * inverse.abs()
    largest = torch.where(real, inverse.real, 0).amax(dim=-1).clamp_min(1 / bound)
    return (1 / largest).to(coefficients)


def _node(value: Tensor, top: Tensor) -> Tensor:
    """Place in the table, 1 at value 0 and 0 at `top`. The square root makes t smooth at a fold,
    where it is like √(top - value); the logarithm keeps pictures from crowding into a few cells
    where `top` is huge."""
    return (1 - torch.log1p(value) / torch.log1p(top)).clamp(0, 1).sqrt()
