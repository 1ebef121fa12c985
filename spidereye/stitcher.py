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

from spidereye.checkpoint import Weights
from spidereye.config import Config
from spidereye.errors import SpiderEyeError
from spidereye.rig import Rig
from spidereye.rotation import angle_between
from spidereye.self_calibration import REFINEMENTS, Calibrated, Refinement, self_calibrate
from spidereye.shot_stitching import ModelStitch, ShotStitch
from spidereye.shots import Picture, Shot, files_of, present, read_shot, with_black
from spidereye.stitching import BLENDS, Blend
from spidereye.trained import Trained
from spidereye.view_sampling import KERNELS, Kernel

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
    count: how many views see each pixel; a model's, of those that show anything.
    corrections: of the views there are, in the rig's order; none without refinement.
    misalignment: radians by which the views still were off each other, 0 where that cannot be told.
    notes: which views are missing or black, how little is seen, what was left as it was and why, a
    line each.
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
        trained: Trained | None = None,
        device: str = "cpu",
        *,
        refine: Sequence[str] | None = None,
        reference_view: str | None = None,
        blend: str = "feather",
        kernel: str = "lanczos",
        precision: str = "fp32",
        compile: bool = False,
    ):
        """See `geometric` and `load`."""
        self.rig, self.size = rig, size
        self.origin = "geometric stitch" if trained is None else trained.origin
        self.device = torch.device(device)
        self.config = Config() if trained is None else trained.config
        if refine is None:
            refine = () if trained is None else self.config.ssdd.refine
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
        self.trained = trained
        self.by_model: ModelStitch | None = None
        if trained is not None:
            self.by_model = ModelStitch(
                trained.ready(self.device, precision, compile),
                trained.steps,
                self.config,
                size,
                self.device,
                self.config.conditioner(),
                precision,
            )
        self._check()

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        weights: Weights = "ema",
        device: str = "cpu",
        runs_dir: str = "runs",
        *,
        rig: Rig | None = None,
        refine: Sequence[str] | None = None,
        reference_view: str | None = None,
        precision: str = "fp32",
        compile: bool = False,
    ) -> "Stitcher":
        """A stitcher with the model, rig and sizes of a checkpoint of ours.

        checkpoint: a folder, `run_name`, `run_name@best`, `run_name@last`, a Hugging Face id, or an
        .onnx file of `spidereye export`, which takes the steps that it was exported with.
        rig: in place of the checkpoint's; any where its fusion is spherical.
        refine: what the overlaps of each shot correct before the networks see it; None: what they
        were trained with (ssdd.refine).   reference_view: as for `geometric`.
        precision: fp32, or bf16 where the device computes in it.   compile: let torch.compile make
        code of the networks: the first panorama takes minutes, the others less than without.
        Raises SpiderEyeError where there is none, or where it is not one of ours, for bf16 where
        the device has none, and for precision or compile of an .onnx file.
        """
        trained = Trained.load(checkpoint, weights, runs_dir, device)
        config = trained.config
        trained.check_rig(rig)
        # As its file describes it: pictures come at the calibration's size, crops in one file.
        rig = rig or config.rig_of_file() or config.rig()
        return cls(
            rig, config.panorama_size, trained, device,
            refine=refine, reference_view=reference_view, precision=precision, compile=compile,
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

    @property
    def takes_cameras(self) -> bool:
        """Whether the panorama follows from the cameras: not with networks given views alone."""
        return self.by_model is None or self.by_model.conditioner is not None

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[Picture | None],
        rig: Rig | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Panorama:
        """The panorama of one picture per view, in the rig's order.

        images: paths, PIL images or arrays [h, w, 3] uint8 of any size and the rig's shape, one per
        file of the rig, None for one that is missing.   rig: another than the stitcher's own; for a
        model of any number of views and any lenses where its fusion is spherical.
        steps: of the sampler; None: as configured.   seed: of its noise.
        Raises SpiderEyeError for a wrong number or shape of pictures, where all are missing, and
        for networks that take cameras where these see next to nothing.
        """
        if self.trained is not None:
            self.trained.check_rig(rig)
        rig = rig or self.rig
        self._check_number(rig)
        there, seeing = present(images, rig)
        pairs = zip(rig.cameras, files_of(rig), strict=True)
        missing = [camera.name for camera, file in pairs if images[file] is None]
        if self.by_model is not None and not self.by_model.takes_any_rig:
            there, seeing = with_black(images, rig), rig
        reference = self._reference(rig)
        notes = []
        if self.reference_view in missing:
            reference = None
            notes.append(
                f"{self.reference_view} is the reference but missing: colours and poses are those "
                "of all views together"
            )
        elif reference is not None:
            reference = seeing.names.index(rig.names[reference])
        shot = read_shot(there, seeing)
        found = self._calibrated(shot, reference)
        if self.by_model is None:
            picture, count = self.stitch(shot, seeing, found)
            notes += self.stitch.notes(shot, count, missing)
        else:
            squares = self.by_model.squares(shot)
            count = self.by_model.count(squares, found)
            notes += self.by_model.notes(squares, found, count, missing)
            picture = self.by_model(shot, squares, found, steps, seed)
        if found is None:
            return Panorama(picture, count, notes=tuple(notes))
        named = {name for note in notes for name in note.partition(":")[0].split(", ")}
        notes += [note for note in found.notes if note.partition(":")[0] not in named]
        return Panorama(
            picture, count, _corrections(shot.rig, found), found.misalignment, tuple(notes)
        )

    def _check(self) -> None:
        if not self.takes_cameras and "rotation" in self.refine:
            raise SpiderEyeError(
                "refining rotation goes with the geometric stitch only: this model takes no "
                "cameras, so refined poses would change nothing; leave it at refine=gain"
            )
        if self.reference_view is not None and not self.refine:
            raise SpiderEyeError(
                f"reference_view={self.reference_view} goes with refine: without it every view "
                "stays as it is"
            )
        self._reference(self.rig)
        self._check_number(self.rig)

    def _check_number(self, rig: Rig) -> None:
        ssdd, views = self.config.ssdd, len(rig.cameras)
        if self.by_model is None or self.by_model.takes_any_rig or views == ssdd.n_views:
            return
        raise SpiderEyeError(
            f"this model was trained or exported for {ssdd.n_views} views and takes no other "
            f"number, but the rig has {views} ({', '.join(rig.names)}); take a checkpoint folder "
            f"of fusion_type=spherical (this one: {ssdd.fusion_type})"
        )

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
