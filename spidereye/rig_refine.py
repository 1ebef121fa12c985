"""`spidereye rig refine`: one corrected rig from many shots, saying what changed and what it
brought.

What the shots do not tell stays as the rig's file says it: masks, crops, circles, positions, and
the rotation of the rig as a whole.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spidereye.errors import SpiderEyeError
from spidereye.free_parameters import FREEDOMS, Freedom
from spidereye.interrupt import Interrupt, StopRequest, stop_after_step
from spidereye.overlaps import Stranger, strangers
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError
from spidereye.pose_refinement import Refined, refine_poses, work_of
from spidereye.progress import notes_console, progress
from spidereye.refinement_chart import refinement_picture
from spidereye.rig import Rig, yaw_pitch_roll
from spidereye.rig_files import load_rig, write_rig
from spidereye.rotation import angle_between
from spidereye.shot_files import ReducedShots, ShotFiles, find_shots, reduced_sizes
from spidereye.whole_files import check_place

_PER_DEGREE = 3.0  # pixels of what is read: twice as fine as the finest comparison
# Of the mean squared difference, which a change has to bring: rigs that are exactly right find up
# to 1.008 in single shots of 256 pixels, and rotations 0.3° off 1.7.
_IMPROVEMENT = 1.01
_UNLIKE = 0.016  # in [0, 1]: right rigs leave up to 0.011, f 5 % off 0.018; at most 0.03 count
_MOST_TURN = 12.0  # degrees; more is a mistake: refinement starts from poses that are close
_UNCERTAIN = 0.5  # degrees
_MOST_NOTES = 8


@dataclass(frozen=True)
class RefineJob:
    """What to refine, as typed. Error messages name the fields as options of the command.

    shots: folders, patterns or files.   free: of rotation, f, centre, with commas.
    reference_view: keeps its pose; None: the mean of all does.   plot: None: the output with .png.
    limit: of shots, taken evenly.
    """

    shots: list[str]
    rig: str
    output: Path
    free: str = "rotation"
    reference_view: str | None = None
    plot: Path | None = None
    limit: int = 50


@dataclass(frozen=True)
class RigRefinement:
    """rig: corrected, or as it was where that was better.   refined: before and after, at the sizes
    of the comparison.   shots: that took part.   notes: what was left as it is and why."""

    rig: Rig
    refined: Refined
    shots: ReducedShots
    notes: list[str]


def refine_files(job: RefineJob) -> RigRefinement:
    """Write the rig that a folder's shots agree with best, and a plot; print what changed.

    Raises SpiderEyeError, with nothing written, for what cannot be read and where the overlaps
    tell nothing; Interrupt after Ctrl-C.
    """
    free = _freedoms(job.free)
    plot = _checked_outputs(job)
    rig = load_rig(job.rig)
    reference = _reference(rig, job)
    console = notes_console()
    found = find_shots(job.shots, rig)
    notes = [*found.left_out, *found.notes]
    sizes, good, more = reduced_sizes(found.shots, rig, _PER_DEGREE)
    with stop_after_step() as stop:
        chosen = _spread(good, job.limit)
        if len(chosen) < len(good):
            more.append(f"{len(chosen)} of {len(good)} shots taken, evenly (--limit)")
        shots = ReducedShots(rig, sizes)
        more += _read(shots, chosen, stop)
        done = refine_rig(shots, rig, free, reference, stop)
    notes += more + done.notes
    for note in notes[:_MOST_NOTES]:
        console.print(note)
    if len(notes) > _MOST_NOTES:
        console.print(f"… and {len(notes) - _MOST_NOTES} more")
    write_rig(done.rig, job.output)
    _print_tables(done, rig, free)
    print(f"{job.output}: {len(rig.cameras)} views, from {_counted(len(shots))}")
    write_picture(plot, refinement_picture(job.output.stem, rig, done.rig, done.refined, shots))
    print(f"plot: {plot}")
    return replace(done, notes=notes)


def refine_rig(
    shots: ReducedShots,
    rig: Rig,
    free: Sequence[Freedom],
    reference: int | None = None,
    stop: StopRequest | None = None,
) -> RigRefinement:
    """The rig that agrees best with shots of it; shots in which a view matches no other are taken
    out of `shots`.

    Raises SpiderEyeError where the overlaps tell nothing or contradict the rig.
    """
    notes = _without_strangers(shots, stop)
    with progress("refining", work_of(len(shots))) as meter:

        def advance(count: int) -> None:
            meter.advance(count)
            _check(stop)

        cameras = shots.rig.cameras
        refined = refine_poses(shots, cameras, free, reference, rig.sphere_radius, advance)
    if not refined.after:
        raise SpiderEyeError(
            "the views see nothing in common: no overlaps by this rig, or they are black or "
            "saturated; `spidereye rig check` draws what is seen"
        )
    uncertain = [math.degrees(value) > _UNCERTAIN for value in refined.uncertainty.tolist()]
    if all(uncertain):
        raise SpiderEyeError(
            f"the overlaps of {_counted(len(shots))} are too small or too flat to tell any "
            "rotation; take shots with more texture where views meet"
        )
    turn = max(
        math.degrees(float(angle_between(one.rotation, two.rotation)))
        for one, two in zip(cameras, refined.cameras, strict=True)
    )
    if turn > _MOST_TURN:
        raise SpiderEyeError(
            f"the shots ask for rotations of up to {turn:.0f}°, which is no drift: are the files "
            "named for the right views, and is this their rig?"
        )
    if refined.improvement < _IMPROVEMENT:
        notes.append("no change makes the views agree better; the rig is written as it was")
        kept = replace(refined, cameras=cameras, after=refined.before)
        return RigRefinement(rig, kept, shots, notes + _unexplained(rig, kept))
    notes += [
        f"{name}: overlaps too small or too flat to tell its rotation; kept close to what it was"
        for name, unknown in zip(rig.names, uncertain, strict=True)
        if unknown
    ]
    notes += _unexplained(rig, refined)
    return RigRefinement(_mapped(rig, shots.rig, refined, free), refined, shots, notes)


def _unexplained(rig: Rig, refined: Refined) -> list[str]:
    """A line on the overlap that differs most, where that is more than right cameras leave."""
    (i, j), most = max(refined.after.items(), key=lambda item: item[1])
    if most < _UNLIKE:
        return []
    return [
        f"{rig.names[j]} and {rig.names[i]} still differ by {255 * most:.1f} levels, which right "
        "cameras do not leave: is the lens another (--free rotation,f), or is much of what they "
        "see near?"
    ]


def _mapped(rig: Rig, used: Rig, refined: Refined, free: Sequence[Freedom]) -> Rig:
    """The rig at its own sizes with the change from the cameras used to those found."""
    cameras = []
    for given, was, now in zip(rig.cameras, used.cameras, refined.cameras, strict=True):
        lens = given.lens
        if "f" in free:
            lens = lens.zoomed(now.lens.f / was.lens.f)
        if "centre" in free:
            shift = (now.lens.centre - was.lens.centre) * (lens.width / was.lens.width)
            lens = replace(lens, centre=lens.centre + shift)
        rotation = now.rotation if "rotation" in free else given.rotation
        cameras.append(replace(given, lens=lens, rotation=rotation))
    return replace(rig, cameras=tuple(cameras))


def _read(shots: ReducedShots, chosen: Sequence[ShotFiles], stop: StopRequest) -> list[str]:
    """Read shots; what could not be read, a line each."""
    notes = []
    with progress("shots read", len(chosen)) as meter:
        for shot in chosen:
            try:
                shots.add(shot)
            except PictureError as error:
                notes.append(f"shot {shot.name}: {error}")
            meter.advance(say=shot.name)
            _check(stop)
    if not len(shots):
        raise SpiderEyeError(f"no shot can be read; the first: {notes[0]}")
    return notes


def _without_strangers(shots: ReducedShots, stop: StopRequest | None) -> list[str]:
    """Take out shots in which a view shows something else than its neighbours."""
    cameras = shots.rig.cameras
    bad: dict[int, str] = {}
    for number in range(len(shots)):
        _check(stop)
        reasons = strangers(shots[number], cameras, shots.rig.sphere_radius)
        for view, why in reasons.items():
            if why == Stranger.UNLIKE:
                bad[number] = f"shot {shots.names[number]}: {cameras[view].name}: {why}"
    if len(bad) == len(shots):
        raise SpiderEyeError(
            f"in no shot do the views match: {next(iter(bad.values()))}; are the files named for "
            "the right views, and is this their rig?"
        )
    shots.leave_out(bad.keys())
    return [f"{text}; left out" for text in bad.values()]


def _check(stop: StopRequest | None) -> None:
    if stop is not None and stop.requested:
        raise Interrupt("stopped; nothing was written")


def _freedoms(text: str) -> tuple[Freedom, ...]:
    given = [part.strip() for part in text.split(",") if part.strip()]
    unknown = [name for name in given if name not in FREEDOMS]
    if unknown or not given:
        raise SpiderEyeError(f"--free takes {', '.join(FREEDOMS)}, with commas; got {text!r}")
    return tuple(name for name in FREEDOMS if name in given)


def _checked_outputs(job: RefineJob) -> Path:
    """Where the plot goes. SpiderEyeError for outputs that cannot be."""
    if job.output.suffix.lower() not in (".yaml", ".yml"):
        raise SpiderEyeError(f"-o {job.output}: a rig file ends in .yaml")
    plot = job.plot or job.output.with_suffix(".png")
    if plot.suffix.lower() != ".png":
        raise SpiderEyeError(f"--plot {plot}: the plot is a picture that ends in .png")
    for option, path in (("-o", job.output), ("--plot", plot)):
        if path.is_dir():
            raise SpiderEyeError(f"{option} {path} is a folder; give the name of a file")
        check_place(path)
    return plot


def _reference(rig: Rig, job: RefineJob) -> int | None:
    if len(rig.cameras) < 2:
        raise SpiderEyeError(f"{job.rig} has a single view; refining needs views that overlap")
    if job.reference_view is None:
        return None
    if job.reference_view not in rig.names:
        raise SpiderEyeError(
            f"--reference-view {job.reference_view}: the rig's views are {', '.join(rig.names)}"
        )
    return rig.names.index(job.reference_view)


def _spread(shots: list[ShotFiles], limit: int) -> list[ShotFiles]:
    """At most `limit` shots, evenly from first to last."""
    count = min(limit, len(shots))
    return [shots[(2 * number + 1) * len(shots) // (2 * count)] for number in range(count)]


def _print_tables(done: RigRefinement, rig: Rig, free: Sequence[Freedom]) -> None:
    """What the overlaps differ by, before and after, and what changed in every view."""
    refined = done.refined
    rows = [["overlap", "shots", "before", "after (8-bit levels)"]]
    for (i, j), before in sorted(refined.before.items(), key=lambda item: item[0][::-1]):
        levels = [f"{255 * before:.2f}", f"{255 * refined.after.get((i, j), before):.2f}"]
        pair = f"{rig.names[j]} and {rig.names[i]}"
        rows.append([pair, str(refined.counts[i, j]), *levels])
    _print_rows(rows)
    rows = [["view", "yaw pitch roll by °", "± °"]]
    rows[0] += ["f by %"] * ("f" in free) + ["centre by px"] * ("centre" in free)
    for number, (was, now) in enumerate(zip(rig.cameras, done.rig.cameras, strict=True)):
        angles = yaw_pitch_roll(was.rotation.T @ now.rotation)
        turned = " ".join(f"{angle:+.3f}" for angle in angles)
        row = [was.name, turned, f"{math.degrees(float(refined.uncertainty[number])):.3f}"]
        if "f" in free:
            row.append(f"{100 * (float(now.lens.f / was.lens.f) - 1):+.2f}")
        if "centre" in free:
            shift: list[float] = torch.sub(now.lens.centre, was.lens.centre).tolist()
            row.append(" ".join(f"{pixels:+.1f}" for pixels in shift))
        rows.append(row)
    _print_rows(rows)


def _print_rows(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(map(str.ljust, row, widths)).rstrip())


def _counted(shots: int) -> str:
    return f"{shots} shot{'s' * (shots != 1)}"
