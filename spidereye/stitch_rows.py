"""The geometric methods of an evaluation: the plain stitch, and the stitches of self-calibrated
shots, a row each."""

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor

from spidereye.batches import Batch
from spidereye.conditioning import Conditioner
from spidereye.conditions import Conditions, collated
from spidereye.self_calibration import Calibrated, Refinement, self_calibrate
from spidereye.stitching import stitch

STITCH = "stitch"
_MOST_REASONS = 3  # in a note


class CalibratedShots:
    """The shots of a batch, self-calibrated at most once by the same. reference: see
    self_calibrate."""

    def __init__(self, batch: Batch, reference: int | None, sphere_radius: float):
        self._batch, self._reference, self._radius = batch, reference, sphere_radius
        self._made: dict[tuple[str, ...], list[Calibrated]] = {}

    def by(self, refine: tuple[str, ...]) -> list[Calibrated]:
        """What calibrating by these finds of each shot."""
        if refine not in self._made:
            self._made[refine] = [
                self_calibrate(shot, cameras, refine, self._reference, self._radius)
                for shot, cameras in self._batch.shots()
            ]
        return self._made[refine]

    def conditions(self, conditioner: Conditioner) -> Conditions:
        """What the networks are told of the batch."""
        refine = conditioner.config.refine
        found = self.by(refine) if refine else [None] * len(self._batch.indices)
        made = [
            conditioner(shot, cameras, one, self._radius)
            for (shot, cameras), one in zip(self._batch.shots(), found, strict=True)
        ]
        return collated(made)


def refinements(refine: Sequence[Refinement]) -> dict[str, tuple[Refinement, ...]]:
    """{row: what its stitch is self-calibrated by}: the plain one, + the first, + the second …"""
    steps = [tuple(refine[:count]) for count in range(len(refine) + 1)]
    return {" + ".join((STITCH, *step)): step for step in steps}


def stitched(
    batch: Batch,
    stitches: dict[str, tuple[Refinement, ...]],
    calibrated: CalibratedShots,
    radius: float,
) -> tuple[dict[str, Tensor], Bool[Tensor, "B 1 H W"], list[dict[str, list[str]]]]:
    """The panorama of each row, which pixels a view shows, and each sample's notes."""
    height, width = batch.panorama.shape[-2:]
    plain = stitch(batch.views.unbind(1), batch.cameras, height, width, radius)
    made = {STITCH: plain.panorama}
    skipped: list[dict[str, list[str]]] = [{} for _ in batch.indices]
    for name, refine in stitches.items():
        if not refine:
            continue
        parts = []
        for sample, found in enumerate(calibrated.by(refine)):
            refined = stitch(
                found.views,
                found.cameras,
                height,
                width,
                radius,
                misalignment=found.misalignment,
                blank=found.blank,
            )
            parts.append(refined.panorama)
            skipped[sample][name] = found.notes
        made[name] = torch.cat(parts)
    return made, plain.count > 0, skipped


def skip_notes(
    skipped: Sequence[dict[str, list[str]]], stitches: dict[str, tuple[Refinement, ...]]
) -> list[str]:
    """A line for each row whose self-calibration skipped something: how often and why."""
    lines = []
    for name in stitches:
        notes = [found for one in skipped if (found := one.get(name))]
        if not notes:
            continue
        counts = Counter(note for found in notes for note in dict.fromkeys(found)).most_common()
        reasons = [f"{note} ({count})" if count > 1 else note for note, count in counts]
        more = len(reasons) - _MOST_REASONS
        said = "; ".join(reasons[:_MOST_REASONS]) + (f"; and {more} more" if more > 0 else "")
        lines.append(
            f"self-calibration ({name}): something left as it was in {len(notes)} of "
            f"{len(skipped)} shots: {said}"
        )
    return lines
