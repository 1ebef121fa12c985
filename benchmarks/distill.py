"""A student's one step against its teacher's twelve: how good, how fast.

Distils a checkpoint, one of benchmarks/quality.py's SpiderEye360 by default, on the panoramas that
it was trained on, and evaluates both by their EMA weights on val, clean and jittered. "Decoder" is
the time from a latent to a panorama. Ctrl-C stops; the same command goes on.

    SPIDEREYE_SHARED=… python benchmarks/distill.py --teacher …/quality_64/jobs/NAME/last
"""

import argparse
import json
import os
from pathlib import Path
from statistics import fmean

os.environ["OMP_NUM_THREADS"] = str(len(os.sched_getaffinity(0)))

import torch
from cases import timed
from machine import machine, show
from quality_measure import evaluated, trained
from quality_rows import STEPS
from session import one_line_errors, shared_panoramas
from torch import Tensor

from spidereye.checkpoint import read_config
from spidereye.conditions import Conditions
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.cpu import keep_large_buffers
from spidereye.export import sample_shot
from spidereye.model import SpiderEyeModel
from spidereye.train import train
from spidereye.whole_files import write_whole

METRICS = ("PSNR", "SSIM", "seam error")
TWELVE = max(STEPS)


def student_config(teacher: Path, data: Path, arguments: argparse.Namespace) -> Config:
    """The teacher's, to be distilled as recipes/release.sh does it: without what nobody sees, which
    twelve steps make noise of, and which would be most of the loss."""
    settings = {
        "distill_teacher": "true",
        "ssdd.checkpoint": f"'{teacher.resolve()}'",
        "ssdd.unseen": "expected",
        "ssdd.fm_sampler.steps": str(TWELVE),
        "run_name": f"student-of-{teacher.resolve().parent.name}-{arguments.steps}",
        "runs_dir": f"'{arguments.work.resolve()}'",
        "dataset.root": f"'{data}'",
        "dataset.cache": f"'{arguments.cache or arguments.work.resolve() / 'cache'}'",
        "dataset.batch_size": str(arguments.batch),
        "dataset.limit": "null",
        "training.lr": str(arguments.rate),
        "training.max_steps": str(arguments.steps),
        "training.cooldown": str(arguments.steps),
        "training.eval_steps": str(arguments.steps),
        "evaluation.steps": "[1]",
    }
    return config_from_dict(read_config(teacher), [f"{k}={v}" for k, v in settings.items()])


def teacher_config(student: Config) -> Config:
    """For evaluating the teacher on the same data."""
    path = Path(str(student.ssdd.checkpoint))
    config = config_from_dict(read_config(path), [f"evaluation.steps=[1,{TWELVE}]"])
    config.runs_dir, config.run_name = str(path.parents[2]), path.parent.name
    config.dataset = student.dataset
    return config


def rows_of(name: str, config: Config, model: SpiderEyeModel) -> dict[str, dict[str, list[float]]]:
    """Per method and protocol: the mean of every metric."""
    made: dict[str, dict[str, list[float]]] = {}
    for result in evaluated(config, model):
        for method, values in result.rows.items():
            if method.startswith("model"):
                means = [fmean(row[metric] for row in values) for metric in METRICS]
                made.setdefault(f"{name}, {method}", {})[result.protocol] = means
    return made


def decoding(
    model: SpiderEyeModel, given: Conditions, noise: Tensor, steps: int, runs: int
) -> float:
    """Median seconds of decoding one shot in so many steps."""
    with torch.inference_mode():
        z = model.encode(given)
        return timed(lambda: model.decode(z, given, noise, steps), runs)["median"]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--teacher", type=Path, required=True, help="a checkpoint's folder")
    parser.add_argument("--steps", type=int, default=40, help="of training")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--rate", type=float, default=1e-4, help="of learning")
    parser.add_argument("--runs", type=int, default=5, help="of each decoder's timing")
    parser.add_argument("--cache", type=Path, help="of the teacher's training shots")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/distill"))
    arguments = parser.parse_args()
    data = shared_panoramas()
    keep_large_buffers()
    with one_line_errors(arguments.work):
        student = student_config(arguments.teacher, data, arguments)
        train(student)
        teacher = teacher_config(student)
        from_file = trained(teacher, str(arguments.teacher))
        models = {"teacher": (teacher, from_file), "student": (student, trained(student))}
        found: dict[str, dict[str, list[float]]] = {}
        for name, (config, model) in models.items():
            found |= rows_of(name, config, model)
        given, noise = sample_shot(student)
        seconds = {
            name: decoding(models[name][1], given, noise, count, arguments.runs)
            for name, count in (("teacher", TWELVE), ("student", 1))
        }
    about = {
        **machine(torch.get_num_threads()), "teacher": arguments.teacher.resolve().parent.name,
        "training": f"{arguments.steps} steps of {arguments.batch}, rate {arguments.rate:g}",
    }  # fmt: skip
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    protocols = list(next(iter(found.values())))
    rows = [
        (name, *(" / ".join(f"{v:.4g}" for v in values[p]) for p in protocols))
        for name, values in found.items()
    ]
    show(" / ".join(METRICS) + ", means over pictures", ("row", *protocols), rows)
    ratio = seconds["teacher"] / seconds["student"]
    print(
        f"decoder: {TWELVE} steps of the teacher {seconds['teacher']:.3f} s, one of the student "
        f"{seconds['student']:.3f} s: {ratio:.1f}× faster"
    )
    out = arguments.work.with_suffix(".json")
    made = {"about": about, "rows": found, "seconds": seconds, "faster": ratio}
    write_whole(out, json.dumps(made, indent=1))
    print(f"written: {out}")


if __name__ == "__main__":
    main()
