"""What a procedural scene consists of: solids that rays hit, a room, lights, their layout.

Layer: data, below scene.py. World axes x right, y up, z forward, metres; yaw turns right, radians.
Ray parameters t are in units of the direction's length; inf where a ray misses.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from spidereye.scenes.shapes import Shape, crossing, surface
from spidereye.scenes.skies import Sky
from spidereye.scenes.textures import Colour, Material, Numbers, Vectors

_NEAR = 1e-4  # metres; hits nearer than this are the surface that the ray starts from


@dataclass(frozen=True)
class Solid:
    """A shape that fills a box turned by yaw about its vertical axis."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]  # metres, from face to face, before the turn
    material: Material
    yaw: float = 0.0
    top: Material | None = None  # of the upper face; None = as all the others
    shape: Shape = "box"

    @property
    def radius(self) -> float:
        """Of the sphere around the centre that holds the solid."""
        return (max(self.size) if self.shape == "ball" else math.hypot(*self.size)) / 2

    @cached_property
    def half(self) -> Float32[np.ndarray, "3"]:
        return np.array(self.size, np.float32) / 2

    def local(self, vectors: Vectors) -> Vectors:
        """World directions in the solid's own axes."""
        return vectors @ self._axes.T

    def local_points(self, points: Vectors) -> Vectors:
        return self.local(points - np.array(self.centre, np.float32))

    def entry(self, origins: Vectors, directions: Vectors) -> Numbers:
        """t where a ray from outside meets the solid first; through a hole of its material that
        may be the far side."""
        near, far = self._crossing(origins, directions)
        met = near <= far
        first = np.where(met & (near > _NEAR), near, np.float32(np.inf))
        if not self.material.see_through:
            return first
        second = np.where(met & (far > _NEAR), far, np.float32(np.inf))
        for times in (first, second):
            hit = np.flatnonzero(np.isfinite(times))
            _, u, v = self.surface(origins[hit] + times[hit, None] * directions[hit])
            times[hit[~self.material.is_there(u, v)]] = np.inf
        return np.minimum(first, second)

    def exit(self, origins: Vectors, directions: Vectors) -> Numbers:
        """t where a ray from inside leaves."""
        far = self._crossing(origins, directions)[1]
        return np.where(far > _NEAR, far, np.float32(np.inf))

    def surface(self, points: Vectors) -> tuple[Vectors, Numbers, Numbers]:
        """Outward unit normals, and u and v in metres from a lower corner of a box's face, round
        the axis and upwards on a cylinder or cone, along the ridge and up the slope of a gable."""
        normals, u, v = surface(self.shape, self.local_points(points) / self.half, self.half)
        return (normals @ self._axes).astype(np.float32), u, v

    def holds(self, points: Vectors) -> Bool[np.ndarray, "n"]:
        """Which points are in the solid's box, faces included."""
        within = np.abs(self.local_points(points)) <= self.half + 1e-3
        return within[:, 0] & within[:, 1] & within[:, 2]

    def distance_on_floor(self, points: Vectors) -> Numbers:
        """Metres from points to the solid's footprint, seen from above."""
        p = np.abs(self.local_points(points)) - self.half
        return np.hypot(p[:, 0].clip(0.0), p[:, 2].clip(0.0))

    def _crossing(self, origins: Vectors, directions: Vectors) -> tuple[Numbers, Numbers]:
        o = self.local_points(origins) / self.half
        return crossing(self.shape, o, self.local(directions) / self.half)

    @cached_property
    def _axes(self) -> Float32[np.ndarray, "3 3"]:
        cos, sin = math.cos(self.yaw), math.sin(self.yaw)
        return np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], np.float32)


@dataclass(frozen=True)
class Light:
    """The sun, or a lamp."""

    vector: tuple[float, float, float]  # distant: unit vector to it; else where it is
    colour: Colour
    distant: bool = False  # a lamp fades with distance, the sun does not


@dataclass(frozen=True)
class Room:
    """A box whose inside holds the camera, with holes for windows in its walls."""

    box: Solid  # its material is that of the walls, its top the ceiling
    floor: Material
    ambient: Colour  # light from all around, inside
    openings: tuple[Solid, ...] = ()  # boxes that reach through a wall

    def exit(self, origins: Vectors, directions: Vectors) -> tuple[Numbers, Bool[np.ndarray, "n"]]:
        """t where rays from inside meet walls, floor or ceiling; which pass an opening there."""
        distance = self.box.exit(origins, directions)
        # A point on a wall may lie a hair outside; nothing of the room is before it.
        distance[np.isinf(distance)] = 0.0
        open_there = np.zeros(len(distance), bool)
        if self.openings:
            points = origins + distance[:, None] * directions
            for opening in self.openings:
                open_there |= opening.holds(points)
        return distance, open_there


@dataclass(frozen=True)
class Layout:
    """All that a scene consists of."""

    solids: tuple[Solid, ...]
    ground: Material
    sky: Sky
    lights: tuple[Light, ...]
    ambient: Colour  # light from all around, outside
    floor: float = -1.6  # the height of the ground
    haze: float = 250.0  # distance at which 1/e of an object's own light is left
    ground_turn: float = 0.0  # of the ground's pattern against x and z, radians
    room: Room | None = None  # where the camera is indoors

    @cached_property
    def table(self) -> "Table":
        solids = self.solids
        return Table(
            np.array([solid.centre for solid in solids], np.float32).reshape(-1, 3),
            np.array([solid.radius for solid in solids], np.float32),
            np.array([solid.material.is_lamp for solid in solids], bool),
        )


class Table(NamedTuple):
    """What is asked of all M solids of a layout at a time."""

    centres: Float32[np.ndarray, "M 3"]
    radii: Float32[np.ndarray, "M"]  # of the spheres that hold them
    lamps: Bool[np.ndarray, "M"]  # cast no shadow
