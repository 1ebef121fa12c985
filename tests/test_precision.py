"""bfloat16 only where the device computes in it, and networks that recompute are the same."""

import pytest
import torch
from made_checkpoints import tiny_checkpoint, tiny_config
from made_shots import taken, world

from spidereye import Stitcher
from spidereye.errors import SpiderEyeError
from spidereye.export import sample_shot
from spidereye.layers import Recomputing
from spidereye.losses import LossWeights, TrainingLoss, training_draws
from spidereye.model import SpiderEyeModel
from spidereye.pictures import to_uint8
from spidereye.precision import check_precision, computing_in, device_named, has_bfloat16
from spidereye.rig import spider4
from spidereye.setup import checkpoint_activations

CPU = torch.device("cpu")


def test_a_device_says_whether_it_has_bfloat16(monkeypatch):
    for able in ({"avx512_bf16": True}, {"amx_bf16": True}):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able)
        assert has_bfloat16(CPU)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx2": True})
    assert not has_bfloat16(CPU)
    with pytest.raises(SpiderEyeError, match="cpu here does not compute in bfloat16"):
        check_precision("bf16", CPU)
    with pytest.raises(SpiderEyeError, match="fp32 or bf16, got 'fp8'"):
        check_precision("fp8", CPU)
    check_precision("fp32", CPU)


def test_networks_compute_in_it():
    one = torch.rand(4, 4)
    with computing_in("bf16", CPU):
        assert (one @ one).dtype == torch.bfloat16
    with computing_in("fp32", CPU):
        assert (one @ one).dtype == torch.float32


def test_a_panorama_in_bfloat16_is_about_the_same(tmp_path, monkeypatch):
    """By emulation here: slow, but what it computes."""
    checkpoint = tiny_checkpoint(tmp_path / "checkpoint")
    rig = spider4(f=220 * 32 / 560, xi=0.85, size=32)
    views = [to_uint8(v[0]).permute(1, 2, 0).numpy() for v in taken(world(0), rig, seed=1)]
    exact = Stitcher.load(checkpoint)(views).picture.astype(int)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    half = Stitcher.load(checkpoint, precision="bf16")(views).picture
    difference = abs(half - exact)
    assert 0 < difference.mean() < 2 and difference.max() < 40


@pytest.mark.parametrize("fusion", ["spherical", "concat_conv"])
def test_recomputing_keeps_less_and_gives_the_same_gradients(fusion):
    config = tiny_config(fusion)
    torch.manual_seed(0)
    model = SpiderEyeModel(config.model())
    loss = TrainingLoss(model, LossWeights())
    given, noise = sample_shot(config)
    draws = training_draws(model, given.views, noise, 0, 0, [0])
    kept, gradients = [], []
    for recompute in (False, True):
        config.training.checkpoint_activations = recompute
        checkpoint_activations(config, model)
        counts: list[int] = []

        def pack(tensor: torch.Tensor, counts=counts) -> torch.Tensor:
            counts.append(tensor.numel())
            return tensor

        model.zero_grad()
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            total = loss(given, noise, draws)["total"]
        total.backward()
        kept.append(sum(counts))
        gradients.append([p.grad.clone() for p in model.parameters() if p.grad is not None])
    assert any(isinstance(module, Recomputing) for module in model.modules())
    assert kept[1] < 0.5 * kept[0]
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_devices_of_other_kinds_are_refused():
    for wrong in ("mps", "xpu", "vulkan", "meta", "gpu", torch.device("meta")):
        with pytest.raises(SpiderEyeError, match="device is cpu, cuda, cuda:1 …, got"):
            device_named(wrong)
    assert device_named("cpu") == device_named(CPU) == CPU
