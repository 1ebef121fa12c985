"""What the overlaps of one shot tell about its views' colours and poses, and when to believe them.

Rotations first, then colours at the poses found. What the overlaps do not support stays as it is,
and a note says so: a correction that cannot be told from none is left out.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, cast

import torch
from jaxtyping import Float, Float64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.colour_compensation import compensate
from spidereye.errors import SpiderEyeError
from spidereye.overlaps import (
    Stranger,
    finest_angle,
    misalignment,
    read_views,
    strangers,
    usual_resolution,
)
from spidereye.pose_refinement import refine_poses
from spidereye.recolouring import recoloured_views
from spidereye.rotation import angle_between

Refinement = Literal["gain", "rotation"]
REFINEMENTS: tuple[Refinement, ...] = ("gain", "rotation")

_FINE = math.radians(1.0)  # of that for colours
_IMPROVEMENT = 1.02  # of the mean squared difference, which rotations have to bring
# Of the misalignment, where one can be seen, that rotations may leave. Where lenses or places are
# wrong no rotation mends much of it, and what fits best is worse than what was given: by 0.7 dB in
# views whose focal length is off by 5 %. Rotations of 3° per axis leave nothing to be seen.
_REMAINS = 0.5
_MOST_TURN = math.radians(12.0)  # more is a mistake: refinement starts from poses that are close
_UNCERTAIN = math.radians(0.5)
_GAINS, _MOST_OFFSET = (0.3, 3.0), 0.5  # more is a mistake


def refinements(given: str | Iterable[str]) -> tuple[Refinement, ...]:
    """What to refine, as people say it: names, or one text with commas between them; nothing, or
    none, for nothing. Raises SpiderEyeError for other names."""
    # A text as commands have it: Python would take it for its letters.
    names = given.replace(" ", "").split(",") if isinstance(given, str) else tuple(given)
    if list(names) == ["none"]:
        return ()
    for name in names:
        if name not in REFINEMENTS:
            raise SpiderEyeError(f"refine takes {', '.join(REFINEMENTS)}; got {name!r}")
    return cast(tuple[Refinement, ...], tuple(names))


@dataclass(frozen=True, eq=False)  # tensors have no one answer to whether they are equal
class Calibrated:
    """Views and cameras after self-calibration.

    views: [1, 3, h, w] in [-1, 1]; where colours were compensated black outside their masks, else
    as they were given.   cameras: with refined rotations.
    gain, offset: colours were made gain·v + offset, of values v in [0, 1].
    misalignment: radians by which the views still are off each other.   blank: views that are
    black or saturated and should count only where no other sees. Both are for a stitch's plan.
    notes: what was left as it is and why, a line each.   unlike: views that do not look like their
    neighbours.
    """

    views: list[Float[Tensor, "1 3 _ _"]]
    cameras: tuple[Camera, ...]
    gain: Float64[Tensor, "N 3"]
    offset: Float64[Tensor, "N 3"]
    misalignment: float
    blank: tuple[int, ...]
    notes: list[str]
    unlike: tuple[int, ...] = ()

    @property
    def compared(self) -> bool:
        """Whether there were two views to compare."""
        return len(self.cameras) - len({*self.blank, *self.unlike}) > 1

    def among(self, names: Sequence[str]) -> "Calibrated":
        """Of the views of these names alone, in their order. Raises SpiderEyeError where there is
        none of such a name."""
        own = [camera.name for camera in self.cameras]
        if own == list(names):
            return self
        unknown = [name for name in names if name not in own]
        if unknown:
            raise SpiderEyeError(
                f"what was found is of {', '.join(own)}, and says nothing of {', '.join(unknown)}: "
                "calibrate a shot of this rig with all views that are given"
            )
        order = [own.index(name) for name in names]
        return replace(
            self,
            views=[self.views[number] for number in order] if self.views else [],
            cameras=tuple(self.cameras[number] for number in order),
            gain=self.gain[order],
            offset=self.offset[order],
            blank=tuple(order.index(number) for number in self.blank if number in order),
            unlike=tuple(order.index(number) for number in self.unlike if number in order),
        )

    def turned(self, cameras: Sequence[Camera]) -> tuple[Camera, ...]:
        """The cameras of the same views, at any size, with the rotations found."""
        pairs = zip(cameras, self.cameras, strict=True)
        return tuple(replace(camera, rotation=new.rotation) for camera, new in pairs)


@torch.no_grad()
def self_calibrate(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    refine: str | Iterable[str] = REFINEMENTS,
    reference: int | None = None,
    sphere_radius: float = math.inf,
) -> Calibrated:
    """The views of one shot with colours and poses that agree best.

    views: in [-1, 1], in the order of the cameras, which have batch shape [].   refine: which of
    gain (and offset, per channel) and rotation.   reference: the view whose exposure and pose stay
    as they are; None: the mean of all stays.
    """
    refine = refinements(refine)
    count, notes = len(views), []
    gain = torch.ones(count, 3, dtype=torch.float64)
    offset = torch.zeros_like(gain)
    cameras = tuple(camera.to(torch.device("cpu"), torch.float64) for camera in cameras)
    shot = [view.to("cpu", torch.float32) for view in views]
    if count < 2 or not refine:
        return Calibrated(list(views), cameras, gain, offset, 0.0, (), notes)
    fineness = [usual_resolution(camera) for camera in cameras]
    reasons = strangers(shot, cameras, sphere_radius, fineness)
    notes += [f"{cameras[view].name}: {why.value}; left as it is" for view, why in reasons.items()]
    kept = [view for view in range(count) if view not in reasons]
    blank = tuple(view for view, why in reasons.items() if why == Stranger.BLANK)
    unlike = tuple(view for view, why in reasons.items() if why == Stranger.UNLIKE)
    if len(kept) < 2:
        return Calibrated(list(views), cameras, gain, offset, 0.0, blank, notes, unlike)
    anchor = kept.index(reference) if reference in kept else None
    if reference is not None and anchor is None:
        notes.append(
            f"{cameras[reference].name} is the reference but matches no other view: colours and "
            "poses are those of all views together"
        )
    if "rotation" in refine:
        cameras, agreement = _better(shot, cameras, kept, anchor, sphere_radius, notes)
    else:
        agreement = _Agreement.of(shot, cameras, kept, anchor, sphere_radius)
    own_gain, own_offset = agreement.gain, agreement.offset
    made = list(views)
    if "gain" in refine:
        if _plausible(own_gain, own_offset):
            gain[kept], offset[kept] = own_gain, own_offset
            made = recoloured_views(views, cameras, gain, offset)
        else:
            notes.append(
                f"gains of {float(own_gain.min()):.2f} to {float(own_gain.max()):.2f} and offsets "
                f"up to {float(own_offset.abs().max()):.2f} are no exposure; colours left as they "
                "are"
            )
    return Calibrated(made, cameras, gain, offset, agreement.off, blank, notes, unlike)


@dataclass(frozen=True)
class _Agreement:
    """Gain and offset of K views with which their overlaps agree best, and the misalignment in
    radians that then is left."""

    gain: Float64[Tensor, "K 3"]
    offset: Float64[Tensor, "K 3"]
    off: float

    @classmethod
    def of(
        cls,
        views: Sequence[Tensor],
        cameras: Sequence[Camera],
        kept: Sequence[int],
        anchor: int | None,
        sphere_radius: float,
    ) -> "_Agreement":
        shown, some = [views[i] for i in kept], [cameras[i] for i in kept]
        fineness = [usual_resolution(camera) for camera in some]
        angle = finest_angle(fineness, _FINE)
        readings = read_views(shown, some, fineness, angle, sphere_radius)
        gain, offset = compensate(readings.colour, readings.weight, anchor)
        colour = gain[..., None] * readings.colour + offset[..., None]
        return cls(gain, offset, misalignment(replace(readings, colour=colour), angle))


def _better(
    views: Sequence[Tensor],
    cameras: tuple[Camera, ...],
    kept: list[int],
    anchor: int | None,
    sphere_radius: float,
    notes: list[str],
) -> tuple[tuple[Camera, ...], _Agreement]:
    """The cameras, with refined rotations where these are to be believed, and how views agree."""
    turned = _turned(views, cameras, kept, anchor, sphere_radius, notes)
    after = _Agreement.of(views, turned, kept, anchor, sphere_radius)
    if turned is cameras or after.off == 0:
        return turned, after
    before = _Agreement.of(views, cameras, kept, anchor, sphere_radius)
    if after.off <= _REMAINS * before.off:
        return turned, after
    notes.append(
        f"views are off each other by {math.degrees(before.off):.1f}°, and with other rotations "
        f"still by {math.degrees(after.off):.1f}°: lenses or positions may be wrong; poses left as "
        "they are"
    )
    return cameras, before


def _turned(
    views: Sequence[Tensor],
    cameras: tuple[Camera, ...],
    kept: list[int],
    anchor: int | None,
    sphere_radius: float,
    notes: list[str],
) -> tuple[Camera, ...]:
    """The cameras with refined rotations, or as they are and a note."""
    old = [cameras[i] for i in kept]
    refined = refine_poses([[views[i] for i in kept]], old, ("rotation",), anchor, sphere_radius)
    turns = [
        float(angle_between(one.rotation, two.rotation))
        for one, two in zip(old, refined.cameras, strict=True)
    ]
    if max(turns) > _MOST_TURN:
        notes.append(
            f"rotations of up to {math.degrees(max(turns)):.0f}° are no drift; poses left as they "
            "are"
        )
        return cameras
    if refined.improvement < _IMPROVEMENT:
        notes.append("rotations would not make the overlaps agree better; poses left as they are")
        return cameras
    for one, uncertain in zip(old, refined.uncertainty.tolist(), strict=True):
        if uncertain > _UNCERTAIN:
            notes.append(
                f"{one.name}: overlaps too small or too flat to tell its rotation; kept close to "
                "what it was given"
            )
    changed = dict(zip(kept, refined.cameras, strict=True))
    return tuple(changed.get(i, camera) for i, camera in enumerate(cameras))


def _plausible(gain: Float64[Tensor, "N 3"], offset: Float64[Tensor, "N 3"]) -> bool:
    inside = (gain >= _GAINS[0]) & (gain <= _GAINS[1]) & (offset.abs() <= _MOST_OFFSET)
    return bool(inside.all())
