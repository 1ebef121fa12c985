"""What the commands do: the verbs, with what people see on the terminal."""

from datetime import datetime
from pathlib import Path
from typing import cast

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import broadcast_object_list, parse_flag_from_env
from rich.console import Console
from safetensors import safe_open

from spidereye.batches import Renderer
from spidereye.checkpoint import Weights, read_config
from spidereye.config import Config, SsddConfig
from spidereye.config_files import config_from_dict, config_to_dict, load_config
from spidereye.errors import SpiderEyeError
from spidereye.evaluate import Evaluation, evaluate
from spidereye.judges import Judges
from spidereye.model import SpiderEyeModel, as_used
from spidereye.protocols import PROTOCOLS
from spidereye.published import WRAPPERS
from spidereye.render import RenderPlan
from spidereye.report import contact_sheet, print_table, write_results
from spidereye.self_calibration import Refinement
from spidereye.setup import announce_rig, build_accelerator, make_dataset, say
from spidereye.sources import open_source
from spidereye.train import train
from spidereye.weights import Found, find_checkpoint, load_weights


def run_job(name: str, overrides: list[str], config_dir: str | None, command: str) -> None:
    """Train or evaluate as a named config with overrides says. command: what was typed."""
    config = load_config(name, overrides, config_dir)
    if config.run_name is None:
        config.run_name = _time_stamp()
        command += f" run_name={config.run_name}"
    if config.task == "eval":
        run_evaluation(config)
    else:
        train(config, command)


def _time_stamp() -> str:
    """<date>/<time>, the same in every process."""
    stamps = [f"{datetime.now():%Y-%m-%d/%H-%M-%S}"]
    # As Accelerator itself asks for it; another answer here would leave each process on its own.
    PartialState(cpu=parse_flag_from_env("ACCELERATE_USE_CPU"))
    return broadcast_object_list(stamps)[0]


def _found(specification: str, overrides: list[str]) -> Found:
    """The checkpoint of a specification, where the overrides say that runs are."""
    given = [item.split("=", 1)[1] for item in overrides if item.startswith("runs_dir=")]
    return find_checkpoint(specification, given[-1] if given else Config.runs_dir)


def evaluate_checkpoint(specification: str, overrides: list[str]) -> None:
    """Evaluate a checkpoint with its own configuration, changed by the overrides."""
    found = _found(specification, overrides)
    if not found.is_ours:
        raise SpiderEyeError(
            f"{found.path} carries no configuration; evaluate it with one: spidereye train "
            f"-cn SpiderEye task=eval ssdd.checkpoint={found.path} …"
        )
    values = read_config(found.path)
    values["ssdd"]["weights"] = SsddConfig.weights  # its own says what it began with
    config = config_from_dict(values, overrides)
    config.task, config.ssdd.checkpoint = "eval", str(found.path)
    if not any(item.startswith("run_name=") for item in overrides):
        config.run_name = f"eval-{_time_stamp()}"
    run_evaluation(config)


def distill_checkpoint(specification: str, overrides: list[str], command: str) -> None:
    """Train a student of a checkpoint, with its configuration changed by the overrides.

    command: what was typed.
    Raises SpiderEyeError for a checkpoint that carries no configuration, and a student's.
    """
    found = _found(specification, overrides)
    if not found.is_ours:
        raise SpiderEyeError(
            f"{found.path} carries no configuration; name one: spidereye train -cn SpiderEye "
            f"distill_teacher=true ssdd.checkpoint={found.path} …"
        )
    values = read_config(found.path)
    if values["distill_teacher"]:
        raise SpiderEyeError(f"{found.path} takes one step already: it was distilled itself")
    # The teacher's own name and beginning are not its student's.
    values |= {"run_name": None, "task": "train", "distill_teacher": True}
    values["ssdd"] |= {"checkpoint": str(found.path.resolve()), "weights": SsddConfig.weights}
    config = config_from_dict(values, overrides)
    if config.run_name is None:
        config.run_name = _time_stamp()
        command += f" run_name={config.run_name}"
    train(config, command)


def evaluate_stitch(
    config_name: str, overrides: list[str], config_dir: str | None = None
) -> list[Evaluation]:
    """Evaluate the geometric stitches alone, as a named config with overrides says: no checkpoint,
    and no data where only protocols of procedural scenes are asked for."""
    config = load_config(config_name, overrides, config_dir)
    if config.ssdd.checkpoint is not None:
        raise SpiderEyeError(
            f"ssdd.checkpoint={config.ssdd.checkpoint}: the geometric stitches need no weights; "
            "leave it out, or evaluate the checkpoint, which has their rows too"
        )
    config.task = "eval"
    if not any(item.startswith("run_name=") for item in overrides):
        config.run_name = f"eval-stitch-{_time_stamp()}"
    return _evaluate(config, build_accelerator(config), None, "", config.run_folder)


def run_evaluation(config: Config, folder: Path | None = None) -> list[Evaluation]:
    """Every configured protocol on the validation split: tables, results.json, contact sheets.

    folder: where the files go; None: the run folder.
    """
    if config.ssdd.checkpoint is None:
        raise SpiderEyeError(
            "task=eval needs weights: set ssdd.checkpoint=…, or evaluate the geometric stitches "
            "alone: spidereye eval stitch"
        )
    found = find_checkpoint(config.ssdd.checkpoint, config.runs_dir)
    if found.is_ours and read_config(found.path)["distill_teacher"]:
        config.distill_teacher = True  # which means one step
    accelerator = build_accelerator(config)
    torch.manual_seed(config.seed)  # a published checkpoint leaves the fusion as it starts
    model = SpiderEyeModel(config.model())
    weights: Weights = "ema" if config.ssdd.weights == "ema" else "raw"
    origin = load_weights(model, found, weights)
    say(accelerator, f"evaluating {origin}")
    as_used(model).to(accelerator.device)
    row = row_of(found, weights)
    return _evaluate(config, accelerator, model, origin, folder or config.run_folder, row)


def row_of(found: Found, weights: Weights) -> str:
    """What the model's row is called: which weights it has, where the checkpoint has both."""
    if not found.is_ours:
        with safe_open(found.path, "pt") as file:
            names = file.keys()
        if not any(name.startswith(WRAPPERS[weights]) for name in names):
            return "model"
    return f"model ({weights})"


def _evaluate(
    config: Config,
    accelerator: Accelerator,
    model: SpiderEyeModel | None,
    origin: str,
    folder: Path,
    row: str = "model",
) -> list[Evaluation]:
    """The configured protocols. origin: of the model's weights.   row: what theirs is called."""
    rig = announce_rig(config, accelerator)
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = None
    if any(PROTOCOLS[name].needs_panoramas for name in config.evaluation.protocols):
        dataset = make_dataset(config, open_source(config.source(), "val"), plan)
    names = dataset.source.names if dataset is not None else ()
    renderer = Renderer(rig, plan, names, accelerator.device, degradation=config.dataset.cameras)
    judges = Judges.load(accelerator.device)
    results = []
    for protocol in config.evaluation.protocols:
        result = evaluate(
            config,
            model,
            row,
            dataset,
            renderer,
            accelerator,
            protocol,
            cast(list[Refinement], config.evaluation.refine),
            judges,
        )
        results.append(result)
        if accelerator.is_main_process:
            print_table(result, Console())
            contact_sheet(result, folder / f"contact_sheet_{protocol}.png")
    if accelerator.is_main_process:
        about = {"weights": origin or None, "config": config_to_dict(config)}
        write_results(results, folder / "results.json", about)
        print(f"results: {folder}/results.json and contact_sheet_*.png")
    # A process that ends with its group alive may abort while Gloo's threads let their work go.
    accelerator.end_training()
    return results
