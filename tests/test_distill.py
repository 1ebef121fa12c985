"""Distillation: one step of the student is what the teacher makes in many; the teacher stays."""

import json
import shutil
from dataclasses import replace

import pytest
import torch
from conftest import tiny_settings
from made_checkpoints import tiny_checkpoint, tiny_config
from safetensors.torch import load_file, save_file
from test_train import KilledError, assert_same_weights, killed_at

from spidereye.checkpoint import read_config
from spidereye.conditions import Conditions
from spidereye.config_files import config_from_dict, load_config
from spidereye.distill import DistillationLoss, Teacher
from spidereye.errors import SpiderEyeError
from spidereye.jobs import evaluate_checkpoint
from spidereye.losses import Draws, LossWeights
from spidereye.model import SpiderEyeModel
from spidereye.train import train

PLAIN = ["ssdd.compile=false", "ssdd.decoder=XXS", "ssdd.encoder_width=16",
         "ssdd.encoder_train=true", "dataset.f_pix_size=560"]  # fmt: skip


@pytest.fixture(scope="module")
def teachers(tiny_panoramas, tmp_path_factory):
    """A config's name to the folder of a teacher trained so; its EMA is not its raw weights."""
    folders = {}

    def teacher_of(name):
        if name not in folders:
            settings = tiny_settings(tiny_panoramas, tmp_path_factory.mktemp("teachers"))
            folders[name] = train(
                load_config(
                    name,
                    [
                        *settings,
                        *PLAIN,
                        "run_name=teacher",
                        "training.max_steps=3",
                        "training.lr=1e-2",
                        "ssdd.ema.start_iter=0",
                        "training.eval_freq=100",
                    ],
                )
            )
        return folders[name]

    return teacher_of


def student_config(overrides, teacher, *more, name="SpiderEye360", run="student"):
    settings = [*overrides, *PLAIN, f"run_name={run}", "distill_teacher=true",
                "training.max_steps=3", f"ssdd.checkpoint='{teacher}'", "training.lr=1e-3",
                "training.eval_freq=100", "ssdd.fm_sampler.steps=3"]  # fmt: skip
    return load_config(name, [*settings, *more])


@pytest.fixture(scope="module")
def loss_parts():
    """(config, teacher network, conditions, panorama, draws) of the documented networks."""
    config = tiny_config("concat_conv")
    torch.manual_seed(0)
    teacher = SpiderEyeModel(config.model())
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter += 0.02 * torch.randn_like(parameter)
    teacher.eval().requires_grad_(False)
    given = Conditions(torch.rand(2, 4, 3, 32, 32) * 2 - 1)
    panorama = torch.rand(2, 3, 32, 64) * 2 - 1
    draws = Draws(torch.rand(2), torch.randn(2, 3, 32, 64), torch.randn(2, 4, 4, 4, 4))
    return config, teacher, given, panorama, draws


def loss_of(parts, steps=5, model=None, **weights) -> DistillationLoss:
    config, teacher = parts[:2]
    sampler = replace(config.ssdd.fm_sampler, steps=steps)
    if model is None:
        model = SpiderEyeModel(config.model())
        model.load_state_dict(teacher.state_dict())
    told = Teacher(teacher, "", {"sha256": ""})
    return DistillationLoss(model, told, LossWeights(**weights), sampler)


def test_the_loss_is_the_distance_to_the_teachers_picture(loss_parts):
    _, teacher, given, panorama, draws = loss_parts
    loss = loss_of(loss_parts, diffusion=2.0)
    terms = loss(given, panorama, draws)
    z = teacher.encode(given)
    wanted = teacher.decode(z, given, draws.noise, 5)
    once = teacher.decode(z, given, draws.noise, 1)
    torch.testing.assert_close(terms["distillation"], (wanted - once).square().mean())
    torch.testing.assert_close(terms["total"], 2 * terms["distillation"])
    assert terms.keys() == {"distillation", "total"} and float(terms["total"].detach()) > 0.01
    # Neither the panorama nor the training time has a say, and a teacher of one step is matched.
    other = draws._replace(t=1 - draws.t)
    assert torch.equal(loss(given, -panorama, other)["total"], terms["total"])
    same = loss_of(loss_parts, steps=1)(given, panorama, draws)
    assert float(same["total"].detach()) < 1e-9


def test_only_the_students_decoder_learns(loss_parts):
    _, teacher, given, panorama, draws = loss_parts
    loss = loss_of(loss_parts)
    loss(given, panorama, draws)["total"].backward()
    assert all(p.grad is None for p in teacher.parameters())
    assert all(p.grad is None for p in loss.model.encoder.parameters())
    assert any(bool((p.grad != 0).any()) for p in loss.model.decoder.parameters())


@pytest.mark.parametrize("name", ["SpiderEye", "SpiderEye360"])
def test_a_student_learns_from_the_teachers_ema_and_records_it(
    tiny_overrides, name, teachers, capsys
):
    teacher = teachers(name)
    capsys.readouterr()
    folder = train(student_config(tiny_overrides, teacher, name=name))
    assert "distilling 3 steps to one; teacher: ema weights of" in capsys.readouterr().err
    theirs = load_file(teacher / "best" / "ema.safetensors")
    ours = load_file(folder / "last" / "raw.safetensors")
    assert ours.keys() == theirs.keys()
    same = {name: torch.equal(ours[name], theirs[name]) for name in ours}
    assert all(equal for name, equal in same.items() if not name.startswith("decoder."))
    assert not all(equal for name, equal in same.items() if name.startswith("decoder."))
    record = json.loads((folder / "last" / "training.json").read_text())["teacher"]
    assert record["path"] == str((teacher / "best").resolve()) and record["weights"] == "ema"
    config = config_from_dict(read_config(folder / "last"), [])
    assert config.sampler_steps == 1 and config.ssdd.fm_sampler.steps == 3


def test_a_cut_distillation_resumes_bit_for_bit(tiny_overrides, teachers, monkeypatch):
    teacher, save = teachers("SpiderEye360"), "training.save_freq=1"
    whole = train(student_config(tiny_overrides, teacher, save, run="whole"))
    with monkeypatch.context() as patch:
        killed_at(patch, 3)
        with pytest.raises(KilledError):
            train(student_config(tiny_overrides, teacher, save, run="cut"))
    assert_same_weights(train(student_config(tiny_overrides, teacher, save, run="cut")), whole)


def test_a_run_has_one_teacher(tiny_overrides, teachers, tmp_path):
    teacher = teachers("SpiderEye360")
    student = train(student_config(tiny_overrides, teacher, "training.max_steps=1"))
    other = tmp_path / "other"
    shutil.copytree(teacher / "best", other)
    weights = load_file(other / "ema.safetensors")
    save_file({name: value + 1e-3 for name, value in weights.items()}, other / "ema.safetensors")
    with pytest.raises(SpiderEyeError, match=r"distilled from .*teacher.*not what .*other hold"):
        train(student_config(tiny_overrides, other))
    shutil.copytree(teacher, student.parent / "training")
    with pytest.raises(SpiderEyeError, match=r"training/last is no distillation: give"):
        train(student_config(tiny_overrides, teacher, run="training"))
    with pytest.raises(SpiderEyeError, match=r"student/last is a distillation: add"):
        train(student_config(tiny_overrides, teacher, "distill_teacher=false"))


def test_a_student_is_evaluated_in_one_step(tiny_overrides, teachers, tmp_path, monkeypatch):
    teacher = teachers("SpiderEye360")
    folder = train(student_config(tiny_overrides, teacher, "training.max_steps=1"))
    steps = []
    decode = SpiderEyeModel.decode

    def noted(self, z, given, noise, count=12, shift=2.0):
        steps.append(count)
        return decode(self, z, given, noise, count, shift)

    monkeypatch.setattr(SpiderEyeModel, "decode", noted)
    for run, expected in ((folder, 1), (teacher, 2)):
        evaluate_checkpoint(str(run), ["evaluation.protocols=[clean]", f"runs_dir='{tmp_path}'"])
        assert set(steps) == {expected}
        steps.clear()


def test_what_cannot_be_distilled(tiny_overrides, tmp_path):
    with pytest.raises(SpiderEyeError, match=r"needs the teacher: set ssdd.checkpoint"):
        load_config("SpiderEye360", [*tiny_overrides, *PLAIN, "distill_teacher=true"])
    teacher = tiny_checkpoint(tmp_path / "teacher")
    with pytest.raises(SpiderEyeError, match=r"fm_sampler.steps.* 2 or more, got 1"):
        student_config(tiny_overrides, teacher, "ssdd.fm_sampler.steps=1")
    for change, message in (
        ("ssdd.padding=zeros", r"ssdd.padding: it has sphere, you ask for zeros"),
        ("ssdd.decoder=XS", r"ssdd.decoder: it has XXS, you ask for XS"),
    ):
        with pytest.raises(SpiderEyeError, match=message):
            Teacher.load(student_config(tiny_overrides, teacher, change))
    with pytest.raises(SpiderEyeError, match=r"no checkpoint 'nothing'"):
        Teacher.load(student_config(tiny_overrides, "nothing"))
