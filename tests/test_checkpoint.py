"""Checkpoints are whole or not there; loading is strict and says what is wrong."""

import inspect
import json
import resource
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import save_file

from spidereye.checkpoint import (
    Checkpoint,
    load_checkpoint,
    read_config,
    read_weights,
    recover,
    save_checkpoint,
)
from spidereye.decoder import DecoderConfig
from spidereye.encoder import EncoderConfig
from spidereye.errors import SpiderEyeError
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.rig import NAMED_RIGS, Rig, spider4
from spidereye.rig_files import load_rig
from spidereye.weights import find_checkpoint, load_weights

TINY = ModelConfig(
    EncoderConfig("f8c4", 32), DecoderConfig((32, 32, 32, 32), heads=4, blocks=1, extract=1)
)


def checkpoint(value=1.0, size=4):
    return Checkpoint(
        raw={"w": torch.full((size,), value)},
        ema={"w": torch.full((size,), -value)},
        config={"seed": 3},
        training={"step": 7},
        training_tensors={"m": torch.arange(3)},
    )


def test_round_trip(tmp_path):
    save_checkpoint(tmp_path / "last", checkpoint())
    back = load_checkpoint(tmp_path / "last")
    assert back.training == {"step": 7} and back.config == {"seed": 3}
    assert float(back.raw["w"][0]) == 1 and float(back.ema["w"][0]) == -1
    assert back.training_tensors["m"].tolist() == [0, 1, 2]
    assert not list(tmp_path.rglob("*.p*t*"))  # no pickles


def test_saving_replaces_and_leaves_nothing_else(tmp_path):
    for value in (1.0, 2.0):
        save_checkpoint(tmp_path / "last", checkpoint(value))
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert float(load_checkpoint(tmp_path / "last").raw["w"][0]) == 2


def test_a_crash_between_the_two_renames_is_recovered(tmp_path):
    save_checkpoint(tmp_path / "last", checkpoint())
    (tmp_path / "last").rename(tmp_path / ".last.old")
    assert load_checkpoint(tmp_path / "last").training == {"step": 7}
    shutil.copytree(tmp_path / "last", tmp_path / ".last.old")
    recover(tmp_path / "last")
    assert not (tmp_path / ".last.old").exists()


@pytest.mark.parametrize("damage", ["missing", "short", "manifest"])
def test_a_half_copied_folder_is_refused(tmp_path, damage):
    folder = tmp_path / "last"
    save_checkpoint(folder, checkpoint(size=1000))
    victim = folder / ("manifest.json" if damage == "manifest" else "ema.safetensors")
    if damage == "short":
        victim.write_bytes(victim.read_bytes()[:100])
    else:
        victim.unlink()
    with pytest.raises(SpiderEyeError, match=r"copy the (whole )?folder again"):
        read_weights(folder, "ema")


@pytest.mark.parametrize(
    "name, content",
    [
        ("manifest.json", b""),
        ("manifest.json", b"[]"),
        ("config.yaml", b"a: ]"),
        ("config.yaml", b"\xff\xfe"),
        ("config.yaml", b"5"),
        ("training.json", b"{"),
        ("raw.safetensors", b"\0" * 64),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    """Of the right size, so that only reading it tells."""
    folder = tmp_path / "last"
    save_checkpoint(folder, checkpoint())
    (folder / name).write_bytes(content)
    if name != "manifest.json":
        sizes = json.loads((folder / "manifest.json").read_text()) | {name: len(content)}
        (folder / "manifest.json").write_text(json.dumps(sizes))
    with pytest.raises(SpiderEyeError, match=rf"last is damaged: {name}: .*copy the folder again"):
        load_checkpoint(folder)


def test_weights_have_two_names(tmp_path):
    save_checkpoint(tmp_path / "last", checkpoint())
    unchecked = inspect.unwrap(read_weights)  # as those have it who do not check types
    with pytest.raises(SpiderEyeError, match="weights are ema or raw, got 'EMA'"):
        unchecked(tmp_path / "last", "EMA")


def test_a_checkpoint_may_be_where_we_are(tmp_path, monkeypatch):
    save_checkpoint(tmp_path / "last", checkpoint())
    monkeypatch.chdir(tmp_path / "last")
    assert read_weights(find_checkpoint(".").path, "ema")


def test_a_full_disk_keeps_the_previous_checkpoint(tmp_path):
    """A file size limit stands for the full disk: writing fails half-way in both."""
    folder = tmp_path / "last"
    save_checkpoint(folder, checkpoint())
    code = f"""
import sys; sys.path[:0] = {sys.path!r}
import signal, resource
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
import torch
from pathlib import Path
from spidereye.checkpoint import Checkpoint, save_checkpoint
big = {{"w": torch.zeros(100_000)}}
save_checkpoint(Path({str(folder)!r}), Checkpoint(big, big, {{}}))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode != 0
    assert "cannot save a checkpoint" in result.stderr and "untouched" in result.stderr
    assert load_checkpoint(folder).training == {"step": 7}
    assert [path.name for path in tmp_path.iterdir()] == ["last"]
    assert resource.RLIMIT_FSIZE and signal.SIGXFSZ  # names that this platform must have


def own_checkpoint(folder, model):
    state = model.state_dict()
    ema = {name: value + 1 for name, value in state.items()}
    save_checkpoint(folder, Checkpoint(dict(state), ema, {}))


def test_weights_of_our_own_checkpoints(tmp_path, monkeypatch):
    torch.manual_seed(0)
    made = SpiderEyeModel(TINY)
    own_checkpoint(tmp_path / "runs/jobs/a/b/last", made)
    monkeypatch.chdir(tmp_path)
    for specification in ("a/b", "a/b@last", "runs/jobs/a/b", "runs/jobs/a/b/last"):
        found = find_checkpoint(specification)
        model = SpiderEyeModel(TINY)
        text = load_weights(model, found, "raw")
        assert "raw weights" in text
        assert torch.equal(model.decoder.conv_in.weight, made.decoder.conv_in.weight)
    model = SpiderEyeModel(TINY)
    assert "ema weights" in load_weights(model, find_checkpoint("a/b"), "ema")
    assert torch.equal(model.decoder.conv_in.weight, made.decoder.conv_in.weight + 1)


@pytest.mark.parametrize(
    "specification",
    [
        "nowhere",
        "a@first",
        "runs/none@best",
        "./mine",
        "../mine",
        "a--b/c",
        "a/b.git",
        "",
        "x" * 300,
    ],
)
def test_a_checkpoint_that_is_nowhere(specification, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SpiderEyeError):
        find_checkpoint(specification)


def test_a_checkpoint_from_the_hub_comes_with_its_masks(tmp_path, monkeypatch):
    import huggingface_hub

    def download(identifier, allow_patterns):
        names = [path.name for path in (tmp_path / "theirs").iterdir()]
        (tmp_path / "here").mkdir()
        for name in huggingface_hub.utils.filter_repo_objects(names, allow_patterns=allow_patterns):
            shutil.copy(tmp_path / "theirs" / name, tmp_path / "here")
        return str(tmp_path / "here")

    masked = replace(spider4(50, 0.85, 16).cameras[0], visible=torch.ones(16, 16, dtype=torch.bool))
    rig = Rig((masked,))
    save_checkpoint(tmp_path / "theirs", replace(checkpoint(), rig=rig))
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    monkeypatch.setattr(
        huggingface_hub, "model_info", lambda identifier: SimpleNamespace(card_data={})
    )
    assert read_weights(find_checkpoint("some/rig").path, "ema")


def test_another_architecture_is_refused_naming_what_differs(tmp_path):
    own_checkpoint(tmp_path / "last", SpiderEyeModel(TINY))
    bigger = ModelConfig(TINY.encoder, DecoderConfig((32, 32, 32, 32), 4, blocks=2, extract=1))
    with pytest.raises(SpiderEyeError, match=r"does not fit.*is missing.*ssdd\.decoder"):
        load_weights(SpiderEyeModel(bigger), find_checkpoint(str(tmp_path / "last")))
    wider = ModelConfig(TINY.encoder, DecoderConfig((32, 64, 32, 32), 4, 1, extract=1))
    with pytest.raises(SpiderEyeError, match=r"has shape \(\d+, .*expected"):
        load_weights(SpiderEyeModel(wider), find_checkpoint(str(tmp_path / "last")))


def published_tiny(shared_names):
    """A published file's tensors for TINY, by inverting our name mapping on its own key list."""
    from spidereye.published import our_decoder_name, our_encoder_name

    model = SpiderEyeModel(TINY)
    state = model.state_dict()
    published = {}
    for name in shared_names:
        network, _, rest = name.partition(".")
        ours = (our_encoder_name if network == "encoder" else our_decoder_name)(rest)
        if f"{network}.{ours}" in state:
            published[name] = state[f"{network}.{ours}"]
    return model, published


def test_published_and_forked_files_load(shared, tmp_path):
    lines = (shared / "golden" / "ssdd_f8c4_M_keys.tsv").read_text().split("\n")
    made, published = published_tiny([line.split("\t")[0] for line in lines if line])
    flat = tmp_path / "published.safetensors"
    save_file(published, flat)
    model = SpiderEyeModel(TINY)
    fresh = model.fusion.state_dict()["mix.0.weight"].clone()
    text = load_weights(model, find_checkpoint(str(flat)))
    assert "fusion, which starts fresh" in text
    assert torch.equal(model.fusion.state_dict()["mix.0.weight"], fresh)
    for name, value in made.encoder.state_dict().items():
        assert torch.equal(model.encoder.state_dict()[name], value)

    fusion = {
        "view_encoding.view_embeddings": "encoding.embeddings",
        "fusion_conv.0.weight": "mix.0.weight", "fusion_conv.0.bias": "mix.0.bias",
        "fusion_conv.1.weight": "mix.1.weight", "fusion_conv.1.bias": "mix.1.bias",
        "fusion_conv.3.weight": "mix.3.weight", "fusion_conv.3.bias": "mix.3.bias",
        "aspect_adjust.1.weight": "widen.conv.weight", "aspect_adjust.1.bias": "widen.conv.bias",
        "aspect_adjust.2.weight": "widen.norm.weight", "aspect_adjust.2.bias": "widen.norm.bias",
    }  # fmt: skip
    plain = {f"base_ssdd.{name}": value for name, value in published.items()}
    plain |= {f"fusion.{theirs}": made.fusion.state_dict()[ours] for theirs, ours in fusion.items()}
    (tmp_path / "fork").mkdir()
    both = {f"model.{n}": v for n, v in plain.items()}
    both |= {f"ema.ema_model.{n}": v + 1 for n, v in plain.items()}
    save_file(both, tmp_path / "fork" / "model.safetensors")
    for weights, shift in (("raw", 0), ("ema", 1)):
        model = SpiderEyeModel(TINY)
        load_weights(model, find_checkpoint(str(tmp_path / "fork")), weights)
        expected = made.decoder.conv_in.weight + shift
        assert torch.equal(model.decoder.conv_in.weight, expected)
        expected = made.fusion.state_dict()["mix.0.weight"] + shift
        assert torch.equal(model.fusion.state_dict()["mix.0.weight"], expected)

    encoder_only = SpiderEyeModel(TINY)
    before = encoder_only.decoder.conv_in.weight.clone()
    load_weights(encoder_only, find_checkpoint(str(flat)), only="encoder")
    assert torch.equal(encoder_only.decoder.conv_in.weight, before)
    assert torch.equal(encoder_only.encoder.conv_in.weight, made.encoder.conv_in.weight)


def test_files_of_other_kinds_are_refused(tmp_path):
    (tmp_path / "x.pt").write_bytes(b"pickle")
    (tmp_path / "x.safetensors").write_bytes(b"nonsense")
    for name, words in (("x.pt", "only"), ("x.safetensors", "damaged")):
        with pytest.raises(SpiderEyeError, match=words):
            load_weights(SpiderEyeModel(TINY), find_checkpoint(str(tmp_path / name)))


def test_manifest_lists_every_file(tmp_path):
    save_checkpoint(tmp_path / "last", checkpoint())
    listed = set(json.loads((tmp_path / "last" / "manifest.json").read_text()))
    there = {path.name for path in (tmp_path / "last").iterdir()}
    assert listed == there - {"manifest.json"}


def test_a_checkpoint_carries_the_rig_of_its_file(tmp_path):
    """The rig's file may be elsewhere, changed or gone when the checkpoint is used."""
    made = replace(checkpoint(), config={"dataset": {"rig": "/elsewhere/rig.yaml"}})
    save_checkpoint(tmp_path / "last", replace(made, rig=NAMED_RIGS["dual190"]()))
    config = read_config(tmp_path / "last")
    assert load_rig(config["dataset"]["rig"]).names == ("front", "back")
    # A resumed run compares its configuration with the one that was typed.
    assert load_checkpoint(tmp_path / "last").config["dataset"]["rig"] == "/elsewhere/rig.yaml"
