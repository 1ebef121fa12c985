"""A rig without calibration: image circles found in pictures, a lens family, an order of views.

What comes out is a starting point: the circle's centre and size are measured, the field of view and
the family are taken on trust, the poses are the ones that were said. Stitching can refine it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import UInt8

from spidereye.camera import Camera, Crop
from spidereye.errors import SpiderEyeError
from spidereye.image_circles import ImageCircle, brightest, find_circles
from spidereye.lenses.families import family
from spidereye.picture_paths import matching_pictures
from spidereye.pictures import read_picture
from spidereye.rig import Rig
from spidereye.rig_poses import Pose

ACROSS = ("auto", "circle", "diagonal", "width", "height")
_MOST_SHOTS = 24  # pictures of one camera that are looked at, evenly spread over all given
_TOO_DARK = 12  # 8-bit level that 1 % of a picture's pixels must reach


@dataclass(frozen=True)
class LensGuess:
    """family: name in lenses/families.py.   fov: degrees, over what `across` says: the image
    circle, the picture's diagonal, width or height; auto: the circle where one is seen, else the
    diagonal.   about: what it is for."""

    family: str = "equidistant"
    fov: float = 180.0
    across: str = "auto"
    about: str = ""

    def __post_init__(self) -> None:
        if not 0 < self.fov < 360:
            raise SpiderEyeError(f"a field of view is between 0 and 360 degrees, got {self.fov:g}")
        if self.across not in ACROSS:
            raise SpiderEyeError(
                f"fov across must be one of {', '.join(ACROSS)}, got {self.across!r}"
            )


# Generic families at a round angle, as makers state them: starting points, not measurements. A
# lens sold as 190° sees 185° or 197°; trust what a calibration or the stitch's refinement says.
PRESETS: dict[str, LensGuess] = {
    "action-cam": LensGuess("equidistant", 150, "diagonal", "action camera, widest mode, 4:3"),
    "dual-fisheye-190": LensGuess("equidistant", 190, "circle", "360° camera with two lenses"),
    "dual-fisheye-200": LensGuess("equidistant", 200, "circle", "360° camera, wider lenses"),
    "phone-clip-180": LensGuess("equidistant", 180, "circle", "clip-on fisheye of a phone"),
    "circular-180": LensGuess("equisolid", 180, "circle", "circular fisheye of a photo camera"),
    "full-frame-180": LensGuess("equisolid", 180, "diagonal", "diagonal fisheye, picture filled"),
    "stereographic-180": LensGuess("stereographic", 180, "diagonal", "stereographic photo lens"),
    "surround-view-190": LensGuess("equidistant", 190, "width", "parking camera of a car"),
    "ceiling-180": LensGuess("equidistant", 180, "circle", "ceiling or security camera"),
}


@dataclass(frozen=True)
class FoundView:
    """One view in a file: where its circle is, and its window (left, top, width, height).

    circle: centre and radius in pixels of the file, `clear` for the mask.   rim: False where the
    picture is filled and the circle is the one about its middle through the corners.
    origin: in words, where the circle comes from.   warnings: what makes it doubtful.
    """

    label: str
    file: int
    circle: ImageCircle
    rim: bool
    window: tuple[int, int, int, int]
    file_size: tuple[int, int]
    origin: str
    warnings: tuple[str, ...] = ()

    def line(self) -> str:
        """What was found, for people."""
        c = self.circle
        centre = f"centre ({c.cx:.1f}, {c.cy:.1f}), radius {c.radius:.1f} px"
        rim = f"; rim seen on {c.support:.0%}, {c.residual:.1f} px off a circle"
        return f"{self.label}: {self.origin}: {centre}{rim if c.residual else ''}"


def read_level(argument: str) -> tuple[str, UInt8[np.ndarray, "H W"]]:
    """A camera's brightness, maximum over its pictures: a file, or several shots of it as a folder
    or a pattern. Raises SpiderEyeError for shots of different sizes and for the dark."""
    paths = matching_pictures([argument])
    keep = np.unique(np.linspace(0, len(paths) - 1, min(len(paths), _MOST_SHOTS)).round())
    level = None
    for path in (paths[int(index)] for index in keep):
        picture = read_picture(path)
        if level is not None and picture.shape[:2] != level.shape:
            raise SpiderEyeError(
                f"{path}: {picture.shape[1]}x{picture.shape[0]} pixels, but {paths[0]} has "
                f"{level.shape[1]}x{level.shape[0]}; the shots of one camera are of one size"
            )
        level = brightest(level, picture)
    assert level is not None  # matching_pictures raises where there is none
    label = paths[0].name if len(paths) == 1 else f"{argument} ({len(keep)} shots)"
    if np.percentile(level, 99) < _TOO_DARK:
        raise SpiderEyeError(
            f"{label}: too dark to see anything; take a brighter picture, or several shots of this "
            "camera as a folder or a quoted pattern"
        )
    return label, level


def find_views(levels: Sequence[tuple[str, UInt8[np.ndarray, "_ _"]]]) -> list[FoundView]:
    """The views in each camera's file, in reading order. Where no rim is seen, another view's of
    the same size is taken, or else the picture counts as filled."""
    found = [(*labelled, find_circles(labelled[1])) for labelled in levels]
    views: list[FoundView] = []
    for number, (label, level, circles) in enumerate(found):
        height, width = level.shape
        if circles:
            views += _views_at(circles, (label, number), (width, height), "image circle found")
            continue
        alike = [c for _, other, c in found if c and other.shape == level.shape]
        if alike:
            origin = "no rim seen, circle taken from another view of this size"
            views += _views_at(alike[0], (label, number), (width, height), origin)
            continue
        diagonal = math.hypot(width, height) / 2
        middle = (width - 1) / 2, (height - 1) / 2
        filled = ImageCircle(*middle, diagonal, diagonal, 0.0, 0.0, 0.0, 1.0)
        origin = "NO RIM SEEN, taken as filled; circle through the corners about the middle"
        views.append(
            FoundView(label, number, filled, False, (0, 0, width, height), (width, height), origin)
        )
    return views


def place_views(
    circles: Sequence[tuple[float, float, float]],
    levels: Sequence[tuple[str, UInt8[np.ndarray, "_ _"]]],
) -> list[FoundView]:
    """The views at circles (cx, cy, radius) given by hand: one for all files, or one or two for
    each file in their order."""
    if len(circles) not in (1, len(levels), 2 * len(levels)):
        raise SpiderEyeError(
            f"{len(circles)} circles for {len(levels)} files: give one for all, or one or two for "
            "each file"
        )
    each = max(1, len(circles) // len(levels))
    views: list[FoundView] = []
    for number, (label, level) in enumerate(levels):
        own = circles if len(circles) == 1 else circles[each * number : each * (number + 1)]
        height, width = level.shape
        for cx, cy, radius in own:
            if not (radius > 0 and 0 <= cx < width and 0 <= cy < height):
                raise SpiderEyeError(
                    f"{label} is {width}x{height} pixels: a circle has its centre in it and a "
                    f"radius > 0, got {cx:g},{cy:g},{radius:g}"
                )
        given = [ImageCircle(cx, cy, r, r, 1.0, 1.0, 0.0, 1.0) for cx, cy, r in own]
        views += _views_at(given, (label, number), (width, height), "given circle")
    return views


def _views_at(
    circles: Sequence[ImageCircle], file: tuple[str, int], size: tuple[int, int], origin: str
) -> list[FoundView]:
    label, number = file
    views = []
    for which, circle in enumerate(circles):
        window = (0, 0, *size)
        if len(circles) > 1:
            reach = circle.radius + 1.5
            left, top = max(0, math.floor(circle.cx - reach)), max(0, math.floor(circle.cy - reach))
            right, bottom = math.ceil(circle.cx + reach) + 1, math.ceil(circle.cy + reach) + 1
            window = (left, top, min(right, size[0]) - left, min(bottom, size[1]) - top)
        named = label if len(circles) == 1 else f"{label}, circle {which + 1}"
        doubts = _doubts(circle)
        aside = max(abs(circle.cx - size[0] / 2), abs(circle.cy - size[1] / 2))
        if len(circles) == 1 and aside > 0.6 * circle.radius and max(size) > 1.6 * min(size):
            doubts.append("the file has room for a second circle; set both with --circle")
        views.append(FoundView(named, number, circle, True, window, size, origin, tuple(doubts)))
    return views


def _doubts(circle: ImageCircle) -> list[str]:
    doubts = []
    if circle.support < 0.6:
        doubts.append(f"only {circle.support:.0%} of the rim in the picture can be seen")
    if circle.residual > 0.005 * circle.radius:
        doubts.append(f"the rim is {circle.residual:.1f} px off a circle")
    if abs(circle.squeeze - 1) > 0.01:
        doubts.append(f"the rim is an ellipse, {circle.squeeze:.3f} as high as wide")
    return doubts


def guessed_rig(views: Sequence[FoundView], lens: LensGuess, poses: Sequence[Pose]) -> Rig:
    """The rig of views with one kind of lens. poses: a name and a rotation for each view.

    Raises SpiderEyeError where the family does not reach the angle, or the numbers differ.
    """
    if len(views) != len(poses):
        raise SpiderEyeError(
            f"{len(views)} views found, but the order names {len(poses)}: "
            f"{', '.join(name for name, _ in poses)}; views: {', '.join(v.label for v in views)}"
        )
    several = len({view.file for view in views}) < len(views)
    crops = several or any(view.window[2:] != view.file_size for view in views)
    cameras = []
    for view, (name, pose) in zip(views, poses, strict=True):
        left, top, width, height = view.window
        circle = view.circle
        across = lens.across
        if across == "auto":
            across = "circle" if view.rim else "diagonal"
        # Without a rim, the circle of a lens that is stated by its circle is the inscribed one.
        inscribed = across == "circle" and not view.rim
        own = min(width, height) / 2 if inscribed else circle.radius
        sizes = {"circle": own, "width": width / 2, "height": height / 2}
        radius = sizes.get(across, math.hypot(width, height) / 2)
        centre = circle.cx - left, circle.cy - top
        half_angle = math.radians(lens.fov) / 2
        seen = circle.clear if view.rim else own if inscribed else math.inf
        cameras.append(
            Camera(
                name,
                family(lens.family, half_angle, radius, width, height, *centre),
                pose,
                torch.zeros(3, dtype=torch.float64),
                seen,
                crop=Crop(view.file, left, top, width, height, *view.file_size) if crops else None,
            )
        )
    return Rig(tuple(cameras))
