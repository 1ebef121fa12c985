"""How good a panorama is: every metric, one function each, and the table that names them.

Layer: learning. A metric judges what a viewer gets: both pictures are rounded to 8 bits first and
compared on the [0, 1] scale, picture by picture. A new metric is one function here and one row of
METRICS. The networks that LPIPS and FID need are loaded in judges.py, which also computes FID.

The sphere's area under row i of an H-row panorama is proportional to cos(latitude), latitude
(0.5 - (i+0.5)/H)·π: the weight of WS-PSNR, WS-SSIM and the seam error.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from spidereye.panorama import latitude_weights
from spidereye.perceptual import LPIPS
from spidereye.pictures import to_uint8

PSNR_CAP_DB: Final = 100.0  # that of equal pictures is infinite, which no mean survives

Pictures = Float64[Tensor, "B 3 H W"]  # 8-bit values / 255
PerPicture = Float64[Tensor, " B"]  # NaN: not applicable to this picture


@dataclass(frozen=True)
class Comparison:
    """What a metric of one picture may look at.

    prediction, truth: 8-bit values / 255
    seen: pixels that at least one view shows
    lpips: the network, None where its weights are missing
    """

    prediction: Pictures
    truth: Pictures
    seen: Bool[Tensor, "B 1 H W"]
    lpips: LPIPS | None


@dataclass(frozen=True)
class MetricSpec:
    """A row of the table of metrics.

    name: as printed, and as `training.save_on_best` takes it
    higher_is_better: the direction
    unit: as printed behind the number, "" for none
    meaning: one line
    of: the metric of each picture; None: of the whole set at once
    """

    name: str
    higher_is_better: bool
    unit: str
    meaning: str
    of: Callable[[Comparison], Tensor] | None


def picture_metrics(
    prediction: Float[Tensor, "B 3 H W"],
    truth: Float[Tensor, "B 3 H W"],
    seen: Bool[Tensor, "B 1 H W"],
    lpips: LPIPS | None,
) -> dict[str, PerPicture]:
    """Every per-picture metric of METRICS, on pictures in [-1, 1]; NaN where it does not apply."""
    comparison = Comparison(_rounded(prediction), _rounded(truth), seen, lpips)
    return {m.name: m.of(comparison) for m in METRICS.values() if m.of is not None}


def mean_rows(rows: list[dict[str, float]]) -> dict[str, float | None]:
    """Each metric's mean over pictures, leaving out NaN; None where no picture has a number.

    The sum is exactly rounded, so the order of the pictures, and with it the number of processes
    and the batch size, does not matter.
    """
    means: dict[str, float | None] = {}
    for name in dict.fromkeys(name for row in rows for name in row):
        values = [row[name] for row in rows if not math.isnan(row.get(name, math.nan))]
        means[name] = math.fsum(values) / len(values) if values else None
    return means


def mse(prediction: Pictures, truth: Pictures) -> PerPicture:
    """Mean squared error on the [0, 1] scale."""
    return (prediction - truth).square().mean((1, 2, 3))


def mae(prediction: Pictures, truth: Pictures) -> PerPicture:
    """Mean absolute error on the [0, 1] scale."""
    return (prediction - truth).abs().mean((1, 2, 3))


def psnr(prediction: Pictures, truth: Pictures) -> PerPicture:
    """Peak signal-to-noise ratio in dB, data range 1, at most PSNR_CAP_DB."""
    from torchmetrics.functional.image import peak_signal_noise_ratio

    decibels = peak_signal_noise_ratio(
        prediction, truth, data_range=1.0, dim=(1, 2, 3), reduction="none"
    )
    return decibels.clamp(max=PSNR_CAP_DB)


def aligned_psnr(prediction: Pictures, truth: Pictures) -> PerPicture:
    """PSNR after the best gain and offset of each channel, six numbers for the whole picture, in
    dB, at most PSNR_CAP_DB.

    They minimise Σ(gain·prediction + offset - truth)² over all pixels of the channel: gain =
    covariance / variance of the prediction, 0 where that is constant. Neither clipped nor rounded
    afterwards. So a picture whose colours are off as a whole, which no method can know from its
    views, is judged by all the rest.
    """
    x = prediction - prediction.mean((2, 3), keepdim=True)
    y = truth - truth.mean((2, 3), keepdim=True)
    variance = x.square().mean((2, 3), keepdim=True)
    # One 8-bit level in one of n pixels gives 1.5e-5 / n; the rounding of a constant far less.
    gain = torch.where(
        variance > 1e-20, (x * y).mean((2, 3), keepdim=True) / variance.clamp_min(1e-20), 0.0
    )
    return _decibels((gain * x - y).square().mean((1, 2, 3)))


def psnr_where(mask: Bool[Tensor, "B 1 H W"], prediction: Pictures, truth: Pictures) -> PerPicture:
    """PSNR over the pixels of the mask, each counted once; NaN where it is empty."""
    errors = (prediction - truth).square().mean(1, keepdim=True)  # [B, 1, H, W]
    return _decibels((errors * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3)))


def ws_psnr(prediction: Pictures, truth: Pictures) -> PerPicture:
    """PSNR with each pixel weighted by its area on the sphere (Sun et al., "Weighted-to-Spherically
    -Uniform Quality Evaluation for Omnidirectional Video", 2017), in dB, at most PSNR_CAP_DB."""
    return _decibels(_row_weighted((prediction - truth).square().mean((1, 3))))


def ssim(prediction: Pictures, truth: Pictures) -> PerPicture:
    """Structural similarity (Wang et al. 2004), 11 x 11 Gaussian windows of σ = 1.5, the picture
    mirrored at its edges; NaN where a side has fewer than 6 pixels."""
    from torchmetrics.functional.image import structural_similarity_index_measure

    if min(prediction.shape[-2:]) < 6:
        return _not_applicable(prediction)
    x, y = prediction.float(), truth.float()  # five times as fast, and exact to 1e-6
    similarity = structural_similarity_index_measure(
        x, y, data_range=1.0, sigma=1.5, kernel_size=11, reduction="none"
    )
    assert isinstance(similarity, Tensor)  # a pair only where the full map is asked for
    return similarity.double()


def ws_ssim(prediction: Pictures, truth: Pictures) -> PerPicture:
    """SSIM's map weighted by each pixel's area on the sphere. Same window and constants as `ssim`,
    but it sees the panorama as it is: windows continue across the ±180° seam (rows are mirrored
    at the poles). NaN where `ssim` is."""
    if min(prediction.shape[-2:]) < 6:
        return _not_applicable(prediction)
    x, y = prediction, truth
    mx, my, mxx, myy, mxy = _window_means(torch.stack([x, y, x * x, y * y, x * y]))
    covariance = mxy - mx * my
    variances = (mxx - mx * mx).clamp(min=0) + (myy - my * my).clamp(min=0)
    c1, c2 = 0.01**2, 0.03**2
    similarity = (2 * mx * my + c1) * (2 * covariance + c2)
    similarity = similarity / ((mx * mx + my * my + c1) * (variances + c2))  # [B, 3, H, W]
    return _row_weighted(similarity.mean((1, 3)))


def seam_error(picture: Pictures) -> PerPicture:
    """By how many 8-bit levels the ±180° seam stands out from its surroundings; 0: it does not.

    No reference is needed. D(k) is the mean absolute difference of columns k and k-1 over rows
    (weighted by area) and channels; the seam's is D(0), between the first column and the last.
    Over the neighbours, 4 to W/8 columns away on either side, log(1 + D) has a mean and a standard
    deviation σ; mean - σ to mean + 2σ is usual (edges make large D common in true panoramas), and
    the seam error is the distance of D(0) to that range. So a broken seam counts, and a blurred one
    too, whose D(0) is too small. Four in five true panoramas have 0; in the others content changes
    just there. Comparing D(0) with the next difference on either side instead would reward blur,
    which shrinks all three. NaN for panoramas narrower than 16 pixels.
    """
    width = picture.shape[-1]
    if width < 16:
        return _not_applicable(picture)
    steps = (picture - picture.roll(1, dims=-1)).abs().mean(1) * 255  # [B, H, W], 0: the seam
    difference = _row_weighted(steps.movedim(1, -1))  # [B, W]
    near = max(4, width // 64)  # closer ones may share the seam's blur
    offsets = torch.arange(near, max(near + 3, width // 8) + 1, device=picture.device)
    usual = difference[:, torch.cat([offsets, -offsets])].log1p()
    mean, spread = usual.mean(1), usual.std(1, correction=0)
    seam = difference[:, 0]
    above = seam - (mean + 2 * spread).expm1()
    below = (mean - spread).expm1() - seam
    return torch.maximum(above, below).clamp(min=0)


def lpips_distance(c: Comparison) -> PerPicture:
    """LPIPS by the network given; NaN where there is none or the picture is too small for it."""
    if c.lpips is None or min(c.truth.shape[-2:]) < c.lpips.smallest:
        return _not_applicable(c.truth)
    with torch.no_grad(), torch.autocast(c.truth.device.type, enabled=False):
        return c.lpips(c.prediction.float() * 2 - 1, c.truth.float() * 2 - 1).double()


# fmt: off
METRICS: Final[dict[str, MetricSpec]] = {m.name: m for m in (
    MetricSpec("MSE", False, "", "mean squared error, pixels in [0, 1]",
               lambda c: mse(c.prediction, c.truth)),
    MetricSpec("MAE", False, "", "mean absolute error, pixels in [0, 1]",
               lambda c: mae(c.prediction, c.truth)),
    MetricSpec("PSNR", True, "dB", "peak signal-to-noise ratio, at most 100",
               lambda c: psnr(c.prediction, c.truth)),
    MetricSpec("aligned PSNR", True, "dB", "PSNR after one best gain and offset per channel",
               lambda c: aligned_psnr(c.prediction, c.truth)),
    MetricSpec("SSIM", True, "", "structural similarity, 11 x 11 windows",
               lambda c: ssim(c.prediction, c.truth)),
    MetricSpec("LPIPS", False, "", "perceptual distance by AlexNet features", lpips_distance),
    MetricSpec("FID", False, "", "distance of the sets' Inception feature distributions", None),
    MetricSpec("WS-PSNR", True, "dB", "PSNR weighted by area on the sphere, at most 100",
               lambda c: ws_psnr(c.prediction, c.truth)),
    MetricSpec("WS-SSIM", True, "", "SSIM weighted by area on the sphere, across the seam",
               lambda c: ws_ssim(c.prediction, c.truth)),
    MetricSpec("seam error", False, "levels", "how far the ±180° seam stands out, 8-bit levels",
               lambda c: seam_error(c.prediction)),
    MetricSpec("PSNR seen", True, "dB", "PSNR over pixels that a view shows",
               lambda c: psnr_where(c.seen, c.prediction, c.truth)),
    MetricSpec("PSNR unseen", True, "dB", "PSNR over pixels that no view shows",
               lambda c: psnr_where(~c.seen, c.prediction, c.truth)),
)}
# fmt: on


def _rounded(picture: Tensor) -> Tensor:
    return to_uint8(picture).double() / 255


def _decibels(mean_squared_error: Tensor) -> Tensor:
    """PSNR for data range 1; keeps NaN."""
    return (-10 * mean_squared_error.log10()).clamp(max=PSNR_CAP_DB)


def _row_weighted(rows: Tensor) -> Tensor:
    """[..., H] to [...]: the mean over rows by their area on the sphere."""
    weight = latitude_weights(rows.shape[-1], rows.device, rows.dtype)
    return (rows * weight).sum(-1) / weight.sum()


def _window_means(maps: Tensor) -> Tensor:
    """Gaussian means, 11 x 11 with σ = 1.5, of [K, B, 3, H, W], around the sphere in longitude."""
    x = maps.flatten(0, 2)  # [K·B·3, H, W]
    x = F.pad(F.pad(x, (5, 5, 0, 0), mode="circular"), (0, 0, 5, 5), mode="reflect")
    offset = torch.arange(-5, 6, device=x.device, dtype=x.dtype)
    bell = (-0.5 * (offset / 1.5).square()).exp()
    bell = bell / bell.sum()
    return ((x.unfold(-2, 11, 1) @ bell).unfold(-1, 11, 1) @ bell).view(maps.shape)


def _not_applicable(pictures: Tensor) -> Tensor:
    return pictures.new_full((pictures.shape[0],), math.nan)
