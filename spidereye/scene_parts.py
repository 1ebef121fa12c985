"""What procedural scenes are furnished with: materials, trees, cars, furniture, and their site.

Layer: data, below scene_layouts.py. Lengths are metres, angles radians; the camera stands at the
origin. Every choice is drawn from the generator that is passed in.
"""

import colorsys
import math
from dataclasses import replace

import numpy as np

from spidereye.scene_solids import Solid
from spidereye.scene_textures import Colour, Material

_CLEARANCE = 0.7  # nothing comes nearer to the camera, but for flat things on the floor


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

    def put(
        self,
        x: float,
        z: float,
        size: tuple[float, float, float],
        material: Material,
        bottom: float = 0.0,
        top: Material | None = None,
        ball: bool = False,
    ) -> None:
        """A solid with its footprint's centre at (x, z), `bottom` above the floor.

        Left out where it would come too near to the camera.
        """
        centre_x, centre_z = self.world(x, z)
        centre = (centre_x, self.floor + bottom + size[1] / 2, centre_z)
        place = (self.uniform(0, 200), self.uniform(0, 200))
        material = replace(material, place=place)
        solid = Solid(centre, size, material, self.yaw, top, ball)
        nearest = solid.distance_on_floor(np.zeros((1, 3), np.float32))[0]
        low, high = self.floor + bottom, self.floor + bottom + size[1]
        if nearest > _CLEARANCE or high < -_CLEARANCE or low > _CLEARANCE:
            self.solids.append(solid)

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
    return Material(
        colour, (0.12, 0.11, 0.1), (size, size * float(rng.choice([0.5, 1.0]))),
        (0.015, 0.015), float(rng.choice([0.0, 0.5])), 0.2, check, 0.25,
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
        Material(colour, grain=0.5, grain_size=float(rng.uniform(0.2, 1.0))),
    ]
    return kinds[int(rng.integers(len(kinds)))]


def facade(rng: np.random.Generator) -> Material:
    """Windows are the tiles, the wall is the gap between them."""
    wide, high = float(rng.uniform(1.6, 3.4)), float(rng.uniform(2.7, 3.5))
    gap = (wide * float(rng.uniform(0.3, 0.65)), high * float(rng.uniform(0.35, 0.6)))
    glass = paint(rng, (0.15, 0.4), (0.1, 0.4), (0.5, 0.65))
    wall = paint(rng, (0.4, 0.85), (0.0, 0.45), (0.0, 0.15))
    return Material(glass, wall, (wide, high), gap, tone=0.8, grain=0.2, grain_size=2.0)


def tree(site: Site, x: float, z: float) -> None:
    rng, height = site.rng, site.uniform(3, 9)
    trunk = site.uniform(0.15, 0.4)
    bark = Material(paint(rng, (0.2, 0.4), (0.2, 0.4), (0.05, 0.1)), grain=0.4, grain_size=0.2)
    leaves = Material(paint(rng, (0.3, 0.55), (0.4, 0.75), (0.17, 0.32)), grain=1.2, grain_size=0.9)
    site.put(x, z, (trunk, 0.6 * height, trunk), bark)
    for _ in range(4):
        wide, high = height * site.uniform(0.25, 0.5), height * site.uniform(0.25, 0.45)
        spread = 0.14 * height
        site.put(
            x + site.uniform(-spread, spread),
            z + site.uniform(-spread, spread),
            (wide, high, wide),
            leaves,
            bottom=height * site.uniform(0.32, 0.62),
            ball=True,
        )


def car(site: Site, x: float, z: float) -> None:
    body = Material(paint(site.rng, (0.15, 0.9), (0.0, 0.8)), grain=0.03)
    glass = Material((0.03, 0.04, 0.05), grain=0.1)
    rubber = Material((0.02, 0.02, 0.02), grain=0.1)
    site.put(x, z, (1.75, 0.62, 4.3), body, bottom=0.28)
    site.put(x, z - 0.2, (1.55, 0.5, 2.3), glass, bottom=0.9, top=body)
    for end in (-1.35, 1.35):
        site.put(x, z + end, (1.8, 0.6, 0.6), rubber)


def bench(site: Site, x: float, z: float, yaw: float) -> None:
    seat, boards = site.at(x, z, yaw), planks(site.rng)
    seat.put(0, 0, (1.6, 0.06, 0.4), boards, bottom=0.42)
    seat.put(0, 0.2, (1.6, 0.35, 0.05), boards, bottom=0.55)
    for end in (-0.65, 0.65):
        seat.put(end, 0, (0.08, 0.42, 0.4), Material((0.05, 0.05, 0.05)))


def table(site: Site, x: float, z: float, yaw: float) -> None:
    """With chairs round it."""
    place, top = site.at(x, z, yaw), wood(site.rng)
    wide, deep = site.uniform(1.0, 2.0), site.uniform(0.7, 1.0)
    place.put(0, 0, (wide, 0.04, deep), top, bottom=0.71)
    for side in (-1, 1):
        for end in (-1, 1):
            place.put(side * (wide / 2 - 0.08), end * (deep / 2 - 0.08), (0.06, 0.71, 0.06), top)
        if site.chance(0.8):
            seat = place.at(site.uniform(-0.3, 0.3), side * (deep / 2 + 0.2), side * math.pi / 2)
            cloth = Material(paint(site.rng), grain=0.15, grain_size=0.05)
            seat.put(0, 0, (0.44, 0.05, 0.44), cloth, bottom=0.43)
            seat.put(0.2, 0, (0.04, 0.5, 0.42), cloth, bottom=0.45)
            for corner_x in (-0.18, 0.18):
                for corner_z in (-0.18, 0.18):
                    seat.put(corner_x, corner_z, (0.04, 0.43, 0.04), top)
    for _ in range(3):
        size = site.uniform(0.08, 0.25)
        spot = (site.uniform(-0.4, 0.4) * wide, site.uniform(-0.3, 0.3) * deep)
        thing = Material(paint(site.rng, (0.3, 0.95), (0.1, 0.8)))
        place.put(*spot, (size, site.uniform(0.05, 0.3), size), thing, 0.75, ball=site.chance(0.4))


def sofa(site: Site, x: float, z: float, yaw: float) -> None:
    """Its back towards + z."""
    place, wide = site.at(x, z, yaw), site.uniform(1.4, 2.4)
    cloth = Material(paint(site.rng, (0.2, 0.8), (0.05, 0.6)), grain=0.2, grain_size=0.04)
    place.put(0, 0, (wide, 0.42, 0.85), cloth)
    place.put(0, 0.35, (wide, 0.4, 0.2), cloth, bottom=0.42)
    for end in (-1, 1):
        place.put(end * (wide / 2 + 0.09), 0, (0.18, 0.6, 0.85), cloth)
        if site.chance(0.7):
            pillow = Material(paint(site.rng, (0.4, 0.95), (0.2, 0.8)), tile=(0.1, 0.1), check=0.2)
            place.put(end * 0.3 * wide, 0.15, (0.42, 0.36, 0.14), pillow, bottom=0.42)


def shelf(site: Site, x: float, z: float, yaw: float) -> None:
    """Boards with books, its back towards + z."""
    place, board = site.at(x, z, yaw), wood(site.rng)
    wide, high = site.uniform(0.8, 1.8), site.uniform(1.0, 2.1)
    place.put(0, 0.14, (wide, high, 0.02), board)
    for end in (-1, 1):
        place.put(end * wide / 2, 0, (0.03, high, 0.3), board)
    for level in np.arange(0.05, high, 0.36):
        place.put(0, 0, (wide, 0.025, 0.3), board, bottom=float(level))
        books = Material(
            paint(site.rng, (0.3, 0.7), (0.2, 0.6)), (0.03, 0.02, 0.02),
            (site.uniform(0.025, 0.05), 1.0), (0.003, 0.0), tone=0.7, grain=0.1,
        )  # fmt: skip
        filled = wide * site.uniform(0.4, 0.95)
        start = (filled - wide) / 2 * float(site.rng.choice([-1, 1]))
        place.put(start, 0.02, (filled, 0.27, 0.2), books, bottom=float(level) + 0.03)


def cabinet(site: Site, x: float, z: float, yaw: float) -> None:
    """With doors, its back towards + z."""
    wide, high = site.uniform(0.8, 2.0), float(site.rng.choice([0.8, 0.95, 2.0]))
    front = wood(site.rng) if site.chance(0.6) else Material(paint(site.rng, (0.6, 0.95)))
    doors = replace(
        front, tile=(wide / 3, high / 2), gap=(0.02, 0.02), gap_colour=(0.04, 0.03, 0.03)
    )
    site.at(x, z, yaw).put(0, 0, (wide, high, 0.45), doors, top=front)


def plant(site: Site, x: float, z: float) -> None:
    pot = Material(paint(site.rng, (0.3, 0.8), (0.2, 0.6), (0.02, 0.1)))
    leaf = paint(site.rng, (0.25, 0.5), (0.5, 0.8), (0.22, 0.36))
    size = site.uniform(0.5, 1.1)
    site.put(x, z, (0.35, 0.35, 0.35), pot)
    foliage = Material(leaf, grain=1.2, grain_size=0.25)
    site.put(x, z, (0.7 * size, size, 0.7 * size), foliage, bottom=0.33, ball=True)
