"""The loop: resuming bit for bit, logs without holes, EMA, errors that keep the last checkpoint."""

import json
import math
import os
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
import yaml
from accelerate import Accelerator
from accelerate.utils import LoggerType
from safetensors.torch import load_file

import spidereye.losses
import spidereye.setup
from spidereye.config_files import config_to_dict, load_config
from spidereye.ema import EMA
from spidereye.errors import SpiderEyeError
from spidereye.optimizer import build_optimizer, raw_weights
from spidereye.run_log import RunLog, read_log, truncate
from spidereye.train import train
from spidereye.training_state import TrainingState


def config(overrides, run_name, *more, name="SpiderEye"):
    """The documented networks, whose samples are made in no time; test_conditioned_batches.py kills
    and resumes SpiderEye360."""
    return load_config(name, [*overrides, f"run_name={run_name}", *more])


def weights(folder, kind="last"):
    return {name: load_file(folder / kind / f"{name}.safetensors") for name in ("raw", "ema")}


def assert_same_weights(one, two):
    for name in ("raw", "ema"):
        a, b = weights(one)[name], weights(two)[name]
        assert a.keys() == b.keys()
        assert all(torch.equal(a[key], b[key]) for key in a), name


def without_clocks(folder):
    entries = read_log(folder / "metrics.jsonl")
    return [{k: v for k, v in e.items() if k != "samples_per_second"} for e in entries]


class KilledError(Exception):
    pass


def killed_at(monkeypatch, step):
    """Die in the middle of a step: after the optimizer, before anything is kept."""
    update, calls = EMA.update, []

    def dying(self, state):
        calls.append(None)
        if len(calls) == step:
            raise KilledError
        update(self, state)

    monkeypatch.setattr(EMA, "update", dying)


@pytest.fixture(scope="module")
def uninterrupted(tiny_panoramas, tmp_path_factory):
    """12 steps over 4 epochs of 3 steps, evaluated at 5, 10 and 12, saved at every second step."""
    return {}


MORE = ["training.max_steps=12", "training.eval_steps=5", "training.save_freq=2"]


@pytest.mark.parametrize("step", [1, 2, 4, 6, 8, 11, 12])
def test_killed_at_any_step_and_resumed_equals_uninterrupted(
    tiny_overrides, monkeypatch, step, uninterrupted
):
    if "folder" not in uninterrupted:
        uninterrupted["folder"] = train(config(tiny_overrides, "whole", *MORE))
        uninterrupted["log"] = without_clocks(uninterrupted["folder"])
    with monkeypatch.context() as patch:
        killed_at(patch, step)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", *MORE))
    folder = train(config(tiny_overrides, "cut", *MORE))
    assert_same_weights(folder, uninterrupted["folder"])
    assert without_clocks(folder) == uninterrupted["log"]


def test_evaluations_and_saves_in_between_change_nothing(tiny_overrides):
    often = train(config(tiny_overrides, "often", *MORE))
    seldom = train(config(tiny_overrides, "seldom", "training.max_steps=12",
                          "training.eval_freq=100"))  # fmt: skip
    assert_same_weights(often, seldom)


def test_the_log_has_every_entry_once(tiny_overrides):
    folder = train(config(tiny_overrides, "log", *MORE))
    entries = read_log(folder / "metrics.jsonl")
    assert [e["step"] for e in entries if e["kind"] == "train"] == [2, 4, 6, 8, 10, 12]
    evaluated = [(e["step"], e["method"]) for e in entries if e["kind"] == "eval"]
    methods = ("model (ema)", "stitch", "ground truth")
    assert evaluated == [(step, method) for step in (5, 10, 12) for method in methods]
    for entry in entries:
        if entry["kind"] == "train":
            assert math.isclose(
                entry["total"], entry["diffusion"] + 1e-6 * entry["kl"], rel_tol=1e-5
            )
    assert (folder / "samples" / "step_00000012.png").exists()
    assert (folder / "best" / "manifest.json").exists()


def test_a_finished_run_says_so_and_changes_nothing(tiny_overrides, capsys):
    folder = train(config(tiny_overrides, "done", "training.max_steps=3"))
    before = (folder / "metrics.jsonl").read_text()
    train(config(tiny_overrides, "done", "training.max_steps=3"))
    assert "already finished at step 3" in capsys.readouterr().err
    assert (folder / "metrics.jsonl").read_text() == before


def test_gradient_accumulation_resumes_too(tiny_overrides, monkeypatch):
    more = ["training.grad_accumulate=3", "dataset.batch_size=1", "training.max_steps=5",
            "training.save_freq=1", "training.eval_freq=100"]  # fmt: skip
    whole = train(config(tiny_overrides, "whole", *more))
    with monkeypatch.context() as patch:
        killed_at(patch, 4)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", *more))
    assert_same_weights(train(config(tiny_overrides, "cut", *more)), whole)


@pytest.mark.parametrize("more", ["dataset.batch_size=4", "training.grad_accumulate=3"])
def test_the_rest_of_an_epoch_that_fills_no_step_any_more_is_left_out(tiny_overrides, capsys, more):
    train(config(tiny_overrides, "changed", "training.max_steps=2"))
    folder = train(config(tiny_overrides, "changed", "training.max_steps=3", more))
    said = " ".join(capsys.readouterr().err.split())
    assert "what is left of epoch 0 fills no step" in said
    last = [entry for entry in read_log(folder / "metrics.jsonl") if entry["kind"] == "train"][-1]
    assert (last["step"], last["epoch"]) == (3, 1)


def test_ema_copies_until_start_iter_then_averages(tiny_overrides):
    early = train(config(tiny_overrides, "early", "training.max_steps=4"))
    both = weights(early)
    assert all(torch.equal(both["raw"][name], both["ema"][name]) for name in both["raw"])
    later = train(config(tiny_overrides, "later", "training.max_steps=6"))
    both = weights(later)
    assert not torch.equal(
        both["raw"]["decoder.conv_in.weight"], both["ema"]["decoder.conv_in.weight"]
    )


def assert_last_is_sound(run, step):
    """The last checkpoint is of this step, and all its raw weights are finite."""
    state = json.loads((run.run_folder / "last" / "training.json").read_text())
    assert state["step"] == step
    kept = load_file(run.run_folder / "last" / "raw.safetensors")
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_a_loss_that_is_not_finite_stops_and_keeps_the_last_checkpoint(tiny_overrides, monkeypatch):
    real, calls = spidereye.losses.diffusion_loss, []

    def failing(*arguments):
        calls.append(None)
        return real(*arguments) * (float("nan") if len(calls) == 4 else 1.0)

    monkeypatch.setattr(spidereye.losses, "diffusion_loss", failing)
    run = config(tiny_overrides, "nan", "training.max_steps=9", "training.save_freq=3")
    with pytest.raises(SpiderEyeError, match=r"step 4: .*diffusion=nan.*train_\d\.png.*last"):
        train(run)
    assert_last_is_sound(run, 3)


def test_a_gradient_that_is_not_finite_stops_before_its_step(tiny_overrides, monkeypatch):
    """Its loss is finite, and a checkpoint is due right after the step."""
    real, calls = spidereye.losses.diffusion_loss, []

    def steep(*arguments):
        calls.append(None)
        value = real(*arguments)
        return value + (0 * value).sqrt() if len(calls) == 3 else value

    monkeypatch.setattr(spidereye.losses, "diffusion_loss", steep)
    run = config(tiny_overrides, "steep", "training.max_steps=9", "training.save_freq=1")
    with pytest.raises(SpiderEyeError, match=r"the gradient is not finite at step 3: gradient=nan"):
        train(run)
    assert_last_is_sound(run, 2)


def test_a_run_has_its_configuration_from_the_start(tiny_overrides, monkeypatch):
    run = config(tiny_overrides, "told", "training.max_steps=2")
    with monkeypatch.context() as patch:
        killed_at(patch, 1)
        with pytest.raises(KilledError):
            train(run)
    told = run.run_folder / "config.yaml"
    assert not (run.run_folder / "last").exists()
    assert yaml.safe_load(told.read_text(encoding="utf-8")) == config_to_dict(run)
    changed = config(tiny_overrides, "told", "training.max_steps=2", "training.lr=0.5")
    train(changed)
    assert yaml.safe_load(told.read_text(encoding="utf-8")) == config_to_dict(changed)
    assert told.read_bytes() == (run.run_folder / "last" / "config.yaml").read_bytes()


def test_trackers_that_are_not_installed_are_named_before_any_work(tiny_overrides, monkeypatch):
    """Accelerate would leave them out without a word."""
    there = [LoggerType.TENSORBOARD]
    monkeypatch.setattr(spidereye.setup, "get_available_trackers", lambda: there)
    run = config(tiny_overrides, "seen", "training.trackers=[tensorboard,wandb]")
    with pytest.raises(SpiderEyeError, match=r"wandb cannot be imported; pip install 'spidereye\["):
        train(run)
    assert not run.run_folder.exists()


def test_a_frozen_untrained_encoder_is_refused(tiny_overrides):
    with pytest.raises(SpiderEyeError, match="never trained"):
        train(config(tiny_overrides, "frozen", "ssdd.encoder_train=false"))


def test_a_start_that_gives_the_velocity_away_is_refused(tiny_overrides):
    with pytest.raises(SpiderEyeError, match=r"set training\.first_step above 0"):
        train(config(tiny_overrides, "idle", "training.first_step=0", name="SpiderEye360"))


def test_a_frozen_encoder_with_weights_stays_as_it_was(tiny_overrides):
    first = train(config(tiny_overrides, "first", "training.max_steps=2"))
    second = train(config(tiny_overrides, "second", "training.max_steps=2",
                          "ssdd.encoder_train=false", f"ssdd.encoder_checkpoint={first}/last",
                          "ssdd.weights=raw"))  # fmt: skip
    one, two = weights(first)["raw"], weights(second)["raw"]
    for name in one:
        assert torch.equal(one[name], two[name]) == name.startswith("encoder."), name
        if name == "decoder.conv_in.weight":
            break


def test_too_few_panoramas_for_a_batch(tiny_overrides):
    with pytest.raises(SpiderEyeError, match="do not fill one step"):
        train(config(tiny_overrides, "few", "dataset.batch_size=8"))


def test_missing_loss_weights_name_file_address_and_override(tiny_overrides, monkeypatch, tmp_path):
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    with pytest.raises(SpiderEyeError, match=r"vgg16.*http.*aux_losses\.lpips=false"):
        train(config(tiny_overrides, "lpips", "aux_losses.lpips=true"))


def test_schedule_free_raw_weights_are_its_average_in_a_copy(tiny_overrides):
    schedulefree = pytest.importorskip("schedulefree")
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2)
    settings = config(tiny_overrides, "x", "training.optimizer=radam_schedulefree").training
    optimizer = build_optimizer(model, settings)
    assert isinstance(optimizer, schedulefree.RAdamScheduleFree)
    for _ in range(20):
        model(torch.rand(4, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    trained = {name: value.clone() for name, value in model.state_dict().items()}
    ours = raw_weights(model, optimizer)
    assert all(torch.equal(trained[name], value) for name, value in model.state_dict().items())
    optimizer.eval()  # the package's own way, in place
    for name, value in model.state_dict().items():
        assert torch.allclose(ours[name], value, atol=1e-7)
        assert not torch.equal(trained[name], value)


def test_schedule_free_resumes_bit_for_bit(tiny_overrides, monkeypatch):
    pytest.importorskip("schedulefree")
    more = [*MORE, "training.optimizer=radam_schedulefree"]
    whole = train(config(tiny_overrides, "whole", *more))
    with monkeypatch.context() as patch:
        killed_at(patch, 9)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", *more))
    assert_same_weights(train(config(tiny_overrides, "cut", *more)), whole)


def test_weight_decay_is_on_matrices_only(tiny_overrides):
    model = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.GroupNorm(2, 4), torch.nn.Linear(4, 4)
    )
    optimizer = build_optimizer(model, config(tiny_overrides, "x").training)
    decayed, rest = (group["params"] for group in optimizer.param_groups)
    assert [tuple(p.shape) for p in decayed] == [(4, 3, 3, 3), (4, 4)] and len(rest) == 4
    assert optimizer.param_groups[0]["weight_decay"] == 0.01
    assert optimizer.param_groups[1]["weight_decay"] == 0


def test_truncating_a_log_drops_later_entries_and_half_lines(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"ste')
    truncate(path, 2)
    assert read_log(path) == [{"step": 1}, {"step": 2}]


def test_a_run_that_cannot_be_written_is_one_line(tiny_overrides, tmp_path):
    (tmp_path / "taken").write_text("a file where the runs are to be")
    with pytest.raises(SpiderEyeError, match=r"taken/jobs/x/.* cannot be written"):
        train(config(tiny_overrides, "x", f"runs_dir={tmp_path / 'taken'}"))


def test_trackers_get_the_projects_name_and_the_runs(tmp_path, monkeypatch):
    accelerator, given = Accelerator(cpu=True), []
    accelerator.log_with = ["wandb", "tensorboard"]
    monkeypatch.setattr(accelerator, "init_trackers", lambda *some: given.extend(some))
    RunLog(tmp_path / "mine", accelerator).start(7, {"seed": 1})
    options = {"wandb": {"name": "mine"}, "tensorboard": {"purge_step": 8}}
    assert given == ["spidereye", {"seed": "1"}, options]


def test_the_scaler_of_gradients_goes_on_where_it_was():
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
    state = TrainingState(step=3)
    assert state.scaled_by(None) is state
    kept = json.loads(json.dumps(asdict(state.scaled_by(scaler))))
    again = torch.amp.GradScaler("cpu")
    again.load_state_dict(TrainingState(**kept).scaler)
    assert again.get_scale() == 4.0 and again.get_growth_interval() == 3


@pytest.mark.slow
def test_memory_and_file_handles_stay_flat_over_500_steps(tiny_overrides):
    """Resident memory is read from the kernel before and after; workers come and go."""

    def resident():
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 2**20

    def open_files():
        return len(list(Path("/proc/self/fd").iterdir()))

    small = ["dataset.num_workers=2", "training.eval_steps=250", "training.epochs=1000"]
    train(config(tiny_overrides, "warm", *small, "training.max_steps=60"))
    handles, memory = open_files(), resident()
    train(config(tiny_overrides, "long", *small, "training.max_steps=560"))
    assert open_files() <= handles + 2
    assert resident() < memory + 60, "MiB"
