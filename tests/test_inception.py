"""FID's Inception: every block against plain convolutions, on random weights in the real format."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.inception import FIDInception, resize_like_tensorflow1
from spidereye.weight_files import WEIGHT_FILES

FILE = WEIGHT_FILES["inception"].file_name


@pytest.fixture(scope="session")
def state() -> dict[str, Tensor]:
    """Random weights under the published keys, such that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(0)
    with torch.device("meta"):
        shapes = {key: value.shape for key, value in FIDInception().state_dict().items()}
    weights = {}
    for key, shape in shapes.items():
        if key.endswith("num_batches_tracked"):
            continue
        noise = torch.randn(shape, generator=generator)
        if key.endswith("conv.weight"):
            weights[key] = noise * (2 / shape[1:].numel()) ** 0.5
        else:
            positive = key.endswith(("bn.weight", "running_var"))
            weights[key] = 1 + 0.1 * noise.abs() if positive else 0.1 * noise
    weights |= {"fc.weight": torch.ones(1008, 2048), "fc.bias": torch.ones(1008)}
    return weights


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory, state: dict[str, Tensor]) -> Path:
    path = tmp_path_factory.mktemp("inception")
    torch.save(state, path / FILE)
    return path


@pytest.fixture(scope="session")
def inception(folder: Path) -> FIDInception:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPIDEREYE_WEIGHTS", str(folder))
        return FIDInception.load()


def test_size_and_keys_are_the_published_ones(inception: FIDInception):
    # torchvision's inception_v3 has 23 834 568 without the auxiliary head, of which its
    # classifier of 1000 classes has 2 049 000.
    assert sum(p.numel() for p in inception.parameters()) == 23_834_568 - 2_049_000
    keys = inception.state_dict()
    units = {key.removesuffix(".conv.weight") for key in keys if key.endswith(".conv.weight")}
    assert len(units) == 94
    parts = ("conv.weight", "bn.weight", "bn.bias", "bn.running_mean", "bn.running_var")
    counters = {f"{unit}.bn.num_batches_tracked" for unit in units}
    assert set(keys) == {f"{unit}.{part}" for unit in units for part in parts} | counters
    for unit in (
        *("Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"),
        *("Mixed_5b.branch5x5_2", "Mixed_5d.branch3x3dbl_3", "Mixed_6a.branch3x3"),
        *("Mixed_6e.branch7x7dbl_5", "Mixed_7a.branch7x7x3_4", "Mixed_7b.branch3x3_2a"),
        *("Mixed_7c.branch3x3dbl_3b", "Mixed_7c.branch_pool"),
    ):
        assert unit in units
    assert inception.num_features == 2048


Unit = Callable[..., Tensor]


def literal_block(name: str, x: Tensor, u: Unit) -> Tensor:
    """The blocks as the papers and TensorFlow's graph draw them.

    u(x, unit, stride, padding): convolution, batch norm, ReLU
    """
    row, column = (0, 3), (3, 0)
    mean = F.avg_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 1) * 9
    mean = mean / (F.avg_pool2d(F.pad(torch.ones_like(x), (1, 1, 1, 1)), 3, 1) * 9)
    if name in ("Mixed_5b", "Mixed_5c"):
        double = u(u(u(x, "branch3x3dbl_1"), "branch3x3dbl_2", 1, 1), "branch3x3dbl_3", 1, 1)
        five = u(u(x, "branch5x5_1"), "branch5x5_2", 1, 2)
        parts = [u(x, "branch1x1"), five, double, u(mean, "branch_pool")]
    elif name == "Mixed_6a":
        double = u(u(u(x, "branch3x3dbl_1"), "branch3x3dbl_2", 1, 1), "branch3x3dbl_3", 2)
        parts = [u(x, "branch3x3", 2), double, F.max_pool2d(x, 3, 2)]
    elif name in ("Mixed_6b", "Mixed_6e"):
        seven = u(u(u(x, "branch7x7_1"), "branch7x7_2", 1, row), "branch7x7_3", 1, column)
        double = u(u(x, "branch7x7dbl_1"), "branch7x7dbl_2", 1, column)
        double = u(u(double, "branch7x7dbl_3", 1, row), "branch7x7dbl_4", 1, column)
        double = u(double, "branch7x7dbl_5", 1, row)
        parts = [u(x, "branch1x1"), seven, double, u(mean, "branch_pool")]
    elif name == "Mixed_7a":
        seven = u(u(u(x, "branch7x7x3_1"), "branch7x7x3_2", 1, row), "branch7x7x3_3", 1, column)
        three = u(u(x, "branch3x3_1"), "branch3x3_2", 2)
        parts = [three, u(seven, "branch7x7x3_4", 2), F.max_pool2d(x, 3, 2)]
    else:
        three, double = u(x, "branch3x3_1"), u(u(x, "branch3x3dbl_1"), "branch3x3dbl_2", 1, 1)
        pooled = mean if name == "Mixed_7b" else F.max_pool2d(x, 3, 1, padding=1)
        parts = [
            u(x, "branch1x1"),
            *(u(three, "branch3x3_2a", 1, (0, 1)), u(three, "branch3x3_2b", 1, (1, 0))),
            *(u(double, "branch3x3dbl_3a", 1, (0, 1)), u(double, "branch3x3dbl_3b", 1, (1, 0))),
            u(pooled, "branch_pool"),
        ]
    return torch.cat(parts, 1)


def unit_of(state: dict[str, Tensor], prefix: str) -> Unit:
    def unit(x: Tensor, name: str, stride: int = 1, padding: int | tuple[int, int] = 0) -> Tensor:
        key = f"{prefix}{name}"
        x = F.conv2d(x, state[f"{key}.conv.weight"], None, stride, padding)
        mean, var, weight, bias = (
            state[f"{key}.bn.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.relu(F.batch_norm(x, mean, var, weight, bias, training=False, eps=0.001))

    return unit


@pytest.mark.parametrize(
    ("name", "width"),
    [
        *(("Mixed_5b", 192), ("Mixed_5c", 256), ("Mixed_6a", 288), ("Mixed_6b", 768)),
        *(("Mixed_6e", 768), ("Mixed_7a", 768), ("Mixed_7b", 1280), ("Mixed_7c", 2048)),
    ],
)
def test_block(inception: FIDInception, state: dict[str, Tensor], name: str, width: int):
    x = torch.randn(2, width, 9, 7, generator=torch.Generator().manual_seed(1))
    ours = inception.get_submodule(name)(x)
    torch.testing.assert_close(ours, literal_block(name, x, unit_of(state, f"{name}.")))


def test_whole_network(inception: FIDInception, state: dict[str, Tensor]):
    pictures = torch.randint(
        0, 256, (1, 3, 299, 299), dtype=torch.uint8, generator=torch.Generator().manual_seed(2)
    )
    u = unit_of(state, "")
    x = (pictures.float() - 128) / 128  # of the network's own size: resizing changes nothing
    x = u(u(u(x, "Conv2d_1a_3x3", 2), "Conv2d_2a_3x3"), "Conv2d_2b_3x3", 1, 1)
    x = u(u(F.max_pool2d(x, 3, 2), "Conv2d_3b_1x1"), "Conv2d_4a_3x3")
    x = F.max_pool2d(x, 3, 2)
    assert x.shape == (1, 192, 35, 35)
    # Blocks of one kind share their literal form, told by a name of that kind.
    kinds = {"5d": "5c", "6c": "6b", "6d": "6b"}
    for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
        x = literal_block(f"Mixed_{kinds.get(name, name)}", x, unit_of(state, f"Mixed_{name}."))
    assert x.shape == (1, 2048, 8, 8)
    features = inception(pictures)
    torch.testing.assert_close(features, x.mean((2, 3)), rtol=1e-3, atol=1e-4)
    assert features.std() > 0.01 and not features.requires_grad


def test_pictures_of_any_size_in_any_batch(inception: FIDInception):
    pictures = torch.randint(0, 256, (2, 3, 16, 32), dtype=torch.uint8)
    inception.train()  # a training loop around it must not turn on batch statistics
    together = inception(pictures)
    with torch.autocast("cpu", torch.bfloat16):
        alone = inception(pictures[1:])
    assert together.shape == (2, 2048) and alone.dtype == torch.float32
    torch.testing.assert_close(together[1:], alone, rtol=1e-3, atol=1e-4)


def test_resizing_samples_at_multiples_of_the_ratio():
    ramp = torch.arange(4.0).view(1, 1, 1, 4).expand(1, 1, 2, 4)
    wide = resize_like_tensorflow1(ramp, 2, 8)
    assert wide[0, 0, 0].tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3]  # no half-pixel centres
    narrow = resize_like_tensorflow1(torch.arange(6.0).view(1, 1, 6, 1), 4, 1)
    assert narrow.flatten().tolist() == [0, 1.5, 3, 4.5]  # no anti-aliasing


def test_resizing_equals_the_loop():
    x = torch.rand(1, 1, 5, 7, dtype=torch.float64)
    ours = resize_like_tensorflow1(x, 9, 4)[0, 0]
    for i in range(9):
        for j in range(4):
            v, u = i * 5 / 9, j * 7 / 4
            top, left = int(v), int(u)
            bottom, right = min(top + 1, 4), min(left + 1, 6)
            p = x[0, 0]
            upper = p[top, left] * (1 - u + left) + p[top, right] * (u - left)
            lower = p[bottom, left] * (1 - u + left) + p[bottom, right] * (u - left)
            assert float(ours[i, j]) == pytest.approx(
                float(upper * (1 - v + top) + lower * (v - top))
            )


def test_file_with_counters_of_batches(
    folder: Path, state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    counted = state | {"Conv2d_1a_3x3.bn.num_batches_tracked": torch.tensor(7)}
    torch.save(counted, tmp_path / FILE)
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    before = torch.get_rng_state()
    loaded = FIDInception.load()
    assert torch.equal(before, torch.get_rng_state())  # loading draws no random numbers
    assert not any(tensor.is_meta for tensor in loaded.state_dict().values())


def test_another_network_is_refused(
    state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    broken = {k: v for k, v in state.items() if k != "Mixed_7c.branch_pool.bn.bias"}
    torch.save(broken, tmp_path / FILE)
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    with pytest.raises(SpiderEyeError, match=r"Mixed_7c\.branch_pool\.bn\.bias is missing"):
        FIDInception.load()
