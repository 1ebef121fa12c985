"""The verb that people import: `Stitcher.geometric(rig, size)(images)`, and with a trained model
`Stitcher.load(checkpoint)(images)`, is a panorama.

Without refinement the second shot of a rig is much faster than the first: shot_stitching.py keeps
what its cameras decide. Refined rotations are those of one shot, and so is what they decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
from jaxtyping import Bool, UInt8

from spidereye.checkpoint import Weights, read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.errors import SpiderEyeError
from spidereye.model import SpiderEyeModel
from spidereye.panorama import panorama_rays
from spidereye.randomness import normal
from spidereye.rig import Rig
from spidereye.rotation import angle_between
from spidereye.self_calibration import REFINEMENTS, Calibrated, Refinement, self_calibrate
from spidereye.shot_stitching import Made, ShotStitch, corrected_views, in_bytes
from spidereye.shots import Picture, Shot, read_shot
from spidereye.stitching import BLENDS, Blend
from spidereye.view_sampling import KERNELS, Kernel
from spidereye.weights import find_checkpoint, load_weights

# Pixels of the views that self-calibration compares. Its finest comparison is at 1°, for which it
# shrinks views itself: of 190° to 285 pixels.
_COMPARED = 512


@dataclass(frozen=True)
class Correction:
    """What self-calibration changed of one view.

    gain, offset: RGB values v in [0, 1] were made gain·v + offset.   turned: by so many radians.
    """

    view: str
    gain: tuple[float, ...]
    offset: tuple[float, ...]
    turned: float


@dataclass(frozen=True)
class Panorama:
    """picture: 8-bit RGB, smoothly filled where nothing is seen (a model's own where there is one).
    count: how many views see each pixel.   corrections: of the views, in the rig's order; none
    without refinement.   misalignment: radians by which the views still were off each other, 0
    where that cannot be told.   notes: what was left as it was and why, a line each.
    """

    picture: UInt8[np.ndarray, "H W 3"]
    count: UInt8[np.ndarray, "H W"]
    corrections: tuple[Correction, ...] = ()
    misalignment: float = 0.0
    notes: tuple[str, ...] = ()

    @property
    def seen(self) -> Bool[np.ndarray, "H W"]:
        """Where any view sees anything; elsewhere the picture is filled."""
        return self.count > 0


class Stitcher:
    """Makes panoramas of one rig's views, with a model or by geometry alone.

    `origin` says in words which weights it uses.
    """

    def __init__(
        self,
        rig: Rig,
        size: tuple[int, int],
        model: SpiderEyeModel | None = None,
        config: Config | None = None,
        origin: str = "geometric stitch",
        device: str = "cpu",
        *,
        refine: Sequence[str] = (),
        reference_view: str | None = None,
        blend: str = "feather",
        kernel: str = "lanczos",
    ):
        """See `geometric` and `load`."""
        self.rig, self.size, self.origin = rig, size, origin
        self.device = torch.device(device)
        self.config = config or Config()
        self.model = model.eval().to(self.device) if model is not None else None
        for name, values, choices in (
            ("refine", refine, REFINEMENTS),
            ("blend", [blend], BLENDS),
            ("kernel", [kernel], KERNELS),
        ):
            for value in values:
                if value not in choices:
                    raise SpiderEyeError(f"{name} takes {', '.join(choices)}; got {value!r}")
        self.refine = tuple(cast(Refinement, what) for what in refine)
        self.reference_view = reference_view
        self.stitch = ShotStitch(size, cast(Kernel, kernel), cast(Blend, blend), self.device)
        self._check()

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        weights: Weights = "ema",
        device: str = "cpu",
        runs_dir: str = "runs",
        *,
        refine: Sequence[str] = (),
        reference_view: str | None = None,
    ) -> "Stitcher":
        """A stitcher with the model, rig and sizes of a checkpoint of ours.

        checkpoint: a folder, `run_name`, `run_name@best`, `run_name@last`, or a Hugging Face id.
        refine: ("gain",) makes the views' colours agree before they are encoded.
        reference_view: as for `geometric`.
        Raises SpiderEyeError where there is none, or where it is not one of ours.
        """
        found = find_checkpoint(str(checkpoint), runs_dir)
        if not found.is_ours:
            raise SpiderEyeError(
                f"{found.path} carries no configuration: stitching needs a checkpoint folder of "
                "`spidereye train` (start one from this file with ssdd.checkpoint=…)"
            )
        config = config_from_dict(read_config(found.path), [])
        model = SpiderEyeModel(config.model())
        origin = load_weights(model, found, weights)
        # As its file describes it: pictures come at the calibration's size, crops in one file.
        rig = config.rig_of_file() or config.rig()
        return cls(
            rig, config.panorama_size, model, config, origin, device,
            refine=refine, reference_view=reference_view,
        )  # fmt: skip

    @classmethod
    def geometric(
        cls,
        rig: Rig,
        size: tuple[int, int],
        *,
        refine: Sequence[str] = (),
        reference_view: str | None = None,
        blend: str = "feather",
        kernel: str = "lanczos",
        device: str = "cpu",
    ) -> "Stitcher":
        """A stitcher without a model.

        size: (W, H) of the panorama in pixels, W = 2H.   refine: what the overlaps of each shot
        correct, of "gain" (colours: gain and offset per view and channel) and "rotation".
        reference_view: name of the view whose exposure and pose are the panorama's; None: the mean
        of all.   blend: feather, multiband or none (every pixel from one view).
        kernel: lanczos, bicubic or bilinear.
        Raises SpiderEyeError for other values, and for a reference_view without refine.
        """
        return cls(
            rig, size, device=device,
            refine=refine, reference_view=reference_view, blend=blend, kernel=kernel,
        )  # fmt: skip

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[Picture],
        rig: Rig | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Panorama:
        """The panorama of one picture per view, in the rig's order.

        images: paths, PIL images or arrays [h, w, 3] uint8 of any size and the rig's shape, one per
        file of the rig.   rig: another than the stitcher's own.   steps: of the sampler; None: as
        configured.   seed: of its noise.
        Raises SpiderEyeError for a wrong number or shape of pictures.
        """
        rig = rig or self.rig
        reference = self._reference(rig)
        shot = read_shot(images, rig, self.config.dataset.im_size if self.model else None)
        found = self._calibrated(shot, reference)
        if self.model is not None:
            picture, count = self._decoded(self.model, shot, found, steps, seed)
        else:
            picture, count = self.stitch(shot, rig, found)
        if found is None:
            return Panorama(picture, count)
        return Panorama(
            picture, count, _corrections(shot.rig, found), found.misalignment, tuple(found.notes)
        )

    def _check(self) -> None:
        if self.model is not None and "rotation" in self.refine:
            raise SpiderEyeError(
                "refine=rotation goes with the geometric stitch only: the model takes no cameras, "
                "so refined poses would change nothing; leave it at refine=gain"
            )
        if self.reference_view is not None and not self.refine:
            raise SpiderEyeError(
                f"reference_view={self.reference_view} goes with refine: without it every view "
                "stays as it is"
            )
        self._reference(self.rig)

    def _reference(self, rig: Rig) -> int | None:
        if self.reference_view is None:
            return None
        if self.reference_view not in rig.names:
            raise SpiderEyeError(
                f"reference_view={self.reference_view} is no view of this rig, which has "
                f"{', '.join(rig.names)}"
            )
        return rig.names.index(self.reference_view)

    def _calibrated(self, shot: Shot, reference: int | None) -> Calibrated | None:
        if not self.refine:
            return None
        small = shot.shrunk(_COMPARED)
        return self_calibrate(
            small.views, small.rig.cameras, self.refine, reference, shot.rig.sphere_radius
        )

    def _decoded(
        self,
        model: SpiderEyeModel,
        shot: Shot,
        found: Calibrated | None,
        steps: int | None,
        seed: int,
    ) -> Made:
        """The model's panorama."""
        width, height = self.size
        views = torch.stack(corrected_views(shot, found), dim=1).clamp(-1, 1).to(self.device)
        sampler = self.config.ssdd.fm_sampler
        noise = normal(seed, "stitching noise", [(0,)], (3, height, width)).to(self.device)
        made = model.decode(model.encode(views), noise, steps or sampler.steps, sampler.t_pow_shift)
        rays = panorama_rays(height, width)
        sees = [camera.project(rays, shot.rig.sphere_radius)[1] for camera in shot.rig.cameras]
        return in_bytes(made), torch.stack(sees).sum(0).to(torch.uint8).numpy()


def _corrections(rig: Rig, found: Calibrated) -> tuple[Correction, ...]:
    return tuple(
        Correction(
            camera.name,
            tuple(found.gain[number].tolist()),
            tuple(found.offset[number].tolist()),
            float(angle_between(camera.rotation, found.cameras[number].rotation)),
        )
        for number, camera in enumerate(rig.cameras)
    )
