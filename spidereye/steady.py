"""Self-calibration of a video: what does not change is found once, what does changes slowly.

A rig is rigid, so its rotations are means over a few moments of the whole video. Exposures follow
the light: colours are compared once a second of video, and what is applied approaches what was
found, so that nothing jumps from frame to frame.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float64
from scipy.spatial.transform import Rotation
from torch import Tensor

from spidereye.rig import Rig
from spidereye.self_calibration import Calibrated
from spidereye.shots import Images, files_of
from spidereye.stitcher import Stitcher

INTERVAL = 1.0  # seconds of video from one comparison of colours to the next
_LAG = 1.0  # seconds in which colours come 1 - 1/e of their way


@dataclass(frozen=True)
class Poses:
    """rig: with the rotations of the whole video.   misalignment: that is left, the median.
    notes: on the first of its moments."""

    rig: Rig
    misalignment: float
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, stitcher: Stitcher, shots: Iterable[Images]) -> "Poses":
        """From a few moments of a video; the rig as it is where rotations are not to be refined."""
        found = [stitcher.calibrate(images) for images in shots]
        seen = [one for one in found if one is not None]
        if not seen:
            return cls(stitcher.rig, 0.0)
        cameras = tuple(
            replace(camera, rotation=_mean([one.cameras[n].rotation for one in seen]))
            for n, camera in enumerate(stitcher.rig.cameras)
        )
        left = float(np.median([one.misalignment for one in seen]))
        return cls(replace(stitcher.rig, cameras=cameras), left, tuple(seen[0].notes))


class SteadyCalibration:
    """What to correct in each frame of a video of known poses."""

    def __init__(self, stitcher: Stitcher, poses: Poses):
        self._stitcher, self._poses = stitcher, poses
        self._target: Calibrated | None = None  # what was found last
        self._now: Calibrated | None = None  # what is applied
        self._compared = self._seconds = -math.inf  # when that was

    def at(self, seconds: float, images: Images) -> Calibrated | None:
        """For the frame at so many seconds, which are not less than those asked for before; None
        where nothing is to be refined."""
        if not self._stitcher.refine:
            return None
        if self._target is None or seconds - self._compared >= INTERVAL - 1e-6:
            self._target, self._compared = self._found(images), seconds
        now, target = self._now or self._target, self._target
        share = 1 - math.exp(-(seconds - self._seconds) / _LAG)
        gain = _nearer(now.gain, target.gain, share)
        offset = _nearer(now.offset, target.offset, share)
        self._now, self._seconds = replace(target, gain=gain, offset=offset), seconds
        return self._now

    def lacking(self, images: Sequence[object]) -> Calibrated | None:
        """For a frame in which some files have no picture but None: what holds at that moment, of
        the views that the stitcher makes it of; None where nothing is to be refined."""
        if not self._stitcher.refine:
            return None
        now, model = self._now or self._unrefined(), self._stitcher.by_model
        pairs = enumerate(files_of(self._stitcher.rig))
        names = self._stitcher.rig.names
        there = [names[number] for number, file in pairs if images[file] is not None]
        if model is not None and not model.takes_any_rig:  # which gets black ones for the others
            there = names
        left = self._poses.misalignment
        return replace(now.among(there), views=[], misalignment=left, unlike=())

    def state(self) -> dict[str, Tensor]:
        """What the next frame depends on, for `restore`; nothing before the first."""
        if self._now is None or self._target is None:
            return {}
        return {
            "gain": self._now.gain, "offset": self._now.offset,
            "found.gain": self._target.gain, "found.offset": self._target.offset,
            "blank": torch.tensor(self._target.blank, dtype=torch.int64),
            "times": torch.tensor([self._compared, self._seconds], dtype=torch.float64),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on after the frame whose `state` this is, of the same stitcher and poses."""
        if not state:
            return
        blank = tuple(state["blank"].tolist())
        known = replace(self._unrefined(), blank=blank, misalignment=self._poses.misalignment)
        self._target = replace(known, gain=state["found.gain"], offset=state["found.offset"])
        self._now = replace(known, gain=state["gain"], offset=state["offset"])
        self._compared, self._seconds = state["times"].tolist()

    def _unrefined(self) -> Calibrated:
        count = len(self._poses.rig.cameras)
        ones = torch.ones(count, 3, dtype=torch.float64)
        return Calibrated([], self._poses.rig.cameras, ones, 0 * ones, 0.0, (), [])

    def _found(self, images: Images) -> Calibrated:
        colours = [what for what in self._stitcher.refine if what == "gain"]
        found = self._stitcher.calibrate(images, self._poses.rig, colours)
        if found is None:  # rotations alone, which are known
            found = replace(self._unrefined(), notes=list(self._poses.notes))
        return replace(found, misalignment=self._poses.misalignment)


def _nearer(
    now: Float64[Tensor, "N 3"], target: Float64[Tensor, "N 3"], share: float
) -> Float64[Tensor, "N 3"]:
    return now + share * (target - now)


def _mean(rotations: Sequence[Tensor]) -> Float64[Tensor, "3 3"]:
    stack = torch.stack([rotation.to(torch.float64) for rotation in rotations]).numpy()
    return torch.from_numpy(Rotation.from_matrix(stack).mean().as_matrix())
