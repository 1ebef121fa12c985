"""How colours of upright panoramas vary together, measured on photographs.

A panorama turned about the vertical is as likely, and so is its mirror image. So the covariance of
two places depends on their two latitudes and on how far their longitudes are apart: for each wave
of longitude it is one real matrix over latitudes. Colours are told as light and two differences,
which in photographs vary nearly independently.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Float64
from safetensors.torch import load_file
from torch import Tensor

from spidereye.panorama import latitude_weights

MEASURED = Path(__file__).with_name("panoramas.safetensors")  # by recipes/measure_unseen.py
ROWS = 32  # of the panoramas it is measured on, W = 2H; 16 predict panoramas/val 0.1 dB worse

# Few photographs say little of single waves and latitudes. What follows was chosen by predicting a
# quarter of the training photographs from the rest: in the ranges given by less than 0.07 dB.
_WAVES_ALIKE = (
    0.22  # neighbouring waves are averaged, by the logarithm of their number; 0.15 to 0.3
)
_ROWS_ALIKE = 0.3  # of the correlation is that of all rows equally far apart; 0.2 to 0.8

_COLOURS = torch.tensor([[1.0, 1, 1], [1, 0, -1], [1, -2, 1]], dtype=torch.float64)
COLOURS = _COLOURS / _COLOURS.norm(dim=1, keepdim=True)  # orthonormal: rows make them of RGB


@dataclass(frozen=True)
class Covariance:
    """mean: of each row, by colour.   waves: of the colours' Fourier coefficients along longitude,
    K = h + 1, between rows; symmetric and positive semidefinite. Of values in [-1, 1], up to a
    common factor."""

    mean: Float64[Tensor, "3 h"]
    waves: Float64[Tensor, "3 K h h"]

    @classmethod
    def measured(cls, panoramas: Float[Tensor, "N 3 h w"]) -> "Covariance":
        """Of upright panoramas in [-1, 1], w = 2h. Each counts by its contrast, so that night and
        day count alike."""
        x = torch.einsum("cr,nrij->ncij", COLOURS, panoramas.double())
        area = latitude_weights(x.shape[-2])[:, None]
        contrast = ((x - x.mean((2, 3), keepdim=True)).square() * area).mean((1, 2, 3))
        weight = 1 / contrast.clamp_min(1e-6)
        weight = weight / weight.sum()
        mean = torch.einsum("n,ncij->ci", weight, x) / x.shape[-1]
        found = torch.fft.rfft(x - mean[:, :, None], norm="forward")
        weighted = weight[:, None, None, None] * found
        waves = torch.einsum("ncik,ncjk->ckij", weighted, found.conj()).real
        return cls(mean, _nonnegative(_rows_alike(_waves_alike(waves))))

    @classmethod
    def load(cls, path: Path = MEASURED) -> "Covariance":
        """As `tensors` were written."""
        parts = load_file(path)
        return cls(parts["mean"].double(), parts["waves"].double())

    def tensors(self) -> dict[str, Float[Tensor, "..."]]:
        """For a file, in single precision."""
        return {name: part.float().contiguous() for name, part in vars(self).items()}

    def with_cells(self, cells: Bool[Tensor, " Q"]) -> Float64[Tensor, "3 Q S"]:
        """Of every cell of a panorama of h rows, row by row, with the S given ones, by colour."""
        rows, columns = self.waves.shape[-1], 2 * self.waves.shape[-1]
        apart = torch.fft.irfft(self.waves.permute(0, 2, 3, 1), n=columns, norm="forward")
        place = torch.arange(rows * columns)
        row, column = place // columns, place % columns
        step = (column[:, None] - column[cells]) % columns
        return apart[:, row[:, None], row[cells], step]

    @property
    def variance(self) -> Float64[Tensor, "3"]:
        """Of a cell, the mean over rows."""
        whole = torch.fft.irfft(self.waves.diagonal(dim1=2, dim2=3).mT, norm="forward")
        return whole[..., 0].mean(dim=1)


@lru_cache(maxsize=1)
def of_photographs() -> Covariance:
    """The one that comes with the package."""
    return Covariance.load()


def _waves_alike(waves: Float64[Tensor, "3 K h h"]) -> Float64[Tensor, "3 K h h"]:
    """Neighbouring waves averaged; the mean along a parallel, wave 0, is of its own kind."""
    place = torch.arange(1, waves.shape[1] + 1, dtype=torch.float64).log()
    share = (-0.5 * ((place[:, None] - place) / _WAVES_ALIKE).square()).exp()
    share[0, 1:] = share[1:, 0] = 0
    return torch.einsum("kl,clij->ckij", share / share.sum(1, keepdim=True), waves)


def _rows_alike(waves: Float64[Tensor, "3 K h h"]) -> Float64[Tensor, "3 K h h"]:
    """Correlations drawn towards those of rows as far apart; each row keeps its variance."""
    deviation = waves.diagonal(dim1=2, dim2=3).sqrt()
    scale = (deviation[..., None] * deviation[..., None, :]).clamp_min(math.ulp(1.0))
    correlation = waves / scale
    alike = torch.empty_like(correlation)
    rows = waves.shape[-1]
    for offset in range(1 - rows, rows):
        mean = correlation.diagonal(offset, 2, 3).mean(dim=-1, keepdim=True)
        alike.diagonal(offset, 2, 3).copy_(mean.expand(-1, -1, rows - abs(offset)))
    return torch.lerp(correlation, alike, _ROWS_ALIKE) * scale


def _nonnegative(waves: Float64[Tensor, "3 K h h"]) -> Float64[Tensor, "3 K h h"]:
    """The nearest positive semidefinite matrices, which rounding and averaging may have left."""
    values, vectors = torch.linalg.eigh(waves)
    return (vectors * values.clamp_min(0)[..., None, :]) @ vectors.mT
