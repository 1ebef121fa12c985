"""The objective: hand-built terms, their weights, and that every network it needs is wired in."""

import pytest
import torch

from spidereye.conditions import Conditions
from spidereye.decoder import DecoderConfig
from spidereye.encoder import EncoderConfig, Posterior
from spidereye.flow import noised, predicted_data
from spidereye.losses import (
    Draws,
    LossWeights,
    RepaTerm,
    TrainingLoss,
    diffusion_loss,
    kl_loss,
    training_draws,
)
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.perceptual import LPIPS
from spidereye.repa import DINOv2, RepaHead, repa_loss

TINY = ModelConfig(
    EncoderConfig("f8c4", 32), DecoderConfig((32, 32, 32, 32), heads=4, blocks=2, extract=1)
)


@pytest.fixture
def batch():
    torch.manual_seed(0)
    return torch.rand(2, 4, 3, 32, 32) * 2 - 1, torch.rand(2, 3, 32, 64) * 2 - 1


def test_diffusion_loss_by_hand():
    panorama, noise = torch.full((1, 3, 2, 4), 0.5), torch.full((1, 3, 2, 4), 2.0)
    assert float(diffusion_loss(panorama - noise, panorama, noise)) == 0
    assert float(diffusion_loss(torch.zeros(1, 3, 2, 4), panorama, noise)) == pytest.approx(2.25)


def test_kl_loss_is_the_mean_over_pictures_of_sums():
    posterior = Posterior(torch.ones(3, 2, 1, 1), torch.zeros(3, 2, 1, 1))
    assert float(kl_loss(posterior)) == pytest.approx(1.0)  # two cells of ½·1²


def test_kl_loss_of_half_precision_is_summed_in_single():
    """In bf16 it came in whole multiples of what a large sum can tell apart."""
    torch.manual_seed(0)
    mean = torch.randn(2, 4, 16, 16).bfloat16()
    found = kl_loss(Posterior(mean, torch.zeros_like(mean)))
    assert float(found) == pytest.approx(float(mean.float().square().sum()) / 4, rel=1e-5)


def test_draws_belong_to_the_sample_not_to_the_batch(batch):
    model = SpiderEyeModel(TINY)
    views, panorama = batch
    both = training_draws(model, views, panorama, 0, 3, [5, 9])
    alone = training_draws(model, views[1:], panorama[1:], 0, 3, [9])
    for together, single in zip(both, alone, strict=True):
        assert torch.equal(together[1:], single)
    assert both.posterior_noise.shape == (2, 4, 4, 4, 4)
    later = training_draws(model, views, panorama, 0, 4, [5, 9])
    assert not torch.equal(both.noise, later.noise)


def test_terms_and_their_weights(batch):
    views, panorama = batch
    model = SpiderEyeModel(TINY)
    weights = LossWeights(diffusion=1, repa=0.25, lpips=0.5, kl=1e-6)
    lpips = LPIPS("vgg").requires_grad_(False).eval()
    transformers = pytest.importorskip("transformers")
    settings = transformers.Dinov2Config(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14
    )
    teacher = DINOv2(transformers.Dinov2Model(settings), width=24, patch=14)
    repa = RepaTerm(teacher, RepaHead(32, 24, 2))
    loss = TrainingLoss(model, weights, lpips, repa)
    draws = training_draws(model, views, panorama, 0, 0, [0, 1])
    terms = loss(Conditions(views), panorama, draws)
    assert set(terms) == {"diffusion", "kl", "lpips", "repa", "total"}
    expected = terms["diffusion"] + 0.5 * terms["lpips"] + 0.25 * terms["repa"] + 1e-6 * terms["kl"]
    assert torch.allclose(terms["total"], expected)

    # Each term is that of the model's own output.
    x_t = noised(panorama, draws.noise, draws.t)
    out = model(Conditions(views), x_t, draws.t, draws.posterior_noise)
    x0 = predicted_data(x_t, out.velocity, draws.t)
    assert torch.allclose(terms["lpips"], lpips(x0, panorama).mean(), atol=1e-5)
    target = teacher.patch_features(panorama, (4, 8))
    ours = repa_loss(repa.head(out.features.flatten(1, 2)), target).mean()
    assert torch.allclose(terms["repa"], ours, atol=1e-5)

    terms["total"].backward()
    assert all(p.grad is not None for p in repa.head.parameters())
    assert all(p.grad is None for p in [*teacher.parameters(), *lpips.parameters()])
    assert model.encoder.conv_in.weight.grad.abs().sum() > 0


def test_terms_that_are_off_are_not_computed(batch):
    loss = TrainingLoss(SpiderEyeModel(TINY), LossWeights())
    views, panorama = batch
    draws = training_draws(loss.model, views, panorama, 0, 0, [0, 1])
    assert set(loss(Conditions(views), panorama, draws)) == {"diffusion", "kl", "total"}


def test_the_loss_is_small_where_the_model_is_right(batch):
    """A model that returns the target velocity has no diffusion loss."""
    views, panorama = batch
    loss = TrainingLoss(SpiderEyeModel(TINY), LossWeights())
    draws = Draws(torch.tensor([0.3, 0.7]), torch.randn_like(panorama), torch.zeros(2, 4, 4, 4, 4))
    loss.model.decoder.register_forward_hook(
        lambda module, inputs, output: output._replace(velocity=panorama - draws.noise)
    )
    assert loss(Conditions(views), panorama, draws)["diffusion"].item() == 0
