"""Small rotations, and optionally lenses, that make views agree in their overlaps.

Gauss-Newton on the differences of colours that two views give to one ray (Lucas & Kanade 1981,
jointly for all views), coarse to fine, with colours compensated in every step and Geman & McClure's
weights, for which parallax and moving things are outliers. free_parameters.py says what may change.

The overlaps leave the rotation of the whole rig open: the prior, parameters of usual size about
zero, chooses the least change, and holds still what textureless overlaps do not tell.

All shots share the cameras, so that what depends on cameras alone is found once in a step. Shots
are taken from their sequence one at a time and kept blurred, in 16 bits: at most about 2 MB a view
of 190°.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.colour_compensation import compensate, overlaps_of
from spidereye.free_parameters import Freedom, Parameters
from spidereye.overlaps import (
    BlurredView,
    Places,
    Readings,
    blurred,
    finest_angle,
    places_of,
    read_places,
    sphere_points,
    usual_resolution,
)

ANGLES = (4.0, 2.0, 1.0)  # degrees: the comparisons, coarse to fine
_STEPS = (10, 6, 6)  # at most, at each
_DONE = (0.02, 0.02, 0.004)  # of the angle: a smaller step is the last at its comparison
_NOISE = 0.02  # in [0, 1]: of a difference between views that agree
_OUTLIER = 0.03  # in [0, 1]: larger differences hardly count
_PREPARING = 3  # steps of a shot that take as long as blurring it for a comparison
_COLOUR_RAYS = 4_000  # of one comparison: six numbers a view need no more


@dataclass(frozen=True)
class Refined:
    """cameras: with the parameters found.   uncertainty: radians, the standard deviation of every
    view's rotation by the data alone; ∞ where the overlaps tell nothing.
    before, after: root mean square of the robust difference of each overlapping pair (i, j), i > j,
    at the finest comparison, colours compensated, in [0, 1].   counts: in how many shots the pair
    could be compared."""

    cameras: tuple[Camera, ...]
    uncertainty: Float64[Tensor, " N"]
    before: dict[tuple[int, int], float]
    after: dict[tuple[int, int], float]
    counts: dict[tuple[int, int], int]

    @property
    def improvement(self) -> float:
        """By what factor the mean squared difference fell; 1: not at all."""
        # An overlap that was turned out of sight is no improvement, and no loss either.
        pairs = self.before.keys() & self.after.keys()
        old = sum(self.before[pair] ** 2 for pair in pairs)
        new = sum(self.after[pair] ** 2 for pair in pairs)
        return (old + 1e-9) / (new + 1e-9)  # flat views agree exactly


def work_of(shots: int) -> int:
    """The count that `advance` of refine_poses adds up to."""
    return (sum(_STEPS) + len(ANGLES) * _PREPARING) * shots


def refine_poses(
    shots: Sequence[Sequence[Float[Tensor, "1 3 _ _"]]],
    cameras: Sequence[Camera],
    free: Sequence[Freedom] = ("rotation",),
    reference: int | None = None,
    sphere_radius: float = math.inf,
    advance: Callable[[int], object] = lambda count: None,
) -> Refined:
    """The cameras with which the views of all shots agree best.

    shots: each the views of all cameras, in [-1, 1], at the cameras' sizes; every shot is asked for
    once per comparison.   cameras: as believed, of batch shape [] in float64.
    reference: the view whose rotation stays as it is.
    advance: called with how much of work_of(len(shots)) is done since; may raise to stop.
    """
    parameters = Parameters(tuple(free))
    state = torch.zeros(len(cameras), parameters.count, dtype=torch.float64)
    precision = parameters.prior(cameras, reference)
    information = torch.zeros(state.numel(), state.numel(), dtype=torch.float64)
    old = new = _Differences()
    fineness = [usual_resolution(camera) for camera in cameras]
    angles = [finest_angle(fineness, math.radians(degrees)) for degrees in ANGLES]
    for angle, after, most, done in zip(angles, [*angles[1:], None], _STEPS, _DONE, strict=True):
        if angle == after:  # the views are too coarse for more comparisons
            advance((most + _PREPARING) * len(shots))
            continue
        prepared: list[list[BlurredView]] = []
        for views in shots:
            prepared.append(_prepared(views, cameras, fineness, angle))
            advance(_PREPARING)
        if not prepared:
            break
        rays = sphere_points(angle)
        start = [view.camera for view in prepared[0]]
        for number in range(most):
            look = _Look.at(start, parameters, state, rays, sphere_radius)
            if not look.places.pixels.shape[1]:
                break
            normal = _Normal.empty(state.numel())
            for views in prepared:
                normal.add(_linearised(views, look))
                advance(1)
            information = normal.matrix / _NOISE**2
            right = normal.right / _NOISE**2 - precision @ state.flatten()
            step = torch.linalg.solve(information + precision, right)
            state = state + step.view_as(state)
            if float(step.abs().max()) < done * angle:
                advance((most - 1 - number) * len(prepared))
                break
        if after is None:
            old = _pair_differences(prepared, places_of(start, rays, sphere_radius))
            found = parameters.moved(start, state)
            new = _pair_differences(prepared, places_of(found, rays, sphere_radius))
    moved = tuple(parameters.moved(cameras, state))
    uncertainty = _uncertainty(information, parameters)
    return Refined(moved, uncertainty, old.mean(), new.mean(), dict(old.counts))


def _prepared(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    fineness: Sequence[float],
    angle: float,
) -> list[BlurredView]:
    """The views of a shot at a comparison's angle, in 16 bits, finer than pictures are."""
    made = [
        blurred(view, camera, angle, fine)
        for view, camera, fine in zip(views, cameras, fineness, strict=True)
    ]
    return [replace(view, image=view.image.half()) for view in made]


def _read(
    views: Sequence[BlurredView], places: Places
) -> tuple[Readings, Float64[Tensor, "N 3 P"], Float64[Tensor, "N 3"]]:
    """What the views say at places, their compensated colours and the gains of that."""
    full = [replace(view, image=view.image.float()) for view in views]
    readings = read_places(full, places)
    every = math.ceil(max(1, places.pixels.shape[1]) / _COLOUR_RAYS)
    gain, offset = compensate(readings.colour[..., ::every], readings.weight[..., ::every])
    return readings, gain[..., None] * readings.colour + offset[..., None], gain


@dataclass
class _Normal:
    """The normal equations of a step, summed over shots."""

    matrix: Float64[Tensor, "K K"]
    right: Float64[Tensor, " K"]

    @classmethod
    def empty(cls, size: int) -> "_Normal":
        return cls(
            torch.zeros(size, size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)
        )

    def add(self, other: "_Normal") -> None:
        self.matrix += other.matrix
        self.right += other.right


@dataclass(frozen=True)
class _Look:
    """What a state of the parameters means for rays that two cameras or more see, in every shot.

    places: of the rays.   shifts: of their pixels, by each camera's parameters.
    """

    places: Places
    shifts: Float64[Tensor, "N P 2 k"]

    @classmethod
    def at(
        cls,
        start: Sequence[Camera],
        parameters: Parameters,
        state: Float64[Tensor, "N k"],
        rays: Float[Tensor, "P 3"],
        sphere_radius: float,
    ) -> "_Look":
        cameras = parameters.moved(start, state)
        places = places_of(cameras, rays, sphere_radius)
        several = (places.seen.sum(dim=0) > 1).nonzero()[:, 0]
        some = rays[several]
        shifts = [parameters.derivatives(camera, some, sphere_radius) for camera in cameras]
        return cls(places.of(several), torch.stack(shifts))


def _linearised(views: Sequence[BlurredView], look: _Look) -> _Normal:
    """The normal equations of one shot about a state."""
    readings, colour, gain = _read(views, look.places)
    k = look.shifts.shape[-1]
    across, down = (readings.slope * gain[:, None, :, None]).mT[..., None].unbind(1)
    # Of the compensated colours by the parameters: [N, P, 3, k].
    slopes = across * look.shifts[:, :, 0, None] + down * look.shifts[:, :, 1, None]
    normal = _Normal.empty(k * len(views))
    numbers = torch.arange(k * len(views)).view(len(views), k)
    for overlaps in overlaps_of(readings.weight):
        one, other = overlaps.of(colour.mT)
        difference = (one - other).flatten(1)[..., None]  # [n, 3m, 1]
        one, other = overlaps.of(readings.weight.mT)
        both = (one * other).flatten(1)[..., None]
        weight = both / (1 + (difference / _OUTLIER).square()).square()
        one, other = overlaps.of(slopes)
        rows = torch.cat((one, -other), dim=-1).flatten(1, 2)  # [n, 3m, 2k]
        weighted = (rows * weight).mT
        index = torch.cat((numbers[overlaps.one], numbers[overlaps.other]), dim=-1)
        places = (index[:, :, None], index[:, None, :])
        normal.matrix.index_put_(places, weighted @ rows, accumulate=True)
        normal.right.index_put_((index,), -(weighted @ difference)[..., 0], accumulate=True)
    return normal


def _overlapping(readings: Readings) -> list[tuple[int, int, Tensor]]:
    """(i, j, indices of the rays that both see) of every pair of views that overlap."""
    sees = readings.weight.amax(dim=1) > 0
    both = {(i, j): sees[i] & sees[j] for i in range(len(sees)) for j in range(i)}
    return [(i, j, where.nonzero()[:, 0]) for (i, j), where in both.items() if bool(where.any())]


@dataclass
class _Differences:
    """Weighted sums over the shots of each pair's squared differences, the weights, and the
    number of shots with such."""

    squares: dict[tuple[int, int], float] = field(default_factory=dict)
    weights: dict[tuple[int, int], float] = field(default_factory=dict)
    counts: Counter[tuple[int, int]] = field(default_factory=Counter)

    def mean(self) -> dict[tuple[int, int], float]:
        return {pair: math.sqrt(self.squares[pair] / self.weights[pair]) for pair in self.counts}


def _pair_differences(shots: Sequence[Sequence[BlurredView]], places: Places) -> _Differences:
    """Of every pair over all shots; large differences count less and less, the outlier's size at
    most."""
    sums = _Differences()
    for views in shots:
        readings, colour, _ = _read(views, places)
        for i, j, where in _overlapping(readings):
            both = readings.weight[i][:, where] * readings.weight[j][:, where]
            square = (colour[i][:, where] - colour[j][:, where]).square()
            square = square / (1 + square / _OUTLIER**2)
            weight = float(both.sum())
            if weight > 0:
                sums.squares[i, j] = sums.squares.get((i, j), 0.0) + float((both * square).sum())
                sums.weights[i, j] = sums.weights.get((i, j), 0.0) + weight
                sums.counts[i, j] += 1
    return sums


def _uncertainty(
    information: Float64[Tensor, "K K"], parameters: Parameters
) -> Float64[Tensor, " N"]:
    """By the weakest direction of each view's own rotation, the others held; 0 if not free."""
    k = parameters.count
    views = len(information) // k
    if "rotation" not in parameters.free:
        return torch.zeros(views, dtype=torch.float64)
    blocks = information.view(views, k, views, k)
    turn = parameters.columns("rotation")
    weakest = [torch.linalg.eigvalsh(blocks[v, turn, v, turn]).min() for v in range(views)]
    return torch.stack(weakest).clamp_min(0).rsqrt()
