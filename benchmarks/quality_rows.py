"""What benchmarks/quality.py compares: its rows, and the settings of each.

Trained rows come as a ladder: each is the one before it and what its name adds. All of them see the
same samples, near scenes and shots that lack a view included, whether they can use that or not:
only the networks, what they are told and what the flow starts from differ.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from spidereye.config import Config
from spidereye.config_files import load_config

PROTOCOLS = ("clean", "jitter", "parallax")
METRICS = ("PSNR", "aligned PSNR")
STEPS = (1, 4, 12)  # of the sampler
MODEL = "model"  # what the model's rows of an evaluation are called
RADII = ("inf", "5", "3", "2", "1.5", "1")  # metres: the spheres of the plain stitch
SCENES, PICTURES = 12, 4  # of the protocol parallax; shown on the sheet, of each protocol

WINNER = "SpiderEye360"
ONE_RADIUS = "+ self-calibration"
STITCHES = "stitches"  # not trained

# What every row is without what its name adds.
PLAIN = {
    "ssdd.fusion_type": "concat_conv",
    "ssdd.padding": "zeros",
    "ssdd.condition": "latent",
    "ssdd.prior": "noise",
    "ssdd.prior_sigma": "0",
    "losses.relative": "false",
    "ssdd.refine": "[]",
    "ssdd.sphere_radii": "[inf]",
}
# What is added to the row before it, in their order; the first two stand by themselves. The loss
# relative to the start belongs to the prior.
ADDED = {
    "concat_conv": {},
    "average": {"ssdd.fusion_type": "average"},
    "spherical": {"ssdd.fusion_type": "spherical"},
    "+ sphere padding": {"ssdd.padding": "sphere"},
    "+ latent+warp": {"ssdd.condition": "latent+warp"},
    "+ prior stitch": {
        "ssdd.prior": "stitch",
        "losses.relative": "true",
    },
    ONE_RADIUS: {"ssdd.refine": "[gain,rotation]"},
    WINNER: {"ssdd.sphere_radii": "[inf,5,2,1]"},
}
TRAINED = tuple(ADDED)
ROWS = (STITCHES, *TRAINED)

# Of all rows: the samples, networks that a CPU can train, and how they are trained.
COMMON = {
    "dataset.jitter_share": "0.5",
    "dataset.parallax_share": "0.15",
    "dataset.missing_view": "0.15",
    "dataset.num_workers": "0",
    # Cells of 4 pixels: with 8 the panorama's own mean over cells has 21.8 dB only.
    "ssdd.encoder": "f4c4",
    "ssdd.encoder_width": "16",
    "ssdd.decoder": "XXS",
    "ssdd.compile": "false",
    "ssdd.ema.decay": "0.98",
    "ssdd.ema.start_iter": "20",
    "aux_losses.repa": "null",
    "aux_losses.lpips": "false",
    "training.mixed_precision": "'no'",
    "training.first_step": "0.7",  # one step is what all are judged by
    "training.warmup": "20",
    "training.grad_clip": "1.0",
    "training.epochs": "1000000",
    "training.save_on_best": "PSNR",
    "training.save_freq": "50",
    "training.log_freq": "10",
    "training.trackers": "[]",
}


@dataclass(frozen=True)
class Plan:
    """What all rows of a table share.

    steps: of training.   size: of a view in pixels; panoramas are twice as wide.   batch: samples
    of a step.   draws: different shots of each panorama.   rate: of learning.   limit: panoramas of
    each split, the first ones; None: all.
    """

    steps: int
    size: int = 64
    batch: int = 8
    draws: int = 6
    rate: float = 1e-3
    limit: int | None = None

    @property
    def samples(self) -> int:
        """Of a step, where there are so many panoramas."""
        return min(self.batch, self.limit or self.batch)

    @property
    def scenes(self) -> int:
        """How many the protocol parallax has."""
        return min(SCENES, self.limit or SCENES)


@dataclass(frozen=True)
class Job:
    """A row and its seed, which is that of the weights, of the samples and of their order."""

    row: str
    seed: int = 0

    @property
    def name(self) -> str:
        """Of its files."""
        word = self.row.removeprefix("+ ").replace(" ", "_").replace("+", "_")
        return f"{word}-{self.seed}"


def jobs(rows: Sequence[str], several: Sequence[str], seeds: int) -> list[Job]:
    """What has to run. several: rows of `seeds` seeds; the others have one."""
    counts = {row: seeds if row in several and row != STITCHES else 1 for row in rows}
    return [Job(row, seed) for row, count in counts.items() for seed in range(count)]


def row_settings(row: str) -> dict[str, str]:
    """What the row's networks are and are told, by key; the stitches have those of the plainest."""
    settings = dict(PLAIN)
    if row == "average":
        return settings | ADDED[row]
    for name in TRAINED[: TRAINED.index(row) + 1] if row in TRAINED else ():
        settings |= ADDED[name] if name != "average" else {}
    return settings


def settings_of(job: Job, plan: Plan) -> dict[str, str]:
    """All overrides of a job on -cn SpiderEye360 but those that name folders."""
    own = {
        "seed": str(job.seed),
        "dataset.im_size": str(plan.size),
        "ssdd.decoder_image_size": f"[{2 * plan.size},{plan.size}]",
        "dataset.batch_size": str(plan.samples),
        "dataset.draws": str(plan.draws),
        "dataset.limit": "null" if plan.limit is None else str(plan.limit),
        "training.lr": str(plan.rate),
        "training.max_steps": str(plan.steps),
        # It evaluates once, at the end.
        "training.eval_steps": str(plan.steps),
        "evaluation.parallax_scenes": str(plan.scenes),
        "show_samples": str(PICTURES),
    }
    return COMMON | own | row_settings(job.row)


def config_of(job: Job, plan: Plan, data: Path, work: Path, steps: Sequence[int] = (1,)) -> Config:
    """A job's configuration. data: holds train/ and val/.   work: where runs and the cache are.
    steps: of the sampler, a row of the evaluation each."""
    settings = settings_of(job, plan)
    settings |= {
        "run_name": f"{job.name}-{digest(settings)}",
        "runs_dir": _quoted(work),
        "dataset.root": _quoted(data),
        "dataset.cache": _quoted(work / "cache"),
        "evaluation.steps": f"[{','.join(map(str, steps))}]",
    }
    return load_config("SpiderEye360", [f"{key}={value}" for key, value in settings.items()])


def identity(job: Job, plan: Plan) -> dict:
    """What a job's finished results have to agree with to be used again."""
    return {"row": job.row, "settings": settings_of(job, plan), "plan": asdict(plan)}


def digest(settings: Mapping) -> str:
    """A short name of settings, so that a run is resumed by its own alone."""
    return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:8]


def _quoted(path: Path) -> str:
    """For Hydra's grammar, in which commas, brackets and spaces mean something."""
    text = str(path.resolve()).replace("\\", "\\\\").replace("'", "\\'")
    return f"'{text}'"
