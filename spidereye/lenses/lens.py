"""What every lens is: pixel → unit ray and ray → pixel, each with a validity mask.

This module owns the image convention: u right, v down, pixel centres at integer coordinates,
default principal point ((w-1)/2, (h-1)/2), so a picture spans [-0.5, w-0.5] x [-0.5, h-0.5] and
its inscribed circle has radius w/2. Camera axes as in rotation.py: x right, y up, z forward.

A lens is a distortion, ray → point of a plane, that its class defines in two methods, and a 2x2
matrix with a principal point that takes the plane to pixels. The plane's second axis points down,
as in every published calibration; `project` and `unproject` are the one place that flips it.
"""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.errors import SpiderEyeError

Component = Float[Tensor, "*s"]
Mask = Bool[Tensor, "*s"]


@dataclass(frozen=True)
class Lens(ABC):
    """A lens whose parameters are tensors of one batch shape [*b]; rays and pixels are
    [*b, ..., 3] and [*b, ..., 2].

    Both directions are differentiable and free of NaN for any input, infinities and NaN included;
    where the mask is False the value is finite and means nothing. A lens may keep what it derives
    from its parameters: make a new one instead of writing into its tensors.

    matrix: plane to pixels, [[fx, skew], [0, fy]] in most models.   centre: principal point (cx,
    cy) in pixels.   width, height: pixels of the picture that these parameters hold for.
    """

    matrix: Float[Tensor, "*b 2 2"]
    centre: Float[Tensor, "*b 2"]
    width: int
    height: int

    model: ClassVar[str]  # its name in rig files
    # Names of the fields that a class adds, and how many numbers each is: 0 a single one [*b], n a
    # list [*b, n], None a list of any length.
    parameters: ClassVar[dict[str, int | None]]

    def checked(self) -> "Lens":
        """The lens itself. Raises SpiderEyeError, naming the parameter, where one cannot be."""
        return self

    @abstractmethod
    def to_plane(
        self, x: Component, y: Component, z: Component
    ) -> tuple[Component, Component, Mask]:
        """The point of the plane of finite unit rays (x right, y DOWN, z forward), and its mask."""

    @abstractmethod
    def from_plane(
        self, x: Component, y: Component
    ) -> tuple[Component, Component, Component, Mask]:
        """Rays (x right, y DOWN, z forward) of finite points of the plane, and their mask.

        Of any length but 0; `unproject` makes them unit."""

    @property
    def f(self) -> Float[Tensor, "*b"]:
        """Focal length along u in pixels."""
        return self.matrix[..., 0, 0]

    def project(
        self, rays: Float[Tensor, "*s 3"]
    ) -> tuple[Float[Tensor, "*s 2"], Bool[Tensor, "*s"]]:
        """Pixels of camera rays of any positive length. The mask is where the model can see."""
        # Side by side, not along the last axis: reductions over an axis of 3 are slow.
        x, y, z = rays.unbind(-1)
        longest = torch.maximum(torch.maximum(x.abs(), y.abs()), z.abs()).detach()
        usable = (longest >= torch.finfo(rays.dtype).tiny) & (longest < math.inf)
        # By the longest side first: squares of 1e-30 and 1e30 do not fit into float32.
        longest = torch.where(usable, longest, 1)
        x, y = torch.where(usable, x, 0) / longest, torch.where(usable, y, 0) / longest
        z = torch.where(usable, z, 1) / longest
        length = (x * x + y * y + z * z).sqrt()
        mx, my, valid = self.to_plane(x / length, -y / length, z / length)
        (a, b), (c, d) = _lifted_rows(self.matrix, mx)
        cx, cy = (lift(part, mx) for part in self.centre.unbind(-1))
        return torch.stack((a * mx + b * my + cx, c * mx + d * my + cy), dim=-1), valid & usable

    def unproject(
        self, pixels: Float[Tensor, "*s 2"]
    ) -> tuple[Float[Tensor, "*s 3"], Bool[Tensor, "*s"]]:
        """Unit camera rays of pixels. The mask is where the model has one."""
        u, v = pixels.unbind(-1)
        # Farther out than any picture, squares and fourth powers would overflow to inf - inf.
        limit = 1e8 if pixels.dtype == torch.float64 else 1e5
        usable = (u.abs() < limit) & (v.abs() < limit)
        cx, cy = (lift(part, u) for part in self.centre.unbind(-1))
        du, dv = torch.where(usable, u - cx, 0), torch.where(usable, v - cy, 0)
        (a, b), (c, d) = _lifted_rows(_inverse(self.matrix), u)
        x, y, z, valid = self.from_plane(a * du + b * dv, c * du + d * dv)
        length = (x * x + y * y + z * z).clamp_min(1e-24).sqrt()
        return torch.stack((x / length, -y / length, z / length), dim=-1), valid & usable

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens for the same picture at another size; exact for pixel centres at integers,
        also where the aspect ratio changes."""
        scale = self.matrix.new_tensor([width / self.width, height / self.height])
        return replace(
            self,
            matrix=self.matrix * scale[:, None],
            centre=(self.centre + 0.5) * scale - 0.5,
            width=width,
            height=height,
        )

    def window(self, left: int, top: int, width: int, height: int) -> "Lens":
        """The lens of a part of the picture, in pixels; it may reach over the picture's edges."""
        return replace(
            self,
            centre=self.centre - self.centre.new_tensor([left, top]),
            width=width,
            height=height,
        )

    def zoomed(self, factor: float | Float[Tensor, "*b"]) -> "Lens":
        """The same distortion with all focal lengths times `factor`, the same size of picture."""
        factor = torch.as_tensor(factor, dtype=self.matrix.dtype, device=self.matrix.device)
        return replace(self, matrix=self.matrix * factor[..., None, None])

    def expanded(self, *batch: int) -> "Lens":
        """A lens of batch shape [] with every parameter repeated to [*batch]."""
        return self._with_parameters(lambda p: p.expand(*batch, *p.shape))

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "Lens":
        """The same lens with its parameters on another device or in another floating type."""
        return self._with_parameters(lambda p: p.to(device=device, dtype=dtype))

    def _with_parameters(self, change: Any) -> "Lens":
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        changed = {n: change(value) for n, value in values.items() if isinstance(value, Tensor)}
        return replace(self, **changed)


def lift(parameter: Tensor, like: Tensor) -> Tensor:
    """[*b] → [*b, 1, …, 1] as many axes as `like`: parameters broadcast over pixels."""
    return parameter.reshape(parameter.shape + (1,) * (like.ndim - parameter.ndim))


def radius_of(x: Component, y: Component) -> Component:
    """√(x² + y²), at least 1e-15: quotients by it and its gradient stay finite on the axis."""
    return (x * x + y * y).clamp_min(1e-30).sqrt()


def _inverse(matrix: Float[Tensor, "*b 2 2"]) -> Float[Tensor, "*b 2 2"]:
    (a, b), (c, d) = (row.unbind(-1) for row in matrix.unbind(-2))
    rows = torch.stack((d, -b), dim=-1), torch.stack((-c, a), dim=-1)
    return torch.stack(rows, dim=-2) / (a * d - b * c)[..., None, None]


def _lifted_rows(matrix: Float[Tensor, "*b 2 2"], like: Tensor) -> list[list[Tensor]]:
    return [[lift(entry, like) for entry in row.unbind(-1)] for row in matrix.unbind(-2)]


def plane_of(
    width: int,
    height: int | None = None,
    *,
    fx: float | Tensor,
    fy: float | Tensor | None = None,
    cx: float | None = None,
    cy: float | None = None,
    skew: float = 0.0,
) -> dict[str, Any]:
    """The fields that all lenses share, from numbers, in float64.

    height None: square.   fy None: fx.   cx, cy None: the picture's centre.   skew: of the matrix,
    in pixels.   fx may be a tensor [*b]. Raises SpiderEyeError for sizes or focal lengths ≤ 0.
    """
    height = width if height is None else height
    across = torch.as_tensor(fx, dtype=torch.float64)
    down = across if fy is None else torch.as_tensor(fy, dtype=torch.float64)
    if width < 1 or height < 1:
        raise SpiderEyeError(f"a picture has a positive size in pixels, got {width}x{height}")
    if not (bool((across > 0).all()) and bool((down > 0).all())):
        given = f"fx {across.tolist()}" + ("" if down is across else f" and fy {down.tolist()}")
        raise SpiderEyeError(f"a lens needs f > 0 in pixels, got {given}")
    across, down = torch.broadcast_tensors(across, down)
    zero = torch.zeros_like(across)
    rows = torch.stack((across, zero + skew), dim=-1), torch.stack((zero, down), dim=-1)
    cx = (width - 1) / 2 if cx is None else cx
    cy = (height - 1) / 2 if cy is None else cy
    centre = torch.stack((zero + cx, zero + cy), dim=-1)
    return {
        "matrix": torch.stack(rows, dim=-2),
        "centre": centre,
        "width": width,
        "height": height,
    }
