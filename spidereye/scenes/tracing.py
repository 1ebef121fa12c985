"""Which surface of a procedural scene a ray meets first, and what stands before a lamp.

Layer: data, below scene.py. Rays are traced in bundles: a cone around the bundle leaves out most
solids, the sphere around each solid most rays. Origins in metres, unit directions, distances in
metres, inf where there is nothing.
"""

import math
from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float32, Int

from spidereye.scenes.solids import Layout
from spidereye.scenes.textures import Numbers, Vectors


def first_hits(
    layout: Layout, origins: Vectors, directions: Vectors
) -> tuple[Numbers, Int[np.ndarray, "n"]]:
    """Metres to the first surface, inf for the sky, and its number: a solid's index, or
    len(solids) for the ground, len(solids) + 1 for the room's walls, floor and ceiling."""
    ground = len(layout.solids)
    fall = directions[:, 1].clip(None, -1e-9)
    distance = (layout.floor - origins[:, 1]) / fall
    distance[(directions[:, 1] >= 0) | (distance <= 0)] = np.inf
    nearest = np.full(len(distance), ground)
    if layout.room is not None:
        wall, passes = layout.room.exit(origins, directions)
        closed = ~passes
        distance[closed] = wall[closed]
        nearest[closed] = ground + 1
    for number, rays in _candidates(layout, origins, directions):
        entry = layout.solids[number].entry(origins[rays], directions[rays])
        closer = entry < distance[rays]
        distance[rays[closer]] = entry[closer]
        nearest[rays[closer]] = number
    return distance, nearest


def blocked(
    layout: Layout, origins: Vectors, directions: Vectors, reach: Numbers
) -> Bool[np.ndarray, "n"]:
    """Which rays meet a solid that is no lamp within reach metres."""
    found = np.zeros(len(origins), bool)
    for number, rays in _candidates(layout, origins, directions, ~layout.table.lamps):
        rays = rays[~found[rays]]
        if len(rays):
            entry = layout.solids[number].entry(origins[rays], directions[rays])
            found[rays] = entry < reach[rays]
    return found


def _candidates(
    layout: Layout,
    origins: Vectors,
    directions: Vectors,
    among: Bool[np.ndarray, "M"] | None = None,
) -> Iterator[tuple[int, Int[np.ndarray, "some"]]]:
    """Solids (of those among, None for all), and the rays that meet the sphere around each.

    First for the bundle of rays as a whole, a cone from a ball of origins, then for each ray.
    """
    if not len(origins) or not layout.solids:
        return
    near, spread = _near_bundle(layout, origins, directions)
    near = near if among is None else near[among[near]]
    centres = layout.table.centres[near]
    reach = 1.01 * layout.table.radii[near, None] + 0.05  # float32 cancels at 50 m
    if spread < 1e-5:
        origins = origins[:1]
    along = centres @ directions.T - np.einsum(
        "nk,nk->n", *np.broadcast_arrays(origins, directions)
    )
    square = np.einsum("nk,nk->n", origins, origins) - 2 * (centres @ origins.T)
    square += (centres**2).sum(axis=1, keepdims=True)
    maybe = (along**2 >= square - reach**2) & (along > -reach)
    for number, row in zip(near.tolist(), maybe, strict=True):
        rays = np.flatnonzero(row)
        if len(rays):
            yield number, rays


def _near_bundle(
    layout: Layout, origins: Vectors, directions: Vectors
) -> tuple[Int[np.ndarray, "some"], float]:
    """Solids that some ray may meet, and how far the origins lie from their mean."""
    centres: Float32[np.ndarray, "M 3"] = layout.table.centres
    radii = layout.table.radii
    middle, axis = origins.mean(axis=0), directions.mean(axis=0)
    axis = axis / max(float(np.linalg.norm(axis)), 1e-6)
    spread = float(np.sqrt(((origins - middle) ** 2).sum(axis=1).max()))
    opening = math.acos(np.clip((directions @ axis).min(), -1, 1))
    away = np.linalg.norm(centres - middle, axis=1) + 1e-6
    off_axis = np.arccos(((centres - middle) @ axis / away).clip(-1, 1))
    seen_as = np.arcsin(((radii + spread) / away).clip(0, 1))
    near = np.flatnonzero((away <= radii + spread) | (off_axis <= opening + seen_as + 0.01))
    # Large ones first: what they block need not be asked of the others.
    return near[np.argsort(-radii[near], kind="stable")], spread
