"""How indoor procedural scenes are drawn at random: rooms with windows, and halls.

Layer: data, below layouts.py. Lengths are metres, angles radians; the camera stands at the
origin. Windows are holes: what is seen through them stands outside, and the sun shines in.
"""

import math
from dataclasses import replace

import numpy as np

from spidereye.scenes import furniture, outdoors, parts, plants
from spidereye.scenes.parts import Site
from spidereye.scenes.solids import Layout, Light, Room, Solid
from spidereye.scenes.textures import Colour, Material


class House:
    """A room in the making: its site, its windows, its lights."""

    def __init__(self, site: Site, size: tuple[float, float, float]) -> None:
        self.site, self.size = site, size  # width, height, length
        self.openings: list[Solid] = []
        self.lights: list[Light] = []

    def walls(self) -> list[tuple[Site, float, float]]:
        """The four: a site whose z leads to the wall, the wall's length, its distance."""
        wide, _, long = self.size
        return [
            (
                self.site.at(0, 0, side * math.pi / 2),
                *((wide, long / 2), (long, wide / 2))[side % 2],
            )
            for side in range(4)
        ]

    def window(
        self,
        wall: Site,
        along: float,
        depth: float,
        size: tuple[float, float, float],
        sky: Colour,
    ) -> None:
        """A hole with a frame. size: width, height, of its sill; sky: light that it lets in."""
        wide, high, sill = size
        frame = Material(parts.paint(wall.rng, (0.3, 0.95), (0.0, 0.4)), grain=0.05)
        self.openings.append(wall.solid(along, depth, (wide, high, 0.4), frame, sill))
        for side in (-1, 1):
            wall.put(along + side * wide / 2, depth, (0.09, high + 0.09, 0.16), frame, sill - 0.045)
        for level in (sill - 0.045, sill + high - 0.045):
            wall.put(along, depth, (wide, 0.09, 0.16), frame, level)
        wall.put(along, depth - 0.08, (wide + 0.3, 0.04, 0.28), frame, sill - 0.06)
        bars = int(wall.rng.integers(1, 4))
        for bar in range(1, bars):
            wall.put(along + (bar / bars - 0.5) * wide, depth, (0.05, high, 0.06), frame, sill)
        if wall.chance(0.5):
            wall.put(along, depth, (wide, 0.05, 0.06), frame, sill + high * wall.uniform(0.4, 0.7))
        if wall.chance(0.5):
            cloth = Material(
                parts.paint(wall.rng, (0.4, 0.95), (0.0, 0.7)), tile=(0.09, 9.0), check=0.2,
                grain=0.2, grain_size=0.05,
            )  # fmt: skip
            drop = sill + high + 0.15
            for side in (-1, 1):
                spot = along + side * (wide / 2 + 0.12)
                wall.put(spot, depth - 0.12, (0.34, drop - 0.05, 0.08), cloth, 0.05)
            wall.put(along, depth - 0.12, (wide + 0.9, 0.04, 0.04), frame, drop, shape="cylinder")
        if wall.chance(0.4) and sill > 0.6:
            ribs = Material((0.75, 0.75, 0.72), (0.2, 0.2, 0.2), (0.06, 9.0), (0.015, 0.0))
            wall.put(along, depth - 0.08, (0.8 * wide, 0.5, 0.1), ribs, 0.1)
        if any(sky):
            x, z = wall.world(along, depth - 0.4)
            strength = 0.7 * wide * high
            light = (sky[0] * strength, sky[1] * strength, sky[2] * strength)
            self.lights.append(Light((x, wall.floor + sill + high / 2, z), light))

    def lamp(self, x: float, z: float, strength: float) -> None:
        """A panel, a globe or a shade under the ceiling, and its light."""
        site, high = self.site, self.size[1]
        warm = site.uniform(0.5, 1.0)
        colour = (1.0, 0.6 + 0.4 * warm, 0.3 + 0.7 * warm)
        bright = (2.5 * colour[0], 2.5 * colour[1], 2.5 * colour[2])
        glowing = Material(colour, grain=0.0, glow=bright)
        kind, drop = int(site.rng.integers(3)), 0.35
        if kind == 0:
            size = (site.uniform(0.3, 1.2), 0.06, site.uniform(0.3, 0.6))
            site.put(x, z, size, glowing, bottom=high - 0.06)
        else:
            drop = site.uniform(0.4, 0.8)
            dark = Material((0.03, 0.03, 0.03))
            site.put(x, z, (0.02, drop - 0.1, 0.02), dark, high - drop + 0.1, shape="cylinder")
            size = (0.3, 0.3, 0.3) if kind == 1 else (0.5, 0.25, 0.5)
            shape = "ball" if kind == 1 else "cone"
            site.put(x, z, size, glowing, high - drop - 0.1, shape=shape)
        place = site.world(x, z)
        tinted = (colour[0] * strength, colour[1] * strength, colour[2] * strength)
        self.lights.append(Light((place[0], site.floor + high - drop, place[1]), tinted))

    def finish(self, outside: Layout, wall: Material, floor: Material) -> Layout:
        """The room in its surroundings."""
        site, size = self.site, self.size
        ceiling = Material(parts.paint(site.rng, (0.8, 0.95), (0.0, 0.15)), grain=0.12)
        if site.chance(0.25):
            ceiling = replace(ceiling, tile=(0.6, 0.6), gap=(0.02, 0.02), tone=0.05)
        elif site.chance(0.2):
            ceiling = parts.planks(site.rng)
        centre = (site.x, site.floor + size[1] / 2, site.z)
        box = Solid(centre, size, wall, site.yaw, top=ceiling)
        warm = site.uniform(0.9, 1.0)
        room = Room(box, floor, (0.2, 0.2 * warm, 0.2 * warm**2), tuple(self.openings))
        lights = (*outside.lights, *self.lights)
        return replace(outside, solids=tuple(site.solids), lights=lights, room=room)


def surroundings(site: Site, reach: float, night: bool) -> None:
    """Houses and trees beyond `reach` metres, seen through windows."""
    for turn in np.arange(-math.pi, math.pi, math.pi / 3) + site.uniform(-0.5, 0.5):
        lit = site.uniform(0.3, 0.7) if night else 0.0
        distance, turn = reach + site.uniform(4, 22), float(turn)
        spot = (distance * math.sin(turn), distance * math.cos(turn))
        # x leads away from the room: a building's front, at x = 0, looks back at it.
        place = site.at(*spot, turn - math.pi / 2)
        if site.chance(0.65):
            bays, storeys = int(site.rng.integers(3, 7)), int(site.rng.integers(1, 7))
            outdoors.building(place.at(0, -2.0 * bays / 2), storeys, bays, lit)
        for _ in range(2):
            plants.tree(place, site.uniform(-3, -1), site.uniform(-7, 7))


def room(site: Site, night: bool) -> House:
    """A furnished room with windows."""
    rng = site.rng
    size = (site.uniform(3.2, 8.0), site.uniform(2.4, 3.2), site.uniform(3.2, 8.0))
    spot = (site.uniform(-0.5, 0.5) * (size[0] - 2.2), site.uniform(-0.5, 0.5) * (size[2] - 2.2))
    house = House(site.at(0, 0, site.uniform(-math.pi, math.pi)).at(*spot), size)
    sky = (0.0, 0.0, 0.0) if night else (0.85, 0.95, 1.05)
    shape = (site.uniform(0.8, 1.9), site.uniform(1.0, size[1] - 1.2), site.uniform(0.5, 0.9))
    if site.chance(0.2):  # down to the floor
        shape = (site.uniform(1.5, 2.8), size[1] - 0.4, 0.06)
    skirting = Material(parts.paint(rng, (0.3, 0.95), (0.0, 0.3)))
    for side, (wall, length, depth) in enumerate(house.walls()):
        wall.put(0, depth - 0.01, (length, 0.1, 0.02), skirting)
        if side == 0 or site.chance(0.35):
            places = (-length / 4, length / 4) if length > 2 * shape[0] + 1.6 else (0.0,)
            for number, along in enumerate(places):
                # One soft light for the windows of a wall.
                light = sky if number == 0 else (0.0, 0.0, 0.0)
                house.window(wall, along, depth, shape, light)
        else:
            _along_wall(wall, length, depth)
    if site.chance(0.75):
        rug = Material(
            parts.paint(rng, (0.3, 0.8), (0.1, 0.8)), parts.paint(rng, (0.2, 0.9), (0.0, 0.6)),
            (site.uniform(0.1, 0.6), site.uniform(0.1, 0.6)), (0.03, 0.03), frame=0.03,
            frame_colour=parts.paint(rng, (0.2, 0.9), (0.1, 0.8)),
            check=float(rng.choice([0.0, 0.3])),
            second=parts.paint(rng, (0.3, 0.8), (0.1, 0.8)), grain=0.4, grain_size=0.05,
        )  # fmt: skip
        house.site.put(0, 0, (site.uniform(1.4, 2.6), 0.015, site.uniform(1.4, 2.6)), rug)
    for _ in range(int(rng.integers(1, 4))):
        x, z = 0.3 * site.uniform(-size[0], size[0]), 0.3 * site.uniform(-size[2], size[2])
        furniture.table(house.site, x, z, site.uniform(0, math.pi))
    corners = [(0.5 * a * size[0] - 0.45 * a, 0.5 * b * size[2] - 0.45 * b)
               for a in (-1, 1) for b in (-1, 1)]  # fmt: skip
    for corner in corners:
        if site.chance(0.6):
            (plants.pot_plant, furniture.floor_lamp)[int(rng.integers(2))](house.site, *corner)
    for _ in range(int(rng.integers(1, 4))):
        near = house.site.at(-spot[0], -spot[1]).around(0.9, 1.5)
        (plants.pot_plant, furniture.boxes, outdoors.figure)[int(rng.integers(3))](near, 0, 0)
    house.lamp(0.0, 0.0, 2.2 if night else 0.7)
    return house


def hall(site: Site, night: bool) -> House:
    """A store, a workshop or a gallery: columns, shelves, piles, rows of lamps, high windows."""
    rng = site.rng
    size = (site.uniform(9, 22), site.uniform(3.5, 7.0), site.uniform(10, 34))
    wide, high, long = size
    house = House(site.at(0, 0, site.uniform(-math.pi, math.pi)), size)
    house.site = house.site.at(site.uniform(-0.3, 0.3) * wide, site.uniform(-0.3, 0.3) * long)
    column = parts.plaster(rng) if site.chance(0.5) else parts.bricks(rng)
    thick, kind = site.uniform(0.3, 0.8), "cylinder" if site.chance(0.5) else "box"
    beam = Material(parts.paint(rng, (0.15, 0.8), (0.0, 0.6)), grain=0.2)
    rows = [float(z) for z in np.arange(-long / 2 + 3, long / 2 - 2, site.uniform(4, 7))]
    for z in rows:
        house.site.put(0, z, (wide, 0.35, 0.3), beam, high - 0.4)
        for x in (-wide / 4, wide / 4):
            house.site.put(x, z, (thick, high, thick), column, shape=kind)
    for _ in range(int(rng.integers(18, 36))):
        spot = (0.47 * site.uniform(-wide, wide), 0.47 * site.uniform(-long, long))
        furniture.boxes(house.site, *spot)
    for wall, length, depth in house.walls():
        glazed, sill = site.chance(0.6), site.uniform(0.9, high - 1.8)
        for along in np.arange(-length / 2 + 2, length / 2 - 1.5, site.uniform(3.5, 6.0)):
            if glazed:
                opening = (site.uniform(1.2, 2.4), min(1.6, high - sill - 0.2), sill)
                house.window(wall, float(along), depth, opening, (0.0, 0.0, 0.0))
            else:
                furniture.shelf(wall, float(along), depth - 0.3)
                furniture.picture(wall, float(along) + 1.6, depth)
    for _ in range(int(rng.integers(2, 6))):
        outdoors.figure(site.around(1.0, 7.0), 0, 0)
    for _ in range(2):
        furniture.boxes(site.around(1.0, 1.8), 0, 0)
    for z in rows[:: max(1, len(rows) // 3)]:
        house.lamp(0.0, z, 5.0)
    return house


def _along_wall(wall: Site, length: float, depth: float) -> None:
    """Furniture and pictures along a wall at z = depth."""
    rng, along = wall.rng, -length / 2 + 0.7
    while along < length / 2 - 0.9:
        kind = int(rng.integers(6))
        if kind == 0:
            furniture.sofa(wall, along + 0.6, depth - 0.45)
        elif kind == 1:
            furniture.shelf(wall, along + 0.3, depth - 0.17)
        elif kind == 2:
            furniture.cabinet(wall, along + 0.4, depth - 0.23)
        elif kind == 3:
            furniture.door(wall, along, depth)
        elif kind == 4:
            furniture.bed(wall, along + 0.5, depth - 0.45)
        if kind in (0, 2, 4, 5):
            furniture.picture(wall, along + 0.4, depth)
        along += wall.uniform(1.6, 2.4)
