"""`spidereye rig guess`: from the words of a command line to a rig file, saying what was found."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8

from spidereye.coverage import ENOUGH_COVERAGE, coverage
from spidereye.errors import SpiderEyeError
from spidereye.progress import notes_console
from spidereye.rig import Rig
from spidereye.rig_files import write_rig
from spidereye.rig_guess import (
    PRESETS,
    FoundView,
    LensGuess,
    find_views,
    guessed_rig,
    place_views,
    read_level,
)
from spidereye.rig_poses import direction_at, levelled, poses_of
from spidereye.shot_files import by_name


@dataclass(frozen=True)
class GuessOptions:
    """What may be said about a rig, as typed; None: not said. Lists are comma separated.

    circles: "cx,cy,radius" in pixels of the file, for all, or one or two for each file.
    up: "x,y,z" in the rig's frame.   up_pixel: "VIEW,u,v" in pixels of the view's file.
    """

    preset: str | None = None
    family: str | None = None
    fov: float | None = None
    fov_across: str | None = None
    order: str | None = None
    yaw: str | None = None
    pitch: str | None = None
    roll: str | None = None
    circles: Sequence[str] = field(default_factory=tuple)
    up: str | None = None
    up_pixel: str | None = None


def guess_file(pictures: Sequence[str], output: Path, options: GuessOptions) -> None:
    """Guess a rig from pictures, write it, and print what was found and what to check.

    pictures: one name for each file of a shot, see `rig_guess.read_level`.
    Raises SpiderEyeError for what cannot be, before anything is written.
    """
    if output.suffix.lower() not in (".yaml", ".yml"):
        raise SpiderEyeError(f"-o {output}: a rig file ends in .yaml")
    rig, views, lens = guess([read_level(name) for name in pictures], options)
    write_rig(rig, output)
    _say_names(pictures, rig)
    _say(output, rig, views, lens)


def guess(
    levels: Sequence[tuple[str, UInt8[np.ndarray, "_ _"]]], options: GuessOptions
) -> tuple[Rig, list[FoundView], LensGuess]:
    """The rig, what was found of its views, and the lens that was assumed.

    levels: a name and the brightness of each file of a shot, see `rig_guess.read_level`.
    Raises SpiderEyeError for what cannot be.
    """
    lens = _lens(options)
    circles = [typed_numbers("--circle", text, 3) for text in options.circles]
    angles = [
        typed_numbers(f"--{name}", text) if text is not None else None
        for name, text in (("yaw", options.yaw), ("pitch", options.pitch), ("roll", options.roll))
    ]
    order = [name.strip() for name in options.order.split(",")] if options.order else None
    if options.up is not None and options.up_pixel is not None:
        raise SpiderEyeError("give either --up or --up-pixel: both say the same")
    if circles:
        views = place_views([(c[0], c[1], c[2]) for c in circles], levels)
    else:
        views = find_views(levels)
    rig = guessed_rig(views, lens, poses_of(len(views), order, *angles))
    return _levelled(rig, options), views, lens


def _lens(options: GuessOptions) -> LensGuess:
    if options.preset is None and options.fov is None:
        presets = ", ".join(f"{name} ({preset.about})" for name, preset in PRESETS.items())
        raise SpiderEyeError(
            f"a picture does not say how wide its lens sees: give --fov DEG or --preset: {presets}"
        )
    if options.preset is not None and options.preset not in PRESETS:
        raise SpiderEyeError(f"unknown preset {options.preset!r}; known: {', '.join(PRESETS)}")
    lens = PRESETS[options.preset] if options.preset else LensGuess()
    said = {"family": options.family, "fov": options.fov, "across": options.fov_across}
    return replace(lens, **{name: value for name, value in said.items() if value is not None})


def _levelled(rig: Rig, options: GuessOptions) -> Rig:
    if options.up is not None:
        up = typed_numbers("--up", options.up, 3)
        return levelled(rig, torch.tensor(up, dtype=torch.float64))
    if options.up_pixel is not None:
        name, _, pixel = options.up_pixel.partition(",")
        u, v = typed_numbers("--up-pixel VIEW,u,v: u,v", pixel, 2)
        return levelled(rig, direction_at(rig, name.strip(), u, v))
    return rig


def typed_numbers(what: str, text: str, count: int | None = None) -> list[float]:
    """Finite numbers of a text with commas, so many or some. Raises SpiderEyeError, which names
    `what` they are for, for anything else."""
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    right = bool(values) if count is None else len(values) == count
    if not right or not all(map(math.isfinite, values)):
        raise SpiderEyeError(f"{what} takes {count or 'some'} numbers with commas, got {text!r}")
    return values


def _say(output: Path, rig: Rig, views: Sequence[FoundView], lens: LensGuess) -> None:
    console = notes_console()
    for view, camera in zip(views, rig.cameras, strict=True):
        console.print(f"{camera.name}: {view.line()}")
        for doubt in view.warnings:
            console.print(f"  WARNING: {doubt}")
    across = lens.across if lens.across != "auto" else "the image circle, or else the diagonal"
    console.print(f"assumed, not measured: {lens.family}, {lens.fov:g}° over {across}")
    seen = coverage(rig)
    console.print(seen.line())
    if seen.seen < ENOUGH_COVERAGE:
        console.print(
            f"WARNING: the views see only {seen.seen:.1%} of the sphere; if more was photographed, "
            "--fov is too small, views are missing, or --order is wrong"
        )
    console.print(
        "check: the circles' numbers against a picture (--circle cx,cy,radius sets them); which "
        "view is which, and the way up (--order, --roll, --up); then stitch a shot: what shows "
        "twice all along where two views meet asks for another --fov or --family"
    )
    count = len(rig.cameras)
    print(f"{output}: {count} view{'s' * (count != 1)}, {', '.join(rig.names)}")


def _say_names(pictures: Sequence[str], rig: Rig) -> None:
    """That the pictures' names tell another order of the views than the one taken, if they do."""
    given = [Path(picture) for picture in pictures]
    if by_name(given, rig) != given:
        notes_console().print(
            f"WARNING: the pictures are taken in the order {', '.join(rig.names)}, and their names "
            "tell another, which stitching goes by; give them in this order, or --order"
        )
