"""What the golden tensors do not reach: the clamp, other factors, sizes, attention, starts."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from spidereye.attention import REACH, LocalAttention
from spidereye.conditions import Conditions
from spidereye.decoder import SIZES, DecoderConfig, UViT
from spidereye.encoder import EncoderConfig, KLEncoder, Posterior
from spidereye.errors import SpiderEyeError
from spidereye.fusion import FusionConfig, build_fusion, sinusoidal_embeddings
from spidereye.layers import group_count
from spidereye.model import ModelConfig, SpiderEyeModel, build_on_meta, parameter_count
from spidereye.published import from_published, is_published

TINY = DecoderConfig((32, 32, 32, 32), heads=4, blocks=2, extract=1)

# Millions of parameters with C = 4 (design §4), and of XXS, which is ours.
DECODER_PARAMETERS = {
    "XXS": 2.05, "XS": 5.00, "S": 14.06, "B": 21.14, "M": 50.28, "L": 90.76, "XL": 161.27,
    "H": 362.69,
}  # fmt: skip


@pytest.mark.parametrize("size", SIZES)
def test_parameter_counts(size):
    model = build_on_meta(ModelConfig(decoder=DecoderConfig.named(size)))
    assert parameter_count(model.decoder) / 1e6 == pytest.approx(
        DECODER_PARAMETERS[size], abs=0.005
    )
    assert parameter_count(model.encoder) / 1e6 == pytest.approx(34.16, abs=0.005)


def test_unknown_names_list_the_choices():
    with pytest.raises(SpiderEyeError, match="XXS, XS, S, B, M, L, XL, H"):
        DecoderConfig.named("XXL")
    with pytest.raises(SpiderEyeError, match="f8c4"):
        EncoderConfig("f6c4")
    for width in (0, 4, 40, 48):
        with pytest.raises(SpiderEyeError, match=f"8, 16, 24 or a multiple of 32.*{width}"):
            EncoderConfig("f8c4", width)
    with pytest.raises(SpiderEyeError, match="concat_conv, average"):
        build_fusion(FusionConfig("magic"))
    with pytest.raises(SpiderEyeError, match="learnable"):
        build_fusion(FusionConfig(view_encoding="spiral"))


@pytest.mark.parametrize("factor,channels", [(2, 3), (4, 4), (8, 16), (16, 8)])
def test_encoders_of_other_factors(factor, channels):
    encoder = KLEncoder(EncoderConfig(f"f{factor}c{channels}", 32))
    posterior = encoder(torch.rand(2, 3, 64, 32))
    assert posterior.mean.shape == (2, channels, 64 // factor, 32 // factor)
    model = SpiderEyeModel(
        ModelConfig(
            EncoderConfig(f"f{factor}c{channels}", 32),
            DecoderConfig(TINY.widths, 4, 1, latent_channels=channels, extract=1),
            FusionConfig(channels=channels),
        )
    )
    given = Conditions(torch.rand(1, 4, 3, 32, 32))
    out = model(given, torch.rand(1, 3, 32, 64), torch.rand(1))
    assert out.velocity.shape == (1, 3, 32, 64)
    assert out.features.shape == (1, 4, 8, 32)


@pytest.mark.parametrize("width,groups", [(8, 2), (16, 4), (24, 6), (32, 32), (64, 32)])
def test_narrow_encoders_have_groups_of_several_channels(width, groups):
    encoder = KLEncoder(EncoderConfig("f8c4", width))
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert len(norms) > 20 and {norm.num_groups for norm in norms} == {groups}
    assert encoder(torch.rand(1, 3, 32, 32)).mean.shape == (1, 4, 4, 4)


@torch.no_grad()
def test_narrow_networks_can_say_how_bright_a_picture_is():
    """With a channel a group every norm would take that out, and nothing would bring it back."""
    torch.manual_seed(0)
    view = torch.rand(1, 3, 32, 32) - 0.5
    narrow = KLEncoder(EncoderConfig("f8c4", 16))
    means = [narrow(view + offset).mean.mean(dim=(2, 3)) for offset in (0.0, 0.3)]
    assert float((means[1] - means[0]).abs().max()) > 0.1
    decoder = UViT(DecoderConfig.named("XXS"))
    norms = [module for module in decoder.modules() if isinstance(module, torch.nn.GroupNorm)]
    assert {norm.num_groups for norm in norms} == {1, 8} and decoder.norm_out.num_groups == 1


def test_log_variance_is_clamped():
    encoder = KLEncoder(EncoderConfig("f8c4", 32))
    with torch.no_grad():
        encoder.project_out.bias[4:6] = 1000
        encoder.project_out.bias[6:] = -1000
    logvar = encoder(torch.rand(1, 3, 32, 32)).logvar
    assert bool((logvar[:, :2] == 20).all()) and bool((logvar[:, 2:] == -30).all())


def test_posterior_sample_and_kl_by_hand():
    mean, logvar = torch.full((2, 1, 1, 2), 0.5), torch.full((2, 1, 1, 2), 2.0).log()
    posterior = Posterior(mean, logvar)
    assert torch.allclose(posterior.sample(torch.ones_like(mean)), torch.tensor(0.5 + 2**0.5))
    # two cells of ½(0.25 + 2 - 1 - ln 2)
    assert torch.allclose(posterior.kl(), torch.full((2,), 1.25 - 0.69314718))


def dense_attention(layer: LocalAttention, x: torch.Tensor) -> torch.Tensor:
    """The literal form: every query against every key, with a mask and a dense bias."""
    batch, height, width, channels = x.shape
    cells = torch.cartesian_prod(torch.arange(height), torch.arange(width))
    offset = cells[:, None] - cells[None, :] + REACH
    inside = ((offset >= 0) & (offset <= 2 * REACH)).all(-1)
    offset = offset.clamp(0, 2 * REACH)
    bias = layer.relative_bias[offset[..., 0], offset[..., 1]].permute(2, 0, 1)
    bias = bias.masked_fill(~inside, -torch.inf)
    q, k, v = (
        part(x.flatten(1, 2)).unflatten(-1, (layer.heads, -1)).transpose(1, 2)
        for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    weights = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + bias).softmax(-1)
    out = (weights @ v).transpose(1, 2).reshape(batch, height, width, channels)
    return layer.to_out(out)


@pytest.mark.parametrize("size", [(1, 2), (4, 8), (5, 9), (8, 16), (16, 32), (17, 20)])
def test_local_attention_equals_the_dense_form_in_value_and_gradient(size):
    torch.manual_seed(0)
    layer = LocalAttention(32, 4)
    torch.nn.init.normal_(layer.relative_bias)
    x = torch.randn(2, *size, 32)
    gradients = []
    for form in (layer, lambda value: dense_attention(layer, value)):
        value = x.clone().requires_grad_()
        layer.zero_grad()
        out = form(value)
        out.square().sum().backward()
        gradients.append((out.detach(), value.grad, layer.relative_bias.grad.clone()))
    for ours, dense in zip(*gradients, strict=True):
        assert torch.allclose(ours, dense, atol=1e-5, rtol=1e-4)


def test_a_block_of_the_decoder_starts_as_its_shortcut_and_trains():
    torch.manual_seed(0)
    decoder = UViT(TINY)
    for name, parameter in decoder.named_parameters():
        if name.endswith("conv2.weight") or "feed_forward.linear_out" in name:
            assert bool((parameter == 0).all()), name
    out = decoder(torch.randn(1, 3, 32, 64), torch.tensor([300.0]), torch.randn(1, 4, 4, 8))
    assert out.velocity.std() > 0
    out.velocity.square().mean().backward()
    assert decoder.conv_in.weight.grad.abs().sum() > 0


def test_extra_inputs_start_unheard_and_are_learnt():
    torch.manual_seed(0)
    decoder = UViT(replace(TINY, extra_channels=2))
    plain = UViT(TINY)
    state = decoder.state_dict()
    state["conv_in.weight"] = state["conv_in.weight"][:, :7]
    plain.load_state_dict(state)
    x_t, t1000, z = torch.randn(2, 3, 32, 64), torch.rand(2) * 1000, torch.randn(2, 4, 4, 8)
    extra = torch.randn(2, 2, 32, 64)
    out = decoder(x_t, t1000, z, extra).velocity
    assert torch.allclose(out, plain(x_t, t1000, z).velocity, atol=1e-6)
    out.square().mean().backward()
    weight = decoder.conv_in.weight
    assert weight.shape[1] == 9 and bool((weight[:, 7:] == 0).all())
    assert weight.grad[:, 7:].abs().sum() > 0
    with torch.no_grad():
        weight[:, 7:] = 0.1
    assert not torch.allclose(decoder(x_t, t1000, z, extra).velocity, out, atol=1e-3)


def test_extra_inputs_are_given_as_the_decoder_was_made_for():
    x_t, t1000, z = torch.rand(1, 3, 32, 64), torch.ones(1), torch.rand(1, 4, 4, 8)
    for made, given in ((2, 0), (0, 2), (2, 1)):
        decoder = UViT(replace(TINY, extra_channels=made))
        extra = torch.rand(1, given, 32, 64) if given else None
        with pytest.raises(ValueError, match=f"{made} extra input channels and got {given}"):
            decoder(x_t, t1000, z, extra)


def test_a_decoder_may_start_at_velocity_zero_and_trains():
    decoder = UViT(replace(TINY, residual=True))
    out = decoder(torch.randn(1, 3, 32, 64), torch.tensor([300.0]), torch.randn(1, 4, 4, 8))
    assert bool((out.velocity == 0).all())
    (out.velocity - 1).square().mean().backward()
    assert decoder.conv_out.weight.grad.abs().sum() > 0


def straight_decoder(**settings):
    torch.manual_seed(0)
    return UViT(replace(TINY, straight=True, **settings))


def test_a_straight_path_starts_with_the_noise_taken_away():
    decoder, x_t = straight_decoder(extra_channels=2), torch.randn(2, 3, 32, 64)
    plain = UViT(replace(TINY, extra_channels=2))
    plain.load_state_dict(decoder.state_dict(), strict=False)
    given = (x_t, torch.tensor([1000.0, 10.0]), torch.randn(2, 4, 4, 8), torch.randn(2, 2, 32, 64))
    out = decoder(*given).velocity
    assert torch.allclose(out, plain(*given).velocity - x_t, atol=1e-6)
    out.square().mean().backward()
    path = decoder.straight
    assert bool((path.weights.weight.grad.abs().sum(dim=(0, 2, 3)) > 0).all())  # of all inputs
    assert path.gate.weight.grad[:3].abs().sum() > 0
    assert UViT(TINY).straight is None and DecoderConfig.named("XXS").straight
    assert not DecoderConfig.named("XS").straight


def test_the_straight_path_of_flows_from_near_the_data_is_that_of_what_is_told_beside_them():
    decoder = straight_decoder(extra_channels=2, residual=True)
    given = [torch.randn(1, 3, 32, 64), torch.ones(1), torch.randn(1, 4, 4, 8)]
    extra = torch.randn(1, 2, 32, 64)
    assert bool((decoder(*given, extra).velocity == 0).all())
    with torch.no_grad():
        decoder.straight.weights.weight[1, 0] = 1 / 8
    out = decoder(*given, extra).velocity
    assert torch.allclose(out[:, 1], extra[:, 0], atol=1e-6) and bool((out[:, [0, 2]] == 0).all())
    named = DecoderConfig.named("S", residual=True, extra_channels=2)
    assert named.straight and not DecoderConfig.named("XXS", residual=True).straight


def test_the_straight_path_is_weighed_by_the_time():
    decoder = straight_decoder(residual=True, extra_channels=2)
    torch.nn.init.normal_(decoder.straight.weights.weight)
    given = (torch.randn(1, 3, 32, 64).expand(2, -1, -1, -1), torch.tensor([1000.0, 100.0]))
    given += (torch.zeros(2, 4, 4, 8), torch.randn(1, 2, 32, 64).expand(2, -1, -1, -1))
    now, later = decoder(*given).velocity
    assert torch.allclose(now, later, atol=1e-6) and now.std() > 0.1
    torch.nn.init.normal_(decoder.straight.gate.weight)
    now, later = decoder(*given).velocity
    assert not torch.allclose(now, later, atol=0.1)


def test_latents_of_another_size_are_resized_to_the_picture():
    decoder = UViT(TINY)
    for cells in ((2, 4), (8, 16)):
        out = decoder(torch.rand(1, 3, 32, 64), torch.tensor([1.0]), torch.rand(1, 4, *cells))
        assert out.velocity.shape == (1, 3, 32, 64)


def test_sinusoidal_encoding_by_hand():
    e = sinusoidal_embeddings(3, 4)[..., 0, 0]
    i = torch.arange(3.0)
    expected = torch.stack((i.sin(), i.cos(), (i / 100).sin(), (i / 100).cos()), -1)
    assert torch.allclose(e, expected)


def test_view_encodings_tell_views_apart_and_none_does_not():
    z = torch.randn(1, 4, 4, 4, 4)
    flipped = z.flip(1)
    plain = build_fusion(FusionConfig("average", view_encoding=None))
    assert torch.allclose(plain(z), plain(flipped), atol=1e-6)
    mixed = build_fusion(FusionConfig("concat_conv"))
    assert not torch.allclose(mixed(z), mixed(flipped), atol=1e-3)


@pytest.mark.parametrize("width,groups", [(4, 4), (8, 8), (33, 11), (96, 32), (37, 1), (48, 24)])
def test_group_count(width, groups):
    assert group_count(width) == groups
    assert F.group_norm(torch.rand(1, width, 2, 2), groups).shape == (1, width, 2, 2)


def test_encode_and_decode_need_no_ground_truth():
    model = SpiderEyeModel(ModelConfig(EncoderConfig(width=32), TINY)).eval()
    given, noise = Conditions(torch.rand(2, 4, 3, 32, 32)), torch.randn(2, 3, 32, 64)
    with torch.no_grad():
        z = model.encode(given)
        assert z.shape == (2, 4, 4, 8)
        assert model.decode(z, given, noise, steps=2).shape == (2, 3, 32, 64)


def test_unknown_published_names_are_refused():
    state = {"encoder.down.0.block.0.conv1.weight": torch.zeros(1), "optimizer.x": torch.zeros(1)}
    assert is_published(state)
    with pytest.raises(SpiderEyeError, match=r"optimizer\.x"):
        from_published(state)


def test_the_forks_ema_wrapper_holds_both_weights():
    name = "base_ssdd.encoder.conv_in.bias"
    state = {f"model.{name}": torch.zeros(1), f"ema.ema_model.{name}": torch.ones(1)}
    assert from_published(state, "raw")["encoder.conv_in.bias"] == 0
    assert from_published(state, "ema")["encoder.conv_in.bias"] == 1
    with pytest.raises(SpiderEyeError, match=r"ssdd\.weights=raw"):
        from_published({f"model.{name}": torch.zeros(1)}, "ema")
