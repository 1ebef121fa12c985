"""REPA: the teacher's patches lie where the picture's cells lie; the loss on hand-made cases."""

import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.repa import DINOv2, RepaHead, repa_loss

transformers = pytest.importorskip("transformers")

PATCH, WIDTH = 4, 16


def save_tiny(path: Path, layers: int = 1, registers: bool = False) -> Path:
    """A small random DINOv2 in the format of the published ones."""
    settings = {
        "hidden_size": WIDTH,
        "num_hidden_layers": layers,
        "num_attention_heads": 2,
        "mlp_ratio": 2,
        "image_size": 4 * PATCH,
        "patch_size": PATCH,
    }
    torch.manual_seed(0)
    if registers:
        config = transformers.Dinov2WithRegistersConfig(**settings, num_register_tokens=3)
        model = transformers.Dinov2WithRegistersModel(config)
    else:
        model = transformers.Dinov2Model(transformers.Dinov2Config(**settings))
    model.save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("dinov2"))


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Without attention each patch's feature depends on its own pixels only."""
    return save_tiny(tmp_path_factory.mktemp("dinov2_local"), layers=0)


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine without network and with an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_width_and_patch_come_from_the_model(folder: Path):
    teacher = DINOv2.load(str(folder))
    assert (teacher.width, teacher.patch) == (WIDTH, PATCH)


@pytest.mark.parametrize("grid", [(2, 4), (4, 8), (8, 16)])
def test_one_feature_per_cell_whatever_the_picture_size(folder: Path, grid: tuple[int, int]):
    teacher = DINOv2.load(str(folder))
    features = teacher.patch_features(torch.rand(2, 3, 20, 40) * 2 - 1, grid)
    assert features.shape == (2, grid[0] * grid[1], WIDTH)
    assert not features.requires_grad


@pytest.mark.parametrize("cell", [(0, 0), (0, 5), (2, 1), (3, 7)])
def test_cells_are_listed_row_by_row(local: Path, cell: tuple[int, int]):
    teacher, (row, column), (rows, columns) = DINOv2.load(str(local)), cell, (4, 8)
    flat = torch.zeros(
        1, 3, rows * PATCH, columns * PATCH
    )  # its own size: resizing changes nothing
    marked = flat.clone()
    marked[..., row * PATCH : (row + 1) * PATCH, column * PATCH : (column + 1) * PATCH] = 1
    grid = (rows, columns)
    change = teacher.patch_features(marked, grid) - teacher.patch_features(flat, grid)
    changed = change.abs().amax(-1)[0] > 1e-6
    assert changed.nonzero().flatten().tolist() == [row * columns + column]


def test_registers_are_dropped(tmp_path: Path):
    teacher = DINOv2.load(str(save_tiny(tmp_path, registers=True)))
    picture = torch.rand(1, 3, 8, 16)
    features = teacher.patch_features(picture, (2, 4))
    seen = teacher.model(pixel_values=_seen(teacher, picture, (2, 4))).last_hidden_state
    assert seen.shape[1] == 1 + 3 + 8
    torch.testing.assert_close(features, seen[:, 4:])


def _seen(teacher: DINOv2, picture: Tensor, grid: tuple[int, int]) -> Tensor:
    """The pixels that reach the model."""
    caught = []
    hook = teacher.model.register_forward_pre_hook(
        lambda _, args, kwargs: caught.append(kwargs["pixel_values"]), with_kwargs=True
    )
    teacher.patch_features(picture, grid)
    hook.remove()
    return caught[0]


def test_pictures_are_normalised_as_imagenet(folder: Path):
    teacher = DINOv2.load(str(folder))
    for value in (-1.0, 0.0, 1.0):
        pixels = _seen(teacher, torch.full((1, 3, 8, 16), value), (2, 4))
        assert pixels.shape == (1, 3, 2 * PATCH, 4 * PATCH)
        for channel, (mean, deviation) in enumerate(
            [(0.485, 0.229), (0.456, 0.224), (0.406, 0.225)]
        ):
            expected = ((value + 1) / 2 - mean) / deviation
            assert pixels[0, channel].flatten().tolist() == pytest.approx(
                [expected] * 128, abs=1e-5
            )


def test_fine_patterns_do_not_alias(folder: Path):
    columns = torch.arange(128) % 2 * 2.0 - 1  # stripes of one pixel: grey from afar
    pixels = _seen(DINOv2.load(str(folder)), columns.expand(1, 3, 64, 128).contiguous(), (2, 4))
    grey = _seen(DINOv2.load(str(folder)), torch.zeros(1, 3, 64, 128), (2, 4))
    assert (pixels - grey)[..., 2:-2].abs().max() < 0.05


def test_the_teacher_is_frozen(folder: Path):
    teacher = DINOv2.load(str(folder)).train()
    assert not teacher.training and not any(m.training for m in teacher.model.modules())
    assert not any(p.requires_grad for p in teacher.parameters())


def test_a_model_that_is_nowhere_is_said(offline: None):
    with pytest.raises(SpiderEyeError) as caught:
        DINOv2.load("facebook/dinov2-base")
    message = str(caught.value)
    for part in (
        "the model facebook/dinov2-base",
        "https://huggingface.co/facebook/dinov2-base",
        "/hub)",
        "aux_losses.repa=null",
    ):
        assert part in message
    assert "\n" not in message


@pytest.mark.parametrize("damage", ["no config", "no weights", "cut weights"])
def test_a_damaged_folder_is_said(offline: None, tmp_path: Path, damage: str):
    save_tiny(tmp_path)
    if damage == "no config":
        (tmp_path / "config.json").unlink()
    elif damage == "no weights":
        (tmp_path / "model.safetensors").unlink()
    else:
        path = tmp_path / "model.safetensors"
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(SpiderEyeError, match=str(tmp_path)):
        DINOv2.load(str(tmp_path))


def test_weights_that_lack_something_are_refused(tmp_path: Path):
    # transformers would fill the gap with random numbers and only warn.
    from safetensors.torch import load_file, save_file

    path = save_tiny(tmp_path) / "model.safetensors"
    state = load_file(path)
    del state["layernorm.weight"]
    save_file(state, path, metadata={"format": "pt"})
    with pytest.raises(SpiderEyeError, match=r"lacks weights.*layernorm\.weight"):
        DINOv2.load(str(tmp_path))


def test_another_kind_of_model_is_refused(tmp_path: Path):
    config = transformers.ViTConfig(
        hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    transformers.ViTModel(config).save_pretrained(tmp_path)
    with pytest.raises(SpiderEyeError, match=r"must be a DINOv2, .* is a vit"):
        DINOv2.load(str(tmp_path))


def test_without_transformers_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(SpiderEyeError, match=r"spidereye\[repa\]"):
        DINOv2.load()


def test_head_is_an_mlp_with_silu_between():
    head = RepaHead(6, 10, n_layers=2, hidden=8)
    first, second = (m for m in head.layers if isinstance(m, nn.Linear))
    tokens = torch.randn(2, 5, 6)
    expected = F.linear(F.silu(F.linear(tokens, first.weight, first.bias)), second.weight)
    torch.testing.assert_close(head(tokens), expected + second.bias)
    assert (first.out_features, second.out_features) == (8, 10)


@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_head_depth(n_layers: int):
    head = RepaHead(6, 10, n_layers)
    assert sum(isinstance(m, nn.Linear) for m in head.layers) == n_layers
    assert head(torch.zeros(1, 2, 6)).shape == (1, 2, 10)


def test_a_head_without_layers_is_refused():
    with pytest.raises(SpiderEyeError, match=r"n_layers=0"):
        RepaHead(6, 10, n_layers=0)


def test_loss_on_angles_known():
    x = torch.tensor([[1.0, 0.0], [0.0, 2.0]])
    target = torch.stack([x, -x, x.flip(0), torch.tensor([[3.0, 0.0], [0.0, -1.0]])])
    output = x.expand(4, 2, 2).clone()
    # equal, opposite, at right angles, half and half; lengths do not matter
    torch.testing.assert_close(repa_loss(output, target), torch.tensor([0.0, 2.0, 1.0, 1.0]))
