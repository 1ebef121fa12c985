"""`spidereye stitch`: the pictures of one shot to one panorama file."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Bool
from rich.console import Console

from spidereye.config_checks import coverage_warning
from spidereye.coverage import ENOUGH_COVERAGE, Coverage, coverage
from spidereye.errors import SpiderEyeError
from spidereye.natural_size import natural_width
from spidereye.panorama_metadata import write_panorama
from spidereye.picture_writing import check_suffix
from spidereye.precision import device_named
from spidereye.progress import notes_console
from spidereye.released import RELEASED, released
from spidereye.rig import NAMED_RIGS, Rig, spider4
from spidereye.rig_files import load_rig
from spidereye.self_calibration import REFINEMENTS
from spidereye.shot_files import by_name
from spidereye.shots import file_labels, widths_of
from spidereye.stitched import Correction, Panorama
from spidereye.stitcher import Stitcher
from spidereye.stitching import BLENDS
from spidereye.view_sampling import KERNELS
from spidereye.whole_files import check_place, write_whole

_MISSING = "-"  # in place of a picture
_WIDEST = 16384  # pixels of a panorama: wider ones do not fit into the memory of most machines
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
    # A rig file or name. None: the checkpoint's; geometric: spider4 with the lens below.
    rig: str | None = None
    # (W, H); None: the checkpoint's; geometric and the package's own weights: as fine as the views.
    size: tuple[int, int] | None = None
    f_pix: float = 220.0  # geometric: of a view f_pix_size pixels wide
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
    def pictures(self) -> list[Path | None]:
        """The pictures, None for one that is missing."""
        return [None if str(image) == _MISSING else image for image in self.images]

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
        if self.mask is not None and self.mask.absolute() == self.output.absolute():
            raise SpiderEyeError(f"--mask and -o are both {self.mask}: give the mask its own place")
        if not any(self.pictures):
            raise SpiderEyeError("every picture is missing (-): give at least one")
        if self.method == "geometric":
            if self.compile or self.precision != "fp32":
                raise SpiderEyeError("--precision and --compile go with --method model")
            return
        if self.checkpoint is None and RELEASED not in released():
            raise SpiderEyeError(
                "--method model needs --checkpoint (a folder or run_name[@best]); without one use "
                "--method geometric"
            )
        for option, value, default in (
            ("--blend", self.blend, "feather"),
            ("--kernel", self.kernel, "lanczos"),
        ):
            if value != default:
                raise SpiderEyeError(
                    f"{option} goes with --method geometric; a checkpoint has its own"
                )


def stitch_files(job: StitchJob) -> None:
    """Make the panorama and say what was seen. Raises SpiderEyeError for what cannot be done."""
    job.check()
    check_suffix(job.output)
    for path in filter(None, (job.output, job.mask)):
        if path.resolve() in {picture.resolve() for picture in job.pictures if picture}:
            raise SpiderEyeError(f"{path} is one of the pictures: name another file to write")
        check_place(path)
    console = notes_console()
    if job.method == "model":
        stitcher = model_stitcher(job)
        job = _by_name(job, stitcher.rig, console)
        stitcher = stitcher.fitted(job.pictures)
    else:
        rig = rig_of(job)
        job = _by_name(job, rig, console)
        stitcher = geometric_stitcher(job, rig, widths_of(job.pictures))
    say_coverage(job, stitcher, console)
    result = stitcher(job.pictures, steps=job.steps, seed=job.seed)
    for line in refinement_lines(result, stitcher.refine):
        console.print(line)
    write_panorama(job.output, result.picture, [path for path in job.pictures if path])
    if job.mask is not None:
        write_mask(job.mask, result.seen)
    height, width = result.picture.shape[:2]
    print(f"{job.output}: {width}x{height}, {stitcher.origin}")


def size_from(text: str) -> tuple[int, int]:
    """(W, H) of "1024x512" or "1024". Raises SpiderEyeError for what is no panorama's size."""
    width, times, height = text.lower().partition("x")
    try:
        size = int(width), int(height) if times else int(width) // 2
    except ValueError:
        size = (0, 0)
    if size[0] < 2 or size[0] != 2 * size[1] or size[0] > _WIDEST:
        raise SpiderEyeError(
            "--size is that of a 2:1 panorama in pixels, as 1024x512 or 1024, and at most "
            f"{_WIDEST} wide, got {text!r}"
        )
    return size


def say_coverage(job: StitchJob, stitcher: Stitcher, console: Console) -> None:
    """How much of the sphere the rig sees, and what to do where that is too little."""
    seen = coverage(stitcher.rig)
    for line in filter(None, (seen.line(), _coverage_warning(job, stitcher, seen))):
        console.print(line)


def _by_name(job: StitchJob, rig: Rig, console: Console) -> StitchJob:
    """The job with its pictures in the rig's order, where their names tell it."""
    ordered = by_name(job.pictures, rig)
    if ordered == job.pictures:
        return job
    pairs = zip(file_labels(rig), ordered, strict=True)
    console.print("views by name: " + ", ".join(f"{label} {path or '-'}" for label, path in pairs))
    return replace(job, images=[path or Path(_MISSING) for path in ordered])


def refinement_lines(result: Panorama, refined: tuple[str, ...]) -> list[str]:
    """What self-calibration found for each view, what is left, and what was skipped and why; what
    there is to know of missing views."""
    notes = [f"note: {note}" for note in result.notes]
    if not refined:
        return notes
    lines = [correction_line(correction, refined) for correction in result.corrections]
    left = "none to be seen"
    if result.misalignment > 0:
        left = f"{math.degrees(result.misalignment):.2f}°"
    return [*lines, f"remaining misalignment: {left}", *notes]


def correction_line(correction: Correction, refined: tuple[str, ...]) -> str:
    """As in "front: gain 1.08 1.07 1.05, offset +3 +2 +4 levels, turned 0.8°"."""
    parts = []
    if "gain" in refined:
        parts.append("gain " + " ".join(f"{gain:.2f}" for gain in correction.gain))
        levels = " ".join(f"{round(255 * offset):+d}" for offset in correction.offset)
        parts.append(f"offset {levels} levels")
    if "rotation" in refined:
        parts.append(f"turned {math.degrees(correction.turned):.1f}°")
    return f"{correction.view}: {', '.join(parts)}"


def write_mask(path: Path, seen: Bool[np.ndarray, "H W"]) -> None:
    """An 8-bit PNG: 255 where seen, 0 elsewhere. Raises SpiderEyeError where it cannot be
    written."""
    _, encoded = cv2.imencode(".png", 255 * seen.astype(np.uint8))
    write_whole(path, encoded.tobytes())


def _coverage_warning(job: StitchJob, stitcher: Stitcher, seen: Coverage) -> str | None:
    """The numbers and the fix where the rig sees too little, else None."""
    if seen.seen >= ENOUGH_COVERAGE:
        return None
    rig = job.rig
    if job.method == "model" and rig is None:
        data = stitcher.config.dataset
        if data.rig in NAMED_RIGS:
            return coverage_warning(stitcher.config, seen)
        rig = data.rig
    cause = "is --f-pix the focal length of a view --f-pix-size wide?"
    if rig is not None:
        cause = f"`spidereye rig check {rig}` draws what is missing"
    rest = "can only be guessed"
    if job.method == "geometric":
        rest = "is filled smoothly from what surrounds it (--mask says where)"
    return f"WARNING: the views see only {seen.seen:.1%} of the sphere; the rest {rest}; {cause}"


def rig_of(job: StitchJob) -> Rig:
    """Of a geometric job; without one in its options `spider4` with the lens that they describe.
    It takes pictures of any size: lenses are rescaled to it."""
    if job.rig is not None:
        return load_rig(job.rig)
    return spider4(job.f_pix, job.xi, job.f_pix_size)


def model_stitcher(job: StitchJob) -> Stitcher:
    """The stitcher of a checkpoint."""
    stitcher = Stitcher.load(
        job.checkpoint or RELEASED,
        "ema" if job.weights == "ema" else "raw",
        job.device,
        rig=None if job.rig is None else load_rig(job.rig),
        size=job.size,
        refine=None if job.refine is None else job.refinements,
        reference_view=job.reference_view,
        precision=job.precision,
        compile=job.compile,
    )
    if job.rig is not None and not stitcher.takes_cameras:
        raise SpiderEyeError(
            f"--rig goes with --method geometric, or with a checkpoint that takes cameras; "
            f"{job.checkpoint} only knows the views of the rig it was trained for"
        )
    return stitcher


def geometric_stitcher(job: StitchJob, rig: Rig, widths: Sequence[int | None]) -> Stitcher:
    """The stitcher without a model.

    rig: `rig_of` the job.   widths: of its pictures in pixels, None where one is missing."""
    size = job.size
    if size is None:
        width = natural_width(rig, widths)
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
