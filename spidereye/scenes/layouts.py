"""How procedural scenes are drawn at random: streets, squares, parks, yards, rooms and halls.

Layer: data, below scene.py. Lengths are metres, angles radians; the camera stands at the origin.
Indoor scenes are in rooms.py, what stands about in outdoors.py and plants.py.
"""

import math
from dataclasses import replace

import numpy as np

from spidereye.scenes import furniture, outdoors, parts, plants, rooms
from spidereye.scenes.parts import Site
from spidereye.scenes.skies import Sky
from spidereye.scenes.solids import Layout, Light
from spidereye.scenes.textures import Colour, Material

_MOST_LAMPS = 4  # that cast light, the nearest ones: each costs a shadow ray per point


def random_layout(rng: np.random.Generator) -> Layout:
    """One of the kinds of scenes, all of its details drawn from rng."""
    site = Site(rng, -float(rng.uniform(1.4, 1.75)))
    night = site.chance(0.12)
    kind = int(rng.choice(6, p=[0.22, 0.14, 0.16, 0.13, 0.23, 0.12]))
    if kind < 4:
        return (_street, _square, _park, _yard)[kind](site, night)
    house = (rooms.room if kind == 4 else rooms.hall)(site, night)
    storey = float(rng.choice([0.0, 0.15, 3.0, 9.0]))  # metres from the floor down to the street
    outside = Site(rng, site.floor - storey)
    outside.solids = site.solids
    reach = math.hypot(house.size[0], house.size[2]) / 2
    rooms.surroundings(outside.at(house.site.x, house.site.z), reach, night)
    surfaces = (parts.grass, parts.slabs, parts.asphalt, parts.gravel)
    ground = surfaces[int(rng.integers(4))](rng)
    layout = _outdoors(outside, ground, site.uniform(0.0, 0.15), 250.0, night, [])
    floors = (parts.planks, parts.slabs, parts.cobbles) if kind == 5 else (
        parts.planks, parts.planks, parts.slabs, parts.plaster
    )  # fmt: skip
    floor = replace(floors[int(rng.integers(len(floors)))](rng), gloss=0.0)
    return house.finish(layout, _wall(site, kind == 5), floor)


def _wall(site: Site, rough: bool) -> Material:
    """Of a room: paint, wallpaper, panels, or bricks."""
    rng, kind = site.rng, site.uniform(0, 1)
    if kind < (0.4 if rough else 0.12):
        return parts.bricks(rng)
    wall = replace(parts.plaster(rng, (0.5, 0.92)), grain=0.3, grain_size=0.6)
    if kind < 0.5:
        return wall
    if kind < 0.75:  # stripes
        return Material(wall.colour, wall.colour, (site.uniform(0.1, 0.4), 9.0), tone=0.2)
    size = site.uniform(0.12, 0.5)
    return Material(
        wall.colour, parts.paint(rng, (0.5, 0.9), (0.0, 0.4)), (size, size),
        (0.35 * size, 0.35 * size), shift=0.5, tone=0.1, grain=0.2,
    )  # fmt: skip


def _outdoors(
    site: Site, ground: Material, hills: float, haze: float, night: bool, lamps: list[Light]
) -> Layout:
    """The site under a clear, cloudy, closed, evening or night sky."""
    rng = site.rng
    closed, evening = site.chance(0.25), site.chance(0.25)
    height = math.radians(site.uniform(5, 16) if evening else site.uniform(20, 65))
    turn = site.uniform(-math.pi, math.pi)
    sun = (math.cos(height) * math.sin(turn), math.sin(height), math.cos(height) * math.cos(turn))
    cover = site.uniform(0.75, 1.0) if closed else site.uniform(0.0, 0.6)
    zenith, horizon, ambient, warm = _daylight(site, closed, evening, night)
    strength = 0.12 if closed and not night else 1.0
    colour = (warm[0] * strength, warm[1] * strength, warm[2] * strength)
    wooded = parts.paint(rng, (0.25, 0.5), (0.1, 0.6), (0.05, 0.4))
    place = (site.uniform(0, 200), site.uniform(0, 200))
    high = hills * (site.uniform(1.5, 3.0) if site.chance(0.25) else 1.0)
    sky = Sky(
        zenith, horizon, sun, colour, cover, float(rng.uniform(0.4, 1.6)), high, wooded, place
    )
    ground = replace(ground, place=(site.uniform(0, 200), site.uniform(0, 200)))
    lamps = sorted(lamps, key=lambda lamp: math.hypot(lamp.vector[0], lamp.vector[2]))
    lights = (Light(sun, colour, distant=True), *lamps[:_MOST_LAMPS])
    pattern = site.uniform(-math.pi, math.pi)
    return Layout(tuple(site.solids), ground, sky, lights, ambient, site.floor, haze, pattern)


def _daylight(
    site: Site, closed: bool, evening: bool, night: bool
) -> tuple[Colour, Colour, Colour, Colour]:
    """Colours of zenith, horizon, light from all around, and sun or moon."""
    if night:
        glow = site.uniform(0.02, 0.06)
        return (
            (0.004, 0.007, 0.016),
            (1.1 * glow, 0.9 * glow, glow),
            (0.03, 0.03, 0.03),
            (0.04, 0.05, 0.07),
        )
    if closed:
        grey = site.uniform(0.5, 0.8)
        return (0.5, 0.53, 0.57), (grey, grey, 1.03 * grey), (0.6, 0.62, 0.65), (1.3, 1.22, 1.08)
    if evening:
        pink = site.uniform(0.5, 0.72)
        return (0.12, 0.2, 0.42), (0.95, pink, 0.42), (0.24, 0.25, 0.32), (1.65, 1.0, 0.5)
    deep = site.uniform(0.0, 0.1)
    zenith, horizon = (0.1, 0.22 + deep, 0.55 + deep), (0.62, 0.72, 0.82)
    return zenith, horizon, (0.2, 0.24, 0.31), (1.56, 1.46, 1.3)


def _street(site: Site, night: bool) -> Layout:
    rng = site.rng
    road = site.at(0.0, 0.0, site.uniform(-math.pi, math.pi))
    middle, half = site.uniform(-3.5, 3.5), site.uniform(3.0, 6.0)  # of the carriageway
    walk = site.uniform(2.0, 4.5)  # width of a pavement
    lit = site.uniform(0.25, 0.6) if night else 0.0
    lamps: list[Light | None] = []
    paving, kerb = parts.slabs(rng), Material((0.35, 0.34, 0.33), tile=(9.0, 0.9), gap=(0, 0.02))
    for side in (-1, 1):
        pavement = road.at(middle + side * half, 0, 0 if side > 0 else math.pi)
        pavement.put(walk / 2, 0, (walk, 0.14, 110.0), paving)
        pavement.put(0.08, 0, (0.16, 0.15, 110.0), kerb)
        along = -50.0 + site.uniform(0, 6)
        while along < 45.0:
            storeys, bays = int(rng.integers(1, 7)), int(rng.integers(3, 8))
            house = pavement.at(walk, along)
            along += outdoors.building(house, storeys, bays, lit, site.uniform(2.4, 2.9))
            gap = site.uniform(2.0, 8.0) if site.chance(0.25) else 0.02
            if gap > 3:
                plants.tree(pavement, walk + 4, along + gap / 2)
            along += gap
        for _ in range(int(rng.integers(1, 5))):
            outdoors.car(pavement, -1.1, site.uniform(-30, 30))
        for _ in range(int(rng.integers(0, 4))):
            plants.tree(pavement, 0.8, site.uniform(-25, 25))
        for _ in range(int(rng.integers(2, 5))):
            near = site.uniform(-9, 9)
            outdoors.figure(pavement, site.uniform(0.6, walk - 0.5), near + site.uniform(-6, 6))
            outdoors.bin_or_box(pavement, site.uniform(0.3, walk - 0.4), near)
        for _ in range(2):
            outdoors.sign(pavement, 0.4, site.uniform(-10, 10))
        for spot in np.arange(-30, 31, 15) + site.uniform(-5, 5):
            lamps.append(outdoors.street_lamp(pavement, 0.5, float(spot), night))
    line = Material((0.6, 0.6, 0.57), grain=0.6, grain_size=0.2)
    for spot in np.arange(-40, 41, 8):
        road.put(middle, float(spot), (0.13, 0.012, 3.0), line)
    crossing = site.uniform(3, 12) * float(rng.choice([-1, 1]))
    for stripe in np.arange(-half + 0.5, half, 1.0):
        road.put(middle + float(stripe), crossing, (0.5, 0.012, 3.0), line)
    iron = Material((0.06, 0.055, 0.05), tile=(0.08, 0.08), check=0.5, grain=0.3)
    for _ in range(3):
        spot = (middle + site.uniform(-half, half), site.uniform(-6, 6))
        road.put(*spot, (0.65, 0.014, 0.65), iron, shape="cylinder")
    surface = parts.cobbles(rng) if site.chance(0.25) else parts.asphalt(rng)
    lit_lamps = [lamp for lamp in lamps if lamp is not None]
    hills, haze = site.uniform(0.0, 0.06), site.uniform(120, 400)
    return _outdoors(site, surface, hills, haze, night, lit_lamps)


def _square(site: Site, night: bool) -> Layout:
    """Houses round a paved place with people, stalls, trees and a monument."""
    rng = site.rng
    place = site.at(0, 0, site.uniform(-math.pi, math.pi))
    reach, lit = site.uniform(12, 28), site.uniform(0.25, 0.6) if night else 0.0
    for side in range(4):
        along, row = -reach, place.at(0, 0, side * math.pi / 2)
        while along < reach - 2:
            storeys, bays = int(rng.integers(1, 6)), int(rng.integers(3, 6))
            house = row.at(reach, along)
            along += outdoors.building(house, storeys, bays, lit, site.uniform(2.4, 2.9)) + 0.02
            along += site.uniform(3, 7) if site.chance(0.2) else 0.0
    middle = site.around(3, 0.6 * reach)
    rock = Material(parts.paint(rng, (0.4, 0.7), (0.0, 0.2)), grain=0.5, tile=(0.8, 0.4))
    for level, wide in enumerate((3.0, 2.2, 1.2)):
        middle.put(0, 0, (wide, 0.4, wide), rock, 0.4 * level, shape="cylinder")
    top = float(rng.choice([0.7, 3.0]))
    middle.put(0, 0, (0.7, top, 0.7), rock, 1.2, shape="cone" if top > 1 else "ball")
    for _ in range(int(rng.integers(2, 7))):
        stall = site.around(2.5, 0.8 * reach)
        cloth = Material(
            parts.paint(rng, (0.5, 0.95), (0.3, 0.9)), (0.8, 0.8, 0.76), (0.5, 9.0), (0.25, 0.0)
        )
        stall.put(0, 0, (2.4, 0.8, 1.4), parts.planks(rng))
        stall.put(0, 0, (2.8, 0.6, 2.0), cloth, 2.1, shape="gable")
        for post in (-1.1, 1.1):
            stall.put(post, -0.6, (0.07, 2.1, 0.07), parts.wood(rng))
            furniture.trinket(stall, 0.6 * post, -0.3, 0.8)
    for _ in range(int(rng.integers(6, 14))):
        outdoors.figure(site.around(1.1, 14), 0, 0)
    for _ in range(int(rng.integers(2, 7))):
        plants.tree(site.around(3, reach), 0, 0)
        outdoors.bin_or_box(site.around(1.0, 9), 0, 0)
        outdoors.bench(site.around(1.5, 10), 0, 0, site.uniform(-math.pi, math.pi))
    outdoors.sign(site.around(1.0, 5), 0, 0)
    lamps = [outdoors.street_lamp(site.around(3, 16), 0, 0, night) for _ in range(5)]
    paving = (parts.cobbles, parts.slabs)[int(rng.integers(2))](rng)
    lit_lamps = [lamp for lamp in lamps if lamp is not None]
    return _outdoors(site, paving, 0.0, site.uniform(150, 400), night, lit_lamps)


def _park(site: Site, night: bool) -> Layout:
    rng = site.rng
    walk = site.at(0, 0, site.uniform(-math.pi, math.pi))
    aside = site.uniform(-2.5, 2.5)
    walk.put(aside, 0, (site.uniform(1.2, 3.0), 0.03, 90.0), parts.gravel(rng))
    for far in (9.0, 20.0, 36.0):
        for _ in range(int(rng.integers(2, 7))):
            plants.tree(site.around(2.2, far), 0, 0)
    for _ in range(int(rng.integers(1, 4))):
        outdoors.bench(site.around(1.4, 6.0), 0, 0, site.uniform(-0.4, 0.4))
    for _ in range(int(rng.integers(0, 4))):
        outdoors.house(site.around(18, 40), site.uniform(0.3, 0.7) if night else 0.0)
    for _ in range(int(rng.integers(3, 9))):
        plants.bush(site.around(1.8, 16), 0, 0)
        plants.stone(site.around(1.0, 12), 0, 0)
    for _ in range(int(rng.integers(6, 22))):
        plants.tuft(site.around(0.9, 7), 0, 0)
    for _ in range(int(rng.integers(0, 3))):
        outdoors.fence(site.around(4, 14), 0, 0, site.uniform(5, 18))
        plants.hedge(site.around(4, 16), 0, 0, site.uniform(3, 12))
    for _ in range(int(rng.integers(0, 5))):
        outdoors.figure(site.around(1.3, 15), 0, 0)
    if site.chance(0.5):
        outdoors.sign(site.around(1.0, 6), 0, 0)
    lamps = [
        outdoors.street_lamp(walk, aside + 2, float(spot), night) for spot in np.arange(-24, 25, 12)
    ]
    lit_lamps = [lamp for lamp in lamps if lamp is not None]
    hills, haze = site.uniform(0.03, 0.2), site.uniform(150, 500)
    return _outdoors(site, parts.grass(rng), hills, haze, night, lit_lamps)


def _yard(site: Site, night: bool) -> Layout:
    """A court or a building site: walls, fences, piles, a car, a shed."""
    rng = site.rng
    yard = site.at(0, 0, site.uniform(-math.pi, math.pi))
    wide, long = site.uniform(5, 16), site.uniform(5, 16)
    for side in range(4):
        length, depth = ((wide, long), (long, wide))[side % 2]
        wall = yard.at(0, 0, side * math.pi / 2).at(0, depth, math.pi / 2)
        kind = site.uniform(0, 1)
        if kind < 0.45:
            material = parts.bricks(rng) if site.chance(0.6) else parts.plaster(rng)
            stain = replace(parts.plaster(rng, (0.2, 0.5)), patch=None)
            material = replace(material, patch=stain if site.chance(0.5) else None)
            wall.put(0, 0, (0.4, site.uniform(1.2, 4.0), 2 * length), material)
        elif kind < 0.8:
            outdoors.fence(wall, 0, 0, 2 * length)
    for _ in range(int(rng.integers(12, 28))):
        spot = 1.1 + (min(wide, long) - 1.5) * float(rng.beta(1.0, 1.6))
        furniture.boxes(site.around(spot, spot + 0.1), 0, 0)
    for _ in range(int(rng.integers(0, 4))):
        plants.tree(site.around(2.5, wide), 0, 0)
        plants.bush(site.around(1.5, wide), 0, 0)
    for _ in range(int(rng.integers(1, 4))):
        outdoors.bin_or_box(site.around(1.0, 6), 0, 0)
        outdoors.figure(site.around(1.3, 8), 0, 0)
    outdoors.car(site.around(3.5, 8).at(0, 0, site.uniform(-3, 3)), 0, 0)
    lit = 0.5 if night else 0.0
    for _ in range(int(rng.integers(1, 5))):
        outdoors.house(yard.around(math.hypot(wide, long) + 8, 45), lit)
    lamps = [outdoors.street_lamp(site.around(3, 9), 0, 0, night) for _ in range(2)]
    surfaces = (parts.slabs, parts.cobbles, parts.gravel, parts.asphalt)
    ground = surfaces[int(rng.integers(4))](rng)
    lit_lamps = [lamp for lamp in lamps if lamp is not None]
    hills, haze = site.uniform(0.0, 0.12), site.uniform(150, 500)
    return _outdoors(site, ground, hills, haze, night, lit_lamps)
