"""The light that surfaces of a procedural scene send to the camera.

Layer: data, below scene.py. Diffuse surfaces under sun, lamps and light from all around, with
shadows; darker in corners and under things; panes and paint mirror the sky; haze outdoors.
"""

import math
from typing import Any

import numpy as np
from jaxtyping import Bool

from spidereye.scenes.solids import Layout, Light
from spidereye.scenes.textures import Numbers, Shade, Vectors, vector
from spidereye.scenes.tracing import blocked, first_hits

_SHADOWS = 120.0  # metres


def light_along(
    layout: Layout, origins: Vectors, directions: Vectors, pixel_angle: Numbers
) -> tuple[Vectors, Numbers]:
    """Linear light that arrives at origins against unit directions, and metres to where it comes
    from, inf for the sky. pixel_angle: radians that each ray stands for."""
    distance, number = first_hits(layout, origins, directions)
    sky = np.isinf(distance)
    light = np.empty_like(directions)
    light[sky] = layout.sky.radiance(directions[sky], pixel_angle[sky])
    rays = np.flatnonzero(~sky)
    near, directions = distance[rays], directions[rays]
    points = origins[rays] + near[:, None] * directions
    normals, shade = _surfaces(layout, number[rays], points, directions, near * pixel_angle[rays])
    indoors = _indoors(layout, points)
    arriving = np.broadcast_to(vector(layout.ambient), points.shape).copy()
    if layout.room is not None:
        arriving[indoors] = vector(layout.room.ambient)
    arriving *= _openness(layout, points, normals, indoors)[:, None]
    for lamp in layout.lights:
        arriving += _direct(layout, lamp, points, normals, indoors)
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
    layout: Layout, numbers: Any, points: Vectors, directions: Vectors, width: Numbers
) -> tuple[Vectors, Shade]:
    """Normals and looks of points on the surfaces `numbers`.

    width: metres that a sample covers across the ray.
    """
    normals = np.empty_like(points)
    shade = Shade(np.empty_like(points), np.zeros_like(points), np.zeros(len(points), np.float32))
    ground = len(layout.solids)
    for number in np.unique(numbers):
        at = np.flatnonzero(numbers == number)
        upper, lower = None, None
        if number == ground:
            normal = np.broadcast_to(vector((0.0, 1.0, 0.0)), (len(at), 3))
            u, v = _on_ground(layout, points[at])
            material = layout.ground
        elif layout.room is not None and number == ground + 1:
            normal, u, v = layout.room.box.surface(points[at])
            normal = -normal
            box = layout.room.box
            material, upper, lower = box.material, layout.room.floor, box.top
        else:
            solid = layout.solids[number]
            normal, u, v = solid.surface(points[at])
            material, upper = solid.material, solid.top
            # From inside, through the holes of foliage, surfaces are seen from behind.
            behind = np.einsum("nk,nk->n", normal, directions[at]) > 0
            normal = np.where(behind[:, None], -normal, normal)
        normals[at] = normal
        slant = np.abs(np.einsum("nk,nk->n", normal, directions[at])).clip(0.03)
        footprint = width[at] / np.sqrt(slant)
        above, below = normal[:, 1] > 0.99, normal[:, 1] < -0.99
        for other, face in ((upper, above), (lower, below)):
            if other is not None and face.any():
                _fill(shade, at[face], other.shade(u[face], v[face], footprint[face]))
        rest = ~((above & (upper is not None)) | (below & (lower is not None)))
        if rest.any():
            _fill(shade, at[rest], material.shade(u[rest], v[rest], footprint[rest]))
    return normals, shade


def _fill(shade: Shade, at: Any, part: Shade) -> None:
    for whole, values in zip(shade, part, strict=True):
        whole[at] = values


def _on_ground(layout: Layout, points: Vectors) -> tuple[Numbers, Numbers]:
    cos, sin = math.cos(layout.ground_turn), math.sin(layout.ground_turn)
    u, v = layout.ground.place  # else a joint between tiles would run through the origin
    x, z = points[:, 0], points[:, 2]
    return u + x * cos - z * sin, v + x * sin + z * cos


def _direct(
    layout: Layout, lamp: Light, points: Vectors, normals: Vectors, indoors: Bool[np.ndarray, "n"]
) -> Vectors:
    """Light of one lamp or the sun on diffuse surfaces, with shadows."""
    place = np.broadcast_to(vector(lamp.vector), points.shape)
    towards = place if lamp.distant else place - points
    length = _length(towards)
    towards = towards / length[:, None]
    amount = np.einsum("nk,nk->n", normals, towards).clip(0.0)
    if not lamp.distant:
        amount /= 1 + 0.25 * length**2
        if layout.room is not None:  # lamps are inside, and walls keep their light there
            amount *= indoors
    if lamp.distant:
        if layout.room is not None:
            inside = np.flatnonzero(indoors & (amount > 0))
            passes = layout.room.exit(points[inside], towards[inside])[1]
            amount[inside[~passes]] = 0.0
        # No solid is far enough away to shade what lies beyond _SHADOWS.
        lit = np.flatnonzero((amount > 0) & (_length(points) < _SHADOWS))
        starts, along = points[lit] + 2e-3 * normals[lit], towards[lit]
        reach = np.full(len(lit), np.inf, np.float32)
    else:  # from the lamp, not to it: rays from one point are a bundle that meets few solids
        lit = np.flatnonzero(amount > 1e-3)
        starts, along, reach = place[lit], -towards[lit], length[lit] - 5e-3
    amount[lit[blocked(layout, starts, along, reach)]] = 0.0
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
        share[near] *= _under_things(layout, points[near], float(floor[near[0]]))
    if room is not None:
        inside = room.box.half - np.abs(room.box.local_points(points))
        shade = 1 - 0.3 * np.exp(-inside.clip(0.0) / 0.4)
        # Without the face that a point lies on.
        shade[np.abs(room.box.local(normals)) > 0.5] = 1
        share *= np.where(indoors, shade[:, 0] * shade[:, 1] * shade[:, 2], 1)
    return share


def _under_things(layout: Layout, points: Vectors, floor: float) -> Numbers:
    """The share left by solids, which darken the floor as far as 2 m; those farther from all these
    points are left out."""
    share = np.ones(len(points), np.float32)
    low, high = points.min(axis=0) - 2, points.max(axis=0) + 2
    centres, radii = layout.table.centres, layout.table.radii
    far = np.abs(centres.clip(low, high) - centres)[:, [0, 2]].max(axis=1, initial=0)
    for number in np.flatnonzero(far < radii):
        solid = layout.solids[number]
        bottom = solid.centre[1] - solid.size[1] / 2 - floor
        if bottom < 0.4 and solid.size[1] > 0.2:
            distance = solid.distance_on_floor(points)
            dark = np.exp(-distance / (0.15 + 0.12 * min(solid.size[1], 5.0)))
            share *= 1 - 0.5 * dark * (1 - distance / 2).clip(0.0)
    return share


def _length(vectors: Vectors) -> Numbers:
    return np.sqrt(np.einsum("nk,nk->n", vectors, vectors))
