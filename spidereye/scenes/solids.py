"""What a procedural scene consists of: solids that rays hit, a room, lights, their layout.

Layer: data, below scene.py. World axes x right, y up, z forward, metres; yaw turns right, radians.
Ray parameters t are in units of the direction's length; inf where a ray misses.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float32

from spidereye.scenes.ray_grids import ParallelGrid, PointGrid
from spidereye.scenes.shapes import SHAPES, Shape, crossing, surface
from spidereye.scenes.skies import Sky
from spidereye.scenes.tables import NEAR, SolidTable
from spidereye.scenes.textures import Colour, Material, Numbers, Vectors, vector

CREASE = 2.0  # metres; so far around things the floor is darker
_LAMP_CELLS, _SUN_CELLS, _FLOOR_CELLS = 20, 128, 160  # along an edge of their grids


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

    def exit(self, origins: Vectors, directions: Vectors) -> Numbers:
        """t where a ray from inside leaves."""
        far = self._crossing(origins, directions)[1]
        return np.where(far > NEAR, far, np.float32(np.inf))

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
    def table(self) -> SolidTable:
        solids = self.solids
        return SolidTable(
            np.array([solid.centre for solid in solids], np.float32).reshape(-1, 3),
            np.array([solid.size for solid in solids], np.float32).reshape(-1, 3) / 2,
            np.array([solid.yaw for solid in solids], np.float32),
            np.array([solid.centre[1] - solid.size[1] / 2 for solid in solids]),
            np.array([solid.radius for solid in solids], np.float32),
            np.array([SHAPES.index(solid.shape) for solid in solids], np.int64),
            tuple(solid.material for solid in solids),
        )

    @cached_property
    def light_grids(self) -> tuple[PointGrid | ParallelGrid, ...]:
        """Of each light, the solids that throw shadows; the sun's rays go away from it."""
        shading = ~self.table.lamps
        return tuple(
            ParallelGrid.build(self.table, -vector(light.vector), _SUN_CELLS, shading)
            if light.distant
            else PointGrid.build(self.table, vector(light.vector), _LAMP_CELLS, shading)
            for light in self.lights
        )

    @cached_property
    def creases(self) -> Float32[np.ndarray, "M"]:
        """Metres from each solid to where 1/e of its darkness on the floor is left."""
        return 0.15 + 0.24 * self.table.half[:, 1].clip(None, 2.5)

    @cached_property
    def floor_grid(self) -> ParallelGrid:
        """Seen from above, the solids that darken the floor by more than 3e-4."""
        reach = (self.creases * math.log(0.5 / 3e-4)).clip(None, CREASE)
        margin = np.stack((reach, np.zeros_like(reach), reach), axis=-1)
        down = vector((0.0, -1.0, 0.0))
        high = self.table.half[:, 1] > 0.1
        return ParallelGrid.build(self.table, down, _FLOOR_CELLS, high, margin)
