"""The light that surfaces of a procedural scene send to the camera.

Layer: data, below scene.py. Diffuse surfaces under sun, lamps and light from all around, with
shadows; darker in corners and under things; panes and paint mirror the sky; haze outdoors.
"""

import math

import numpy as np
from jaxtyping import Bool, Int

from spidereye.scenes.ray_grids import ParallelGrid, PointGrid
from spidereye.scenes.solids import CREASE, Layout, Light
from spidereye.scenes.tables import groups
from spidereye.scenes.textures import Material, Numbers, Shade, Vectors, vector
from spidereye.scenes.tracing import first_hits, hidden_from_afar, hidden_from_point

_SHADOWS = 120.0  # metres


def light_along(
    layout: Layout, eye: PointGrid, directions: Vectors, pixel_angle: Numbers
) -> tuple[Vectors, Numbers]:
    """Linear light that arrives at the eye against unit directions, and metres to where it comes
    from, inf for the sky. pixel_angle: radians that each ray stands for."""
    distance, number = first_hits(layout, eye, directions)
    sky = np.isinf(distance)
    light = np.empty_like(directions)
    light[sky] = layout.sky.radiance(directions[sky], pixel_angle[sky])
    rays = np.flatnonzero(~sky)
    near, directions = distance[rays], directions[rays]
    points = eye.point + near[:, None] * directions
    normals, shade = _surfaces(layout, number[rays], points, directions, near * pixel_angle[rays])
    indoors = _indoors(layout, points)
    arriving = np.broadcast_to(vector(layout.ambient), points.shape).copy()
    if layout.room is not None:
        arriving[indoors] = vector(layout.room.ambient)
    arriving *= _openness(layout, points, normals, indoors)[:, None]
    for lamp, grid in zip(layout.lights, layout.light_grids, strict=True):
        arriving += _direct(layout, lamp, grid, points, normals, indoors)
    leaving = shade.albedo * arriving + shade.glow
    mirrors = np.flatnonzero((shade.gloss > 0) & ~indoors)
    if len(mirrors):
        leaving[mirrors] += _mirrored(
            layout, directions[mirrors], normals[mirrors], shade.gloss[mirrors]
        )
    haze = np.where(indoors, 1, np.exp(-near / layout.haze))[:, None]
    light[rays] = leaving * haze + vector(layout.sky.horizon) * (1 - haze)
    return light, distance


def _indoors(layout: Layout, points: Vectors) -> Bool[np.ndarray, "n"]:
    if layout.room is None:
        return np.zeros(len(points), bool)
    return layout.room.box.holds(points)


def _surfaces(
    layout: Layout,
    numbers: Int[np.ndarray, "n"],
    points: Vectors,
    directions: Vectors,
    width: Numbers,
) -> tuple[Vectors, Shade]:
    """Normals and looks of points on the surfaces `numbers`.

    width: metres that a sample covers across the ray.
    """
    normals = np.empty_like(points)
    u, v = np.empty((2, len(points)), np.float32)
    ground = len(layout.solids)
    on_solid, on_ground, on_wall = (
        np.flatnonzero(which) for which in (numbers < ground, numbers == ground, numbers > ground)
    )
    normals[on_ground] = (0.0, 1.0, 0.0)
    u[on_ground], v[on_ground] = _on_ground(layout, points[on_ground])
    if layout.room is not None:
        normals[on_wall], u[on_wall], v[on_wall] = layout.room.box.surface(points[on_wall])
        normals[on_wall] *= -1
    found, u[on_solid], v[on_solid] = layout.table.surfaces(numbers[on_solid], points[on_solid])
    normals[on_solid] = found
    facing = np.einsum("nk,nk->n", normals, directions)
    # From inside, through the holes of foliage, surfaces are seen from behind.
    behind = on_solid[facing[on_solid] > 0]
    normals[behind] *= -1
    footprint = width / np.sqrt(np.abs(facing).clip(0.03))

    # Points of one material are coloured together, whichever surfaces they are on.
    code = (
        3 * numbers + 1 + np.rint(normals[:, 1] * (np.abs(normals[:, 1]) > 0.99)).astype(np.int64)
    )
    order: dict[Material, int] = {}
    look_of = np.zeros(3 * (ground + 2), np.int64)
    for which in np.flatnonzero(np.bincount(code)):
        material = _material(layout, *divmod(int(which), 3))
        look_of[which] = order.setdefault(material, len(order))
    materials = list(order)
    shade = Shade(np.empty_like(points), np.zeros_like(points), np.zeros(len(points), np.float32))
    for look, at in groups(look_of[code]):
        part = materials[look].shade(u[at], v[at], footprint[at])
        for whole, values in zip(shade, part, strict=True):
            whole[at] = values
    return normals, shade


def _material(layout: Layout, number: int, face: int) -> Material:
    """Of a face, 0 below, 2 above, else 1, of the surface `number`."""
    solids, room = layout.solids, layout.room
    if number < len(solids):
        top = solids[number].top
        return solids[number].material if top is None or face != 2 else top
    if room is None or number == len(solids):
        return layout.ground
    walls = room.box
    return (walls.top or walls.material, walls.material, room.floor)[face]


def _on_ground(layout: Layout, points: Vectors) -> tuple[Numbers, Numbers]:
    cos, sin = math.cos(layout.ground_turn), math.sin(layout.ground_turn)
    u, v = layout.ground.place  # else a joint between tiles would run through the origin
    x, z = points[:, 0], points[:, 2]
    return u + x * cos - z * sin, v + x * sin + z * cos


def _direct(
    layout: Layout,
    lamp: Light,
    grid: PointGrid | ParallelGrid,
    points: Vectors,
    normals: Vectors,
    indoors: Bool[np.ndarray, "n"],
) -> Vectors:
    """Light of one lamp or the sun on diffuse surfaces, with shadows."""
    if isinstance(grid, ParallelGrid):
        amount = (normals @ vector(lamp.vector)).clip(0.0)
        if layout.room is not None:
            inside = np.flatnonzero(indoors & (amount > 0))
            towards = np.broadcast_to(vector(lamp.vector), (len(inside), 3))
            passes = layout.room.exit(points[inside], towards)[1]
            amount[inside[~passes]] = 0.0
        # No solid is far enough away to shade what lies beyond _SHADOWS.
        lit = np.flatnonzero((amount > 0) & (_length(points) < _SHADOWS))
        hidden = hidden_from_afar(layout, grid, points[lit] + 2e-3 * normals[lit])
    else:
        away = points - grid.point
        length = _length(away)
        away /= length[:, None]
        amount = -np.einsum("nk,nk->n", normals, away).clip(None, 0.0)
        amount /= 1 + 0.25 * length**2
        if layout.room is not None:  # lamps are inside, and walls keep their light there
            amount *= indoors
        lit = np.flatnonzero(amount > 1e-3)
        hidden = hidden_from_point(layout, grid, away[lit], length[lit] - 5e-3)
    amount[lit[hidden]] = 0.0
    return amount[:, None] * vector(lamp.colour)


def _mirrored(layout: Layout, directions: Vectors, normals: Vectors, gloss: Numbers) -> Vectors:
    """The sky in smooth surfaces, more of it at a grazing angle (Schlick 1994)."""
    facing = -np.einsum("nk,nk->n", directions, normals)
    away = directions + 2 * facing[:, None] * normals
    share = gloss * (0.3 + 0.7 * (1 - facing.clip(0.0, 1.0)) ** 5)
    return share[:, None] * layout.sky.mirrored(away)


def _openness(
    layout: Layout, points: Vectors, normals: Vectors, indoors: Bool[np.ndarray, "n"]
) -> Numbers:
    """The share of the surrounding light that reaches points: less in corners, under things."""
    room = layout.room
    floor = np.full(len(points), layout.floor, np.float32)
    if room is not None:
        floor[indoors] = room.box.centre[1] - room.box.size[1] / 2
    height = points[:, 1] - floor
    on_floor = (height < 0.01) & (normals[:, 1] > 0.99)
    share = 0.75 + 0.25 * normals[:, 1]
    share *= np.where(on_floor, 1, 1 - 0.35 * np.exp(-height.clip(0.0) / 0.4))
    near = np.flatnonzero(on_floor & (_length(points) < _SHADOWS))
    if len(near):
        share[near] *= _under_things(layout, points[near], floor[near])
    if room is not None:
        inside = room.box.half - np.abs(room.box.local_points(points))
        shade = 1 - 0.3 * np.exp(-inside.clip(0.0) / 0.4)
        # Without the face that a point lies on.
        shade[np.abs(room.box.local(normals)) > 0.5] = 1
        share *= np.where(indoors, shade[:, 0] * shade[:, 1] * shade[:, 2], 1)
    return share


def _under_things(layout: Layout, points: Vectors, floor: Numbers) -> Numbers:
    """The share left by solids near the floor, which darken it as far as CREASE metres."""
    table, grid = layout.table, layout.floor_grid
    share = np.ones(len(points), np.float32)
    solids, at = grid.cells.pairs(grid.cells_of(points)[0])
    standing = table.bottoms[solids] - floor[at] < 0.4
    solids, at = solids[standing], at[standing]
    if len(at):
        distance = table.distances_on_floor(solids, points[at])
        dark = np.exp(-distance / layout.creases[solids])
        left = 1 - 0.5 * dark * (1 - distance / CREASE).clip(0.0)
        starts = np.flatnonzero(np.diff(at, prepend=-1))
        share[at[starts]] = np.multiply.reduceat(left, starts)
    return share


def _length(vectors: Vectors) -> Numbers:
    return np.sqrt(np.einsum("nk,nk->n", vectors, vectors))
