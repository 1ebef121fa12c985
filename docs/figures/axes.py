"""Draws axes.png, the figure of docs/conventions.md: python docs/figures/axes.py

The panorama, the views and the turned cameras are the package's own output, so the figure shows
what the code does, not what somebody remembered of it.
"""

import math
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Rectangle
from PIL import Image, ImageDraw, ImageFont

from spidereye.camera import Camera
from spidereye.coverage import field_of_view
from spidereye.lenses import UCM
from spidereye.panorama import panorama_rays
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import SPIDER4_YAW, spider4
from spidereye.rotation import from_degrees
from spidereye.scenes.scene import Scene

SCENE = 5  # a park: seed of Scene.random
DRAWN_WIDTH, PANORAMA_WIDTH, VIEW = 1024, 2048, 400  # pixels
F_PIX, XI = 220.0 * VIEW / 560, 0.85  # the lens of SpiderEye360
X, Y, Z = "#d43d3d", "#2b9348", "#2f6fd0"  # the axes' colours, everywhere
INK, QUIET, TURN = "#20242a", "#68717b", "#c026a0"
VIEWS = {"front": "#2f6fd0", "right": "#d43d3d", "back": "#c98a00", "left": "#7a4fbf"}
# Signboards in the scene: longitude and latitude in degrees.
BOARDS = {
    "FRONT": (0, 0), "RIGHT": (90, 0), "BACK": (180, 0), "LEFT": (-90, 0),
    "UP": (0, 90), "DOWN": (0, -90),
}  # fmt: skip


def main() -> None:
    """Write axes.png beside this script."""
    panorama = labelled_panorama()
    width, height = 15.0, 22.3  # inches; below, rows are given in inches from the top
    figure = Figure(figsize=(width, height), dpi=90, facecolor="white")

    def row(top: float, bottom: float, panels: int, left: float = 0.45) -> list[Axes]:
        grid = figure.add_gridspec(
            1, panels, top=1 - top / height, bottom=1 - bottom / height,
            left=left / width, right=1 - left / width, wspace=0.06,
        )  # fmt: skip
        return [figure.add_subplot(cell) for cell in grid]

    def heading(top: float, text: str) -> None:
        figure.text(0.45 / width, 1 - top / height, text, fontsize=17, fontweight="bold", color=INK)

    for draw, axes in zip((draw_axes, draw_rig, draw_pixels), row(0.7, 4.6, 3), strict=True):
        draw(axes)
    heading(5.2, "The equirectangular panorama: the centre is front")
    draw_panorama(row(5.75, 12.15, 1, left=1.1)[0], panorama)
    heading(13.35, "The four views of spider4, as the package renders them")
    draw_views(row(13.95, 17.25, 4), panorama)
    heading(17.9, "The signs of yaw, pitch and roll, on the front camera")
    draw_turns(row(18.5, 21.8, 4), panorama)
    figure.savefig(Path(__file__).with_name("axes.png"), pil_kwargs={"optimize": True})


def labelled_panorama() -> np.ndarray:
    """A procedural scene with signboards in the six directions and a grid every 30 degrees."""
    scene = Image.fromarray(Scene.random(SCENE).panorama(DRAWN_WIDTH))
    width, height = PANORAMA_WIDTH, PANORAMA_WIDTH // 2
    picture = np.asarray(scene.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    for degrees in range(-180, 180, 30):
        column = round((degrees / 360 + 0.5) * width)
        for near in (column - 1, column % width):
            picture[:, near] += 0.45 * (255 - picture[:, near])
        if -90 < degrees < 90:
            row = round((0.5 - degrees / 180) * height)
            picture[row - 1 : row + 1] += 0.45 * (255 - picture[row - 1 : row + 1])
    rays = panorama_rays(height, width).numpy()
    for text, (longitude, latitude) in BOARDS.items():
        board = signboard(text)
        # A board is a plane at distance 1: where a ray meets it decides what it shows.
        x, y, z = np.moveaxis(rays @ from_degrees(longitude, latitude).numpy(), -1, 0)
        across, up = (axis / np.where(z > 0.3, z, np.inf) for axis in (x, y))
        half_height = 0.11
        half_width = half_height * board.shape[1] / board.shape[0]
        on = (z > 0.3) & (abs(across) < half_width) & (abs(up) < half_height)
        column = ((across[on] / half_width + 1) / 2 * board.shape[1]).astype(int)
        row = ((1 - up[on] / half_height) / 2 * board.shape[0]).astype(int)
        picture[on] = board[row, column]
    return picture.round().astype(np.uint8)


def signboard(text: str) -> np.ndarray:
    """White on the view's colour."""
    font_file = Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans-Bold.ttf"
    font = ImageFont.truetype(str(font_file), 90)
    box = font.getbbox(text)
    board = Image.new("RGB", (int(box[2]) + 50, 130), VIEWS.get(text.lower(), "#3b4148"))
    ImageDraw.Draw(board).text((25, 65), text, fill="white", font=font, anchor="lm")
    return np.asarray(board).astype(float)


def title(axes: Axes, text: str) -> None:
    """A panel's title, at its left."""
    axes.set_title(text, loc="left", fontsize=17, fontweight="bold", color=INK, pad=12)


def arrow(axes: Axes, start, end, colour: str, width: float = 2.5) -> None:
    """An arrow between two points of the panel."""
    style = {"arrowstyle": "-|>,head_width=0.35,head_length=0.7", "color": colour,
             "linewidth": width, "shrinkA": 0, "shrinkB": 0, "mutation_scale": 12}  # fmt: skip
    axes.annotate("", end, start, arrowprops=style)


def arc(axes: Axes, points: np.ndarray, colour: str) -> None:
    """A bent arrow along points."""
    axes.plot(points[:-2, 0], points[:-2, 1], color=colour, linewidth=2.4)
    arrow(axes, points[-6], points[-1], colour, 2.4)


def canvas(axes: Axes, x: tuple[float, float], y: tuple[float, float]) -> None:
    """A frameless panel of these limits with equal scales."""
    axes.set(xlim=x, ylim=y, aspect="equal", anchor="N")
    axes.set_axis_off()


def oblique(x: float, y: float, z: float) -> tuple[float, float]:
    """World to paper: x to the right, y up, z into the paper."""
    return x + 0.62 * z, y + 0.40 * z


def draw_axes(axes: Axes) -> None:
    """World and camera axes and the three turns."""
    title(axes, "Axes of world and cameras")
    canvas(axes, (-1.05, 2.3), (-1.08, 1.75))
    for direction, colour, text, place, side in (
        ((1.5, 0, 0), X, "x right", (1.6, 0.0), "left"),
        ((0, 1.5, 0), Y, "y up", (0.0, 1.62), "center"),
        ((0, 0, 2.2), Z, "z forward\n(view axis)", (1.44, 0.93), "left"),
    ):
        arrow(axes, (0, 0), oblique(*direction), colour, 3.4)
        axes.text(*place, text, color=colour, fontsize=14, fontweight="bold", ha=side, va="center")
    angles = np.radians(np.linspace(6, 56, 40))
    sine, cosine, zero = np.sin(angles), np.cos(angles), 0 * angles
    turns = {
        "yaw +\nturns right": ((sine, zero, cosine), 1.0, (1.27, 0.33), "left"),
        "pitch + looks up": ((zero, sine, cosine), 1.2, (0.5, 1.36), "left"),
        "roll + turns\nclockwise": ((sine, cosine, zero), 0.72, (-0.08, 0.66), "right"),
    }
    for text, (directions, radius, place, side) in turns.items():
        path = np.stack(oblique(*(radius * c for c in directions)), axis=1)
        arc(axes, path, TURN)
        axes.text(*place, text, color=TURN, fontsize=13, ha=side, va="center")
    axes.add_patch(Circle((0, 0), 0.07, color=INK, zorder=5))
    for line, (text, weight) in enumerate((
        ("Left-handed. A rotation takes camera to world:", "normal"),
        ("R = yaw · pitch · roll", "bold"),
        ("longitude = atan2(x, z),  latitude = asin(y)", "normal"),
        ("Degrees in configs, radians inside.", "normal"),
    )):  # fmt: skip
        axes.text(-1.05, -0.36 - 0.235 * line, text, fontsize=13, color=INK, fontweight=weight)


def draw_rig(axes: Axes) -> None:
    """spider4 from above, each view's field of view as an arc of its colour."""
    title(axes, "The rig spider4 from above")
    canvas(axes, (-2.0, 2.0), (-1.75, 1.63))
    half = field_of_view(spider4(F_PIX, XI, VIEW).cameras[0]) / 2
    places = {"front": (0, 1.42), "right": (1.27, 0), "back": (0, -1.42), "left": (-1.27, 0)}
    sides = {"right": "left", "left": "right"}
    for index, (name, yaw) in enumerate(SPIDER4_YAW.items()):
        colour, radius = VIEWS[name], 0.36 + 0.13 * index
        angles = np.radians(np.linspace(yaw - half, yaw + half, 90))
        axes.plot(radius * np.sin(angles), radius * np.cos(angles), color=colour, linewidth=4.5,
                  solid_capstyle="butt", alpha=0.75)  # fmt: skip
        direction = np.array([math.sin(math.radians(yaw)), math.cos(math.radians(yaw))])
        arrow(axes, 0.1 * direction, 1.17 * direction, colour, 3.4)
        text = f"{name}\nyaw {signed(yaw) if abs(yaw) == 90 else f'{yaw:.0f}°'}"
        axes.text(*places[name], text, color=colour, fontsize=14, fontweight="bold",
                  ha=sides.get(name, "center"), va="center")  # fmt: skip
    angles = np.radians(np.linspace(14, 72, 40))
    arc(axes, 0.97 * np.stack((np.sin(angles), np.cos(angles)), axis=1), TURN)
    axes.text(0.76, 0.8, "yaw +", color=TURN, fontsize=14)
    axes.add_patch(Circle((0, 0), 0.07, color=INK, zorder=5))
    arrow(axes, (-1.8, -1.5), (-1.3, -1.5), X)
    arrow(axes, (-1.8, -1.5), (-1.8, -1.0), Z)
    axes.text(-1.25, -1.5, "x", color=X, fontsize=14, fontweight="bold", va="center")
    axes.text(-1.8, -0.96, "z", color=Z, fontsize=14, fontweight="bold", ha="center")
    axes.text(2.0, -1.55, f"arcs: each sees\n{2 * half:.1f}° in\nSpiderEye360", color=QUIET,
              fontsize=12, ha="right", va="center")  # fmt: skip


def signed(degrees: float) -> str:
    """Degrees with a sign; 0 without."""
    return f"{degrees:+.0f}°".replace("-", "−") if degrees else "0°"


def draw_pixels(axes: Axes) -> None:
    """Pixel centres at integers: a picture of 4 x 3 pixels."""
    title(axes, "Pixels of any picture (here 4 × 3)")
    canvas(axes, (-1.75, 4.65), (4.4, -1.2))
    for v, u in np.ndindex(3, 4):
        tint = "#f2f5f9" if (u + v) % 2 else "#e4eaf1"
        axes.add_patch(Rectangle((u - 0.5, v - 0.5), 1, 1, facecolor=tint, edgecolor="#b8c2cc"))
        axes.plot(u, v, "o", color=INK, markersize=5)
        axes.text(u, v + 0.32, f"({u}, {v})", fontsize=11.5, ha="center", color=QUIET)
    arrow(axes, (-0.5, -0.72), (4.15, -0.72), X)
    arrow(axes, (-0.72, -0.5), (-0.72, 3.0), Y)
    axes.text(4.25, -0.72, "u", color=X, fontsize=16, fontweight="bold", va="center")
    axes.text(-0.72, 3.12, "v", color=Y, fontsize=16, fontweight="bold", ha="center", va="top")
    for at, text in ((-0.5, "−0.5"), (3.5, "3.5")):
        axes.text(at, -0.88, text, color=X, fontsize=12.5, ha="center")
    for at, text in ((-0.5, "−0.5"), (2.5, "2.5")):
        axes.text(-0.88, at, text, color=Y, fontsize=12.5, ha="right", va="center")
    axes.plot(1.5, 1, "P", color=TURN, markersize=12)
    axes.text(1.5, 0.62, "principal point", color=TURN, fontsize=12, ha="center")
    for line, text in enumerate((
        "Centres at integers; borders at −0.5 and w − 0.5.",
        "Principal point ((w−1)/2, (h−1)/2) by default.",
    )):  # fmt: skip
        axes.text(-1.75, 3.55 + 0.42 * line, text, fontsize=13, color=INK, va="top")


def draw_panorama(axes: Axes, panorama: np.ndarray) -> None:
    """The equirectangular panorama with both of its coordinate systems."""
    width, height = 256, 128
    extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # imshow too has its centres at integers
    axes.imshow(panorama, extent=extent, interpolation="antialiased")
    longitudes, latitudes = range(-180, 181, 45), range(-90, 91, 45)
    columns = [(degrees / 360 + 0.5) * width - 0.5 for degrees in longitudes]
    rows = [(0.5 - degrees / 180) * height - 0.5 for degrees in latitudes]
    axes.set_xticks(columns, [signed(degrees) for degrees in longitudes])
    axes.set_yticks(rows, [signed(degrees) for degrees in latitudes])
    axes.set_xlabel("longitude = ((j + 0.5)/W · 2 − 1) · 180°, + is right", fontsize=14, color=INK)
    axes.set_ylabel("latitude = (0.5 − (i + 0.5)/H) · 180°, + is up", fontsize=14, color=INK)
    axes.tick_params(labelsize=13, colors=INK)
    above, beside = axes.secondary_xaxis("top"), axes.secondary_yaxis("right")
    above.set_xticks(columns[::2])
    beside.set_yticks(rows)
    above.set_xlabel("column j (that is u), W = 256", fontsize=14, color=X, loc="right")
    beside.set_ylabel("row i (that is v), H = 128", fontsize=14, color=Y)
    above.tick_params(labelsize=13, colors=X)
    beside.tick_params(labelsize=13, colors=Y)


def draw_views(panels: Sequence[Axes], panorama: np.ndarray) -> None:
    """The four views of the rig."""
    pictures = rendered(panorama, spider4(F_PIX, XI, VIEW).cameras)
    for index, (axes, name) in enumerate(zip(panels, SPIDER4_YAW, strict=True)):
        axes.imshow(pictures[index])
        axes.set_axis_off()
        text = f"view {index}: {name}, yaw {SPIDER4_YAW[name]:.0f}°".replace("-", "−")
        axes.set_title(text, fontsize=15, color=VIEWS[name], fontweight="bold")


def draw_turns(panels: Sequence[Axes], panorama: np.ndarray) -> None:
    """The front camera turned by 40° each way; arrows: the paths of two points of the scene."""
    above, below, right, left = (0, 1.0, 1), (0, -1.0, 1), (1.2, 0, 1), (-1.2, 0, 1)
    turns = [
        ("not turned", (0, 0, 0), "the front camera", ()),
        ("yaw +40°", (40, 0, 0), "looks right: the scene moves left", (above, below)),
        ("pitch +40°", (0, 40, 0), "looks up: the scene moves down", (right, left)),
        ("roll +40°", (0, 0, 40), "turns clockwise: the scene the other way", (right, left)),
    ]
    lens, origin = UCM.create(F_PIX, XI, VIEW), torch.zeros(3, dtype=torch.float64)

    def camera(turn: Sequence[float], part: float = 1.0) -> Camera:
        return Camera("front", lens, from_degrees(*(part * angle for angle in turn)), origin)

    pictures = rendered(panorama, [camera(turn) for _, turn, _, _ in turns])
    for axes, picture, (name, turn, effect, points) in zip(panels, pictures, turns, strict=True):
        axes.imshow(picture)
        axes.set_axis_off()
        axes.set_title(name, fontsize=15, color=TURN if points else INK, fontweight="bold")
        axes.text(0.5, -0.02, effect, transform=axes.transAxes, ha="center", va="top",
                  fontsize=13, color=INK)  # fmt: skip
        for point in points:
            ray = torch.tensor([point], dtype=torch.float64)
            path = [camera(turn, part).project(ray)[0][0].numpy() for part in np.linspace(0, 1, 12)]
            axes.plot(*np.array(path[:-1]).T, color="white", linewidth=6, solid_capstyle="round")
            axes.plot(*np.array(path[:-1]).T, color=TURN, linewidth=3.5)
            arrow(axes, path[-3], path[-1], TURN, 3.5)
            axes.plot(*path[0], "o", color=TURN, markeredgecolor="white", markersize=9)


def rendered(panorama: np.ndarray, cameras: Sequence[Camera]) -> list[np.ndarray]:
    """The cameras' pictures on white."""
    picture = to_float(torch.from_numpy(panorama.copy()).permute(2, 0, 1))[None]
    shown = [
        torch.where(mask[:, None], view, torch.ones_like(view))[0]
        for view, mask in render_each(picture, cameras)
    ]
    return [to_uint8(view).permute(1, 2, 0).numpy() for view in shown]


if __name__ == "__main__":
    main()
