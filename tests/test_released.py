"""The weights that come with the package, and the recipe that makes them."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_checkpoints import tiny_checkpoint
from pack import without_paths
from PIL import Image

from spidereye import Stitcher, stitch_job, trained, weights
from spidereye.checkpoint import read_config, read_weights, save_for_use
from spidereye.errors import SpiderEyeError
from spidereye.released import RELEASED
from spidereye.rig import fingerprint, spider4
from spidereye.stitch_files import stitch_files
from spidereye.stitch_job import StitchJob
from spidereye.trained import Trained
from spidereye.weights import find_checkpoint

RECIPES = Path(__file__).parents[1] / "recipes"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A tiny checkpoint, packed as the released ones are."""
    made = tmp_path_factory.mktemp("released")
    checkpoint = tiny_checkpoint(made / "trained")
    config = without_paths(read_config(checkpoint))
    save_for_use(made / RELEASED, read_weights(checkpoint, "ema"), config)
    return made / RELEASED


@pytest.fixture
def known(folder, monkeypatch) -> Path:
    """The same where the package looks for its own."""
    for module in (weights, stitch_job, trained):
        monkeypatch.setattr(module, "released", lambda: {RELEASED: folder})
    return folder


def views(side: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(4)]


def test_they_go_by_their_name_wherever_a_checkpoint_does(known, tmp_path):
    assert find_checkpoint(RELEASED, str(tmp_path)).path == known
    assert Trained.load(RELEASED, runs_dir=str(tmp_path)).released
    with pytest.raises(SpiderEyeError, match=r"no checkpoint 'spidereye-large'.*spidereye-small"):
        find_checkpoint("spidereye-large", str(tmp_path))
    with pytest.raises(SpiderEyeError, match="EMA weights only"):
        read_weights(known, "raw")


def test_what_only_bears_their_name_does_not_hide_them(known, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / RELEASED).mkdir()
    assert find_checkpoint(RELEASED).path == known
    (tmp_path / RELEASED).rmdir()
    (tmp_path / RELEASED).write_text("a note")
    assert find_checkpoint(RELEASED).path == known


def test_loading_leaves_the_callers_numbers_and_types_alone(known, tmp_path):
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        networks = Trained.load(RELEASED, runs_dir=str(tmp_path)).networks
    finally:
        torch.set_default_dtype(torch.float32)
    assert torch.equal(torch.rand(1), expected)
    assert {part.dtype for part in networks.state_dict().values()} == {torch.float32}


def test_a_described_lens_is_that_of_the_cameras(known):
    job = StitchJob([Path("a.png")], Path("out.png"))
    described = stitch_job.model_stitcher(replace(job, f_pix=150.0, f_pix_size=400, xi=0.9)).rig
    assert fingerprint(described) == fingerprint(spider4(150.0, 0.9, 400))


def test_the_panorama_is_as_fine_as_the_pictures(known):
    """187.6° across 64 and 130 pixels: 123 and 249 pixels around."""
    stitcher = Stitcher.load(RELEASED)
    sizes = [stitcher(views(side)).picture.shape for side in (64, 130)]
    assert sizes == [(64, 128, 3), (128, 256, 3)]
    assert stitcher.fitted(views(64)) is stitcher.fitted(views(64))
    named = dict(zip(stitcher.rig.names, views(64), strict=True))
    assert stitcher.fitted(named).size == (128, 64)
    fixed = Stitcher.load(RELEASED, size=(192, 96))
    assert fixed.fitted(views(64)) is fixed and fixed(views(64)).picture.shape == (96, 192, 3)


def test_stitching_needs_no_checkpoint_where_there_are_any(known, tmp_path):
    for name, view in zip(spider4(25.0, 0.85, 64).names, views(64), strict=True):
        Image.fromarray(view).save(tmp_path / f"{name}.png")
    job = StitchJob(sorted(tmp_path.glob("*.png")), tmp_path / "pano.jpg")
    stitch_files(job)
    assert Image.open(job.output).size == (128, 64)


def test_other_checkpoints_make_the_size_they_were_trained_for(tmp_path):
    own = Stitcher.load(tiny_checkpoint(tmp_path / "own"))
    assert own.fitted(views(64)) is own and own(views(64)).picture.shape == (32, 64, 3)


@pytest.mark.shared
def test_the_panoramas_at_hand_are_free(shared):
    from licences import training_rows

    rows = training_rows(shared / "panoramas")
    assert len(rows) == len(list((shared / "panoramas/train").glob("*.jpg")))
    assert 0 < sum(row.by_name for row in rows) < len(rows)


def sources(folder: Path, *rows: str) -> Path:
    (folder / "train").mkdir()
    for name in ("a.jpg", "b.jpg"):
        (folder / "train" / name).touch()
    lines = ["file\tsplit\tsource\tlicence", *rows]
    (folder / "SOURCES.tsv").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.parametrize(
    "second, complaint",
    [
        ("b.jpg\ttrain\there\tCC-BY-NC", "b.jpg: CC-BY-NC"),
        ("b.jpg\tval\there\tCC0", "b.jpg is not in SOURCES.tsv"),
    ],
)
def test_others_are_refused(tmp_path, second, complaint):
    data = sources(tmp_path, "a.jpg\ttrain\there\tCC0; identified by file name", second)
    asked = [sys.executable, str(RECIPES / "licences.py"), str(data)]
    made = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert made.returncode == 1 and complaint in made.stderr
    assert len(made.stderr.splitlines()) == 1


def test_packing_keeps_the_function_and_no_path(tmp_path, monkeypatch):
    import pack

    checkpoint = tiny_checkpoint(tmp_path / "trained")
    packed = tmp_path / "packed"
    monkeypatch.setattr(sys, "argv", ["pack.py", str(checkpoint), "-o", str(packed)])
    pack.main()
    whole, half = read_weights(checkpoint, "ema"), read_weights(packed, "ema")
    assert whole.keys() == half.keys()
    assert all(torch.equal(part.half(), half[name]) for name, part in whole.items())
    assert str(tmp_path) not in (packed / "config.yaml").read_text()
    shot = views(32)
    one, other = (Stitcher.load(path)(shot).picture for path in (checkpoint, packed))
    assert np.abs(one.astype(int) - other).max() <= 2
