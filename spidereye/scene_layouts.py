"""How procedural scenes are drawn at random: streets, parks, yards, rooms and halls.

Layer: data, below scenes.py. Lengths are metres, angles radians; the camera stands at the origin.
"""

import math
from dataclasses import replace

import numpy as np

from spidereye import scene_parts as parts
from spidereye.scene_parts import Site
from spidereye.scene_solids import Layout, Light, Solid
from spidereye.scene_textures import Material, Sky


def random_layout(rng: np.random.Generator) -> Layout:
    """One of the kinds of scenes, all of its details drawn from rng."""
    kinds = (_street, _park, _yard, _room, _hall)
    kind = kinds[rng.choice(len(kinds), p=[0.25, 0.2, 0.2, 0.25, 0.1])]
    return kind(Site(rng, -float(rng.uniform(1.45, 1.75))))


def _outdoors(site: Site, ground: Material, hills: float, haze: float) -> Layout:
    """The site under a clear, cloudy, closed or evening sky."""
    rng = site.rng
    closed, evening = site.chance(0.25), site.chance(0.25)
    height = math.radians(site.uniform(6, 16) if evening else site.uniform(25, 65))
    turn = site.uniform(-math.pi, math.pi)
    sun = (math.cos(height) * math.sin(turn), math.sin(height), math.cos(height) * math.cos(turn))
    warm = (1.5, 0.95, 0.5) if evening else (1.3, 1.22, 1.08)
    cover = site.uniform(0.75, 1.0) if closed else site.uniform(0.0, 0.6)
    place = (site.uniform(0, 200), site.uniform(0, 200))
    if closed:
        grey = site.uniform(0.5, 0.8)
        zenith, horizon = (0.5, 0.53, 0.57), (grey, grey, 1.03 * grey)
        ambient, strength = (0.6, 0.62, 0.65), 0.12
    elif evening:
        zenith, horizon = (0.12, 0.2, 0.42), (0.95, site.uniform(0.55, 0.7), 0.42)
        ambient, strength = (0.24, 0.25, 0.32), 1.1
    else:
        deep = site.uniform(0.0, 0.1)
        zenith, horizon = (0.1, 0.22 + deep, 0.55 + deep), (0.62, 0.72, 0.82)
        ambient, strength = (0.2, 0.24, 0.31), 1.2
    colour = (warm[0] * strength, warm[1] * strength, warm[2] * strength)
    sky = Sky(zenith, horizon, sun, colour, cover, float(rng.uniform(0.5, 1.6)), hills, place)
    light = Light(sun, colour, distant=True)
    ground = replace(ground, place=(site.uniform(0, 200), site.uniform(0, 200)))
    pattern = site.uniform(-math.pi, math.pi)
    return Layout(tuple(site.solids), ground, sky, (light,), ambient, site.floor, haze, pattern)


def _street(site: Site) -> Layout:
    rng = site.rng
    road = site.at(0.0, 0.0, site.uniform(-math.pi, math.pi))
    shade = site.uniform(0.04, 0.12)
    asphalt = Material((shade, shade, 1.05 * shade), grain=0.4, grain_size=0.6)
    middle = site.uniform(-2.0, 2.0)
    half = site.uniform(3.5, 6.5)  # of the carriageway
    walk = site.uniform(1.8, 4.0)  # width of a pavement
    for side in (-1, 1):
        road.put(middle + side * (half + walk / 2), 0, (walk, 0.14, 110.0), parts.slabs(rng))
        along = -50.0 + site.uniform(0, 6)
        while along < 45.0:
            facade = parts.facade(rng)
            length = facade.tile[0] * int(rng.integers(3, 8))
            height = facade.tile[1] * int(rng.integers(1, 6))
            depth = facade.tile[0] * 4
            x = middle + side * (half + walk + depth / 2)
            roof = parts.plaster(rng, (0.2, 0.5))
            # A box's u runs along its own z here, and its windows start at its corner.
            road.put(x, along + length / 2, (depth, height, length), facade, top=roof)
            along += length + (site.uniform(2.0, 8.0) if site.chance(0.25) else 0.02)
        for _ in range(int(rng.integers(1, 5))):
            parts.car(road, middle + side * (half - 1.1), site.uniform(-35, 35))
        for _ in range(int(rng.integers(0, 4))):
            parts.tree(road, middle + side * (half + 0.8), site.uniform(-30, 30))
        for spot in np.arange(-30, 31, 15) + site.uniform(-5, 5):
            steel = Material((0.08, 0.09, 0.09), grain=0.1)
            road.put(middle + side * (half + 0.4), float(spot), (0.14, 6.0, 0.14), steel)
    for spot in np.arange(-40, 41, 8):
        line = Material((0.6, 0.6, 0.57), grain=0.3, grain_size=0.3)
        road.put(middle, float(spot), (0.13, 0.012, 3.0), line)
    return _outdoors(site, asphalt, site.uniform(0.0, 0.06), site.uniform(120, 400))


def _park(site: Site) -> Layout:
    rng = site.rng
    grass = Material(
        parts.paint(rng, (0.3, 0.5), (0.45, 0.7), (0.17, 0.3)), grain=0.65,
        grain_size=site.uniform(0.8, 3.0),
    )  # fmt: skip
    path = Material(
        parts.paint(rng, (0.4, 0.65), (0.1, 0.35), (0.06, 0.12)), grain=0.3, grain_size=0.4
    )
    walk = site.at(0, 0, site.uniform(-math.pi, math.pi))
    walk.put(site.uniform(-2.5, 2.5), 0, (site.uniform(1.2, 3.0), 0.03, 90.0), path)
    for _ in range(int(rng.integers(4, 12))):
        distance, turn = site.uniform(3.5, 34), site.uniform(-math.pi, math.pi)
        parts.tree(site, distance * math.sin(turn), distance * math.cos(turn))
    for _ in range(int(rng.integers(1, 4))):
        turn = site.uniform(-math.pi, math.pi)
        distance = site.uniform(1.6, 6.0)
        parts.bench(site, distance * math.sin(turn), distance * math.cos(turn), turn)
    for _ in range(int(rng.integers(0, 4))):
        distance, turn = site.uniform(22, 40), site.uniform(-math.pi, math.pi)
        house = site.at(distance * math.sin(turn), distance * math.cos(turn), turn)
        facade = parts.facade(rng)
        wide, high = facade.tile
        house.put(0, 0, (4 * wide, 2 * high, 3 * wide), facade, top=parts.plaster(rng, (0.2, 0.5)))
    for _ in range(int(rng.integers(1, 6))):
        distance, turn = site.uniform(1.5, 12), site.uniform(-math.pi, math.pi)
        size = site.uniform(0.3, 1.3)
        stone = Material(parts.paint(rng, (0.35, 0.6), (0.0, 0.2)), grain=0.4, grain_size=0.4)
        x, z = distance * math.sin(turn), distance * math.cos(turn)
        site.put(x, z, (size, 0.7 * size, size), stone, bottom=-0.2 * size, ball=True)
    return _outdoors(site, grass, site.uniform(0.03, 0.2), site.uniform(150, 500))


def _yard(site: Site) -> Layout:
    rng = site.rng
    yard = site.at(0, 0, site.uniform(-math.pi, math.pi))
    wide, long = site.uniform(5, 18), site.uniform(5, 18)
    for side in (-1, 1):
        for x, z, size_x, size_z in (
            (side * wide, 0, 0.4, 2 * long),
            (0, side * long, 2 * wide, 0.4),
        ):
            if site.chance(0.75):
                wall = parts.bricks(rng) if site.chance(0.6) else parts.plaster(rng)
                yard.put(x, z, (size_x, site.uniform(1.2, 5.0), size_z), wall)
    for _ in range(int(rng.integers(14, 34))):
        distance = 1.2 + (min(wide, long) - 1.5) * float(rng.beta(1.0, 1.6))
        turn = site.uniform(-math.pi, math.pi)
        pile = yard.at(
            distance * math.sin(turn), distance * math.cos(turn), site.uniform(0, math.pi)
        )
        bottom, size = 0.0, site.uniform(0.4, 1.6)
        while bottom < 2.5:
            high = size * site.uniform(0.5, 1.0)
            pile.put(0, 0, (size, high, size * site.uniform(0.6, 1.4)), parts.crate(rng), bottom)
            bottom, size = bottom + high, size * site.uniform(0.6, 0.95)
            if site.chance(0.6):
                break
    for _ in range(int(rng.integers(0, 3))):
        parts.tree(yard, site.uniform(-wide, wide), site.uniform(-long, long))
    return _outdoors(site, parts.slabs(rng), site.uniform(0.0, 0.12), site.uniform(150, 500))


def _room(site: Site) -> Layout:
    """A furnished room with windows."""
    rng = site.rng
    wide, long, high = site.uniform(3.8, 8.0), site.uniform(3.8, 8.0), site.uniform(2.4, 3.1)
    house = site.at(0, 0, site.uniform(-math.pi, math.pi))
    house = house.at(site.uniform(-0.5, 0.5) * (wide - 2.4), site.uniform(-0.5, 0.5) * (long - 2.4))
    lights: list[Light] = []
    daylight = site.chance(0.7)
    for side in range(4):
        wall = house.at(0, 0, side * math.pi / 2)
        length, depth = (wide, long / 2) if side % 2 == 0 else (long, wide / 2)
        if side < 2 or site.chance(0.3):
            lights += _windows(wall, length, depth, high, daylight)
        else:
            _along_wall(wall, length, depth)
    if site.chance(0.7):
        rug = parts.crate(rng)
        house.put(0, 0, (site.uniform(1.2, 2.6), 0.015, site.uniform(1.2, 2.6)), rug)
    for _ in range(int(rng.integers(1, 4))):
        x, z = 0.3 * site.uniform(-wide, wide), 0.3 * site.uniform(-long, long)
        parts.table(house, x, z, site.uniform(0, math.pi))
    if site.chance(0.6):
        corner = (wide / 2 - 0.45, long / 2 - 0.45)
        parts.plant(house, corner[0] * rng.choice([-1, 1]), corner[1] * rng.choice([-1, 1]))
    lights += _lamps(house, high, [(0.0, 0.0)], 0.8 if daylight else 2.2)
    wall = parts.plaster(rng, (0.6, 0.92))
    if site.chance(0.3):
        wall = Material(wall.colour, wall.colour, (site.uniform(0.1, 0.4), 9.0), tone=0.12)
    floors = [parts.planks(rng), parts.slabs(rng), parts.plaster(rng, (0.3, 0.7))]
    return _indoors(house, (wide, high, long), wall, floors[int(rng.integers(3))], lights)


def _hall(site: Site) -> Layout:
    """A store or a gallery: columns, piles of crates, rows of lamps."""
    rng = site.rng
    wide, long, high = site.uniform(10, 24), site.uniform(12, 40), site.uniform(3.5, 7.0)
    house = site.at(0, 0, site.uniform(-math.pi, math.pi))
    house = house.at(site.uniform(-0.3, 0.3) * wide, site.uniform(-0.3, 0.3) * long)
    column = parts.plaster(rng) if site.chance(0.5) else parts.bricks(rng)
    thick = site.uniform(0.3, 0.8)
    rows = [float(z) for z in np.arange(-long / 2 + 3, long / 2 - 2, site.uniform(4, 7))]
    for z in rows:
        for x in (-wide / 4, wide / 4):
            house.put(x, z, (thick, high, thick), column)
    for _ in range(int(rng.integers(14, 34))):
        spot = (0.47 * site.uniform(-wide, wide), 0.47 * site.uniform(-long, long))
        pile, size = house.at(*spot, site.uniform(-0.3, 0.3)), site.uniform(0.6, 1.8)
        pile.put(0, 0, (size, 0.8 * size, size), parts.crate(rng))
        if site.chance(0.5):
            pile.put(0, 0, (0.8 * size, 0.6 * size, 0.8 * size), parts.crate(rng), 0.8 * size)
    lights = _lamps(house, high, [(0.0, z) for z in rows[:: max(1, len(rows) // 3)]], 5.0)
    wall = parts.bricks(rng) if site.chance(0.4) else parts.plaster(rng)
    floor = parts.slabs(rng) if site.chance(0.5) else parts.plaster(rng, (0.4, 0.6))
    return _indoors(house, (wide, high, long), wall, floor, lights)


def _along_wall(wall: Site, length: float, depth: float) -> None:
    """Furniture and pictures along a wall at z = depth."""
    rng, along = wall.rng, -length / 2 + 0.7
    while along < length / 2 - 0.9:
        kind = int(rng.integers(5))
        if kind == 0:
            parts.sofa(wall, along + 0.6, depth - 0.45, 0.0)
        elif kind == 1:
            parts.shelf(wall, along + 0.3, depth - 0.17, 0.0)
        elif kind == 2:
            parts.cabinet(wall, along + 0.4, depth - 0.23, 0.0)
        elif kind == 3:
            door = Material(parts.paint(rng, (0.3, 0.95), (0.0, 0.5)), tile=(0.45, 1.0), check=0.05)
            wall.put(along, depth - 0.02, (0.9, 2.02, 0.05), door)
        if kind in (0, 2, 4):
            size = (wall.uniform(0.4, 1.1), wall.uniform(0.3, 0.8))
            frame = Material(parts.paint(rng, (0.1, 0.5), (0.0, 0.5)))
            art = Material(
                parts.paint(rng, (0.3, 0.9), (0.1, 0.8)), parts.paint(rng, (0.3, 0.9)),
                (size[0] / 3, size[1] / 2), (0.05, 0.0), tone=0.3, grain=0.6, grain_size=0.3,
            )  # fmt: skip
            wall.put(along + 0.4, depth - 0.02, (size[0] + 0.08, size[1] + 0.08, 0.03), frame, 1.3)
            wall.put(along + 0.4, depth - 0.03, (size[0], size[1], 0.03), art, 1.34)
        along += wall.uniform(1.8, 2.8)


def _windows(wall: Site, length: float, depth: float, high: float, daylight: bool) -> list[Light]:
    """One or two in a wall at z = depth, and the light that they let in."""
    size = (wall.uniform(0.8, 1.6), wall.uniform(1.0, high - 1.2))
    sky = (0.75, 0.88, 1.0) if daylight else (0.02, 0.025, 0.04)
    pane = Material(
        sky, (0.3, 0.3, 0.3), (size[0] / 2, size[1] / 2), (0.05, 0.05), grain=0.25,
        grain_size=1.5, glow=wall.uniform(1.2, 2.4),
    )  # fmt: skip
    frame = Material((0.6, 0.6, 0.58))
    places = (-length / 4, length / 4) if length > 4.5 else (0.0,)
    for along in places:
        wall.put(along, depth, (size[0] + 0.14, size[1] + 0.14, 0.1), frame, 0.78)
        wall.put(along, depth - 0.02, (size[0], size[1], 0.08), pane, 0.85)
    if not daylight:
        return []
    # One light for the windows of a wall, at one of them.
    x, z = wall.world(places[0], depth - 0.4)
    strength = 0.9 * size[0] * size[1] * len(places)
    colour = (0.85 * strength, 0.95 * strength, 1.05 * strength)
    return [Light((x, wall.floor + 0.85 + size[1] / 2, z), colour)]


def _lamps(
    house: Site, high: float, spots: list[tuple[float, float]], strength: float
) -> list[Light]:
    """Panels under the ceiling."""
    warm = house.uniform(0.6, 1.0)
    colour = (1.0, 0.6 + 0.4 * warm, 0.3 + 0.7 * warm)
    lights = []
    for x, z in spots:
        size = (house.uniform(0.3, 1.2), 0.06, house.uniform(0.3, 0.6))
        house.put(x, z, size, Material(colour, grain=0.0, glow=2.5), bottom=high - 0.06)
        place = house.world(x, z)
        tinted = (colour[0] * strength, colour[1] * strength, colour[2] * strength)
        lights.append(Light((place[0], house.floor + high - 0.35, place[1]), tinted))
    return lights


def _indoors(
    house: Site,
    size: tuple[float, float, float],
    wall: Material,
    floor: Material,
    lights: list[Light],
) -> Layout:
    ceiling = Material(parts.paint(house.rng, (0.85, 0.95), (0.0, 0.1)), grain=0.04)
    centre = (house.x, house.floor + size[1] / 2, house.z)
    room = Solid(centre, size, wall, house.yaw, top=ceiling)
    outside = Sky((0.3, 0.4, 0.6), (0.6, 0.7, 0.8), (0.0, 1.0, 0.0), (1.0, 1.0, 1.0))
    ambient = (0.2, 0.195, 0.19)
    return Layout(
        tuple(house.solids), floor, outside, tuple(lights), ambient, house.floor, room=room
    )
