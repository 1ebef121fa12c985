"""Giving a view the gain and offset that were found for it, in floats and in 8 bits.

A saturated value says only "at least", so that gain and offset make of it a lower bound, and would
tint a white sky. There a channel takes the largest channel of its pixel: burnt highlights are taken
for neutral. Under the jitter protocol on panoramas/val that is worth 0.19 dB; the like for lost
shadows would be worth 0.002 more.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float64, UInt8
from torch import Tensor

from spidereye.camera import Camera
from spidereye.errors import SpiderEyeError

CLIPPED = 1.5 / 127.5  # from either end of [-1, 1]: the two outermost of 256 levels

_SATURATED = np.where(np.arange(256) >= 254, 255, 0).astype(np.uint8)


def recoloured(
    view: Float[Tensor, "1 3 h w"], gain: Float64[Tensor, "3"], offset: Float64[Tensor, "3"]
) -> Float[Tensor, "1 3 h w"]:
    """gain·v + offset, v being the values of a view in [-1, 1] taken to [0, 1]. Not clipped:
    blending may bring it back."""
    if bool((gain == 1).all()) and bool((offset == 0).all()):
        return view
    # On [-1, 1], v = (x + 1)/2: gain·x + (gain + 2·offset - 1).
    like = {"device": view.device, "dtype": view.dtype}
    shift = (gain + 2 * offset - 1).to(**like)[:, None, None]
    made = view * gain.to(**like)[:, None, None] + shift
    return torch.where(view >= 1 - CLIPPED, made.amax(dim=1, keepdim=True), made)


def recoloured_views(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    gain: Float64[Tensor, "N 3"],
    offset: Float64[Tensor, "N 3"],
) -> list[Float[Tensor, "1 3 _ _"]]:
    """Every view of a shot with its own gain and offset, black outside its camera's mask."""
    return [
        torch.where(camera.mask().to(view.device), recoloured(view, g, o), -1.0)
        for view, camera, g, o in zip(views, cameras, gain, offset, strict=True)
    ]


def tables(
    gain: Float[Tensor, "N C"] | None, offset: Float[Tensor, "N C"] | None, shape: tuple[int, ...]
) -> list[UInt8[np.ndarray, "1 256 C"] | None]:
    """For each view what 8-bit values become, for cv2.LUT; None where they stay as they are.

    shape: (N, C) as it should be. Raises SpiderEyeError for another.
    """
    one, none = np.ones(shape), np.zeros(shape)
    factors = one if gain is None else gain.detach().cpu().double().numpy()
    terms = none if offset is None else offset.detach().cpu().double().numpy()
    if factors.shape != shape or terms.shape != shape:
        raise SpiderEyeError(
            f"expected gain and offset of shape {list(shape)} for these views, "
            f"got {list(factors.shape)} and {list(terms.shape)}"
        )
    values = np.arange(256)[:, None]
    made = (values * factors[:, None] + 255 * terms[:, None]).round().clip(0, 255)
    return [None if (t == values).all() else t.astype(np.uint8)[None] for t in made]


def neutral_highlights(
    before: UInt8[np.ndarray, "h w 3"], after: UInt8[np.ndarray, "h w 3"]
) -> None:
    """Make `after`, which a table made of `before`, neutral where that was saturated; in place."""
    saturated = cv2.LUT(before, _SATURATED)
    red, green, blue = cv2.split(after)
    largest = cv2.max(cv2.max(red, green), blue)
    cv2.copyTo(cv2.merge((largest, largest, largest)), saturated, dst=after)
