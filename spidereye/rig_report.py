"""`spidereye rig check`: what a rig is and sees, as text and as a map of the sphere."""

import io
import math
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Integer, UInt8
from PIL import Image
from torch import Tensor

from spidereye.camera import Camera
from spidereye.coverage import (
    ENOUGH_COVERAGE,
    BlindSpot,
    angular_resolution,
    blind_spot,
    field_of_view,
    seen_by,
    sphere_fraction,
)
from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.rig import NAMED_RIGS, Rig, yaw_pitch_roll
from spidereye.rig_files import load_rig

_HEIGHT = 512  # rows of the map: 0.35° each
_OUTLINES = ("#e6194b", "#1f5fd0", "#2a9d2a", "#f07c00", "#8e2fb5", "#00a0a8", "#a0522d", "#e035b5")
_BLIND = "#2b2b2b"
_ARROW = math.radians(22)  # how far up the arrow of a view goes
_HEADINGS = [
    *("view", "lens", "pixels", "f px", "circle px", "view °", "yaw pitch roll °"),
    *("px/° centre", "px/° mean"),
]
# The most views for which the overlap of every pair is printed.
_PAIRS_LISTED = 8


def check_rig(name_or_path: str, output: Path | None = None) -> None:
    """Print what a rig is and sees and write the map of its coverage.

    output: a PNG; None: `<rig>_coverage.png` beside the rig's file, for a named rig here.
    Raises SpiderEyeError for a rig that cannot be read and a picture that cannot be written.
    """
    rig = load_rig(name_or_path)
    if output is None:
        folder = Path() if name_or_path in NAMED_RIGS else Path(name_or_path).parent
        output = folder / f"{Path(name_or_path).stem}_coverage.png"
    if output.suffix.lower() != ".png":
        raise SpiderEyeError(f"-o {output}: the map is a picture that ends in .png")
    seen = seen_by(rig, _HEIGHT)
    print_rig(name_or_path, rig)
    print_coverage(rig, seen)
    write_picture(output, coverage_picture(Path(name_or_path).stem, rig, seen))
    print(f"map: {output}")


def print_rig(title: str, rig: Rig) -> None:
    """The views in a table: lens, size, pose, field of view and resolution."""
    together = all(not bool(camera.position.any()) for camera in rig.cameras)
    where = "all at the centre" if together else "each at its position"
    radius = "infinite" if math.isinf(rig.sphere_radius) else f"{rig.sphere_radius:g} m"
    count = len(rig.cameras)
    print(f"{title}: {count} view{'s' * (count > 1)}, {where}, sphere radius {radius}")
    rows = [_HEADINGS, *(_row(camera) for camera in rig.cameras)]
    if not together:
        positions = [_spaced(camera.position.tolist(), 3) for camera in rig.cameras]
        rows = [[*row, cell] for row, cell in zip(rows, ["x y z m", *positions], strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        print("  ".join(cells).rstrip())
    for camera in rig.cameras:
        if camera.crop is not None:
            c = camera.crop
            print(
                f"{camera.name}: {c.width}x{c.height} pixels at ({c.left}, {c.top}) of file "
                f"{c.file}, which is {c.file_width}x{c.file_height}"
            )
        if camera.visible is not None:
            hidden = 1 - float(camera.visible.double().mean())
            print(f"{camera.name}: its mask hides {hidden:.1%} of the picture")


def _row(camera: Camera) -> list[str]:
    resolution = angular_resolution(camera)
    centre = "-" if math.isnan(resolution.centre) else f"{resolution.centre:.1f}"
    return [
        camera.name,
        camera.lens.model,
        f"{camera.lens.width}x{camera.lens.height}",
        f"{float(camera.lens.f):.1f}",
        f"{camera.circle:.1f}" if math.isfinite(camera.circle) else "none",
        f"{field_of_view(camera):.1f}",
        _spaced(yaw_pitch_roll(camera.rotation), 1),
        centre,
        f"{resolution.mean:.1f}",
    ]


def _spaced(numbers: Sequence[float], digits: int) -> str:
    # Adding 0.0 makes a rounded -0.0 a plain zero.
    return " ".join(f"{round(number, digits) + 0.0:.{digits}f}" for number in numbers)


def print_coverage(rig: Rig, seen: Bool[Tensor, "N H W"]) -> None:
    """Shares of the sphere: seen by how many views, by which pairs, by none.

    seen: which view sees which direction, see coverage.seen_by.
    """
    count = seen.sum(dim=0)
    levels = range(1, len(rig.cameras) + 1)
    shares = [float(sphere_fraction(count >= level)) for level in levels]
    listed = [f"{share:.1%} by ≥{n}" for n, share in zip(levels, shares, strict=True) if share > 0]
    print(f"of the sphere is seen: {', '.join(listed) or 'nothing'}")
    pairs = []
    for first, second in combinations(range(len(seen)), 2):
        both = float(sphere_fraction(seen[first] & seen[second]))
        if both >= 5e-4:
            pairs.append((both, f"{rig.names[first]} and {rig.names[second]} {both:.1%}"))
    if len(rig.cameras) > _PAIRS_LISTED:
        pairs = sorted(pairs, reverse=True)[: 3 * _PAIRS_LISTED]
    if len(rig.cameras) > 1:
        print(f"overlaps, of the sphere: {', '.join(text for _, text in pairs) or 'none'}")
    print(_blind_line(1 - shares[0], blind_spot(count > 0)))
    if shares[0] < ENOUGH_COVERAGE:
        print(
            f"WARNING: the views see only {shares[0]:.1%} of the sphere, the rest can only be "
            "guessed; add a view there, or lenses of a wider field of view"
        )


def _blind_line(share: float, spot: BlindSpot | None) -> str:
    if spot is None:
        return "blind: nowhere"
    yaw, pitch = _spaced([spot.yaw], 0), _spaced([spot.pitch], 0)
    return (
        f"blind: {share:.1%} of the sphere; widest gap {spot.diameter:.1f}° across, "
        f"around yaw {yaw}°, pitch {pitch}°"
    )


def coverage_picture(
    title: str, rig: Rig, seen: Bool[Tensor, "N H W"]
) -> UInt8[np.ndarray, "h w 3"]:
    """The map: how many views see each direction, and each view's rim, name and way up.

    seen: which view sees which direction, see coverage.seen_by.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    # Names may hold dollars.
    with rc_context({"hatch.color": "#d0d0d0", "hatch.linewidth": 0.7, "text.parse_math": False}):
        figure = Figure(figsize=(11, 6.9), dpi=110, layout="constrained")
        axes = figure.add_subplot()
        handles = _draw_counts(axes, seen.sum(dim=0)) + _draw_views(axes, rig, seen)
        axes.set(xlim=(-180, 180), ylim=(-90, 90), aspect="equal")
        axes.set_xticks(range(-180, 181, 45))
        axes.set_yticks(range(-90, 91, 30))
        axes.grid(color="#00000040", linewidth=0.6)
        axes.set_xlabel("yaw, degrees (right is +)")
        axes.set_ylabel("pitch, degrees (up is +)")
        # Of a file's name, which need not be text.
        title = title.encode(errors="replace").decode()
        axes.set_title(f"{title}: how many views see each direction", fontsize=13)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=6, frameon=False, fontsize=10
        )
        file = io.BytesIO()
        figure.savefig(file, format="png")
    file.seek(0)
    return np.asarray(Image.open(file).convert("RGB"))


def _draw_counts(axes: Any, count: Integer[Tensor, "H W"]) -> list[Any]:
    """Fill the map by the number of views; its lines of the legend."""
    from matplotlib import colormaps
    from matplotlib.colors import BoundaryNorm, ListedColormap
    from matplotlib.patches import Patch

    most = max(int(count.max()), 1)
    colours = ListedColormap([_BLIND, *colormaps["YlGnBu"](np.linspace(0.08, 0.62, most))])
    norm = BoundaryNorm(np.arange(-0.5, most + 1.5), most + 1)
    whole = (-180.0, 180.0, -90.0, 90.0)
    axes.imshow(count.numpy(), extent=whole, cmap=colours, norm=norm, interpolation="nearest")
    blind = count == 0
    if bool(blind.any()):
        axes.contourf(*_degrees(blind), [0.5, 1.5], colors="none", hatches=["xx"])
    handles: list[Any] = []
    for level in range(most + 1):
        share = float(sphere_fraction(count == level))
        if share > 0:
            text = f"{level or 'no'} view{'s' * (level != 1)}: {share:.1%}"
            hatch = "" if level else "xx"
            handles.append(Patch(fc=colours(level), ec="#888888", hatch=hatch, label=text))
    return handles


def _draw_views(axes: Any, rig: Rig, seen: Bool[Tensor, "N H W"]) -> list[Any]:
    """Draw the rim, the name and the way up of every view; their lines of the legend."""
    from matplotlib.lines import Line2D

    handles: list[Any] = []
    labels: list[tuple[float, float]] = []
    for index, camera in enumerate(rig.cameras):
        colour = _OUTLINES[index % len(_OUTLINES)]
        if bool(seen[index].any()) and not bool(seen[index].all()):
            # Equal rims lie on each other: dashes of different phase show them all.
            style = {"linewidths": 2.2, "linestyles": [(index * 7 % 12, (8, 4))]}
            axes.contour(*_degrees(seen[index]), [0.5], colors=[colour], **style)
        labels.append(_label(axes, camera, colour, labels))
        name = f"rim of {camera.name}"
        handles.append(Line2D([], [], color=colour, linewidth=2.2, label=name))
    return handles


def _degrees(where: Bool[Tensor, "H W"]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Yaw of the columns, pitch of the rows, 1 where true: what contours are drawn of.
    A column more on either side lets them run over the map's edge."""
    height, width = where.shape
    step = 180 / height
    yaw = (np.arange(-1, width + 1) + 0.5) * step - 180
    pitch = 90 - (np.arange(height) + 0.5) * step
    return yaw, pitch, np.pad(where.numpy().astype(float), ((0, 0), (1, 1)), mode="wrap")


def _label(
    axes: Any, camera: Camera, colour: str, others: Sequence[tuple[float, float]]
) -> tuple[float, float]:
    """Draw the view's name at its axis and an arrow to where the top of its picture is; where the
    name stands. others: where names stand already, which is kept free."""
    axis, up = camera.axis.double(), camera.rotation[:, 1].double()
    tip = math.cos(_ARROW) * axis + math.sin(_ARROW) * up
    (x, y), (tip_x, tip_y) = _yaw_pitch(axis), _yaw_pitch(tip)
    if abs(tip_x - x) < 90:  # else the arrow crosses the map's edge or a pole
        arrow = {"arrowstyle": "-|>", "color": colour, "linewidth": 2.5, "shrinkA": 0}
        axes.annotate("", xy=(tip_x, tip_y), xytext=(x, y), arrowprops=arrow)
    # Where it looks over the edge of the map, the name stands beside it.
    x, y = min(max(x, -163.0), 163.0), min(max(y, -84.0), 84.0)
    step = -9.0 if y > -45 else 9.0
    while any(abs(x - u) < 25 and abs(y - v) < 8.5 for u, v in others) and abs(y + step) < 85:
        y += step
    axes.annotate(
        camera.name, (x, y), color="white", ha="center", va="center", fontsize=11,
        fontweight="bold", zorder=5,
        bbox={"boxstyle": "round,pad=0.3", "facecolor": colour, "edgecolor": "white"},
    )  # fmt: skip
    return x, y


def _yaw_pitch(direction: Float[Tensor, "3"]) -> tuple[float, float]:
    x, y, z = direction.tolist()
    # Rounding: straight back is at one edge of the map, not at either by chance.
    x = 0.0 if abs(x) < 1e-12 else x
    return math.degrees(math.atan2(x, z)), math.degrees(math.atan2(y, math.hypot(x, z)))
