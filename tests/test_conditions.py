"""Conditions as tensors: to files and batches and back, what may be configured, and a model that
starts where they say."""

import math
from dataclasses import replace

import pytest
import torch
from made_checkpoints import tiny_config
from test_conditioning import BOTH, SIZE, H, W, conditioner, conditions, jittered, shot_of

from spidereye.conditions import (
    _GUESSED,
    RESIDUAL,
    ConditioningConfig,
    Conditions,
    collated,
    flattened,
    restored,
)
from spidereye.config import Config
from spidereye.errors import SpiderEyeError
from spidereye.export import sample_shot
from spidereye.latent_grid import LatentGrid
from spidereye.model import SpiderEyeModel

__all__ = ["jittered"]  # the fixture


def test_files_and_batches_keep_every_number(jittered):
    views, rig = jittered
    made = conditioner(refine=BOTH, radii=(math.inf, 2.0))
    one = conditions(made, views, rig)
    two = conditions(made, shot_of(rig, 4), rig)
    again = restored(flattened(one))
    named = flattened(one)
    assert {"views", "warp", "start", "spread", "grid.place", "grid.sight"} <= set(named)
    assert set(named) == set(flattened(again))
    assert all(torch.equal(part, flattened(again)[name]) for name, part in named.items())
    halves = {k: v.half() if v.is_floating_point() else v for k, v in named.items()}
    for name, part in flattened(restored(halves)).items():
        assert part.dtype in (torch.float32, torch.bool) and bool(torch.isfinite(part).all())
        torch.testing.assert_close(part.float(), named[name].float(), rtol=1e-3, atol=1e-4)
    both = collated([one, two])
    for number, single in enumerate((one, two)):
        for name, part in flattened(single).items():
            assert torch.equal(flattened(both)[name][number : number + 1], part), name
    few = Conditions(one.views)
    assert restored(flattened(few)).grid is None and collated([few, few]).warp is None
    assert isinstance(both.to(torch.device("cpu")).grid, LatentGrid)


@pytest.mark.parametrize(
    "key,values",
    [
        ("ssdd.condition", {"condition": "warp"}),
        ("ssdd.prior", {"prior": "data"}),
        ("ssdd.prior_sigma", {"sigma": -0.1}),
        ("ssdd.sphere_radii", {"radii": ()}),
        ("ssdd.sphere_radii", {"radii": (math.inf, 0.0)}),
        ("ssdd.sphere_radii", {"radii": (math.nan,)}),
        ("ssdd.refine", {"refine": ("gain", "focus")}),
    ],
)
def test_values_that_cannot_be_are_named(key, values):
    with pytest.raises(SpiderEyeError, match=key.replace(".", r"\.")):
        ConditioningConfig(**values)


def test_nothing_is_needed_where_networks_take_views_alone():
    assert not ConditioningConfig().needed and Config().conditioner() is None
    for values in ({"grid": True}, {"condition": "latent+warp"}, {"prior": "stitch"},
                   {"refine": ("gain",)}):  # fmt: skip
        assert ConditioningConfig(**values).needed


@pytest.mark.parametrize("steps", [1, 12])
def test_a_fresh_model_answers_with_its_start(jittered, steps):
    """Before training the velocity is 0: the model is the self-calibrated stitch."""
    config = Config()
    config.dataset.im_size, config.ssdd.decoder_image_size = SIZE, [W, H]
    config.ssdd.decoder, config.ssdd.encoder_width = "XXS", 16
    config.ssdd.fusion_type, config.ssdd.padding = "spherical", "sphere"
    config.ssdd.condition, config.ssdd.prior = "latent+warp", "stitch"
    config.ssdd.sphere_radii, config.ssdd.refine = [math.inf, 2.0], list(BOTH)
    torch.manual_seed(0)
    model = SpiderEyeModel(config.model()).eval()
    views, rig = jittered
    given = conditions(config.conditioner(), views, rig)
    assert bool((given.spread == 0).all())
    with torch.no_grad():
        made = model.decode(model.encode(given), given, torch.randn(1, 3, H, W), steps)
    assert torch.equal(made, given.start)
    out = model(given, given.start, torch.ones(1))
    assert bool((out.velocity == 0).all())
    out.velocity.sum().backward()
    assert float(model.decoder.conv_out.weight.grad.abs().sum()) > 0


def test_what_is_not_seen_can_stay_as_expected():
    torch.manual_seed(0)
    config = tiny_config()
    model = SpiderEyeModel(config.model()).eval()
    torch.nn.init.normal_(model.decoder.conv_out.weight, std=0.1)
    given, noise = sample_shot(config)
    spread = torch.zeros_like(given.spread)
    spread[..., ::2] = 1
    given = given._replace(spread=spread)
    with torch.no_grad():
        z = model.encode(given)
        free = model.decode(z, given, noise, 2)
        conditioning = replace(model.config.conditioning, expected=True)
        model.config = replace(model.config, conditioning=conditioning)
        kept = model.decode(z, given, noise, 2)
    hidden = (spread == 1).expand_as(free)
    assert torch.equal(kept[hidden], given.start[hidden])
    assert torch.equal(kept[~hidden], free[~hidden])
    assert not torch.equal(free[hidden], given.start[hidden])


def test_what_the_decoder_says_is_a_guess_of_the_velocity():
    """The formula against its meaning: mean and spread of v given x_t, of many samples drawn."""
    source = torch.Generator().manual_seed(0)
    count = 400_000
    start = torch.full((1, 3, 1, 1), 0.2)
    for spread in (1.0, 0.3):
        given = Conditions(torch.zeros(1, 1, 3, 8, 8), start=start,
                           spread=torch.full((1, 1, 1, 1), spread))  # fmt: skip
        for t in (0.2, 0.7, 1.0):
            zero, one, x_t = torch.zeros(1, 3, 1, 1), torch.ones(1, 3, 1, 1), start + 0.15
            time = torch.tensor([t])
            guess = given.velocity(zero, x_t, time)[0, 0, 0, 0]
            lacking = given.velocity(one, x_t, time)[0, 0, 0, 0] - guess
            rho = RESIDUAL + _GUESSED * spread
            rest = rho * torch.randn(count, generator=source)
            noise = spread * torch.randn(count, generator=source)
            y, v = (1 - t) * rest + t * noise, rest - noise
            slope = (y * v).mean() / y.square().mean()
            assert float(guess) == pytest.approx(float(slope) * 0.15, abs=0.005)
            assert float(lacking) == pytest.approx(float((v - slope * y).std()), rel=0.01)
