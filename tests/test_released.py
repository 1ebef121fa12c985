"""The weights that come with the package, and the recipe that makes them."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from made_checkpoints import tiny_checkpoint
from safetensors.torch import load_file

from spidereye import Stitcher
from spidereye.checkpoint import read_config, read_weights
from spidereye.config import DatasetConfig
from spidereye.errors import SpiderEyeError
from spidereye.released import RELEASED, released
from spidereye.run_log import flat
from spidereye.trained import Trained
from spidereye.weights import find_checkpoint, is_released

RECIPES = Path(__file__).parents[1] / "recipes"
LARGEST = 20 * 2**20


@pytest.fixture(autouse=True)
def _recipes(monkeypatch):
    monkeypatch.syspath_prepend(str(RECIPES))


@pytest.fixture(scope="module")
def stitcher() -> Stitcher:
    return Stitcher.load()


def views(side: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 255, (side, side, 3), dtype=np.uint8) for _ in range(4)]


def test_the_released_weights_are_small_and_in_half_precision():
    folder = released()[RELEASED]
    files = {path.name for path in folder.iterdir()}
    assert files == {"config.yaml", "ema.safetensors", "manifest.json", "README.md"}
    assert (folder / "ema.safetensors").stat().st_size <= LARGEST
    assert {part.dtype for part in load_file(folder / "ema.safetensors").values()} == {torch.half}


def test_their_configuration_names_no_folder_of_the_machine_that_made_them():
    values = flat(read_config(released()[RELEASED]))
    paths = {key: value for key, value in values.items() if "/" in str(value)}
    assert set(paths) <= {"dataset.imagenet_root", "aux_losses.repa.teacher"}
    assert values["dataset.imagenet_root"] == DatasetConfig.imagenet_root
    assert values["ssdd.checkpoint"] is values["dataset.root"] is values["run_name"] is None


def test_they_go_by_their_name_wherever_a_checkpoint_does(tmp_path):
    assert find_checkpoint(RELEASED, str(tmp_path)).path == released()[RELEASED]
    assert is_released(RELEASED, str(tmp_path))
    (tmp_path / RELEASED).mkdir()
    with pytest.raises(SpiderEyeError, match=r"no checkpoint 'spidereye-large'.*spidereye-small"):
        find_checkpoint("spidereye-large", str(tmp_path))
    with pytest.raises(SpiderEyeError, match="EMA weights only"):
        read_weights(released()[RELEASED], "raw")


def test_they_take_one_step_of_any_rig(stitcher):
    assert Trained.load(RELEASED).steps == 1
    assert stitcher.takes_cameras and stitcher.by_model is not None
    assert stitcher.by_model.takes_any_rig


def test_the_panorama_is_as_fine_as_the_pictures(stitcher):
    """187.6° across 64 and 130 pixels: 123 and 249 pixels around."""
    sizes = [stitcher(views(side)).picture.shape for side in (64, 130)]
    assert sizes == [(64, 128, 3), (128, 256, 3)]
    assert stitcher.fitted(views(64)) is stitcher.fitted(views(64))
    named = dict(zip(stitcher.rig.names, views(64), strict=True))
    assert stitcher.fitted(named).size == (128, 64)
    fixed = Stitcher.load(size=(192, 96))
    assert fixed.fitted(views(64)) is fixed and fixed(views(64)).picture.shape == (96, 192, 3)


def test_other_checkpoints_make_the_size_they_were_trained_for(tmp_path):
    own = Stitcher.load(tiny_checkpoint(tmp_path / "own"))
    assert own.fitted(views(64)) is own and own(views(64)).picture.shape == (32, 64, 3)


def test_the_card_tells_what_they_were_made_of():
    text = (released()[RELEASED] / "README.md").read_text(encoding="utf-8")
    for heading in ("Data and licences", "How they were made", "What they reach", "Limits"):
        assert f"## {heading}" in text
    assert "CC0" in text and "no weights of others" in text and "commit" in text


@pytest.mark.shared
def test_only_free_panoramas_went_into_them(shared):
    from licences import training_rows

    rows = training_rows(shared / "panoramas")
    assert len(rows) == len(list((shared / "panoramas/train").glob("*.jpg")))
    text = (released()[RELEASED] / "README.md").read_text(encoding="utf-8")
    for row in rows:
        (line,) = [line for line in text.splitlines() if line.startswith(f"| {row.file} ")]
        assert ("file name" in line) == row.by_name


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
