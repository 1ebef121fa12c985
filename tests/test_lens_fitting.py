"""Fields of view, lenses of generic families, and one model fitted to another."""

import math

import pytest
import torch
from test_lenses import EXAMPLES, example

from spidereye.errors import SpiderEyeError
from spidereye.lenses import LENSES, lens_of, plane_of
from spidereye.lenses.families import FAMILIES, family
from spidereye.lenses.field_of_view import half_angle_limit, with_half_angle
from spidereye.lenses.fitting import fit
from spidereye.lenses.ucm import focal_for_half_angle

RADIUS = {
    "perspective": math.tan,
    "stereographic": lambda a: 2 * math.tan(a / 2),
    "equidistant": lambda a: a,
    "equisolid": lambda a: 2 * math.sin(a / 2),
    "orthographic": math.sin,
}


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("degrees", [40, 80, 110])
def test_families_are_their_formulas(name, degrees):
    half = math.radians(degrees)
    if degrees > 90 and name in ("perspective", "orthographic"):
        with pytest.raises(SpiderEyeError, match=r"half angles up to 90\.0°, not 110\.0°"):
            family(name, half, 500.0, 1000)
        return
    lens = family(name, half, 500.0, 1100, 1000, cx=560.0, cy=490.0)
    assert (lens.width, lens.height, lens.centre.tolist()) == (1100, 1000, [560.0, 490.0])
    angles = torch.linspace(0, half, 50, dtype=torch.float64)
    rays = torch.stack((torch.zeros_like(angles), angles.sin(), angles.cos()), dim=-1)
    pixels, seen = lens.project(rays)
    assert seen.all()
    radius = RADIUS[name]
    expected = [490 - 500 * radius(a) / radius(half) for a in angles.tolist()]
    assert pixels[:, 1].tolist() == pytest.approx(expected, abs=1e-9)
    assert pixels[:, 0].tolist() == pytest.approx([560.0] * 50, abs=1e-9)


def test_unknown_families_and_empty_circles_are_refused():
    with pytest.raises(SpiderEyeError, match="known: perspective, stereographic, equidistant"):
        family("equirectangular", 1.0, 50.0, 100)
    with pytest.raises(SpiderEyeError, match="radius > 0 in pixels, got 0"):
        family("equidistant", 1.0, 0.0, 100)
    with pytest.raises(SpiderEyeError, match=r"not 0\.0°"):
        family("equidistant", 0.0, 50.0, 100)


def test_field_of_view_of_the_ucm_is_its_closed_form():
    lens = lens_of("ucm", plane_of(640, fx=1.0), {"xi": 1.3})
    assert half_angle_limit(lens) == pytest.approx(math.acos(-1 / 1.3), abs=2e-9)
    focal = with_half_angle(lens, 1.6, 300.0).f
    assert float(focal) == pytest.approx(focal_for_half_angle(1.6, 1.3, 300.0), rel=1e-12)


@pytest.mark.parametrize("name", EXAMPLES)
def test_half_angle_lands_on_the_radius(name):
    lens = example(name)
    angle = 0.9 * half_angle_limit(lens)
    zoomed = with_half_angle(lens, angle, 200.0)
    azimuth = torch.arange(360, dtype=torch.float64) * (2 * math.pi / 360)
    side = math.sin(angle)
    ahead = torch.full_like(azimuth, math.cos(angle))
    rays = torch.stack((side * azimuth.cos(), side * azimuth.sin(), ahead), dim=-1)
    radii = (zoomed.project(rays)[0] - zoomed.centre).norm(dim=-1)
    assert float(radii.mean()) == pytest.approx(200.0, rel=1e-9)
    with pytest.raises(SpiderEyeError, match="sees half angles up to"):
        with_half_angle(lens, half_angle_limit(lens) + 1e-6, 200.0)


SOURCES = {
    "ucm": {"xi": 0.9},
    "eucm": {"alpha": 0.62, "beta": 1.13},
    "ds": {"xi": -0.21, "alpha": 0.58},
    "kb4": {"k": [0.05, -0.01, 0.003, -0.0005]},
    "mei": {"xi": 1.2, "k": [-0.1, 0.02], "p": [0.002, -0.001]},
    "ocam": {"polynomial": [-1.0, 0.0, 0.24, 0.02, 0.004]},
}


@pytest.mark.parametrize("model", LENSES)
def test_a_model_fits_itself_exactly(model):
    plane = plane_of(640, 480, fx=200.0, fy=203.0, cx=310.0, cy=245.0, skew=0.7)
    source = lens_of(model, plane, SOURCES[model])
    result = fit(source, model, 230.0)
    assert result.max_pixels < 1e-6
    generator = torch.Generator().manual_seed(1)
    pixels = torch.rand(500, 2, generator=generator, dtype=torch.float64) * 320 + 80
    torch.testing.assert_close(
        result.lens.unproject(pixels)[0], source.unproject(pixels)[0], rtol=0, atol=1e-7
    )


@pytest.mark.parametrize("model", ["eucm", "ds", "kb4", "mei", "ocam"])
def test_models_of_real_fisheyes_fit_each_other(model):
    """A 190° lens of the equisolid family, on 1000 pixels: good to a pixel."""
    source = family("equisolid", math.radians(95), 480.0, 1000)
    result = fit(source, model, 480.0)
    assert isinstance(result.lens, LENSES[model])
    assert 0 <= result.rms_pixels <= result.max_pixels < 1
    # The figures are those of an independent measurement, on a grid of pixels;
    # a millionth of a pixel is rounding, which differs between processors.
    grid = torch.cartesian_prod(*[torch.linspace(20, 979, 60, dtype=torch.float64)] * 2)
    grid = grid[(grid - source.centre).norm(dim=-1) < 480]
    rays, _ = source.unproject(grid)
    pixels, seen = result.lens.project(rays)
    off = (pixels - grid).norm(dim=-1)
    assert seen.all()
    assert float(off.max()) <= 1.05 * result.max_pixels + 1e-6
    assert float(off.square().mean().sqrt()) == pytest.approx(result.rms_pixels, rel=0.2, abs=1e-6)


def test_an_ocam_fit_is_in_the_toolboxs_form():
    lens = fit(family("stereographic", 1.5, 300.0, 640), "ocam", 300.0).lens
    assert lens.matrix[0, 0] == 1
    focal = 300 / (2 * math.tan(0.75))  # z = f - r²/4f
    assert lens.polynomial.tolist() == pytest.approx([-focal, 0, 1 / (4 * focal), 0, 0], abs=1e-9)


def test_hopeless_fits_are_refused():
    source = lens_of("ocam", plane_of(130, fx=1.0), {"polynomial": [-40.0, 0, 6e-3, -1e-3, 1e-7]})
    with pytest.raises(SpiderEyeError, match="no ucm lens is like this kb4 lens"):
        fit(lens_of("kb4", plane_of(640, fx=60.0), {"k": [0.5, 0.0, 0.0, 0.0]}), "ucm", 320.0)
    with pytest.raises(SpiderEyeError, match="next to nothing"):
        fit(source.window(500, 500, 130, 130), "kb4", 30.0)
    with pytest.raises(SpiderEyeError, match="unknown lens model 'pinhole'; known: ucm"):
        fit(source, "pinhole", 30.0)
