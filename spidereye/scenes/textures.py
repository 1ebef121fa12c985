"""How surfaces of the procedural scenes look: patterns filtered to a pixel's size.

Layer: data, below scene.py. Patterns are functions of metres on a surface (u, v). `footprint` is
the width that one sample covers, in the pattern's own unit; detail finer than that fades to its
mean, else far ground would be noise. Colours are linear RGB reflectances in [0, 1], light is in the
same scale with 1 about a white wall in the sun.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

Colour = tuple[float, float, float]
Numbers = Float32[np.ndarray, "n"]
Vectors = Float32[np.ndarray, "n 3"]


def vector(numbers: tuple[float, float, float]) -> Float32[np.ndarray, "3"]:
    """A colour, position or direction as an array."""
    return np.array(numbers, np.float32)


class Shade(NamedTuple):
    """What a surface does with light at n points."""

    albedo: Vectors  # share of the arriving light that is scattered, per channel
    glow: Vectors  # light given off
    gloss: Numbers  # share of the sky's light that is mirrored


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
    second: Colour | None = None  # tiles take a random mixture of colour and this one
    grain: float = 0.1  # relative brightness, ±, of noise at six scales
    grain_size: float = 0.8  # metres, the largest of the six
    stretch: float = 1.0  # how much longer the grain is along u: wood has about 8
    place: tuple[float, float] = (0.0, 0.0)  # metres; where in the noise grain and tone are taken
    frame: float = 0.0  # metres, of a border inside the tile: window frames, panelled doors
    frame_colour: Colour = (0.6, 0.6, 0.58)
    glow: Colour | None = None  # light that lit tiles give off: lamps, windows at night
    lit: float = 1.0  # share of the tiles that glow
    gloss: float = 0.0  # share of the sky's light that tiles mirror
    open_gaps: bool = False  # gaps are holes: fences, railings
    holes: float = 0.0  # share of the surface that is holes of irregular shape: foliage
    hole_size: float = 0.3  # metres, of the largest of them
    patch: "Material | None" = None  # lies on top in patches: stains, moss, bare earth
    patch_share: float = 0.3  # of the surface
    patch_size: float = 2.0  # metres

    @property
    def see_through(self) -> bool:
        return self.open_gaps or self.holes > 0

    @property
    def is_lamp(self) -> bool:
        """Glows all over: light comes out of it, so that it casts no shadow."""
        return self.glow is not None and self.lit >= 1

    def shade(self, u: Numbers, v: Numbers, footprint: Numbers) -> Shade:
        """All that light meets at surface points (u, v), metres, for samples footprint wide."""
        albedo, inside, cell = self._pattern(u, v, footprint)
        glow = np.zeros_like(albedo)
        if self.glow is not None:
            row, column = cell
            on = inside * (_lattice_at(13 * column + 5 * row + 3, 3 * row) < 2 * self.lit - 1)
            # Lit windows differ: what stands behind them is not the same.
            vary = 1 + 0.5 * _lattice_at(column + 91, row + 17) * (self.lit < 1)
            glow = (on * vary)[:, None] * vector(self.glow)
        shade = Shade(albedo, glow, self.gloss * inside)
        if self.patch is None:
            return shade
        size = self.patch_size
        depth = noise(
            (u + 2 * self.place[1]) / size, (v - self.place[0]) / size, footprint / size, 4
        )
        # The noise is about normal with a deviation of 0.45; a logistic curve inverts its share.
        limit = 0.26 * np.log(1 / min(max(self.patch_share, 1e-3), 0.999) - 1)
        cover = smooth_step((depth - limit) / 0.12 + 0.5)
        other = self.patch.shade(u, v, footprint)
        return Shade(
            shade.albedo + cover[:, None] * (other.albedo - shade.albedo),
            shade.glow + cover[:, None] * (other.glow - shade.glow),
            shade.gloss + cover * (other.gloss - shade.gloss),
        )

    def albedo(self, u: Numbers, v: Numbers, footprint: Numbers) -> Vectors:
        """Reflectance at surface points (u, v), metres, for samples footprint metres wide."""
        return self.shade(u, v, footprint).albedo

    def is_there(self, u: Numbers, v: Numbers) -> Bool[np.ndarray, "n"]:
        """False in holes."""
        there = np.ones(len(u), bool)
        if self.open_gaps:
            y = v / self.tile[1]
            x = u / self.tile[0] + self.shift * (np.floor(y) % 2)
            for at, gap in ((x, self.gap[0] / self.tile[0]), (y, self.gap[1] / self.tile[1])):
                there &= np.abs(at - np.floor(at) - 0.5) <= 0.5 - gap / 2
        if self.holes:
            size = self.hole_size
            ragged = smooth_lattice((u + self.place[0]) / size, (v + self.place[1]) / size)
            ragged += 0.8 * smooth_lattice(2.7 * v / size + 5.1, 2.7 * u / size - self.place[0])
            ragged += 0.6 * smooth_lattice(6.3 * u / size - 3.7, 6.3 * v / size + self.place[1])
            there &= ragged > 1.6 * (self.holes - 0.5)
        return there

    def _pattern(
        self, u: Numbers, v: Numbers, footprint: Numbers
    ) -> tuple[Vectors, Numbers, tuple[Numbers, Numbers]]:
        """Reflectance, the share of the sample that is on a tile, and the tile's (row, column)."""
        row = np.floor(v / self.tile[1])
        x = u / self.tile[0] + self.shift * (row % 2)
        y = v / self.tile[1]
        column = np.floor(x)
        width_x, width_y = footprint / self.tile[0], footprint / self.tile[1]
        fade = 1 / (1 + width_x**2 + width_y**2)
        brightness = np.ones_like(u)
        if self.check:
            brightness += self.check * _square_wave(x, width_x) * _square_wave(y, width_y)
        if self.tone:
            tone = _lattice_at(column + 7 * row + self.place[0], row + self.place[1])
            brightness += self.tone * fade * tone
        colour = np.broadcast_to(vector(self.colour), (len(u), 3))
        if self.second is not None:
            mix = 0.5 + 0.5 * fade * _lattice_at(3 * column - row + self.place[1], column + 5 * row)
            colour = colour + mix[:, None] * (vector(self.second) - vector(self.colour))
        colour = colour * brightness[:, None]
        inside = np.ones_like(u)
        if any(self.gap):
            inside = _pulse(x, width_x, self.gap[0] / self.tile[0])
            inside *= _pulse(y, width_y, self.gap[1] / self.tile[1])
            if not self.open_gaps:
                gap = vector(self.gap_colour)
                colour = gap * (1 - inside)[:, None] + colour * inside[:, None]
        if self.frame:
            edge = (self.gap[0] + 2 * self.frame, self.gap[1] + 2 * self.frame)
            pane = _pulse(x, width_x, edge[0] / self.tile[0])
            pane *= _pulse(y, width_y, edge[1] / self.tile[1])
            colour = colour + (inside - pane)[:, None] * (vector(self.frame_colour) - colour)
            inside = pane
        if self.grain:
            size = self.grain_size
            grain = noise(
                (u / self.stretch + self.place[0]) / size,
                (v + self.place[1]) / size,
                footprint / size,
            )
            colour *= (1 + self.grain * grain)[:, None]
        return colour.clip(0.0, 1.0), inside, (row, column)


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
        total += fade * smooth_lattice(u, v)
        u, v = 1.72 * u - 1.26 * v + 17.3, 1.26 * u + 1.72 * v - 9.1  # ×2.13 and turned by 36°
        width = 2.13 * width
        amplitude *= 0.68
    return total


def smooth_step(x: Any) -> Any:
    """0 below 0, 1 above 1, smooth between."""
    x = x.clip(0.0, 1.0)
    return x * x * (3 - 2 * x)


@cache
def _lattice() -> Float32[np.ndarray, "65536"]:
    return np.random.default_rng(360).uniform(-1, 1, 65536).astype(np.float32)


def _lattice_at(column: Numbers, row: Numbers) -> Numbers:
    return _lattice()[_cell(column) | _cell(row) << 8]


def _cell(x: Numbers) -> Any:
    return x.astype(np.int32) & 255


def smooth_lattice(u: Numbers, v: Numbers) -> Numbers:
    """Random numbers in ±1 at the integer places, smooth between them."""
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
