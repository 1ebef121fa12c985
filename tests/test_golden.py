"""Our networks compute the published functions: equal to every tensor of shared/golden."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from spidereye.conditions import Conditions
from spidereye.decoder import DecoderConfig, UViT
from spidereye.encoder import EncoderConfig, KLEncoder
from spidereye.errors import SpiderEyeError
from spidereye.fusion import FusionConfig, build_fusion
from spidereye.model import ModelConfig, SpiderEyeModel, build_on_meta
from spidereye.published import (
    from_published,
    our_decoder_name,
    our_encoder_name,
    our_fusion_name,
)
from spidereye.weights import Found, load_weights

SMALL_DECODER = DecoderConfig((32, 64, 96, 96), heads=4, blocks=2, extract=1)


def read(folder, name, rename):
    tensors = load_file(folder / "golden" / f"{name}.safetensors")
    weights = {
        rename(key.removeprefix("weights.")): value
        for key, value in tensors.items()
        if key.startswith("weights.")
    }
    io = {k.removeprefix("io."): v for k, v in tensors.items() if k.startswith("io.")}
    return weights, io


def close(ours, theirs, atol=1e-5):
    assert ours.shape == theirs.shape
    error = float((ours - theirs).abs().max())
    assert error <= atol, f"largest difference {error:.2e}"


def golden_encoder(shared):
    weights, io = read(shared, "encoder_f8c4_w32", our_encoder_name)
    encoder = KLEncoder(EncoderConfig("f8c4", 32))
    encoder.load_state_dict(weights, strict=True)
    return encoder, io


def golden_decoder(shared):
    weights, io = read(shared, "decoder_c32_n2", our_decoder_name)
    decoder = UViT(SMALL_DECODER)
    decoder.load_state_dict(weights, strict=True)
    return decoder, io


@torch.no_grad()
def test_encoder(shared):
    encoder, io = golden_encoder(shared)
    posterior = encoder(io["input"])
    close(posterior.mean, io["mean"])
    close(posterior.logvar, io["logvar"])
    close(posterior.kl(), io["kl"], atol=1e-4)


@torch.no_grad()
def test_decoder(shared):
    decoder, io = golden_decoder(shared)
    close(decoder(io["x_t"], io["t1000"], io["z"]).velocity, io["velocity"])


@torch.no_grad()
def test_decoder_where_windows_do_not_cover_the_grid(shared):
    decoder, io = golden_decoder(shared)
    velocity = decoder(io["x_t_large"], torch.tensor([500.0]), io["z_large"]).velocity
    close(velocity, io["velocity_large"])


@torch.no_grad()
@pytest.mark.parametrize("encoding", ["sinusoidal", "learnable", "directional"])
@pytest.mark.parametrize("type", ["concat_conv", "average"])
def test_fusion(shared, type, encoding):
    weights, io = read(shared, f"fusion_{type}_{encoding}", our_fusion_name)
    fusion = build_fusion(FusionConfig(type, view_encoding=encoding))
    if encoding == "sinusoidal":  # loading would hide the formula
        close(fusion.get_buffer("encoding.embeddings"), weights["encoding.embeddings"], 1e-7)
    if encoding == "directional":  # so would our own axes
        close(fusion.get_buffer("encoding.directions"), weights["encoding.directions"], 1e-7)
    fusion.load_state_dict(weights, strict=True)
    close(fusion(io["z_views"]), io["z"])


@torch.no_grad()
def test_views_to_panorama(shared):
    model = SpiderEyeModel(ModelConfig(EncoderConfig("f8c4", 32), SMALL_DECODER))
    fusion, io = read(shared, "multiview_end_to_end", our_fusion_name)
    model.encoder = golden_encoder(shared)[0]
    model.decoder = golden_decoder(shared)[0]
    model.fusion.load_state_dict(fusion, strict=True)
    z_views = model.encoder(io["views"].flatten(0, 1)).mean.unflatten(0, (1, 4))
    close(z_views, io["z_views"])
    given = Conditions(io["views"])
    z = model.encode(given)
    close(z, io["z"])
    close(model.decode(z, given, io["noise"], steps=12), io["panorama_12_steps"])
    close(model.decode(z, given, io["noise"], steps=1), io["panorama_1_step"])


def published_file(folder, shared, **changed):
    """A file of the published family: the golden encoder and decoder under their own names."""
    state = {}
    for network, name in (("encoder", "encoder_f8c4_w32"), ("decoder", "decoder_c32_n2")):
        for key, value in load_file(shared / "golden" / f"{name}.safetensors").items():
            if key.startswith("weights."):
                state[f"{network}.{key.removeprefix('weights.')}"] = value
    path = folder / "published.safetensors"
    save_file(state | changed, path)
    return Found(path)


@torch.no_grad()
def test_published_weights_fill_a_decoder_with_extra_inputs_and_sphere_padding(shared, tmp_path):
    encoder, io = EncoderConfig("f8c4", 32), golden_decoder(shared)[1]
    config = replace(SMALL_DECODER, extra_channels=5, padding="zeros")
    model = SpiderEyeModel(ModelConfig(encoder, config))
    torch.nn.init.ones_(model.decoder.conv_in.weight)
    text = load_weights(model, published_file(tmp_path, shared))
    assert "5 extra input channels start at zero" in text and "fusion" in text
    extra = torch.randn(len(io["x_t"]), 5, *io["x_t"].shape[2:])
    close(model.decoder(io["x_t"], io["t1000"], io["z"], extra).velocity, io["velocity"])

    text = load_weights(model, published_file(tmp_path, shared), only="encoder")
    assert "extra" not in text
    sphere = SpiderEyeModel(ModelConfig(encoder, replace(config, padding="sphere")))
    load_weights(sphere, published_file(tmp_path, shared))
    velocity = sphere.decoder(io["x_t"], io["t1000"], io["z"], extra).velocity
    assert velocity.shape == io["velocity"].shape
    assert not torch.allclose(velocity, io["velocity"], atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("residual", [False, True])
def test_published_weights_fill_a_decoder_that_is_told_of_the_whole_shot(
    shared, tmp_path, residual
):
    """As SpiderEye360 is, with either prior: from a stitch it starts as that stitch."""
    encoder, io = EncoderConfig("f8c4", 32), golden_decoder(shared)[1]
    told = {"extra_channels": 5, "shot_numbers": 3, "residual": residual, "straight": residual}
    model = SpiderEyeModel(ModelConfig(encoder, replace(SMALL_DECODER, **told)))
    text = load_weights(model, published_file(tmp_path, shared), to_train=True)
    assert ("and so does its output" in text) == residual
    extra, shot = (
        torch.randn(len(io["x_t"]), 5, *io["x_t"].shape[2:]),
        torch.randn(len(io["t1000"]), 3),
    )
    velocity = model.decoder(io["x_t"], io["t1000"], io["z"], extra, shot).velocity
    close(velocity, torch.zeros_like(velocity) if residual else io["velocity"])
    if residual:  # of no use but to train
        with pytest.raises(SpiderEyeError, match="does not fit"):
            load_weights(model, published_file(tmp_path, shared))


def test_other_input_channels_than_the_extra_ones_are_an_error(shared, tmp_path):
    narrow = {"decoder.conv_in.weight": torch.zeros(32, 6, 3, 3)}
    for extra, given in ((2, narrow), (0, narrow), (2, {"decoder.conv_in.bias": torch.zeros(3)})):
        decoder = replace(SMALL_DECODER, extra_channels=extra)
        model = SpiderEyeModel(ModelConfig(EncoderConfig("f8c4", 32), decoder))
        with pytest.raises(SpiderEyeError, match=r"decoder\.conv_in\.\w+ has shape"):
            load_weights(model, published_file(tmp_path, shared, **given))


def test_published_names_fill_f8c4_and_m_exactly(shared):
    lines = (shared / "golden" / "ssdd_f8c4_M_keys.tsv").read_text().split("\n")
    shapes = dict(line.split("\t") for line in lines if line)
    published = {
        name: torch.empty([int(side) for side in shape.split("x")], device="meta")
        for name, shape in shapes.items()
    }
    assert len(published) == 536
    ours = {name: tensor.shape for name, tensor in from_published(published).items()}
    model = build_on_meta(ModelConfig())
    expected = {
        name: tensor.shape
        for name, tensor in model.state_dict().items()
        if not name.startswith("fusion.")
    }
    assert ours == expected
