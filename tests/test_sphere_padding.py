"""A network padded on the sphere: what it finds beyond an edge, no seam, nothing lost of zeros."""

import math

import pytest
import torch
from torch import nn

from spidereye.attention import REACH, WINDOW, LocalAttention
from spidereye.decoder import DecoderConfig, UViT
from spidereye.errors import SpiderEyeError
from spidereye.layers import PADDINGS, Downsample, SphereConv2d, Upsample, conv3x3
from spidereye.metrics import seam_error
from spidereye.sphere_padding import pad_sphere

GRIDS = [(4, 8), (8, 16), (5, 10), (1, 2), (3, 4)]
AMOUNTS = [(0, 0, 0, 0), (1, 1, 1, 1), (1, 0, 0, 2), (7, 10, 7, 13), (25, 31, 40, 33)]


def wrapped_index(height: int, width: int, row: int, column: int) -> tuple[int, int]:
    """The cell of the grid that a place beyond its edges is, walked one row at a time."""
    while not 0 <= row < height:
        row = -1 - row if row < 0 else 2 * height - 1 - row
        column += width // 2
    return row, column % width


def padded_index(height: int, width: int, top: int, bottom: int, left: int, right: int):
    cells = [
        wrapped_index(height, width, row, column)
        for row in range(-top, height + bottom)
        for column in range(-left, width + right)
    ]
    shape = (height + top + bottom, width + left + right)
    return torch.tensor(cells).T.reshape(2, *shape)


@pytest.mark.parametrize("amounts", AMOUNTS)
@pytest.mark.parametrize("grid", GRIDS)
def test_padding_is_the_sphere_seen_again_in_value_and_gradient(grid, amounts):
    torch.manual_seed(0)
    x = torch.randn(2, 3, *grid, dtype=torch.float64, requires_grad=True)
    padded = pad_sphere(x, *amounts)
    rows, columns = padded_index(*grid, *amounts)
    expected = x[:, :, rows, columns]
    assert torch.equal(padded, expected)
    weight = torch.randn_like(padded)
    ours = torch.autograd.grad((padded * weight).sum(), x)[0]
    theirs = torch.autograd.grad((expected * weight).sum(), x)[0]
    torch.testing.assert_close(ours, theirs)


def directions(height: int, width: int, more: int = 0) -> torch.Tensor:
    """Unit rays [3, H, W] of an equirectangular grid; with `more` rows and columns on every side,
    where longitude and latitude simply run on."""
    rows, columns = torch.arange(-more, height + more), torch.arange(-more, width + more)
    longitude = ((columns + 0.5) / width * 2 - 1) * math.pi
    latitude = ((0.5 - (rows + 0.5) / height) * math.pi)[:, None]
    x, z = latitude.cos() * longitude.sin(), latitude.cos() * longitude.cos()
    return torch.stack((x, latitude.sin().expand_as(x), z))


def test_a_picture_of_directions_continues_over_the_poles():
    padded = pad_sphere(directions(6, 12)[None], 5, 5, 5, 5)[0]
    torch.testing.assert_close(padded, directions(6, 12, more=5), atol=1e-6, rtol=0)


def test_an_odd_width_has_no_opposite_meridian():
    with pytest.raises(ValueError, match=r"even width.*4x7"):
        pad_sphere(torch.rand(1, 1, 4, 7), 1, 1, 1, 1)
    with pytest.raises(ValueError, match=r"even width.*4x7"):
        LocalAttention(32, 4, "sphere")(torch.rand(1, 4, 7, 32))


@pytest.mark.parametrize("stride", [1, 2])
def test_convolutions_differ_at_the_edges_only_and_exchange_weights(stride):
    torch.manual_seed(0)
    zeros, sphere = conv3x3(3, 5, stride=stride), conv3x3(3, 5, "sphere", stride)
    assert type(zeros) is nn.Conv2d and zeros.padding == (1, 1)
    assert type(sphere) is SphereConv2d
    sphere.load_state_dict(zeros.state_dict())
    x = torch.randn(2, 3, 8, 16)
    plain, wrapped = zeros(x), sphere(x)
    assert plain.shape == wrapped.shape == (2, 5, 8 // stride, 16 // stride)
    torch.testing.assert_close(wrapped[..., 1:-1, 1:-1], plain[..., 1:-1, 1:-1])
    for edge in (plain - wrapped)[..., 0, :], (plain - wrapped)[..., 0]:
        assert bool((edge.abs().amax(1) > 1e-4).all())
    expected = nn.functional.conv2d(
        x[:, :, *padded_index(8, 16, 1, 1, 1, 1)], zeros.weight, zeros.bias, stride
    )
    torch.testing.assert_close(wrapped, expected)
    torch.testing.assert_close(sphere(x.roll(6, 3)), wrapped.roll(6 // stride, 3))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("grid", [(1, 2), (2, 2), (2, 4), (3, 4), (7, 6), (8, 16)])
def test_without_a_gradient_a_convolution_writes_the_edges_to_the_same_effect(stride, grid):
    torch.manual_seed(0)
    conv, x = SphereConv2d(3, 5, stride), torch.randn(2, 3, *grid)
    padded = conv(x)  # a gradient is asked for: literally padded
    with torch.no_grad():
        torch.testing.assert_close(conv(x), padded.detach())
        in_place = conv.to(memory_format=torch.channels_last)(  # pyright: ignore[reportCallIssue]
            x.to(memory_format=torch.channels_last)
        )
    torch.testing.assert_close(in_place, padded.detach())


def test_down_and_upsampling_take_the_padding_they_are_told():
    for padding, kind in (("zeros", nn.Conv2d), ("sphere", SphereConv2d)):
        assert type(Downsample(4, padding).conv) is kind and type(Upsample(4, padding).conv) is kind
    assert type(Downsample(4).conv) is nn.Conv2d and type(Upsample(4).conv) is nn.Conv2d
    with pytest.raises(ValueError, match="zeros, sphere"):
        conv3x3(3, 3, "circular")


def window_attention(layer: LocalAttention, x: torch.Tensor) -> torch.Tensor:
    """The literal form: every query against the 15x15 cells around it, each looked up by index."""
    height, width = x.shape[1:3]
    rows, columns = (
        padded_index(height, width, *[REACH] * 4).unfold(1, WINDOW, 1).unfold(2, WINDOW, 1)
    )  # [H, W, 15, 15] each
    q, k, v = (
        part(x).unflatten(-1, (layer.heads, -1)) for part in (layer.to_q, layer.to_k, layer.to_v)
    )
    k, v = k[:, rows, columns], v[:, rows, columns]  # [B, H, W, 15, 15, heads, d]
    # The bias is read at yq - yk + 7, so the window's first row has the table's last.
    scores = torch.einsum("byxhd,byxijhd->byxijh", q, k) / q.shape[-1] ** 0.5
    scores = scores + layer.relative_bias.flip(0, 1)
    weights = scores.flatten(3, 4).softmax(3).unflatten(3, (WINDOW, WINDOW))
    out = torch.einsum("byxijh,byxijhd->byxhd", weights, v)
    return layer.to_out(out.flatten(-2))


@pytest.mark.parametrize("grid", [(1, 2), (4, 8), (8, 16), (5, 10), (16, 32), (12, 40)])
def test_windows_on_the_sphere_equal_the_literal_form_in_value_and_gradient(grid):
    torch.manual_seed(0)
    layer = LocalAttention(16, 2, "sphere")
    nn.init.normal_(layer.relative_bias)
    x, weight = torch.randn(2, *grid, 16), torch.randn(2, *grid, 16)
    results = []
    for form in (layer, lambda value: window_attention(layer, value)):
        value = x.clone().requires_grad_()
        layer.zero_grad()
        out = form(value)
        (out * weight).sum().backward()
        gradients = [parameter.grad.clone() for parameter in layer.parameters()]
        results.append([out.detach(), value.grad, *gradients])
    assert results[0][0].std() > 0.05
    for ours, literal in zip(*results, strict=True):
        torch.testing.assert_close(ours, literal, atol=1e-5, rtol=1e-5)


def test_attention_never_builds_more_than_windows():
    """Memory grows linearly: 32 times the cells of a small grid, 32 times the largest tensor."""
    largest = []
    for grid in ((8, 16), (64, 64)):
        layer, sizes = LocalAttention(16, 2, "sphere"), []
        hooks = torch.autograd.graph.saved_tensors_hooks(
            lambda tensor, sizes=sizes: sizes.append(tensor.numel()) or tensor,
            lambda tensor: tensor,
        )
        with hooks:
            layer(torch.randn(1, *grid, 16))
        largest.append(max(sizes))
    assert largest[1] <= 32 * largest[0]


def live_decoder(padding: str, **more) -> UViT:
    """Random weights everywhere, so that nothing hides behind a start at zero."""
    torch.manual_seed(1)
    decoder = UViT(DecoderConfig.named("XXS", padding=padding, extra_channels=2, **more))
    for name, parameter in decoder.named_parameters():
        if parameter.ndim > 1 and "relative_bias" not in name:
            nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        else:
            nn.init.normal_(parameter, std=0.5)
    assert decoder.straight is not None
    nn.init.normal_(decoder.straight.weights.weight, std=0.01)  # it counts eightfold
    return decoder.requires_grad_(False)


def smooth(channels: int, height: int, width: int, seed: int) -> torch.Tensor:
    """Four pictures without a seam: waves over the sphere's directions."""
    axes = 2 * torch.randn(4, channels, 3, generator=torch.Generator().manual_seed(seed))
    return torch.einsum("bck,khw->bchw", axes, directions(height, width)).sin()


def roll_difference(decoder: UViT, cells: int, height: int) -> float:
    """Largest difference between decoding what was rolled and rolling what was decoded."""
    generator = torch.Generator().manual_seed(2)
    width, time = 2 * height, torch.tensor([300.0, 900.0])
    x_t = torch.randn(2, 3, height, width, generator=generator)
    z = torch.randn(2, 4, height // 8, width // 8, generator=generator)
    extra = torch.randn(2, 2, height, width, generator=generator)
    still = decoder(x_t, time, z, extra)
    assert 0.1 < float(still.velocity.std()) < 10
    rolled = decoder(x_t.roll(8 * cells, 3), time, z.roll(cells, 3), extra.roll(8 * cells, 3))
    velocity = rolled.velocity - still.velocity.roll(8 * cells, 3)
    features = rolled.features - still.features.roll(cells, 2)
    return max(float(velocity.abs().max()), float(features.abs().max()))


@pytest.mark.parametrize("cells,height", [(1, 32), (3, 32), (4, 32), (7, 40)])
def test_rolling_the_inputs_rolls_the_panorama(cells, height):
    assert roll_difference(live_decoder("sphere"), cells, height) <= 1e-5
    assert roll_difference(live_decoder("zeros"), cells, height) > 1e-2


def test_no_seam_with_random_weights_where_zeros_leave_one():
    """The seam lies between two latent cells, so it is compared with the other such borders."""
    mean_errors = {}
    for padding in PADDINGS:
        x_t, z, extra = smooth(3, 64, 128, 0), smooth(4, 8, 16, 1), smooth(2, 64, 128, 2)
        velocity = live_decoder(padding)(x_t, torch.full((4,), 500.0), z, extra).velocity
        picture = (0.5 + 0.2 * (velocity - velocity.mean()) / velocity.std()).double()
        borders = [seam_error(picture.roll(-8 * cell, 3)).mean() for cell in range(16)]
        mean_errors[padding] = float(borders[0]), float(max(borders[1:]))
    seam, others = mean_errors["sphere"]
    assert seam <= others
    seam, others = mean_errors["zeros"]
    assert seam > 3 * others


def test_a_decoder_says_which_padding_it_knows():
    with pytest.raises(
        SpiderEyeError, match=r"ssdd\.padding must be one of zeros, sphere.*'circle'"
    ):
        DecoderConfig.named("XXS", padding="circle")


def test_weights_of_one_padding_fit_the_other():
    sphere, zeros = live_decoder("sphere"), live_decoder("zeros")
    sphere.load_state_dict(zeros.state_dict(), strict=True)
    kinds = {type(module) for module in sphere.modules() if isinstance(module, nn.Conv2d)}
    padded = [m for m in sphere.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert kinds == {SphereConv2d, nn.Conv2d} and {type(m) for m in padded} == {SphereConv2d}
    assert SphereConv2d not in {type(module) for module in zeros.modules()}
