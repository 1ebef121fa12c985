"""What to stitch and how, as the commands say it; and the stitcher that does."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.natural_size import WIDEST, natural_width
from spidereye.precision import device_named
from spidereye.released import RELEASED, released
from spidereye.rig import Rig, spider4
from spidereye.rig_files import load_rig
from spidereye.self_calibration import REFINEMENTS
from spidereye.stitcher import Stitcher
from spidereye.stitching import BLENDS
from spidereye.view_sampling import KERNELS
from spidereye.whole_files import check_place

MISSING = "-"  # in place of a picture
_NOTHING = "none"  # for --refine, where a checkpoint would refine


@dataclass(frozen=True)
class StitchJob:
    """What to stitch. Error messages name the fields as options of the command."""

    images: list[Path]  # - for a view that is missing
    output: Path
    method: str = "model"  # model | geometric
    checkpoint: str | None = None  # model: a folder or run_name[@best|@last]; None: our own
    weights: str = "ema"  # model: ema | raw
    steps: int | None = None  # model: of the sampler
    seed: int = 0  # model: of the sampler's noise
    # A rig file or name. None: the checkpoint's; geometric, or where a lens is described: spider4.
    rig: str | None = None
    # (W, H); None: the checkpoint's; geometric and the package's own weights: as fine as the views.
    size: tuple[int, int] | None = None
    f_pix: float = 220.0  # of spider4's lens, for a view f_pix_size pixels wide
    f_pix_size: int = 560
    xi: float = 0.85
    device: str = "cpu"
    precision: str = "fp32"  # model: fp32 | bf16
    compile: bool = False  # model: by torch.compile
    refine: str | None = None  # gain | rotation | gain,rotation | none; None: as trained, or none
    reference_view: str | None = None  # name of a view; None: the mean of all
    blend: str = "feather"  # geometric: feather | multiband | none
    kernel: str = "lanczos"  # geometric: lanczos | bicubic | bilinear
    mask: Path | None = None  # a PNG to write: 255 where a view sees anything, 0 where none does
    batch: bool = False  # images: folders, patterns and files of shots; output, mask: folders

    @property
    def refinements(self) -> tuple[str, ...]:
        """What `refine` lists."""
        if self.refine is None or self.refine == _NOTHING:
            return ()
        return tuple(part.strip() for part in self.refine.split(","))

    @property
    def describes_lens(self) -> bool:
        """Whether a lens of spider4 is described."""
        own = StitchJob.f_pix, StitchJob.f_pix_size, StitchJob.xi
        return (self.f_pix, self.f_pix_size, self.xi) != own

    @property
    def pictures(self) -> list[Path | None]:
        """The pictures, None for one that is missing."""
        return [None if str(image) == MISSING else image for image in self.images]

    def check(self) -> None:
        """SpiderEyeError for values that make no sense, alone or together."""
        if self.method not in ("model", "geometric"):
            raise SpiderEyeError(f"--method must be model or geometric, got {self.method!r}")
        if self.weights not in ("ema", "raw"):
            raise SpiderEyeError(f"--weights must be ema or raw, got {self.weights!r}")
        device_named(self.device)
        for option, value, choices in (
            *(("--refine", part, REFINEMENTS) for part in self.refinements),
            ("--blend", self.blend, BLENDS),
            ("--kernel", self.kernel, KERNELS),
        ):
            if value not in choices:
                more = ", or both as gain,rotation" if option == "--refine" else ""
                raise SpiderEyeError(f"{option} takes {' or '.join(choices)}{more}; got {value!r}")
        as_trained = self.method == "model" and self.refine is None
        if self.reference_view is not None and not (self.refinements or as_trained):
            raise SpiderEyeError(
                f"--reference-view {self.reference_view} goes with --refine: without it every view "
                "stays as it is"
            )
        if self.mask is not None and not self.batch and self.mask.suffix.lower() != ".png":
            raise SpiderEyeError(f"--mask {self.mask}: the mask is a picture that ends in .png")
        if self.mask is not None and os.path.realpath(self.mask) == os.path.realpath(self.output):
            raise SpiderEyeError(f"--mask and -o are both {self.mask}: give the mask its own place")
        self._check_pictures()
        if self.rig is not None and self.describes_lens:
            raise SpiderEyeError(
                "--f-pix, --f-pix-size and --xi describe the lens of spider4, and --rig brings its "
                "own: give one or the other"
            )
        if self.method == "geometric":
            self._check_left_alone(
                ("checkpoint", "weights", "steps", "seed", "precision", "compile"),
                "--method model: the geometric stitch has no networks",
            )
            return
        if self.checkpoint is None and RELEASED not in released():
            raise SpiderEyeError(
                "--method model needs --checkpoint (a folder or run_name[@best]); without one use "
                "--method geometric"
            )
        self._check_left_alone(("blend", "kernel"), "--method geometric; a checkpoint has its own")

    def check_output(self) -> None:
        """SpiderEyeError for files to write that are pictures of the job or have no place."""
        given = {os.path.realpath(picture) for picture in self.pictures if picture is not None}
        for path in filter(None, (self.output, self.mask)):
            if os.path.realpath(path) in given:
                raise SpiderEyeError(f"{path} is one of the views: name another file to write")
            check_place(path)

    def _check_pictures(self) -> None:
        given = [picture for picture in self.pictures if picture is not None]
        if not given:
            raise SpiderEyeError("every picture is missing (-): give at least one")
        if self.batch:
            return
        before: set[str] = set()
        for picture in given:
            place = os.path.realpath(picture)  # which stands links that lead in a circle
            if place in before:
                raise SpiderEyeError(f"{picture} is given twice: every view has a file of its own")
            before.add(place)

    def _check_left_alone(self, options: Sequence[str], why: str) -> None:
        """SpiderEyeError for options that are given though nothing would come of it."""
        for name in options:
            if getattr(self, name) != getattr(StitchJob, name):
                raise SpiderEyeError(f"--{name} goes with {why}")


def size_from(text: str, name: str = "--size") -> tuple[int, int]:
    """(W, H) of "1024x512" or "1024". name: what its reader calls it.
    Raises SpiderEyeError for what is no panorama's size."""
    width, times, height = text.lower().partition("x")
    try:
        size = int(width), int(height) if times else int(width) // 2
    except ValueError:
        size = (0, 0)
    if size[0] < 2 or size[0] != 2 * size[1] or size[0] > WIDEST:
        raise SpiderEyeError(
            f"{name} is that of a 2:1 panorama in pixels, as 1024x512 or 1024, and at most "
            f"{WIDEST} wide, got {text!r}"
        )
    return size


def rig_of(job: StitchJob) -> Rig:
    """Of the job's options; without one in them `spider4` with the lens that they describe.
    It takes pictures of any size: lenses are rescaled to it."""
    if job.rig is not None:
        return load_rig(job.rig)
    return spider4(job.f_pix, job.xi, job.f_pix_size)


def model_stitcher(job: StitchJob) -> Stitcher:
    """The stitcher of a checkpoint."""
    own = job.rig is None and not job.describes_lens
    stitcher = Stitcher.load(
        released()[RELEASED] if job.checkpoint is None else job.checkpoint,
        "ema" if job.weights == "ema" else "raw",
        job.device,
        rig=None if own else rig_of(job),
        size=job.size,
        refine=None if job.refine is None else job.refinements,
        reference_view=job.reference_view,
        precision=job.precision,
        compile=job.compile,
    )
    if not own and not stitcher.takes_cameras:
        raise SpiderEyeError(
            f"{'--rig' if job.rig else 'a lens'} goes with --method geometric, or with a "
            f"checkpoint that takes cameras; {job.checkpoint} only knows the views of the rig it "
            "was trained for"
        )
    return stitcher


def geometric_stitcher(job: StitchJob, rig: Rig, widths: Sequence[int | None]) -> Stitcher:
    """The stitcher without a model.

    rig: `rig_of` the job.   widths: of its pictures in pixels, None where one is missing."""
    size = job.size
    if size is None:
        width = min(natural_width(rig, widths), WIDEST)
        size = width, width // 2
    return Stitcher.geometric(
        rig,
        size,
        refine=job.refinements,
        reference_view=job.reference_view,
        blend=job.blend,
        kernel=job.kernel,
        device=job.device,
    )
