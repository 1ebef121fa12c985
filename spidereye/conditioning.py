"""What the networks are told beside the views: where the views look, and what geometry makes of
them.

A shot is self-calibrated first; all else follows from the views and cameras that gives. Everything
here is tensors, made once for a shot and the same in training, evaluation and use.
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Float64
from torch import Tensor

from spidereye.camera import Camera
from spidereye.conditions import RESIDUAL, SHOT, WARPED, ConditioningConfig, Conditions
from spidereye.latent_grid import LatentGrid, latent_grid
from spidereye.recent import Recent
from spidereye.recolouring import CLIPPED, recoloured_views
from spidereye.rig import Rig, fingerprint
from spidereye.rotation import angle_between
from spidereye.rotation_blur import rotation_blur, unknown_rotation
from spidereye.self_calibration import Calibrated, self_calibrate
from spidereye.sphere_sweep import SweepPlan, Swept
from spidereye.super_resolution import SuperResolution
from spidereye.unseen import Expectation

_BLACK = -0.97  # in [-1, 1]: a view that is nowhere brighter is none
_OFF_STEP = math.radians(0.5)  # of misalignment: finer differences decide nothing of their own
_MOST_KEPT = 8  # a grid, a sweep, an A and an expectation for each of two rigs
_LEAST_SHARE = 1e-3  # of a pixel: views that count less are no second opinion


@dataclass(frozen=True)
class Conditioner:
    """Makes the conditions of shots, for panoramas of W x H pixels.

    kept: what the cameras used last decide, so that a rig's is made once.
    """

    config: ConditioningConfig
    height: int
    width: int
    kept: Recent = field(default_factory=lambda: Recent(_MOST_KEPT))

    def calibrated(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        cameras: Sequence[Camera],
        sphere_radius: float = math.inf,
    ) -> Calibrated | None:
        """What self-calibration finds of one shot; None where it is not asked."""
        if not self.config.refine:
            return None
        return self_calibrate(views, cameras, self.config.refine, None, sphere_radius)

    @torch.no_grad()
    def __call__(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        cameras: Sequence[Camera],
        found: Calibrated | None,
        sphere_radius: float = math.inf,
        fine: tuple[Sequence[Float[Tensor, "1 3 _ _"]], Sequence[Camera]] | None = None,
    ) -> Conditions:
        """The conditions of one shot, on the CPU.

        views: in [-1, 1], in the order of the cameras, of batch shape []; one that is black is
        taken for missing.   found: as `calibrated` gives it.
        sphere_radius: of the rig; a finite one stands for the first of `radii`.
        fine: the same views larger, and their cameras, for what geometry makes of them; None: as
        large as the networks take them.
        """
        every = range(len(views))
        present = [number for number in every if float(views[number].amax()) >= _BLACK] or every
        blank = () if found is None else found.blank
        large = (views, cameras) if fine is None else fine
        views, cameras = _corrected(views, cameras, found)
        grid = None
        if self.config.grid:
            looking = [number for number in present if number not in blank] or present
            key = f"grid {fingerprint(Rig(cameras, sphere_radius))} {looking}"
            grid = self.kept.find(key, lambda: self._grid(cameras, looking, sphere_radius))
        stacked = _together([self._for_encoder(view) for view in views])
        if not self.config.warp and self.config.prior == "noise":
            return Conditions(stacked, grid)
        views, cameras = _corrected(*large, found)
        some = tuple(cameras[number] for number in present)
        swept, made = self._panoramas(
            [views[number] for number in present],
            [_telling(large[0][number], number in blank) for number in present],
            some,
            sphere_radius,
            0.0 if found is None else found.misalignment,
            tuple(place for place, number in enumerate(present) if number in blank),
        )
        seen = (swept.count > 0).to(made)
        warp = shot = None
        if self.config.warp:
            turns = _turns(large[1], found)[list(present)]
            warp = _channels(swept, made, seen, unknown_rotation(turns))
            shot = _changes(turns, found, present)
        if self.config.prior == "noise":
            return Conditions(stacked, grid, warp, shot=shot)
        spread = self.config.sigma * seen + (1 - seen)
        return Conditions(stacked, grid, warp, self._expected(made, swept.count > 0), spread, shot)

    def _for_encoder(self, view: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "1 3 _ _"]:
        """Its attention is among all cells of a view; what a large view has of detail, the decoder
        gets from what geometry makes."""
        side = self.config.encoded
        if side is None or view.shape[-1] <= side:
            return view
        return F.interpolate(view, size=(side, side), mode="bilinear", antialias=True)

    def _grid(self, cameras: Sequence[Camera], looking: Sequence[int], radius: float) -> LatentGrid:
        factor = self.config.factor
        radii = self._radii(radius) if self.config.sweep else self._radii(radius)[:1]
        grid = latent_grid(cameras, self.height // factor, self.width // factor, radii)
        here = torch.tensor([number in looking for number in range(len(cameras))])
        return grid._replace(seen=grid.seen & here[:, None, None, None])

    def _panoramas(
        self,
        views: Sequence[Float[Tensor, "1 3 _ _"]],
        told: Sequence[Bool[Tensor, "1 3 _ _"]],
        cameras: tuple[Camera, ...],
        radius: float,
        off: float,
        blank: tuple[int, ...],
    ) -> tuple[Swept, Float[Tensor, "1 3 H W"]]:
        """What the views become on spheres, and the panorama on the first that explains them."""
        height, width, radii = self.height, self.width, self._radii(radius)
        rig, off = fingerprint(Rig(cameras, radius)), round(off / _OFF_STEP) * _OFF_STEP
        swept = self.kept.find(
            f"sweep {rig} {off} {blank}",
            lambda: SweepPlan.for_cameras(
                cameras, height, width, radii, misalignment=off, blank=blank
            ),
        )(views, WARPED)
        if not SuperResolution.is_possible(cameras, height, width):
            return swept, swept.panorama
        sharper = self.kept.find(
            f"sharper {rig}", lambda: SuperResolution.for_cameras(cameras, height, width, radii[0])
        )
        return swept, sharper(views, swept.panorama, told)

    def _expected(
        self, made: Float[Tensor, "1 3 H W"], known: Bool[Tensor, "1 1 H W"]
    ) -> Float[Tensor, "1 3 H W"]:
        """The panorama with what is expected where nothing is known, if that is wanted."""
        if not self.config.expected or bool(known.all()):
            return made
        key = f"expected {hashlib.sha256(known.numpy().tobytes()).hexdigest()}"
        return self.kept.find(key, lambda: Expectation.for_mask(known))(made)

    def _radii(self, radius: float) -> tuple[float, ...]:
        first, *others = self.config.radii
        return (radius if math.isfinite(radius) else first, *others)


def _channels(
    swept: Swept,
    made: Float[Tensor, "1 3 H W"],
    seen: Float[Tensor, "1 1 H W"],
    unknown: float,
) -> Float[Tensor, "1 K H W"]:
    """The decoder's further channels, each of a size of about 1 at most. Views and spheres are
    told as differences: what counts is where they differ.

    unknown: radians by which the rig as a whole may be turned. The mean over that is the best guess
    by squared error, and how much of it to take the decoder may learn."""
    different = swept.warped - made[:, None]
    return torch.cat(
        (
            made,
            (swept.planes - made[:, None]).flatten(1, 2) / RESIDUAL,
            swept.apart.flatten(1, 2) / RESIDUAL,
            (different * (swept.share > _LEAST_SHARE)).flatten(1, 2) / RESIDUAL,
            (rotation_blur(made, unknown) - made) / RESIDUAL,
            swept.share.flatten(1, 2),
            seen,
        ),
        dim=1,
    )


def _telling(view: Float[Tensor, "1 3 h w"], blank: bool) -> Bool[Tensor, "1 3 h w"]:
    """The values of a view, as the camera gave it, that are not clipped; of a blank one none."""
    return (view.float().cpu().abs() < 1 - CLIPPED) & torch.tensor(not blank)


def _turns(cameras: Sequence[Camera], found: Calibrated | None) -> Float64[Tensor, " N"]:
    """Radians by which self-calibration turned each view."""
    if found is None:
        return torch.zeros(len(cameras), dtype=torch.float64)
    return torch.stack(
        [
            angle_between(old.rotation.cpu().double(), new.rotation)
            for old, new in zip(cameras, found.cameras, strict=True)
        ]
    )


def _changes(
    turns: Float64[Tensor, " N"], found: Calibrated | None, present: Sequence[int]
) -> Float[Tensor, "1 3"]:
    """The shot's numbers: see SHOT. turns: of the views that are present."""
    if found is None:
        return torch.zeros(1, len(SHOT), dtype=torch.float32)
    turn, gain = (
        turns.square().mean().sqrt(),
        found.gain[list(present)].log().square().mean().sqrt(),
    )
    values = torch.stack((turn, gain, turn.new_tensor(found.misalignment)))
    return (values / turn.new_tensor(SHOT)).float().clamp(max=5.0)[None]


def _corrected(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
    cameras: Sequence[Camera],
    found: Calibrated | None,
) -> tuple[list[Float[Tensor, "1 3 _ _"]], tuple[Camera, ...]]:
    """Views and cameras, of any size, as self-calibration found them."""
    made = [view.float().cpu() for view in views]
    turned = tuple(camera.to(torch.device("cpu"), torch.float64) for camera in cameras)
    if found is None:
        return made, turned
    turned = found.turned(turned)
    return recoloured_views(made, turned, found.gain, found.offset), turned


def _together(
    views: Sequence[Float[Tensor, "1 3 _ _"]],
) -> Float[Tensor, "1 N 3 h w"] | tuple[Float[Tensor, "1 3 _ _"], ...]:
    if len({view.shape for view in views}) == 1:
        return torch.stack(list(views), dim=1)
    return tuple(views)
