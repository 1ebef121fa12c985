"""The decoder's layers that are faster than they read: equal to what they stand for, gradients
included, with and without gradients."""

import copy

import pytest
import torch
import torch.nn.functional as F

from spidereye.decoder import DecoderConfig, UViT
from spidereye.layers import Upsample, silu_by_cells
from spidereye.model import as_used
from spidereye.precision import computing_in


def same(one: torch.Tensor, other: torch.Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("padding", ["zeros", "sphere"])
@pytest.mark.parametrize("size", [(4, 8), (5, 6), (1, 2), (16, 32)])
def test_upsampling_is_enlarging_and_then_convolving(padding, size):
    torch.manual_seed(0)
    upsample = Upsample(6, padding)
    torch.nn.init.normal_(upsample.conv.bias)
    x, other = (torch.randn(2, 6, *size, generator=torch.Generator().manual_seed(1)) for _ in "ab")
    made = upsample(x.requires_grad_())
    weights = torch.randn_like(made)
    (made * weights).sum().backward()
    ours = [x.grad, *(p.grad.clone() for p in upsample.parameters())]
    upsample.zero_grad()
    expected = upsample.conv(F.interpolate(other.requires_grad_(), scale_factor=2.0))
    (expected * weights).sum().backward()
    same(made, expected)
    for one, two in zip(ours, [other.grad, *(p.grad for p in upsample.parameters())], strict=True):
        torch.testing.assert_close(one, two, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_kept_kernel_is_the_one_made_anew(precision):
    """Bit by bit; and it is no weight."""
    torch.manual_seed(0)
    decoder = UViT(DecoderConfig.named("XXS", padding="sphere"))
    for parameter in decoder.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    used = as_used(copy.deepcopy(decoder))
    kernels = [part.kept for part in used.modules() if isinstance(part, Upsample)]
    assert kernels and all(kernel is not None for kernel in kernels)
    assert used.state_dict().keys() == decoder.state_dict().keys()
    given = (torch.randn(1, 3, 32, 64), torch.ones(1), torch.randn(1, 4, 4, 8))
    with computing_in(precision, torch.device("cpu")):
        expected = decoder.to(memory_format=torch.channels_last)(*given).velocity
        assert torch.equal(used(*given).velocity, expected)


@pytest.mark.parametrize("cells", [(2, 4), (8, 16), (3, 5), (16, 32)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_modulation_by_cells_is_modulation_by_resized_maps(cells, layout):
    x = torch.randn(2, 4, 8, 16).contiguous(memory_format=layout)
    scale, shift = torch.randn(2, 8, *cells).chunk(2, dim=1)
    large = [F.interpolate(part, size=(8, 16)) for part in (scale, shift)]
    expected = F.silu(x * (1 + large[0]) + large[1])
    same(silu_by_cells(x, scale, shift), expected)
    with torch.no_grad():
        same(silu_by_cells(x.clone(memory_format=layout), scale, shift), expected)


def test_the_decoder_without_gradients_is_the_decoder_with_them():
    torch.manual_seed(0)
    decoder = UViT(DecoderConfig.named("XXS"))
    with torch.no_grad():
        for parameter in decoder.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    given = torch.randn(1, 3, 32, 64), torch.full((1,), 700.0), torch.randn(1, 4, 4, 8)
    kept = [part.clone() for part in given]
    expected = decoder(*given)
    with torch.no_grad():
        made = decoder(*given)
    same(made.velocity, expected.velocity.detach())
    same(made.features, expected.features.detach())
    assert all(torch.equal(one, other) for one, other in zip(given, kept, strict=True))
