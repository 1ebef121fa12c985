"""The verb that people import: `Stitcher.geometric(rig, size)(images)`, and with a trained model
`Stitcher.load(checkpoint)(images)`, is a panorama.

Without refinement the second shot of a rig is much faster than the first: shot_stitching.py keeps
what its cameras decide. Refined rotations are those of one shot, and so is what they decide.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import cast

import torch

from spidereye.checkpoint import Weights
from spidereye.config import Config
from spidereye.errors import SpiderEyeError
from spidereye.natural_size import checked_size, natural_width
from spidereye.precision import as_ever, device_named
from spidereye.recent import Recent
from spidereye.rig import Rig, index_of_view
from spidereye.rig_files import AnyRig, load_rig
from spidereye.self_calibration import Calibrated, refinements
from spidereye.shot_stitching import ModelStitch, ShotStitch
from spidereye.shots import Images, file_labels, in_order, widths_of
from spidereye.stitched import Panorama, ReadyShot, checked_sampling
from spidereye.stitching import BLENDS, Blend
from spidereye.trained import Trained
from spidereye.view_sampling import KERNELS, Kernel

_SIZES = 2  # of panoramas that nobody asked for, ready at a time


class Stitcher:
    """Makes panoramas of one rig's views, with a model or by geometry alone.

    `origin` says in words which weights it uses.
    """

    def __init__(
        self,
        rig: Rig,
        size: Sequence[int],
        trained: Trained | None = None,
        device: str | torch.device = "cpu",
        *,
        refine: str | Iterable[str] | None = None,
        reference_view: str | None = None,
        blend: str = "feather",
        kernel: str = "lanczos",
        precision: str = "fp32",
        compile: bool = False,
        fits: bool = False,
    ):
        """See `geometric` and `load`. fits: panoramas are as fine as the pictures: see `fitted`."""
        self.rig, self.size, self.fits = rig, checked_size(size), fits
        self._sizes = Recent(_SIZES)
        self.origin = "geometric stitch" if trained is None else trained.origin
        self.device = device_named(device)
        self.config = Config() if trained is None else trained.config
        for name, value, choices in (("blend", blend, BLENDS), ("kernel", kernel, KERNELS)):
            if value not in choices:
                raise SpiderEyeError(f"{name} takes {', '.join(choices)}; got {value!r}")
        if refine is None:
            refine = () if trained is None else self.config.ssdd.refine
        self.refine, self.reference_view = refinements(refine), reference_view
        self._again = partial(
            Stitcher, device=device, refine=self.refine, reference_view=reference_view,
            precision=precision, compile=compile,
        )  # fmt: skip
        self.stitch = ShotStitch(self.size, cast(Kernel, kernel), cast(Blend, blend), self.device)
        self.trained = trained
        self.by_model: ModelStitch | None = None
        if trained is not None:
            self.by_model = ModelStitch(
                trained.ready(self.device, precision, compile),
                trained.steps,
                self.config,
                self.size,
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
        device: str | torch.device = "cpu",
        runs_dir: str = "runs",
        *,
        rig: AnyRig | None = None,
        size: Sequence[int] | None = None,
        refine: str | Iterable[str] | None = None,
        reference_view: str | None = None,
        precision: str = "fp32",
        compile: bool = False,
    ) -> "Stitcher":
        """A stitcher with the model, rig and sizes of a checkpoint of ours.

        checkpoint: the name of weights that come with the package, a folder, `run_name`,
        `run_name@best`, `run_name@last`, a Hugging Face id, or an .onnx file of `spidereye export`,
        which takes the steps that it was exported with.
        rig: in place of the checkpoint's, or its name or file; any where its fusion is spherical.
        size: (W, H) of the panoramas, W = 2H; the views that the encoder sees grow with it. None:
        what the checkpoint was trained with, and with the package's own as fine as the pictures.
        refine: what the overlaps of each shot correct before the networks see it; None: what they
        were trained with (ssdd.refine).   reference_view: as for `geometric`.
        precision: fp32, or bf16 where the device computes in it; for an .onnx file on CPUs that
        have it, with onnxruntime-openvino.   compile: let torch.compile make code of the networks:
        the first panorama takes minutes. For GPUs; on CPUs the others, too, took a fifth longer.
        Raises SpiderEyeError for what is no checkpoint of ours, bf16 where the device has none,
        compile, size or raw weights of an .onnx file, and sizes that the networks do not divide.
        """
        trained = Trained.load(checkpoint, weights, runs_dir, str(device), precision)
        config = trained.config
        own = None if rig is None else load_rig(rig)
        trained.check_rig(own)
        # As its file describes it: pictures come at the calibration's size, crops in one file.
        rig = own or config.rig_of_file() or config.rig()
        if size is not None:
            trained = trained.at_size(checked_size(size, twice=False))
        return cls(
            rig, trained.config.panorama_size, trained, device,
            refine=refine, reference_view=reference_view, precision=precision, compile=compile,
            fits=size is None and trained.released,
        )  # fmt: skip

    @classmethod
    def geometric(
        cls,
        rig: AnyRig,
        size: Sequence[int],
        *,
        refine: str | Iterable[str] = (),
        reference_view: str | None = None,
        blend: str = "feather",
        kernel: str = "lanczos",
        device: str | torch.device = "cpu",
    ) -> "Stitcher":
        """A stitcher without a model.

        rig: or its name or file.   size: (W, H) of the panorama in pixels, W = 2H up to 16384.
        refine: what the overlaps of each shot correct, of "gain" (colours: gain and offset per view
        and channel) and "rotation"; "none" is nothing.
        reference_view: name of the view whose exposure and pose are the panorama's; None: the mean
        of all.   blend: feather, multiband or none (every pixel from one view).
        kernel: lanczos, bicubic or bilinear.
        Raises SpiderEyeError for other values, and for a reference_view without refine.
        """
        return cls(
            load_rig(rig), size, device=device,
            refine=refine, reference_view=reference_view, blend=blend, kernel=kernel,
        )  # fmt: skip

    def fitted(self, images: Images, rig: AnyRig | None = None) -> "Stitcher":
        """The stitcher of panoramas about as fine as these pictures, up to 1024 pixels wide; itself
        where its size was given. Parameters as for a panorama."""
        trained = self.trained
        if not self.fits or trained is None:
            return self
        rig = self._rig(rig)
        widths = widths_of(in_order(images, rig), file_labels(rig))
        width = trained.fitting_width(natural_width(rig, widths))
        size = width, width // 2
        return self._sizes.find(
            str(width), lambda: self._again(self.rig, size, trained.at_size(size))
        )

    @property
    def takes_cameras(self) -> bool:
        """Whether the panorama follows from the cameras: not with networks given views alone."""
        return self.by_model is None or self.by_model.conditioner is not None

    def __call__(
        self,
        images: Images,
        rig: AnyRig | None = None,
        steps: int | None = None,
        seed: int = 0,
        found: Calibrated | None = None,
    ) -> Panorama:
        """The panorama of one picture per view.

        images: paths, PIL images, arrays [h, w, 3] uint8 or tensors [3, h, w] (uint8, or floats in
        [-1, 1]) of any size and the rig's shape: in the rig's order, one per file of the rig, None
        for one that is missing; or by the names of the views, those left out being missing.
        rig: another than the stitcher's own, or its name or file; for a model where its fusion is
        spherical.   steps: of the sampler; None: as configured.   seed: of its noise.
        found: what self-calibration is known to find (`calibrate`), for shots that share it, of the
        views there are or more, by their names; None: it is asked of this shot, where `refine` says
        so.
        Raises SpiderEyeError for a wrong number or shape of pictures, where all are missing, and
        for networks that take cameras where these see next to nothing.
        """
        return self.batch([images], rig, steps, seed, found)[0]

    @torch.inference_mode()
    def batch(
        self,
        shots: Iterable[Images],
        rig: AnyRig | None = None,
        steps: int | None = None,
        seed: int = 0,
        found: Calibrated | None = None,
    ) -> list[Panorama]:
        """The panoramas of several shots of one rig, which the networks make together: what each
        would be alone, to the rounding of sums. Parameters and errors as for one shot."""
        rig, shots = self._rig(rig), list(shots)
        steps, seed = checked_sampling(self.by_model is not None, steps, seed)
        if self.fits:
            sized = [self.fitted(images, rig) for images in shots]
            made: dict[int, Panorama] = {}
            for one in dict.fromkeys(sized):
                numbers = [number for number, stitcher in enumerate(sized) if stitcher is one]
                some = one.batch([shots[number] for number in numbers], rig, steps, seed, found)
                made |= zip(numbers, some, strict=True)
            return [made[number] for number in range(len(shots))]
        with as_ever(self.device):
            read = [self._read(images, rig, found, self.refine) for images in shots]
            if self.by_model is None:
                return [self._by_geometry(shot) for shot in read]
            return self._by_model(self.by_model, read, steps, seed)

    @torch.no_grad()  # what is found is people's own, and they may change tensors of this mode
    def calibrate(
        self, images: Images, rig: AnyRig | None = None, refine: str | Iterable[str] | None = None
    ) -> Calibrated | None:
        """What self-calibration finds in a shot of all views, as `found` takes it.

        refine: in place of the stitcher's own; where that is nothing, so is what is found, None.
        Other parameters and errors as for a panorama."""
        what = self.refine if refine is None else refinements(refine)
        if not what:
            return None
        with as_ever(self.device):
            return self._read(images, self._rig(rig), None, what).found

    def _rig(self, given: AnyRig | None) -> Rig:
        """That of a call: the stitcher's own where none is given."""
        rig = self.rig if given is None else load_rig(given)
        if given is not None and self.trained is not None:
            self.trained.check_rig(rig)
        if self.by_model is not None:
            self.by_model.check_number(rig)
        return rig

    def _read(
        self, images: Images, rig: Rig, found: Calibrated | None, refine: Sequence[str]
    ) -> ReadyShot:
        all_views = self.by_model is not None and not self.by_model.takes_any_rig
        return ReadyShot.read(images, rig, refine, self._reference(rig), found, all_views)

    def _by_geometry(self, read: ReadyShot) -> Panorama:
        picture, count = self.stitch(read.shot, read.rig, read.found)
        return read.panorama(picture, count, self.stitch.notes(read.shot, count, read.missing))

    def _by_model(
        self, model: ModelStitch, read: Sequence[ReadyShot], steps: int | None, seed: int
    ) -> list[Panorama]:
        squares = [model.squares(one.shot) for one in read]
        counts = [model.count(s, one.found) for s, one in zip(squares, read, strict=True)]
        notes = [
            model.notes(s, one.found, count, one.missing)
            for s, one, count in zip(squares, read, counts, strict=True)
        ]
        given = [
            model.conditions(one.shot, s, one.found) for s, one in zip(squares, read, strict=True)
        ]
        pictures = model.pictures(given, steps, seed)
        return [
            one.panorama(picture, count, said)
            for one, picture, count, said in zip(read, pictures, counts, notes, strict=True)
        ]

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
        self._rig(None)

    def _reference(self, rig: Rig) -> int | None:
        wanted = self.reference_view
        return None if wanted is None else index_of_view(rig, "reference_view", wanted)
