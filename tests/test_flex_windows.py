"""FlexAttention's form of local attention is the blocked one. Its kernels are for GPUs; here its
plain definition runs, forwards only."""

import pytest
import torch

from spidereye import attention, flex_windows
from spidereye.attention import REACH, LocalAttention


def forms(padding: str, size: tuple[int, int]) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    layer = LocalAttention(32, 2, padding).requires_grad_(False)
    torch.nn.init.normal_(layer.relative_bias)
    x = torch.randn(2, *size, 32)
    parts = [to(x).unflatten(-1, (2, -1)) for to in (layer.to_q, layer.to_k, layer.to_v)]
    made = flex_windows.attend(*parts, layer.relative_bias, padding)
    return layer(x), layer.to_out(made.flatten(-2))


@pytest.mark.filterwarnings("ignore")  # of what it would gain by being compiled
@pytest.mark.parametrize(
    "padding,size",
    [("zeros", (4, 8)), ("zeros", (16, 32)), ("zeros", (17, 21)), ("sphere", (15, 30)),
     ("sphere", (16, 32)), ("sphere", (21, 44))],
)  # fmt: skip
def test_it_is_the_blocked_form(padding, size):
    assert flex_windows.is_possible(*size, REACH, padding)
    blocked, flexible = forms(padding, size)
    torch.testing.assert_close(flexible, blocked, rtol=0, atol=1e-5)
    assert float(blocked.std()) > 0.05


def test_spheres_on_which_a_cell_is_in_a_window_twice_are_left_to_blocks():
    assert not flex_windows.is_possible(8, 16, REACH, "sphere")
    assert not flex_windows.is_possible(14, 44, REACH, "sphere")
    assert flex_windows.is_possible(8, 16, REACH, "zeros")


def test_the_mask_is_made_once_and_sparse():
    tiles = flex_windows._tiles(64, 128, REACH, "sphere", "cpu")
    assert tiles is flex_windows._tiles(64, 128, REACH, "sphere", "cpu")
    # Of 64 tiles each query's sees at most 3 by 3; 5 in a row where windows cross a pole.
    assert tiles.mask.sparsity() > 80
    assert torch.equal(tiles.order[tiles.place], torch.arange(64 * 128))


def test_on_cpus_it_is_not_used(monkeypatch):
    monkeypatch.setattr(attention.flex_windows, "attend", None)
    assert LocalAttention(32, 2, "sphere")(torch.rand(1, 16, 32, 32)).shape == (1, 16, 32, 32)
