"""LPIPS against torchmetrics' on the same weights, and against a literal computation."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from spidereye.errors import SpiderEyeError
from spidereye.perceptual import LPIPS, Net
from spidereye.weight_files import WEIGHT_FILES

FILES = {"vgg": WEIGHT_FILES["vgg16"].file_name, "alex": WEIGHT_FILES["alexnet"].file_name}
NETS = ["vgg", "alex"]


def torchvision_features(net: str) -> nn.Sequential:
    """The `features` of torchvision's vgg16 and alexnet, layer by layer."""
    if net == "alex":
        convs = [
            nn.Conv2d(3, 64, 11, stride=4, padding=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.Conv2d(256, 256, 3, padding=1),
        ]
        layers: list[nn.Module] = []
        for conv, pooled in zip(convs, (True, True, False, False, True), strict=True):
            layers += [conv, nn.ReLU()] + ([nn.MaxPool2d(3, 2)] if pooled else [])
        return nn.Sequential(*layers)
    layers, width = [], 3
    for step in (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0):
        if step:
            layers += [nn.Conv2d(width, step, 3, padding=1), nn.ReLU()]
            width = step
        else:
            layers += [nn.MaxPool2d(2, 2)]
    return nn.Sequential(*layers)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random weights in the files' real formats."""
    path = tmp_path_factory.mktemp("lpips")
    generator = torch.Generator().manual_seed(0)
    for net in NETS:
        state = {f"features.{k}": v for k, v in torchvision_features(net).state_dict().items()}
        for key, value in state.items():
            spread = (2 / value[0].numel()) ** 0.5 if key.endswith("weight") else 0.1
            value.normal_(0, spread, generator=generator)
        state |= {"classifier.6.weight": torch.ones(10, 4), "classifier.6.bias": torch.ones(10)}
        torch.save(state, path / FILES[net], _use_new_zipfile_serialization=net == "alex")
    return path


@pytest.fixture
def weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(folder))
    return folder


def pictures(count: int = 2, size: int = 32) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.rand(count, 3, size, size + 16, generator=generator) * 2 - 1
    y = torch.rand(count, 3, size, size + 16, generator=generator) * 2 - 1
    return x, 0.5 * x + 0.5 * y


@pytest.mark.parametrize("net", NETS)
def test_equals_torchmetrics(weights: Path, monkeypatch: pytest.MonkeyPatch, net: Net):
    # torchmetrics gets its backbone from torchvision, which is not here: it gets ours instead.
    from torchmetrics.functional.image import lpips as theirs

    def backbone(_: str, pretrained: bool = False) -> nn.Sequential:
        features = torchvision_features(net)
        state = torch.load(weights / FILES[net], weights_only=True)
        prefix = "features."
        features.load_state_dict(
            {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        )
        return features

    monkeypatch.setattr(theirs, "_get_tv_model_features", backbone)
    expected = theirs._LPIPS(pretrained=True, net=net)
    x, y = pictures()
    ours = LPIPS.load(net)(x, y)
    assert ours.shape == (2,) and ours.min() > 0.01
    torch.testing.assert_close(ours, expected(x, y).flatten(), rtol=1e-5, atol=0)


def test_alex_equals_the_formula_written_out(weights: Path):
    state = torch.load(weights / FILES["alex"], weights_only=True)
    lpips = LPIPS.load("alex")
    x, y = pictures(1)
    shift = torch.tensor([-0.030, -0.088, -0.188]).view(1, 3, 1, 1)
    scale = torch.tensor([0.458, 0.448, 0.450]).view(1, 3, 1, 1)

    def conv(picture: Tensor, index: int, stride: int, padding: int) -> Tensor:
        weight, bias = state[f"features.{index}.weight"], state[f"features.{index}.bias"]
        return F.relu(F.conv2d(picture, weight, bias, stride, padding))

    def maps(picture: Tensor) -> list[Tensor]:
        a = conv((picture - shift) / scale, 0, 4, 2)
        b = conv(F.max_pool2d(a, 3, 2), 3, 1, 2)
        c = conv(F.max_pool2d(b, 3, 2), 6, 1, 1)
        d = conv(c, 8, 1, 1)
        return [a, b, c, d, conv(d, 10, 1, 1)]

    expected = 0.0
    for head, f, g in zip(lpips.heads, maps(x), maps(y), strict=True):
        cells = f.shape[2] * f.shape[3]
        for i in range(f.shape[2]):
            for j in range(f.shape[3]):
                p, q = f[0, :, i, j], g[0, :, i, j]
                expected += float(head.flatten() @ (p / p.norm() - q / q.norm()) ** 2) / cells
    assert lpips(x, y).item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(("net", "count"), [("vgg", 14_714_688), ("alex", 2_469_696)])
def test_parameter_counts_are_the_published_ones(net: Net, count: int):
    with torch.device("meta"):
        lpips = LPIPS(net)
    assert sum(p.numel() for p in lpips.features.parameters()) == count


@pytest.mark.parametrize("net", NETS)
def test_a_distance_for_each_picture(weights: Path, net: Net):
    lpips = LPIPS.load(net)
    x, y = pictures(3)
    together = lpips(x, y)
    apart = torch.cat([lpips(x[i : i + 1], y[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-7)
    torch.testing.assert_close(together, lpips(y, x))
    assert torch.equal(lpips(x, x), torch.zeros(3))


@pytest.mark.parametrize("net", NETS)
def test_gradients_reach_the_picture_and_nothing_else(weights: Path, net: Net):
    lpips = LPIPS.load(net)
    x, y = pictures(1)
    x.requires_grad_()
    lpips(x, y).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all() and x.grad.abs().max() > 0
    assert not any(p.requires_grad for p in lpips.parameters())
    assert not lpips.shift.is_meta


def test_dead_features_have_a_finite_gradient():
    lpips = LPIPS("alex")
    for conv in lpips.features.children():
        nn.init.zeros_(conv.get_parameter("bias"))
    x = lpips.shift.expand(1, 3, 64, 64).clone().requires_grad_()  # zero behind the scaling layer
    lpips(x, -x.detach()).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_half_precision_convolutions_do_not_hurt_the_differences(weights: Path):
    lpips = LPIPS.load("alex")
    x, y = pictures()
    with torch.autocast("cpu", torch.bfloat16):
        rough = lpips(x, y)
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, lpips(x, y), rtol=0.02, atol=0)


@pytest.mark.parametrize("net", NETS)
def test_loading_draws_no_random_numbers(weights: Path, net: Net):
    before = torch.get_rng_state()
    lpips = LPIPS.load(net)
    assert torch.equal(before, torch.get_rng_state())
    assert not any(p.is_meta for p in (*lpips.parameters(), *lpips.buffers()))


@pytest.mark.parametrize("net", NETS)
def test_smallest_picture(net: Net):
    lpips = LPIPS(net)
    fits = torch.zeros(1, 3, lpips.smallest, lpips.smallest)
    assert lpips(fits, fits).item() == 0
    small = fits[..., 1:]
    with pytest.raises(SpiderEyeError, match=f"at least {lpips.smallest} x"):
        lpips(small, small)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"features.3.bias": None}, "3.bias is missing"),
        ({"features.12.weight": torch.ones(1)}, "12.weight is unexpected"),
        ({"features.0.weight": torch.ones(64, 3, 3, 3)}, r"0.weight has shape \(64, 3, 3, 3\)"),
    ],
)
def test_another_network_is_refused(
    weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Tensor | None],
    complaint: str,
):
    state = torch.load(weights / FILES["alex"], weights_only=True) | change
    torch.save({k: v for k, v in state.items() if v is not None}, tmp_path / FILES["alex"])
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    with pytest.raises(SpiderEyeError, match=complaint):
        LPIPS.load("alex")
