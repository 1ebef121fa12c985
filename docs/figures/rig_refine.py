"""Draws rig_refine.png: a rig refined from ten jittered shots.

    SPIDEREYE_SHARED=<folder> python docs/figures/rig_refine.py

The rig spider4 at 256-pixel views takes ten of panoramas/train. Its true rotations are up to 3° off
about every axis and its f is 1 % less than believed; every view of every shot has an exposure and
tint of its own (the training jitter's), and in each shot a grey block stands in one of the views.
`spidereye rig refine --free rotation,f` gets the shots and the believed rig.
"""

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import torch

from spidereye.jitter import JitterConfig, draw, jitter_colour, jittered_cameras
from spidereye.picture_writing import write_picture
from spidereye.pictures import read_picture, resize_area, to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import Rig, spider4
from spidereye.rig_files import write_rig
from spidereye.rig_refine import RefineJob, refine_files
from spidereye.rotation import angle_between
from spidereye.self_calibration import self_calibrate
from spidereye.shots import read_shot
from spidereye.stitching import stitch

SIZE, SHOTS, SEED = 256, 10, 0
COUNTS = (1, 2, 3, 5, 10)
SHOWN = 2  # the shot that is stitched
WINDOW = (slice(190, 310), slice(540, 780))  # of the panoramas 512 x 1024: front and right meet


def true_rig(rig: Rig) -> Rig:
    """What the cameras really are."""
    jitter = draw(JitterConfig(xi=0.0, f=0.0), len(rig.cameras), SEED, 0, 0)
    _, shaken = jittered_cameras(rig.cameras, [jitter])
    cameras = [
        replace(camera, lens=camera.lens.zoomed(1 / 1.01), rotation=turned.rotation[0])
        for camera, turned in zip(rig.cameras, shaken, strict=True)
    ]
    return replace(rig, cameras=tuple(cameras))


def take(panorama: torch.Tensor, true: Rig, number: int, folder: Path) -> None:
    """Write the views of one shot."""
    views = torch.stack([view for view, _ in render_each(panorama, true.cameras)], dim=1)
    quarter = SIZE // 4
    top, left = (quarter + (number * step) % quarter for step in (17, 29))
    views[:, number % 4, :, top : top + quarter, left : left + quarter] = 0.0
    views = jitter_colour(views, [draw(JitterConfig(), len(true.cameras), SEED, 1, number)])
    for view, name in zip(views[0], true.names, strict=True):
        picture = np.ascontiguousarray(to_uint8(view).permute(1, 2, 0).numpy())
        write_picture(folder / f"{number:04d}" / f"{name}.png", picture)


def errors(rig: Rig, true: Rig) -> tuple[list[float], list[float]]:
    """Degrees by which the rotations between views are off, and percent by which the f are."""
    turns = [
        torch.rad2deg(
            angle_between(
                a.rotation.T @ rig.cameras[j].rotation, b.rotation.T @ true.cameras[j].rotation
            )
        ).item()
        for i, (a, b) in enumerate(zip(rig.cameras, true.cameras, strict=True))
        for j in range(i)
    ]
    pairs = zip(rig.cameras, true.cameras, strict=True)
    return turns, [abs(100 * (float(a.lens.f / b.lens.f) - 1)) for a, b in pairs]


def stitched(folder: Path, rig: Rig) -> np.ndarray:
    """A shot's panorama with colours compensated."""
    shot = read_shot([folder / f"{name}.png" for name in rig.names], rig)
    done = self_calibrate(shot.views, shot.rig.cameras, ("gain",))
    panorama = stitch(done.views, done.cameras, 512, 1024).panorama
    return to_uint8(panorama[0]).permute(1, 2, 0).numpy()


def main() -> None:
    sources = sorted((Path(os.environ["SPIDEREYE_SHARED"]) / "panoramas" / "train").glob("*.jpg"))
    rig = spider4(220 * SIZE / 560, 0.85, SIZE)
    true = true_rig(rig)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_rig(rig, folder / "rig.yaml")
        for number, source in enumerate(sources[:SHOTS]):
            picture = resize_area(read_picture(source, min_width=4 * SIZE), 4 * SIZE, 2 * SIZE)
            panorama = to_float(torch.from_numpy(picture).permute(2, 0, 1))[None]
            take(panorama, true, number, folder / "shots")
            if number == SHOWN:
                truth = picture
        jobs = [
            RefineJob([str(folder / "shots")], str(folder / "rig.yaml"), folder / "refined.yaml",
                      free="rotation,f", limit=count)
            for count in COUNTS
        ]  # fmt: skip
        found = [refine_files(job) for job in jobs]
        crops = [stitched(folder / "shots" / f"{SHOWN:04d}", one) for one in (rig, found[-1].rig)]
    print("shots  worst rotation °  worst f %")
    for count, done in zip(COUNTS, found, strict=True):
        turns, zooms = errors(done.rig, true)
        print(f"{count:5}  {max(turns):16.3f}  {max(zooms):9.3f}")
    print("before {:15.3f}  {:9.3f}".format(*(max(part) for part in errors(rig, true))))
    drawn([*crops, truth], found, true, errors(rig, true)[0])


def drawn(
    pictures: Sequence[np.ndarray], found: Sequence, true: Rig, before: Sequence[float]
) -> None:
    figure = plt.figure(figsize=(12, 6.2), layout="constrained")
    grid = figure.add_gridspec(2, 6)
    titles = ("stitched by the believed rig", "by the refined rig", "panorama")
    for number, (picture, title) in enumerate(zip(pictures, titles, strict=True)):
        axes = figure.add_subplot(grid[0, 2 * number : 2 * number + 2])
        axes.imshow(picture[WINDOW])
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    axes = figure.add_subplot(grid[1, :3])
    refined, names = found[-1].refined, true.names
    for shift, values, label, colour in (
        (-0.2, refined.before, "before", "tab:orange"),
        (0.2, refined.after, "after", "tab:blue"),
    ):
        pairs = sorted(values, key=lambda pair: pair[::-1])
        heights = [255 * values[pair] for pair in pairs]
        axes.bar(np.arange(len(pairs)) + shift, heights, 0.38, label=label, color=colour)
    axes.set_xticks(range(len(pairs)), [f"{names[j]}\n{names[i]}" for i, j in pairs], fontsize=8)
    axes.set_title("difference of the views in their overlaps, 8-bit levels", fontsize=10)
    axes.legend(frameon=False)
    axes = figure.add_subplot(grid[1, 3:])
    for count, done in zip(COUNTS, found, strict=True):
        turns, _ = errors(done.rig, true)
        axes.plot([count] * len(turns), turns, "o", color="tab:blue", alpha=0.6)
    axes.axhline(float(np.median(before)), color="tab:orange", label="median before")
    axes.set(xscale="log", yscale="log", xticks=COUNTS, xticklabels=COUNTS, xlabel="shots")
    axes.minorticks_off()
    axes.set_title("rotations between views: error of each pair, degrees", fontsize=10)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=80)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
