"""An exported file is the checkpoint: the same panoramas from ONNX Runtime, for any batch."""

import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from made_checkpoints import tiny_checkpoint
from made_shots import taken, world
from safetensors.torch import load_file

import spidereye.export
from spidereye import Stitcher
from spidereye.checkpoint import Checkpoint, read_config, save_checkpoint
from spidereye.conditions import collated, flattened
from spidereye.config_files import config_from_dict, config_to_dict
from spidereye.errors import SpiderEyeError
from spidereye.export import export_file, export_onnx, sample_shot
from spidereye.onnx_networks import OnnxNetworks
from spidereye.pictures import to_uint8
from spidereye.precision import has_bfloat16
from spidereye.rig import Rig, spider4
from spidereye.rig_files import load_rig, write_rig
from spidereye.trained import Trained

pytestmark = pytest.mark.slow  # minutes: the exporter takes its time even for tiny networks

RIG = spider4(f=220 * 32 / 560, xi=0.85, size=32)


def pictures(rig: Rig = RIG, seed: int = 0) -> list[np.ndarray]:
    return [to_uint8(v[0]).permute(1, 2, 0).numpy() for v in taken(world(seed), rig, seed=1)]


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


def exported_as(path, checkpoint, *options: str, steps: int = 1) -> tuple[dict[str, list], float]:
    """The command's inputs, name to shape, and its largest difference. In a process of its own:
    the exporter cannot trace the shape checks that tests are wrapped in."""
    program = Path(sys.executable).with_name("spidereye")
    made = subprocess.run(
        [str(program), "export", str(checkpoint), "-o", str(path), *options],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    assert f" {steps} step{'s' * (steps > 1)}\ninputs:\n  views [" in made.stdout
    shapes = re.findall(r"^  (\S+) (\[.*\])$", made.stdout, re.MULTILINE)
    difference = re.search(r"differ by (\S+) of \[-1, 1\] at most", made.stdout)
    assert difference, made.stdout
    inputs = {name: json.loads(shape.replace("'", '"')) for name, shape in shapes}
    return inputs, float(difference[1])


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """(checkpoint, file, inputs, difference): all that geometry tells, one shot, one step."""
    folder = tmp_path_factory.mktemp("export")
    checkpoint = tiny_checkpoint(folder / "checkpoint")
    path = folder / "model.onnx"
    return checkpoint, path, *exported_as(path, checkpoint)


def test_the_file_is_the_checkpoint(exported):
    checkpoint, path, inputs, apart = exported
    assert apart < 1e-4
    assert inputs["views"] == [1, 4, 3, 32, 32] and inputs["noise"] == [1, 3, 32, 64]
    given, _ = sample_shot(Trained.load(checkpoint).config)
    assert list(inputs) == [*flattened(given), "noise"]
    assert {"warp", "start", "spread", "shot", "grid.place", "grid.seen"} <= inputs.keys()
    onnx.checker.check_model(str(path))
    ours, theirs = Stitcher.load(checkpoint), Stitcher.load(path)
    assert theirs.origin.startswith(str(path)) and "ema weights of" in theirs.origin
    assert theirs.size == ours.size and theirs.refine == ours.refine == ("gain",)
    for seed in (0, 3):
        views = pictures(seed=seed)
        one, other = (stitcher(views, seed=seed) for stitcher in (ours, theirs))
        assert difference(one.picture, other.picture) <= 1
        assert np.array_equal(one.count, other.count) and one.notes == other.notes
    missing = [views[0], None, *views[2:]]
    one, other = ours(missing), theirs(missing)  # the file gets a black one, and does without it
    assert difference(one.picture, other.picture) <= 1 and np.array_equal(one.count, other.count)
    three = Rig(RIG.cameras[:3])
    with pytest.raises(SpiderEyeError, match=r"exported for 4 views and takes no other number"):
        theirs(views[:3], rig=three)


def shots_alone_and_together(checkpoint, path) -> None:
    """Three different ones: the file makes the same of them together."""
    given, noise = sample_shot(config_from_dict(read_config(checkpoint), []))
    networks = OnnxNetworks.load(path)
    several = [given._replace(views=given.views * share) for share in (1.0, 0.5, -1.0)]
    alone = [networks.panorama(shot, noise, 1) for shot in several]
    assert float((alone[0] - alone[1]).abs().max()) > 1e-3
    for count in (1, 2, 3):
        together = collated(several[:count])
        made = networks.panorama(together, noise.expand(count, -1, -1, -1), 1)
        torch.testing.assert_close(made, torch.cat(alone[:count]), rtol=0, atol=1e-5)


def test_several_shots_after_each_other(exported):
    """The file takes one at a time."""
    checkpoint, path, *_ = exported
    shots_alone_and_together(checkpoint, path)


def test_what_the_file_says_of_itself(exported):
    _, path, *_ = exported
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    assert about["views"] == "front, right, back, left: RGB in [-1, 1], 32x32 pixels"
    assert "64x32 pixels" in about["panorama"] and about["noise"] == "standard normal"
    assert json.loads(about["spidereye"])["steps"] == 1


def test_steps_are_those_of_the_file(exported):
    _, path, *_ = exported
    stitcher = Stitcher.load(path)
    with pytest.raises(SpiderEyeError, match=r"takes 1 step of the sampler, not 4"):
        stitcher(pictures(), steps=4)
    assert difference(stitcher(pictures(), steps=1).picture, stitcher(pictures()).picture) == 0


def test_many_steps_a_fixed_batch_and_a_baked_grid(tmp_path):
    """With a rig of its own file, whose mask has to travel with it."""
    mask = torch.ones(32, 32, dtype=torch.bool)
    mask[24:] = False
    cameras = (replace(RIG.cameras[0], visible=mask), *RIG.cameras[1:])
    write_rig(Rig(cameras), tmp_path / "rig" / "rig.yaml")
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    # Without the sphere's padding, which would take the exporter minutes twice.
    settings = [f"dataset.rig='{tmp_path / 'rig' / 'rig.yaml'}'", "ssdd.padding=zeros"]
    config = config_from_dict(read_config(checkpoint), settings)
    weights = load_file(checkpoint / "ema.safetensors")
    rig = load_rig(tmp_path / "rig" / "rig.yaml")
    save_checkpoint(checkpoint, Checkpoint(weights, weights, config_to_dict(config), rig=rig))
    path = tmp_path / "baked.onnx"
    inputs, apart = exported_as(path, checkpoint, "--steps", "2", "--grids", "baked", steps=2)
    assert inputs["views"] == [1, 4, 3, 32, 32] and apart < 1e-4
    assert [name for name in inputs if name.startswith("grid.")] == ["grid.seen"]
    (tmp_path / "rig" / "rig.yaml").unlink()
    ours, theirs = Stitcher.load(checkpoint), Stitcher.load(path)
    assert theirs.rig.names == rig.names
    assert torch.equal(theirs.rig.cameras[0].mask(), rig.cameras[0].mask())
    views = pictures(rig)
    assert difference(ours(views, steps=2).picture, theirs(views).picture) <= 1
    for without in (None, np.zeros_like(views[2])):  # a view that is not there, and a black one
        some = [*views[:2], without, *views[3:]]
        assert difference(ours(some, steps=2).picture, theirs(some).picture) <= 1
    for use in (lambda: theirs(views, rig=RIG), lambda: Stitcher.load(path, rig=RIG)):
        with pytest.raises(SpiderEyeError, match=r"exported with its rig in it .* takes no other"):
            use()


def test_the_documented_networks_take_views_alone_and_any_number_of_shots(tmp_path):
    checkpoint, path = tiny_checkpoint(tmp_path / "plain", "concat_conv"), tmp_path / "plain.onnx"
    inputs, apart = exported_as(path, checkpoint, "--batch", "0")
    assert inputs.keys() == {"views", "noise"} and apart < 1e-4
    assert inputs["views"] == ["batch", 4, 3, 32, 32]
    ours, theirs = Stitcher.load(checkpoint), Stitcher.load(path)
    assert difference(ours(pictures()).picture, theirs(pictures()).picture) <= 1
    shots_alone_and_together(checkpoint, path)
    with pytest.raises(SpiderEyeError, match=r"exported for 4 views .* has 3 .* with this rig"):
        Stitcher.load(path, rig="tri190")


def test_what_cannot_be_exported(tmp_path, monkeypatch):
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    config = config_from_dict(read_config(checkpoint), ["ssdd.fm_sampler.steps=12"])
    weights = load_file(checkpoint / "ema.safetensors")
    many = tmp_path / "many"
    save_checkpoint(many, Checkpoint(weights, weights, config_to_dict(config)))
    out = tmp_path / "out.onnx"
    with pytest.raises(SpiderEyeError, match=r"not distilled and takes 12 steps: say --steps 1"):
        export_onnx(many, out)
    with pytest.raises(SpiderEyeError, match=r"an ONNX file ends in .onnx"):
        export_onnx(many, tmp_path / "out.pt", steps=1)
    config.ssdd.refine = ["gain", "rotation"]
    save_checkpoint(many, Checkpoint(weights, weights, config_to_dict(config)))
    with pytest.raises(SpiderEyeError, match=r"refined for each shot"):
        export_onnx(many, out, steps=1, grids="baked")
    plain = tiny_checkpoint(tmp_path / "plain", "average")
    with pytest.raises(SpiderEyeError, match=r"fusion_type=average\) ask for no grid"):
        export_onnx(plain, out, grids="baked")
    for key, value in (("grids", "both"), ("weights", "best")):
        typed = {"grids": "inputs", "weights": "ema"} | {key: value}
        with pytest.raises(SpiderEyeError, match=rf"--{key} takes .*, got '{value}'"):
            export_file(str(plain), out, 1, 1, **typed)
    assert not out.exists()


def test_a_file_that_disagrees_is_not_written(exported, tmp_path, monkeypatch):
    checkpoint, path, *_ = exported

    class Saved:
        def __init__(self):
            self.model = type("Model", (), {"metadata_props": {}})

        def save(self, file, external_data):
            file.write_bytes(path.read_bytes())

    monkeypatch.setattr(spidereye.export, "_program", lambda *_: Saved())
    out = tmp_path / "raw.onnx"
    with pytest.raises(SpiderEyeError, match=r"differs from PyTorch's by up to .* nothing was"):
        export_onnx(checkpoint, out, weights="raw")  # the file has the EMA's
    assert not out.exists()
    assert export_onnx(checkpoint, out).difference < 1e-4 and out.exists()


def test_files_that_are_none_of_ours(exported, tmp_path):
    _, path, *_ = exported
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(path.read_bytes()[:1000])
    other = onnx.load(str(path))
    del other.metadata_props[:]
    onnx.save(other, str(tmp_path / "other.onnx"))
    for name, message in (
        ("broken.onnx", "cannot be read as an ONNX file"),
        ("other.onnx", "was not written by `spidereye export`"),
        ("nothing.onnx", "there is no such file"),
    ):
        with pytest.raises(SpiderEyeError, match=message):
            Stitcher.load(tmp_path / name)
    with pytest.raises(SpiderEyeError, match="is an ONNX file already"):
        export_onnx(path, tmp_path / "again.onnx")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(SpiderEyeError, match="has no CUDAExecutionProvider"):
            Stitcher.load(path, device="cuda")


def test_bf16_needs_another_build_and_a_cpu(exported):
    _, path, *_ = exported
    with pytest.raises(SpiderEyeError, match=r"on a GPU: precision bf16 goes with a checkpoint"):
        OnnxNetworks.load(path, "cuda", "bf16")
    with pytest.raises(SpiderEyeError, match=r"has the weights that it was exported with"):
        Stitcher.load(path, weights="raw")
    with pytest.raises(SpiderEyeError, match=r"compile goes with a checkpoint folder"):
        Stitcher.load(path, compile=True)
    if "OpenVINOExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(SpiderEyeError, match=r"put onnxruntime-openvino in its place"):
            OnnxNetworks.load(path, "cpu", "bf16")


OPENVINO = Path(sys.prefix) / "openvino"  # `make slow` puts it there
IN_BFLOAT16 = """
import sys
import numpy as np
from spidereye import Stitcher
path, views, out = sys.argv[1:]
stitcher = Stitcher.load(path, precision="bf16")
np.savez(out, *(stitcher(list(shot)).picture for shot in np.load(views)))
"""


@pytest.mark.skipif(not OPENVINO.is_dir(), reason="no onnxruntime-openvino in .venv/openvino")
@pytest.mark.skipif(not has_bfloat16(torch.device("cpu")), reason="no bfloat16 on this CPU")
def test_bfloat16_by_openvino(exported, tmp_path):
    """In a process that finds OpenVINO's build of ONNX Runtime before the other."""
    _, path, *_ = exported
    shots = [pictures(seed=seed) for seed in (0, 3)]
    np.save(tmp_path / "views.npy", np.array(shots))
    given = [path, tmp_path / "views.npy", tmp_path / "out.npz"]
    before = {**os.environ, "PYTHONPATH": str(OPENVINO)}
    made = subprocess.run(
        [sys.executable, "-c", IN_BFLOAT16, *given], env=before, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert made.returncode == 0, made.stderr[-2000:]
    plain = Stitcher.load(path)
    for shot, half in zip(shots, np.load(tmp_path / "out.npz").values(), strict=True):
        single = plain(shot).picture
        apart = np.abs(single.astype(int) - half)
        assert 0 < apart.mean() < 0.5 and apart.max() <= 8
