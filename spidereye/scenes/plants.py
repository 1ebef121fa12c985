"""Plants and stones of the procedural scenes. Foliage is shells with ragged holes.

Layer: data, below layouts.py. Lengths are metres; every choice is drawn from the site.
"""

import math
from dataclasses import replace

from spidereye.scenes.parts import Site, paint
from spidereye.scenes.textures import Material


def _leaves(site: Site, size: float, hue: tuple[float, float] = (0.17, 0.34)) -> Material:
    return Material(
        paint(site.rng, (0.3, 0.6), (0.4, 0.8), hue), grain=1.1, grain_size=2 * size,
        holes=site.uniform(0.4, 0.55), hole_size=size,
    )  # fmt: skip


def _bark(site: Site) -> Material:
    return Material(
        paint(site.rng, (0.2, 0.55), (0.1, 0.4), (0.05, 0.1)), grain=0.7, grain_size=0.15,
        stretch=0.3,
    )  # fmt: skip


def tree(site: Site, x: float, z: float) -> None:
    """Broad-leaved, bare, or a conifer."""
    kind = site.uniform(0, 1)
    if kind < 0.25:
        conifer(site, x, z)
        return
    height, trunk, bark = site.uniform(3, 10), site.uniform(0.15, 0.45), _bark(site)
    site.put(x, z, (trunk, 0.55 * height, trunk), bark, shape="cylinder")
    autumn = site.chance(0.2)
    leaves = _leaves(site, site.uniform(0.14, 0.3), (0.03, 0.13) if autumn else (0.17, 0.34))
    crown = height * site.uniform(0.17, 0.26)
    for number in range(6):
        wide, high = height * site.uniform(0.2, 0.42), height * site.uniform(0.16, 0.34)
        turn = number * 2.4 + site.uniform(-0.4, 0.4)
        reach = crown * (1 - 0.13 * number)
        bright = site.uniform(0.75, 1.25)
        red, green, blue = (bright * part for part in leaves.colour)
        site.put(
            x + reach * math.sin(turn),
            z + reach * math.cos(turn),
            (wide, high, wide),
            replace(leaves, colour=(red, green, blue)),
            bottom=height * (0.34 + 0.075 * number),
            shape="ball",
        )


def conifer(site: Site, x: float, z: float) -> None:
    height, trunk = site.uniform(3, 12), site.uniform(0.15, 0.35)
    wide = height * site.uniform(0.3, 0.45)
    needles = replace(_leaves(site, 0.16, (0.25, 0.42)), holes=0.35)
    site.put(x, z, (trunk, 0.3 * height, trunk), _bark(site), shape="cylinder")
    for number in range(4):
        part = wide * (1 - 0.2 * number)
        size = (part, 0.36 * height, part)
        site.put(x, z, size, needles, height * (0.1 + 0.18 * number), shape="cone")


def bush(site: Site, x: float, z: float) -> None:
    leaves = _leaves(site, site.uniform(0.06, 0.16))
    size = site.uniform(0.5, 1.5)
    for _ in range(3):
        spot = (x + site.uniform(-0.4, 0.4) * size, z + site.uniform(-0.4, 0.4) * size)
        wide, high = size * site.uniform(0.6, 1.1), size * site.uniform(0.5, 1.0)
        site.put(*spot, (wide, high, wide), leaves, -0.15 * high, shape="ball")


def hedge(site: Site, x: float, z: float, length: float) -> None:
    """Along the site's z."""
    leaves = replace(_leaves(site, 0.08), holes=0.3)
    site.put(x, z, (site.uniform(0.5, 0.9), site.uniform(0.7, 1.8), length), leaves)


def tuft(site: Site, x: float, z: float) -> None:
    """High grass or flowers."""
    blades = replace(_leaves(site, 0.03), holes=0.6)
    size = site.uniform(0.2, 0.5)
    site.put(x, z, (size, 0.8 * size, size), blades, -0.2 * size, shape="ball")


def stone(site: Site, x: float, z: float) -> None:
    size = site.uniform(0.15, 1.2)
    moss = Material(paint(site.rng, (0.3, 0.5), (0.3, 0.6), (0.17, 0.3)), grain=0.6, grain_size=0.1)
    rock = Material(
        paint(site.rng, (0.35, 0.65), (0.0, 0.2)), grain=0.7, grain_size=0.3,
        patch=moss if site.chance(0.4) else None, patch_size=0.4,
    )  # fmt: skip
    high = size * site.uniform(0.5, 0.9)
    site.put(x, z, (size, high, size), rock, bottom=-0.25 * high, shape="ball")


def pot_plant(site: Site, x: float, z: float) -> None:
    pot = Material(paint(site.rng, (0.3, 0.8), (0.2, 0.6), (0.02, 0.1)))
    size = site.uniform(0.5, 1.2)
    site.put(x, z, (0.35, 0.35, 0.35), pot, shape="cylinder")
    leaves = _leaves(site, site.uniform(0.05, 0.12))
    for number in range(3):
        wide = size * site.uniform(0.45, 0.75)
        spot = (x + site.uniform(-0.12, 0.12), z + site.uniform(-0.12, 0.12))
        bottom = 0.3 + 0.25 * size * number
        site.put(*spot, (wide, 0.5 * size, wide), leaves, bottom, shape="ball")
