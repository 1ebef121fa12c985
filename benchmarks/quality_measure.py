"""One row of benchmarks/quality.py: trained, evaluated and written, in a process of its own.

What it writes are every picture's PSNR and aligned PSNR, and the pictures for the sheet.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from quality_rows import (
    METRICS,
    MODEL,
    PROTOCOLS,
    RADII,
    STEPS,
    STITCHES,
    Job,
    Plan,
    config_of,
    identity,
)
from quality_targets import BEST_SPHERE
from safetensors.torch import load_file, save

from spidereye.batches import Batch, Renderer
from spidereye.checkpoint import is_checkpoint
from spidereye.config import Config
from spidereye.evaluate import TRUTH, Evaluation, Shown, evaluate, score
from spidereye.judges import Judges
from spidereye.model import SpiderEyeModel, parameter_count
from spidereye.protocols import PROTOCOLS as ALL_PROTOCOLS
from spidereye.protocols import Shots, shots_of
from spidereye.render import RenderPlan
from spidereye.self_calibration import REFINEMENTS, Refinement
from spidereye.setup import build_accelerator, make_dataset
from spidereye.sources import open_source
from spidereye.train import train
from spidereye.weights import find_checkpoint, load_weights
from spidereye.whole_files import write_whole

_VIEWS = "views"
_BETWEEN = "|"  # parts of the names of pictures in their file


def measure(job: Job, plan: Plan, data: Path, work: Path) -> None:
    """Do a job that was not done before, or the rest of it, and write its result."""
    torch.set_num_threads(1)
    config = config_of(job, plan, data, work)
    parameters = 0
    if job.row != STITCHES:
        with _seconds(config.run_folder / "training_seconds.json"):
            train(config)
    took = _read_seconds(config.run_folder / "training_seconds.json")
    start = time.monotonic()
    config = config_of(job, plan, data, work, STEPS)
    if job.row == STITCHES:
        results = stitch_rows(config)
    else:
        model = trained(config)
        parameters = parameter_count(model)
        results = evaluated(config, model)
    protocols = {result.protocol: _values(result) for result in results}
    spheres = _spheres(protocols)
    written = {
        **identity(job, plan),
        "seed": job.seed,
        "parameters": parameters,
        "seconds": {"training": took, "evaluation": time.monotonic() - start},
        "written": time.strftime("%Y-%m-%d %H:%M"),
        "spheres": spheres,
        "protocols": protocols,
    }
    write_whole(work / f"{job.name}.safetensors", save(pictures(results)))
    write_whole(work / f"{job.name}.json", json.dumps(written, indent=1))


def trained(config: Config, checkpoint: str | None = None) -> SpiderEyeModel:
    """The EMA's model as training left it, or of another checkpoint."""
    model = SpiderEyeModel(config.model())
    wanted = checkpoint or f"{config.run_name}@last"
    load_weights(model, find_checkpoint(wanted, config.runs_dir), "ema")
    return model.eval().requires_grad_(False)


def evaluated(
    config: Config,
    model: SpiderEyeModel | None,
    protocols: Sequence[str] = PROTOCOLS,
    refine: Sequence[Refinement] = (),
) -> list[Evaluation]:
    """Each protocol, by the model or, without one, by the stitches of the evaluation.

    refine: of the stitches beside the model."""
    accelerator = build_accelerator(config)
    rig = config.rig()
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = make_dataset(config, open_source(config.source(), "val"), plan)
    renderer = Renderer(
        rig, plan, dataset.source.names, accelerator.device, degradation=config.dataset.cameras
    )
    refine = refine if model is not None else REFINEMENTS
    return [
        evaluate(config, model, MODEL, dataset, renderer, accelerator, name, refine, no_judges())
        for name in protocols
    ]


def stitch_rows(config: Config) -> list[Evaluation]:
    """The stitches of every protocol; where cameras stand apart, also the plain one on each
    sphere of RADII."""
    results = []
    for result in evaluated(config, None):
        if ALL_PROTOCOLS[result.protocol].off_centre:
            on_spheres = dict(spheres(config, result.protocol))
            result.rows.update(on_spheres)
        results.append(result)
    return results


def spheres(config: Config, protocol: str) -> Iterator[tuple[str, list[dict[str, float]]]]:
    """The plain stitch's values on each sphere, by the row's name."""
    rig = config.rig()
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    accelerator = build_accelerator(config)
    shots = shots_of(
        ALL_PROTOCOLS[protocol], Renderer(rig, plan, ()), None, config.panorama_size,
        scenes=config.evaluation.parallax_scenes,
    )  # fmt: skip
    config.evaluation.batch_size, made = 1, prepared(shots)
    for radius in RADII:
        on = replace(made, rig=replace(made.rig, sphere_radius=float(radius)))
        result = score(config, None, "", on, protocol, accelerator, (), no_judges())
        yield sphere_row(radius), result.rows["stitch"]


def sphere_row(radius: str) -> str:
    """What the plain stitch on a sphere is called."""
    return f"stitch on the sphere of {radius} m"


def prepared(shots: Shots) -> Shots:
    """The same shots, rendered once for several evaluations; for evaluation.batch_size=1."""
    batches = [shots.render([shots.dataset[index]]) for index in range(len(shots))]
    return replace(shots, dataset=batches, render=_only)


def _only(batches: list[Batch]) -> Batch:
    (batch,) = batches
    return batch


def no_judges() -> Judges:
    """For evaluations whose perceptual metrics nobody asks for."""
    return Judges(None, None, ("FID: not asked for", "LPIPS: not asked for"))


def read_shown(file: Path) -> dict[tuple[str, str], Shown]:
    """What a job showed, by protocol and picture; nothing where there is no such file."""
    found: dict[tuple[str, str], Shown] = {}
    for name, picture in (load_file(file) if file.exists() else {}).items():
        protocol, title, method = name.split(_BETWEEN)
        shown = found.setdefault((protocol, title), Shown(title, torch.empty(0), {}))
        if method == _VIEWS:
            found[protocol, title] = replace(shown, views=picture)
        else:
            shown.panoramas[method] = picture
    return found


def pictures(results: Iterable[Evaluation]) -> dict[str, torch.Tensor]:
    """What evaluations showed, for a file that `read_shown` reads."""
    made = {}
    for result in results:
        for shown in result.shown:
            for method, picture in {_VIEWS: shown.views, **shown.panoramas}.items():
                name = _BETWEEN.join((result.protocol, shown.name, method))
                made[name] = picture.clone().contiguous()
    return made


def _values(result: Evaluation) -> dict:
    rows = {
        method: {metric: [row[metric] for row in rows] for metric in METRICS}
        for method, rows in result.rows.items()
        if method != TRUTH
    }
    return {"names": result.names, "rows": rows, "notes": result.notes[2:]}


def _spheres(protocols: dict) -> dict[str, str]:
    """By protocol the sphere on which the plain stitch has the best mean PSNR; its values are
    added as a row."""
    best = {}
    for protocol, found in protocols.items():
        rows = found["rows"]
        there = {r: rows[sphere_row(r)] for r in RADII if sphere_row(r) in rows}
        if there:
            best[protocol] = max(there, key=lambda r: sum(there[r]["PSNR"]))
            rows[BEST_SPHERE] = there[best[protocol]]
    return best


@contextmanager
def _seconds(file: Path) -> Iterator[None]:
    """Adds the time of a block to what a file says, interrupted or not. Where there is no
    checkpoint yet, the count starts again."""
    before = _read_seconds(file) if is_checkpoint(file.parent / "last") else 0.0
    start = time.monotonic()
    try:
        yield
    finally:
        write_whole(file, json.dumps(before + time.monotonic() - start))


def _read_seconds(file: Path) -> float:
    return float(json.loads(file.read_text())) if file.exists() else 0.0


def steps_done(config: Config) -> int:
    """Of a run, as its log tells."""
    log = config.run_folder / "metrics.jsonl"
    if not log.exists():
        return 0
    lines = log.read_text(encoding="utf-8").splitlines()
    try:
        return max((json.loads(line)["step"] for line in lines), default=0)
    except json.JSONDecodeError:  # it is being written
        return 0


def means_of(found: Mapping) -> dict[str, dict[str, dict[str, float]]]:
    """Of a job's result: method to protocol to metric to the mean over pictures."""
    means: dict[str, dict[str, dict[str, float]]] = {}
    for protocol, values in found["protocols"].items():
        for method, metrics in values["rows"].items():
            own = means.setdefault(method, {}).setdefault(protocol, {})
            own |= {metric: sum(each) / len(each) for metric, each in metrics.items()}
    return means
