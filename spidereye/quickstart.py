"""The quickstart: train something small, evaluate it, and leave a page to look at."""

import json
import math
import os
import platform
import shlex
import time
from collections.abc import Mapping
from copy import deepcopy
from datetime import datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from spidereye.checkpoint import is_checkpoint, read_config, recover
from spidereye.config import Config
from spidereye.config_files import load_config, quoted
from spidereye.coverage import coverage
from spidereye.errors import SpiderEyeError
from spidereye.evaluate import Evaluation
from spidereye.html_report import write_report
from spidereye.jobs import run_evaluation
from spidereye.model import build_on_meta, parameter_count
from spidereye.run_log import read_log
from spidereye.sample_shots import sample_shot
from spidereye.stitch_files import stitch_files
from spidereye.stitch_job import StitchJob
from spidereye.train import train
from spidereye.whole_files import write_whole

NAME = "quickstart"
_SAMPLE = "scene 1"
# At the sizes of quickstart.yaml on two cores of a server CPU, making the samples included; an
# evaluation is of 12 panoramas.
SECONDS_PER_STEP, SECONDS_PER_EVALUATION = 2.5, 20


def run_quickstart(data: Path | None, overrides: list[str]) -> None:
    """Train, evaluate and report in runs/quickstart/, saying what happens.

    data: folder with train/ and val/; None: the built-in scenes. Stopped by Ctrl-C, the same call
    goes on. Raises SpiderEyeError for what the user can mend.
    """
    config = load_config(NAME, _data_overrides(data, overrides))
    if data is not None and not _overridden("run_name", overrides):
        # A run of its own: the one on built-in scenes must not be resumed with other data.
        config.run_name = f"{NAME}-{Path(os.path.realpath(data)).name}"
    _refuse_other_data(config)
    report = Path(config.runs_dir) / NAME / "report.html"
    command = _command(data, overrides)
    _announce(config, report)

    started = time.monotonic()
    before = _steps_done(config)
    train(config, command)
    trained = time.monotonic()
    steps = _steps_done(config)
    asked = deepcopy(config)
    asked.task, asked.ssdd.checkpoint = "eval", str(config.run_folder / "last")
    evaluations = run_evaluation(asked, report.parent)
    evaluated = time.monotonic()

    times = f"{steps - before} steps of training in {_duration(trained - started)}, evaluation in "
    times += _duration(evaluated - trained)
    about = _about(config, command, steps, evaluations, times)
    entries = read_log(config.run_folder / "metrics.jsonl")
    write_report(config.run_folder, evaluations, entries, about, report, config.rig().names)
    print(f"report: {report} (open it in a browser)")
    _stitch_a_sample(report.parent, config.run_folder / "last")


def _stitch_a_sample(folder: Path, checkpoint: Path) -> None:
    """Views of a scene in files, their panorama by the weights that come with the package, and what
    to try next."""
    views = []
    for name, picture in sample_shot(_SAMPLE).items():
        views.append(folder / "views" / f"{name}.jpg")
        write_whole(views[-1], picture)
    stitch_files(StitchJob(views, folder / "panorama.jpg"))
    pictures = shlex.join(map(str, views))
    print("try next:")
    print(f"  spidereye stitch {pictures} -o panorama.jpg")
    print(f"  spidereye serve --checkpoint {checkpoint}    # at http://127.0.0.1:8000")


def _overridden(key: str, overrides: list[str]) -> bool:
    return any(item.startswith(f"{key}=") for item in overrides)


def _data_overrides(data: Path | None, overrides: list[str]) -> list[str]:
    if data is None:
        return overrides
    # Quoted, because Hydra's grammar gives commas, brackets and spaces a meaning.
    return ["dataset.type=folder", f"dataset.root={quoted(str(data))}", *overrides]


def _command(data: Path | None, overrides: list[str]) -> str:
    given = ["--data", str(data)] if data is not None else []
    return shlex.join(["spidereye", "quickstart", *given, *overrides])


def _refuse_other_data(config: Config) -> None:
    """Resuming on other data would leave a model of neither."""
    last = config.run_folder / "last"
    if not is_checkpoint(last):
        return
    recover(last)
    was, now = _data_name(read_config(last)["dataset"]), _data_name(vars(config.dataset))
    if was != now:
        raise SpiderEyeError(
            f"{config.run_folder} was trained on {was}, not on {now}: give this run a name of its "
            "own with run_name=…, or remove that folder"
        )


def _data_name(data: Mapping[str, Any]) -> str:
    """What a dataset is of. data: its part of the configuration."""
    if data["type"] == "scenes":
        return "built-in procedural scenes"
    root = (data["type"] == "video" and data["video_root"]) or data["root"] or data["imagenet_root"]
    where = root if "://" in root else os.path.realpath(root)
    if data["type"] == "shards" and data["shards_train"]:
        where += f", {data['shards_train']}"
    what = {"folder": "panoramas", "video": "video frames"}.get(data["type"], data["type"])
    return f"the {what} of {where}"


def _steps_done(config: Config) -> int:
    state = config.run_folder / "last" / "training.json"
    return json.loads(state.read_text())["step"] if state.exists() else 0


def _announce(config: Config, report: Path) -> None:
    steps, done = config.training.max_steps, _steps_done(config)
    console = Console(stderr=True)
    width, height = config.panorama_size
    lines = [
        f"SpiderEye quickstart: trains a small model ({_millions(config)} M parameters, "
        f"{config.dataset.im_size}-pixel views to {width}x{height} panoramas) on {_data(config)}, "
        "evaluates it beside the geometric stitch, and writes a page with pictures, table and "
        f"curves: {report}"
    ]
    if steps is not None:
        left = max(steps - done, 0)
        evaluations = len(config.evaluation.protocols) + left // (
            config.training.eval_steps or steps
        )
        minutes = (left * SECONDS_PER_STEP + evaluations * SECONDS_PER_EVALUATION) / 60
        lines.append(
            f"{f'{left} of {steps} steps are left' if done else f'{steps} steps'}: about "
            f"{math.ceil(minutes)} min on two CPU cores. Ctrl-C stops and saves; the same command "
            "goes on from there"
        )
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _about(
    config: Config,
    command: str,
    steps: int,
    evaluations: list[Evaluation],
    times: str,
) -> dict[str, str]:
    """What was run, for the report and for results.json."""
    ssdd, training = config.ssdd, config.training
    width, height = config.panorama_size
    side = config.dataset.im_size
    which = f"EMA (decay {ssdd.ema.decay:g} from step {ssdd.ema.start_iter})"
    which = which if ssdd.weights == "ema" else "raw"
    samples = evaluations[0].samples if evaluations else 0
    return {
        "configuration": NAME,
        "command": command,
        "trained": f"{steps} steps of {config.dataset.batch_size * training.grad_accumulate} "
        f"panoramas, {training.optimizer} at {training.lr:g}, seed {config.seed}",
        "weights": f"{which}, of {config.run_folder / 'last'}",
        "data": f"{_data(config)}; {samples} panoramas for evaluation",
        "coverage": coverage(config.rig()).line().removeprefix("coverage: "),
        "networks": f"encoder {ssdd.encoder} of width {ssdd.encoder_width}, fusion "
        f"{ssdd.fusion_type}, decoder {ssdd.decoder}: {_millions(config)} M parameters; "
        f"{ssdd.n_views} views of {side}x{side} to {width}x{height} pixels",
        "sampler": f"{ssdd.fm_sampler.steps} Euler steps",
        "time": times,
        "machine": f"{platform.system()} {platform.machine()}, {_device()}",
        "versions": f"spidereye {version('spidereye')}, PyTorch {torch.__version__}, "
        f"Python {platform.python_version()}",
        "written": f"{datetime.now():%Y-%m-%d %H:%M}",
    }


def _data(config: Config) -> str:
    data, name = config.dataset, _data_name(vars(config.dataset))
    return f"{data.limit or data.scene_count_train} {name}" if data.type == "scenes" else name


def _millions(config: Config) -> str:
    return f"{parameter_count(build_on_meta(config.model())) / 1e6:.1f}"


def _device() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"CPU, {torch.get_num_threads()} threads"


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
