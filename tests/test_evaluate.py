"""Evaluation gives the same numbers however it is batched and spread."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import tiny_settings
from PIL import Image
from safetensors.torch import save_file

from spidereye import jobs, stitch_rows
from spidereye.config_files import load_config
from spidereye.errors import SpiderEyeError
from spidereye.jobs import evaluate_checkpoint, evaluate_stitch, row_of, run_evaluation
from spidereye.judges import Judges
from spidereye.metrics import METRICS
from spidereye.protocols import PROTOCOLS
from spidereye.self_calibration import Calibrated
from spidereye.stitch_rows import refinements
from spidereye.train import train
from spidereye.weights import Found

ALL = f"evaluation.protocols=[{','.join(PROTOCOLS)}]"


@pytest.fixture(scope="module")
def trained_once(tiny_panoramas, tmp_path_factory):
    given = tiny_settings(tiny_panoramas, tmp_path_factory.mktemp("trained"))
    given += ["run_name=t", "training.max_steps=6", "training.lr=0.05"]
    return train(load_config("SpiderEye360", given))


@pytest.fixture
def trained(trained_once, tiny_overrides) -> Path:
    """The run `t` among those of the test."""
    return shutil.copytree(trained_once, runs_of(tiny_overrides) / "t")


def evaluation(overrides, run_name, *more):
    """The results.json's protocols of a model beside the plain stitch."""
    given = [*overrides, "task=eval", f"run_name={run_name}", "evaluation.refine=[]", *more]
    run = load_config("SpiderEye360", given)
    run_evaluation(run)
    return json.loads((run.run_folder / "results.json").read_text())["protocols"]


def stitches(overrides, run_name, *more):
    """The results.json of the geometric methods alone."""
    evaluate_stitch("SpiderEye360", [*overrides, f"run_name={run_name}", *more])
    return json.loads((runs_of(overrides) / run_name / "results.json").read_text())


def runs_of(overrides):
    return Path(next(o for o in overrides if o.startswith("runs_dir=")).split("=")[1]) / "jobs"


def instead_of_self_calibration(monkeypatch, made):
    """made(views, cameras, refine) → (views, notes) in its place; returns what was asked for."""
    asked = []

    def fake(views, cameras, refine, reference, sphere_radius):
        asked.append((views, cameras, tuple(refine), reference, sphere_radius))
        changed, notes = made(views, cameras, tuple(refine))
        like = torch.zeros(len(views), 3, dtype=torch.float64)
        return Calibrated(changed, tuple(cameras), like + 1, like, 0.0, (), notes)

    monkeypatch.setattr(stitch_rows, "self_calibrate", fake)
    return asked


def by_its_own_mean(views, cameras, refine):
    """Each view's mean to mid-grey: a sample's result is its own."""
    return [view - view.mean() for view in views], ["a note"]


def assert_same_numbers(one, two):
    """To a millionth: convolutions of other batch sizes round their sums in another order."""
    assert one.keys() == two.keys()
    for protocol in one:
        assert one[protocol]["samples"] == two[protocol]["samples"]
        assert one[protocol]["samples"] == len(one[protocol]["pictures"])
        assert protocol == "parallax" or one[protocol]["samples"] == 5
        for method, row in one[protocol]["table"].items():
            other = two[protocol]["table"][method]
            for metric, value in row.items():
                assert (value is None) == (other[metric] is None), metric
                if value is not None:
                    # One flipped 8-bit rounding moves a seam column by a fraction of a level.
                    absolute = 0.01 if metric == "seam error" else 1e-6
                    assert value == pytest.approx(other[metric], rel=1e-4, abs=absolute), metric


@pytest.mark.parametrize("batch_size", [3, 8])
def test_batch_size_does_not_matter(tiny_overrides, trained, batch_size):
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last"]
    one = evaluation(given, "one", "evaluation.batch_size=1")
    assert_same_numbers(one, evaluation(given, "many", f"evaluation.batch_size={batch_size}"))


def test_raw_and_ema_are_evaluated_as_asked_and_named(tiny_overrides, trained):
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last", "evaluation.protocols=[clean]"]
    ema = evaluation(given, "ema")["clean"]["table"]
    raw = evaluation(given, "raw", "ssdd.weights=raw")["clean"]["table"]
    assert next(iter(ema)) == "model (ema)" and next(iter(raw)) == "model (raw)"
    assert ema["model (ema)"]["PSNR"] != raw["model (raw)"]["PSNR"]
    assert ema["stitch"] == raw["stitch"]
    log = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    last = [e for e in log if e.get("method") == "model (ema)"][-1]
    assert last["PSNR"] == pytest.approx(ema["model (ema)"]["PSNR"])


def test_a_file_with_one_unnamed_set_of_weights_has_a_row_without_a_name(
    tiny_overrides, trained, tmp_path
):
    flat = tmp_path / "flat.safetensors"
    flat.write_bytes((trained / "last" / "raw.safetensors").read_bytes())
    given = [*tiny_overrides, f"ssdd.checkpoint={flat}", "evaluation.protocols=[clean]"]
    assert next(iter(evaluation(given, "flat")["clean"]["table"])) == "model"
    both = tmp_path / "both.safetensors"
    save_file({"model.x": torch.zeros(1), "ema.ema_model.x": torch.ones(1)}, both)
    assert row_of(Found(both), "raw") == "model (raw)"
    assert row_of(Found(both), "ema") == "model (ema)"


def test_the_table_has_every_metric_and_explains_what_is_missing(
    tiny_overrides, trained, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    instead_of_self_calibration(monkeypatch, by_its_own_mean)
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last"]
    result = evaluation(given, "table", "evaluation.refine=[gain,rotation]")
    printed = capsys.readouterr()
    assert "coverage: 100.0%" in printed.err
    for protocol in ("clean", "jitter"):
        table = result[protocol]["table"]
        assert list(table) == [
            "model (ema)",
            "start",
            "stitch",
            "stitch + gain",
            "stitch + gain + rotation",
            "ground truth",
        ]
        for row in table.values():
            assert list(row) == list(METRICS)
        assert table["stitch"]["PSNR unseen"] is None  # everything is seen
        assert table["model (ema)"]["FID"] is None
        assert any(note.startswith("FID") for note in result[protocol]["notes"])
        assert any(note.startswith("LPIPS") for note in result[protocol]["notes"])
        assert len(result[protocol]["pictures"]) == 5
    assert result["jitter"]["table"]["stitch"]["PSNR"] < result["clean"]["table"]["stitch"]["PSNR"]
    assert (runs_of(tiny_overrides) / "table" / "contact_sheet_clean.png").exists()


def test_a_checkpoint_is_evaluated_with_its_own_configuration(tiny_overrides, trained, tmp_path):
    runs = next(o for o in tiny_overrides if o.startswith("runs_dir="))
    evaluate_checkpoint(
        "t@last", [runs, "run_name=again", "evaluation.protocols=[clean]", "evaluation.refine=[]"]
    )
    result = json.loads((tmp_path / "runs/jobs/again/results.json").read_text())
    assert result["protocols"]["clean"]["samples"] == 5
    with pytest.raises(SpiderEyeError, match="unknown key"):
        evaluate_checkpoint("t@last", [runs, "dataset.sizze=3"])


def test_without_weights_there_is_nothing_to_evaluate(tiny_overrides):
    with pytest.raises(SpiderEyeError, match=r"ssdd\.checkpoint"):
        run_evaluation(load_config("SpiderEye360", [*tiny_overrides, "task=eval", "run_name=x"]))


def test_the_stitches_need_neither_weights_nor_batches_of_a_size(tiny_overrides, monkeypatch):
    """Every protocol, each sample self-calibrated by itself."""
    instead_of_self_calibration(monkeypatch, by_its_own_mean)
    given = [*tiny_overrides, ALL, "evaluation.parallax_scenes=2", "evaluation.refine=[gain]"]
    one = stitches(given, "one", "evaluation.batch_size=1")
    many = stitches(given, "many", "evaluation.batch_size=3", "seed=4")
    assert one["weights"] is None and list(one["protocols"]) == list(PROTOCOLS)
    assert_same_numbers(one["protocols"], many["protocols"])
    for protocol, result in one["protocols"].items():
        assert list(result["table"]) == ["stitch", "stitch + gain", "ground truth"]
        psnr = {method: values["PSNR"] for method, values in result["table"].items()}
        assert psnr["stitch"] != psnr["stitch + gain"]
        assert (runs_of(given) / "one" / f"contact_sheet_{protocol}.png").exists()
    plain = {name: result["table"]["stitch"]["PSNR"] for name, result in one["protocols"].items()}
    assert plain["jitter"] < plain["jitter_reference"] < plain["clean"]


def test_workers_do_not_matter_to_scenes(tiny_overrides):
    given = [*tiny_overrides, "evaluation.protocols=[parallax]", "evaluation.parallax_scenes=2"]
    given += ["dataset.root=/nowhere", "evaluation.refine=[]"]
    one, two = (stitches(given, f"w{n}", f"dataset.num_workers={n}") for n in (0, 2))
    assert one["protocols"] == two["protocols"]
    result = one["protocols"]["parallax"]
    assert list(result["table"]) == ["stitch", "ground truth"] and result["samples"] == 2


def test_self_calibration_gets_one_shot_and_the_reference(tiny_overrides, monkeypatch):
    asked = instead_of_self_calibration(monkeypatch, by_its_own_mean)
    view = "evaluation.reference_view=back"
    stitches([*tiny_overrides, ALL, view, "evaluation.parallax_scenes=1"], "shots")
    assert len(asked) == 2 * (3 * 5 + 1)
    for views, cameras, refine, _, radius in asked:
        assert [view.shape for view in views] == [(1, 3, 16, 16)] * 4 and radius == float("inf")
        assert all(camera.rotation.shape == (3, 3) for camera in cameras)
        assert refine in (("gain",), ("gain", "rotation"))
    references = [reference for *_, reference, _ in asked]
    assert references == [None] * 20 + [2] * 10 + [None] * 2
    assert float(asked[-1][1][1].position[0]) == pytest.approx(0.1)


def test_rows_are_stitched_from_what_self_calibration_gives(tiny_overrides, monkeypatch):
    def white_by_gain_alone(views, cameras, refine):
        return [view if "rotation" in refine else view * 0 + 1 for view in views], []

    instead_of_self_calibration(monkeypatch, white_by_gain_alone)
    result = stitches([*tiny_overrides, "evaluation.protocols=[clean]"], "rows")
    table = result["protocols"]["clean"]["table"]
    assert table["stitch + gain"]["aligned PSNR"] < table["stitch + gain"]["PSNR"] + 20
    assert table["stitch + gain"]["seam error"] == 0 and table["stitch + gain"]["PSNR"] < 12
    both = table["stitch + gain + rotation"]
    assert both["PSNR"] == pytest.approx(table["stitch"]["PSNR"], abs=1e-4)
    assert result["protocols"]["clean"]["notes"][2:] == []


def test_what_self_calibration_skipped_is_counted(tiny_overrides, monkeypatch):
    count = iter(range(100))

    def now_and_then(views, cameras, refine):
        place = next(count)
        notes = ["the overlaps are flat"] * (place % 5 < 2)
        if place > 7:
            notes += [f"view {place} is black", f"view {place} is small"]
        return list(views), notes

    instead_of_self_calibration(monkeypatch, now_and_then)
    given = [*tiny_overrides, "evaluation.protocols=[clean]", "evaluation.refine=[rotation,gain]"]
    notes = stitches([*given, "evaluation.batch_size=8"], "skips")["protocols"]["clean"]["notes"]
    assert notes[2:] == [
        "self-calibration (stitch + rotation): something left as it was in 2 of 5 shots: "
        "the overlaps are flat (2)",
        "self-calibration (stitch + rotation + gain): something left as it was in 4 of 5 shots: "
        "the overlaps are flat (2); view 8 is black; view 8 is small; and 2 more",
    ]


def test_the_rows_of_refinements():
    assert refinements([]) == {"stitch": ()}
    assert refinements(["rotation"]) == {"stitch": (), "stitch + rotation": ("rotation",)}


def test_judges_are_loaded_once_for_all_protocols(tiny_overrides, monkeypatch):
    loads = []
    load = Judges.load
    monkeypatch.setattr(jobs.Judges, "load", lambda device: loads.append(device) or load(device))
    stitches([*tiny_overrides, "evaluation.refine=[]"], "judges")
    assert len(loads) == 1


def test_the_contact_sheet_has_views_truth_and_methods(tiny_overrides, monkeypatch):
    instead_of_self_calibration(monkeypatch, lambda views, *_: ([0 * v + 1 for v in views], []))
    stitches([*tiny_overrides, "evaluation.protocols=[clean]", "show_samples=3"], "sheet")
    sheet = Image.open(runs_of(tiny_overrides) / "sheet" / "contact_sheet_clean.png")
    row, cell = 21 + 256 + 6, 512 + 6  # panoramas of 32x16 pixels are shown at 512x256
    assert sheet.height == 3 * row and sheet.width == 6 + 256 + 6 + 4 * cell
    gained = 6 + 256 + 6 + 2 * cell
    assert sheet.getpixel((gained + 256, 21 + 128)) == (255, 255, 255)
    truth = sheet.crop((268, 21, 268 + 512, 21 + 256)).resize((32, 16), Image.Resampling.BOX)
    root = next(o for o in tiny_overrides if o.startswith("dataset.root=")).split("=")[1]
    with Image.open(Path(root) / "val" / "val_0.png") as file:
        expected = file.convert("RGB").resize((32, 16), Image.Resampling.BOX)
    pairs = zip(truth.tobytes(), expected.tobytes(), strict=True)
    assert max(abs(a - b) for a, b in pairs) <= 1
    views = sheet.crop((6, 21, 6 + 256, 21 + 256))
    for corner in ((64, 64), (191, 64), (64, 191), (191, 191)):
        assert views.getpixel(corner) not in ((0, 0, 0), (24, 24, 24))


def test_a_checkpoint_is_not_for_the_stitches(tiny_overrides):
    with pytest.raises(SpiderEyeError, match=r"ssdd\.checkpoint=x"):
        evaluate_stitch("SpiderEye360", [*tiny_overrides, "ssdd.checkpoint=x"])


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tiny_overrides, trained, tmp_path):
    """Five samples on two processes: neither divides, each counts once."""
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last", ALL]
    given += ["evaluation.parallax_scenes=3", "evaluation.refine=[gain]"]
    one = evaluation(given, "one", "evaluation.refine=[gain]")
    assert list(one) == list(PROTOCOLS)
    # The documented launcher, which also says whether its process group was left to the end of the
    # interpreter, where Gloo's threads abort at times.
    launcher = tmp_path / "launcher.py"
    launcher.write_text(
        "import atexit, sys\n"
        "from torch.distributed import is_initialized\n"
        "from spidereye.cli import launch\n"
        "atexit.register(lambda: print('group left:', is_initialized(), flush=True))\n"
        "launch(sys.argv[1:])\n"
    )
    # torchrun, because accelerate's own launcher starts several CPU processes through MPI only.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += [str(launcher), "-cn=SpiderEye360", *given, "task=eval", "run_name=two"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=environment, check=False
    )
    assert result.returncode == 0 and "2 processes" in result.stderr, result.stderr
    assert result.stdout.count("group left: False") == 2, result.stdout
    two = json.loads((runs_of(given) / "two" / "results.json").read_text())["protocols"]
    assert_same_numbers(one, two)
