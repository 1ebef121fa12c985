"""What stands in the procedural scenes' rooms: tables, chairs, shelves, lamps.

Layer: data, below rooms.py. Lengths are metres, angles radians; pieces for a wall have their
back towards + z. Every choice is drawn from the site.
"""

import math
from dataclasses import replace

import numpy as np

from spidereye.scenes.parts import Site, crate, lettering, paint, wood
from spidereye.scenes.textures import Material

_BLACK = Material((0.02, 0.02, 0.022), grain=0.1)


def table(site: Site, x: float, z: float, yaw: float) -> None:
    """With chairs round it and things on it."""
    place, top = site.at(x, z, yaw), wood(site.rng)
    wide, deep = site.uniform(1.0, 2.0), site.uniform(0.7, 1.0)
    round_top = site.chance(0.3)
    deep = wide if round_top else deep
    place.put(0, 0, (wide, 0.04, deep), top, 0.71, shape="cylinder" if round_top else "box")
    reach = 0.3 if round_top else 0.5
    for side in (-1, 1):
        for end in (-1, 1):
            leg = (side * (reach * wide - 0.08), end * (reach * deep - 0.08))
            place.put(*leg, (0.06, 0.71, 0.06), top, shape="cylinder")
        if site.chance(0.8):
            chair(place, site.uniform(-0.3, 0.3), side * (deep / 2 + 0.2), side * math.pi / 2)
    for _ in range(int(site.rng.integers(2, 6))):
        spot = (site.uniform(-0.35, 0.35) * wide, site.uniform(-0.3, 0.3) * deep)
        trinket(place, *spot, 0.75)


def trinket(site: Site, x: float, z: float, bottom: float) -> None:
    """A cup, a book, a fruit, a screen, a candle."""
    kind, size = int(site.rng.integers(5)), site.uniform(0.06, 0.16)
    colour = Material(paint(site.rng, (0.3, 0.95), (0.1, 0.85)), grain=0.1, gloss=0.1)
    if kind == 0:
        site.put(x, z, (0.09, 0.11, 0.09), colour, bottom, shape="cylinder")
    elif kind == 1:
        for level in range(int(site.rng.integers(1, 4))):
            book = replace(colour, colour=paint(site.rng, (0.2, 0.9), (0.2, 0.8)))
            pile = site.at(x, z, site.uniform(-0.4, 0.4))
            pile.put(0, 0, (0.16, 0.03, 0.23), book, bottom + 0.03 * level)
    elif kind == 2:
        site.put(x, z, (size, size, size), colour, bottom, shape="ball")
    elif kind == 3:
        screen = replace(lettering(site.rng, 0.02), glow=(0.5, 0.55, 0.6), lit=0.7)
        site.put(x, z, (0.5, 0.3, 0.02), screen, bottom + 0.08)
        site.put(x, z + 0.03, (0.53, 0.33, 0.03), _BLACK, bottom + 0.065)
        site.put(x, z, (0.2, 0.08, 0.15), _BLACK, bottom)
    else:
        site.put(x, z, (0.6 * size, 2.5 * size, 0.6 * size), colour, bottom, shape="cone")


def chair(site: Site, x: float, z: float, yaw: float) -> None:
    seat, leg = site.at(x, z, yaw), wood(site.rng)
    cloth = Material(paint(site.rng), grain=0.3, grain_size=0.05)
    bars = replace(leg, tile=(1.0, 0.12), gap=(0.0, 0.06), open_gaps=True)
    seat.put(0, 0, (0.44, 0.05, 0.44), cloth, bottom=0.43)
    seat.put(0.2, 0, (0.04, 0.5, 0.42), bars if site.chance(0.5) else cloth, bottom=0.45)
    for corner_x in (-0.18, 0.18):
        for corner_z in (-0.18, 0.18):
            seat.put(corner_x, corner_z, (0.04, 0.43, 0.04), leg)


def sofa(site: Site, x: float, z: float) -> None:
    wide = site.uniform(1.4, 2.4)
    cloth = Material(
        paint(site.rng, (0.2, 0.8), (0.05, 0.6)), grain=0.35, grain_size=0.04,
        tile=(wide / 2, 1.0), gap=(0.02, 0.0), gap_colour=(0.02, 0.02, 0.02),
    )  # fmt: skip
    site.put(x, z, (wide, 0.42, 0.85), cloth)
    site.put(x, z + 0.35, (wide, 0.4, 0.2), cloth, bottom=0.42)
    for end in (-1, 1):
        site.put(x + end * (wide / 2 + 0.09), z, (0.18, 0.6, 0.85), cloth)
        if site.chance(0.7):
            pillow = Material(paint(site.rng, (0.4, 0.95), (0.2, 0.8)), tile=(0.1, 0.1), check=0.2)
            size = (0.44, 0.38, 0.2)
            site.put(x + end * 0.3 * wide, z + 0.15, size, pillow, 0.42, shape="ball")


def bed(site: Site, x: float, z: float) -> None:
    frame = wood(site.rng)
    sheet = Material(
        paint(site.rng, (0.5, 0.95), (0.0, 0.6)), tile=(0.2, 0.2), grain=0.2, grain_size=0.1,
        second=paint(site.rng, (0.5, 0.95), (0.0, 0.6)), check=float(site.rng.choice([0, 0.2])),
    )  # fmt: skip
    site.put(x, z - 0.6, (1.6, 0.3, 2.0), frame)
    site.put(x, z - 0.65, (1.55, 0.22, 1.85), sheet, bottom=0.3)
    site.put(x, z + 0.38, (1.7, 1.0, 0.06), frame)
    for side in (-0.38, 0.38):
        white = Material((0.8, 0.8, 0.78), grain=0.1)
        site.put(x + side, z + 0.1, (0.6, 0.22, 0.4), white, bottom=0.48, shape="ball")


def shelf(site: Site, x: float, z: float) -> None:
    """Boards with books and things."""
    board = wood(site.rng)
    wide, high = site.uniform(0.8, 1.8), site.uniform(1.0, 2.1)
    site.put(x, z + 0.14, (wide, high, 0.02), board)
    for end in (-1, 1):
        site.put(x + end * wide / 2, z, (0.03, high, 0.3), board)
    for level in np.arange(0.05, high, 0.36):
        site.put(x, z, (wide, 0.025, 0.3), board, bottom=float(level))
        if site.chance(0.2):
            trinket(site, x + site.uniform(-0.3, 0.3) * wide, z, float(level) + 0.03)
            continue
        books = Material(
            paint(site.rng, (0.3, 0.8), (0.2, 0.8)), (0.03, 0.02, 0.02),
            (site.uniform(0.025, 0.05), 1.0), (0.003, 0.0), tone=0.5,
            second=paint(site.rng, (0.3, 0.8), (0.2, 0.8)), grain=0.1,
        )  # fmt: skip
        filled = wide * site.uniform(0.4, 0.95)
        start = x + (filled - wide) / 2 * float(site.rng.choice([-1, 1]))
        size = (filled, site.uniform(0.2, 0.3), 0.2)
        site.put(start, z + 0.02, size, books, bottom=float(level) + 0.03)


def cabinet(site: Site, x: float, z: float) -> None:
    wide, high = site.uniform(0.8, 2.0), float(site.rng.choice([0.8, 0.95, 2.0]))
    front = wood(site.rng) if site.chance(0.6) else Material(paint(site.rng, (0.5, 0.95)))
    red, green, blue = front.colour
    doors = replace(
        front, tile=(wide / 3, high / 2), gap=(0.02, 0.02), gap_colour=(0.04, 0.03, 0.03),
        frame=0.05, frame_colour=(0.7 * red, 0.7 * green, 0.7 * blue), gloss=0.05,
    )  # fmt: skip
    site.put(x, z, (wide, high, 0.45), doors, top=front)
    if high < 1:
        for _ in range(3):
            trinket(site, x + site.uniform(-0.4, 0.4) * wide, z, high)


def picture(site: Site, x: float, z: float) -> None:
    """A framed one on the wall."""
    size = (site.uniform(0.4, 1.2), site.uniform(0.3, 0.9))
    frame = Material(paint(site.rng, (0.1, 0.5), (0.0, 0.5)))
    art = Material(
        paint(site.rng, (0.3, 0.9), (0.1, 0.9)), paint(site.rng, (0.3, 0.9)),
        (size[0] / site.uniform(1, 5), size[1] / site.uniform(1, 4)), (0.03, 0.0), tone=0.5,
        second=paint(site.rng, (0.2, 0.95), (0.2, 0.9)), grain=0.7, grain_size=0.3,
        patch=Material(paint(site.rng, (0.2, 0.95), (0.2, 0.9)), grain=0.4), patch_size=0.3,
    )  # fmt: skip
    bottom = site.uniform(1.1, 1.4)
    site.put(x, z - 0.02, (size[0] + 0.08, size[1] + 0.08, 0.03), frame, bottom)
    site.put(x, z - 0.03, (size[0], size[1], 0.03), art, bottom + 0.04)


def door(site: Site, x: float, z: float) -> None:
    colour = paint(site.rng, (0.3, 0.95), (0.0, 0.6))
    leaf = Material(
        colour,
        colour,
        (0.45, 0.66),
        (0.1, 0.12),
        frame=0.03,
        frame_colour=(0.6 * colour[0], 0.6 * colour[1], 0.6 * colour[2]),
    )
    case = Material(paint(site.rng, (0.4, 0.95), (0.0, 0.3)))
    site.put(x, z - 0.01, (1.06, 2.12, 0.05), case)
    site.put(x, z - 0.03, (0.9, 2.02, 0.05), leaf)
    knob = Material((0.5, 0.45, 0.3), gloss=0.5)
    site.put(x + 0.36, z - 0.09, (0.06, 0.06, 0.06), knob, 1.0, shape="ball")


def floor_lamp(site: Site, x: float, z: float) -> None:
    shade = Material((0.9, 0.8, 0.6), glow=(1.6, 1.25, 0.8), grain=0.05)
    site.put(x, z, (0.3, 0.03, 0.3), _BLACK, shape="cylinder")
    site.put(x, z, (0.03, 1.4, 0.03), _BLACK, shape="cylinder")
    site.put(x, z, (0.4, 0.3, 0.4), shade, 1.4, shape="cylinder")


def boxes(site: Site, x: float, z: float) -> None:
    """A pile of crates, barrels and balls, up to 3 m high."""
    bottom, size = 0.0, site.uniform(0.3, 1.5)
    while bottom < 2.2:
        high, turned = size * site.uniform(0.5, 1.0), site.uniform(-0.3, 0.3)
        pile = site.at(x, z, turned)
        kind = "cylinder" if site.chance(0.25) else "box"
        deep = size if kind == "cylinder" else size * site.uniform(0.6, 1.4)
        pile.put(0, 0, (size, high, deep), crate(site.rng), bottom, shape=kind)
        bottom, size = bottom + high, size * site.uniform(0.6, 0.95)
        if site.chance(0.55):
            break
    if site.chance(0.15):
        pile = site.at(x, z)
        pile.put(0, 0, (size, size, size), crate(site.rng), bottom, shape="ball")
