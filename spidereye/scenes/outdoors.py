"""What stands in the procedural scenes' streets, squares and yards.

Layer: data, below layouts.py. Lengths are metres, angles radians; every choice is drawn from
the site.
"""

import math
from dataclasses import replace

import numpy as np

from spidereye.scenes.parts import Site, bricks, facade, lettering, paint, planks, plaster, slabs
from spidereye.scenes.solids import Light
from spidereye.scenes.textures import Material

_STEEL = Material((0.08, 0.09, 0.09), grain=0.2, gloss=0.1)
_LAMP_COLOUR = (1.3, 0.95, 0.55)


def building(site: Site, storeys: int, bays: int, lit: float, street: float | None = None) -> float:
    """A block of houses along the site's z, its front at x = 0 and its body towards + x; returns
    its length. lit: share of windows that glow. street: height of a ledge of shops, None for none.
    """
    front = facade(site.rng, lit)
    wide, high = front.tile
    length, height, depth = wide * bays, high * storeys, 4 * wide
    middle, roof = depth / 2, plaster(site.rng, (0.2, 0.5))
    site.put(middle, length / 2, (depth, height, length), front, top=roof)
    ledge = Material(paint(site.rng, (0.4, 0.9), (0.0, 0.3), (0.0, 0.15)), grain=0.2)
    for level in range(1, storeys + 1):
        if level == storeys or site.chance(0.4):
            size = (depth + 0.3, 0.22, length + 0.1)
            site.put(middle, length / 2, size, ledge, level * high - 0.11)
    if storeys < 4 and site.chance(0.6):
        tiles = Material(
            paint(site.rng, (0.25, 0.6), (0.1, 0.7), (0.0, 0.08)), (0.05, 0.03, 0.03),
            (0.25, 0.3), (0.02, 0.03), tone=0.3,
        )  # fmt: skip
        rise = depth * site.uniform(0.25, 0.5)
        site.put(middle, length / 2, (depth + 0.8, rise, length), tiles, height, shape="gable")
        chimney = (middle + site.uniform(-1, 1), length * site.uniform(0.2, 0.8))
        site.put(*chimney, (0.6, rise + 0.6, 0.6), bricks(site.rng), height)
    if site.chance(0.35):
        _balconies(site, front, storeys, bays)
    if street is not None and site.chance(0.7):
        _shops(site, length, street, lit > 0)
    return length


def _balconies(site: Site, front: Material, storeys: int, bays: int) -> None:
    wide, high = front.tile
    rail = replace(_STEEL, tile=(0.12, 9.0), gap=(0.09, 0.0), open_gaps=True)
    floor = plaster(site.rng)
    for level in range(1, min(storeys, 4)):
        for bay in range(0, bays, 2):
            along = (bay + 0.5) * wide
            site.put(-0.5, along, (1.0, 0.12, 0.9 * wide), floor, level * high)
            site.put(-0.98, along, (0.04, 0.9, 0.9 * wide), rail, level * high + 0.12)


def _shops(site: Site, length: float, height: float, night: bool) -> None:
    """Panes, doors, a sign with lettering and an awning along the ground floor."""
    start = 0.2
    while start + 2.5 < length:
        wide = min(site.uniform(2.5, 6.0), length - start)
        middle = start + wide / 2
        inside = (0.95, 0.75, 0.45) if night and site.chance(0.7) else None
        pane = Material(
            (0.05, 0.06, 0.07), paint(site.rng, (0.2, 0.8), (0.0, 0.6)),
            (wide / 3, 0.95 * height), (0.12, 0.5), frame=0.04, second=paint(site.rng, (0.3, 0.7)),
            gloss=0.6, glow=inside, grain=0.7, grain_size=0.5,
        )  # fmt: skip
        site.put(-0.02, middle, (0.1, 0.95 * height, wide - 0.2), pane)
        sign = lettering(site.rng, 0.45)
        if night and site.chance(0.5):
            sign = replace(sign, glow=paint(site.rng, (0.7, 1.0), (0.3, 0.9)))
        site.put(-0.1, middle, (0.12, 0.7, wide - 0.5), sign, height - 0.1)
        if site.chance(0.4):
            cloth = Material(
                paint(site.rng, (0.5, 0.9), (0.3, 0.9)), (0.8, 0.8, 0.78), (0.5, 9.0), (0.25, 0.0)
            )
            site.put(-0.75, middle, (1.4, 0.12, wide - 0.3), cloth, height - 0.35)
        start += wide


def house(site: Site, lit: float) -> None:
    """A detached one, its door towards - z."""
    front = facade(site.rng, lit)
    wide, high = front.tile
    bays, storeys = int(site.rng.integers(3, 6)), int(site.rng.integers(1, 3))
    size = (bays * wide, storeys * high, 3 * wide)
    site.put(0, 0, size, front, top=plaster(site.rng, (0.2, 0.5)))
    tiles = Material(
        paint(site.rng, (0.25, 0.6), (0.1, 0.7), (0.0, 0.08)), (0.05, 0.03, 0.03), (0.25, 0.3),
        (0.02, 0.03), tone=0.3,
    )  # fmt: skip
    site.put(0, 0, (size[0] + 0.6, 0.6 * size[2], size[2] + 0.6), tiles, size[1], shape="gable")
    site.put(0.2 * size[0], 0.2, (0.6, 0.8 * size[2], 0.6), bricks(site.rng), size[1])
    site.put(0, -size[2] / 2, (1.0, 2.1, 0.1), planks(site.rng))


def car(site: Site, x: float, z: float) -> None:
    """A car or a van, along the site's z."""
    body = Material(paint(site.rng, (0.15, 0.95), (0.0, 0.9)), grain=0.03, gloss=0.25)
    glass = Material((0.03, 0.04, 0.05), body.colour, (1.15, 9.0), (0.1, 0.0), grain=0.1, gloss=0.8)
    rubber = Material((0.02, 0.02, 0.02), grain=0.2)
    van = site.chance(0.25)
    long, high = (5.0, 1.1) if van else (4.3, 0.5)
    site.put(x, z, (1.75, 0.62, long), body, bottom=0.28)
    if van:
        side = lettering(site.rng, 0.25) if site.chance(0.5) else body
        site.put(x, z - 0.4, (1.74, 0.7, 4.1), side, bottom=1.4, top=body)
        site.put(x, z, (1.66, 0.55, 4.7), glass, bottom=0.9)
    else:
        site.put(x, z - 0.2, (1.5, high, 2.3), glass, bottom=0.9, top=body)
        site.put(x, z - 0.2, (1.45, 0.3, 3.1), replace(glass, gap=(0.0, 0.0)), 0.9, top=body)
    for end in (-0.31 * long, 0.31 * long):
        for side in (-0.8, 0.8):
            site.put(x + side, z + end, (0.24, 0.64, 0.64), rubber, shape="ball")
    lights = Material((0.9, 0.9, 0.85), grain=0, gloss=0.3)
    for side in (-0.6, 0.6):
        site.put(x + side, z + long / 2, (0.3, 0.15, 0.06), lights, bottom=0.62)
        tail = replace(lights, colour=(0.5, 0.02, 0.02))
        site.put(x + side, z - long / 2, (0.3, 0.15, 0.06), tail, bottom=0.62)
        site.put(x, z + side / 0.6 * long / 2, (0.5, 0.11, 0.05), lettering(site.rng, 0.06), 0.45)


def street_lamp(site: Site, x: float, z: float, on: bool) -> Light | None:
    """A pole with a lamp; its light where it is on."""
    height = site.uniform(3.5, 6.5)
    site.put(x, z, (0.13, height, 0.13), _STEEL, shape="cylinder")
    site.put(x, z, (0.3, 0.5, 0.3), _STEEL, shape="cylinder")
    head = Material((0.8, 0.8, 0.75), grain=0, glow=(4.0, 3.0, 1.8) if on else None)
    site.put(x, z, (0.5, 0.3, 0.5), head, height, shape="ball" if site.chance(0.5) else "cylinder")
    place = site.world(x, z)
    strength = 3.0
    red, green, blue = (strength * part for part in _LAMP_COLOUR)
    lamp = Light((place[0], site.floor + height + 0.1, place[1]), (red, green, blue))
    return lamp if on else None


def sign(site: Site, x: float, z: float) -> None:
    """A traffic sign, a board or a name plate on a pole, facing - z."""
    kind, height = int(site.rng.integers(4)), site.uniform(2.0, 2.6)
    site.put(x, z, (0.07, height + 0.3, 0.07), _STEEL, shape="cylinder")
    bright = Material(paint(site.rng, (0.6, 0.95), (0.5, 1.0)), grain=0.0, gloss=0.1)
    white = Material((0.8, 0.8, 0.8), grain=0.0)
    if kind == 0:
        site.put(x, z - 0.06, (0.7, 0.7, 0.04), bright, height - 0.3, shape="ball")
        site.put(x, z - 0.08, (0.5, 0.5, 0.04), white, height - 0.2, shape="ball")
    elif kind == 1:
        site.put(x, z - 0.06, (0.9, 0.8, 0.04), bright, height - 0.4, shape="gable")
        site.put(x, z - 0.07, (0.55, 0.5, 0.06), white, height - 0.33, shape="gable")
    elif kind == 2:
        site.put(x, z - 0.06, (0.9, 0.6, 0.04), lettering(site.rng, 0.08), height - 0.3)
    else:
        site.put(x + 0.45, z, (0.9, 0.2, 0.03), lettering(site.rng, 0.1), height)


def bench(site: Site, x: float, z: float, yaw: float) -> None:
    seat, boards = site.at(x, z, yaw), planks(site.rng)
    boards = replace(boards, tile=(5.0, 0.1), gap=(0.0, 0.025), open_gaps=True)
    seat.put(0, 0, (1.6, 0.05, 0.4), boards, bottom=0.42)
    seat.put(0, 0.2, (1.6, 0.4, 0.05), boards, bottom=0.52)
    for end in (-0.65, 0.65):
        seat.put(end, 0, (0.08, 0.42, 0.4), _STEEL)


def bin_or_box(site: Site, x: float, z: float) -> None:
    """A bin, a letter box, a hydrant, a cone, a bollard."""
    kind = int(site.rng.integers(5))
    loud = Material(paint(site.rng, (0.3, 0.9), (0.3, 1.0)), grain=0.15, gloss=0.1)
    if kind == 0:
        slats = replace(loud, tile=(0.08, 9.0), gap=(0.02, 0.0), gap_colour=(0.02, 0.02, 0.02))
        site.put(x, z, (0.5, 0.9, 0.5), slats, shape="cylinder")
    elif kind == 1:
        site.put(x, z, (0.4, 0.6, 0.35), loud, bottom=0.6)
        site.put(x, z, (0.1, 0.6, 0.1), _STEEL)
    elif kind == 2:
        site.put(x, z, (0.22, 0.6, 0.22), loud, shape="cylinder")
        site.put(x, z, (0.3, 0.25, 0.3), loud, bottom=0.5, shape="ball")
    elif kind == 3:
        bands = Material((0.85, 0.2, 0.03), (0.8, 0.8, 0.8), (9.0, 0.24), (0.0, 0.1), grain=0.1)
        site.put(x, z, (0.4, 0.8, 0.4), bands, shape="cone")
        site.put(x, z, (0.45, 0.04, 0.45), bands)
    else:
        bands = replace(loud, tile=(9.0, 0.3), gap=(0.0, 0.1), gap_colour=(0.8, 0.8, 0.8))
        site.put(x, z, (0.14, 1.0, 0.14), bands, shape="cylinder")


def figure(site: Site, x: float, z: float) -> None:
    """Somebody who stands there."""
    person = site.at(x, z, site.uniform(-math.pi, math.pi))
    tall = site.uniform(0.85, 1.1)
    skin = Material(paint(site.rng, (0.3, 0.85), (0.3, 0.5), (0.05, 0.08)), grain=0.05)
    legs, coat = (
        Material(
            paint(site.rng, (0.1, 0.9), (0.0, 0.8)), grain=0.3, grain_size=0.1,
            tile=(0.2, 0.1), check=float(site.rng.choice([0.0, 0.0, 0.3])),
        )
        for _ in range(2)
    )  # fmt: skip
    hair = Material(paint(site.rng, (0.1, 0.6), (0.2, 0.6), (0.02, 0.12)), grain=0.4)
    for side in (-0.1, 0.1):
        person.put(side, 0.05 * side, (0.16, 0.85 * tall, 0.18), legs, shape="cylinder")
        arm = (0.11, 0.65 * tall, 0.13)
        person.put(2.5 * side, 0, arm, coat, 0.75 * tall, shape="cylinder")
    person.put(0, 0, (0.42, 0.68 * tall, 0.26), coat, bottom=0.78 * tall, shape="ball")
    person.put(0, 0, (0.34, 0.4 * tall, 0.22), coat, bottom=0.8 * tall, shape="cylinder")
    person.put(0, 0, (0.18, 0.24, 0.2), skin, bottom=1.46 * tall, shape="ball")
    person.put(0, -0.03, (0.2, 0.18, 0.2), hair, bottom=1.57 * tall, shape="ball")


def fence(site: Site, x: float, z: float, length: float) -> None:
    """Along the site's z: pickets, railings, boards or a low wall."""
    kind, height = int(site.rng.integers(4)), site.uniform(0.8, 1.6)
    slats = replace(planks(site.rng), tile=(0.14, 9.0), gap=(0.05, 0.0), open_gaps=True, shift=0.0)
    if kind == 0:
        site.put(x, z, (0.03, height, length), slats)
    elif kind == 1:
        rails = replace(_STEEL, tile=(0.14, 9.0), gap=(0.115, 0.0), open_gaps=True)
        site.put(x, z, (0.03, height, length), rails)
        site.put(x, z, (0.06, 0.06, length), _STEEL, bottom=height)
    elif kind == 2:
        net = replace(_STEEL, tile=(0.3, 0.3), gap=(0.26, 0.26), open_gaps=True)
        net = replace(net, tile=(9.0, 0.35), gap=(0.0, 0.25), colour=paint(site.rng))
        site.put(x, z, (0.05, height, length), net)
    else:
        site.put(x, z, (0.3, height, length), bricks(site.rng), top=slabs(site.rng))
    if kind < 3:
        for post in np.arange(-length / 2, length / 2 + 0.1, max(length / 5, 1.5)):
            site.put(x, z + float(post), (0.1, height + 0.12, 0.1), planks(site.rng))
