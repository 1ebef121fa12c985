"""What a stitcher is given and gives: a shot that stands ready, and its panorama, with where it is
seen and what was changed of its views."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt8

from spidereye.rig import Rig
from spidereye.rotation import angle_between
from spidereye.self_calibration import Calibrated
from spidereye.shots import Shot


@dataclass(frozen=True)
class Correction:
    """What self-calibration changed of one view.

    gain, offset: RGB values v in [0, 1] were made gain·v + offset.   turned: by so many radians.
    """

    view: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    turned: float


@dataclass(frozen=True)
class Panorama:
    """picture: 8-bit RGB, smoothly filled where nothing is seen (a model's own where there is one).
    count: how many views see each pixel; a model's, of those that show anything.
    corrections: of the views there are, in the rig's order; none without refinement.
    misalignment: radians by which the views still were off each other, 0 where that cannot be told.
    notes: which views are missing or black, how little is seen, what was left as it was and why, a
    line each.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    count: UInt8[np.ndarray, "H W"]
    corrections: tuple[Correction, ...] = ()
    misalignment: float = 0.0
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
        return Panorama(picture, count, corrections, self.found.misalignment, tuple(said))


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
