"""What must hold for every lens. A new model needs one more entry in EXAMPLES, nothing else."""

import math
from dataclasses import replace

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from matplotlib.path import Path as Polygon
from torch.autograd import gradcheck

from spidereye.errors import SpiderEyeError
from spidereye.lenses import LENSES, Lens, lens_of, plane_of

# Model, focal length in pixels and parameters; the comment says what the example is there for.
EXAMPLES = {
    "ucm": ("ucm", 50.0, {"xi": 0.85}),
    "ucm folded": ("ucm", 90.0, {"xi": 1.7}),
    "perspective": ("ucm", 60.0, {"xi": 0.0}),
    "eucm": ("eucm", 30.0, {"alpha": 0.62, "beta": 1.13}),  # folds over
    "eucm open": ("eucm", 30.0, {"alpha": 0.45, "beta": 0.8}),
    "orthographic": ("eucm", 60.0, {"alpha": 1.0, "beta": 1.0}),
    "ds": ("ds", 30.0, {"xi": -0.21, "alpha": 0.58}),  # as real lenses calibrate
    "ds open": ("ds", 30.0, {"xi": 0.5, "alpha": 0.4}),
    "equisolid": ("ds", 80.0, {"xi": 1.0, "alpha": 1.0}),
    "kb4": ("kb4", 40.0, {"k": [0.05, -0.01, 0.003, -0.0005]}),  # folds over at 132°
    "kb4 early fold": ("kb4", 60.0, {"k": [-0.2, 0.01, 0.0, 0.0]}),
    "kb4 steep": ("kb4", 40.0, {"k": [0.1, 0.05, 0.03, 0.01]}),  # r(180°) is 395 focal lengths
    "equidistant": ("kb4", 40.0, {"k": [0.0, 0.0, 0.0, 0.0]}),
    "mei": ("mei", 60.0, {"xi": 1.2, "k": [-0.1, 0.02], "p": [0.002, -0.001]}),
    "mei folded": ("mei", 60.0, {"xi": 0.8, "k": [-0.25, 0.01], "p": [0.01, 0.004]}),
    "ocam": ("ocam", 1.0, {"polynomial": [-40.0, 0.0, 6e-3, 1e-5, 1e-7]}),
    "ocam folded": ("ocam", 1.0, {"polynomial": [-40.0, 0.0, 6e-3, -1e-4, 1e-7]}),
}
lenses = pytest.mark.parametrize("name", EXAMPLES)


def example(name: str) -> Lens:
    """With unequal focal lengths, skew and an odd centre."""
    model, f, parameters = EXAMPLES[name]
    plane = plane_of(130, 110, fx=f, fy=1.05 * f, cx=63.2, cy=56.9, skew=0.02 * f)
    return lens_of(model, plane, parameters)


def rays_at(angle: torch.Tensor, azimuth: torch.Tensor) -> torch.Tensor:
    side = angle.sin()
    return torch.stack((side * azimuth.cos(), side * azimuth.sin(), angle.cos()), dim=-1)


AZIMUTHS = torch.arange(48, dtype=torch.float64) * (2 * math.pi / 48)


def field_of_view(lens: Lens) -> torch.Tensor:
    """The largest angle that is seen at each azimuth, by bisection of the mask: [48]."""
    low, high = torch.zeros_like(AZIMUTHS), torch.full_like(AZIMUTHS, math.pi)
    for _ in range(50):
        middle = (low + high) / 2
        seen = lens.project(rays_at(middle, AZIMUTHS))[1]
        low, high = torch.where(seen, middle, low), torch.where(seen, high, middle)
    return low


def fan(lens: Lens, part: float, steps: int = 200) -> torch.Tensor:
    """Rays from the axis to `part` of the field of view, at all azimuths: [steps, 48, 3]."""
    angles = torch.linspace(0, part, steps, dtype=torch.float64)[:, None] * field_of_view(lens)
    return rays_at(angles, AZIMUTHS.expand_as(angles))


def test_every_model_has_an_example():
    assert {model for model, _, _ in EXAMPLES.values()} == set(LENSES)


@lenses
def test_rays_come_back_from_their_pixels(name):
    lens = example(name)
    rays = fan(lens, 0.999)
    pixels, seen = lens.project(rays)
    back, valid = lens.unproject(pixels)
    assert seen.all() and valid.all()
    assert (back - rays).norm(dim=-1).max() < 1e-9
    torch.testing.assert_close(lens.project(rays * 1e6)[0], pixels, rtol=1e-12, atol=1e-9)


@lenses
def test_pixels_come_back_from_their_rays(name):
    lens = example(name)
    generator = torch.Generator().manual_seed(0)
    pixels = torch.rand(20000, 2, generator=generator, dtype=torch.float64) * 200 - 40
    rays, valid = lens.unproject(pixels)
    rays, pixels = rays[valid], pixels[valid]
    back, seen = lens.project(rays)
    assert len(rays) > 2000 and seen.all()
    torch.testing.assert_close(rays.norm(dim=-1), torch.ones(len(rays), dtype=torch.float64))
    # On the rim itself a ray of 53 bits does not determine a pixel to 1e-9.
    inner = lens.unproject(lens.centre + 1.0005 * (pixels - lens.centre))[1]
    assert (back - pixels)[inner].norm(dim=-1).max() < 1e-9
    assert (back - pixels).norm(dim=-1).max() < 1e-6


@lenses
def test_radius_grows_with_the_angle(name):
    lens = example(name)
    pixels, _ = lens.project(fan(lens, 0.9999, 2000))
    matrix = torch.linalg.inv(lens.matrix)
    radii = ((pixels - lens.centre) @ matrix.mT).norm(dim=-1)
    assert (radii.diff(dim=0) > 0).all()


@lenses
def test_masks_agree_with_the_field_of_view(name):
    """What is seen is one cone, and the pixels with a ray are those inside the cone's picture."""
    lens = example(name)
    limit = field_of_view(lens)
    angles = torch.linspace(0, math.pi, 3001, dtype=torch.float64)[:, None].expand(-1, 48)
    seen = lens.project(rays_at(angles, AZIMUTHS.expand_as(angles)))[1]
    away = (angles - limit).abs() > 1e-6
    assert torch.equal(seen[away], (angles < limit)[away])

    back = torch.tensor([0.0, 0.0, -1.0], dtype=torch.float64)
    assert not lens.project(back)[1]  # it would be a circle of the picture, not a pixel

    torch.testing.assert_close(limit, limit[:1].expand(48), rtol=0, atol=1e-9)
    fine = torch.arange(720, dtype=torch.float64) * (2 * math.pi / 720)
    rim, _ = lens.project(rays_at((limit[0] - 1e-8).expand_as(fine), fine))
    offset = rim - lens.centre
    grid = torch.cartesian_prod(*[torch.linspace(-400, 500, 181, dtype=torch.float64)] * 2)
    valid = lens.unproject(grid)[1]
    inside = Polygon((lens.centre + 0.99 * offset).numpy()).contains_points(grid.numpy())
    outside = ~Polygon((lens.centre + 1.01 * offset).numpy()).contains_points(grid.numpy())
    assert inside.any()
    assert valid[torch.from_numpy(inside)].all()
    assert not valid[torch.from_numpy(outside)].any()


@lenses
@pytest.mark.parametrize("direction", ["project", "unproject"])
def test_gradients_agree_with_finite_differences(name, direction):
    lens = example(name)
    rays = fan(lens, 0.8, 4)[:, ::9].reshape(-1, 3)  # the axis too
    given = rays if direction == "project" else lens.project(rays)[0]
    names = ["matrix", "centre", *lens.parameters]
    values = [getattr(lens, n) for n in names]
    # Relative to their sizes: coefficients of OCam range over ten powers of ten.
    changes = [torch.zeros_like(value, requires_grad=True) for value in values]

    def function(given, *changes):
        changed = [
            value + change * torch.where(value == 0, 1, value.abs())
            for value, change in zip(values, changes, strict=True)
        ]
        result, valid = getattr(replace(lens, **dict(zip(names, changed, strict=True))), direction)(
            given
        )
        return result[valid]

    assert gradcheck(function, (given.requires_grad_(), *changes), eps=1e-7, atol=2e-4, rtol=1e-5)


@lenses
def test_a_batch_of_lenses_is_its_lenses(name):
    lens = example(name)
    # Parameters that differ between the samples, as the jitter of training makes them.
    scales = torch.tensor([1.0, 0.97, 0.9], dtype=torch.float64)
    names = [n for n in lens.parameters if n != "polynomial"]
    values = {n: getattr(lens, n) for n in names}
    shapes = {n: (3,) + (1,) * values[n].ndim for n in names}
    batch = replace(
        lens.expanded(3).zoomed(scales),
        **{n: values[n] * scales.reshape(shapes[n]) for n in names},
    )
    pixels = torch.rand(3, 5, 4, 2, dtype=torch.float64) * 80 + 25
    rays, valid = batch.unproject(pixels)
    back, seen = batch.project(rays)
    assert rays.shape == (3, 5, 4, 3) and valid.shape == seen.shape == (3, 5, 4)
    for index in range(3):
        one = replace(
            lens.zoomed(float(scales[index])),
            **{n: values[n] * scales[index] for n in names},
        )
        alone, alone_valid = one.unproject(pixels[index])
        torch.testing.assert_close(rays[index], alone, rtol=0, atol=1e-11)
        assert torch.equal(valid[index], alone_valid)
        torch.testing.assert_close(back[index], one.project(rays[index])[0], rtol=0, atol=1e-9)
    empty_rays, empty_mask = batch.unproject(pixels[:, :0])
    assert empty_rays.shape == (3, 0, 4, 3) and empty_mask.shape == (3, 0, 4)
    assert lens.unproject(lens.centre)[0].shape == (3,)


@lenses
def test_resized_windowed_and_zoomed_lenses_see_the_same(name):
    lens = example(name)
    rays = fan(lens, 0.95, 30)
    pixels, _ = lens.project(rays)
    scale = torch.tensor([260 / 130, 77 / 110], dtype=torch.float64)
    resized = lens.resized(260, 77)
    assert (resized.width, resized.height) == (260, 77)
    expected = (pixels + 0.5) * scale - 0.5
    torch.testing.assert_close(resized.project(rays)[0], expected, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(resized.unproject(expected)[0], rays, rtol=0, atol=1e-9)

    window = lens.window(-7, 31, 64, 48)
    moved = pixels - torch.tensor([-7.0, 31.0], dtype=torch.float64)
    torch.testing.assert_close(window.project(rays)[0], moved, rtol=1e-12, atol=1e-9)
    torch.testing.assert_close(window.unproject(moved)[0], rays, rtol=0, atol=1e-9)

    zoomed = lens.zoomed(1.7).project(rays)[0]
    expected = lens.centre + 1.7 * (pixels - lens.centre)
    torch.testing.assert_close(zoomed, expected, rtol=1e-12, atol=1e-9)


@lenses
def test_float32_is_right_to_its_precision(name):
    lens = example(name)
    rays = fan(lens, 0.97, 100)
    pixels, _ = lens.project(rays)
    single = lens.to(dtype=torch.float32)
    got, seen = single.project(rays.float())
    back, valid = single.unproject(pixels.float())
    assert got.dtype == back.dtype == torch.float32
    assert seen.all() and valid.all()
    distance = 1 + (pixels - lens.centre).norm(dim=-1)
    assert ((got - pixels).norm(dim=-1) / distance).max() < 2e-4
    assert (back - rays).norm(dim=-1).max() < 1e-4


NUMBERS = st.floats(allow_nan=True, allow_infinity=True, width=32)
NASTY = [0.0, -0.0, 1.0, -1.0, 1e-45, 1e-30, 1e30, 3e38, math.inf, -math.inf, math.nan, 63.2, 56.9,
         11463.0]  # fmt: skip


@lenses
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_nothing_is_ever_nan(name, dtype):
    lens = example(name).to(dtype=dtype)
    names = ["matrix", "centre", *lens.parameters]

    def check(given: torch.Tensor, direction: str) -> None:
        values = {n: getattr(lens, n).clone().requires_grad_() for n in names}
        given = given.detach().to(dtype).clone().requires_grad_()
        result, _ = getattr(replace(lens, **values), direction)(given)
        assert torch.isfinite(result).all()
        result.sum().backward()
        for gradient in (given.grad, *(value.grad for value in values.values())):
            assert not torch.isnan(gradient).any()

    nasty = torch.tensor(NASTY, dtype=torch.float64)
    check(torch.cartesian_prod(nasty, nasty, nasty), "project")
    check(torch.cartesian_prod(nasty, nasty), "unproject")

    @settings(max_examples=15, deadline=None)
    @given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=20))
    def anything(rows):
        rows = torch.tensor(rows, dtype=torch.float64)
        check(rows, "project")
        check(rows[:, :2], "unproject")

    anything()


@pytest.mark.parametrize(
    ("model", "parameters", "message"),
    [
        ("ucm", {"xi": -0.1}, "xi >= 0"),
        ("eucm", {"alpha": 1.2, "beta": 1.0}, "0 <= alpha <= 1"),
        ("eucm", {"alpha": 0.5, "beta": 0.0}, "beta > 0"),
        ("ds", {"xi": -1.0, "alpha": 0.5}, "-1 < xi <= 1"),
        ("ds", {"xi": 0.0, "alpha": -0.1}, "0 <= alpha <= 1"),
        ("kb4", {"k": [-1e4, 0.0, 0.0, 0.0]}, "folds over within 1°"),
        ("kb4", {"k": [0.0, 0.0, 0.0]}, "k of a kb4 lens is 4 numbers"),
        ("mei", {"xi": -1.0, "k": [0.0] * 2, "p": [0.0] * 2}, "xi >= 0"),
        ("ocam", {"polynomial": [40.0, 0.0, -6e-3]}, "a0 < 0"),
        ("ocam", {"polynomial": [-40.0, 0.0, -1e3]}, "folds over within 1°"),
        ("ocam", {"polynomial": [math.nan]}, "must be finite"),
        # Their powers overflow: NaN in a companion matrix ended the process inside LAPACK.
        ("ocam", {"polynomial": [-100.0, *[0.0] * 200]}, "at most 20 coefficients, got 201"),
        ("ocam", {"polynomial": [-1e30, *[0.0] * 19]}, "far beyond"),
        ("ocam", {"polynomial": [-2e3, *[0.0] * 18, 1.0]}, "far beyond"),
        ("kb4", {"k": [1e308] * 4}, "too large to compute with"),
        ("pinhole", {}, "known: ucm, eucm, ds, kb4, mei, ocam"),
        ("ds", {"xi": 0.0}, "has the parameters xi, alpha, got xi"),
    ],
)
def test_impossible_parameters_are_named(model, parameters, message):
    with pytest.raises(SpiderEyeError) as error:
        lens_of(model, plane_of(64, fx=20.0), parameters)
    assert message in str(error.value) and "\n" not in str(error.value)
