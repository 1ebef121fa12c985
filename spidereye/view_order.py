"""Whether the pictures of a shot were given in another order than the rig's: then some other order
of them agrees far better where views overlap."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, permutations

from jaxtyping import Float
from torch import Tensor

from spidereye.camera import Camera
from spidereye.colour_compensation import compensate
from spidereye.overlaps import (
    COARSE,
    Readings,
    blurred,
    disagreement,
    places_of,
    read_places,
    sphere_points,
    usual_resolution,
)

_EVERY_ORDER = 4  # views whose orders are all tried; of more, any two exchanged
_FAR_BETTER = 0.4  # of the mean squared difference of the order given
_AS_GOOD = 1.1  # times the best one's: a rig that looks the same when turned has several


def better_order(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    sphere_radius: float,
) -> tuple[int, ...] | None:
    """For each camera the number of the view that belongs to it, None where no other order agrees
    far better than the one given or sizes tell the views apart.

    Compared coarsely, so that poses a few degrees off do not matter.
    views: in [-1, 1].
    """
    if len({(camera.lens.width, camera.lens.height) for camera in cameras}) > 1:
        return None
    fineness = usual_resolution(cameras[0])
    made = [
        blurred(view, camera, COARSE, fineness) for view, camera in zip(views, cameras, strict=True)
    ]
    places = places_of([view.camera for view in made], sphere_points(COARSE), sphere_radius)
    given = tuple(range(len(made)))
    scores = {
        order: _difference(read_places([made[number] for number in order], places))
        for order in _orders(len(made))
    }
    best = min(scores.values())
    if best > _FAR_BETTER * scores[given]:
        return None
    return next(order for order, score in scores.items() if score <= _AS_GOOD * best)


def _orders(count: int) -> Iterator[tuple[int, ...]]:
    """The order given, then others, those that move late views only first."""
    if count <= _EVERY_ORDER:
        yield from permutations(range(count))
        return
    yield tuple(range(count))
    for one, other in combinations(range(count), 2):
        swapped = {one: other, other: one}
        yield tuple(swapped.get(number, number) for number in range(count))


def _difference(readings: Readings) -> float:
    """Mean square over all pairs of views that see a ray, their colours compensated, against how
    much the colours vary."""
    gain, offset = compensate(readings.colour, readings.weight)
    readings = replace(readings, colour=gain[..., None] * readings.colour + offset[..., None])
    weight = readings.weight
    mean = (weight * readings.colour).sum((0, 2)) / weight.sum((0, 2)).clamp_min(1e-9)
    spread = (weight * (readings.colour - mean[:, None]).square()).sum()
    spread = float(spread / weight.sum().clamp_min(1e-9))
    differences, total = disagreement(readings)
    return differences / max(1e-9, total * spread)
