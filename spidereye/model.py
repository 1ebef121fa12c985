"""The model: views are encoded, fused and decoded to the velocity of the panorama's flow."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.attention import prepare_compiling
from spidereye.conditions import ConditioningConfig, Conditions
from spidereye.decoder import DecoderConfig, UViT
from spidereye.encoder import EncoderConfig, KLEncoder, Posterior
from spidereye.fusion import FusionConfig, build_fusion
from spidereye.layers import Upsample
from spidereye.sampler import euler

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class ModelConfig:
    """The three networks and what they are told beside the views. panorama_size: (W, H) in pixels
    that the model was made for."""

    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    decoder: DecoderConfig = field(default_factory=lambda: DecoderConfig.named("M"))
    fusion: FusionConfig = field(default_factory=FusionConfig)
    conditioning: ConditioningConfig = field(default_factory=ConditioningConfig)
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
        given: Conditions,
        x_t: Float[Tensor, "B 3 H W"],
        t: Float[Tensor, "B"],
        posterior_noise: Float[Tensor, "B N C zh zw"] | None = None,
    ) -> ModelOutput:
        """Velocity at x_t, time t in [0, 1]. given: of views of one size.
        posterior_noise None: the posteriors' modes."""
        assert isinstance(given.views, Tensor), "training takes views of one size"
        posterior = self.encoder(given.views.flatten(0, 1))
        noise = None if posterior_noise is None else posterior_noise.flatten(0, 1)
        latents = posterior.mean if noise is None else posterior.sample(noise)
        z = self.fused(latents.unflatten(0, given.views.shape[:2]).unbind(1), given)
        velocity, features = self.velocity(z, given, x_t, t)
        return ModelOutput(velocity, features, posterior)

    def velocity(
        self,
        z: Float[Tensor, "B C zH zW"],
        given: Conditions,
        x_t: Float[Tensor, "B 3 H W"],
        t: Float[Tensor, "B"],
    ) -> tuple[Float[Tensor, "B 3 H W"], Float[Tensor, "B H/8 W/8 D"]]:
        """Of the flow at x_t, and the decoder's tokens for REPA."""
        decoded = self.decoder(x_t, 1000 * t, z, given.warp, given.shot)
        return given.velocity(decoded.velocity.to(x_t.dtype), x_t, t), decoded.features

    def encode(self, given: Conditions) -> Float[Tensor, "B C zH zW"]:
        """The panorama latent of shots, from the modes of their views' posteriors."""
        if isinstance(given.views, Tensor):
            latents = self.encoder(given.views.flatten(0, 1)).mean
            latents = latents.unflatten(0, given.views.shape[:2]).unbind(1)
        else:
            latents = tuple(self.encoder(view).mean for view in given.views)
        return self.fused(latents, given)

    def compile_networks(self, backend: str = "inductor") -> None:
        """Let torch.compile make code of encoder, fusion and decoder when they first run."""
        prepare_compiling()
        for network in (self.encoder, self.fusion, self.decoder):
            network.compile(backend=backend)

    def panorama(
        self,
        given: Conditions,
        noise: Float[Tensor, "B 3 H W"],
        steps: int = 12,
        t_pow_shift: float = 2.0,
    ) -> Float[Tensor, "B 3 H W"]:
        """The panoramas of shots: see `encode` and `decode`."""
        return self.decode(self.encode(given), given, noise, steps, t_pow_shift)

    def decode(
        self,
        z: Float[Tensor, "B C zH zW"],
        given: Conditions,
        noise: Float[Tensor, "B 3 H W"],
        steps: int = 12,
        t_pow_shift: float = 2.0,
    ) -> Float[Tensor, "B 3 H W"]:
        """A panorama of latent z from the given noise, about [-1, 1], not clamped."""

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(z, given, x, t)[0]

        made = euler(velocity, given.noised(noise), steps, t_pow_shift)
        if not self.config.conditioning.expected:
            return made
        assert given.start is not None and given.spread is not None
        return torch.where(given.spread < 1, made, given.start)

    def fused(
        self, latents: Sequence[Float[Tensor, "B C _ _"]], given: Conditions
    ) -> Float[Tensor, "B C zH zW"]:
        """The panorama latent of N view latents."""
        if self.config.conditioning.grid:
            assert given.grid is not None
            return self.fusion(latents, given.grid)
        return self.fusion(torch.stack(list(latents), dim=1))


def as_used(model: Network) -> Network:
    """The model, or one of its networks, changed for use instead of training: its weights have to
    stay as they are. Channels last makes convolutions of large pictures up to a third faster; on
    CPUs their backward pass is slower for it."""
    model.eval().requires_grad_(False)
    for module in model.modules():
        if isinstance(module, Upsample):
            module.keep_kernel()
    return model.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]


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
