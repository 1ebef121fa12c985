"""Spherical fusion: views have no numbers and no fixed sizes, and count where they see."""

import math

import pytest
import torch

from spidereye.encoder import EncoderConfig
from spidereye.fusion import FusionConfig, build_fusion
from spidereye.latent_grid import RAYS, SIGHT, LatentGrid, latent_grid
from spidereye.lenses.families import family
from spidereye.rig import Rig, spider4
from spidereye.rotation import from_degrees
from spidereye.spherical_fusion import SphericalFusion

C, ZH, ZW = 4, 4, 8
RADII = (math.inf, 2.0)


def narrow_rig() -> Rig:
    """Five views of 100° of three lenses, off the centre: much is seen twice, some not at all."""
    cameras = []
    base = spider4(20.0, 0.85, 64).cameras[0]
    for number, yaw in enumerate((0.0, 50.0, 130.0, -60.0, -140.0)):
        name = ("equidistant", "equisolid", "stereographic")[number % 3]
        lens = family(name, math.radians(50), 32, 64)
        place = torch.tensor([0.1, 0.0, 0.05 * number], dtype=torch.float64)
        camera = base.__class__(f"v{number}", lens, from_degrees(yaw, 15 - 8 * number), place, 32.0)
        cameras.append(camera)
    return Rig(tuple(cameras))


@pytest.fixture
def made():
    """(fusion, latents of five views, grid); the weights are far from their start."""
    torch.manual_seed(0)
    fusion = SphericalFusion(C, 16)
    with torch.no_grad():
        fusion.ray.normal_(std=0.3)
        fusion.start.normal_()
        fusion.out.weight.normal_(std=0.3)
    latents = [torch.randn(2, C, 8, 8) for _ in range(5)]
    return fusion.eval(), latents, latent_grid(narrow_rig().cameras, ZH, ZW, RADII)


def chosen(grid: LatentGrid, order) -> LatentGrid:
    return LatentGrid(*(part[:, order] for part in grid))


@torch.no_grad()
def test_the_order_of_the_views_is_of_no_matter(made):
    fusion, latents, grid = made
    whole = fusion(latents, grid)
    assert whole.shape == (2, C, ZH, ZW) and float(whole.std()) > 0.1
    for order in ([4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        other = fusion([latents[number] for number in order], chosen(grid, order))
        torch.testing.assert_close(other, whole, rtol=0, atol=1e-5)
        # The cameras have to go with their views.
        wrong = fusion([latents[number] for number in order], grid)
        assert not torch.allclose(wrong, whole, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("view", range(5))
def test_removing_a_view_changes_only_cells_that_it_saw(made, view):
    fusion, latents, grid = made
    whole = fusion(latents, grid)
    saw = grid.seen[0, view].any(dim=0)
    assert 0 < saw.sum() < saw.numel()
    seen = grid.seen.clone()
    seen[:, view] = False
    without = fusion(latents, grid._replace(seen=seen))
    changed = (without != whole).flatten(0, 1).any(dim=0)
    assert torch.equal(changed, saw)  # not a bit of any other
    # What the view shows does not count any more, and it need not be there at all.
    latents = [z * 100 if number == view else z for number, z in enumerate(latents)]
    assert torch.equal(fusion(latents, grid._replace(seen=seen)), without)
    rest = [number for number in range(5) if number != view]
    fewer = fusion([latents[number] for number in rest], chosen(grid, rest))
    torch.testing.assert_close(fewer, without, rtol=0, atol=1e-5)


@torch.no_grad()
def test_a_cell_that_nobody_sees_has_the_learned_token(made):
    fusion, latents, grid = made
    unseen = ~grid.seen[0].flatten(0, 1).any(dim=0)
    assert 0 < unseen.sum() < unseen.numel()
    made_of = fusion(latents, grid)[:, :, unseen]
    others = fusion([torch.randn_like(z) for z in latents], grid)[:, :, unseen]
    assert torch.equal(made_of, others)
    assert torch.equal(made_of, made_of[:1, :, :1].expand_as(made_of))
    blind = fusion(latents, grid._replace(seen=torch.zeros_like(grid.seen)))
    torch.testing.assert_close(blind, made_of[:1, :, :1, None].expand_as(blind))
    fusion.start += 1
    assert not torch.allclose(fusion(latents, grid)[:, :, unseen], made_of, atol=1e-2)


@torch.no_grad()
def test_views_of_several_sizes(made):
    """A view that is twice as fine and says the same is read at the same places."""
    fusion, _, grid = made
    level = [torch.randn(2, C, 1, 1).expand(2, C, 8, 8) for _ in range(5)]
    sizes = [(8, 8), (16, 16), (4, 6), (9, 5), (8, 8)]
    other = [z[..., :1, :1].expand(2, C, *s) for z, s in zip(level, sizes, strict=True)]
    torch.testing.assert_close(fusion(other, grid), fusion(level, grid), rtol=0, atol=1e-5)
    # And where it lies in the view counts: a ramp across each view, of any size.
    fusion.lift.weight.zero_()
    fusion.lift.weight[0, 0, 1, 1] = 1
    for size in (8, 16):
        ramp = ((torch.arange(size) + 0.5) / size * 2 - 1).expand(1, C, size, size)
        read = fusion._read(ramp, grid, 0)[0, ..., 0] - fusion.lift.bias[0]
        place = grid.place[0, 0, ..., 0]
        inside = grid.seen[0, 0] & (place.abs() < 1 - 1 / size)
        torch.testing.assert_close(read[inside], place[inside], rtol=0, atol=1e-5)


@torch.no_grad()
def test_cells_and_samples_do_not_mix(made):
    fusion, latents, grid = made
    whole = fusion(latents, grid)
    alone = fusion([z[1:] for z in latents], grid)
    torch.testing.assert_close(alone, whole[1:], rtol=0, atol=1e-5)
    few = LatentGrid(*(part[:, :, :, 1:2, 2:5] for part in grid))
    some = fusion(latents, few)
    torch.testing.assert_close(some, whole[:, :, 1:2, 2:5], rtol=0, atol=1e-5)
    # Cameras of their own for each sample.
    two = LatentGrid(*(torch.cat((part, part.flip(-1) if part.dtype == torch.bool else part))
                       for part in grid))  # fmt: skip
    torch.testing.assert_close(fusion(latents, two)[:1], whole[:1], rtol=0, atol=1e-5)


@torch.no_grad()
def test_each_sphere_and_each_ray_counts(made):
    fusion, latents, grid = made
    whole, rays = fusion(latents, grid), RAYS**2
    first = LatentGrid(*(part[:, :, :rays] for part in grid))
    assert not torch.allclose(fusion(latents, first), whole, atol=1e-2)
    order = [*range(rays, 2 * rays), *range(rays)]  # the spheres in another order
    swapped = LatentGrid(*(part[:, :, order] for part in grid))
    torch.testing.assert_close(fusion(latents, swapped), whole, rtol=0, atol=1e-5)
    order = [1, 0, *range(2, 2 * rays)]  # but a ray is told apart from its neighbours
    swapped = LatentGrid(*(part[:, :, order] for part in grid))
    assert not torch.allclose(fusion(latents, swapped), whole, atol=1e-3)


@pytest.mark.parametrize("seen", [True, False])
def test_gradients_are_finite_and_reach_every_parameter(made, seen):
    fusion, latents, grid = made
    latents = [z.requires_grad_() for z in latents]
    grid = grid if seen else grid._replace(seen=torch.zeros_like(grid.seen))
    fusion(latents, grid).square().sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad is not None and bool(torch.isfinite(parameter.grad).all()), name
        assert not seen or float(parameter.grad.abs().sum()) > 0, name
    assert float(fusion.start.grad.abs().sum()) > 0
    for z in latents:
        assert bool(torch.isfinite(z.grad).all())
        assert (float(z.grad.abs().sum()) > 0) == seen


@torch.no_grad()
def test_places_keep_their_digits_in_half_precision(made):
    """bfloat16 has 8 bits: of a place it would leave a tenth of a cell in a large view."""
    fusion, _, grid = made
    fusion.lift.weight.zero_()
    fusion.lift.weight[0, 0, 1, 1] = 1
    fusion.lift.bias.zero_()
    size = 128
    steps = (torch.arange(size) % 2).float().expand(1, C, size, size)  # bfloat16 holds 0 and 1
    exact = fusion._read(steps, grid, 0)[..., 0]
    with torch.autocast("cpu", torch.bfloat16):
        half = fusion._read(steps.bfloat16(), grid, 0)[..., 0].float()
    error = (half - exact)[grid.seen[:, 0]].abs().max()
    assert float(error) < 0.01


def test_it_is_what_the_key_builds():
    fusion = build_fusion(FusionConfig("spherical", channels=EncoderConfig().channels))
    assert isinstance(fusion, SphericalFusion) and fusion.start.shape == (64,)
    wide = build_fusion(FusionConfig("spherical", channels=3, hidden=32))
    assert wide.start.shape == (32,) and wide.out.out_features == 3
    assert wide.tell[0].in_features == SIGHT
