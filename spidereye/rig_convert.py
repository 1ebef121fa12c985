"""`spidereye rig convert`: calibrations of other programs to a rig file, saying what was found."""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spidereye.calibrations import Calibration, read_calibration
from spidereye.camera import circle_of
from spidereye.coverage import field_of_view
from spidereye.errors import SpiderEyeError
from spidereye.guess_job import typed_numbers
from spidereye.rig import Rig, circle_of_fov
from spidereye.rig_files import write_rig
from spidereye.rig_poses import DIRECTIONS, levelled, poses_of
from spidereye.rig_report import print_rig

# Wider than any fisheye that is sold in numbers; beyond, the model's edge is meant, not the lens's.
_WIDEST_LENS = 250.0


@dataclass(frozen=True)
class ConvertOptions:
    """What may be said about a calibration, as typed; None: not said. Lists are comma separated.

    form: a key of calibrations.READERS, or auto.   yaw, pitch, roll: degrees, where the files have
    no poses.   circle: inscribed, diagonal, none.   fov: degrees, of all image circles.
    up: "x,y,z" in the first camera's frame.
    """

    form: str = "auto"
    names: str | None = None
    yaw: str | None = None
    pitch: str | None = None
    roll: str | None = None
    circle: str = "none"
    fov: float | None = None
    up: str | None = None


def convert_files(sources: Sequence[Path], output: Path, options: ConvertOptions) -> None:
    """Read calibrations, write one rig file, and print what was understood and what is unknown.

    Raises SpiderEyeError for what cannot be read, before anything is written.
    """
    if output.suffix.lower() not in (".yaml", ".yml"):
        raise SpiderEyeError(f"-o {output}: a rig file ends in .yaml")
    if os.path.realpath(output) in map(os.path.realpath, sources):
        raise SpiderEyeError(f"-o {output} is one of the calibrations; choose another name")
    names = [name.strip() for name in options.names.split(",")] if options.names else []
    calibration = read_calibration(sources, options.form, names)
    rig, notes = _posed(calibration, bool(names), options)
    rig = _with_circles(rig.centred(), options)
    if options.up is not None:
        up = typed_numbers("--up", options.up, 3)
        rig = levelled(rig, torch.tensor(up, dtype=torch.float64))
    write_rig(rig, output)
    print_rig(str(output), rig)
    for note in notes:
        print(note)
    print(_about_circles(rig, options))


def _posed(
    calibration: Calibration, renamed: bool, options: ConvertOptions
) -> tuple[Rig, list[str]]:
    rig, notes = calibration.rig, list(calibration.notes)
    angles = {name: getattr(options, name) for name in ("yaw", "pitch", "roll")}
    said = {n: typed_numbers(f"--{n}", text) for n, text in angles.items() if text is not None}
    count = len(rig.cameras)
    if calibration.poses_known and not (said and count == 1):
        if said:
            raise SpiderEyeError(
                f"--{next(iter(said))} is for files without poses; these have some. To turn the "
                "whole rig say which way is up with --up"
            )
        if count > 1:
            notes.append(f"poses: as calibrated, {rig.names[0]} looks to the front")
        return rig, notes
    directions = all(name in DIRECTIONS for name in rig.names)
    if said or (renamed and directions):
        poses = poses_of(count, rig.names, **({} if directions else {"yaw": [0.0]}) | said)
        pairs = zip(rig.cameras, poses, strict=True)
        cameras = tuple(replace(camera, rotation=turned) for camera, (_, turned) in pairs)
        return replace(rig, cameras=cameras), ["poses: as given, not calibrated"]
    if count > 1:
        notes.append(
            f"WARNING: the files have no poses, so positions are 0 and directions "
            f"{'those of the names' if directions else 'all front'}; give them with --yaw "
            "0,90,180,-90 (--pitch, --roll), or --names front,right,back,left"
        )
    return rig, notes


def _with_circles(rig: Rig, options: ConvertOptions) -> Rig:
    if options.fov is not None and options.circle != "none":
        raise SpiderEyeError("give either --fov or --circle: both say the same")
    cameras = []
    for camera in rig.cameras:
        lens = camera.lens
        circle = circle_of(options.circle, lens.width, lens.height, "--circle")
        if options.fov is not None:
            try:
                circle = circle_of_fov(lens, options.fov)
            except SpiderEyeError as error:
                raise SpiderEyeError(f"--fov for view {camera.name}: {error}") from error
        cameras.append(replace(camera, circle=circle))
    return replace(rig, cameras=tuple(cameras))


def _about_circles(rig: Rig, options: ConvertOptions) -> str:
    if options.fov is not None:
        return f"image circles: {options.fov:g}° on average over their rims"
    if options.circle != "none":
        return "image circles: as given"
    widest = max(field_of_view(camera) for camera in rig.cameras)
    text = "image circles: calibrations do not have them, whole pictures count as seen"
    if widest > _WIDEST_LENS:
        text = f"WARNING: {text}, up to {widest:.0f}°, wider than any lens"
    return f"{text}; set the lens's field of view with --fov, or --circle inscribed"
