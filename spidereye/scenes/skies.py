"""The skies of the procedural scenes: a gradient, sun or moon, clouds, hills on the horizon.

Layer: data, below scene.py. A sky is a function of direction, so it has no seam at ±180°.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from spidereye.scenes.textures import Colour, Numbers, Vectors, noise, smooth_step, vector


@dataclass(frozen=True)
class Sky:
    """A gradient, a sun with its glow, clouds on a flat layer, and hills on the horizon."""

    zenith: Colour
    horizon: Colour
    sun: tuple[float, float, float]  # unit vector to the sun, or the moon
    sun_colour: Colour
    cloud_cover: float = 0.3  # 0 clear … 1 closed
    cloud_size: float = 1.0  # cloud-layer heights
    hills: float = 0.1  # radians, how high they rise at most
    hill_colour: Colour = (0.10, 0.15, 0.08)
    place: tuple[float, float] = (0.0, 0.0)  # where in the noise clouds and hills are taken from

    def radiance(self, directions: Vectors, pixel_angle: Numbers) -> Vectors:
        """Light from unit directions; pixel_angle: radians that each sample covers."""
        up = directions[:, 1].clip(0.0, 1.0)
        sun_colour = vector(self.sun_colour)
        towards = (directions @ vector(self.sun)).clip(0.0, 1.0)[:, None]
        horizon = vector(self.horizon)
        light = horizon + (vector(self.zenith) - horizon) * np.sqrt(up)[:, None]
        glow = (0.12 * towards**6 + 0.5 * towards**150) * (1 - 0.6 * self.cloud_cover)
        light += sun_colour * glow
        # The disc is widened to 1.5°, a camera's glare, and its rim to a pixel.
        edge = 0.0131 - np.arccos(towards)
        disc = smooth_step(edge / (pixel_angle[:, None] + 0.004)) * 20
        light += sun_colour * disc * (1 - self.cloud_cover) ** 2
        light = self._clouded(light, directions, up, towards, pixel_angle)
        return self._hilly(light, directions, pixel_angle)

    def mirrored(self, directions: Vectors) -> Vectors:
        """Light from unit directions without detail: what is seen in panes and paint."""
        up = directions[:, 1]
        horizon, zenith = vector(self.horizon), vector(self.zenith)
        light = horizon + (zenith - horizon) * np.sqrt(up.clip(0.0, 1.0))[:, None]
        towards = (directions @ vector(self.sun)).clip(0.0, 1.0)[:, None]
        light += vector(self.sun_colour) * towards**40
        # Opposite houses and the ground are dark in a pane.
        return light * (0.25 + 0.75 * smooth_step((up + 0.05) / 0.3))[:, None]

    def _clouded(
        self, light: Vectors, directions: Vectors, up: Numbers, towards: Any, pixel_angle: Numbers
    ) -> Vectors:
        rise = up + 0.12  # the layer bends with the earth, or it would reach the horizon
        scale = 1 / (rise * self.cloud_size)
        u = directions[:, 0] * scale + self.place[0]
        v = directions[:, 2] * scale + self.place[1]
        depth = noise(u, v, pixel_angle * scale / rise)
        threshold = 1.1 - 1.9 * self.cloud_cover
        amount = smooth_step((depth - threshold) / 0.7)
        amount *= smooth_step((up - 0.01) / 0.25)
        bright = vector(self.horizon) * 0.55 + vector(self.sun_colour) * 0.3
        shade = (1.1 - 0.45 * amount)[:, None] + 0.5 * towards**12
        return light + (bright * shade - light) * amount[:, None]

    def _hilly(self, light: Vectors, directions: Vectors, pixel_angle: Numbers) -> Vectors:
        if not self.hills:
            return light
        level = np.hypot(directions[:, 0], directions[:, 2]) + 1e-6
        u = directions[:, 0] / level * 2.3 + self.place[1]
        v = directions[:, 2] / level * 2.3 + self.place[0]
        fine = np.full_like(u, 0.01)
        elevation = np.arctan2(directions[:, 1], level)
        # Two ranges, the far one higher and paler.
        for share, haze, shift in ((1.0, 0.7, 7.7), (0.6, 0.35, 0.0)):
            ridge = share * self.hills * (0.55 + 0.5 * noise(u + shift, v - shift, fine))
            above = elevation - ridge
            cover = smooth_step(0.5 - above / (2 * pixel_angle + 0.002))[:, None]
            folds = noise(4 * u + 9 * elevation, 40 * above, 2 * pixel_angle)
            wooded = vector(self.hill_colour) * (1 + 0.5 * folds)[:, None]
            # As bright as the day is: the horizon's light falls on them too.
            wooded = wooded * 1.4 * vector(self.horizon).mean()
            colour = haze * vector(self.horizon) + (1 - haze) * wooded
            light = light + (colour - light) * cover
        return light
