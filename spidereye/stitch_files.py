"""`spidereye stitch`: the pictures of one shot to one panorama file."""

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool
from rich.console import Console

from spidereye.config_checks import coverage_warning
from spidereye.coverage import ENOUGH_COVERAGE, Coverage, coverage
from spidereye.errors import SpiderEyeError
from spidereye.panorama_metadata import write_panorama
from spidereye.picture_writing import check_fits, check_suffix
from spidereye.progress import notes_console
from spidereye.rig import NAMED_RIGS, Rig
from spidereye.shot_files import by_name, unnamed
from spidereye.shots import file_labels, widths_of
from spidereye.stitch_job import MISSING, StitchJob, geometric_stitcher, model_stitcher, rig_of
from spidereye.stitched import Correction, Panorama
from spidereye.stitcher import Stitcher
from spidereye.whole_files import write_whole


def stitch_files(job: StitchJob) -> None:
    """Make the panorama and say what was seen. Raises SpiderEyeError for what cannot be done."""
    job.check()
    for picture in filter(None, job.pictures):
        if picture.is_dir():
            raise SpiderEyeError(
                f"{picture} is a folder: give the files of one shot, or --batch for a panorama of "
                "every shot in it"
            )
    check_suffix(job.output)
    job.check_output()
    console = notes_console()
    if job.method == "model":
        stitcher = model_stitcher(job)
        job = _by_name(job, stitcher.rig, console)
        stitcher = stitcher.fitted(job.pictures)
    else:
        rig = rig_of(job)
        job = _by_name(job, rig, console)
        stitcher = geometric_stitcher(job, rig, widths_of(job.pictures))
    check_fits(job.output, stitcher.size[0])
    say_coverage(job, stitcher, console)
    result = stitcher(job.pictures, steps=job.steps, seed=job.seed)
    for line in refinement_lines(result, stitcher.refine):
        console.print(line)
    write_panorama(job.output, result.picture, [path for path in job.pictures if path])
    if job.mask is not None:
        write_mask(job.mask, result.seen)
    height, width = result.picture.shape[:2]
    print(f"{job.output}: {width}x{height}, {stitcher.origin}")


def say_coverage(job: StitchJob, stitcher: Stitcher, console: Console) -> None:
    """How much of the sphere the rig sees, and what to do where that is too little."""
    seen = coverage(stitcher.rig)
    for line in filter(None, (seen.line(), _coverage_warning(job, stitcher, seen))):
        console.print(line)


def _by_name(job: StitchJob, rig: Rig, console: Console) -> StitchJob:
    """The job with its pictures in the rig's order, where their names tell it. Raises
    SpiderEyeError where they tell that some are missing."""
    ordered = by_name(job.pictures, rig)
    check_none_lacks(job.pictures, rig, "; - in its place stands for one that is missing")
    if ordered == job.pictures:
        return job
    pairs = zip(file_labels(rig), ordered, strict=True)
    console.print("views by name: " + ", ".join(f"{label} {path or '-'}" for label, path in pairs))
    return replace(job, images=[path or Path(MISSING) for path in ordered])


def check_none_lacks(pictures: Sequence[Path | None], rig: Rig, instead: str = "") -> None:
    """SpiderEyeError for too few pictures whose names tell which are missing.

    instead: what may stand in the place of one, in words."""
    lacking = unnamed(pictures, rig)
    if lacking:
        labels = file_labels(rig)
        raise SpiderEyeError(
            f"expected {len(labels)} files, {', '.join(labels)}, got {len(pictures)}: there is "
            f"none for {', '.join(lacking)}{instead}"
        )


def refinement_lines(result: Panorama, refined: tuple[str, ...]) -> list[str]:
    """What self-calibration found for each view, what is left, and what was skipped and why; what
    there is to know of missing views."""
    notes = [f"note: {note}" for note in result.notes]
    if not refined:
        return notes
    lines = [correction_line(correction, refined) for correction in result.corrections]
    if result.misalignment is None:
        left = "cannot be told, no two views could be compared"
    elif result.misalignment == 0:
        left = "none to be seen"
    else:
        left = f"{math.degrees(result.misalignment):.2f}°"
    return [*lines, f"remaining misalignment: {left}", *notes]


def correction_line(correction: Correction, refined: tuple[str, ...]) -> str:
    """As in "front: gain 1.08 1.07 1.05, offset +3 +2 +4 levels, turned 0.8°"."""
    parts = []
    if "gain" in refined:
        parts.append("gain " + " ".join(f"{gain:.2f}" for gain in correction.gain))
        levels = " ".join(f"{round(255 * offset):+d}" for offset in correction.offset)
        parts.append(f"offset {levels} levels")
    if "rotation" in refined:
        parts.append(f"turned {math.degrees(correction.turned):.1f}°")
    return f"{correction.view}: {', '.join(parts)}"


def write_mask(path: Path, seen: Bool[np.ndarray, "H W"]) -> None:
    """An 8-bit PNG: 255 where seen, 0 elsewhere. Raises SpiderEyeError where it cannot be
    written."""
    _, encoded = cv2.imencode(".png", 255 * seen.astype(np.uint8))
    write_whole(path, encoded.tobytes())


def _coverage_warning(job: StitchJob, stitcher: Stitcher, seen: Coverage) -> str | None:
    """The numbers and the fix where the rig sees too little, else None."""
    if seen.seen >= ENOUGH_COVERAGE:
        return None
    rig = job.rig
    if job.method == "model" and rig is None and not job.describes_lens:
        data = stitcher.config.dataset
        if data.rig in NAMED_RIGS:
            return coverage_warning(stitcher.config, seen)
        rig = data.rig
    cause = "is --f-pix the focal length of a view --f-pix-size wide?"
    if rig is not None:
        cause = f"`spidereye rig check {rig}` draws what is missing"
    rest = "can only be guessed"
    if job.method == "geometric":
        rest = "is filled smoothly from what surrounds it (--mask says where)"
    return f"WARNING: the views see only {seen.seen:.1%} of the sphere; the rest {rest}; {cause}"
