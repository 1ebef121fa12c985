"""What procedural scenes are made with: the materials, and the site that solids are put on.

Layer: data, below plants.py, outdoors.py and furniture.py. Lengths are metres,
angles radians; the camera stands at the origin. Every choice is drawn from the generator that is
passed in.
"""

import colorsys
import math
from dataclasses import replace

import numpy as np

from spidereye.scenes.shapes import Shape
from spidereye.scenes.solids import Solid
from spidereye.scenes.textures import Colour, Material

CLEARANCE = 0.7  # nothing comes nearer to the camera, but for flat things on the floor


class Site:
    """Puts solids on the floor, in axes turned by yaw about (x, z)."""

    def __init__(self, rng: np.random.Generator, floor: float) -> None:
        self.rng, self.floor = rng, floor
        self.x, self.z, self.yaw = 0.0, 0.0, 0.0
        self.solids: list[Solid] = []

    def at(self, x: float, z: float, yaw: float = 0.0) -> "Site":
        """The same site seen from a corner of it: for furniture of several parts."""
        site = Site(self.rng, self.floor)
        site.x, site.z = self.world(x, z)
        site.yaw, site.solids = self.yaw + yaw, self.solids
        return site

    def world(self, x: float, z: float) -> tuple[float, float]:
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return self.x + x * cos + z * sin, self.z - x * sin + z * cos

    def solid(
        self,
        x: float,
        z: float,
        size: tuple[float, float, float],
        material: Material,
        bottom: float = 0.0,
        top: Material | None = None,
        shape: Shape = "box",
    ) -> Solid:
        """With its footprint's centre at (x, z), `bottom` above the floor."""
        centre_x, centre_z = self.world(x, z)
        centre = (centre_x, self.floor + bottom + size[1] / 2, centre_z)
        return Solid(centre, size, material, self.yaw, top, shape)

    def put(
        self,
        x: float,
        z: float,
        size: tuple[float, float, float],
        material: Material,
        bottom: float = 0.0,
        top: Material | None = None,
        shape: Shape = "box",
    ) -> None:
        """Adds such a solid, its texture's place at random; left out where it would come too near
        to the camera."""
        material = replace(material, place=(self.uniform(0, 200), self.uniform(0, 200)))
        solid = self.solid(x, z, size, material, bottom, top, shape)
        nearest = solid.distance_on_floor(np.zeros((1, 3), np.float32))[0]
        low, high = self.floor + bottom, self.floor + bottom + size[1]
        if nearest > CLEARANCE or high < -CLEARANCE or low > CLEARANCE:
            self.solids.append(solid)

    def around(self, near: float, far: float) -> "Site":
        """A place at random near … far metres from here, turned so that +z leads away from here."""
        distance, turn = self.uniform(near, far), self.uniform(-math.pi, math.pi)
        return self.at(distance * math.sin(turn), distance * math.cos(turn), turn)

    def uniform(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)


def paint(
    rng: np.random.Generator,
    value: tuple[float, float] = (0.25, 0.75),
    saturation: tuple[float, float] = (0.0, 0.45),
    hue: tuple[float, float] = (0.0, 1.0),
) -> Colour:
    """A colour, more often muted than not; value is display brightness."""
    muted = saturation[0] + (saturation[1] - saturation[0]) * float(rng.beta(1.2, 2.0))
    shown = colorsys.hsv_to_rgb(float(rng.uniform(*hue)), muted, float(rng.uniform(*value)))
    red, green, blue = (channel**2.2 for channel in shown)
    return red, green, blue


def wood(rng: np.random.Generator) -> Material:
    colour = paint(rng, (0.3, 0.7), (0.35, 0.6), (0.05, 0.1))
    return Material(colour, grain=0.25, grain_size=0.06, stretch=12.0)


def planks(rng: np.random.Generator) -> Material:
    plain = wood(rng)
    red, green, blue = plain.colour
    return replace(
        plain,
        gap_colour=(red * 0.3, green * 0.3, blue * 0.3),
        tile=(float(rng.uniform(0.8, 1.6)), float(rng.uniform(0.09, 0.2))),
        gap=(0.006, 0.006),
        shift=0.37,
        tone=0.2,
    )


def bricks(rng: np.random.Generator) -> Material:
    colour = paint(rng, (0.4, 0.65), (0.3, 0.6), (0.01, 0.08))
    return Material(colour, (0.35, 0.33, 0.3), (0.25, 0.08), (0.012, 0.012), 0.5, 0.35, grain=0.25)


def plaster(rng: np.random.Generator, value: tuple[float, float] = (0.5, 0.9)) -> Material:
    return Material(paint(rng, value, (0.0, 0.4), (0.02, 0.18)), grain=0.2, grain_size=1.5)


def slabs(rng: np.random.Generator) -> Material:
    size = float(rng.uniform(0.3, 1.2))
    colour = paint(rng, (0.45, 0.7), (0.0, 0.2), (0.05, 0.15))
    check = float(rng.choice([0.0, 0.0, 0.25]))
    dirt = Material(paint(rng, (0.25, 0.45), (0.0, 0.3), (0.05, 0.25)), grain=0.4)
    return Material(
        colour, (0.12, 0.11, 0.1), (size, size * float(rng.choice([0.5, 1.0]))),
        (0.015, 0.015), shift=float(rng.choice([0.0, 0.5])), tone=0.2, check=check, grain=0.35,
        grain_size=0.5, patch=dirt if rng.random() < 0.5 else None, patch_share=0.15,
    )  # fmt: skip


def cobbles(rng: np.random.Generator) -> Material:
    size = float(rng.uniform(0.1, 0.2))
    stone, other = (paint(rng, (0.35, 0.6), (0.0, 0.25), (0.02, 0.12)) for _ in range(2))
    return Material(
        stone, (0.06, 0.055, 0.05), (size, 0.8 * size), (0.014, 0.014), shift=0.5, tone=0.3,
        second=other, grain=0.3, grain_size=0.15,
    )  # fmt: skip


def asphalt(rng: np.random.Generator) -> Material:
    """Patched, cracked at the joints, with fine stones."""
    shade = float(rng.uniform(0.05, 0.13))
    mended = Material((0.6 * shade, 0.6 * shade, 0.63 * shade), grain=0.4, grain_size=0.06)
    return Material(
        (shade, shade, 1.04 * shade), grain=0.35, grain_size=0.12, patch=mended,
        patch_share=float(rng.uniform(0.1, 0.4)), patch_size=float(rng.uniform(0.8, 3.5)),
    )  # fmt: skip


def grass(rng: np.random.Generator) -> Material:
    """With earth showing through, or flowers."""
    earth = Material(paint(rng, (0.3, 0.5), (0.3, 0.6), (0.06, 0.1)), grain=0.6, grain_size=0.2)
    bloom = Material(paint(rng, (0.7, 0.95), (0.1, 0.8)), grain=0.5, grain_size=0.05)
    flowers = rng.random() < 0.3
    return Material(
        paint(rng, (0.32, 0.55), (0.4, 0.7), (0.17, 0.3)), grain=1.0,
        grain_size=float(rng.uniform(0.25, 0.7)), stretch=float(rng.uniform(0.5, 2)),
        patch=bloom if flowers else earth, patch_share=0.04 if flowers else 0.2,
        patch_size=0.12 if flowers else float(rng.uniform(0.8, 4)),
    )  # fmt: skip


def gravel(rng: np.random.Generator) -> Material:
    size = float(rng.uniform(0.015, 0.03))
    stone, other = (paint(rng, (0.35, 0.75), (0.0, 0.3), (0.05, 0.12)) for _ in range(2))
    return Material(stone, tile=(size, size), shift=0.4, second=other, tone=0.35, grain=0.4)


def lettering(rng: np.random.Generator, size: float = 0.1) -> Material:
    """Lines of something like writing, `size` metres high."""
    ground, ink = paint(rng, (0.1, 0.95), (0.1, 0.9)), paint(rng, (0.05, 0.95), (0.0, 0.9))
    return Material(
        ink, ground, (0.7 * size, 1.7 * size), (0.2 * size, 0.7 * size), tone=0.4, second=ground,
        grain=0.05,
    )  # fmt: skip


def crate(rng: np.random.Generator) -> Material:
    colour = paint(rng, (0.3, 0.8), (0.05, 0.6))
    size = float(rng.uniform(0.1, 0.5))
    kinds = [
        Material(colour, grain=0.3),
        Material(colour, paint(rng, (0.2, 0.9)), (size, size), (0.4 * size, 0.0), tone=0.1),
        Material(colour, tile=(size, size), check=0.5),
        planks(rng),
        bricks(rng),
        lettering(rng, 0.5 * size),
        Material(colour, second=paint(rng), tile=(size, 0.6 * size), gap=(0.01, 0.01), tone=0.4),
        Material(colour, grain=0.5, grain_size=float(rng.uniform(0.2, 1.0))),
    ]
    return kinds[int(rng.integers(len(kinds)))]


def facade(rng: np.random.Generator, lit: float = 0.0) -> Material:
    """Windows are the tiles, the wall is the gap between them. lit: share that glows."""
    wide, high = float(rng.uniform(1.4, 3.4)), float(rng.uniform(2.7, 3.5))
    gap = (wide * float(rng.uniform(0.25, 0.65)), high * float(rng.uniform(0.3, 0.6)))
    glass = paint(rng, (0.15, 0.4), (0.1, 0.4), (0.5, 0.65))
    wall = paint(rng, (0.4, 0.9), (0.0, 0.55), (0.0, 0.15))
    stain = Material((0.5 * wall[0], 0.48 * wall[1], 0.45 * wall[2]), grain=0.3)
    return Material(
        glass, wall, (wide, high), gap, frame=float(rng.uniform(0.05, 0.1)),
        frame_colour=paint(rng, (0.2, 0.95), (0.0, 0.4)), tone=0.8, second=(0.25, 0.25, 0.24),
        grain=0.25,
        glow=(0.9, 0.62, 0.3) if lit else None, lit=lit, gloss=0.5,
        patch=stain if rng.random() < 0.3 else None, patch_share=0.12,
    )  # fmt: skip
