"""`spidereye stitch --batch`: every shot in folders or patterns to a panorama of its own.

`<shot>.jpg` for each, and once `stitch.json` with what they were made with. A panorama newer than
its pictures and than `stitch.json` is done: the same command goes on where it was stopped, another
one starts anew (as in view_files.py).
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from rich.console import Console

from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.panorama_metadata import write_panorama
from spidereye.picture_writing import check_fits, check_suffix
from spidereye.pictures import PICTURE_SUFFIXES, PictureError
from spidereye.progress import notes_console, progress
from spidereye.resuming import is_done, started
from spidereye.rig import Rig, fingerprint
from spidereye.shot_files import ShotFiles, find_shots, listed
from spidereye.shots import widths_of
from spidereye.stitch_files import say_coverage, write_mask
from spidereye.stitch_job import StitchJob, geometric_stitcher, model_stitcher, rig_of
from spidereye.stitcher import Stitcher
from spidereye.whole_files import lies_in, write_whole

_FORMAT = 1  # of stitch.json; another one makes everything anew
_RECORD = "stitch.json"
_MOST_NOTES = 4  # per shot on the terminal


def stitch_shots(job: StitchJob, suffix: str = ".jpg") -> None:
    """Make the panorama of every complete shot of a job's folders, patterns or files, in the folder
    job.output; job.mask is the folder of their masks.

    suffix: of the panoramas.
    Raises SpiderEyeError before any work for what makes no sense and where no shot is complete; at
    the end for shots that could not be made, all others being done. Raises Interrupt after Ctrl-C,
    with the shot at hand finished.
    """
    job.check()
    check_suffix(job.output / f"panorama{suffix}")
    for folder in filter(None, (job.output, job.mask)):
        if folder.suffix.lower() in PICTURE_SUFFIXES:
            raise SpiderEyeError(f"{folder}: with --batch a folder is written, not a picture")
    console = notes_console()
    names = [str(image) for image in job.images]
    stitcher = model_stitcher(job) if job.method == "model" else None
    rig = stitcher.rig if stitcher is not None else rig_of(job)
    found = find_shots(names, rig)
    shots = found.shots
    stitcher = stitcher or _for_first_sound(job, rig, shots)
    outputs = _outputs(shots, job, suffix)
    check_fits(outputs[shots[0].name][0], stitcher.size[0])
    say_coverage(job, stitcher, console)
    for note in [*(f"{text}; left out" for text in found.left_out), *found.notes]:
        console.print(f"note: {note}")
    since = _settle(job, stitcher, suffix)
    todo = [shot for shot in shots if not is_done(outputs[shot.name], shot.paths, since)]
    done = len(shots) - len(todo)
    bad: list[str] = []
    with stop_after_step() as stop, progress("panoramas", len(shots), done) as meter:
        for number, shot in enumerate(todo):
            if stop.requested:
                raise Interrupt(
                    f"stopped with {done + number - len(bad)} of {len(shots)} panoramas done in "
                    f"{job.output}; the same command goes on"
                )
            try:
                _make(job, stitcher, shot, outputs[shot.name], console)
            except SpiderEyeError as error:
                bad.append(f"shot {shot.name}: {error}")
            meter.advance(say=shot.name)
    made = _counts(len(todo) - len(bad), done, len(found.left_out))
    print(f"{job.output}: {made}, {stitcher.origin}")
    if bad:
        raise SpiderEyeError(listed(f"{len(bad)} of {len(shots)} shots could not be made", bad))


def _counts(made: int, before: int, left_out: int) -> str:
    """As in "3 panoramas; 2 were there already; 1 incomplete shot was left out"."""
    parts = [f"{made} panorama{'s' * (made != 1)}"]
    if before:
        parts.append(f"{before} {'were' if before != 1 else 'was'} there already")
    if left_out:
        parts.append(f"{left_out} incomplete shot{'s were' if left_out != 1 else ' was'} left out")
    return "; ".join(parts)


def _for_first_sound(job: StitchJob, rig: Rig, shots: Sequence[ShotFiles]) -> Stitcher:
    """The geometric stitcher, of sizes that follow from the first shot whose files are sound."""
    *others, last = shots
    for shot in others:
        with suppress(PictureError):
            return _for_sizes_of(job, rig, shot)
    return _for_sizes_of(job, rig, last)


def _for_sizes_of(job: StitchJob, rig: Rig, shot: ShotFiles) -> Stitcher:
    return geometric_stitcher(job, rig, widths_of(shot.paths))


def _make(
    job: StitchJob, stitcher: Stitcher, shot: ShotFiles, outputs: Sequence[Path], console: Console
) -> None:
    """outputs: of the panorama and, where it is wanted, of its mask."""
    result = stitcher(list(shot.paths), steps=job.steps, seed=job.seed)
    for note in result.notes[:_MOST_NOTES]:
        console.print(f"note: shot {shot.name}: {note}")
    panorama, *masks = outputs
    for mask in masks:
        write_mask(mask, result.seen)
    write_panorama(panorama, result.picture, shot.paths)


def _outputs(
    shots: Sequence[ShotFiles], job: StitchJob, suffix: str
) -> dict[str, tuple[Path, ...]]:
    """Each shot's panorama and its mask, where masks are wanted, by the shot's name; in their
    folders they lie to each other as the shots do. Raises SpiderEyeError where two shots would
    become one panorama, and where the panoramas' folder holds the shots' pictures: the next run
    would take panoramas for some."""
    folder = job.output
    for shot in shots:
        for path in shot.paths:
            if lies_in(path, folder):
                raise SpiderEyeError(f"{path} lies in the output folder {folder}; choose another")
    common = Path(os.path.commonpath([Path(shot.name).absolute().parent for shot in shots]))
    found: dict[str, tuple[Path, ...]] = {}
    places: dict[Path, ShotFiles] = {}
    for shot in shots:
        place = Path(shot.name).absolute().relative_to(common)
        found[shot.name] = (folder / place.with_name(place.name + suffix),)
        first = places.setdefault(place, shot)
        if first is not shot:
            raise SpiderEyeError(
                f"{first.paths[0]} and {shot.paths[0]} would both become {found[shot.name][0]}: "
                "rename one of the shots, or stitch them into folders of their own"
            )
        if job.mask is not None:
            found[shot.name] += (job.mask / place.with_name(f"{place.name}.png"),)
    return found


def settings_of(job: StitchJob, stitcher: Stitcher) -> dict[str, Any]:
    """What a panorama depends on beside its pictures, for a record."""
    return {
        "origin": stitcher.origin, "weights": stitcher.trained and stitcher.trained.digest,
        "rig": fingerprint(stitcher.rig), "size": stitcher.size,
        "refine": stitcher.refine, "steps": job.steps, "seed": job.seed,
        "reference_view": job.reference_view, "blend": job.blend, "kernel": job.kernel,
        "precision": job.precision,
    }  # fmt: skip


def _settle(job: StitchJob, stitcher: Stitcher, suffix: str) -> int:
    """Write stitch.json where the folder's is not of these settings; the time in ns since when
    panoramas in the folder are of them."""
    record = job.output / _RECORD
    settings = {
        "format": _FORMAT, **settings_of(job, stitcher),
        "suffix": suffix, "mask": job.mask and str(job.mask),
    }  # fmt: skip
    text = json.dumps(settings, indent=2) + "\n"
    since = started(record, text)
    if since is None:
        write_whole(record, text)
        since = record.stat().st_mtime_ns
    return since
