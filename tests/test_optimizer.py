"""The rate of learning rises, holds and falls as configured."""

import pytest
import torch

from spidereye.config import TrainingConfig
from spidereye.optimizer import build_optimizer, set_learning_rate


def rates(total: int = 10, **settings) -> list[float]:
    config = TrainingConfig(lr=1.0, **settings)
    optimizer = build_optimizer(torch.nn.Linear(2, 2), config)
    found = []
    for step in range(10):
        found.append(set_learning_rate(optimizer, config, step, total))
        assert all(group["lr"] == found[-1] for group in optimizer.param_groups)
    return found


def test_it_rises_and_holds():
    assert rates(warmup=4) == pytest.approx([0.25, 0.5, 0.75, *[1.0] * 7])
    assert rates(warmup=0) == [1.0] * 10


def test_it_falls_to_0_over_the_last_steps():
    found = rates(warmup=2, cooldown=5, max_steps=1000)
    assert found == pytest.approx([0.5, 1, 1, 1, 1, 1, 0.8, 0.6, 0.4, 0.2])
    # Both at once multiply, and steps after the last have none.
    assert rates(6, warmup=4, cooldown=6)[:2] == pytest.approx([0.25, 0.5 * 5 / 6])
    assert rates(6, warmup=0, cooldown=2)[6:] == [0.0] * 4
