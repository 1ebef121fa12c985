"""The weights that are in the package: what they hold, what the card says, and that they help."""

from pathlib import Path

import numpy as np
import pytest
import torch
from licences import training_rows
from safetensors.torch import load_file

from spidereye import Stitcher
from spidereye.checkpoint import read_config
from spidereye.config_files import config_from_dict
from spidereye.metrics import psnr
from spidereye.pictures import read_picture, resize_area, to_float, to_uint8
from spidereye.released import RELEASED, released
from spidereye.render import render_each
from spidereye.rig import Rig
from spidereye.server.models import Models
from spidereye.trained import Trained

FOLDER = released()[RELEASED]
LARGEST = 20 * 2**20  # bytes
SIDE = 128  # of the views


@pytest.fixture(scope="module")
def stitcher() -> Stitcher:
    return Stitcher.load(RELEASED, size=(2 * SIDE, SIDE))


def test_they_are_small_half_precision_and_nothing_but_weights():
    files = {path.name: path for path in FOLDER.iterdir()}
    assert set(files) == {"README.md", "config.yaml", "ema.safetensors", "manifest.json"}
    weights = load_file(files["ema.safetensors"])
    assert files["ema.safetensors"].stat().st_size <= LARGEST
    assert {part.dtype for part in weights.values()} == {torch.float16}
    assert all(bool(part.isfinite().all()) for part in weights.values())


def test_their_configuration_is_of_one_step_and_names_no_place():
    config = config_from_dict(read_config(FOLDER), [])
    assert config.sampler_steps == 1 and not config.distill_teacher
    assert config.ssdd.checkpoint is None and config.ssdd.encoder_checkpoint is None
    assert config.dataset.root is None and config.dataset.cache is False
    assert "/tmp" not in (FOLDER / "config.yaml").read_text() + (FOLDER / "README.md").read_text()


def test_each_shot_of_a_batch_is_as_fine_as_its_own_pictures():
    stitcher = Stitcher.load(RELEASED)
    shots = [[np.full((side, side, 3), 99, np.uint8)] * 4 for side in (64, 128, 64)]
    made = stitcher.batch(shots)
    assert [one.picture.shape for one in made] == [(64, 128, 3), (128, 256, 3), (64, 128, 3)]
    assert stitcher.batch([]) == []


def test_nobody_gets_panoramas_wider_than_1024_unasked():
    trained = Trained.load(RELEASED)
    assert [trained.fitting_width(width) for width in (100, 300, 5000)] == [96, 304, 1024]
    models = Models.load({"m": RELEASED}, {})
    assert models.natural_size("m", 4096) == (1024, 512)


@pytest.mark.shared
def test_the_card_lists_every_panorama_with_how_its_licence_is_known(shared):
    card = (FOLDER / "README.md").read_text(encoding="utf-8")
    for row in training_rows(shared / "panoramas"):
        told = "file name" if row.by_name else "its source"
        assert f"| {row.file} | {row.source} | {told} |" in card


def shot(rig: Rig, file: Path) -> tuple[np.ndarray, list[np.ndarray]]:
    """The panorama at the size of the test, and what the rig sees of it."""
    picture = read_picture(file)
    whole = to_float(torch.from_numpy(picture).permute(2, 0, 1))[None]
    views = [as_bytes(view) for view, _ in render_each(whole, rig.cameras)]
    return resize_area(picture, 2 * SIDE, SIDE), views


def as_bytes(picture: torch.Tensor) -> np.ndarray:
    return to_uint8(picture[0]).permute(1, 2, 0).contiguous().numpy()


def decibels(made: np.ndarray, truth: np.ndarray) -> float:
    one, other = (torch.from_numpy(x).permute(2, 0, 1)[None].double() / 255 for x in (made, truth))
    return float(psnr(one, other))


@pytest.mark.shared
@pytest.mark.parametrize("place", ["ph_courtyard", "ph_hotel_room"])
def test_one_step_is_better_than_the_stitch_of_the_same_views(stitcher, shared, place):
    truth, views = shot(stitcher.rig, shared / f"panoramas/val/{place}.jpg")
    geometric = Stitcher.geometric(stitcher.rig, stitcher.size)
    ours, theirs = (decibels(s(views).picture, truth) for s in (stitcher, geometric))
    assert ours >= theirs + 0.5
