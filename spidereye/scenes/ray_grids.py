"""Which solids a ray may meet, looked up in a grid over all rays of one kind.

Layer: data, below tracing.py. The rays through one point (a camera, a lamp) and the rays along one
direction (the sun's) have two parameters each. A grid over these lists, cell by cell, the solids
whose silhouettes reach into it, as a light buffer does (Haines & Greenberg 1986); behind an opaque
box that fills a cell nothing is listed. Depths are metres along the rays.
"""

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from spidereye.scenes.tables import SolidTable
from spidereye.scenes.textures import Numbers, Vectors

_MARGIN = 2e-4  # of a cell's coordinates in ±1: float32 rays stray so far, and less
_FRONT = 1e-6  # nearer than that to the plane of the point, directions have no coordinates
_EDGES = np.array(
    [(i, j) for i, j in combinations(range(8), 2) if (i ^ j).bit_count() == 1]
)  # of a box whose corners are numbered by the bits x, y, z


@dataclass(frozen=True, eq=False)
class Cells:
    """Lists of solids, the nearest first, of cells that are numbered face by face."""

    starts: Int[np.ndarray, "_"]  # where each cell's list starts
    solids: Int[np.ndarray, "listed"]
    near: Float32[np.ndarray, "listed"]  # no ray meets the solid before
    cover: Float32[np.ndarray, "cells"]  # from there on everything is hidden by an opaque solid

    def pairs(
        self, cell: Int[np.ndarray, "n"]
    ) -> tuple[Int[np.ndarray, "p"], Int[np.ndarray, "p"]]:
        """All solids of the cells' lists, and the index of the cell that each is for, in order;
        none for -1."""
        at = np.where(cell < 0, 0, self.starts[cell])
        number = np.where(cell < 0, 0, self.starts[cell + 1] - at)
        index = np.repeat(np.arange(len(cell)), number)
        place = np.arange(len(index)) + np.repeat(at - np.cumsum(number) + number, number)
        return self.solids[place], index


@dataclass(frozen=True, eq=False)
class PointGrid:
    """Rays from a point to all sides, on the six faces of a cube around it."""

    point: Float32[np.ndarray, "3"]
    resolution: int
    cells: Cells

    @classmethod
    def build(
        cls,
        table: SolidTable,
        point: Float32[np.ndarray, "3"],
        resolution: int,
        among: Bool[np.ndarray, "M"] | None = None,
    ) -> "PointGrid":
        """resolution: cells along an edge of the cube. among: the solids to list, None for all."""
        towards = table.corners() - point
        away = np.linalg.norm(towards, axis=2, keepdims=True)
        faces = np.stack([_face(number) for number in range(6)])
        cells = _rasterise(
            towards / np.maximum(away, 1e-9),
            faces,
            resolution,
            0.999 * table.distances(point) - 0.01,
            away.max(axis=(1, 2)).astype(np.float32) + 0.01,
            table.opaque_boxes,
            among,
        )
        return cls(point, resolution, cells)

    def cells_of(self, directions: Vectors) -> Int[np.ndarray, "n"]:
        """The cell of each ray."""
        x, y, z = directions.T
        size_x, size_y, size_z = np.abs(directions.T)
        cell = np.empty(len(x), np.int64)
        along_x = (size_x >= size_y) & (size_x >= size_z)
        along_y = ~along_x & (size_y >= size_z)
        for axis, which, (a, b, c) in (
            (0, along_x, (y, z, x)),
            (1, along_y, (z, x, y)),
            (2, ~(along_x | along_y), (x, y, z)),
        ):
            rays = np.flatnonzero(which)
            c = c[rays]
            face = 2 * axis + (c < 0)
            cell[rays] = _cell(a[rays] / np.abs(c), b[rays] / np.abs(c), face, self.resolution)
        return cell


@dataclass(frozen=True, eq=False)
class ParallelGrid:
    """Rays that come from infinitely far away along one direction, on a plane across it.

    Depth is measured along the rays from the plane through the world's origin.
    """

    axes: Float32[np.ndarray, "3 3"]  # two across the rays, and the direction in which they go
    middle: Float32[np.ndarray, "2"]  # metres
    reach: float  # metres from the middle to the grid's edges
    resolution: int
    cells: Cells

    @classmethod
    def build(
        cls,
        table: SolidTable,
        direction: Float32[np.ndarray, "3"],
        resolution: int,
        among: Bool[np.ndarray, "M"] | None = None,
        margin: Float32[np.ndarray, "M 3"] | None = None,
    ) -> "ParallelGrid":
        """resolution: cells along an edge of the square that all solids lie in. among: the solids
        to list, None for all. margin: metres by which each is widened along its own axes; then
        nothing hides behind them."""
        across = np.cross(direction, np.eye(3)[np.abs(direction).argmin()])
        across /= np.linalg.norm(across)
        axes = np.stack((across, np.cross(direction, across), direction))
        corners = table.corners(margin) @ axes.T
        flat, depth = corners[..., :2], corners[..., 2].astype(np.float32)
        low, high = (flat.min(axis=(0, 1)), flat.max(axis=(0, 1))) if len(flat) else (0.0, 1.0)
        middle, reach = (low + high) / 2, float(np.max(high - low)) / 2 + 0.1
        towards = np.concatenate(((flat - middle) / reach, np.ones_like(flat[..., :1])), axis=-1)
        cells = _rasterise(
            towards,
            np.eye(3)[None],
            resolution,
            depth.min(axis=1) - 0.01,
            depth.max(axis=1) + 0.01,
            table.opaque_boxes & (margin is None),
            among,
        )
        middle = np.broadcast_to(middle, 2).astype(np.float32)
        return cls(axes.astype(np.float32), middle, reach, resolution, cells)

    def cells_of(self, points: Vectors) -> tuple[Int[np.ndarray, "n"], Numbers]:
        """The cell and the depth of each point; -1 outside the grid."""
        a, b, depth = self.axes @ points.T
        a, b = (a - self.middle[0]) / self.reach, (b - self.middle[1]) / self.reach
        cell = _cell(a, b, np.zeros(1, np.int64), self.resolution)
        cell[(np.abs(a) >= 1) | (np.abs(b) >= 1)] = -1
        return cell, depth


def _face(number: int) -> Float[np.ndarray, "3 3"]:
    """Rows: the two axes along a face of the cube, and its outward normal."""
    axis, negative = divmod(number, 2)
    face = np.roll(np.eye(3), -axis - 1, axis=0)
    face[2] *= -1 if negative else 1
    return face


def _cell(
    a: Numbers, b: Numbers, face: Int[np.ndarray, "_"], resolution: int
) -> Int[np.ndarray, "n"]:
    column, row = (
        ((part + 1) * (resolution / 2)).astype(np.int64).clip(0, resolution - 1) for part in (a, b)
    )
    return (face * resolution + row) * resolution + column


def _rasterise(
    corners: Float[np.ndarray, "M 8 3"],
    faces: Float[np.ndarray, "F 3 3"],
    resolution: int,
    near: Numbers,
    far: Numbers,
    hiding: Bool[np.ndarray, "M"],
    among: Bool[np.ndarray, "M"] | None,
) -> Cells:
    """The cells that silhouettes reach into, those that an opaque box fills, what is hidden there.

    corners: homogeneous, direction (a, b, 1)·scale in the coordinates of a face; scale > 0.
    A silhouette is the convex hull of corners; its sides are edges of the box that all other
    corners lie to one side of.
    """
    lines = _silhouettes(corners)
    closed = hiding & (lines != 0).any(axis=(1, 2))
    first, count = _rectangles(corners, faces, resolution)
    if among is not None:
        count *= among[:, None, None]
    pairs = count.prod(axis=2)
    face_of, solid_of = np.nonzero(pairs.T)
    sizes = pairs[solid_of, face_of]
    which = np.repeat(np.arange(len(sizes)), sizes)
    place = np.arange(len(which)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    row, column = np.divmod(place, np.repeat(count[solid_of, face_of, 0], sizes))
    column += np.repeat(first[solid_of, face_of, 0], sizes)
    row += np.repeat(first[solid_of, face_of, 1], sizes)
    a, b = ((2 * part + 1) / resolution - 1 for part in (column, row))
    touched, filled = np.ones(len(which), bool), closed[solid_of][which]
    for side in np.moveaxis(lines, 1, 0)[:, solid_of]:
        side = np.einsum("pk,pjk->jp", side, faces[face_of])
        extent = (np.abs(side[0]) + np.abs(side[1])) / resolution
        middle = side[0][which] * a + side[1][which] * b + side[2][which]
        touched &= middle >= (-extent - _MARGIN)[which]
        filled &= middle >= np.where(side.any(axis=0), extent + _MARGIN, 0.0)[which]
    cell = (face_of[which] * resolution + row) * resolution + column
    cover = np.full(len(faces) * resolution**2, np.inf, np.float32)
    solid = solid_of[which]
    np.minimum.at(cover, cell[filled], far[solid[filled]])
    listed = np.flatnonzero(touched & (near[solid] <= cover[cell]))
    listed = listed[np.lexsort((near[solid[listed]], cell[listed]))]
    starts = np.zeros(len(cover) + 1, np.int64)
    np.cumsum(np.bincount(cell[listed], minlength=len(cover)), out=starts[1:])
    return Cells(starts, solid[listed], near[solid[listed]], cover)


def _silhouettes(corners: Float[np.ndarray, "M 8 3"]) -> Float[np.ndarray, "M sides 3"]:
    """Unit normals of the planes through the point and a side of the silhouette, that look to
    the solid; 0 where it has fewer sides, everywhere if the point is inside."""
    normals = np.cross(corners[:, _EDGES[:, 0]], corners[:, _EDGES[:, 1]])
    length = np.linalg.norm(normals, axis=2, keepdims=True)
    normals /= np.maximum(length, 1e-12)
    beside = normals @ corners.swapaxes(1, 2)
    low, high = beside.min(axis=2), beside.max(axis=2)
    on_one_side = ((low > -1e-7) | (high < 1e-7)) & (length[..., 0] > 1e-9)
    normals *= (on_one_side * np.where(high < 1e-7, -1.0, 1.0))[..., None]
    order = np.argsort(~on_one_side, axis=1, kind="stable")
    order = order[:, : int(on_one_side.sum(axis=1).max(initial=0))]
    return np.take_along_axis(normals, order[..., None], axis=1)


def _rectangles(
    corners: Float[np.ndarray, "M 8 3"], faces: Float[np.ndarray, "F 3 3"], resolution: int
) -> tuple[Int[np.ndarray, "M F 2"], Int[np.ndarray, "M F 2"]]:
    """First column and row of the cells around each silhouette on each face, and their numbers."""
    seen = np.einsum("mck,fjk->mfcj", corners, faces)
    start, end = seen[:, :, _EDGES[:, 0]], seen[:, :, _EDGES[:, 1]]
    rise = end[..., 2] - start[..., 2]
    share = (_FRONT - start[..., 2]) / np.where(rise == 0, 1.0, rise)
    cut = (share > 0) & (share < 1) & (rise != 0)
    clipped = start + share[..., None] * (end - start)
    front = np.concatenate((seen[..., 2] >= _FRONT, cut), axis=2)[..., None]
    points = np.concatenate((seen, clipped), axis=2)
    places = points[..., :2] / np.maximum(points[..., 2:], _FRONT / 2)
    low = np.where(front, places, np.inf).min(axis=2) - _MARGIN
    high = np.where(front, places, -np.inf).max(axis=2) + _MARGIN
    seen_at_all = ((low <= 1) & (high >= -1)).all(axis=-1, keepdims=True)
    first, last = (
        ((part.clip(-1, 1) + 1) * (resolution / 2)).astype(np.int64).clip(0, resolution - 1)
        for part in (low, high)
    )
    return first, (last - first + 1) * seen_at_all
