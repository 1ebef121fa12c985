"""Procedural scenes: a small ray caster that can look at one scene from any place.

Layer: data. World axes x right, y up, z forward, metres; the rig's centre is the origin, about
1.6 m above the floor. Everything is a function of 3-D position or direction, so that views from
different places have true parallax and the panorama has no seam. How scenes are drawn at random is
in layouts.py and rooms.py, what they are made of in solids.py, their looks in
textures.py, skies.py and shading.py. Views of a rig: views.py.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8

from spidereye.panorama import panorama_rays
from spidereye.pictures import to_uint8
from spidereye.scenes.layouts import random_layout
from spidereye.scenes.ray_grids import PointGrid
from spidereye.scenes.shading import light_along
from spidereye.scenes.solids import Layout
from spidereye.scenes.tracing import eye_grid, first_hits

LOOKS = 2  # another number: the same seed gives another picture than before
_CHUNK = 65536  # rays at a time: their arrays stay in the processor's cache


@dataclass(frozen=True)
class Scene:
    """A layout of solids, lights and sky, and how much of its light makes a bright picture."""

    layout: Layout
    exposure: float = 1.0  # display value = (1 - exp(-exposure·radiance))^(1/2.2)

    @classmethod
    def random(cls, seed: int | Sequence[int]) -> "Scene":
        """A street, park, yard, square, room or hall; the same for the same seed (integers of 0 or
        more).

        Exposed like a camera does, by the mean of the logarithm of a small panorama.
        """
        rng = np.random.default_rng(seed)
        layout = random_layout(rng)
        rays = panorama_rays(32, 64, dtype=torch.float32).numpy().reshape(-1, 3)
        angle = np.full(len(rays), 0.1, np.float32)
        eye = eye_grid(layout, np.zeros(3, np.float32), len(rays))
        light = light_along(layout, eye, rays, angle)[0]
        weights = np.cos(np.linspace(-1, 1, 32) * math.pi / 2).repeat(64)
        mean = np.average(np.log(light.mean(axis=1) + 1e-3), weights=weights + 0.01)
        return cls(layout, exposure=float(rng.uniform(0.18, 0.36) / np.exp(mean)))

    def look(
        self,
        origins: Float[np.ndarray, "*origins 3"],
        directions: Float[np.ndarray, "*rays 3"],
        pixel_angle: float | Float[np.ndarray, "*rays"] = 0.004,
    ) -> tuple[Float32[np.ndarray, "*rays 3"], Float32[np.ndarray, "*rays"]]:
        """What is seen from origins (metres, any shape that broadcasts to the directions') along
        unit directions, and how far away it is.

        Display values in [0, 1], gamma included, 1 = 255 of 8 bits; metres along the ray, inf for
        the sky. pixel_angle: radians that one ray stands for; finer texture fades to its mean.
        """
        flat = directions.reshape(-1, 3).astype(np.float32)
        angles = np.broadcast_to(pixel_angle, directions.shape[:-1]).reshape(-1).astype(np.float32)
        seen, depth = np.empty_like(flat), np.empty_like(angles)
        for eye, rays in self._chunks(origins, directions.shape):
            light, depth[rays] = light_along(self.layout, eye, flat[rays], angles[rays])
            seen[rays] = (1 - np.exp(-self.exposure * light)) ** (1 / 2.2)
        return seen.reshape(directions.shape), depth.reshape(directions.shape[:-1])

    def radiance(
        self,
        origins: Float[np.ndarray, "*origins 3"],
        directions: Float[np.ndarray, "*rays 3"],
        pixel_angle: float | Float[np.ndarray, "*rays"] = 0.004,
    ) -> Float32[np.ndarray, "*rays 3"]:
        """The display values of `look`."""
        return self.look(origins, directions, pixel_angle)[0]

    def depth(
        self, origins: Float[np.ndarray, "*origins 3"], directions: Float[np.ndarray, "*rays 3"]
    ) -> Float32[np.ndarray, "*rays"]:
        """The metres of `look`, without the work of its colours."""
        flat = directions.reshape(-1, 3).astype(np.float32)
        depth = np.empty(len(flat), np.float32)
        for eye, rays in self._chunks(origins, directions.shape):
            depth[rays] = first_hits(self.layout, eye, flat[rays])[0]
        return depth.reshape(directions.shape[:-1])

    def panorama(self, width: int) -> UInt8[np.ndarray, "{width}//2 {width} 3"]:
        """The equirectangular picture from the origin, width even; 2x2 samples for each pixel."""
        rays = panorama_rays(width, 2 * width, dtype=torch.float32).numpy()
        seen = self.radiance(np.zeros(3, np.float32), rays, math.pi / width)
        mean = seen.reshape(width // 2, 2, width, 2, 3).mean(axis=(1, 3))
        return to_uint8(torch.from_numpy(mean * 2 - 1)).numpy()

    def panorama_depth(self, width: int) -> Float32[np.ndarray, "{width}//2 {width}"]:
        """Metres from the origin to what the centre of each panorama pixel shows, inf for sky."""
        rays = panorama_rays(width // 2, width, dtype=torch.float32).numpy()
        return self.depth(np.zeros(3, np.float32), rays)

    def _chunks(
        self, origins: Float[np.ndarray, "*origins 3"], shape: tuple[int, ...]
    ) -> Iterator[tuple[PointGrid, Any]]:
        """Flat indices of rays from one origin, not too many at a time, and the grid of it."""
        points = origins.reshape(-1, 3).astype(np.float32)
        if (points == points[:1]).all():
            eyes, which = points[:1], None
        else:
            starts = np.broadcast_to(origins, shape).reshape(-1, 3).astype(np.float32)
            eyes, which = np.unique(starts, axis=0, return_inverse=True)
        for number, eye in enumerate(eyes):
            rays = np.arange(math.prod(shape[:-1])) if which is None else which == number
            rays = np.flatnonzero(rays) if which is not None else rays
            grid = eye_grid(self.layout, eye, len(rays))
            for start in range(0, len(rays), _CHUNK):
                yield grid, rays[start : start + _CHUNK]
