"""The training objective: 1·diffusion + 0.5·LPIPS + 0.25·REPA + 1e-6·KL.

A loss term is one function of a batch's tensors to a scalar. `TrainingLoss` holds the model and
whatever the terms need, so that one forward of one module is what runs in every process.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.conditions import Conditions
from spidereye.encoder import Posterior
from spidereye.flow import logit_normal, noised, predicted_data, velocity_target
from spidereye.model import SpiderEyeModel, posterior_shape
from spidereye.perceptual import LPIPS
from spidereye.randomness import generator, normal
from spidereye.repa import DINOv2, RepaHead, repa_loss

_EXACT = 2e-4  # mean squared difference of values in [-1, 1]: closer starts count no more (43 dB)


@dataclass
class LossWeights:
    """What each term is multiplied by in the total.

    relative: a sample's diffusion term is divided by how far its x₁ is from the data: a shot that
    the stitch almost gets right counts as much as one that it does not.
    """

    diffusion: float = 1.0
    repa: float = 0.25
    lpips: float = 0.5
    kl: float = 1.0e-6
    relative: bool = False


class Draws(NamedTuple):
    """The random numbers of one training batch."""

    t: Float[Tensor, "B"]
    noise: Float[Tensor, "B 3 H W"]
    posterior_noise: Float[Tensor, "B N C zh zw"]


def training_draws(
    model: SpiderEyeModel,
    views: Float[Tensor, "B N 3 h w"],
    panorama: Float[Tensor, "B 3 H W"],
    seed: int,
    epoch: int,
    indices: list[int],
    first_step: float = 0.0,
) -> Draws:
    """Times, noise and posterior noise of a batch, each sample's from (seed, epoch, index).

    first_step: share of the samples at t = 1, where every sampler starts.
    """
    keys = [(epoch, index) for index in indices]
    t = logit_normal(normal(seed, "time", keys, ()))
    lots = [torch.rand((), generator=generator(seed, "first step", *key)) for key in keys]
    t = torch.where(torch.stack(lots) < first_step, 1.0, t)
    latent = posterior_shape(model.config, views.shape[1], views.shape[-1])
    return Draws(
        t=t.to(panorama.device),
        noise=normal(seed, "training noise", keys, tuple(panorama.shape[1:])).to(panorama.device),
        posterior_noise=normal(seed, "posterior", keys, latent).to(views.device),
    )


class RepaTerm(nn.Module):
    """The frozen teacher and the trained head of the REPA term."""

    def __init__(self, teacher: DINOv2, head: RepaHead):
        super().__init__()
        self.teacher = teacher
        self.head = head

    def forward(
        self, features: Float[Tensor, "B h w D"], panorama: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, ""]:
        with torch.no_grad():
            target = self.teacher.patch_features(panorama, (features.shape[1], features.shape[2]))
        return repa_loss(self.head(features.flatten(1, 2)), target).mean()


class TrainingLoss(nn.Module):
    """The model with its objective. Terms whose network is None are not computed."""

    def __init__(
        self,
        model: SpiderEyeModel,
        weights: LossWeights,
        lpips: LPIPS | None = None,
        repa: RepaTerm | None = None,
    ):
        super().__init__()
        self.model = model
        self.weights = weights
        self.lpips = lpips
        self.repa = repa

    def forward(
        self,
        given: Conditions,
        panorama: Float[Tensor, "B 3 H W"],
        draws: Draws,
    ) -> dict[str, Float[Tensor, ""]]:
        """Scalar terms by name, unweighted, and their weighted sum under "total"."""
        start = given.noised(draws.noise)
        x_t = noised(panorama, start, draws.t)
        output = self.model(given, x_t, draws.t, draws.posterior_noise)
        relative = self.weights.relative
        terms = {
            "diffusion": diffusion_loss(output.velocity, panorama, start, relative),
            "kl": kl_loss(output.posterior),
        }
        if self.lpips is not None:
            x0 = predicted_data(x_t, output.velocity, draws.t)
            terms["lpips"] = self.lpips(x0, panorama).mean()
        if self.repa is not None:
            terms["repa"] = self.repa(output.features, panorama)
        return weighted(terms, self.weights)


def weighted(
    terms: dict[str, Float[Tensor, ""]], weights: LossWeights
) -> dict[str, Float[Tensor, ""]]:
    """The terms, and their weighted sum under "total". The term "distillation" stands in for
    "diffusion"."""
    factors = vars(weights) | {"distillation": weights.diffusion}
    total = sum(factors[name] * term for name, term in terms.items())
    return {**terms, "total": torch.as_tensor(total)}


def diffusion_loss(
    velocity: Float[Tensor, "B 3 H W"],
    panorama: Float[Tensor, "B 3 H W"],
    start: Float[Tensor, "B 3 H W"],
    relative: bool = False,
) -> Float[Tensor, ""]:
    """Mean squared error of the velocity against x - x₁. start: x₁.
    relative: each sample's divided by the mean square of x - x₁."""
    target = velocity_target(panorama, start)
    error = (velocity.float() - target).square().flatten(1).mean(dim=1)
    if relative:
        error = error / (target.square().flatten(1).mean(dim=1) + _EXACT)
    return error.mean()


def kl_loss(posterior: Posterior) -> Float[Tensor, ""]:
    """KL divergence of the view posteriors from N(0, 1), summed over cells, mean over pictures."""
    # In bf16 a sum over all cells would have three digits.
    return Posterior(posterior.mean.float(), posterior.logvar.float()).kl().mean()
