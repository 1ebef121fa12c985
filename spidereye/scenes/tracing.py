"""Which surface of a procedural scene a ray meets first, and what stands before a lamp.

Layer: data, below scene.py. A grid lists the solids that each ray may meet, the nearest first; rays
meet them a few at a time, until nothing can be nearer. Points in metres, unit directions, distances
in metres, inf where there is nothing.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int

from spidereye.scenes.ray_grids import Cells, ParallelGrid, PointGrid
from spidereye.scenes.solids import Layout
from spidereye.scenes.textures import Numbers, Vectors

_ROUNDS = (2, 4, 8, 16, 64)  # solids of a list that are met at a time; the last one again
_RAYS_PER_CELL = 12  # fewer, and making the grid costs more than it saves


def eye_grid(layout: Layout, point: Float32[np.ndarray, "3"], rays: int) -> PointGrid:
    """For so many rays from the point; those to one side need as fine a grid as those to all."""
    resolution = int(np.sqrt(rays / (6 * _RAYS_PER_CELL)).clip(4, 40))
    return PointGrid.build(layout.table, point, resolution)


def first_hits(
    layout: Layout, eye: PointGrid, directions: Vectors
) -> tuple[Numbers, Int[np.ndarray, "n"]]:
    """Metres to the first surface, inf for the sky, and its number: a solid's index, or
    len(solids) for the ground, len(solids) + 1 for the room's walls, floor and ceiling."""
    ground = len(layout.solids)
    height = layout.floor - eye.point[1]
    fall = directions[:, 1].clip(None, -1e-9)
    distance = height / fall
    distance[(directions[:, 1] >= 0) | (distance <= 0)] = np.inf
    nearest = np.full(len(distance), ground)
    if layout.room is not None:
        wall, passes = layout.room.exit(np.broadcast_to(eye.point, directions.shape), directions)
        closed = ~passes
        distance[closed] = wall[closed]
        nearest[closed] = ground + 1
    # Where surfaces coincide, walls and the ground are seen, and large solids before small ones.
    rank = np.append(layout.table.rank, (-1, -1))
    origin = eye.point[None]
    for solids, rays, first in _meetings(eye.cells, eye.cells_of(directions), distance):
        reach = np.nextafter(distance[rays], np.float32(np.inf))
        entry = layout.table.entries(solids, origin, directions[rays], reach)
        starts = np.flatnonzero(first)
        met = rays[starts]
        before = distance[met]
        distance[met] = np.minimum(before, np.minimum.reduceat(entry, starts))
        level = np.where(entry == distance[rays], rank[solids], len(rank))
        best = np.minimum.reduceat(level, starts)
        won = (distance[met] < before) | (best < rank[nearest[met]])
        won &= best < len(rank)
        nearest[met[won]] = layout.table.by_rank[best[won]]
    return distance, nearest


def hidden_from_point(
    layout: Layout, lamp: PointGrid, directions: Vectors, distance: Numbers
) -> Bool[np.ndarray, "n"]:
    """Before which points, so far from the lamp along directions, a listed solid stands."""
    cell = lamp.cells_of(directions)
    hidden = distance > lamp.cells.cover[cell]
    limit = np.where(hidden, -np.inf, distance).astype(np.float32)
    for solids, rays, _ in _meetings(lamp.cells, cell, limit):
        entry = layout.table.entries(solids, lamp.point[None], directions[rays], limit[rays])
        limit[rays[np.isfinite(entry)]] = -np.inf
    return limit < 0


def hidden_from_afar(layout: Layout, sun: ParallelGrid, points: Vectors) -> Bool[np.ndarray, "n"]:
    """Before which points a listed solid stands, seen from where the grid's rays come from."""
    cell, depth = sun.cells_of(points)
    hidden = (depth > sun.cells.cover[cell]) & (cell >= 0)
    limit = np.where(hidden | (cell < 0), -np.inf, depth).astype(np.float32)
    towards = -sun.axes[2:]
    for solids, rays, _ in _meetings(sun.cells, cell, limit):
        reach = np.full(len(rays), np.inf, np.float32)
        entry = layout.table.entries(solids, points[rays], towards, reach)
        met = rays[np.isfinite(entry)]
        limit[met] = -np.inf
        hidden[met] = True
    return hidden


def _meetings(
    cells: Cells, cell: Int[np.ndarray, "n"], limit: Numbers
) -> Iterator[tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"], Bool[np.ndarray, "p"]]]:
    """Pairs of solids and rays, those of a ray side by side, and which is the first of a ray.

    Rays with cell -1 meet nothing. The caller lowers limit to what is left to be found: solids
    that are not nearer are left out.
    """
    rays = np.flatnonzero((cell >= 0) & (limit > -np.inf))
    at, end = cells.starts[cell[rays]], cells.starts[cell[rays] + 1]
    turn = 0
    while True:
        left = at < end
        left[left] = cells.near[at[left]] < limit[rays[left]]
        rays, at, end = rays[left], at[left], end[left]
        if not len(rays):
            return
        number = np.minimum(end - at, _ROUNDS[min(turn, len(_ROUNDS) - 1)])
        starts = np.cumsum(number) - number
        pairs = np.repeat(at - starts, number) + np.arange(starts[-1] + number[-1])
        pair_rays = np.repeat(rays, number)
        first = np.zeros(len(pairs), bool)
        first[starts] = True
        near = cells.near[pairs] < limit[pair_rays]  # sorted: what is left of a ray is its start
        yield cells.solids[pairs[near]], pair_rays[near], first[near]
        at, turn = at + number, turn + 1
