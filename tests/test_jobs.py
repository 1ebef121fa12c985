"""What commands make of a checkpoint's own configuration."""

import pytest
from made_checkpoints import tiny_checkpoint

import spidereye.jobs
from spidereye.checkpoint import Checkpoint, read_config, read_weights, save_checkpoint
from spidereye.jobs import distill_checkpoint, evaluate_checkpoint


@pytest.fixture
def from_raw(tmp_path):
    """A checkpoint of a run that began with another's raw weights."""
    folder = tiny_checkpoint(tmp_path / "runs" / "jobs" / "W" / "best")
    values = read_config(folder)
    values["ssdd"] |= {"checkpoint": "parent@last", "weights": "raw", "fm_sampler": {"steps": 2}}
    kept = [read_weights(folder, kind) for kind in ("raw", "ema")]
    save_checkpoint(folder, Checkpoint(*kept, values))
    return str(folder)


@pytest.mark.parametrize("given,weights", [([], "ema"), (["ssdd.weights=raw"], "raw")])
def test_which_weights_a_run_began_with_is_not_which_of_its_own_are_used(
    from_raw, monkeypatch, given, weights
):
    used = []
    monkeypatch.setattr(spidereye.jobs, "run_evaluation", used.append)
    monkeypatch.setattr(spidereye.jobs, "train", lambda config, command: used.append(config))
    evaluate_checkpoint(from_raw, given)
    distill_checkpoint(from_raw, given, "")
    assert [config.ssdd.weights for config in used] == [weights] * 2
