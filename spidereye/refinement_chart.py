"""The plot of `spidereye rig refine`: overlaps before and after, what changed, and one shot."""

import io
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64, UInt8
from PIL import Image
from torch import Tensor

from spidereye.camera import Camera
from spidereye.colour_compensation import compensate
from spidereye.overlaps import blurred, read_overlaps
from spidereye.panorama import panorama_rays
from spidereye.pose_refinement import ANGLES, Refined
from spidereye.rig import Rig, yaw_pitch_roll
from spidereye.shot_files import ReducedShots

_BEFORE, _AFTER = "#d9772b", "#2f80d0"
_TURNS = ("#2f80d0", "#2c9c6a", "#a05fc0")
_ROWS = 180  # of the maps
_MOST_PAIRS = 24


def disagreement(
    views: Sequence[Tensor], cameras: Sequence[Camera], sphere_radius: float
) -> Float64[Tensor, "H W"]:
    """By how many 8-bit levels (root mean square about their mean) the views of one shot differ,
    colours compensated, at the finest comparison; NaN where fewer than two see.

    views: [1, 3, h, w] in [-1, 1].
    """
    angle = math.radians(ANGLES[-1])
    made = [blurred(view, camera, angle) for view, camera in zip(views, cameras, strict=True)]
    rays = panorama_rays(_ROWS, 2 * _ROWS).flatten(0, 1)
    readings = read_overlaps(made, [view.camera for view in made], rays, sphere_radius)
    gain, offset = compensate(readings.colour, readings.weight)
    colour = gain[..., None] * readings.colour + offset[..., None]  # [N, 3, P]
    weight, total = readings.weight, readings.weight.sum(dim=0)
    mean = (weight * colour).sum(dim=0) / total.clamp_min(1e-9)
    square = (weight * (colour - mean).square()).sum(dim=0) / total.clamp_min(1e-9)
    several = (weight.amin(dim=1) > 0).sum(dim=0) > 1
    levels = torch.where(several, 255 * square.mean(dim=0).sqrt(), math.nan)
    return levels.view(_ROWS, 2 * _ROWS)


def refinement_picture(
    title: str, was: Rig, now: Rig, refined: Refined, shots: ReducedShots
) -> UInt8[np.ndarray, "h w 3"]:
    """Bars of the overlaps' residuals and of the views' turns, and maps of the first shot.

    was, now: the rig before and after.   refined: with cameras at the sizes of shots.rig.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 7.6), dpi=100, layout="constrained")
    places = figure.subplots(2, 2)
    _draw_residuals(places[0, 0], was.names, refined)
    _draw_turns(places[0, 1], was, now, refined)
    radius = was.sphere_radius
    maps = [disagreement(shots[0], c, radius) for c in (shots.rig.cameras, refined.cameras)]
    known = maps[0][~maps[0].isnan()]
    most = max(4.0, float(known.quantile(0.98))) if len(known) else 4.0
    drawn: Any = None
    for axes, picture, when in zip(places[1], maps, ("before", "after"), strict=True):
        axes.set_facecolor("#dddddd")
        whole = (-180.0, 180.0, -90.0, 90.0)
        drawn = axes.imshow(picture.numpy(), extent=whole, cmap="magma", vmin=0, vmax=most)
        axes.set(xticks=range(-180, 181, 90), yticks=range(-90, 91, 45))
        axes.set_title(f"{when}: difference of the views, first shot", fontsize=11)
        axes.set_xlabel("yaw, degrees")
    figure.colorbar(drawn, ax=list(places[1]), label="8-bit levels", shrink=0.8)
    count = len(shots)
    figure.suptitle(f"{title}: refined from {count} shot{'s' * (count != 1)}", fontsize=14)
    file = io.BytesIO()
    figure.savefig(file, format="png")
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB"))


def _draw_residuals(axes: Any, names: Sequence[str], refined: Refined) -> None:
    pairs = sorted(refined.before, key=lambda pair: pair[::-1])
    if len(pairs) > _MOST_PAIRS:
        pairs = sorted(pairs, key=lambda pair: -refined.before[pair])[:_MOST_PAIRS]
    place = np.arange(len(pairs))
    for values, shift, colour, label in (
        (refined.before, -0.2, _BEFORE, "before"),
        (refined.after, 0.2, _AFTER, "after"),
    ):
        heights = [255 * values.get(pair, math.nan) for pair in pairs]
        axes.bar(place + shift, heights, 0.38, color=colour, label=label)
    labels = [f"{names[j]}\n{names[i]}" for i, j in pairs]
    axes.set_xticks(place, labels, fontsize=9, rotation=0 if len(pairs) <= 8 else 90)
    axes.set_ylabel("residual, 8-bit levels")
    axes.set_title("overlaps, all shots", fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)


def _draw_turns(axes: Any, was: Rig, now: Rig, refined: Refined) -> None:
    place = np.arange(len(was.names))
    turns = np.array(
        [
            yaw_pitch_roll(old.rotation.T @ new.rotation)
            for old, new in zip(was.cameras, now.cameras, strict=True)
        ]
    )
    sure = [min(math.degrees(value), 10.0) for value in refined.uncertainty.tolist()]
    for number, name in enumerate(("yaw", "pitch", "roll")):
        where = place + 0.26 * (number - 1)
        axes.bar(where, turns[:, number], 0.24, color=_TURNS[number], label=name, yerr=sure)
    labels = []
    for old, new in zip(was.cameras, now.cameras, strict=True):
        zoom = 100 * (float(new.lens.f / old.lens.f) - 1)
        labels.append(f"{old.name}\nf {zoom:+.2f} %" if zoom else old.name)
    axes.set_xticks(place, labels, fontsize=9)
    axes.axhline(0, color="#555555", linewidth=0.8)
    axes.set_ylabel("degrees")
    axes.set_title("how the views were turned, in their own axes", fontsize=11)
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False)
