"""How surfaces and skies of the procedural scenes look: patterns filtered to a pixel's size.

Layer: data, below scenes.py. Patterns are functions of metres on a surface (u, v) or of direction,
so they have no seam at ±180°. `footprint` is the width that one sample covers, in the pattern's
own unit; detail finer than that fades to its mean, else far ground would be noise. Colours are
linear RGB reflectances in [0, 1], light is in the same scale with 1 about a white wall in the sun.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from jaxtyping import Float32

Colour = tuple[float, float, float]
Numbers = Float32[np.ndarray, "n"]
Vectors = Float32[np.ndarray, "n 3"]


def vector(numbers: tuple[float, float, float]) -> Float32[np.ndarray, "3"]:
    """A colour, position or direction as an array."""
    return np.array(numbers, np.float32)


@dataclass(frozen=True)
class Material:
    """Tiles with gaps between them, under grain: paint, bricks, planks, checks, stripes, windows.

    `u` runs along a wall, `v` up it. A plain surface has tiles without gap, tone and check.
    """

    colour: Colour  # of a tile
    gap_colour: Colour = (0.5, 0.5, 0.5)
    tile: tuple[float, float] = (1.0, 1.0)  # metres from one tile to the next, along u and v
    gap: tuple[float, float] = (0.0, 0.0)  # metres between tiles; 0 along v makes stripes
    shift: float = 0.0  # tiles; every second row moves so far along u, 0.5 in a brick wall
    tone: float = 0.0  # relative brightness, ±, at random from tile to tile
    check: float = 0.0  # relative brightness, ±, alternating from tile to tile
    grain: float = 0.1  # relative brightness, ±, of noise at six scales
    grain_size: float = 0.8  # metres, the largest of the six
    stretch: float = 1.0  # how much longer the grain is along u: wood has about 8
    place: tuple[float, float] = (0.0, 0.0)  # metres; where in the noise grain and tone are taken
    glow: float = 0.0  # light given off, times colour: lamps and windows from inside

    def albedo(self, u: Numbers, v: Numbers, footprint: Numbers) -> Vectors:
        """Reflectance at surface points (u, v), metres, for samples footprint metres wide."""
        brightness = np.ones_like(u)
        row = np.floor(v / self.tile[1])
        x = u / self.tile[0] + self.shift * (row % 2)
        y = v / self.tile[1]
        width_x, width_y = footprint / self.tile[0], footprint / self.tile[1]
        if self.check:
            brightness += self.check * _square_wave(x, width_x) * _square_wave(y, width_y)
        if self.tone:
            fade = 1 / (1 + width_x**2 + width_y**2)
            brightness += (
                self.tone
                * fade
                * _lattice_at(np.floor(x) + 7 * row + self.place[0], row + self.place[1])
            )
        grain = np.ones_like(u)
        if self.grain:
            size = self.grain_size
            grain += self.grain * noise(
                (u / self.stretch + self.place[0]) / size,
                (v + self.place[1]) / size,
                footprint / size,
            )
        colour = vector(self.colour) * brightness[:, None]
        if any(self.gap):
            inside = _pulse(x, width_x, self.gap[0] / self.tile[0])
            inside *= _pulse(y, width_y, self.gap[1] / self.tile[1])
            colour = vector(self.gap_colour) * (1 - inside)[:, None] + colour * inside[:, None]
        colour *= grain[:, None]
        return colour.clip(0.0, 1.0)


@dataclass(frozen=True)
class Sky:
    """A gradient, a sun with its glow, clouds on a flat layer, and hills on the horizon."""

    zenith: Colour
    horizon: Colour
    sun: tuple[float, float, float]  # unit vector to the sun
    sun_colour: Colour
    cloud_cover: float = 0.3  # 0 clear … 1 closed
    cloud_size: float = 1.0  # cloud-layer heights
    hills: float = 0.1  # radians, how high they rise at most
    place: tuple[float, float] = (0.0, 0.0)  # where in the noise clouds and hills are taken from

    def radiance(self, directions: Vectors, pixel_angle: float) -> Vectors:
        """Light from unit directions; pixel_angle: radians that a sample covers."""
        up = directions[:, 1].clip(0.0, 1.0)
        sun_colour = vector(self.sun_colour)
        towards = (directions @ vector(self.sun)).clip(0.0, 1.0)[:, None]
        horizon = vector(self.horizon)
        light = horizon + (vector(self.zenith) - horizon) * np.sqrt(up)[:, None]
        glow = (0.12 * towards**6 + 0.5 * towards**150) * (1 - 0.6 * self.cloud_cover)
        light += sun_colour * glow
        # The disc is widened to 1.5°, a camera's glare, and its rim to a pixel.
        edge = 0.0131 - np.arccos(towards)
        disc = _step(edge / (pixel_angle + 0.004)) * 20 * (1 - self.cloud_cover) ** 2
        light += sun_colour * disc
        light = self._clouded(light, directions, up, towards, pixel_angle)
        return self._hilly(light, directions, pixel_angle)

    def _clouded(
        self, light: Vectors, directions: Vectors, up: Numbers, towards: Any, pixel_angle: float
    ) -> Vectors:
        rise = up + 0.12  # the layer bends with the earth, or it would reach the horizon
        scale = 1 / (rise * self.cloud_size)
        u = directions[:, 0] * scale + self.place[0]
        v = directions[:, 2] * scale + self.place[1]
        depth = noise(u, v, pixel_angle * scale / rise)
        threshold = 1.1 - 1.9 * self.cloud_cover
        amount = _step((depth - threshold) / 0.7)
        amount *= _step((up - 0.01) / 0.25)
        bright = vector(self.horizon) * 0.55 + vector(self.sun_colour) * 0.3
        shade = (1.1 - 0.45 * amount)[:, None] + 0.5 * towards**12
        return light + (bright * shade - light) * amount[:, None]

    def _hilly(self, light: Vectors, directions: Vectors, pixel_angle: float) -> Vectors:
        if not self.hills:
            return light
        level = np.hypot(directions[:, 0], directions[:, 2]) + 1e-6
        u = directions[:, 0] / level * 2.3 + self.place[1]
        v = directions[:, 2] / level * 2.3 + self.place[0]
        fine = np.full_like(u, 0.01)
        ridge = self.hills * (0.55 + 0.5 * noise(u, v, fine))
        above = np.arctan2(directions[:, 1], level) - ridge
        cover = _step(0.5 - above / (2 * pixel_angle + 0.002))[:, None]
        wooded = vector((0.10, 0.15, 0.08)) * (1 + 0.5 * noise(4 * u, 60 * above, fine))[:, None]
        colour = 0.4 * vector(self.horizon) + 0.6 * wooded
        return light + (colour - light) * cover


def noise(u: Numbers, v: Numbers, footprint: Numbers, octaves: int = 6) -> Numbers:
    """Value noise, about ±1, with amplitudes that fall about as 1/√f.

    u, v and footprint are in cells of the coarsest octave.
    The lattice repeats after 256 cells. Each octave is turned against the last, which hides it.
    """
    total = np.zeros_like(u)
    amplitude, width = 0.75, footprint
    for _ in range(octaves):
        # Exactly 0 from some width on: what is left out never depends on the other samples.
        fade = amplitude * (1.05 / (1 + (2 * width) ** 2) - 0.05).clip(0.0)
        if not fade.any():
            break
        total += fade * _smooth_lattice(u, v)
        u, v = 1.72 * u - 1.26 * v + 17.3, 1.26 * u + 1.72 * v - 9.1  # ×2.13 and turned by 36°
        width = 2.13 * width
        amplitude *= 0.68
    return total


@cache
def _lattice() -> Float32[np.ndarray, "65536"]:
    return np.random.default_rng(360).uniform(-1, 1, 65536).astype(np.float32)


def _lattice_at(column: Numbers, row: Numbers) -> Numbers:
    return _lattice()[_cell(column) | _cell(row) << 8]


def _cell(x: Numbers) -> Any:
    return x.astype(np.int32) & 255


def _smooth_lattice(u: Numbers, v: Numbers) -> Numbers:
    left, low = np.floor(u), np.floor(v)
    s, t = u - left, v - low
    s *= s * (3 - 2 * s)
    t *= t * (3 - 2 * t)
    i, j = _cell(left), _cell(low) << 8
    i1, j1 = (i + 1) & 255, (j + 256) & 65535
    lattice = _lattice()
    a, b = lattice[i | j], lattice[i | j1]
    a += s * (lattice[i1 | j] - a)
    b += s * (lattice[i1 | j1] - b)
    return a + t * (b - a)


def _step(x: Any) -> Any:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clip(0.0, 1.0)
    return x * x * (3 - 2 * x)


def _square_wave(x: Numbers, width: Numbers) -> Numbers:
    """+1 on even cells, -1 on odd ones, averaged over width: a difference of its integral."""
    half, width = width / 2 + 1e-4, width + 2e-4

    def integral(at: Numbers) -> Numbers:
        return 1 - np.abs(at % 2 - 1)

    return (integral(x + half) - integral(x - half)) / width


def _pulse(x: Numbers, width: Numbers, gap: float) -> Numbers:
    """1 inside each cell, 0 in the gap around it (a fraction of the cell), averaged over width."""
    half, width = width / 2 + 1e-4, width + 2e-4

    def integral(at: Numbers) -> Numbers:
        cell = np.floor(at)
        return cell * (1 - gap) + (at - cell - gap / 2).clip(0.0, 1 - gap)

    return (integral(x + half) - integral(x - half)) / width
