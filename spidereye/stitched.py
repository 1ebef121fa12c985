"""What a stitcher is given and gives: a shot that stands ready, and its panorama, with where it is
seen and what was changed of its views."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from numbers import Integral

import numpy as np
from jaxtyping import Bool, UInt8

from spidereye.errors import SpiderEyeError
from spidereye.rig import Rig
from spidereye.rotation import angle_between
from spidereye.self_calibration import Calibrated, self_calibrate
from spidereye.shots import (
    Images,
    Shot,
    file_labels,
    files_of,
    in_order,
    present,
    read_shot,
    with_black,
)
from spidereye.view_order import better_order

# Pixels of the views that self-calibration compares. Its finest comparison is at 1°, for which it
# shrinks views itself: of 190° to 285 pixels.
_COMPARED = 512
_FAR_OFF = math.radians(1.5)  # views that are so far off each other may be in each other's places


@dataclass(frozen=True)
class Correction:
    """What self-calibration changed of one view.

    gain, offset: RGB values v in [0, 1] were made gain·v + offset.   turned: by so many radians.
    """

    view: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    turned: float


@dataclass(frozen=True, eq=False)  # arrays have no one answer to whether they are equal
class Panorama:
    """picture: 8-bit RGB, smoothly filled where nothing is seen (a model's own where there is one).
    count: how many views see each pixel; a model's, of those that show anything.
    corrections: of the views there are, in the rig's order; none without refinement.
    misalignment: radians by which the views still were off each other, None without refinement or
    where no two could be compared.
    notes: which views are missing or black, how little is seen, what was left as it was and why, a
    line each.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    count: UInt8[np.ndarray, "H W"]
    corrections: tuple[Correction, ...] = ()
    misalignment: float | None = None
    notes: tuple[str, ...] = ()

    @property
    def seen(self) -> Bool[np.ndarray, "H W"]:
        """Where any view sees anything; elsewhere the picture is filled."""
        return self.count > 0


@dataclass(frozen=True)
class ReadyShot:
    """A shot that stands ready: its pictures, the rig of the views in them, names of those that are
    missing, what self-calibration found, and what people must know already."""

    shot: Shot
    rig: Rig
    missing: tuple[str, ...]
    found: Calibrated | None
    notes: tuple[str, ...]

    @classmethod
    def read(
        cls,
        images: Images,
        rig: Rig,
        refine: Sequence[str],
        reference: int | None = None,
        found: Calibrated | None = None,
        all_views: bool = False,
    ) -> "ReadyShot":
        """A shot's pictures read, and calibrated by `refine` unless it is known what that finds.

        reference: number of the view whose exposure and pose stay; None: the mean of all.
        found: of the views that there are, or more.   all_views: a view that is missing is a black
        one, for networks of a fixed number of views.
        Raises SpiderEyeError for a wrong number or shape of pictures, where all are missing, and
        for a `found` of other views.
        """
        listed = in_order(images, rig)
        there, seeing = present(listed, rig)
        pairs = zip(rig.cameras, files_of(rig), strict=True)
        missing = tuple(camera.name for camera, file in pairs if listed[file] is None)
        if all_views:
            there, seeing = with_black(listed, rig), rig
        if found is not None:
            found = found.among(seeing.names)
        notes = ()
        if reference is not None and rig.names[reference] in missing:
            notes = (
                f"{rig.names[reference]} is the reference but missing: colours and poses are those "
                "of all views together",
            )
            reference = None
        elif reference is not None:
            reference = seeing.names.index(rig.names[reference])
        shot = read_shot(there, seeing)
        if found is None and refine:
            small = shot.shrunk(_COMPARED)
            radius = shot.rig.sphere_radius
            found = self_calibrate(small.views, small.rig.cameras, refine, reference, radius)
            if found.misalignment > _FAR_OFF or found.unlike:
                found = replace(found, notes=[*order_notes(small, rig), *found.notes])
        return cls(shot, seeing, missing, found, (*notes, *_same_notes(shot, seeing)))

    def panorama(
        self,
        picture: UInt8[np.ndarray, "H W 3"],
        count: UInt8[np.ndarray, "H W"],
        notes: Sequence[str],
    ) -> Panorama:
        """With what there is to say of it; of a view once."""
        said = [*self.notes, *notes]
        if self.found is None:
            return Panorama(picture, count, notes=tuple(said))
        named = {name for note in said for name in note.partition(":")[0].split(", ")}
        said += [note for note in self.found.notes if note.partition(":")[0] not in named]
        corrections = _corrections(self.shot.rig, self.found)
        left = self.found.misalignment if self.found.compared else None
        return Panorama(picture, count, corrections, left, tuple(said))


def checked_sampling(by_model: bool, steps: object, seed: object) -> tuple[int | None, int]:
    """Steps, None for what is configured, and seed, as they are. Raises SpiderEyeError for fewer
    steps than 1, a negative seed, for what is no whole number, and for either without a model."""
    if not by_model and (steps is not None or seed):
        raise SpiderEyeError("steps and seed go with a model: the stitch has no networks")
    count, start = None if steps is None else _whole(steps), _whole(seed)
    if start < 0 or (count is not None and count < 1):
        raise SpiderEyeError(
            f"steps are 1 or more, seed is 0 or more; got {steps} and {seed}: both "
            "are whole numbers"
        )
    return count, start


def _whole(number: object) -> int:
    """Itself, or -1 for what is no whole number."""
    return int(number) if isinstance(number, Integral) else -1


def order_notes(shot: Shot, rig: Rig) -> tuple[str, ...]:
    """A line where the pictures of a shot agree far better in another order.

    rig: the whole one, whose views are named in their order."""
    order = better_order(shot.views, shot.rig.cameras, shot.rig.sphere_radius)
    if order is None:
        return ()
    names = shot.rig.names
    moves = [f"{names[n]}'s for {names[place]}" for place, n in enumerate(order) if n != place]
    return (
        f"the views agree far better with other pictures in their places: {', '.join(moves)}; are "
        f"they in the rig's order, {', '.join(rig.names)}? Overlaps tell it but for a turn of the "
        "whole",
    )


def _same_notes(shot: Shot, rig: Rig) -> list[str]:
    """A line for every two files of a shot that hold the same picture; black ones count as missing.

    rig: of the files."""
    labels, notes = file_labels(rig), []
    for one, other in combinations(range(len(shot.pictures)), 2):
        a, b = shot.pictures[one], shot.pictures[other]
        middle = len(a) // 2  # a row that tells nearly every two pictures apart
        same = a.shape == b.shape and np.array_equal(a[middle], b[middle]) and np.array_equal(a, b)
        if same and a.any():
            notes.append(
                f"{labels[one]} and {labels[other]} are the same picture; for one that is missing "
                "give None, or - to a command"
            )
    return notes


def _corrections(rig: Rig, found: Calibrated) -> tuple[Correction, ...]:
    return tuple(
        Correction(
            camera.name,
            tuple(found.gain[number].tolist()),
            tuple(found.offset[number].tolist()),
            float(angle_between(camera.rotation, found.cameras[number].rotation)),
        )
        for number, camera in enumerate(rig.cameras)
    )
