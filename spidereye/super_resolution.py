"""The panorama that, seen through the cameras, gives the views: what stitching leaves in them.

Views that overlap sample the scene at different places, so together they know more than each. A
pixel of a view is the mean over its square of a panorama that is finer than the one wanted:
y = A·x for a sparse A that cameras decide. Of all x the smoothest that explains the views is taken
(multi-frame super-resolution: Irani & Peleg 1991; as a maximum a posteriori estimate with a
Gaussian prior on gradients: Schultz & Stevenson 1996),

    min |y - A·x|² + λ|∇x|²,

by conjugate gradients from the stitch. On panoramas/val, 64-px views to 128x64, that is 37.6 dB
beside the stitch's 35.6. Where cameras are not what they are believed to be, or a scene is near and
they stand apart, no panorama explains the views, and what comes out is worse than the stitch: by
1 dB where the focal length is off by 2 %, by 2.6 where it is by 5 %. There |y - A·x| is large, and
the stitch stays.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import scipy.sparse as sparse
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float32, Float64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.panorama import blurred, pad_sphere, panorama_pixels

_SMOOTHNESS = 0.002  # λ
# Mean squared misfit of values in [-1, 1] at which half of the stitch stays. Clean views have 1e-5,
# a focal length off by 2 % 5e-4. Of values from 1e-4 to 4e-4 and neighbourhoods from 2.5/64 to 8/64
# this keeps all but 0.06 dB of the gain, and loses 0.02 dB at most to wrong lenses.
_MISFIT = 2e-4
_SIGMA = 4 / 64  # of the panorama's height: the neighbourhood whose misfit counts
_LEAST_COSINE = 0.02  # of the latitude: columns do not get narrower than that
_MOST_CELLS = 2**22  # of the finer panorama
_MOST_PIXELS = 2**20  # of all views: four of 512x512


class Effort(NamedTuple):
    """finer: cells of the finer panorama to a pixel, and points of a view's pixel, along an axis.
    steps: of conjugate gradients."""

    finer: int
    points: int
    steps: int


# On panoramas/val, dB over the stitch after 10 steps: finer by 2, 3, 4: 1.3, 1.9, 1.7; points 2, 3,
# 4: 1.3, 1.8, 1.9. Ten more steps bring 0.15. Large panoramas have to do with less: of four 512-px
# views to 1024x512 it takes 4 seconds of one core and brings 1.7 dB.
_FULL, _LARGE = Effort(3, 4, 12), Effort(2, 2, 4)


@dataclass(frozen=True)
class SuperResolution:
    """A rig's A for a panorama of W x H pixels; calling it makes panoramas of its views.

    whole: the pixels of each view that are picture in all their parts and take part.
    """

    forward: Float32[Tensor, "P Q"]
    backward: Float32[Tensor, "Q P"]
    whole: tuple[Bool[Tensor, " _"], ...]
    height: int
    width: int
    effort: Effort = _FULL

    @classmethod
    @torch.no_grad()
    def for_cameras(
        cls,
        cameras: Sequence[Camera],
        height: int,
        width: int,
        sphere_radius: float = math.inf,
    ) -> "SuperResolution":
        """For cameras of batch shape [] that look at a sphere of this radius in metres."""
        parts, whole = [], []
        effort = _FULL if _cells_of(_FULL, height, width) <= _MOST_CELLS else _LARGE
        for camera in cameras:
            one, own = _rows(camera, height, width, sphere_radius, effort)
            parts.append(one)
            whole.append(own)
        matrix = sparse.csr_matrix(sparse.vstack(parts))
        transposed = sparse.csr_matrix(matrix.T)
        return cls(_sparse(matrix), _sparse(transposed), tuple(whole), height, width, effort)

    @staticmethod
    def is_possible(cameras: Sequence[Camera], height: int, width: int) -> bool:
        """Whether all is small enough for seconds and a gigabyte."""
        pixels = sum(camera.lens.width * camera.lens.height for camera in cameras)
        return _cells_of(_LARGE, height, width) <= _MOST_CELLS and pixels <= _MOST_PIXELS

    @torch.no_grad()
    def __call__(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        start: Float[Tensor, "1 3 H W"],
        told: Sequence[Bool[Tensor, "1 3 _ _"]] | None = None,
    ) -> Float[Tensor, "1 3 H W"]:
        """The panorama of views in [-1, 1], not clamped; `start`, their stitch, where nothing
        explains them.   told: the values of each view that tell something, which clipped ones do
        not; None: all."""
        y = self._picked([_flat(view.float().cpu()) for view in views])
        used = torch.ones_like(y)
        if told is not None:
            used = self._picked([_flat(one.float().cpu()) for one in told])
        x = self._solved(y, used, _flat(_enlarged(start, self.effort.finer)))
        trust = self._trust(used * (y - self.forward @ x).square(), used)
        return start + (trust * (self._pooled(x) - start.cpu())).to(start)

    def _picked(self, views: Sequence[Float32[Tensor, "_ 3"]]) -> Float32[Tensor, "P 3"]:
        """The pixels of all views that A has rows for."""
        return torch.cat([view[own] for view, own in zip(views, self.whole, strict=True)])

    def _trust(
        self, squares: Float32[Tensor, "P 3"], used: Float32[Tensor, "P 3"]
    ) -> Float[Tensor, "1 1 H W"]:
        """How far to believe x, from how badly it explains the views here and on the whole, in
        which a place that moved counts little."""
        near = self.backward @ torch.stack((squares.mean(dim=1), used.mean(dim=1)), dim=1)
        misfit, here = (
            parts[:, :1] / parts[:, 1:].clamp_min(1e-6)
            for parts in (self._pooled(near), blurred(self._pooled(near), _SIGMA * self.height))
        )
        on_the_whole = misfit.clamp(max=5 * _MISFIT).mean()
        return 1 / (1 + ((here + on_the_whole) / _MISFIT).square())

    def _pooled(self, x: Float32[Tensor, "Q C"]) -> Float[Tensor, "1 C H W"]:
        """At the size of the panorama that is wanted."""
        finer = self.effort.finer
        fine = x.T.reshape(1, -1, finer * self.height, finer * self.width)
        return F.avg_pool2d(fine, finer)

    def _solved(
        self,
        y: Float32[Tensor, "P 3"],
        used: Float32[Tensor, "P 3"],
        x: Float32[Tensor, "Q 3"],
    ) -> Float32[Tensor, "Q 3"]:
        """Conjugate gradients with the diagonal as preconditioner (Saad 2003, §9.2)."""
        smooth = _Smoothness(self.effort.finer * self.height, self.effort.finer * self.width)
        scale = 1 / (_squared(self.backward) @ used + _SMOOTHNESS * smooth.diagonal())

        def applied(d: Float32[Tensor, "Q 3"]) -> Float32[Tensor, "Q 3"]:
            seen = self.backward @ (self.forward @ d).mul_(used)
            return seen.add_(smooth(d), alpha=_SMOOTHNESS)

        rest = self.backward @ (used * y) - applied(x)
        step = scale * rest
        size = _dots(rest, step)
        for _ in range(self.effort.steps):
            image = applied(step)
            length = size / _dots(step, image).clamp_min(1e-20)
            x = x.addcmul(length, step)
            rest = rest.addcmul_(length, image, value=-1)
            scaled = scale * rest
            before, size = size, _dots(rest, scaled)
            step = scaled.addcmul_(size / before.clamp_min(1e-20), step)
        return x


def _cells_of(effort: Effort, height: int, width: int) -> int:
    return effort.finer**2 * height * width


def _rows(
    camera: Camera, height: int, width: int, sphere_radius: float, effort: Effort
) -> tuple[sparse.csr_matrix, Bool[Tensor, " p"]]:
    """A camera's rows of A, for a panorama of W x H pixels: each pixel the mean of points² bilinear
    samples of the finer panorama."""
    camera = camera.to(torch.device("cpu"), torch.float64)
    height, width, points = effort.finer * height, effort.finer * width, effort.points
    rays, valid = camera.unproject(camera.pixel_grid(points))
    if math.isfinite(sphere_radius):
        rays = _met(rays, camera.position, sphere_radius)
    whole = _tiles(valid & rays.isfinite().all(dim=-1), points).all(dim=1)
    pixels = panorama_pixels(rays, height, width).float()
    u, v = (_tiles(axis, points)[whole] for axis in pixels.unbind(-1))
    left, top = u.floor(), v.floor()
    right, down = u - left, v - top
    columns, shares = [], []
    for du, dv in ((0, 0), (1, 0), (0, 1), (1, 1)):
        columns.append(_cells((left + du).long(), (top + dv).long(), height, width))
        shares.append((right if du else 1 - right) * (down if dv else 1 - down) / points**2)
    index = torch.cat(columns, dim=1).to(torch.int32).numpy()
    share = torch.cat(shares, dim=1).numpy()
    ends = np.arange(0, index.size + 1, index.shape[1], dtype=np.int32)
    matrix = sparse.csr_matrix(
        (share.ravel(), index.ravel(), ends), shape=(len(index), height * width)
    )
    matrix.sum_duplicates()
    return matrix, whole


def _met(
    rays: Float64[Tensor, "*b 3"], position: Float64[Tensor, "3"], radius: float
) -> Float64[Tensor, "*b 3"]:
    """Where rays from a position inside a sphere about the origin meet it, as directions."""
    along = (rays * position).sum(dim=-1, keepdim=True)
    inside = radius**2 - position.square().sum()
    return (position + rays * ((along.square() + inside).sqrt() - along)) / radius


def _cells(column: Tensor, row: Tensor, height: int, width: int) -> Tensor:
    """Flat indices of panorama pixels, continued round the back and over the poles."""
    over = (row < 0) | (row >= height)
    row = torch.where(row < 0, -1 - row, torch.where(row >= height, 2 * height - 1 - row, row))
    column = torch.where(over, column + width // 2, column) % width
    return row * width + column


def _tiles(plane: Tensor, points: int) -> Tensor:
    """[h·s, w·s] to [h·w, s²]: the s x s points of each pixel."""
    parts = plane.unflatten(0, (-1, points)).unflatten(2, (-1, points))
    return parts.transpose(1, 2).reshape(-1, points**2)


class _Smoothness:
    """∇ᵀ∇ of panoramas of W x H: squared differences to the right and down, weighed such that they
    sum to the integral of |∇x|² over the sphere, in pixels of the equator."""

    def __init__(self, height: int, width: int):
        latitude = (0.5 - (torch.arange(height, dtype=torch.float64) + 0.5) / height) * math.pi
        cosine = latitude.cos().clamp_min(_LEAST_COSINE)
        self.shape = (height, width, -1)
        self.across = (1 / cosine).float()[:, None, None]
        self.between = ((cosine[1:] + cosine[:-1]) / 2).float()[:, None, None]

    def __call__(self, x: Float32[Tensor, "Q C"]) -> Float32[Tensor, "Q C"]:
        plane = x.view(self.shape)
        made = (2 * plane).sub_(plane.roll(1, 1)).sub_(plane.roll(-1, 1)).mul_(self.across)
        down = torch.diff(plane, dim=0).mul_(self.between)
        made[1:] += down
        made[:-1] -= down
        return made.view(x.shape)

    def diagonal(self) -> Float32[Tensor, "Q 1"]:
        """What each cell counts by itself."""
        height, width, _ = self.shape
        own = 2 * self.across
        own[1:] += self.between
        own[:-1] += self.between
        return own.expand(height, width, 1).reshape(-1, 1)


def _dots(x: Float32[Tensor, "Q 3"], y: Float32[Tensor, "Q 3"]) -> Float32[Tensor, "3"]:
    """Σ x·y for each colour. By NumPy, which sums in the same order whatever the number of threads:
    a shot's conditions must not depend on who makes them."""
    return torch.from_numpy(np.einsum("qc,qc->c", x.numpy(), y.numpy()))


def _sparse(matrix: sparse.csr_matrix) -> Float32[Tensor, "_ _"]:
    """For products with as many threads as there are, which SciPy's have not."""
    parts = (torch.from_numpy(part) for part in (matrix.indptr, matrix.indices, matrix.data))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Sparse (CSR|invariant)", UserWarning)
        return torch.sparse_csr_tensor(*parts, size=matrix.shape, check_invariants=False)


def _squared(matrix: Float32[Tensor, "_ _"]) -> Float32[Tensor, "_ _"]:
    """Each number of it squared."""
    rows, columns, values = matrix.crow_indices(), matrix.col_indices(), matrix.values()
    return torch.sparse_csr_tensor(
        rows, columns, values.square(), size=matrix.shape, check_invariants=False
    )


def _enlarged(start: Float[Tensor, "1 3 H W"], finer: int) -> Float[Tensor, "1 3 H2 W2"]:
    padded = pad_sphere(start.float().cpu(), 2)
    fine = F.interpolate(padded, scale_factor=finer, mode="bicubic", align_corners=False)
    edge = 2 * finer
    return fine[..., edge:-edge, edge:-edge]


def _flat(picture: Float[Tensor, "1 3 h w"]) -> Float32[Tensor, "p 3"]:
    return picture[0].flatten(1).T.contiguous()
