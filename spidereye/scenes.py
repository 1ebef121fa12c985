"""Procedural scenes: a small ray caster that can look at one scene from any place.

Layer: data. World axes x right, y up, z forward, metres; the rig's centre is the origin, about
1.6 m above the floor. Everything is a function of 3-D position or direction, so that views from
different places have true parallax and the panorama has no seam. How scenes are drawn at random is
in scene_layouts.py, their solids in scene_solids.py, textures and skies in scene_textures.py.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from spidereye.panorama import panorama_rays
from spidereye.pictures import to_uint8
from spidereye.scene_layouts import random_layout
from spidereye.scene_solids import Layout, Light
from spidereye.scene_textures import Numbers, Vectors, vector

_BLOCK = 128  # rays by rays at a time: their arrays stay in the processor's cache
_SHADOWS = 120.0  # metres


@dataclass(frozen=True)
class Scene:
    """A layout of solids, lights and sky, and how much of its light makes a bright picture."""

    layout: Layout
    exposure: float = 1.0  # display value = (1 - exp(-exposure·radiance))^(1/2.2)

    @classmethod
    def random(cls, seed: int | Sequence[int]) -> "Scene":
        """A street, park, yard, room or hall; the same for the same seed (integers of 0 or more).

        Exposed like a camera does, by the mean of the logarithm of a small panorama.
        """
        rng = np.random.default_rng(seed)
        scene = cls(random_layout(rng))
        rays = panorama_rays(32, 64, dtype=torch.float32).numpy()
        rays = rays.reshape(-1, 3)
        light = scene._light(np.zeros_like(rays), rays, 0.1)
        weights = np.cos(np.linspace(-1, 1, 32) * math.pi / 2).repeat(64)
        mean = np.average(np.log(light.mean(axis=1) + 1e-3), weights=weights + 0.01)
        return replace(scene, exposure=float(rng.uniform(0.18, 0.36) / np.exp(mean)))

    def radiance(
        self,
        origins: Float[np.ndarray, "*origins 3"],
        directions: Float[np.ndarray, "*rays 3"],
        pixel_angle: float = 0.004,
    ) -> Float32[np.ndarray, "*rays 3"]:
        """What is seen from origins (metres, any shape that broadcasts to the directions') along
        unit directions: display values in [0, 1], gamma included, 1 = 255 of 8 bits.

        pixel_angle: radians that one ray stands for; finer texture fades to its mean.
        """
        flat = directions.reshape(-1, 3).astype(np.float32)
        starts = np.broadcast_to(origins, directions.shape).reshape(-1, 3).astype(np.float32)
        seen = np.empty_like(flat)
        for rays in _blocks(directions.shape[:-1]):
            light = self._light(starts[rays], flat[rays], pixel_angle)
            seen[rays] = (1 - np.exp(-self.exposure * light)) ** (1 / 2.2)
        return seen.reshape(directions.shape)

    def panorama(self, width: int) -> UInt8[np.ndarray, "{width}//2 {width} 3"]:
        """The equirectangular picture from the origin, width even; 2×2 samples for each pixel."""
        rays = panorama_rays(width, 2 * width, dtype=torch.float32).numpy()
        seen = self.radiance(np.zeros(3, np.float32), rays, math.pi / width)
        mean = seen.reshape(width // 2, 2, width, 2, 3).mean(axis=(1, 3))
        return to_uint8(torch.from_numpy(mean * 2 - 1)).numpy()

    def _light(self, origins: Vectors, directions: Vectors, pixel_angle: float) -> Vectors:
        """Linear light that arrives at the origins against the directions."""
        layout = self.layout
        distance, number = self._nearest(origins, directions)
        sky = np.isinf(distance)
        light = np.empty_like(directions)
        light[sky] = layout.sky.radiance(directions[sky], pixel_angle)
        rays = np.flatnonzero(~sky)
        distance, directions = distance[rays], directions[rays]
        points = origins[rays] + distance[:, None] * directions
        normals, colour, glow = self._surfaces(
            number[rays], points, directions, distance * pixel_angle
        )
        arriving = vector(layout.ambient) * self._openness(points, normals)[:, None]
        for lamp in layout.lights:
            arriving += self._direct(lamp, points, normals)
        reflected = colour * np.where(glow > 0, glow, arriving)
        if layout.room is None:
            haze = np.exp(-distance / layout.haze)[:, None]
            reflected = reflected * haze + vector(layout.sky.horizon) * (1 - haze)
        light[rays] = reflected
        return light

    def _nearest(self, origins: Vectors, directions: Vectors) -> tuple[Numbers, Any]:
        """Metres to the first surface and its number: a solid's, or len(solids): floor or room."""
        layout = self.layout
        if layout.room is None:
            fall = directions[:, 1].clip(None, -1e-9)
            distance = (layout.floor - origins[:, 1]) / fall
            distance[directions[:, 1] >= 0] = np.inf
        else:
            distance = layout.room.exit(origins, directions)
        nearest = np.full(len(distance), len(layout.solids))
        for number, rays in self._candidates(origins, directions):
            entry = layout.solids[number].entry(origins[rays], directions[rays])
            closer = entry < distance[rays]
            distance[rays[closer]] = entry[closer]
            nearest[rays[closer]] = number
        return distance, nearest

    @cached_property
    def _spheres(self) -> tuple[Float32[np.ndarray, "M 3"], Float32[np.ndarray, "M"]]:
        solids = self.layout.solids
        centres = np.array([solid.centre for solid in solids], np.float32).reshape(-1, 3)
        return centres, np.array([solid.radius for solid in solids], np.float32)

    def _candidates(self, origins: Vectors, directions: Vectors) -> list[tuple[int, Any]]:
        """(solid, the rays that meet the sphere around it); the box tests of all others are saved.

        First for the bundle of rays as a whole, a cone from a ball of origins, then for each ray.
        """
        if not len(origins) or not self.layout.solids:
            return []
        centres, radii = self._spheres
        middle, axis = origins.mean(axis=0), directions.mean(axis=0)
        axis = axis / max(float(np.linalg.norm(axis)), 1e-6)
        spread = float(_length(origins - middle).max())
        opening = math.acos(np.clip((directions @ axis).min(), -1, 1))
        away = np.linalg.norm(centres - middle, axis=1) + 1e-6
        off_axis = np.arccos(((centres - middle) @ axis / away).clip(-1, 1))
        seen_as = np.arcsin(((radii + spread) / away).clip(0, 1))
        near = np.flatnonzero((away <= radii + spread) | (off_axis <= opening + seen_as + 0.01))

        centres, reach = centres[near], 1.01 * radii[near, None] + 0.05  # float32 cancels at 50 m
        if spread < 1e-5:
            origins = origins[:1]
        along = centres @ directions.T - np.einsum(
            "nk,nk->n", *np.broadcast_arrays(origins, directions)
        )
        square = np.einsum("nk,nk->n", origins, origins) - 2 * (centres @ origins.T)
        square += (centres**2).sum(axis=1, keepdims=True)
        maybe = (along**2 >= square - reach**2) & (along > -reach)
        found = (
            (int(number), np.flatnonzero(row)) for number, row in zip(near, maybe, strict=True)
        )
        return [(number, rays) for number, rays in found if len(rays)]

    def _surfaces(
        self, numbers: Any, points: Vectors, directions: Vectors, width: Numbers
    ) -> tuple[Vectors, Vectors, Float32[np.ndarray, "n 1"]]:
        """Normals, reflectances and glow of points on the surfaces `numbers`.

        width: metres that a sample covers across the ray.
        """
        layout = self.layout
        normals, colour = np.empty_like(points), np.empty_like(points)
        glow = np.zeros((len(points), 1), np.float32)
        for number in np.unique(numbers):
            at = np.flatnonzero(numbers == number)
            if number < len(layout.solids):
                solid = layout.solids[number]
                normal, u, v = solid.surface(points[at])
                material, upper, lower = solid.material, solid.top, None
            elif layout.room is not None:
                normal, u, v = layout.room.surface(points[at])
                normal = -normal
                material, upper, lower = layout.room.material, layout.ground, layout.room.top
            else:
                normal = np.broadcast_to(vector((0.0, 1.0, 0.0)), (len(at), 3))
                u, v = self._on_ground(points[at])
                material, upper, lower = layout.ground, None, None
            slant = np.abs(np.einsum("nk,nk->n", normal, directions[at])).clip(0.03)
            footprint = width[at] / np.sqrt(slant)
            colour[at] = material.albedo(u, v, footprint)
            for other, sign in ((upper, 1), (lower, -1)):
                face = np.flatnonzero(sign * normal[:, 1] > 0.99) if other is not None else ()
                if other is not None and len(face):
                    colour[at[face]] = other.albedo(u[face], v[face], footprint[face])
            normals[at] = normal
            glow[at] = material.glow
        return normals, colour, glow

    def _on_ground(self, points: Vectors) -> tuple[Numbers, Numbers]:
        cos, sin = math.cos(self.layout.ground_turn), math.sin(self.layout.ground_turn)
        u, v = self.layout.ground.place  # else a joint between tiles would run through the origin
        x, z = points[:, 0], points[:, 2]
        return u + x * cos - z * sin, v + x * sin + z * cos

    def _direct(self, lamp: Light, points: Vectors, normals: Vectors) -> Vectors:
        """Light of one lamp or the sun on diffuse surfaces, with shadows."""
        place = np.broadcast_to(vector(lamp.vector), points.shape)
        towards = place if lamp.distant else place - points
        length = _length(towards)
        towards = towards / length[:, None]
        amount = np.einsum("nk,nk->n", normals, towards).clip(0.0)
        # No solid is far enough away to shade what lies beyond _SHADOWS.
        lit = np.flatnonzero((amount > 0) & (_length(points) < _SHADOWS))
        if lamp.distant:
            starts, along = points[lit] + 2e-3 * normals[lit], towards[lit]
            reach = np.full(len(lit), np.inf, np.float32)
        else:  # from the lamp, not to it: rays from one point are a bundle that meets few solids
            starts, along, reach = place[lit], -towards[lit], length[lit] - 5e-3
        blocked = np.zeros(len(lit), bool)
        for number, rays in self._candidates(starts, along):
            solid = self.layout.solids[number]
            if not solid.material.glow:
                rays = rays[~blocked[rays]]
                blocked[rays] = solid.entry(starts[rays], along[rays]) < reach[rays]
        amount[lit[blocked]] = 0.0
        if not lamp.distant:
            amount /= 1 + 0.25 * length**2
        return amount[:, None] * vector(lamp.colour)

    def _openness(self, points: Vectors, normals: Vectors) -> Numbers:
        """The share of the surrounding light that reaches points: less in corners, under things."""
        layout = self.layout
        height = points[:, 1] - layout.floor
        on_floor = (height < 0.01) & (normals[:, 1] > 0.99)
        share = 0.75 + 0.25 * normals[:, 1]
        share *= np.where(on_floor, 1, 1 - 0.35 * np.exp(-height.clip(0.0) / 0.4))
        floor = np.flatnonzero(on_floor & (_length(points) < _SHADOWS))
        if len(floor):
            # Solids darken the floor as far as 2 m; those farther from all these points are out.
            low, high = points[floor].min(axis=0) - 2, points[floor].max(axis=0) + 2
            for solid in layout.solids:
                bottom = solid.centre[1] - solid.size[1] / 2 - layout.floor
                far = np.abs(np.clip(solid.centre, low, high) - solid.centre)[[0, 2]].max()
                if bottom < 0.4 and solid.size[1] > 0.2 and far < solid.radius:
                    distance = solid.distance_on_floor(points[floor])
                    dark = np.exp(-distance / (0.15 + 0.12 * min(solid.size[1], 5.0)))
                    share[floor] *= 1 - 0.5 * dark * (1 - distance / 2).clip(0.0)
        if layout.room is not None:
            inside = layout.room.half - np.abs(layout.room.local_points(points))
            shade = 1 - 0.3 * np.exp(-inside.clip(0.0) / 0.4)
            # Without the face that a point lies on.
            shade[np.abs(layout.room.local(normals)) > 0.5] = 1
            share *= shade[:, 0] * shade[:, 1] * shade[:, 2]
        return share


def _length(vectors: Vectors) -> Numbers:
    return np.sqrt(np.einsum("nk,nk->n", vectors, vectors))


def _blocks(shape: tuple[int, ...]) -> Iterator[Any]:
    """Flat indices of rays, in compact blocks of a picture: bundles that most solids are out of."""
    numbers = np.arange(math.prod(shape)).reshape(-1, shape[-1] if shape else 1)
    for row in range(0, numbers.shape[0], _BLOCK):
        for column in range(0, numbers.shape[1], _BLOCK):
            yield numbers[row : row + _BLOCK, column : column + _BLOCK].ravel()
