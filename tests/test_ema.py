"""The average equals its closed form."""

import torch
from torch import nn

from spidereye.ema import EMA, EmaConfig


def run(values, config):
    model = nn.Linear(1, 1, bias=False)
    ema = EMA(model, config)
    history = []
    for value in values:
        with torch.no_grad():
            model.weight.fill_(value)
        ema.update(model.state_dict())
        history.append(float(ema.model.weight))
    return history


def test_it_equals_the_model_until_start_iter():
    assert run([3.0, 1.0, 4.0], EmaConfig(start_iter=3)) == [3.0, 1.0, 4.0]


def test_closed_form_with_the_ramp():
    values = [float(i * i % 7) for i in range(200)]
    history = run(values, EmaConfig(decay=0.9, start_iter=5))
    average = values[4]
    for n, value in enumerate(values[5:]):
        decay = min(0.9, (1 + n) / (10 + n))
        average = decay * average + (1 - decay) * value
        assert abs(history[5 + n] - average) < 1e-5


def test_the_ramp_reaches_the_decay_and_stays():
    ema = EMA(nn.Linear(1, 1), EmaConfig(0.999, 0))
    assert ema.next_decay() == 0.1
    ema.updates = 10**6
    assert ema.next_decay() == 0.999


def test_it_is_frozen_in_eval_mode_and_leaves_the_model_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)).train()
    ema = EMA(model, EmaConfig(0.5, 0))
    model(torch.rand(4, 2)).sum().backward()
    ema.update(model.state_dict())
    assert model.training and not ema.model.training
    assert all(not p.requires_grad for p in ema.model.parameters())
    assert torch.equal(ema.model[1].running_mean, model[1].running_mean)  # buffers follow
