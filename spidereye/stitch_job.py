"""`spidereye stitch`: the pictures of one shot to one panorama file."""

from dataclasses import dataclass
from pathlib import Path

import torch
from rich.console import Console

from spidereye.coverage import ENOUGH_COVERAGE, angular_resolution, coverage
from spidereye.errors import SpiderEyeError
from spidereye.pictures import probe, write_picture
from spidereye.rig import Rig, spider4
from spidereye.rig_files import load_rig
from spidereye.setup import coverage_warning
from spidereye.shots import files_of
from spidereye.stitcher import Stitcher


@dataclass(frozen=True)
class StitchJob:
    """What to stitch. Error messages name the fields as options of the command."""

    images: list[Path]
    output: Path
    method: str = "model"  # model | geometric
    checkpoint: str | None = None  # model: a folder or run_name[@best|@last]
    weights: str = "ema"  # model: ema | raw
    steps: int | None = None  # model: of the sampler
    seed: int = 0  # model: of the sampler's noise
    rig: str | None = None  # geometric: a rig file or name; None: spider4 with the lens below
    width: int | None = None  # geometric: pixels; None: about what the views resolve
    f_pix: float = 220.0  # geometric: of a view f_pix_size pixels wide
    f_pix_size: int = 560
    xi: float = 0.85
    device: str = "cpu"

    def check(self) -> None:
        """SpiderEyeError for values that make no sense, alone or together."""
        if self.method not in ("model", "geometric"):
            raise SpiderEyeError(f"--method must be model or geometric, got {self.method!r}")
        if self.weights not in ("ema", "raw"):
            raise SpiderEyeError(f"--weights must be ema or raw, got {self.weights!r}")
        if self.device.startswith("cuda") and not torch.cuda.is_available():
            raise SpiderEyeError(
                f"--device {self.device}: PyTorch finds no GPU here; use --device cpu"
            )
        if self.width is not None and (self.width < 2 or self.width % 2):
            raise SpiderEyeError(f"--width must be an even number of pixels, got {self.width}")
        if self.method == "geometric":
            return
        if self.checkpoint is None:
            raise SpiderEyeError(
                "--method model needs --checkpoint (a folder or run_name[@best]); without one use "
                "--method geometric"
            )
        for option, value in (("--width", self.width), ("--rig", self.rig)):
            if value is not None:
                raise SpiderEyeError(
                    f"{option} goes with --method geometric; a checkpoint has its own"
                )


def stitch_files(job: StitchJob) -> None:
    """Make the panorama and say what was seen. Raises SpiderEyeError for what cannot be done."""
    job.check()
    if job.method == "model":
        weights = "ema" if job.weights == "ema" else "raw"
        stitcher = Stitcher.load(str(job.checkpoint), weights, job.device)
    else:
        stitcher = _geometric(job)
    console = Console(stderr=True)
    seen = coverage(stitcher.rig)
    console.print(seen.line(), highlight=False, soft_wrap=True)
    warning = None
    if job.method == "model":
        warning = coverage_warning(stitcher.config, seen)
    elif seen.seen < ENOUGH_COVERAGE:
        cause = "is --f-pix the focal length of a view --f-pix-size wide?"
        if job.rig is not None:
            cause = f"`spidereye rig check {job.rig}` draws what is missing"
        warning = (
            f"WARNING: the views see only {seen.seen:.1%} of the sphere and the rest stays grey; "
            f"{cause}"
        )
    if warning:
        console.print(warning, highlight=False, markup=False, soft_wrap=True)
    result = stitcher([str(image) for image in job.images], steps=job.steps, seed=job.seed)
    write_picture(job.output, result.picture)
    height, width = result.picture.shape[:2]
    print(f"{job.output}: {width}x{height}, {stitcher.origin}")


def _geometric(job: StitchJob) -> Stitcher:
    sizes = [probe(image) for image in job.images]
    if job.rig is None:
        side = max(width for width, _ in sizes)
        rig = spider4(job.f_pix * side / job.f_pix_size, job.xi, side)
    else:
        rig = load_rig(job.rig)
    width = job.width or _natural_width(rig, [width for width, _ in sizes])
    return Stitcher.geometric(rig, (width, width // 2))


def _natural_width(rig: Rig, file_widths: list[int]) -> int:
    """A panorama as fine as the views are on average over what they see, in whole 64s."""
    finest = 0.0
    for camera, file in zip(rig.cameras, files_of(rig), strict=True):
        calibrated = camera.crop.file_width if camera.crop else camera.lens.width
        # With too few files read_shot explains it; the width is of no matter then.
        given = file_widths[file] if file < len(file_widths) else calibrated
        finest = max(finest, angular_resolution(camera).mean * given / calibrated)
    return max(64, 64 * round(360 * finest / 64))
