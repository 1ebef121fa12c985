"""A camera: a lens with a pose, and which part of its picture is picture.

Its tensors carry one batch shape [*b], usually [] (a rig) or [B] (one camera per sample of a
batch); N views are a tuple of N cameras, so that their lenses and sizes may differ.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.lenses import Lens

MaskMode = Literal["inscribed", "diagonal", "none"]

_TOLERANCE = 1e-3  # of RᵀR: single precision has it, and what people type in


@dataclass(frozen=True)
class Crop:
    """Which part of which picture file a view is, for cameras that write several into one.

    file: number of the file among those of a shot, from 0.   left, top, width, height: in pixels
    of a file that is file_width x file_height pixels large (its own size may be another).
    """

    file: int
    left: int
    top: int
    width: int
    height: int
    file_width: int
    file_height: int


@dataclass(frozen=True, eq=False)  # tensors have no one answer to whether they are equal
class Camera:
    """One view: a lens, where it stands and which part of its picture is picture.

    Lists and arrays become tensors. Values are for `check_pose`, which rigs call: here they may be
    on their way through a program that is compiled.
    rotation: camera to world.   position: metres in the world, the panorama's centre at 0.
    circle: radius in pixels of the image circle about the principal point, ∞ for none.
    visible: False where something of the rig hides the scene (car body, tripod), or None.
    crop: None where the view is a file of its own.
    """

    name: str
    lens: Lens
    rotation: Float[Tensor, "*b 3 3"]
    position: Float[Tensor, "*b 3"]
    circle: float = math.inf
    visible: Bool[Tensor, "h w"] | None = None
    crop: Crop | None = None

    def __post_init__(self) -> None:
        for name, shape in (("rotation", (3, 3)), ("position", (3,))):
            given = getattr(self, name)
            if not isinstance(given, Tensor):
                given = torch.as_tensor(np.asarray(given, dtype=np.float64))
                object.__setattr__(self, name, given)
            if given.shape[-len(shape) :] != shape:
                got = f"{list(shape)}, got {list(given.shape)}"
                raise SpiderEyeError(f"the {name} of view {self.name} is of shape {got}")
        if self.visible is None:
            return
        visible = torch.as_tensor(self.visible, dtype=torch.bool)
        object.__setattr__(self, "visible", visible)
        if tuple(visible.shape) != (self.lens.height, self.lens.width):
            raise SpiderEyeError(
                f"the mask of view {self.name} is {'x'.join(map(str, visible.shape[::-1]))} "
                f"pixels, its lens {self.lens.width}x{self.lens.height}"
            )

    def check_pose(self) -> None:
        """SpiderEyeError for a rotation that is none, and for a place that is nowhere."""
        matrix = self.rotation.detach().double()
        off = (matrix.mT @ matrix - torch.eye(3).to(matrix)).abs().max()
        if not float(off) <= _TOLERANCE or not bool((torch.linalg.det(matrix) > 0).all()):
            raise SpiderEyeError(
                f"the rotation of view {self.name} is none: expected a matrix R of camera to world "
                f"with RᵀR = 1 and determinant 1, got {matrix.tolist()}"
            )
        if not bool(self.position.isfinite().all()):
            got = self.position.tolist()
            raise SpiderEyeError(f"the position of view {self.name} is in metres, got {got}")

    @cached_property
    def hidden_distance(self) -> Float[Tensor, "h w"] | None:
        """Pixels from every pixel to the nearest that is not `visible`; None where all are."""
        if self.visible is None or bool(self.visible.all()):
            return None
        from scipy.ndimage import distance_transform_edt  # few rigs need it, every start would wait

        distance = distance_transform_edt(self.visible.cpu().numpy())
        assert distance is not None  # None is for distances written into an array of the caller's
        return torch.from_numpy(distance).to(self.rotation)

    @property
    def axis(self) -> Float[Tensor, "*b 3"]:
        """Unit world direction that the camera looks along."""
        return self.rotation[..., 2]

    def margin(self, pixels: Float[Tensor, "*s 2"]) -> Float[Tensor, "*s"]:
        """How far inside the picture and its image circle a pixel lies: 1 at the centre of the
        largest circle, 0 on the border, negative outside. `visible` has no say in it."""
        u, v = pixels.unbind(-1)
        half_width, half_height = self.lens.width / 2, self.lens.height / 2
        middle_u, middle_v = (self.lens.width - 1) / 2, (self.lens.height - 1) / 2
        inside = torch.minimum(
            half_width - (u - middle_u).abs(), half_height - (v - middle_v).abs()
        )
        if math.isfinite(self.circle):
            extra = (1,) * (u.ndim - self.rotation.ndim + 2)
            cx, cy = (c.reshape(c.shape + extra) for c in self.lens.centre.unbind(-1))
            inside = torch.minimum(inside, self.circle - torch.hypot(u - cx, v - cy))
        return inside / min(half_width, half_height)

    def project(
        self, rays: Float[Tensor, "*s 3"], sphere_radius: float = math.inf
    ) -> tuple[Float[Tensor, "*s 2"], Bool[Tensor, "*s"]]:
        """Pixels at which the camera sees world directions, and where it does.

        rays are unit directions from the panorama's centre; they meet the scene on a sphere of
        `sphere_radius` metres (∞: the camera's position does not matter).
        """
        extra = (1,) * (rays.ndim - self.position.ndim)
        if math.isfinite(sphere_radius):
            position = self.position.reshape(*self.position.shape[:-1], *extra, 3)
            rays = sphere_radius * rays - position
        if self.rotation.ndim == 2:
            rays = rays @ self.rotation  # one product of matrices, several times as fast
        else:
            world_to_camera = self.rotation.reshape(*self.rotation.shape[:-2], *extra, 3, 3)
            rays = (rays[..., None, :] @ world_to_camera)[..., 0, :]
        pixels, valid = self.lens.project(rays)
        return pixels, valid & self.is_picture(pixels)

    def unproject(
        self, pixels: Float[Tensor, "*s 2"]
    ) -> tuple[Float[Tensor, "*s 3"], Bool[Tensor, "*s"]]:
        """World directions of pixels, and which pixels are picture."""
        rays, valid = self.lens.unproject(pixels)
        extra = (1,) * (rays.ndim - self.position.ndim)
        camera_to_world = self.rotation.reshape(*self.rotation.shape[:-2], *extra, 3, 3)
        rays = (camera_to_world @ rays[..., None])[..., 0]
        return rays, valid & self.is_picture(pixels)

    def pixel_grid(
        self, oversample: int = 1, rows: slice = slice(None), columns: slice = slice(None)
    ) -> Float[Tensor, "h w 2"]:
        """Pixel centres (u, v), or the centres of oversample² equal parts of every pixel; of some
        rows and columns alone where they are given."""
        like = self.rotation
        u = torch.arange(self.lens.width * oversample, device=like.device, dtype=like.dtype)
        v = torch.arange(self.lens.height * oversample, device=like.device, dtype=like.dtype)
        u, v = ((axis + 0.5) / oversample - 0.5 for axis in (u, v))
        v, u = torch.meshgrid(v[rows], u[columns], indexing="ij")
        return torch.stack((u, v), dim=-1)

    def mask(self) -> Bool[Tensor, "*b h w"]:
        """Which pixels are picture: inside the image circle, the lens's valid domain, visible."""
        return self._mask

    @cached_property
    def _mask(self) -> Bool[Tensor, "*b h w"]:
        grid = self.pixel_grid()
        grid = grid.expand(*self.rotation.shape[:-2], *grid.shape)
        return self.lens.unproject(grid)[1] & self.is_picture(grid)

    def to(self, device: torch.device | None = None, dtype: torch.dtype | None = None) -> "Camera":
        """The same camera on another device or in another floating type."""
        return replace(
            self,
            lens=self.lens.to(device, dtype),
            rotation=self.rotation.to(device=device, dtype=dtype),
            position=self.position.to(device=device, dtype=dtype),
            visible=None if self.visible is None else self.visible.to(device),
        )

    def expanded(self, *batch: int) -> "Camera":
        """A camera of batch shape [] repeated to [*batch]."""
        return replace(
            self,
            lens=self.lens.expanded(*batch),
            rotation=self.rotation.expand(*batch, 3, 3),
            position=self.position.expand(*batch, 3),
        )

    def resized(self, width: int, height: int) -> "Camera":
        """The camera of the same picture at another size.

        Raises SpiderEyeError where the aspect ratio changes by more than rounding: the image
        circle would become an ellipse; take `square` first.
        """
        scale = width / self.lens.width
        if abs(height - self.lens.height * scale) > 1:
            raise SpiderEyeError(
                f"view {self.name} is {self.lens.width}x{self.lens.height} pixels by its "
                f"calibration and cannot be {width}x{height}: the aspect ratio differs"
            )
        visible = self.visible
        if visible is not None and (width, height) != (self.lens.width, self.lens.height):
            # A pixel that is hidden in part is hidden: some of its colour would be the car's.
            share = F.interpolate(visible[None, None].float(), size=(height, width), mode="area")
            visible = share[0, 0] > 1 - 1e-6
        lens = self.lens.resized(width, height)
        return replace(self, lens=lens, circle=self.circle * scale, visible=visible)

    def smaller(self, scale: float, least: int = 1) -> tuple[int, int]:
        """(width, height) that `resized` takes, about scale times its own, neither side below
        `least` pixels unless it is already."""
        width, height = self.lens.width, self.lens.height
        scale = min(1.0, max(scale, least / min(width, height)))
        across = max(1, round(width * scale))
        # By the rounded width: `resized` compares the height with what belongs to it.
        return across, max(1, round(height * across / width))

    def window(self, left: int, top: int, width: int, height: int) -> "Camera":
        """The camera of a part of the picture; where it reaches over the picture's edges nothing
        is visible."""
        inside = left >= 0 and top >= 0
        inside = inside and left + width <= self.lens.width and top + height <= self.lens.height
        visible = self.visible
        if visible is None and not inside:
            visible = torch.ones(
                self.lens.height, self.lens.width, dtype=torch.bool, device=self.rotation.device
            )
        if visible is not None:
            right, bottom = left + width - self.lens.width, top + height - self.lens.height
            visible = F.pad(visible, (-left, right, -top, bottom), value=False)
        lens = self.lens.window(left, top, width, height)
        return replace(self, lens=lens, visible=visible, crop=None)

    def square_window(self) -> tuple[int, int, int, int]:
        """(left, top, side, side): the square about the principal point that holds the image
        circle, or the whole picture where there is no circle inside it."""
        width, height = self.lens.width, self.lens.height
        cx, cy = self.lens.centre.reshape(-1, 2)[0].tolist()
        reach = max(abs(cx + 0.5), abs(width - 0.5 - cx), abs(cy + 0.5), abs(height - 0.5 - cy))
        half = math.ceil(min(self.circle, reach) - 1e-9)
        return round(cx + 0.5) - half, round(cy + 0.5) - half, 2 * half, 2 * half

    def square(self) -> "Camera":
        """The camera of its `square_window`, a picture of its own and no crop any more."""
        window = self.square_window()
        if window == (0, 0, self.lens.width, self.lens.height):
            return replace(self, crop=None)
        return self.window(*window)

    def in_file(self, width: int, height: int) -> tuple["Camera", tuple[int, int, int, int]]:
        """The camera for a picture file of this size, and (left, top, width, height) of the part
        of the file that is its picture.

        Raises SpiderEyeError where the file has another aspect ratio than the calibration's.
        """
        crop = self.crop
        if crop is None:
            return self.resized(width, height), (0, 0, width, height)
        whole = self.resized(crop.width, crop.height)
        whole = whole.window(-crop.left, -crop.top, crop.file_width, crop.file_height)
        whole = whole.resized(width, height)
        across, down = width / crop.file_width, height / crop.file_height
        left, top = round(crop.left * across), round(crop.top * down)
        right = round((crop.left + crop.width) * across)
        bottom = round((crop.top + crop.height) * down)
        part = (left, top, right - left, bottom - top)
        return whole.window(*part), part

    def is_picture(self, pixels: Float[Tensor, "*s 2"]) -> Bool[Tensor, "*s"]:
        """Which pixels lie inside the picture and its image circle and are not hidden. Whether the
        lens has rays there is for `unproject` to say."""
        # A hair's breadth, so that rounding does not drop the rim itself.
        inside = self.margin(pixels) >= -1e-6
        if self.visible is None:
            return inside
        u, v = pixels.detach().round().long().unbind(-1)
        u, v = u.clamp(0, self.lens.width - 1), v.clamp(0, self.lens.height - 1)
        return inside & self.visible[v, u]


def circle_of(mask_mode: str, width: int, height: int, key: str = "mask_mode") -> float:
    """Radius in pixels of the image circle: inscribed in the picture, through its corners
    (diagonal), or ∞ (none). Raises SpiderEyeError, naming the key and its choices, for anything
    else."""
    choices: Sequence[MaskMode] = ("inscribed", "diagonal", "none")
    if mask_mode not in choices:
        raise SpiderEyeError(f"{key} must be one of {', '.join(choices)}, got {mask_mode!r}")
    if mask_mode == "inscribed":
        return min(width, height) / 2
    return math.hypot(width, height) / 2 if mask_mode == "diagonal" else math.inf
