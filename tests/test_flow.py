"""Flow identities, and samplers on flows whose answer is known."""

import pytest
import torch

from spidereye.flow import logit_normal, noised, predicted_data, velocity_target
from spidereye.sampler import euler, time_steps


@pytest.fixture
def pair():
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 5, 3, 8, 16, dtype=torch.float64, generator=generator)
    return x, noise, torch.rand(5, dtype=torch.float64, generator=generator)


def test_the_path_runs_from_data_to_noise(pair):
    x, noise, _ = pair
    assert torch.equal(noised(x, noise, torch.zeros(5)), x)
    assert torch.equal(noised(x, noise, torch.ones(5)), noise)


def test_x0_identity_is_exact_without_sigma_min(pair):
    x, noise, t = pair
    x_t, v = noised(x, noise, t), velocity_target(x, noise)
    assert torch.allclose(predicted_data(x_t, v, t), x, atol=1e-14)


def test_velocity_is_minus_the_derivative_of_the_path_also_with_sigma_min(pair):
    x, noise, t = pair
    h = 1e-6
    derivative = (noised(x, noise, t + h, 0.1) - noised(x, noise, t - h, 0.1)) / (2 * h)
    assert torch.allclose(velocity_target(x, noise, 0.1), -derivative, atol=1e-8)


@pytest.mark.parametrize("steps", [1, 2, 12])
@pytest.mark.parametrize("shift", [1.0, 2.0])
def test_euler_is_exact_on_a_straight_flow(pair, steps, shift):
    x, noise, _ = pair
    out = euler(lambda x_t, t: x - noise, noise, steps, shift)
    assert torch.allclose(out, x, atol=1e-6)  # times are float32


def test_euler_follows_its_recurrence_on_a_linear_field_and_converges():
    """v(x, t) = x has x(0) = e·x(1); n Euler steps multiply by Π(1 + t_i - t_{i+1})."""
    start = torch.ones(1, 1, dtype=torch.float64)
    for steps in (1, 3, 12, 400):
        times = time_steps(steps, 2.0).double()
        expected = torch.prod(1 + times[:-1] - times[1:])
        result = euler(lambda x, t: x, start, steps, 2.0)
        assert torch.allclose(result, expected.expand(1, 1), atol=1e-12)
    assert abs(float(euler(lambda x, t: x, start, 4000)) - 2.718281828) < 2e-3


def test_the_field_sees_one_time_per_sample_and_steps_as_documented():
    seen = []

    def field(x, t):
        seen.append(t)
        return torch.zeros_like(x)

    euler(field, torch.zeros(4, 1), steps=12, t_pow_shift=2.0)
    assert all(t.shape == (4,) for t in seen)
    # The note's figures: 1.000, 0.840, 0.694, … 0.007.
    assert [round(float(t[0]), 3) for t in (seen[0], seen[1], seen[2], seen[-1])] == [
        1.0, 0.84, 0.694, 0.007,
    ]  # fmt: skip


def test_samplers_never_clamp():
    assert float(euler(lambda x, t: torch.full_like(x, 50.0), torch.zeros(1, 1))) == pytest.approx(
        50
    )


def test_logit_normal_times_lie_inside():
    t = logit_normal(torch.tensor([-3.0, 0.0, 3.0]))
    assert float(t[1]) == 0.5 and bool(((t > 0) & (t < 1)).all())


def test_a_sampler_without_steps_is_refused():
    with pytest.raises(ValueError, match="at least one step"):
        time_steps(0, 2.0)
