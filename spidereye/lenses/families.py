"""Generic lenses for cameras without a calibration: a projection by name, at a stated angle."""

from collections.abc import Mapping, Sequence

from spidereye.errors import SpiderEyeError
from spidereye.lenses import Lens, lens_of, plane_of
from spidereye.lenses.field_of_view import with_half_angle

# Each is exactly one of our models. Radius of the ray at angle θ, in focal lengths:
FAMILIES: Mapping[str, tuple[str, Mapping[str, float | Sequence[float]]]] = {
    "perspective": ("ucm", {"xi": 0.0}),  # tan θ
    "stereographic": ("ucm", {"xi": 1.0}),  # 2·tan(θ/2)
    "equidistant": ("kb4", {"k": [0.0, 0.0, 0.0, 0.0]}),  # θ
    # d₂ = √(x² + y² + (z + 1)²) = 2·cos(θ/2), and sin θ = 2·sin(θ/2)·cos(θ/2).
    "equisolid": ("ds", {"xi": 1.0, "alpha": 1.0}),  # 2·sin(θ/2)
    "orthographic": ("eucm", {"alpha": 1.0, "beta": 1.0}),  # sin θ
}


def family(
    name: str,
    half_angle: float,
    radius: float,
    width: int,
    height: int | None = None,
    cx: float | None = None,
    cy: float | None = None,
) -> Lens:
    """A lens of the named family, float64, batch shape [].

    half_angle: radians from the axis that lie at `radius` pixels from the principal point.
    width, height, cx, cy: as in `plane_of`. Raises SpiderEyeError for an unknown name, an angle
    that the family does not see, and sizes ≤ 0.
    """
    if name not in FAMILIES:
        raise SpiderEyeError(f"unknown lens family {name!r}; known: {', '.join(FAMILIES)}")
    model, parameters = FAMILIES[name]
    unit = lens_of(model, plane_of(width, height, fx=1.0, cx=cx, cy=cy), parameters)
    return with_half_angle(unit, half_angle, radius)
