"""One lens model fitted to another: least squares of pixels over the image circle."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses import Lens, OCam, lens_of, plane_of
from spidereye.lenses.field_of_view import with_half_angle

_POINTS = 800  # rays that are compared, spread evenly over the circle's area
_HOPELESS = 0.05  # of the circle's radius, for the worst ray

_Parameters = Mapping[str, float | list[float]]


@dataclass(frozen=True)
class Fit:
    """lens: the fitted one.   rms_pixels, max_pixels: distances between where it and its source
    see the same rays, over the image circle."""

    lens: Lens
    rms_pixels: float
    max_pixels: float


@dataclass(frozen=True)
class _Plan:
    """neutral: parameters, in focal lengths, that see nearly all directions.   bounds: of a
    parameter's numbers (not named: none).   free: those that vary (not named: all)."""

    neutral: _Parameters
    bounds: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    free: Mapping[str, list[int]] = field(default_factory=dict)


_PLANS = {
    "ucm": _Plan({"xi": 1.0}, {"xi": (0, math.inf)}),
    "eucm": _Plan({"alpha": 0.5, "beta": 1.0}, {"alpha": (0, 1), "beta": (1e-3, math.inf)}),
    "ds": _Plan({"xi": 0.0, "alpha": 0.5}, {"xi": (-0.999, 1), "alpha": (0, 1)}),
    "kb4": _Plan({"k": [0.0] * 4}),
    "mei": _Plan({"xi": 1.0, "k": [0.0] * 2, "p": [0.0] * 2}, {"xi": (0, math.inf)}),
    # a₀ stays -1, the matrix being free, and a₁ stays 0, as in the toolbox: no cone on the axis.
    "ocam": _Plan({"polynomial": [-1.0, 0.0, 0.25, 0.0, 0.0]}, free={"polynomial": [2, 3, 4]}),
}


def fit(source: Lens, model: str, circle: float) -> Fit:
    """The lens of the named model that sees the rays of `source` (batch shape []) where it does.

    circle: radius in pixels of the image circle; what lies outside the picture does not count, nor
    what the source does not see. Entries off the matrix's diagonal stay 0 where the source's are.

    Raises SpiderEyeError for an unknown model and where the best fit is hopeless: it does not see
    all of these rays, or the worst is off by more than 5 % of the circle.
    """
    if model not in _PLANS:
        raise SpiderEyeError(f"unknown lens model {model!r}; known: {', '.join(_PLANS)}")
    source = source.to(torch.device("cpu"), torch.float64)
    pixels = _circle_pixels(source, circle)
    rays, valid = source.unproject(pixels)
    pixels, rays = pixels[valid], rays[valid]
    if len(rays) < _POINTS // 20:
        raise SpiderEyeError(
            f"the {source.model} lens sees next to nothing within {circle:g} pixels of its "
            "principal point: there is nothing to fit"
        )
    best = None
    for start in _starts(source, model, pixels, rays):
        lens = _Search(start, source, pixels, rays).solved()
        found, seen = lens.project(rays)
        off = (found - pixels).norm(dim=-1)
        result = Fit(_standard(lens), float(off.square().mean().sqrt()), float(off.max()))
        if bool(seen.all()) and (best is None or result.rms_pixels < best.rms_pixels):
            best = result
    radius = float((pixels - source.centre).norm(dim=-1).max())
    if best is None or best.max_pixels > _HOPELESS * radius:
        off = "does not see all rays" if best is None else f"is up to {best.max_pixels:.1f} px off"
        raise SpiderEyeError(
            f"no {model} lens is like this {source.model} lens: the best one {off} within "
            f"{radius:.0f} px of the principal point; take another model or a smaller circle"
        )
    return best


class _Search:
    """Which numbers of a lens vary, and how far its pixels are off for given ones."""

    def __init__(self, start: Lens, source: Lens, pixels: Tensor, rays: Tensor):
        self.start, self.pixels, self.rays = start, pixels, rays
        self.penalty = float((pixels - source.centre).norm(dim=-1).max())
        skewed = [i for i in (1, 2) if float(source.matrix.reshape(-1)[i]) != 0]
        plan = _PLANS[start.model]
        self.entries = {"matrix": [0, *skewed, 3], "centre": [0, 1]}
        for name in start.parameters:
            everything = list(range(getattr(start, name).numel()))
            self.entries[name] = plan.free.get(name, everything)
        free = (-math.inf, math.inf)
        bounds = [plan.bounds.get(n, free) for n, places in self.entries.items() for _ in places]
        self.lower, self.upper = np.array(bounds).T

    def solved(self) -> Lens:
        """The lens of least squares."""
        from scipy.optimize import least_squares

        first = [getattr(self.start, n).reshape(-1)[i] for n, i in self.entries.items()]
        found = least_squares(
            lambda x: self._residuals(torch.from_numpy(x)).numpy(),
            np.clip(torch.cat(first).numpy(), self.lower, self.upper),
            jac=self._jacobian,  # type: ignore[arg-type]
            bounds=(self.lower, self.upper),
            x_scale="jac",
            xtol=1e-12,
            ftol=1e-12,
            gtol=1e-12,
            max_nfev=100,
        )
        return self._lens(torch.from_numpy(found.x))

    def _lens(self, numbers: Float[Tensor, "*b n"]) -> Lens:
        changed, at = {}, 0
        for name, places in self.entries.items():
            value = getattr(self.start, name)
            flat = value.reshape(-1).expand(*numbers.shape[:-1], -1).clone()
            flat[..., places] = numbers[..., at : at + len(places)]
            changed[name] = flat.reshape((*numbers.shape[:-1], *value.shape))
            at += len(places)
        return replace(self.start, **changed)

    def _residuals(self, numbers: Float[Tensor, "*b n"]) -> Float[Tensor, "*b r"]:
        rays = self.rays.expand(*numbers.shape[:-1], *self.rays.shape)
        pixels, valid = self._lens(numbers).project(rays)
        # What is not seen counts as off by the whole circle, so that no step loses rays.
        return torch.where(valid[..., None], pixels - self.pixels, self.penalty).flatten(-2)

    def _jacobian(self, x: np.ndarray) -> np.ndarray:
        """Central differences, all in one batch of lenses, one-sided at bounds."""
        step = 1e-6 * np.maximum(np.abs(x), 1e-2)
        above = np.minimum(x + np.diag(step), self.upper)
        below = np.maximum(x - np.diag(step), self.lower)
        off = self._residuals(torch.from_numpy(np.concatenate((above, below)))).numpy()
        return ((off[: len(x)] - off[len(x) :]) / np.diag(above - below)[:, None]).T


def _circle_pixels(lens: Lens, circle: float) -> Float[Tensor, "n 2"]:
    """Pixels evenly spread over the circle's part of the picture (Vogel's spiral), and its rim."""
    corners = torch.tensor([[u, v] for u in (0, lens.width) for v in (0, lens.height)]) - 0.5
    circle = min(circle, float((corners - lens.centre).norm(dim=-1).max()))
    place = torch.arange(_POINTS, dtype=torch.float64)
    radius = circle * ((place + 0.5) / _POINTS).sqrt()
    radius = torch.cat((radius, torch.full((_POINTS // 8,), circle, dtype=torch.float64)))
    azimuth = torch.arange(len(radius)) * (math.pi * (3 - math.sqrt(5)))
    pixels = lens.centre + radius[:, None] * torch.stack((azimuth.cos(), azimuth.sin()), dim=-1)
    size = pixels.new_tensor([lens.width, lens.height])
    return pixels[((pixels >= -0.5) & (pixels <= size - 0.5)).all(dim=-1)]


def _starts(source: Lens, model: str, pixels: Tensor, rays: Tensor) -> list[Lens]:
    """Where to search from: the solution of the model's linear equations for its radial part,
    and the neutral one; each zoomed so that the source's outermost ray lies where it should."""
    plane = plane_of(source.width, source.height, fx=1.0) | {"centre": source.centre}
    angle = torch.atan2(torch.hypot(rays[:, 0], rays[:, 1]), rays[:, 2])
    radius = (pixels - source.centre).norm(dim=-1)
    outermost = int(angle.argmax())
    target = float(angle[outermost]), float(radius[outermost])
    starts = []
    for parameters in (_linear(model, angle, radius), _PLANS[model].neutral):
        try:
            starts.append(with_half_angle(lens_of(model, plane, parameters), *target))
        except SpiderEyeError:
            continue  # linear equations know nothing of what is possible
    return starts


def _linear(model: str, angle: Float[Tensor, "n"], radius: Float[Tensor, "n"]) -> _Parameters:
    """Parameters, in focal lengths, from equations that are linear in them and in the focal length
    f, for radii r of rays at angles θ."""
    r, sine, cosine = radius / radius.max(), angle.sin(), angle.cos()
    if model == "kb4":  # r = f·θ + f·k₁·θ³ + …
        f, *rest = _solve([angle**n for n in (1, 3, 5, 7, 9)], r)
        return {"k": [k / f for k in rest]}
    if model == "ocam":  # a₀·sin θ + a₂·r²·sin θ + … = -r·cos θ
        a0, *rest = _solve([sine, *(sine * r**n for n in (2, 3, 4))], -r * cosine)
        return {"polynomial": [-1.0, 0.0, *(a * abs(a0) ** n for n, a in enumerate(rest, 1))]}
    # UCM: r·(cos θ + ξ) = f·sin θ, and the others are one at their neutral values.
    _, xi = _solve([sine, -r], r * cosine)
    xi = max(xi, 0.0)
    alpha = {"alpha": xi / (1 + xi)}
    return dict(_PLANS[model].neutral) | (alpha if model in ("eucm", "ds") else {"xi": xi})


def _solve(columns: list[Tensor], right: Tensor) -> list[float]:
    solution = torch.linalg.lstsq(torch.stack(columns, dim=-1), right[:, None]).solution
    return solution[:, 0].tolist()


def _standard(lens: Lens) -> Lens:
    """An OCam lens with its scale in the polynomial, as the toolbox has it; others as they are."""
    if not isinstance(lens, OCam):
        return lens
    scale = lens.matrix[0, 0]
    powers = torch.arange(len(lens.polynomial))
    polynomial = lens.polynomial * scale ** (1 - powers)
    return replace(lens, matrix=lens.matrix / scale, polynomial=polynomial)
