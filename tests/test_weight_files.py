"""Third-party weight files: where they are found, what is said where they are not."""

from pathlib import Path

import pytest
import torch
from torch import nn

from spidereye.errors import SpiderEyeError
from spidereye.filling import fill
from spidereye.weight_files import WEIGHT_FILES, find, load_state, read_tensors


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The three folders that are searched, in their order, all empty."""
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path / "chosen"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    folders = [
        tmp_path / "chosen",
        tmp_path / ".cache" / "spidereye" / "weights",
        tmp_path / "torch" / "hub" / "checkpoints",
    ]
    for folder in folders:
        folder.mkdir(parents=True)
    return folders


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_downloaded_file_has_the_name_that_is_looked_for(name: str):
    file = WEIGHT_FILES[name]
    assert file.url.rpartition("/")[2] == file.file_name


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_the_first_folder_wins(places: list[Path], name: str):
    for folder in reversed(places):
        path = folder / WEIGHT_FILES[name].file_name
        path.touch()
        assert find(name) == path


def test_torch_fidelitys_name_of_the_inception_file_is_known(places: list[Path]):
    path = places[2] / "weights-inception-2015-12-05-6726825d.pth"
    path.touch()
    assert find("inception") == path


@pytest.mark.parametrize("name", WEIGHT_FILES)
def test_a_missing_file_is_one_line_that_says_all(places: list[Path], name: str):
    with pytest.raises(SpiderEyeError) as caught:
        load_state(name)
    message, file = str(caught.value), WEIGHT_FILES[name]
    for part in (file.file_name, file.url, file.without, *map(str, places)):
        assert part in message
    assert "\n" not in message


def test_the_training_loss_can_be_turned_off(places: list[Path]):
    with pytest.raises(SpiderEyeError, match=r"aux_losses\.lpips=false"):
        find("vgg16")


def test_without_the_variable_two_folders_are_left(
    places: list[Path], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SPIDEREYE_WEIGHTS")
    (places[0] / WEIGHT_FILES["vgg16"].file_name).touch()
    with pytest.raises(SpiderEyeError, match=str(places[1])):
        find("vgg16")


def test_a_mistyped_folder_is_said(places: list[Path], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(places[0] / "typo"))
    with pytest.raises(SpiderEyeError, match=r"SPIDEREYE_WEIGHTS=.*typo is not a folder"):
        find("vgg16")


@pytest.mark.parametrize("zipped", [True, False])  # torchvision's older files are not zip archives
def test_published_file_formats_load(places: list[Path], zipped: bool):
    saved = {"a.weight": nn.Parameter(torch.arange(3.0)), "b": torch.ones(2, 2)}
    path = places[0] / WEIGHT_FILES["alexnet"].file_name
    torch.save(saved, path, _use_new_zipfile_serialization=zipped)
    state = load_state("alexnet")
    assert list(state) == ["a.weight", "b"]
    assert not any(tensor.requires_grad for tensor in state.values())
    torch.testing.assert_close(state["a.weight"], torch.arange(3.0))


@pytest.mark.parametrize("damage", ["cut", "empty", "text", "zeros"])
def test_a_damaged_file_is_said(places: list[Path], damage: str):
    path = places[0] / WEIGHT_FILES["alexnet"].file_name
    torch.save({"a": torch.ones(1000)}, path)
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "empty": b"", "text": b"<html>", "zeros": bytes(99)}[
            damage
        ]
    )
    with pytest.raises(SpiderEyeError) as caught:
        load_state("alexnet")
    message = str(caught.value)
    assert str(path) in message and WEIGHT_FILES["alexnet"].url in message and "\n" not in message


class Surprise:
    """Something that a weight file has no business to hold."""


@pytest.mark.parametrize("content", [{"a": Surprise()}, {"a": 1.0}, [torch.ones(1)], torch.ones(1)])
def test_only_named_tensors_are_accepted(tmp_path: Path, content: object):
    torch.save(content, tmp_path / "x.pth")
    with pytest.raises(SpiderEyeError, match="get another"):
        read_tensors(tmp_path / "x.pth", "get another")


def test_fill_takes_exactly_what_fits():
    layer = nn.Linear(2, 3)
    state = {"weight": torch.ones(3, 2), "bias": torch.zeros(3), "head.weight": torch.ones(1)}
    fill(layer, state, "file", ignored=("head.",))
    assert torch.equal(layer(torch.ones(1, 2)), torch.full((1, 3), 2.0))
    for change, complaint in (
        ({"bias": None}, "bias is missing"),
        ({"extra": torch.ones(1)}, "extra is unexpected"),
        ({"weight": torch.ones(2, 3)}, r"weight has shape \(2, 3\) where \(3, 2\) was expected"),
    ):
        broken = {k: v for k, v in {**state, **change}.items() if v is not None}
        with pytest.raises(SpiderEyeError, match=f"file does not fit Linear: {complaint}"):
            fill(layer, broken, "file", ignored=("head.",))


def test_a_wholly_different_file_is_summed_up():
    state = {f"layer{i}": torch.ones(1) for i in range(100)}
    with pytest.raises(SpiderEyeError, match="and 99 more"):
        fill(nn.Linear(2, 3), state, "file")
