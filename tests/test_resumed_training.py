"""What a run goes on from and with: no work is lost and no setting ignored without a word."""

import json
import shutil

import pytest
from test_repa import save_tiny
from test_train import MORE, KilledError, assert_same_weights, config, without_clocks

import spidereye.train
from spidereye.checkpoint import save_checkpoint
from spidereye.errors import SpiderEyeError
from spidereye.rig import spider4
from spidereye.rig_files import write_rig
from spidereye.train import train

SHORT = ["training.max_steps=2", "training.save_freq=1", "training.eval_freq=100"]


def files(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def groups(folder):
    return json.loads((folder / "last" / "training.json").read_text())["optimizer"]["groups"]


@pytest.mark.parametrize(
    "lost,words",
    [
        ("last", r"has best/ but no last/ .* another run_name with ssdd\.checkpoint=copied@best"),
        ("last/manifest.json", r"half-copied one: it has no manifest\.json; copy the whole folder"),
        ("last/raw.safetensors", r"incomplete: raw\.safetensors is missing; copy the folder again"),
    ],
)
def test_a_run_copied_by_half_is_not_begun_again(tiny_overrides, lost, words):
    """It began at step 0, cut its log and put a worse network into best/."""
    folder = train(config(tiny_overrides, "copied", *SHORT))
    victim = folder / lost
    shutil.rmtree(victim) if victim.is_dir() else victim.unlink()
    before = files(folder)
    with pytest.raises(SpiderEyeError, match=words):
        train(config(tiny_overrides, "copied", *SHORT))
    assert files(folder) == before


def test_killed_between_its_first_two_checkpoints_a_run_goes_on(tiny_overrides, monkeypatch):
    more = ["training.max_steps=4", "training.eval_steps=2"]
    whole = train(config(tiny_overrides, "whole", *more))
    saved = []

    def dying(folder, checkpoint):
        save_checkpoint(folder, checkpoint)
        saved.append(folder.name)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(spidereye.train, "save_checkpoint", dying)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", *more))
    folder = train(config(tiny_overrides, "cut", *more))
    assert saved == ["last"]
    assert_same_weights(folder, whole)
    assert without_clocks(folder) == without_clocks(whole)
    assert (folder / "best" / "manifest.json").exists()


@pytest.mark.parametrize(
    "first,second,words",
    [
        ("optimizer=adamw", "optimizer=radam_schedulefree", "adamw → radam_schedulefree"),
        ("optimizer=radam_schedulefree", "optimizer=adamw", "radam_schedulefree → adamw"),
    ],
)
def test_a_run_keeps_its_optimizer(tiny_overrides, first, second, words):
    pytest.importorskip("schedulefree")
    folder = train(config(tiny_overrides, "kept", *SHORT, f"training.{first}"))
    before = files(folder)
    wanted = rf"training\.optimizer {words}; or .* ssdd\.checkpoint=kept@last"
    with pytest.raises(SpiderEyeError, match=wanted):
        train(config(tiny_overrides, "kept", *SHORT, "training.max_steps=3", f"training.{second}"))
    assert files(folder) == before


@pytest.mark.parametrize(
    "change,words",
    [
        ("ssdd.encoder_train=false", r"ssdd\.encoder_train True → False; or .*kept@last"),
        ("ssdd.view_encoding_type=learnable", r"sinusoidal → learnable; or .*kept@last"),
        ("ssdd.view_encoding_type=directional", r"view_encoding_type sinusoidal → directional; or"),
        ("ssdd.decoder=S", r"has shape .*ssdd\.decoder XS → S; or take another run_name$"),
    ],
)
def test_a_run_keeps_its_networks(tiny_overrides, change, words):
    folder = train(config(tiny_overrides, "kept", *SHORT))
    before = files(folder)
    with pytest.raises(SpiderEyeError, match=words) as caught:
        train(config(tiny_overrides, "kept", *SHORT, change))
    assert "\n" not in str(caught.value) and files(folder) == before


def test_a_run_keeps_its_repa(tiny_overrides, tmp_path):
    teacher = save_tiny(tmp_path / "dino")
    on = f"aux_losses.repa={{i_extract:4,n_layers:2,teacher:'{teacher}'}}"
    tiny = [item for item in tiny_overrides if not item.startswith("aux_losses.repa")]
    with_it = train(config(tiny, "with", *SHORT, on))
    train(config(tiny, "without", *SHORT, "aux_losses.repa=null"))
    hint = r"aux_losses\.repa {0} → {1}; or take another run_name with ssdd\.checkpoint={2}@last"
    before = files(with_it)
    for run, change, words in (
        ("with", "aux_losses.repa=null", hint.format(".*", None, "with")),
        ("without", on, hint.format(None, ".*", "without")),
        ("with", on.replace("layers:2", "layers:3"), hint.format(".*", ".*", "with")),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            train(config(tiny, run, *SHORT, change))
    assert files(with_it) == before


def test_a_changed_weight_decay_is_used(tiny_overrides, capsys):
    train(config(tiny_overrides, "decay", *SHORT))
    more = ["training.max_steps=3", "training.weight_decay=0.5"]
    folder = train(config(tiny_overrides, "decay", *SHORT, *more))
    assert "training.weight_decay 0.01 → 0.5" in capsys.readouterr().err
    assert [group["weight_decay"] for group in groups(folder)] == [0.5, 0.0]


@pytest.mark.parametrize(
    "change", ["ssdd.checkpoint=nowhere", "ssdd.encoder_checkpoint=nowhere", "ssdd.weights=raw"]
)
def test_a_run_has_one_beginning(tiny_overrides, change):
    first = train(config(tiny_overrides, "first", *SHORT))
    begun = [*SHORT, f"ssdd.checkpoint={first}"]
    train(config(tiny_overrides, "second", *begun))
    shutil.rmtree(first)  # which is of no more use
    folder = train(config(tiny_overrides, "second", *begun, "training.max_steps=3"))
    before = files(folder)
    with pytest.raises(SpiderEyeError, match=rf"nothing would come of {change.split('=')[0]} "):
        train(config(tiny_overrides, "second", *begun, "training.max_steps=4", change))
    assert files(folder) == before


def test_the_rate_falls_to_the_end_that_the_run_has(tiny_overrides):
    """It fell towards max_steps, which `epochs` ended long before."""
    more = ["training.epochs=2", "training.warmup=0", "training.cooldown=2", "training.lr=1e-3"]
    for run, steps in (("long", ["training.max_steps=1000"]), ("epochs", [])):
        folder = train(config(tiny_overrides, run, *more, *steps, "training.log_freq=1"))
        logged = [entry["lr"] for entry in without_clocks(folder) if entry["kind"] == "train"]
        assert logged == pytest.approx([*[1e-3] * 5, 5e-4]), run


def test_another_rig_in_the_same_file_is_told(tiny_overrides, tmp_path, capsys):
    file = tmp_path / "rig.yaml"
    write_rig(spider4(50.0, 0.85, 128), file)
    text, right = file.read_text(encoding="utf-8"), "yaw: 90.0"
    assert right in text
    file.write_text(text.replace(right, "yaw: 91.23456789012345"))  # more digits than are kept
    more = [*SHORT, f"dataset.rig={file}"]
    train(config(tiny_overrides, "rigged", *more))
    train(config(tiny_overrides, "rigged", *more, "training.max_steps=3"))
    assert "the rig of dataset.rig" not in capsys.readouterr().err
    file.write_text(text)
    train(config(tiny_overrides, "rigged", *more, "training.max_steps=4"))
    told = " ".join(capsys.readouterr().err.split())
    assert "with changes: training.max_steps 3 → 4, the rig of dataset.rig differs from" in told


def test_killed_between_its_last_two_checkpoints_a_run_has_both(tiny_overrides, monkeypatch):
    """Where nothing is left to do, the same command wrote no best/."""

    def dying(folder, checkpoint):
        save_checkpoint(folder, checkpoint)
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(spidereye.train, "save_checkpoint", dying)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", "training.max_steps=2", "training.eval_steps=2"))
    folder = train(config(tiny_overrides, "cut", "training.max_steps=2", "training.eval_steps=2"))
    best, last = ({path.name: text for path, text in files(folder / name).items()}
                  for name in ("best", "last"))  # fmt: skip
    assert best == last and "manifest.json" in best


def test_weights_mean_nothing_to_a_run_that_began_with_none(tiny_overrides):
    """The quickstart takes them for its evaluation."""
    train(config(tiny_overrides, "none", *SHORT))
    folder = train(
        config(tiny_overrides, "none", *SHORT, "training.max_steps=3", "ssdd.weights=raw")
    )
    assert json.loads((folder / "last" / "training.json").read_text())["step"] == 3


def test_a_best_that_was_removed_comes_again(tiny_overrides):
    train(config(tiny_overrides, "best", *MORE, "training.max_steps=5"))
    folder = config(tiny_overrides, "best").run_folder
    shutil.rmtree(folder / "best")
    train(config(tiny_overrides, "best", *MORE, "training.max_steps=6"))
    best, last = (
        json.loads((folder / name / "training.json").read_text()) for name in ("best", "last")
    )
    assert best["step"] == last["best"]["step"] and last["step"] == 6
