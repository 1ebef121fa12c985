"""What cameras do to pictures: light falls off to the rim, lenses are soft, sensors noisy, files
compressed. Views rendered from panoramas have none of it.

In the order of a camera: vignetting and blur in the lens, noise on the sensor, JPEG in the file.
One camera model makes all views of a shot, so its settings are the shot's; noise is each pixel's.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from torch import Tensor

from spidereye.camera import Camera

# What is drawn, uniformly. Widest settings: a quarter of the light at the rim is lost, blur by
# three quarters of a pixel of a 128-pixel view, 2 % noise, JPEG as messengers send it.
_VIGNETTING = (0.0, 0.25)
_BLUR = (0.0, 0.75)  # standard deviation in pixels
_READ_NOISE = (0.0, 0.012)  # of [0, 1], everywhere
_SHOT_NOISE = (0.0, 0.016)  # where a picture is white; its variance grows with the light
_QUALITY = (60, 95)  # of JPEG
_SHARE = 0.6  # of degraded shots that have each of the four


@dataclass  # not frozen: in a configuration that would say that its keys cannot be set
class Degradation:
    """Of one shot. vignetting: share of the light lost at the rim of the circle.   blur: standard
    deviation in pixels.   read_noise, shot_noise: standard deviation on [0, 1], everywhere and at
    white.   jpeg_quality: None for a file without loss."""

    vignetting: float = 0.0
    blur: float = 0.0
    read_noise: float = 0.0
    shot_noise: float = 0.0
    jpeg_quality: int | None = None

    @classmethod
    def drawn(cls, source: torch.Generator) -> "Degradation":
        """At random; the same number of draws whatever comes of them."""
        lots = torch.rand(4, generator=source, dtype=torch.float64) < _SHARE
        shares = torch.rand(5, generator=source, dtype=torch.float64).tolist()
        ranges = (_VIGNETTING, _BLUR, _READ_NOISE, _SHOT_NOISE, _QUALITY)
        a, b, c, d, e = (
            low + (high - low) * share for (low, high), share in zip(ranges, shares, strict=True)
        )
        dark, soft, noisy, packed = lots.tolist()
        return cls(a * dark, b * soft, c * noisy, d * noisy, round(e) if packed else None)

    @property
    def is_none(self) -> bool:
        """Whether views stay as they are."""
        return self == Degradation()

    def __call__(
        self,
        views: UInt8[Tensor, "N 3 h w"],
        cameras: Sequence[Camera],
        source: torch.Generator,
    ) -> UInt8[Tensor, "N 3 h w"]:
        """The views as such a camera gives them, black where they were no picture; one that is
        black all over is missing, and stays so.

        cameras: of the views, of batch shape [].   source: of the noise.
        """
        made = [
            self._view(view, camera, source) if bool(view.any()) else view
            for view, camera in zip(views, cameras, strict=True)
        ]
        return torch.stack(made)

    def _view(
        self, view: UInt8[Tensor, "3 h w"], camera: Camera, source: torch.Generator
    ) -> UInt8[Tensor, "3 h w"]:
        mask = camera.mask().cpu()
        light = view.permute(1, 2, 0).numpy().astype(np.float32) / 255
        light *= self._falloff(camera)[..., None].numpy()
        light = _blurred(light, mask.numpy(), self.blur)
        grain = torch.randn(light.shape, generator=source).numpy()
        deviation = np.sqrt(self.read_noise**2 + self.shot_noise**2 * light.clip(0, 1))
        levels = np.rint(255 * (light + deviation * grain).clip(0, 1)).astype(np.uint8)
        levels = _packed(levels * mask.numpy()[..., None], self.jpeg_quality)
        return torch.from_numpy(levels * mask.numpy()[..., None]).permute(2, 0, 1).contiguous()

    def _falloff(self, camera: Camera) -> Float32[Tensor, "h w"]:
        """Light that is left, by the square of the distance from the principal point."""
        offsets = camera.pixel_grid() - camera.lens.centre
        rim = min(camera.circle, camera.lens.width / 2)
        return (1 - self.vignetting * (offsets.square().sum(dim=-1) / rim**2).clamp(max=1)).float()


def _blurred(
    light: Float32[np.ndarray, "h w 3"], mask: Bool[np.ndarray, "h w"], sigma: float
) -> Float32[np.ndarray, "h w 3"]:
    """Blurred by a Gaussian; what is no picture has no part in it, or the rim would darken."""
    if sigma == 0:
        return light
    weight = mask.astype(np.float32)
    total = cv2.GaussianBlur(light * weight[..., None], (0, 0), sigma)
    return total / np.maximum(cv2.GaussianBlur(weight, (0, 0), sigma), 1e-3)[..., None]


def _packed(levels: UInt8[np.ndarray, "h w 3"], quality: int | None) -> UInt8[np.ndarray, "h w 3"]:
    """As a JPEG file gives it back; channel order is RGB here and BGR there."""
    if quality is None:
        return levels
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    encoded = cv2.imencode(".jpg", levels[..., ::-1], flags)[1]
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert decoded is not None, "it was encoded above"
    return decoded[..., ::-1]
