"""What a procedural scene consists of: boxes and ellipsoids that rays hit, lights, their layout.

Layer: data, below scenes.py. World axes x right, y up, z forward, metres; yaw turns right, radians.
Ray parameters t are in units of the direction's length; inf where a ray misses.
"""

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32

from spidereye.scene_textures import Colour, Material, Numbers, Sky, Vectors

_NEAR = 1e-4  # metres; hits nearer than this are the surface that the ray starts from


@dataclass(frozen=True)
class Solid:
    """A box turned by yaw about its vertical axis, or the ellipsoid inside it."""

    centre: tuple[float, float, float]
    size: tuple[float, float, float]  # metres, from face to face, before the turn
    material: Material
    yaw: float = 0.0
    top: Material | None = None  # of the upper face; None = as all the others
    ball: bool = False  # the ellipsoid inscribed in the box

    @property
    def radius(self) -> float:
        """Of the sphere around the centre that holds the solid."""
        return (max(self.size) if self.ball else math.hypot(*self.size)) / 2

    @property
    def half(self) -> Float32[np.ndarray, "3"]:
        return np.array(self.size, np.float32) / 2

    def local(self, vectors: Vectors) -> Vectors:
        """World directions in the solid's own axes."""
        return vectors @ self._axes().T

    def local_points(self, points: Vectors) -> Vectors:
        return self.local(points - np.array(self.centre, np.float32))

    def entry(self, origins: Vectors, directions: Vectors) -> Numbers:
        """t where a ray enters from outside."""
        o, d, half = self.local_points(origins), self.local(directions), self.half
        if self.ball:
            return _sphere_entry(o / half, d / half)
        near, far = _slabs(o, d, half)
        return np.where((near <= far) & (near > _NEAR), near, np.float32(np.inf))

    def exit(self, origins: Vectors, directions: Vectors) -> Numbers:
        """t where a ray from inside a box leaves it."""
        far = _slabs(self.local_points(origins), self.local(directions), self.half)[1]
        return np.where(far > _NEAR, far, np.float32(np.inf))

    def surface(self, points: Vectors) -> tuple[Vectors, Numbers, Numbers]:
        """Outward unit normals, and u and v in metres from a lower corner of the box's face."""
        p, half = self.local_points(points), self.half
        scaled = p / half
        axis = np.abs(scaled).argmax(axis=1)
        if self.ball:
            normals = scaled / half
            normals /= np.linalg.norm(normals, axis=1, keepdims=True)
        else:
            side = np.take_along_axis(scaled, axis[:, None], axis=1)
            normals = (np.arange(3) == axis[:, None]) * np.sign(side).astype(np.float32)
        corner = p + half
        u = np.where(axis == 0, corner[:, 2], corner[:, 0])
        v = np.where(axis == 1, corner[:, 2], corner[:, 1])
        return (normals @ self._axes()).astype(np.float32), u, v

    def distance_on_floor(self, points: Vectors) -> Numbers:
        """Metres from points to the solid's footprint, seen from above."""
        p = np.abs(self.local_points(points)) - self.half
        return np.hypot(p[:, 0].clip(0.0), p[:, 2].clip(0.0))

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
class Layout:
    """All that a scene consists of."""

    solids: tuple[Solid, ...]
    ground: Material
    sky: Sky
    lights: tuple[Light, ...]
    ambient: Colour  # light from all around
    floor: float = -1.6  # the height of the ground or floor
    haze: float = 250.0  # distance at which 1/e of an object's own light is left
    ground_turn: float = 0.0  # of the ground's pattern against x and z, radians
    room: Solid | None = None  # its inside is the world; its top is the ceiling, ground the floor


def _slabs(o: Vectors, d: Vectors, half: Float32[np.ndarray, "3"]) -> tuple[Numbers, Numbers]:
    """Where rays enter and leave the three slabs between opposite faces (Kay & Kajiya 1986)."""
    d = np.where(np.abs(d) < 1e-9, np.float32(1e-9), d)
    middle, reach = -o / d, half / np.abs(d)
    near, far = (middle - reach).T, (middle + reach).T
    # Not max(axis=1): NumPy is slow along an axis of three.
    return np.maximum(np.maximum(near[0], near[1]), near[2]), np.minimum(
        np.minimum(far[0], far[1]), far[2]
    )


def _sphere_entry(o: Vectors, d: Vectors) -> Numbers:
    a = np.einsum("nk,nk->n", d, d)
    b = np.einsum("nk,nk->n", o, d) / a
    # The squared distance of the ray from the centre, without the cancellation of b² - |o|² + 1.
    off = o - b[:, None] * d
    left = 1 - np.einsum("nk,nk->n", off, off)
    near = -b - np.sqrt(left.clip(0.0) / a)
    return np.where((left > 0) & (near > _NEAR), near, np.float32(np.inf))
