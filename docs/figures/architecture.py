"""Draws architecture.png, the figure of docs/architecture.md: python docs/figures/architecture.py

Panoramas, views and the stitch are the package's own output for a procedural scene; latents and
noise are drawn as plain cells. Shapes are those of the documented configuration.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Rectangle

from spidereye.pictures import resize_area, to_float, to_uint8
from spidereye.render import RenderPlan, render_views
from spidereye.rig import SPIDER4_YAW, spider4
from spidereye.scenes.scene import Scene
from spidereye.stitching import stitch

SCENE = 10  # a living room: seed of Scene.random
VIEW, HEIGHT, WIDTH = 128, 128, 256  # the documented sizes in pixels
INK, QUIET = "#20242a", "#68717b"
USE, TRAIN, JUDGE = "#2f6fd0", "#b3561a", "#2b8a57"  # paths: always, in training, in evaluation
FILL = {USE: "#eaf1fb", TRAIN: "#fbf0e7", JUDGE: "#e8f5ed"}


def main() -> None:
    """Write architecture.png beside this script."""
    panorama, views, stitched = pictures()
    figure = Figure(figsize=(16, 8.9), dpi=100, facecolor="white")
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(0, 160), ylim=(0, 89))  # tenths of an inch
    axes.set_axis_off()
    draw_use(axes, panorama, views)
    draw_training(axes, panorama)
    draw_judging(axes, stitched)
    path = Path(__file__).with_name("architecture.png")
    figure.savefig(path, pil_kwargs={"optimize": True})


def pictures() -> tuple[np.ndarray, list[np.ndarray], np.ndarray]:
    """A panorama, its four views by the rig of SpiderEye360, and their stitch."""
    rig = spider4(220 * VIEW / 560, 0.85, VIEW)
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    scene = Scene.random(SCENE).panorama(plan.width)
    source = to_float(torch.from_numpy(scene.copy()).permute(2, 0, 1))[None]
    rendered = render_views(source, rig.cameras, plan)[0]
    views = to_float(to_uint8(rendered))  # a camera has 8 bits
    stitched = stitch(views.unbind(1), rig.cameras, HEIGHT, WIDTH).panorama[0]
    shown = [to_uint8(x).permute(1, 2, 0).numpy() for x in (*views[0], stitched)]
    return resize_area(scene, WIDTH, HEIGHT), shown[:4], shown[4]


def draw_use(axes: Axes, panorama: np.ndarray, views: list[np.ndarray]) -> None:
    """From the views to the panorama: what every use of a model does."""
    for index, name in enumerate(SPIDER4_YAW):
        x, y = 4 + 11 * (index % 2), 64.5 - 12.5 * (index // 2)
        image(axes, views[index], x, y, 10, 10)
        axes.text(x + 5, y - 1.9, name, fontsize=11, color=QUIET, ha="center")
    data(axes, 14.5, "views", "[B, 4, 3, 128, 128]")
    box(axes, (31, 53, 18, 18), USE, "encoder", "KL encoder f8c4,\none for all views", "encoder.py")
    for index in range(4):
        cells(axes, 55.5 + 1.5 * index, 64 - 3.1 * index, 6.4, 6.4, 16, 16, seed=index)
    data(axes, 61, "view latents", "[B, 4, 4, 16, 16]")
    box(axes, (72, 53, 18, 18), USE, "fusion", "marks each view,\nmixes all into one\n2:1 latent",
        "fusion.py")  # fmt: skip
    cells(axes, 95, 58.7, 13, 6.5, 16, 32, seed=7)
    data(axes, 101.5, "panorama latent z", "[B, 4, 16, 32]")

    frame = FancyBboxPatch((112.5, 40), 20, 34, "round,pad=0,rounding_size=1.5", facecolor="none",
                           edgecolor=USE, linewidth=1.6, linestyle=(0, (5, 3)))  # fmt: skip
    axes.add_patch(frame)
    box(axes, (114, 56, 17, 16), USE, "decoder", "U-ViT: velocity v of\nthe flow at (xₜ, t, z)",
        "decoder.py")  # fmt: skip
    box(axes, (114, 41, 17, 12), USE, "sampler", "12 Euler steps", "sampler.py")
    arrow(axes, [(119, 53.2), (119, 55.8)], USE)
    arrow(axes, [(126, 55.8), (126, 53.3)], USE)
    cells(axes, 95, 43.8, 13, 6.5, 32, 64, seed=11, grey=False)
    note(axes, 101.5, 42.3, "noise x₁")
    image(axes, panorama, 137.5, 57.5, 19, 9.5)
    data(axes, 147, "panorama", "[B, 3, 128, 256]")
    for start, end in ((25.7, 30.5), (49.4, 54.8), (67, 71.5), (90.4, 94.4), (108.6, 113.5)):
        arrow(axes, [(start, 62), (end, 62)], USE)
    arrow(axes, [(108.6, 47), (113.5, 47)], USE)
    arrow(axes, [(132.9, 62), (137, 62)], USE)


def draw_training(axes: Axes, panorama: np.ndarray) -> None:
    """Where views come from, and what changes the weights."""
    image(axes, panorama, 5, 14.5, 19, 9.5)
    axes.text(14.5, 12.3, "panorama x₀ of the data", fontsize=13, fontweight="bold", color=INK,
              ha="center", va="center")  # fmt: skip
    note(axes, 14.5, 9.7, "[B, 3, 128, 256]", mono=True)
    note(axes, 14.5, 6.2, "sources/, scenes/,\nbatches.py", mono=True)
    arrow(axes, [(14.5, 24.7), (14.5, 48.4)], USE)
    seen = "seen through the rig's\nlenses and poses, jittered\nin training"
    axes.text(16, 38, seen, fontsize=11.5, color=INK, va="center", linespacing=1.4)
    note(axes, 16, 31.2, "lenses/, rig.py,\njitter.py, render.py", mono=True, align="left")
    box(
        axes, (40, 9, 20, 18), TRAIN, "flow", "xₜ = (1 − t)·x₀ + t·ε\nat a random time t", "flow.py"
    )
    box(axes, (74, 9, 24, 18), TRAIN, "losses", "diffusion + 0.5·LPIPS\n+ 0.25·REPA + 1e-6·KL",
        "losses.py")  # fmt: skip
    does = "AdamW moves the raw;\ntheir EMA is what\nevaluation uses"
    box(axes, (112, 9, 20, 18), TRAIN, "weights", does, "optimizer.py, ema.py")
    arrow(axes, [(24.5, 18), (39.5, 18)], TRAIN)
    arrow(axes, [(60.5, 18), (73.5, 18)], TRAIN)
    note(axes, 67, 19.8, "target x₀ − ε")
    arrow(axes, [(98.5, 18), (111.5, 18)], TRAIN)
    note(axes, 105, 19.8, "gradient")
    arrow(axes, [(50, 27.5), (50, 36.5), (117, 36.5), (117, 39.6)], TRAIN)
    note(axes, 66, 37.8, "xₜ instead of noise, one step")
    arrow(axes, [(127, 39.6), (127, 32), (86, 32), (86, 27.5)], TRAIN)
    note(axes, 106, 33.3, "v, x̂₀ = xₜ + t·v, features")


def draw_judging(axes: Axes, stitched: np.ndarray) -> None:
    """What the panorama is compared with."""
    box(axes, (137.5, 33, 19, 18), JUDGE, "metrics",
        "PSNR, SSIM, LPIPS,\nFID, WS-PSNR, seam\n"
        "error, against x₀", "metrics.py")  # fmt: skip
    arrow(axes, [(147, 57), (147, 51.5)], JUDGE)
    image(axes, stitched, 137.5, 14.5, 19, 9.5)
    arrow(axes, [(147, 24.7), (147, 32.5)], JUDGE)
    axes.text(147, 12.3, "geometric stitch", fontsize=13, fontweight="bold", color=INK,
              ha="center", va="center")  # fmt: skip
    note(axes, 147, 9.7, "of the same views, to beat")
    note(axes, 147, 7.2, "stitching.py", mono=True)
    for x, colour, text in (
        (40, USE, "always"),
        (63, TRAIN, "in training"),
        (91, JUDGE, "in evaluation"),
    ):
        arrow(axes, [(x, 3.2), (x + 6, 3.2)], colour)
        axes.text(x + 7.2, 3.2, text, fontsize=12, color=INK, va="center")


def data(axes: Axes, x: float, name: str, shape: str) -> None:
    """The name and shape of data, in the line above the networks."""
    axes.text(x, 82.5, name, fontsize=15, fontweight="bold", color=INK, ha="center")
    axes.text(x, 79, shape, fontsize=12, color=QUIET, ha="center", family="monospace")


def note(
    axes: Axes, x: float, y: float, text: str, mono: bool = False, align: str = "center"
) -> None:
    """Small text around (x, y)."""
    axes.text(x, y, text, fontsize=10.5 if mono else 11, color=QUIET, ha=align, va="center",
              family="monospace" if mono else None, linespacing=1.4)  # fmt: skip


def box(axes: Axes, place: Sequence[float], colour: str, name: str, does: str, file: str) -> None:
    """A part of the program: its name, what it does, the file it lives in. place: x, y, w, h."""
    x, y, width, height = place
    axes.add_patch(FancyBboxPatch(
        (x, y), width, height, "round,pad=0,rounding_size=1.2", facecolor=FILL[colour],
        edgecolor=colour, linewidth=1.8,
    ))  # fmt: skip
    middle = x + width / 2
    axes.text(middle, y + height - 2.9, name, fontsize=15, fontweight="bold", color=colour,
              ha="center", va="center")  # fmt: skip
    axes.text(middle, y + height / 2 - 0.3, does, fontsize=11, color=INK, ha="center", va="center",
              linespacing=1.4)  # fmt: skip
    axes.text(middle, y + 2.2, file, fontsize=10.5, color=QUIET, ha="center", va="center",
              family="monospace")  # fmt: skip


def arrow(axes: Axes, points: Sequence[tuple[float, float]], colour: str) -> None:
    """An arrow along straight pieces."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=colour, linewidth=2.2, solid_joinstyle="miter")
    style = {"arrowstyle": "-|>,head_width=0.3,head_length=0.6", "color": colour, "linewidth": 2.2,
             "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}  # fmt: skip
    axes.annotate("", points[-1], points[-2], arrowprops=style)


def image(axes: Axes, picture: np.ndarray, x: float, y: float, width: float, height: float) -> None:
    """A picture with its lower left corner at (x, y)."""
    axes.imshow(picture, extent=(x, x + width, y, y + height), interpolation="antialiased",
                aspect="auto", zorder=2)  # fmt: skip


def cells(
    axes: Axes, x: float, y: float, width: float, height: float, rows: int, columns: int,
    seed: int, grey: bool = True,
) -> None:  # fmt: skip
    """A grid of random cells: shades of one colour for a latent, all colours for noise."""
    values = np.random.default_rng(seed).random((rows, columns, 1 if grey else 3))
    blue, white = np.array(to_rgb(USE)), np.ones(3)
    picture = white + values * (blue - white) if grey else values
    image(axes, picture, x, y, width, height)
    axes.add_patch(Rectangle((x, y), width, height, fill=False, edgecolor=USE if grey else QUIET,
                             linewidth=1, zorder=2))  # fmt: skip


if __name__ == "__main__":
    main()
