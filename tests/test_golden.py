"""Our networks compute the published functions: equal to every tensor of shared/golden."""

import pytest
import torch
from safetensors.torch import load_file

from spidereye.decoder import DecoderConfig, UViT
from spidereye.encoder import EncoderConfig, KLEncoder
from spidereye.fusion import FusionConfig, build_fusion
from spidereye.model import ModelConfig, SpiderEyeModel, build_on_meta
from spidereye.published import (
    from_published,
    our_decoder_name,
    our_encoder_name,
    our_fusion_name,
)

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
    z = model.encode(io["views"])
    close(z, io["z"])
    close(model.decode(z, io["noise"], steps=12), io["panorama_12_steps"])
    close(model.decode(z, io["noise"], steps=1), io["panorama_1_step"])


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
