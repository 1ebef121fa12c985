"""All solids of a procedural scene side by side, so that rays meet many of them in one operation.

Layer: data, below solids.py. Work is done on pairs: `numbers` says which solid, the other arrays
hold the point or the ray of the same pair. Metres; t is in units of the direction's length.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from spidereye.scenes.shapes import SHAPES, crossing, surface
from spidereye.scenes.textures import Material, Numbers, Vectors

NEAR = 1e-4  # metres; hits nearer than this are the surface that the ray starts from

_CORNERS = np.array(list(product((-1.0, 1.0), repeat=3)))
_Which = Int[np.ndarray, "n"]
_OneOrAll = Float32[np.ndarray, "#n 3"]


@dataclass(frozen=True, eq=False)
class SolidTable:
    """M solids, each a shape that fills a box turned by yaw about its vertical axis."""

    centres: Float32[np.ndarray, "M 3"]
    half: Float32[np.ndarray, "M 3"]  # of their sizes
    yaws: Float32[np.ndarray, "M"]
    bottoms: Float[np.ndarray, "M"]  # heights of their lower faces
    radii: Float32[np.ndarray, "M"]  # of the spheres that hold them
    shapes: Int[np.ndarray, "M"]  # index in SHAPES
    materials: Sequence[Material]

    @cached_property
    def lamps(self) -> Bool[np.ndarray, "M"]:
        """Those that cast no shadow."""
        return np.array([material.is_lamp for material in self.materials], bool)

    @cached_property
    def see_through(self) -> Bool[np.ndarray, "M"]:
        return np.array([material.see_through for material in self.materials], bool)

    @cached_property
    def opaque_boxes(self) -> Bool[np.ndarray, "M"]:
        """Those that hide all that is behind the silhouette of their corners."""
        return (self.shapes == SHAPES.index("box")) & ~self.see_through

    @cached_property
    def by_rank(self) -> Int[np.ndarray, "M"]:
        """The solids, large ones first."""
        return np.argsort(-self.radii, kind="stable")

    @cached_property
    def rank(self) -> Int[np.ndarray, "M"]:
        """Where each solid stands in by_rank."""
        return np.argsort(self.by_rank)

    @cached_property
    def looks(self) -> Int[np.ndarray, "M"]:
        """Solids of one material have the same number here."""
        order: dict[Material, int] = {}
        looks = [order.setdefault(material, len(order)) for material in self.materials]
        return np.array(looks, np.int64)

    def corners(
        self, margin: Float32[np.ndarray, "M 3"] | None = None
    ) -> Float[np.ndarray, "M 8 3"]:
        """Of the boxes, made larger by margin metres to every side along their own axes."""
        half = self.half if margin is None else self.half + margin
        own = _CORNERS * half[:, None]
        cos, sin = (part[:, None] for part in (np.cos(self.yaws), np.sin(self.yaws)))
        x, y, z = np.moveaxis(own, -1, 0)
        turned = np.stack((cos * x + sin * z, y, cos * z - sin * x), axis=-1)
        return turned + self.centres[:, None]

    def distances(self, point: Float32[np.ndarray, "3"]) -> Numbers:
        """Metres from a point to each box, 0 inside."""
        beside = np.abs(self._in_cubes(point[None], slice(None), True)).T - 1
        return np.linalg.norm(beside.clip(0) * self.half, axis=1).astype(np.float32)

    def distances_on_floor(self, numbers: _Which, points: Vectors) -> Numbers:
        """Metres from each point to its solid's footprint, seen from above."""
        x, _, z = np.abs(self._in_cubes(points, numbers, True))
        half_x, _, half_z = self.half.T
        beside = ((x - 1) * half_x[numbers]).clip(0.0), ((z - 1) * half_z[numbers]).clip(0.0)
        return np.hypot(*beside)

    def entries(
        self, numbers: _Which, origins: _OneOrAll, directions: _OneOrAll, reach: Numbers
    ) -> Numbers:
        """t where each ray, from outside, meets its solid first, through a hole maybe its far
        side; inf where that is nowhere or not before reach.

        There may be one origin for all rays, or one direction.
        """
        o = self._pairs(origins, numbers, True)
        d = self._pairs(directions, numbers, False)
        near, far = self._crossings(numbers, o, d)
        met = near <= far
        first = np.where(met & (near > NEAR), near, np.float32(np.inf))
        holed = np.flatnonzero(self.see_through[numbers] & met & (near < reach) & (far > NEAR))
        if len(holed):
            self._pass_holes(numbers, o, d, first, far, holed)
        first[first >= reach] = np.inf
        return first

    def surfaces(self, numbers: _Which, points: Vectors) -> tuple[Vectors, Numbers, Numbers]:
        """Outward unit normals and u, v, as `shapes.surface`, of points on their solids."""
        own = self._in_cubes(points, numbers, True)
        x, y, z = normals = np.empty_like(own)
        u, v = np.empty((2, len(numbers)), np.float32)
        for shape, at in groups(self.shapes[numbers]):
            half = self.half[numbers[at]]
            found, u[at], v[at] = surface(SHAPES[shape], _of(own, at).T, half)
            normals[:, at] = found.T
        cos, sin = self._turns[:, numbers]
        return np.stack((cos * x + sin * z, y, cos * z - sin * x), axis=-1), u, v

    def _crossings(self, numbers: _Which, o: Any, d: Any) -> tuple[Numbers, Numbers]:
        near, far = np.empty((2, len(numbers)), np.float32)
        for shape, at in groups(self.shapes[numbers]):
            near[at], far[at] = crossing(SHAPES[shape], _of(o, at).T, _of(d, at).T)
        return near, far

    def _pass_holes(
        self,
        numbers: _Which,
        o: Any,
        d: Any,
        first: Numbers,
        far: Numbers,
        at: Int[np.ndarray, "some"],
    ) -> None:
        """Moves first crossings of the pairs `at` that are holes to the far side, or away."""
        again = at[self._is_hole(numbers[at], _of(o, at), _of(d, at), first[at])]
        first[again] = far[again]
        first[again[self._is_hole(numbers[again], _of(o, again), _of(d, again), far[again])]] = (
            np.inf
        )

    def _is_hole(self, numbers: _Which, o: Any, d: Any, t: Numbers) -> Bool[np.ndarray, "n"]:
        """Which points at t on their solids' surfaces are holes; also those that are nowhere."""
        hole = ~np.isfinite(t)
        at = np.flatnonzero(~hole)
        points, numbers = _of(o, at) + t[at] * _of(d, at), numbers[at]
        u, v = np.empty((2, len(at)), np.float32)
        for shape, some in groups(self.shapes[numbers]):
            half = self.half[numbers[some]]
            _, u[some], v[some] = surface(SHAPES[shape], _of(points, some).T, half)
        for look, some in groups(self.looks[numbers]):
            hole[at[some]] = ~self._material(look).is_there(u[some], v[some])
        return hole

    def _material(self, look: int) -> Material:
        return self.materials[self._first_of_look[look]]

    @cached_property
    def _first_of_look(self) -> Int[np.ndarray, "L"]:
        return np.unique(self.looks, return_index=True)[1]

    @cached_property
    def _turns(self) -> Float32[np.ndarray, "2 M"]:
        return np.stack((np.cos(self.yaws), np.sin(self.yaws)))

    @cached_property
    def _scales(self) -> Float32[np.ndarray, "5 M"]:
        """The five entries other than 0 of the matrices from the world's axes to cubes."""
        (cos, sin), (x, y, z) = self._turns, self.half.T
        return np.stack((cos / x, sin / x, 1 / y, sin / z, cos / z))

    def _pairs(self, vectors: _OneOrAll, numbers: _Which, are_points: bool) -> Any:
        if len(vectors) == 1:  # the same for all rays of a solid
            return _of(self._in_cubes(vectors, slice(None), are_points), numbers)
        return self._in_cubes(vectors, numbers, are_points)

    def _in_cubes(self, vectors: Vectors, numbers: Any, are_points: bool) -> Any:
        """Points or directions in the axes and units of their solids, [3, n]."""
        x, y, z = vectors.T
        if are_points:
            at = _of(self.centres.T, numbers)
            x, y, z = x - at[0], y - at[1], z - at[2]
        cos_x, sin_x, over_y, sin_z, cos_z = _of(self._scales, numbers)
        return np.stack((cos_x * x - sin_x * z, over_y * y, sin_z * x + cos_z * z))


def _of(rows: Any, at: Any) -> Any:
    """rows[:, at], faster."""
    return rows if isinstance(at, slice) else np.take(rows, at, axis=1)


def groups(values: _Which) -> list[tuple[int, Any]]:
    """Each value that occurs, and where."""
    if not len(values):
        return []
    if (values == values[0]).all():
        return [(int(values[0]), slice(None))]
    order = np.argsort(values.astype(np.int16), kind="stable")  # a radix sort
    ordered = values[order]
    cuts = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    return [(int(values[at[0]]), at) for at in np.split(order, cuts)]
