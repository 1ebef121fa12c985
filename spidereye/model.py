"""The model: views are encoded, fused and decoded to the velocity of the panorama's flow."""

from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.decoder import DecoderConfig, UViT
from spidereye.encoder import EncoderConfig, KLEncoder, Posterior
from spidereye.fusion import FusionConfig, build_fusion
from spidereye.sampler import euler


@dataclass(frozen=True)
class ModelConfig:
    """The three networks. panorama_size: (W, H) in pixels that the model was made for."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig.named("M"))
    fusion: FusionConfig = field(default_factory=FusionConfig)
    panorama_size: tuple[int, int] = (256, 128)


class ModelOutput(NamedTuple):
    """velocity: of the flow at x_t.   features: decoder tokens for REPA.
    posterior: of all views, [B·N] of them."""

    velocity: Float[Tensor, "B 3 H W"]
    features: Float[Tensor, "B H/8 W/8 D"]
    posterior: Posterior


class SpiderEyeModel(nn.Module):
    """Encoder, fusion and decoder. `forward` is the training pass; `encode` and `decode` need no
    ground truth."""

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.encoder = KLEncoder(config.encoder)
        self.fusion = build_fusion(config.fusion)
        self.decoder = UViT(config.decoder)

    def forward(
        self,
        views: Float[Tensor, "B N 3 h w"],
        x_t: Float[Tensor, "B 3 H W"],
        t: Float[Tensor, "B"],
        posterior_noise: Float[Tensor, "B N C zh zw"] | None = None,
    ) -> ModelOutput:
        """Velocity at x_t, time t in [0, 1]. posterior_noise None: the posteriors' modes."""
        posterior = self.encoder(views.flatten(0, 1))
        noise = None if posterior_noise is None else posterior_noise.flatten(0, 1)
        latents = posterior.mean if noise is None else posterior.sample(noise)
        z = self.fusion(latents.unflatten(0, views.shape[:2]))  # [B, C, zH, zW]
        velocity, features = self.decoder(x_t, 1000 * t, z)
        return ModelOutput(velocity, features, posterior)

    def encode(self, views: Float[Tensor, "B N 3 h w"]) -> Float[Tensor, "B C zH zW"]:
        """The panorama latent of views in [-1, 1], from the modes of their posteriors."""
        latents = self.encoder(views.flatten(0, 1)).mean
        return self.fusion(latents.unflatten(0, views.shape[:2]))

    def decode(
        self,
        z: Float[Tensor, "B C zH zW"],
        noise: Float[Tensor, "B 3 H W"],
        steps: int = 12,
        t_pow_shift: float = 2.0,
    ) -> Float[Tensor, "B 3 H W"]:
        """A panorama of latent z from the given noise, about [-1, 1], not clamped."""

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.decoder(x, 1000 * t, z).velocity.to(x.dtype)

        return euler(velocity, noise, steps, t_pow_shift)


def parameter_count(module: nn.Module) -> int:
    """Number of parameters of a network."""
    return sum(parameter.numel() for parameter in module.parameters())


def posterior_shape(config: ModelConfig, views: int, view_size: int) -> tuple[int, int, int, int]:
    """[N, C, zh, zw] of the view latents of square views."""
    cells = view_size // config.encoder.factor
    return views, config.encoder.channels, cells, cells


def build_on_meta(config: ModelConfig) -> SpiderEyeModel:
    """The networks without memory or values, for counting and for checking names and shapes."""
    with torch.device("meta"):
        return SpiderEyeModel(config)
