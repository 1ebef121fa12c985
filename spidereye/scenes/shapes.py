"""The shapes of the procedural scenes' solids: where lines cross them, and their surfaces.

Layer: data, below solids.py. Every shape fills the cube [-1, 1]³ from face to face, y up:
box, ball, cylinder (upright), cone (apex up), gable (a roof with its ridge along z). A line is
o + t·d with d of any length; all shapes are convex, so each holds one interval of t.
"""

from typing import Any, Literal, get_args

import numpy as np
from jaxtyping import Float32

from spidereye.scenes.textures import Numbers, Vectors

Shape = Literal["box", "ball", "cylinder", "cone", "gable"]
SHAPES: tuple[Shape, ...] = get_args(Shape)
_TINY = np.float32(1e-9)


def crossing(shape: Shape, origins: Vectors, directions: Vectors) -> tuple[Numbers, Numbers]:
    """t where lines enter and leave the shape; enter > leave where they miss it.

    Arrays whose transposes are contiguous (points of shape [3, n], transposed) are the fastest.
    """
    o, d = origins.T, directions.T
    if shape == "box":
        return _box(o, d)
    # From the point nearest to the centre: far away, squares of coordinates would cancel.
    square = d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
    start = -(o[0] * d[0] + o[1] * d[1] + o[2] * d[2]) / square
    o = o + start * d
    if shape == "ball":
        left = 1 - (o[0] * o[0] + o[1] * o[1] + o[2] * o[2])
        half = np.sqrt(left.clip(0.0) / square)
        half[left <= 0] = -np.inf
        near, far = -half, half
    else:
        near, far = _slab(o[1], d[1])
        for low, high in _others(shape, o, d):
            near, far = np.maximum(near, low), np.minimum(far, high)
    return near + start, far + start


def _box(o: Any, d: Any) -> tuple[Numbers, Numbers]:
    """The three slabs at once."""
    inverse = 1 / np.where(np.abs(d) < _TINY, _TINY, d)
    middle = o * inverse
    reach = np.abs(inverse, out=inverse)
    far = (reach - middle).min(axis=0)
    middle += reach
    return -middle.min(axis=0), far


def _others(shape: Shape, o: Any, d: Any) -> list[tuple[Numbers, Numbers]]:
    """The intervals of t that a shape's surfaces other than floor and ceiling leave."""
    if shape == "gable":
        slopes = (_below(o[0] * side + o[1] / 2, d[0] * side + d[1] / 2, 0.5) for side in (-1, 1))
        return [_slab(o[2], d[2]), *slopes]
    # x² + z² ≤ (p + q·t)² with p = 1, q = 0 for a cylinder and p + q·t = (1 - y)/2 for a cone.
    p, q = (np.ones_like(o[1]), np.zeros_like(o[1]))
    if shape == "cone":
        p, q = (1 - o[1]) / 2, -d[1] / 2
    a = d[0] ** 2 + d[2] ** 2 - q**2
    a = np.where(np.abs(a) < _TINY, _TINY, a)
    b = o[0] * d[0] + o[2] * d[2] - p * q
    spread = b * b - a * (o[0] ** 2 + o[2] ** 2 - p * p)
    root = np.sqrt(spread.clip(0.0))
    first, second = (-b - root) / np.abs(a), (-b + root) / np.abs(a)
    low, high = np.where(spread < 0, np.inf, first), np.where(spread < 0, -np.inf, second)
    steep = a < 0  # within the cone's own slope: inside is beyond the roots, on one of two nappes
    if steep.any():
        low_root, high_root = (-b + root) / a, (-b - root) / a
        low = np.where(steep, np.where(q > 0, high_root, -np.inf), low)
        high = np.where(steep, np.where(q > 0, np.inf, low_root), high)
    return [(low, high)]


def _slab(o: Numbers, d: Numbers) -> tuple[Numbers, Numbers]:
    """Between two opposite faces of the cube (Kay & Kajiya 1986)."""
    d = np.where(np.abs(d) < _TINY, _TINY, d)
    middle, reach = -o / d, 1 / np.abs(d)
    return middle - reach, middle + reach


def _below(o: Numbers, d: Numbers, limit: float) -> tuple[Numbers, Numbers]:
    """Where o + t·d ≤ limit."""
    d = np.where(np.abs(d) < _TINY, _TINY, d)
    at = (limit - o) / d
    return np.where(d < 0, at, -np.inf), np.where(d < 0, np.inf, at)


def surface(
    shape: Shape, points: Vectors, half: Float32[np.ndarray, "*one_or_all 3"]
) -> tuple[Vectors, Numbers, Numbers]:
    """Outward unit normals, and u, v in metres, at points on the shape's surface.

    points: in the cube's units.   half: metres, half of the one solid's size or of each point's
    solid, for u, v and the normals.
    """
    x, y, z = points.T
    corner = (points + 1) * half
    half_x, half_y, half_z = half.T
    round_about = np.hypot(x, z) + np.float32(1e-9)
    if shape in ("box", "ball"):
        axis = np.abs(points).argmax(axis=1)
        u = np.where(axis == 0, corner[:, 2], corner[:, 0])
        v = np.where(axis == 1, corner[:, 2], corner[:, 1])
        if shape == "ball":
            return _unit(points / half), u, v
        side = np.take_along_axis(points, axis[:, None], axis=1)
        return ((np.arange(3) == axis[:, None]) * np.sign(side)).astype(np.float32), u, v
    if shape == "gable":
        away = np.stack((np.abs((1 - y) / 2 - np.abs(x)), np.abs(y + 1), np.abs(1 - np.abs(z))))
        face = away.argmin(axis=0)
        slope = np.hypot(half_x, 2 * half_y) / (2 * half_y)  # metres along it per metre of rise
        u = np.where(face == 0, corner[:, 2], corner[:, 0])
        v = np.select([face == 0, face == 1], [slope * corner[:, 1], corner[:, 2]], corner[:, 1])
        normals = np.stack(
            (
                np.where(face == 0, np.sign(x), 0),
                np.select([face == 0, face == 1], [0.5, -1.0], 0.0),
                np.where(face == 2, np.sign(z), 0),
            ),
            axis=-1,
        )
    else:
        wall = (1 - y) / 2 if shape == "cone" else 1.0
        flat = np.abs(round_about - wall) > np.minimum(np.abs(1 + y), np.abs(1 - y))
        u = np.where(flat, corner[:, 0], np.arctan2(x, z) * (half_x + half_z) / 2)
        v = np.where(flat, corner[:, 2], corner[:, 1])
        tilt = 0.5 if shape == "cone" else 0.0
        normals = np.stack(
            (
                np.where(flat, 0, x / round_about),
                np.where(flat, np.sign(y), tilt),
                np.where(flat, 0, z / round_about),
            ),
            axis=-1,
        )
    return _unit((normals / half).astype(np.float32)), u.astype(np.float32), v.astype(np.float32)


def _unit(vectors: Vectors) -> Vectors:
    return vectors / np.sqrt(np.einsum("nk,nk->n", vectors, vectors))[:, None]
