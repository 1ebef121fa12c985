"""Evaluation gives the same numbers however it is batched and spread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from spidereye.config_files import load_config
from spidereye.errors import SpiderEyeError
from spidereye.jobs import evaluate_checkpoint, run_evaluation
from spidereye.metrics import METRICS
from spidereye.train import train


@pytest.fixture
def trained(tiny_overrides):
    return train(
        load_config("SpiderEye360", [*tiny_overrides, "run_name=t", "training.max_steps=6"])
    )


def evaluation(overrides, run_name, *more):
    run = load_config("SpiderEye360", [*overrides, "task=eval", f"run_name={run_name}", *more])
    run_evaluation(run)
    return json.loads((run.run_folder / "results.json").read_text())["protocols"]


def assert_same_numbers(one, two):
    """To a millionth: convolutions of other batch sizes round their sums in another order."""
    assert one.keys() == two.keys()
    for protocol in one:
        assert one[protocol]["samples"] == two[protocol]["samples"] == 5
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


def test_the_table_has_every_metric_and_explains_what_is_missing(
    tiny_overrides, trained, capsys, monkeypatch, tmp_path
):
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last"]
    result = evaluation(given, "table")
    printed = capsys.readouterr()
    assert "coverage: 100.0%" in printed.err
    for protocol in ("clean", "jitter"):
        table = result[protocol]["table"]
        assert list(table) == ["model (ema)", "stitch", "ground truth"]
        for row in table.values():
            assert list(row) == list(METRICS)
        assert table["stitch"]["PSNR unseen"] is None  # everything is seen
        assert table["model (ema)"]["FID"] is None
        assert any(note.startswith("FID") for note in result[protocol]["notes"])
        assert any(note.startswith("LPIPS") for note in result[protocol]["notes"])
        assert len(result[protocol]["pictures"]) == 5
    assert result["jitter"]["table"]["stitch"]["PSNR"] < result["clean"]["table"]["stitch"]["PSNR"]
    run = Path(next(o for o in tiny_overrides if o.startswith("runs_dir=")).split("=")[1])
    assert (run / "jobs" / "table" / "contact_sheet_clean.png").exists()


def test_a_checkpoint_is_evaluated_with_its_own_configuration(tiny_overrides, trained, tmp_path):
    runs = next(o for o in tiny_overrides if o.startswith("runs_dir="))
    evaluate_checkpoint("t@last", [runs, "run_name=again", "evaluation.protocols=[clean]"])
    result = json.loads((tmp_path / "runs/jobs/again/results.json").read_text())
    assert result["protocols"]["clean"]["samples"] == 5
    with pytest.raises(SpiderEyeError, match="unknown key"):
        evaluate_checkpoint("t@last", [runs, "dataset.sizze=3"])


def test_without_weights_there_is_nothing_to_evaluate(tiny_overrides):
    with pytest.raises(SpiderEyeError, match=r"ssdd\.checkpoint"):
        run_evaluation(load_config("SpiderEye360", [*tiny_overrides, "task=eval", "run_name=x"]))


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(tiny_overrides, trained):
    """Five samples on two processes: neither divides, each counts once."""
    given = [*tiny_overrides, f"ssdd.checkpoint={trained}/last"]
    one = evaluation(given, "one")
    launcher = Path(__file__).parents[1] / "ssdd" / "main_multiview.py"
    # torchrun, because accelerate's own launcher starts several CPU processes through MPI only.
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node=2"]
    command += [str(launcher), "-cn=SpiderEye360", *given, "task=eval", "run_name=two"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true"}
    result = subprocess.run(
        command, capture_output=True, text=True, timeout=500, env=environment, check=False
    )
    assert result.returncode == 0 and "2 processes" in result.stderr, result.stderr
    run = Path(next(o for o in given if o.startswith("runs_dir=")).split("=")[1])
    two = json.loads((run / "jobs" / "two" / "results.json").read_text())["protocols"]
    assert_same_numbers(one, two)
