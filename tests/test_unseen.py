"""What is expected where nobody sees: the best linear prediction, for panoramas of any size."""

import math

import numpy as np
import pytest
import torch
from measure_unseen import measured as measured_on
from torch import Tensor

from spidereye.metrics import picture_metrics
from spidereye.panorama import panorama_rays
from spidereye.pictures import read_picture, resize_area, to_float, to_uint8
from spidereye.push_pull import fill
from spidereye.rig import spider4
from spidereye.stitching import views_seen
from spidereye.unseen import Expectation
from spidereye.unseen.covariance import COLOURS, ROWS, Covariance, of_photographs


def hole(height: int, longitude: float = 60.0, latitude: float = 70.0) -> Tensor:
    """Known are all pixels but those within these angles of the back."""
    rays = panorama_rays(height, 2 * height)
    x, y, z = rays.unbind(-1)
    away = torch.atan2(x, -z).abs() < math.radians(longitude)
    return ~(away & (torch.asin(y).abs() < math.radians(latitude)))[None, None]


def noise(height: int, batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, height, 2 * height, generator=torch.manual_seed(height)) * 2 - 1


@pytest.mark.parametrize("height", [8, 32, 50, 64, 128, 200])
def test_known_pixels_come_back_bit_by_bit_and_the_rest_are_colours(height):
    known, picture = hole(height), noise(height)
    hidden = torch.where(known, picture, math.nan)
    made = Expectation.for_mask(known)(hidden)
    mask = known.expand_as(made)
    assert torch.equal(made[mask], picture[mask])
    assert made.isfinite().all() and made.abs().max() <= 1


def test_all_known_is_the_picture_itself_and_nothing_known_is_grey():
    picture, known = noise(32), torch.ones(1, 1, 32, 64, dtype=torch.bool)
    assert Expectation.for_mask(known)(picture) is picture
    assert not Expectation.for_mask(~known)(picture).any()


def test_turned_panoramas_and_mirrored_ones_are_filled_alike():
    known, picture = hole(64), noise(64, 1)
    made = Expectation.for_mask(known)(picture)
    turned = Expectation.for_mask(known.roll(32, -1))(picture.roll(32, -1))
    torch.testing.assert_close(turned, made.roll(32, -1), atol=1e-4, rtol=0)
    mirrored = Expectation.for_mask(known.flip(-1))(picture.flip(-1))
    torch.testing.assert_close(mirrored, made.flip(-1), atol=1e-4, rtol=0)


def test_the_covariance_is_that_of_the_pictures_it_was_measured_on():
    """Of many pictures with a known covariance: waves of amplitudes that fall with their number."""
    generator = torch.manual_seed(0)
    rows, count = 4, 4000
    spectrum = 1 / (1 + torch.arange(rows + 1.0)) ** 2
    white = torch.randn(count, 3, rows, 2 * rows, generator=generator)
    drawn = torch.fft.irfft(torch.fft.rfft(white) * spectrum.sqrt(), n=2 * rows)
    found = Covariance.measured(torch.einsum("cr,ncij->nrij", COLOURS.float(), 0.1 * drawn))
    own = found.with_cells(torch.ones(2 * rows * rows, dtype=torch.bool))
    torch.testing.assert_close(own.diagonal(dim1=1, dim2=2).mean(dim=1), found.variance)
    x = (0.1 * drawn).flatten(2).double()
    plain = torch.einsum("ncp,ncq->cpq", x, x) / count
    own, plain = (part / part.diagonal(dim1=1, dim2=2).mean() for part in (own, plain))
    assert float((own - plain).abs().max()) < 0.25  # contrasts differ, waves are averaged
    assert float(np.corrcoef(own.flatten(), plain.flatten())[0, 1]) > 0.97


def test_the_prediction_is_the_conditional_mean_of_a_gaussian_field():
    """Drawn from the package's own covariance, no linear prediction has less squared error: neither
    the means of rows nor the smooth filling comes near."""
    covariance, known = of_photographs(), hole(ROWS)
    columns = 2 * ROWS
    values, vectors = torch.linalg.eigh(covariance.waves)
    generator = torch.manual_seed(3)
    white = torch.randn(16, 3, ROWS, columns, generator=generator, dtype=torch.float64)
    root = vectors * values.clamp_min(0).sqrt()[..., None, :]
    shaped = torch.einsum("ckij,ncjk->ncik", root.to(torch.complex128), torch.fft.rfft(white))
    field = torch.fft.irfft(shaped, n=columns) * math.sqrt(columns)
    field = 0.25 * field / field.std() + covariance.mean[:, :, None]
    picture = torch.einsum("cr,ncij->nrij", COLOURS, field).float().clamp(-1, 1)
    unseen = ~known.expand_as(picture)
    ours, smooth = (
        float((made - picture)[unseen].square().mean())
        for made in (
            Expectation.for_mask(known)(picture),
            fill(picture, known.expand(16, 1, -1, -1)),
        )
    )
    rows = (picture * known).sum(-1, keepdim=True) / known.sum(-1, keepdim=True).clamp_min(1)
    plain = float((rows - picture)[unseen].square().mean())
    assert ours < 0.8 * smooth and ours < 0.8 * plain


@pytest.mark.shared
def test_the_file_in_the_package_is_what_the_recipe_measures(shared):
    found, own = measured_on(shared / "panoramas"), of_photographs()
    torch.testing.assert_close(found.mean, own.mean, atol=1e-5, rtol=0)
    largest = float(own.waves.abs().max())
    torch.testing.assert_close(found.waves, own.waves, atol=1e-4 * largest, rtol=0)


@pytest.mark.shared
def test_panoramas_it_was_not_measured_on_are_predicted_better_than_smoothly(shared):
    """Two adjacent views of four missing, the mean over all of panoramas/val."""
    height = 64
    cameras = spider4(220 * 64 / 560, 0.85, 64).cameras[:2]
    known = views_seen(cameras, height, 2 * height) > 0
    expectation = Expectation.for_mask(known)
    gains = []
    for file in sorted((shared / "panoramas/val").glob("*.jpg")):
        pixels = resize_area(read_picture(file), 2 * height, height)
        truth = to_float(torch.from_numpy(pixels).permute(2, 0, 1))[None]
        ours, smooth = (
            picture_metrics(to_float(to_uint8(made)), truth, known, None)["PSNR unseen"]
            for made in (expectation(truth), fill(truth, known))
        )
        gains.append(float(ours) - float(smooth))
    assert sum(gains) / len(gains) > 0.7
    assert min(gains) > -2
