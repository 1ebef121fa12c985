"""Geometric stitches of one shot after another: what the cameras decide is computed once and kept.

On the CPU pictures stay in 8 bits from file to file; blending in bands, and other devices, work on
floats.
"""

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from spidereye.frame_stitching import FramePlan
from spidereye.pictures import resize_area, to_uint8
from spidereye.recolouring import recoloured_views
from spidereye.rig import Rig, fingerprint
from spidereye.self_calibration import Calibrated
from spidereye.shots import Shot, files_of
from spidereye.stitching import Blend, StitchPlan, divisions, views_seen
from spidereye.view_sampling import Kernel

Made = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]

_MOST_PLANS = 2  # one of 2048x1024 from four views takes 61 MB
_MISALIGNMENT_STEP = 0.25  # pixels of the panorama: finer differences make no plan of their own


@dataclass(frozen=True)
class ShotStitch:
    """Stitches shots to panoramas of `size` (W, H), W = 2H.

    plans: those used last, by what they depend on.
    """

    size: tuple[int, int]
    kernel: Kernel
    blend: Blend
    device: torch.device
    plans: OrderedDict[str, FramePlan | StitchPlan] = field(default_factory=OrderedDict)

    def __call__(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """(8-bit panorama, how many views see each pixel) of a shot of a rig.

        found: the colours and rotations to use in place of the rig's.
        """
        if self.device.type == "cpu" and self.blend != "multiband":
            return self._in_bytes(shot, _turned(rig, found), found)
        return self._in_floats(shot, _turned(shot.rig, found), found)

    def _in_bytes(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """The stitch of 8-bit pictures as they are."""
        width, height = self.size
        off, blank = self._misalignment(found), () if found is None else found.blank

        def make() -> FramePlan:
            times = 2 ** divisions(shot.rig.cameras, height, width, rig.sphere_radius)
            return FramePlan.for_files(
                rig.cameras, files_of(rig), shot.sizes, times * height, times * width,
                rig.sphere_radius, self.kernel, "none" if self.blend == "none" else "feather",
                off, blank,
            )  # fmt: skip

        plan = self._plan(f"{fingerprint(rig)} {shot.sizes} {off} {blank}", make)
        assert isinstance(plan, FramePlan)
        colours = () if found is None else (found.gain, found.offset)
        made, times = plan(shot.pictures, *colours), len(plan.count) // height
        if times == 1:
            return made, plan.count.copy()
        count = views_seen(rig.cameras, height, width, rig.sphere_radius)[0, 0]
        return resize_area(made, width, height), count.to(torch.uint8).numpy()

    def _in_floats(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """The stitch of float views, in bands or on another device."""
        width, height = self.size
        off, blank = self._misalignment(found), () if found is None else found.blank

        def make() -> StitchPlan:
            return StitchPlan.for_cameras(
                rig.cameras, height, width, rig.sphere_radius, self.kernel, self.blend,
                self.device, off, blank,
            )  # fmt: skip

        plan = self._plan(f"{fingerprint(rig)} {off} {blank}", make)
        assert isinstance(plan, StitchPlan)
        made = plan([view.to(self.device) for view in corrected_views(shot, found)])
        return in_bytes(made.panorama), made.count[0, 0].to(torch.uint8).cpu().numpy()

    def _misalignment(self, found: Calibrated | None) -> float:
        """In radians, in whole steps."""
        step = _MISALIGNMENT_STEP * 2 * math.pi / self.size[0]
        return 0.0 if found is None else round(found.misalignment / step) * step

    def _plan(self, key: str, make: Callable[[], FramePlan | StitchPlan]) -> FramePlan | StitchPlan:
        """The plan kept under a key, or a new one in place of the one used longest ago."""
        if key not in self.plans:
            while len(self.plans) >= _MOST_PLANS:
                self.plans.popitem(last=False)
            self.plans[key] = make()
        self.plans.move_to_end(key)
        return self.plans[key]


def corrected_views(shot: Shot, found: Calibrated | None) -> list[Float[Tensor, "1 3 _ _"]]:
    """The views of a shot in [-1, 1], their colours corrected and not clipped, black outside their
    masks."""
    if found is None:
        return shot.views
    return recoloured_views(shot.views, shot.rig.cameras, found.gain, found.offset)


def in_bytes(panorama: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """A panorama in [-1, 1] in 8 bits."""
    picture = to_uint8(panorama[0].float()).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(picture)


def _turned(rig: Rig, found: Calibrated | None) -> Rig:
    """The rig with the rotations that were found."""
    if found is None:
        return rig
    pairs = zip(rig.cameras, found.cameras, strict=True)
    return replace(rig, cameras=tuple(replace(c, rotation=new.rotation) for c, new in pairs))
