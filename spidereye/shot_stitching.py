"""One shot after another to panoramas, by geometry alone or with a model: what the cameras decide
is computed once and kept.

In the geometric stitch on the CPU pictures stay in 8 bits from file to file; blending in bands, and
other devices, work on floats.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from spidereye.conditioning import Conditioner
from spidereye.conditions import Conditions, collated
from spidereye.config import Config
from spidereye.coverage import sphere_fraction
from spidereye.errors import SpiderEyeError
from spidereye.frame_stitching import FramePlan
from spidereye.frame_tiles import in_eight_bits
from spidereye.model import SpiderEyeModel
from spidereye.onnx_networks import OnnxNetworks
from spidereye.pictures import in_bytes, resize_area
from spidereye.precision import computing_in
from spidereye.randomness import normal
from spidereye.recent import Recent
from spidereye.recolouring import recoloured_views
from spidereye.rig import Rig, fingerprint
from spidereye.self_calibration import Calibrated
from spidereye.shots import Shot, files_of
from spidereye.stitching import Blend, StitchPlan, divisions, views_seen
from spidereye.view_sampling import Kernel

Made = tuple[UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "H W"]]

_MOST_PLANS = 2  # one of 2048x1024 from four views takes 61 MB
# Panorama widths that a view for the networks' geometry is wide at most. Four views of 1216 pixels
# to 256x128, one slow core: 2, 3 and as they are take 1.3, 2.5 and 4.2 s and 170, 340 and 580 MB,
# and the start of the flow has 41.1, 43.1 and 44.4 dB.
_FINE = 3
_MOST_GUESSED = 0.5  # of the sphere seen: below, people are told that most of a panorama is guessed
_LEAST_SEEN = 0.05  # of the sphere, for networks that start from what is seen
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
    plans: Recent = field(default_factory=lambda: Recent(_MOST_PLANS))

    def __call__(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """(8-bit panorama, how many views see each pixel) of a shot of a rig. Black views count
        only where no other sees.

        found: the colours and rotations to use in place of the rig's.
        """
        if self.device.type == "cpu" and self.blend != "multiband":
            return self._in_bytes(shot, turned(rig, found), found)
        return self._in_floats(shot, turned(shot.rig, found), found)

    def notes(
        self, shot: Shot, count: UInt8[np.ndarray, "H W"], missing: Sequence[str]
    ) -> list[str]:
        """What people must know of views that are missing or black, and of how little is seen, a
        line each.

        count: as it was made.   missing: names of views that the shot lacks.
        """
        why = "it is black; it counts only where no other view sees"
        lines = _lines(shot, shot.black, why, missing, f"missing; {_others(count)}")
        return lines + _little_seen(count, "filled smoothly")

    def _in_bytes(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """The stitch of 8-bit pictures as they are."""
        width, height = self.size
        off, blank = self._misalignment(found), absent(shot, found)

        def make() -> tuple[FramePlan, UInt8[np.ndarray, "H W"]]:
            times = 2 ** divisions(shot.rig.cameras, height, width, rig.sphere_radius)
            plan = FramePlan.for_files(
                rig.cameras, files_of(rig), shot.sizes, times * height, times * width,
                rig.sphere_radius, self.kernel, "none" if self.blend == "none" else "feather",
                off, blank,
            )  # fmt: skip
            if times == 1:
                return plan, plan.count
            count = views_seen(rig.cameras, height, width, rig.sphere_radius)[0, 0]
            return plan, in_eight_bits(count)

        key = f"{fingerprint(rig)} {shot.sizes} {off} {blank}"
        plan, count = self.plans.find(key, make)
        colours = () if found is None else (found.gain, found.offset)
        made = plan(shot.pictures, *colours)
        if len(made) != height:
            made = resize_area(made, width, height)
        return made, count.copy()

    def _in_floats(self, shot: Shot, rig: Rig, found: Calibrated | None) -> Made:
        """The stitch of float views, in bands or on another device."""
        width, height = self.size
        off, blank = self._misalignment(found), absent(shot, found)

        def make() -> StitchPlan:
            return StitchPlan.for_cameras(
                rig.cameras, height, width, rig.sphere_radius, self.kernel, self.blend,
                self.device, off, blank,
            )  # fmt: skip

        plan = self.plans.find(f"{fingerprint(rig)} {off} {blank}", make)
        assert isinstance(plan, StitchPlan)
        made = plan([view.to(self.device) for view in corrected_views(shot, found)])
        return in_bytes(made.panorama), in_eight_bits(made.count[0, 0])

    def _misalignment(self, found: Calibrated | None) -> float:
        """In radians, in whole steps."""
        step = _MISALIGNMENT_STEP * 2 * math.pi / self.size[0]
        return 0.0 if found is None else round(found.misalignment / step) * step


@dataclass(frozen=True)
class ModelStitch:
    """Makes a model's panoramas of `size` (W, H) of shots.

    networks: of a checkpoint, in evaluation mode and on `device`, or of an ONNX file.   steps: of
    the sampler where nothing else is asked.   conditioner: tells the networks what geometry says,
    and keeps what the cameras used last decide; None where they are given the views alone.
    precision: of precision.PRECISIONS, what PyTorch's networks compute in.
    """

    networks: SpiderEyeModel | OnnxNetworks
    steps: int
    config: Config
    size: tuple[int, int]
    device: torch.device
    conditioner: Conditioner | None
    precision: str = "fp32"

    @property
    def takes_any_rig(self) -> bool:
        """Whether views may be of any number, from any rig; an ONNX file has its own number."""
        return self.config.conditioning().grid and isinstance(self.networks, SpiderEyeModel)

    def check_number(self, rig: Rig) -> None:
        """SpiderEyeError for a rig of another number of views than the networks take."""
        ssdd, views = self.config.ssdd, len(rig.cameras)
        if not self.takes_any_rig and views != ssdd.n_views:
            made, take = "exported", "its checkpoint folder, or export it with this rig"
            if isinstance(self.networks, SpiderEyeModel):
                made, take = "trained", f"fusion_type=spherical (this one: {ssdd.fusion_type})"
            raise SpiderEyeError(
                f"this model was {made} for {ssdd.n_views} views and takes no other number, but "
                f"the rig has {views} ({', '.join(rig.names)}); take {take}"
            )

    def squares(self, shot: Shot) -> Shot:
        """The views as the encoder takes them."""
        return shot.squared(self.config.dataset.im_size)

    def count(self, squares: Shot, found: Calibrated | None) -> UInt8[np.ndarray, "H W"]:
        """How many views see each pixel, those not counted that show nothing."""
        width, height = self.size
        without = absent(squares, found)
        rig = turned(squares.rig, found)
        cameras = [camera for n, camera in enumerate(rig.cameras) if n not in without]
        count = views_seen(cameras, height, width, rig.sphere_radius)[0, 0]
        return in_eight_bits(count)

    def notes(
        self,
        squares: Shot,
        found: Calibrated | None,
        count: UInt8[np.ndarray, "H W"],
        missing: Sequence[str],
    ) -> list[str]:
        """What people must know of views that are missing or show nothing, and of how little is
        seen, a line each. Parameters as for ShotStitch.notes.

        Raises SpiderEyeError where networks that start from what is seen would start from next to
        nothing.
        """
        others, starts = _others(count), self.conditioner is not None
        lost = f"missing; {others}"
        lost += "" if self.takes_any_rig else "; the model is given a black view in its place"
        how = "does without it" if starts else "takes it as it is"
        why = f"it shows nothing; {others}; the model {how}"
        lines = _lines(squares, absent(squares, found), why, missing, lost)
        seen = _share(count)
        if starts and seen < _LEAST_SEEN:
            raise SpiderEyeError(
                f"the views see only {seen:.1%} of the sphere, and the model starts from what is "
                f"seen: give it views of {_LEAST_SEEN:.0%} at least (`spidereye rig check` draws "
                "what a rig sees)"
            )
        return lines + _little_seen(count, "guessed")

    def conditions(self, shot: Shot, squares: Shot, found: Calibrated | None) -> Conditions:
        """What the networks are told of a shot, its `squares`, and the colours and rotations found.

        What geometry makes of the views comes from the pictures' own detail, as far as the panorama
        can show it."""
        if self.conditioner is None:
            views = torch.stack(corrected_views(squares, found), dim=1)
            return Conditions(views.clamp(-1, 1))
        fine = shot.shrunk(_FINE * self.size[0])
        return self.conditioner(
            squares.views, squares.rig.cameras, found, shot.rig.sphere_radius,
            (fine.views, fine.rig.cameras),
        )  # fmt: skip

    def pictures(
        self, given: Sequence[Conditions], steps: int | None = None, seed: int = 0
    ) -> list[UInt8[np.ndarray, "H W 3"]]:
        """The panoramas of shots; those with as many views as each other in one batch.

        steps: of the sampler; None: as they are meant to.   seed: of its noise, the same for each.
        """
        width, height = self.size
        noise = normal(seed, "stitching noise", [(0,)], (3, height, width)).to(self.device)
        made: dict[int, UInt8[np.ndarray, "H W 3"]] = {}
        for views in {_views(one) for one in given}:
            some = [number for number, one in enumerate(given) if _views(one) == views]
            batch = collated([given[number] for number in some]).to(self.device)
            panoramas = self._panoramas(batch, noise.expand(len(some), -1, -1, -1), steps)
            made |= {n: in_bytes(one[None]) for n, one in zip(some, panoramas, strict=True)}
        return [made[number] for number in range(len(given))]

    def _panoramas(
        self, given: Conditions, noise: Float[Tensor, "B 3 H W"], steps: int | None
    ) -> Float[Tensor, "B 3 H W"]:
        shift = self.config.ssdd.fm_sampler.t_pow_shift
        steps = self.steps if steps is None else steps
        with computing_in(self.precision, self.device):
            return self.networks.panorama(given, noise, steps, shift)


def _views(given: Conditions) -> int:
    """How many views a shot has."""
    views = given.views
    return views.shape[1] if isinstance(views, Tensor) else len(views)


def absent(shot: Shot, found: Calibrated | None) -> tuple[int, ...]:
    """Numbers of the views that are black, or show nothing by what self-calibration found; none
    where that would be all."""
    blank = () if found is None else found.blank
    without = tuple(sorted({*shot.black, *blank}))
    return without if len(without) < len(shot.rig.cameras) else ()


def _lines(
    shot: Shot, dark: Sequence[int], why: str, missing: Sequence[str], lost: str
) -> list[str]:
    lines = [f"{', '.join(missing)}: {lost}"] if missing else []
    names = [shot.rig.names[number] for number in dark]
    if len(shot.black) == len(shot.rig.cameras):
        return [*lines, "every view is black"]
    return lines + [f"{name}: {why}" for name in names if name not in missing]


def _little_seen(count: UInt8[np.ndarray, "H W"], rest: str) -> list[str]:
    """A line where most of the sphere is not seen. rest: what is done with that."""
    seen = _share(count)
    if not seen:
        return [f"all of this panorama is {rest}: nothing of the sphere is seen"]
    if seen < _MOST_GUESSED:
        return [f"most of this panorama is {rest}: {seen:.1%} of the sphere is seen"]
    return []


def _others(count: UInt8[np.ndarray, "H W"]) -> str:
    return f"the others see {_share(count):.1%} of the sphere"


def _share(count: UInt8[np.ndarray, "H W"]) -> float:
    """Of the sphere that is seen."""
    return float(sphere_fraction(torch.from_numpy(count > 0)))


def corrected_views(shot: Shot, found: Calibrated | None) -> list[Float[Tensor, "1 3 _ _"]]:
    """The views of a shot in [-1, 1], their colours corrected and not clipped, black outside their
    masks."""
    if found is None:
        return shot.views
    return recoloured_views(shot.views, shot.rig.cameras, found.gain, found.offset)


def turned(rig: Rig, found: Calibrated | None) -> Rig:
    """The rig with the rotations that were found."""
    return rig if found is None else replace(rig, cameras=found.turned(rig.cameras))
