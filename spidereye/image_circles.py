"""Finding the image circle of a fisheye picture: where the lens's light ends and the dark begins.

Coarse to fine. On a small copy, the outline of what is brighter than the surround gives points;
random triples of them give circles (RANSAC, Fischler & Bolles 1981); the one that most of its rim
agrees with wins. At full size, the steepest fall of brightness along each radius then places the
rim to a part of a pixel. Outlines, not edges: the scene's own edges lie inside and do not vote.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Bool, Float, Float32, UInt8
from scipy.ndimage import gaussian_filter1d
from scipy.optimize import least_squares

Circle = tuple[float, float, float]  # cx, cy, radius
Points = Float[np.ndarray, "n 2"]

_COARSE = 480  # pixels of the small copy's long side
_TRIES = 800  # random triples: 30 lie on the rim where a third of the points do, 2 with a seventh
_OVER_BLACK = (3, 6, 12, 24, 48)  # levels above the darkest part at which outlines are drawn
_ENOUGH = 0.35  # share of the rim inside the picture that must be seen
_BALANCED = 0.15  # of `ImageCircle.balance`: an arc of 130° has this much, and is the least of use
_SLOPE_NOISE = 0.12  # of `_steepest`, over the median step between radii: measured on white noise
_LONG = 1.6  # aspect ratio from which a file may hold two circles side by side


@dataclass(frozen=True)
class ImageCircle:
    """An image circle in pixels of its picture, pixel centres at integers.

    clear: radius up to which the rim does not darken the picture, ≤ radius.
    support: share of the rim inside the picture that shows the fall of brightness, in [0, 1].
    balance: how evenly that part lies about the centre: 1 for opposite sides, 0 for one spot.
    residual: pixels, robust standard deviation of the rim about the circle.
    squeeze: height of the rim's ellipse over its width, 1 for a circle.
    """

    cx: float
    cy: float
    radius: float
    clear: float
    support: float
    balance: float
    residual: float
    squeeze: float


def brightest(
    level: UInt8[np.ndarray, "H W"] | None, picture: UInt8[np.ndarray, "H W 3"]
) -> UInt8[np.ndarray, "H W"]:
    """The maximum over channels and over the pictures so far: what any of them lights is picture.

    level: of the pictures so far, None at the first. Returns uint8 [H, W]."""
    bright = picture.max(axis=2)
    return bright if level is None else np.maximum(level, bright)


def find_circles(level: UInt8[np.ndarray, "H W"]) -> list[ImageCircle]:
    """The image circles of a picture: none where no rim can be seen, one, or two side by side (or
    one above the other) in a file that is long enough, in reading order.

    level: brightness, for several pictures of one camera their maximum (`brightest`).
    """
    height, width = level.shape
    if max(width / height, height / width) >= _LONG:
        half_width, half_height = (width // 2, height) if width > height else (width, height // 2)
        offsets = (0, 0), (width - half_width, height - half_height)
        pair = [_find(level[y : y + half_height, x : x + half_width], x, y) for x, y in offsets]
        first, second = pair
        if first and second and _are_two(first, second):
            return [first, second]
    one = _find(level, 0, 0)
    return [one] if one else []


def _are_two(first: ImageCircle, second: ImageCircle) -> bool:
    """Two lenses alike, not two halves of one circle."""
    apart = math.hypot(first.cx - second.cx, first.cy - second.cy)
    small, large = sorted((first.radius, second.radius))
    return apart > 1.5 * large and small > 0.9 * large


def _find(level: UInt8[np.ndarray, "H W"], left: int, top: int) -> ImageCircle | None:
    """The image circle of a part of a picture whose upper left pixel is (left, top)."""
    height, width = level.shape
    shrink = min(1.0, _COARSE / max(width, height))
    size = max(8, round(width * shrink)), max(8, round(height * shrink))
    small = cv2.resize(level, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    small = cv2.GaussianBlur(small, (0, 0), 1.0)
    black = float(np.percentile(small, 0.5))
    rng = np.random.default_rng(0)
    full, found = level.astype(np.float32), []
    for over in _OVER_BLACK:
        coarse = _vote(_outline(small > black + over), size, rng)
        circle = _refine(full, _scaled(coarse, 1 / shrink), left, top) if coarse else None
        if circle is not None:
            at = _scaled((circle.cx - left, circle.cy - top, circle.radius), shrink)
            if _rim_share(small, at) >= _ENOUGH:
                found.append(circle)
    return max(found, key=lambda circle: circle.support * circle.balance, default=None)


def _scaled(circle: Circle, scale: float) -> Circle:
    cx, cy, radius = circle
    return (cx + 0.5) * scale - 0.5, (cy + 0.5) * scale - 0.5, radius * scale


def _outline(lit: Bool[np.ndarray, "h w"]) -> Points:
    """Pixels on the outer outlines of the lit parts, but for those on the picture's border."""
    height, width = lit.shape
    outlines, _ = cv2.findContours(lit.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    specks = 3e-4 * lit.size
    kept = [line[:, 0] for line in outlines if cv2.contourArea(line) > specks]
    points = np.concatenate(kept) if kept else np.zeros((0, 2))
    inside = (points > 1).all(axis=1) & (points < (width - 2, height - 2)).all(axis=1)
    return points[inside].astype(np.float64)


def _vote(points: Points, size: tuple[int, int], rng: np.random.Generator) -> Circle | None:
    """The circle through three of the points that most others lie on, fitted to those."""
    if len(points) < 12:
        return None
    if len(points) > 1200:
        points = points[rng.choice(len(points), 1200, replace=False)]
    a, b, c = (points[rng.integers(len(points), size=_TRIES)] for _ in range(3))
    # Centres from two perpendicular bisectors: 2 (b - a)·m = b² - a², 2 (c - a)·m = c² - a².
    (px, py), (qx, qy) = (b - a).T, (c - a).T
    determinant = 2 * (px * qy - py * qx)
    determinant = np.where(np.abs(determinant) < 1e-9, np.nan, determinant)
    p2, q2 = px * px + py * py, qx * qx + qy * qy
    m = np.stack([(qy * p2 - py * q2) / determinant, (px * q2 - qx * p2) / determinant], axis=1) + a
    radius = np.hypot(*(m - a).T)
    width, height = size
    fits = (radius > 0.2 * min(size)) & (radius < 0.75 * math.hypot(width, height))
    fits &= (m > 0).all(axis=1) & (m < (width, height)).all(axis=1)
    if not fits.any():
        return None
    m, radius = m[fits], radius[fits]
    tolerance = np.maximum(1.0, 0.01 * radius)[:, None]
    off = np.abs(np.hypot(points[:, 0] - m[:, :1], points[:, 1] - m[:, 1:]) - radius[:, None])
    winner = int((off < tolerance).sum(axis=1).argmax())
    circle = float(m[winner, 0]), float(m[winner, 1]), float(radius[winner])
    on = points[off[winner] < 2 * tolerance[winner]]
    fitted = _fit(on, circle, 1.0)
    # A short arc can be fitted better still by a far larger circle.
    return fitted if 0.8 < fitted[2] / circle[2] < 1.25 else circle


def _fit(points: Points, start: Circle, scale: float) -> Circle:
    """The circle nearest to points by geometric distance; those off by much more than `scale`
    pixels have little say (Cauchy loss)."""

    def residuals(circle: np.ndarray) -> np.ndarray:
        return np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2]

    fitted = least_squares(residuals, start, loss="cauchy", f_scale=scale, x_scale=(1, 1, 1)).x
    return float(fitted[0]), float(fitted[1]), float(fitted[2])


def _rim_share(small: Float32[np.ndarray, "h w"], circle: Circle) -> float:
    """The share of a circle's rim in the picture across which light ends: bright just inside, at
    most 60 % of that just outside. 0 where not all that lies outside is dark, and where brightness
    falls as fast farther inside: that is vignetting, which goes on to the picture's corners.
    """
    cx, cy, radius = circle
    reach = max(2.0, 0.03 * radius)
    angle = np.linspace(0, 2 * math.pi, 360, endpoint=False)
    places = [(radius + step * reach) + 0 * angle for step in (-3, -1, 1)]
    (farther, _), (inner, _), (outer, there) = (_sample(small, cx, cy, r, angle) for r in places)
    v, u = np.mgrid[: small.shape[0], : small.shape[1]]
    distance = np.hypot(u - cx, v - cy)
    outside = small[distance > radius + reach]
    if there.sum() < 18 or len(outside) < 0.002 * small.size:
        return 0.0
    if np.percentile(outside, 75) > 0.5 * np.percentile(small[distance < radius], 75):
        return 0.0
    if np.mean((inner - outer)[there]) < 2 * np.mean((farther - inner)[there]):
        return 0.0
    falls = (inner - outer > 2.0) & (outer < 0.6 * inner)
    return float(falls[there].mean())


def _sample(
    picture: Float32[np.ndarray, "h w"], cx: float, cy: float, radius: np.ndarray, angle: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Bilinear samples at polar places about (cx, cy), and which of them are in the picture."""
    u, v = cx + radius * np.cos(angle), cy + radius * np.sin(angle)
    height, width = picture.shape
    there = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1)
    shape = (-1, 1) if u.ndim == 1 else u.shape
    u, v = u.reshape(shape).astype(np.float32), v.reshape(shape).astype(np.float32)
    sampled = cv2.remap(picture, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return sampled.reshape(there.shape), there


def _refine(
    level: Float32[np.ndarray, "H W"], circle: Circle, left: int, top: int
) -> ImageCircle | None:
    """The circle through the steepest falls of brightness near a coarse one."""
    for share in (0.06, 0.02):
        cx, cy, radius = circle
        reach = max(8.0, share * radius)
        count = int(np.clip(2 * math.pi * radius, 360, 2880))
        angle = np.linspace(0, 2 * math.pi, count, endpoint=False)
        steps = np.arange(-reach, reach + 0.25, 0.5)
        radii = (radius + steps)[None] + 0 * angle[:, None]
        profile, there = _sample(level, cx, cy, radii, angle[:, None])
        there = there[:, : len(steps) // 2 + 8].all(axis=1)  # some pixels of surround are needed
        at = radius + _steepest(profile, steps)
        seen = np.isfinite(at) & there
        if seen.sum() < 24:
            return None
        points = np.stack((cx + at * np.cos(angle), cy + at * np.sin(angle)), axis=1)[seen]
        circle = _fit(points, circle, 0.5)
        if max(abs(circle[0] - cx), abs(circle[1] - cy), abs(circle[2] - radius)) > 2 * reach:
            return None  # points of the scene, or too few to hold a circle
    off = np.hypot(points[:, 0] - circle[0], points[:, 1] - circle[1]) - circle[2]
    on = np.abs(off) < max(2.0, 0.01 * circle[2])
    support = float(on.sum() / max(there.sum(), 1))
    phi = angle[seen][on]
    balance = 1 - math.hypot(float(np.cos(phi).mean()), float(np.sin(phi).mean()))
    if support < _ENOUGH or balance < _BALANCED or on.sum() < 24:
        return None
    return ImageCircle(
        cx=circle[0] + left,
        cy=circle[1] + top,
        radius=circle[2],
        clear=circle[2] - min(_rim_width(profile[seen][on], steps), max(2.0, 0.02 * circle[2])),
        support=support,
        balance=balance,
        residual=1.4826 * float(np.median(np.abs(off[on] - np.median(off[on])))),
        squeeze=_squeeze(angle[seen], off, circle[2]),
    )


def _squeeze(angle: Float[np.ndarray, "n"], off: Float[np.ndarray, "n"], radius: float) -> float:
    """Height over width of the ellipse through places `off` pixels from a circle: to first order
    radius + a + b·cos φ + c·sin φ + e·cos 2φ, whose height over width is 1 - 2e/radius."""
    terms = np.stack([np.ones_like(angle), np.cos(angle), np.sin(angle), np.cos(2 * angle)], axis=1)
    fitted = least_squares(lambda x: terms @ x - off, np.zeros(4), loss="cauchy", f_scale=0.5).x
    return float(1 - 2 * fitted[3] / radius)


def _steepest(
    profile: Float32[np.ndarray, "angles steps"], steps: Float[np.ndarray, "steps"]
) -> Float[np.ndarray, "angles"]:
    """Where brightness falls most steeply along each radius, coming from outside; NaN where it
    does not fall. Between samples by the parabola through three slopes."""
    # Neighbouring radii see the same rim: averaging over them takes noise off.
    smooth = gaussian_filter1d(profile, 2.0, axis=0, mode="wrap")
    slope = -gaussian_filter1d(smooth, 2.0, axis=1, order=1, mode="nearest")
    surround = profile[:, -len(steps) // 5 :]
    noise = _SLOPE_NOISE * float(np.median(np.abs(np.diff(surround, axis=0))))
    middle = slope[:, 1:-1]
    peak = (middle >= slope[:, :-2]) & (middle > slope[:, 2:])
    # The first fall from outside that is not small beside the steepest: what is steeper farther
    # in is the scene.
    peak &= middle > np.maximum(0.4 * middle.max(axis=1, keepdims=True), max(0.15, 5 * noise))
    last = peak.shape[1] - 1 - peak[:, ::-1].argmax(axis=1)
    rows = np.arange(len(slope))
    before, here, after = (slope[rows, last + k] for k in range(3))
    curvature = before - 2 * here + after
    shift = 0.5 * (before - after) / np.where(curvature < 0, curvature, -np.inf)
    return np.where(peak.any(axis=1), steps[last + 1] + shift * (steps[1] - steps[0]), np.nan)


def _rim_width(
    profile: Float32[np.ndarray, "angles steps"], steps: Float[np.ndarray, "steps"]
) -> float:
    """Pixels inside the rim that it darkens: to 80 % of the brightness farther in, on the median
    radius."""
    typical = np.median(profile, axis=0)
    black, full = float(typical[-len(steps) // 5 :].min()), float(typical[: len(steps) // 3].max())
    darkened = typical[steps <= 0] < black + 0.8 * (full - black)
    return 0.5 + float(darkened.sum()) * float(steps[1] - steps[0])
