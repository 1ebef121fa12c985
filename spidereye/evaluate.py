"""Evaluation: the model and the geometric stitch of the same views, side by side.

Noise comes from (seed, sample index), every sample counts exactly once, and pictures are rounded
to 8 bits before any metric; so the numbers do not depend on batch size or process count.
"""

import os
from dataclasses import dataclass, field
from typing import Literal

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

from spidereye.batches import Batch, EverySampleOnce, PanoramaDataset, Renderer, loader
from spidereye.config import Config
from spidereye.jitter import JitterConfig
from spidereye.metrics import METRICS, build_fid, build_lpips, mean_rows, picture_metrics
from spidereye.model import SpiderEyeModel
from spidereye.perceptual import LPIPS
from spidereye.pictures import to_uint8
from spidereye.progress import progress
from spidereye.randomness import normal
from spidereye.stitching import stitch

Protocol = Literal["clean", "jitter"]
STITCH, TRUTH = "stitch", "ground truth"

# The documented training jitter with ξ and f left alone, drawn at seed 0 (design §3).
JITTER_PROTOCOL = JitterConfig(xi=0.0, f=0.0)


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


def evaluate(
    config: Config,
    model: SpiderEyeModel,
    label: str,
    dataset: PanoramaDataset,
    renderer: Renderer,
    accelerator: Accelerator,
    protocol: Protocol = "clean",
) -> Evaluation:
    """Score `model` (in eval mode, on the accelerator's device) and the stitch on every sample.

    label: what the model's row is called; it names the weights.
    renderer: its jitter is replaced by the protocol's.
    """
    jitter = JITTER_PROTOCOL if protocol == "jitter" else None
    renderer = Renderer(
        renderer.rig, renderer.plan, renderer.names, renderer.device, jitter, seed=0
    )
    fids, note = {}, ""
    for method in (label, STITCH):
        fids[method], note = build_fid()
    lpips, lpips_note = build_lpips()
    notes = [note, lpips_note]
    if lpips is not None:
        lpips.to(accelerator.device)
    batches = EverySampleOnce(
        len(dataset),
        config.evaluation.batch_size,
        accelerator.process_index,
        accelerator.num_processes,
    )
    results: list[tuple[int, str, dict[str, dict[str, float]]]] = []
    shown: list[tuple[int, Shown]] = []
    quiet = not accelerator.is_main_process
    samples = loader(dataset, batches, 0 if len(dataset) < 8 else worker_count(config)[0])
    with progress(f"evaluating ({protocol})", len(batches.indices), quiet=quiet) as meter:
        for raw in samples:
            batch = renderer(raw)
            height, width = batch.panorama.shape[-2:]
            geometric = stitch(
                batch.views.unbind(1), batch.cameras, height, width, renderer.rig.sphere_radius
            )
            made = {label: _decode(config, model, batch, accelerator), STITCH: geometric.panorama}
            scores = _scores(batch, made, geometric.count > 0, lpips)
            results += zip(batch.indices, batch.names, scores, strict=True)
            shown += _shown(batch, made, config.show_samples)
            for name, fid in fids.items():
                if fid is not None:
                    fid.update(to_uint8(batch.panorama), real=True)
                    fid.update(to_uint8(made[name]), real=False)
            meter.advance(len(raw))
    if accelerator.num_processes > 1:
        results, shown = gather_object(results), gather_object(shown)
    results.sort(key=lambda result: result[0])
    shown.sort(key=lambda item: item[0])
    rows = {name: [scores[name] for _, _, scores in results] for name in (label, STITCH, TRUTH)}
    table = {name: _in_order(mean_rows(values)) for name, values in rows.items()}
    for name, fid in fids.items():
        if fid is not None:
            table[name]["FID"] = fid.compute()
    names = [name for _, name, _ in results]
    return Evaluation(
        protocol, len(results), table, rows, names, notes, [picture for _, picture in shown]
    )


def worker_count(config: Config) -> tuple[int, str | None]:
    """(workers per process, a note where the machine's cores lowered the configured number)."""
    cores = len(os.sched_getaffinity(0))
    wanted = config.dataset.num_workers
    if wanted <= cores:
        return wanted, None
    return cores, f"dataset.num_workers={wanted} lowered to {cores}, the machine's cores"


@torch.inference_mode()
def _decode(
    config: Config, model: SpiderEyeModel, batch: Batch, accelerator: Accelerator
) -> Float[Tensor, "B 3 H W"]:
    keys = [(index,) for index in batch.indices]
    shape = tuple(batch.panorama.shape[1:])
    noise = normal(config.seed, "evaluation noise", keys, shape).to(batch.views.device)
    sampler = config.ssdd.fm_sampler
    with accelerator.autocast():
        z = model.encode(batch.views)
        return model.decode(z, noise, sampler.steps, sampler.t_pow_shift).float()


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
