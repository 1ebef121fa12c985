"""Rigs drawn at random, as wide a choice as people build: what a model that takes any rig has to
see in training.

A rig has two to six views of one lens, of any model and 150° to 220°, placed round the horizon or
with views up and down, none of them quite where a drawing would have it. Everything is known to the
methods, as a calibrated rig's is; what they are not to know is jitter's.
"""

import math

import torch

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError
from spidereye.lenses import LENSES, Lens, lens_of, plane_of
from spidereye.lenses.field_of_view import with_half_angle
from spidereye.rig import Rig
from spidereye.rotation import from_degrees

FEWEST_VIEWS, MOST_VIEWS = 2, 6
FIELDS_OF_VIEW = (150.0, 220.0)  # degrees across the image circle
_CIRCLE = (0.9, 1.0)  # its radius, of half the picture
_OFF_MIDDLE = 0.02  # of the picture's width: the principal point, ±
_LEANING = (-25.0, 10.0)  # degrees: the pitch of all views of the horizon together, as on a car
_PLACED = 10.0  # degrees: yaw, pitch and roll of each view, ±

# Per model, the range of each number of its parameters, in focal lengths. Wide enough for the
# lenses that people calibrate, and most of what is drawn sees 220°; what does not is drawn again.
_RANGES: dict[str, dict[str, list[tuple[float, float]]]] = {
    "ucm": {"xi": [(0.5, 1.8)]},
    "eucm": {"alpha": [(0.5, 0.7)], "beta": [(0.8, 1.4)]},
    "ds": {"xi": [(-0.3, 0.3)], "alpha": [(0.5, 0.65)]},
    "kb4": {"k": [(-0.06, 0.06), (-0.02, 0.02), (-0.004, 0.004), (-0.0005, 0.0005)]},
    "mei": {"xi": [(0.8, 1.6)], "k": [(-0.04, 0.04), (-0.005, 0.005)], "p": [(-0.001, 0.001)] * 2},
    "ocam": {"polynomial": [(-1, -1), (0, 0), (0.2, 0.4), (-0.03, 0.03), (0, 0.03)]},
}
_SCALARS = {"xi", "alpha", "beta"}


def drawn_rig(source: torch.Generator, size: int) -> Rig:
    """A rig of square views of `size` pixels, its cameras at the centre. source: of all draws."""
    draw = _Draws(source)
    views = draw.whole(FEWEST_VIEWS, MOST_VIEWS)
    half_angle = math.radians(draw.within(*FIELDS_OF_VIEW) / 2)
    circle = draw.within(*_CIRCLE) * size / 2
    lens = _lens(draw, half_angle, circle, size)
    leaning, turned = draw.within(*_LEANING), draw.within(-180.0, 180.0)
    cameras = []
    for number, (yaw, pitch) in enumerate(_axes(draw, views)):
        flat = pitch == 0
        angles = [
            turned + yaw + draw.within(-_PLACED, _PLACED),
            pitch + leaning * flat + draw.within(-_PLACED, _PLACED),
            draw.within(-_PLACED, _PLACED),
        ]
        position = torch.zeros(3, dtype=torch.float64)
        # A camera's circle is about its principal point.
        cameras.append(Camera(f"view{number}", lens, from_degrees(*angles), position, circle))
    return Rig(tuple(cameras))


class _Draws:
    """Numbers from one generator, in the order in which they are asked for."""

    def __init__(self, source: torch.Generator):
        self._source = source

    def within(self, low: float, high: float) -> float:
        share = torch.rand((), generator=self._source, dtype=torch.float64)
        return low + (high - low) * float(share)

    def whole(self, low: int, high: int) -> int:
        return low + min(int(self.within(0, 1) * (high - low + 1)), high - low)


def _axes(draw: _Draws, views: int) -> list[tuple[float, float]]:
    """(yaw, pitch) in degrees of each view: round the horizon, or from five on sometimes four
    there and the others up and down."""
    poles = [(0.0, 90.0), (0.0, -90.0)][: views - 4] if views > 4 else []
    if draw.within(0, 1) < 0.5:
        poles = []
    level = views - len(poles)
    return [(360.0 * number / level, 0.0) for number in range(level)] + poles


def _lens(draw: _Draws, half_angle: float, circle: float, size: int) -> Lens:
    """A lens of any model whose rays at the half angle lie `circle` pixels from its centre."""
    models = sorted(LENSES)
    model = models[draw.whole(0, len(models) - 1)]
    middle, off = (size - 1) / 2, _OFF_MIDDLE * size
    while True:
        numbers = {
            name: [draw.within(*bounds) for bounds in ranges]
            for name, ranges in _RANGES[model].items()
        }
        parameters = {k: v[0] if k in _SCALARS else v for k, v in numbers.items()}
        cx, cy = (middle + draw.within(-off, off) for _ in range(2))
        try:
            unit = lens_of(model, plane_of(size, size, fx=1.0, cx=cx, cy=cy), parameters)
            return with_half_angle(unit, half_angle, circle)
        except SpiderEyeError:  # this one does not see so far
            continue
