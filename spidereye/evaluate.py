"""Evaluation: the model and the geometric stitches of the same views, side by side.

Noise comes from (seed, sample index), every sample counts exactly once, each is self-calibrated by
itself, and pictures are rounded to 8 bits before any metric; so all that batch size and process
count change is the order of sums in float32, in a number's last digits.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from spidereye.batches import Batch, EverySampleOnce, PanoramaDataset, Renderer, loader
from spidereye.conditions import Conditions
from spidereye.config import Config
from spidereye.judges import FIDs, Judges
from spidereye.metrics import METRICS, mean_rows, picture_metrics
from spidereye.model import SpiderEyeModel
from spidereye.perceptual import LPIPS
from spidereye.pictures import to_uint8
from spidereye.progress import progress
from spidereye.protocols import PROTOCOLS, Shots, shots_of
from spidereye.randomness import normal
from spidereye.self_calibration import Refinement
from spidereye.stitch_rows import CalibratedShots, refinements, skip_notes, stitched

TRUTH = "ground truth"
START = "start"  # what the flow starts from: geometry without a network


@dataclass(frozen=True)
class Shown:
    """One sample's pictures for contact sheets, 8 bits."""

    name: str
    views: UInt8[Tensor, "N 3 h w"]
    panoramas: dict[str, UInt8[Tensor, "3 H W"]]  # by method, the truth first


@dataclass(frozen=True)
class Evaluation:
    """table: {method: {metric: mean over pictures, or None where no picture has one}}.
    rows: the same per picture, in the order of `names`.   notes: what a reader must know."""

    protocol: str
    samples: int
    table: dict[str, dict[str, float | None]]
    rows: dict[str, list[dict[str, float]]]
    names: list[str]
    notes: list[str]
    shown: list[Shown] = field(default_factory=list)


@dataclass(frozen=True)
class _Scored:
    """One sample: {method: {metric: value}}, and what self-calibration skipped, by method."""

    index: int
    name: str
    scores: dict[str, dict[str, float]]
    skipped: dict[str, list[str]]


def evaluate(
    config: Config,
    model: SpiderEyeModel | None,
    label: str,
    dataset: PanoramaDataset | None,
    renderer: Renderer,
    accelerator: Accelerator,
    protocol: str = "clean",
    refine: Sequence[Refinement] = (),
    judges: Judges | None = None,
) -> Evaluation:
    """Score `model` (in eval mode, on the accelerator's device) and the stitch on every sample.

    model: None: the geometric methods only.
    label: what the model's row is called; it names the weights.
    dataset: None where the protocol needs no panoramas.
    renderer: its jitter is replaced by the protocol's.
    protocol: a name in PROTOCOLS.
    refine: each adds a row to the plain stitch's, self-calibrated by it and those before it.
    judges: None: loaded for this evaluation.
    """
    shots = shots_of(
        PROTOCOLS[protocol],
        renderer,
        dataset,
        config.panorama_size,
        config.evaluation.reference_view,
        config.evaluation.parallax_scenes,
    )
    return score(config, model, label, shots, protocol, accelerator, refine, judges)


def score(
    config: Config,
    model: SpiderEyeModel | None,
    label: str,
    shots: Shots,
    protocol: str,
    accelerator: Accelerator,
    refine: Sequence[Refinement] = (),
    judges: Judges | None = None,
) -> Evaluation:
    """`evaluate` on any shots. protocol: what they are called."""
    judges = judges or Judges.load(accelerator.device)
    stitches = refinements(refine)
    conditioner = config.conditioner() if model is not None else None
    steps = _step_rows(config, label) if model is not None else {}
    starts = [START] if model is not None and config.ssdd.prior == "stitch" else []
    methods = [*steps, *starts, *stitches]
    fids = FIDs(judges.extractor, methods) if judges.extractor is not None else None
    batches = EverySampleOnce(
        len(shots),
        config.evaluation.batch_size,
        accelerator.process_index,
        accelerator.num_processes,
    )
    results: list[_Scored] = []
    shown: list[tuple[int, Shown]] = []
    quiet = not accelerator.is_main_process
    workers = worker_count(config)[0] if len(shots) > shots.few else 0
    samples = loader(shots.dataset, batches, workers)
    with progress(f"evaluating ({protocol})", len(batches.indices), quiet=quiet) as meter:
        for raw in samples:
            batch = shots.render(raw)
            radius = shots.rig.sphere_radius
            found = CalibratedShots(batch, shots.reference, radius)
            geometric, seen, skipped = stitched(batch, stitches, found, radius)
            made = {}
            if model is not None:
                given = Conditions(batch.views)
                if conditioner is not None:
                    given = found.conditions(conditioner).to(accelerator.device)
                made = _decoded(config, model, given, batch, steps, accelerator)
            made |= geometric
            scores = _scores(batch, made, seen, judges.lpips)
            parts = zip(batch.indices, batch.names, scores, skipped, strict=True)
            results += [_Scored(*part) for part in parts]
            shown += _shown(batch, made, config.show_samples)
            if fids is not None:
                fids.update(
                    to_uint8(batch.panorama), {name: to_uint8(p) for name, p in made.items()}
                )
            meter.advance(len(raw))
    if accelerator.num_processes > 1:
        results, shown = gather_object(results), gather_object(shown)
    results.sort(key=lambda result: result.index)
    shown.sort(key=lambda item: item[0])
    rows = {name: [result.scores[name] for result in results] for name in [*methods, TRUTH]}
    table = {name: _in_order(mean_rows(values)) for name, values in rows.items()}
    for name, distance in (fids.compute() if fids is not None else {}).items():
        table[name]["FID"] = distance
    return Evaluation(
        protocol,
        len(results),
        table,
        rows,
        [result.name for result in results],
        [*judges.notes, *skip_notes([result.skipped for result in results], stitches)],
        [picture for _, picture in shown],
    )


def worker_count(config: Config) -> tuple[int, str | None]:
    """(workers per process, a note where the machine's cores lowered the configured number)."""
    cores = len(os.sched_getaffinity(0))
    wanted = config.dataset.num_workers
    if wanted <= cores:
        return wanted, None
    return cores, f"dataset.num_workers={wanted} lowered to {cores}, the machine's cores"


def _step_rows(config: Config, label: str) -> dict[str, int]:
    """{row: steps of the sampler}."""
    counts = config.evaluation.steps
    if not counts:
        return {label: config.sampler_steps}
    return {f"{label}, {count} step{'s' * (count > 1)}": count for count in counts}


@torch.inference_mode()
def _decoded(
    config: Config,
    model: SpiderEyeModel,
    given: Conditions,
    batch: Batch,
    steps: dict[str, int],
    accelerator: Accelerator,
) -> dict[str, Float[Tensor, "B 3 H W"]]:
    """The model's panorama for each row of steps, and what it starts from."""
    keys = [(index,) for index in batch.indices]
    shape = tuple(batch.panorama.shape[1:])
    noise = normal(config.seed, "evaluation noise", keys, shape).to(batch.views.device)
    with accelerator.autocast():
        z = model.encode(given)
        made = {
            row: model.decode(z, given, noise, count, config.ssdd.fm_sampler.t_pow_shift).float()
            for row, count in steps.items()
        }
    if given.start is not None:
        made[START] = given.start
    return made


def _scores(
    batch: Batch, made: dict[str, Tensor], seen: Bool[Tensor, "B 1 H W"], lpips: LPIPS | None
) -> list[dict[str, dict[str, float]]]:
    """Per sample: {method: {metric: value}}; the ground truth has a seam error only."""
    scored = {
        name: picture_metrics(panorama, batch.panorama, seen, lpips)
        for name, panorama in made.items()
    }
    own = picture_metrics(batch.panorama, batch.panorama, seen, None)
    scored[TRUTH] = {"seam error": own["seam error"]}
    return [
        {
            name: {metric: float(values[i]) for metric, values in metrics.items()}
            for name, metrics in scored.items()
        }
        for i in range(len(batch.indices))
    ]


def _shown(batch: Batch, made: dict[str, Tensor], count: int) -> list[tuple[int, Shown]]:
    pictures = {TRUTH: batch.panorama, **made}
    return [
        (
            index,
            Shown(
                batch.names[i],
                to_uint8(batch.views[i]).cpu(),
                {name: to_uint8(panorama[i]).cpu() for name, panorama in pictures.items()},
            ),
        )
        for i, index in enumerate(batch.indices)
        if index < count
    ]


def _in_order(row: dict[str, float | None]) -> dict[str, float | None]:
    return {name: row.get(name) for name in METRICS}
