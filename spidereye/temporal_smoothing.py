"""What a model makes of a video, evened out over time where nothing happens.

A model sharpens, and the noise of a sensor with it: of a still scene its panoramas flicker more
than the geometric stitch. So each is mixed into the last one where it differs from it by noise
alone. Where it differs by more, something moved or the light changed, and it is taken as it is:
what remains of the last one there is no more than the noise.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

from spidereye.panorama import pad_sphere

# How much of a new panorama is taken where nothing happens. Of noise √(s / (2 - s)) = 0.62 is left.
_SHARE = 0.55
_AROUND = 2  # pixels about each one that are judged together with it: 5x5
# Differences between a new panorama and the last one, root mean square of their surroundings, in
# standard deviations σ of the noise. Noise alone makes 1.2 of them. Up to the first nothing happens
# (noise is not the same everywhere), from the second on the new panorama is taken as it is.
_STILL, _CHANGED = 2.0, 4.0
# σ in levels of 8 bits, at least and at most. Rounding alone is no change; and what fast motion
# makes of fine texture looks like noise, but of more levels.
_LEAST, _MOST = 0.5, 6.0
_FALLS, _RISES = 0.8, 1.1  # how much σ² may change from frame to frame
# Levels by which a value has to be off the written one to be rounded anew: one that is nearly half
# way between two levels would go to and fro with the least of noise.
_STAYS = 0.75
_EVERY = 4  # rows and columns between the places that tell σ, whose surroundings overlap


@dataclass(frozen=True)
class _Frame:
    """A panorama in levels of 8 bits: as it came, how it differed from the one before, evened out,
    and as it was given back."""

    new: Float[Tensor, "1 3 H W"]
    step: Float[Tensor, "1 3 H W"] | None
    made: Float[Tensor, "1 3 H W"]
    written: Float[Tensor, "1 3 H W"]


class TemporalSmoothing:
    """Evens out panoramas that follow each other in time; holds the last one, however many come.

    The first two are given back as they are: differences tell the noise from the third one on.
    """

    def __init__(self) -> None:
        self._last: _Frame | None = None
        self._variance: float | None = None  # σ² of the noise, in levels²

    def __call__(self, picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H W 3"]:
        """The next panorama, of the size of those before."""
        new = torch.from_numpy(picture).permute(2, 0, 1)[None].float()
        last = self._last
        step = None if last is None else new - last.new
        made = written = new
        if last is not None and step is not None and last.step is not None:
            self._variance = self._bounded(_noise_variance(step, last.step))
            made = torch.lerp(last.made, new, _share(new - last.made, self._variance))
            stays = (made - last.written).abs() < _STAYS
            written = torch.where(stays, last.written, made.round())
        self._last = _Frame(new, step, made, written)
        return np.ascontiguousarray(written[0].to(torch.uint8).permute(1, 2, 0).numpy())

    def state(self) -> dict[str, Tensor]:
        """What the next panorama depends on, for `restore`; nothing before the first."""
        if self._last is None:
            return {}
        parts = {name: part for name, part in vars(self._last).items() if part is not None}
        if self._variance is not None:
            parts["variance"] = torch.tensor(self._variance, dtype=torch.float64)
        return parts

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the panorama whose `state` this is."""
        if not state:
            return
        self._last = _Frame(state["new"], state.get("step"), state["made"], state["written"])
        self._variance = float(state["variance"]) if "variance" in state else None

    def _bounded(self, found: float) -> float:
        """A frame whose noise cannot be told, as at a cut, says little of the next one's."""
        if self._variance is not None:
            found = min(max(found, _FALLS * self._variance), _RISES * self._variance)
        return min(max(found, _LEAST**2), _MOST**2)


def _noise_variance(step: Float[Tensor, "1 3 H W"], before: Float[Tensor, "1 3 H W"]) -> float:
    """σ² of the noise, from how a panorama and the one before it differ from their predecessors.

    Noise that went up comes down again: the mean product of two differences in succession is -σ².
    What moves goes on, and makes it positive. The median over the sphere leaves out what little
    moves, and places that never change, as burnt ones, are not asked.
    """
    came_back = _around(-step * before)[..., ::_EVERY, ::_EVERY]
    told = came_back[came_back != 0]
    return float(told.median()) if len(told) else 0.0


def _share(difference: Float[Tensor, "1 3 H W"], variance: float) -> Float[Tensor, "1 1 H W"]:
    """How much of the new panorama is to be taken.

    difference: of it to the last one.   variance: σ² of the noise."""
    deviations = (_around(difference.square()) / variance).sqrt()
    changed = ((deviations - _STILL) / (_CHANGED - _STILL)).clamp(0, 1)
    return _SHARE + (1 - _SHARE) * changed


def _around(values: Float[Tensor, "1 3 H W"]) -> Float[Tensor, "1 1 H W"]:
    """Means over the channels and the surroundings of each pixel on the sphere."""
    padded = pad_sphere(values.mean(dim=1, keepdim=True), _AROUND)
    return F.avg_pool2d(padded, 2 * _AROUND + 1, stride=1)
