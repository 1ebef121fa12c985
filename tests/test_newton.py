"""The inverse by Newton's method on a function whose inverse is known: sin on [0, π/2], a fold."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import torch
from hypothesis import given, settings

from spidereye.errors import SpiderEyeError
from spidereye.lenses.newton import first_root, invert, tabulate


class Sine:
    """a·sin t and its derivative, counting evaluations."""

    def __init__(self, scale: torch.Tensor):
        self.scale, self.evaluations = scale, 0

    def __call__(self, t: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        self.evaluations += 1
        scale = self.scale.reshape(self.scale.shape + (1,) * (t.ndim - self.scale.ndim))
        return scale * t.sin(), scale * t.cos()


def quarter(scale: torch.Tensor) -> torch.Tensor:
    return torch.full_like(scale, math.pi / 2)


@pytest.mark.parametrize(("dtype", "error"), [(torch.float64, 1e-9), (torch.float32, 1e-5)])
def test_inverse_is_right_up_to_the_fold(dtype, error):
    sine = Sine(torch.tensor([1.0, 2.5], dtype=dtype))
    inverse = tabulate(sine, quarter(sine.scale))
    sine.evaluations = 0
    values = torch.linspace(0, 0.999, 5000, dtype=dtype) * sine.scale[:, None]
    t, valid = invert(sine, inverse, values)
    assert valid.all()
    assert (t - torch.asin(values / sine.scale[:, None])).abs().max() < error
    assert sine.evaluations <= 2  # the table's guess is that good


def test_what_is_beyond_the_fold_or_not_determined_to_1e_9_is_masked():
    sine = Sine(torch.tensor(1.0, dtype=torch.float64))
    inverse = tabulate(sine, quarter(sine.scale))
    distance = 10.0 ** -torch.arange(2, 17, dtype=torch.float64)
    t, valid = invert(sine, inverse, 1 - distance)
    assert valid[:8].all()  # 1e-9 below the top is 4.5e-5 from the fold
    assert (t - torch.asin(1 - distance))[valid].abs().max() < 1e-9
    t, valid = invert(sine, inverse, 1 + distance[:-1])
    assert not valid.any() and (t == 0).all()


def test_gradients_are_those_of_the_inverse():
    scale = torch.tensor([1.0, 2.5], dtype=torch.float64, requires_grad=True)
    sine = Sine(scale)
    inverse = tabulate(sine, quarter(scale))
    values = torch.tensor([[0.0, 0.3, 0.9], [0.1, 2.0, 3.0]], dtype=torch.float64)
    values.requires_grad_()
    t, valid = invert(sine, inverse, values)
    assert valid.tolist() == [[True] * 3, [True, True, False]]
    t.sum().backward()
    exact = values.detach().requires_grad_()
    exact_scale = scale.detach().requires_grad_()
    torch.asin((exact / exact_scale[:, None])[valid]).sum().backward()
    torch.testing.assert_close(values.grad, exact.grad)
    torch.testing.assert_close(scale.grad, exact_scale.grad)


@pytest.mark.parametrize("rest", [[math.nan], [1.0, math.inf], [1e300, 0.0]])
def test_coefficients_that_are_not_finite_are_refused(rest):
    """LAPACK's eigenvalues of such a matrix end the process, where they are many."""
    with pytest.raises(SpiderEyeError, match="too large to compute with"):
        first_root(torch.tensor([1e-300, *rest], dtype=torch.float64), 5.0)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.floats(-3, 3, width=32), max_size=8))
def test_first_root_is_the_first_change_of_sign(rest):
    coefficients = torch.tensor([1.0, *rest], dtype=torch.float64)
    root = float(first_root(coefficients, 5.0))
    polyval = np.polynomial.polynomial.polyval
    before = polyval(np.linspace(0, root, 2000, endpoint=False), coefficients.numpy())
    assert (before > -1e-9).all()
    if root < 5:
        scale = polyval(root, coefficients.abs().numpy())
        assert abs(polyval(root, coefficients.numpy())) < 1e-9 * scale
    both = first_root(torch.stack((coefficients, coefficients)), 5.0)
    assert both.tolist() == [root, root]
