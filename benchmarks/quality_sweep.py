"""How a trained model and the stitches stand what real rigs do wrong: a panel for each axis.

Intrinsics that are not those that all methods believe, rotations, gains, cameras off the centre of
near scenes (methods know where; the plain stitch also on its best sphere), missing views (black
for the model, which has to see that itself; the stitches are told). The model takes one step. On
panoramas of val, or near scenes, at the checkpoint's sizes. A line tells every point where the
model is more than 0.3 dB below the best stitch. Points that are done are not done again.

    SPIDEREYE_SHARED=… python benchmarks/quality_sweep.py --checkpoint runs/jobs/NAME/last
    … --axes rotation missing --limit 2
"""

import argparse
import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from machine import machine, show
from quality_chart import write_chart
from quality_measure import no_judges, pictures, read_shown
from quality_points import AXES, MISSING, OFFSET, Point, listed, points, shots, without_missing
from quality_rows import METRICS, MODEL, RADII
from quality_targets import BEST_SPHERE, CALIBRATED, ONE_STEP, STITCH
from safetensors.torch import save
from session import one_line_errors, shared_panoramas

from spidereye.checkpoint import read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.cpu import keep_large_buffers
from spidereye.evaluate import START, TRUTH, Evaluation, Shown, score
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.metrics import picture_metrics
from spidereye.model import SpiderEyeModel
from spidereye.pictures import to_float, to_uint8
from spidereye.progress import progress
from spidereye.protocols import Shots
from spidereye.report import contact_sheet
from spidereye.self_calibration import REFINEMENTS
from spidereye.setup import build_accelerator
from spidereye.stitching import views_seen
from spidereye.weights import find_checkpoint, load_weights
from spidereye.whole_files import write_whole

TOLERATED = 0.3  # dB that the model may be below the best stitch
MEAN_FILL = "mean colour where unseen"
UNSEEN = "PSNR unseen"
STITCHES = (STITCH, "stitch + gain", CALIBRATED, BEST_SPHERE)
_SHEET = (TRUTH, CALIBRATED, MEAN_FILL, START, ONE_STEP)
_PICTURES = 4


@dataclass(frozen=True)
class Sweep:
    """What every point takes. identity: what a point's result has to agree with."""

    config: Config
    model: SpiderEyeModel
    scenes: int
    seed: int
    identity: dict[str, Any]

    def measured(self, point: Point) -> tuple[dict[str, Any], Evaluation | None]:
        """Every picture's values by method and metric; and of missing views the pictures."""
        config, made = self.config, shots(point, self.config, self.scenes, self.seed)
        accelerator = build_accelerator(config)

        def scored(model: SpiderEyeModel | None, given: Shots, refine=()) -> Evaluation:
            arguments = (MODEL, given, point.label, accelerator, refine, no_judges())
            return score(config, model, *arguments)

        if point.axis == MISSING:
            told = without_missing(made)
            stitched, ours = scored(None, told, REFINEMENTS), scored(self.model, made)
            joined = _joined(ours, stitched)
            return _with_unseen(joined, told)
        result = scored(self.model, made, REFINEMENTS)
        rows = dict(result.rows)
        found: dict[str, Any] = {}
        if point.axis == OFFSET:
            on_spheres = {"inf": rows[STITCH]}
            for radius in RADII[1:]:
                on = replace(made, rig=replace(made.rig, sphere_radius=float(radius)))
                on_spheres[radius] = scored(None, on).rows[STITCH]
            best = max(on_spheres, key=lambda r: sum(row["PSNR"] for row in on_spheres[r]))
            rows[BEST_SPHERE], found["best sphere"] = on_spheres[best], best
        return {**found, "names": result.names, "rows": _listed(rows)}, None


def _listed(rows: Mapping[str, list[dict[str, float]]], metrics=METRICS) -> dict[str, Any]:
    return {
        method: {metric: [_number(row[metric]) for row in values] for metric in metrics}
        for method, values in rows.items()
        if method != TRUTH
    }


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


def _joined(ours: Evaluation, stitched: Evaluation) -> Evaluation:
    """The model's rows with black views, the stitches' without them."""
    own = {k: v for k, v in ours.rows.items() if k != STITCH}
    shown = [
        replace(one, panoramas={**one.panoramas, **other.panoramas})
        for one, other in zip(ours.shown, stitched.shown, strict=True)
    ]
    return replace(ours, rows={**own, **stitched.rows}, shown=shown)


def _with_unseen(result: Evaluation, told: Shots) -> tuple[dict[str, Any], Evaluation]:
    """Values on what no view shows too, and those of filling it with the mean of what is seen."""
    rows: dict[str, list[dict[str, float]]] = {}
    shares, shown = [], []
    batches: Any = told.dataset
    for one, batch in zip(result.shown, batches, strict=True):
        truth = to_float(one.panoramas[TRUTH])[None]
        seen = views_seen(batch.cameras, *truth.shape[-2:]) > 0
        shares.append(1 - float(seen.double().mean()))
        plain = to_float(one.panoramas[STITCH])[None]
        mean = (plain * seen).sum((2, 3), keepdim=True) / seen.sum()
        filled = to_uint8(torch.where(seen, plain, mean)[0])
        made = {**one.panoramas, MEAN_FILL: filled}
        shown.append(replace(one, panoramas=made))
        for method, picture in made.items():
            values = picture_metrics(to_float(picture)[None], truth, seen, None)
            rows.setdefault(method, []).append({k: float(v) for k, v in values.items()})
    listed = _listed(rows, (*METRICS, UNSEEN))
    return (
        {"names": result.names, "rows": listed, "unseen": sum(shares) / len(shares)},
        replace(result, rows=rows, shown=shown),
    )


def means(found: Mapping[str, Any], metric: str) -> dict[str, float]:
    """By method, over the pictures that have a value."""
    made = {}
    for method, values in found["rows"].items():
        some = [value for value in values.get(metric, ()) if value is not None]
        if some:
            made[method] = sum(some) / len(some)
    return made


def shortfalls(found: Mapping[Point, Mapping[str, Any]]) -> list[str]:
    """A line for each point and metric by which the model is too far below the best stitch, and
    for missing views where it does not fill better than the mean colour."""
    lines = []
    for point, values in found.items():
        for metric in METRICS:
            by = means(values, metric)
            best = max((name for name in STITCHES if name in by), key=lambda name: by[name])
            if by[ONE_STEP] < by[best] - TOLERATED:
                lines.append(
                    f"{point.label}: {metric} of the model {by[ONE_STEP]:.2f} dB is "
                    f"{by[best] - by[ONE_STEP]:.2f} below {best} ({by[best]:.2f})"
                )
        unseen = means(values, UNSEEN)
        if unseen and unseen[ONE_STEP] <= unseen[MEAN_FILL]:
            lines.append(
                f"{point.label}: {UNSEEN} of the model {unseen[ONE_STEP]:.2f} dB is not above the "
                f"mean colour's {unseen[MEAN_FILL]:.2f}"
            )
    return lines


def loaded(arguments: argparse.Namespace, data: Path) -> Sweep:
    """The checkpoint's EMA model and its configuration. Raises SpiderEyeError."""
    path = find_checkpoint(str(arguments.checkpoint), "runs").path
    config = config_from_dict(read_config(path), ["evaluation.steps=[1]", "seed=0"])
    config.dataset.type, config.dataset.root = "folder", str(data)
    config.dataset.limit, config.dataset.num_workers = arguments.limit, 0
    config.dataset.cache = False
    config.evaluation.batch_size, config.show_samples, config.task = 1, 10**6, "eval"
    model = SpiderEyeModel(config.model())
    load_weights(model, find_checkpoint(str(path)), "ema")
    weights = hashlib.sha256((path / "ema.safetensors").read_bytes()).hexdigest()[:16]
    kept = ("limit", "scenes", "seed")
    identity = {"weights": weights, **{name: getattr(arguments, name) for name in kept}}
    identity["data"] = str(data.resolve())
    model.eval().requires_grad_(False)
    return Sweep(config, model, arguments.scenes, arguments.seed, identity)


def done(point: Point, work: Path, identity: dict) -> dict[str, Any] | None:
    """A point's result, where it was measured before in just this way."""
    file = work / f"{point.name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    return found if found.get("identity") == identity else None


def measure(sweep: Sweep, wanted: list[Point], work: Path) -> dict[Point, dict[str, Any]]:
    """Every point, those that are not there yet measured and written. Raises Interrupt after
    Ctrl-C, at the end of a point."""
    with progress("points", len(wanted)) as meter, stop_after_step() as stop:
        for point in wanted:
            if stop.requested:
                raise Interrupt(f"stopped; the same command goes on from {work}")
            if done(point, work, sweep.identity) is None:
                values, shown = sweep.measured(point)
                if shown is not None:
                    some = replace(shown, shown=shown.shown[:_PICTURES])
                    write_whole(work / f"{point.name}.safetensors", save(pictures([some])))
                result = {"identity": sweep.identity, **values}
                write_whole(work / f"{point.name}.json", json.dumps(result, indent=1))
            meter.advance(say=point.label)
    return {point: done(point, work, sweep.identity) or {} for point in wanted}


def show_points(found: Mapping[Point, Mapping[str, Any]]) -> None:
    """Tables of all means."""
    methods = (ONE_STEP, START, *STITCHES)
    rows = []
    for point, values in found.items():
        by = [means(values, metric) for metric in METRICS]
        cells = [" / ".join(f"{b[m]:.2f}" if m in b else "–" for b in by) for m in methods]
        rows.append((point.label, *cells))
    show("PSNR / aligned PSNR in dB, means over pictures", ("point", *methods), rows)
    fills = (ONE_STEP, START, CALIBRATED, MEAN_FILL)
    rows = []
    for point, values in found.items():
        by = means(values, UNSEEN)
        if by:
            cells = [f"{by[m]:.2f}" if m in by else "–" for m in fills]
            rows.append((point.label, f"{values['unseen']:.1%}", *cells))
    if rows:
        show("PSNR on what no view shows", ("point", "of the panorama", *fills), rows)


def chart(found: Mapping[Point, Mapping[str, Any]], axes: Sequence[str], path: Path) -> None:
    """The PNG: a panel for each axis and metric."""
    values = [
        [{p.value: means(v, m) for p, v in found.items() if p.axis == axis} for m in METRICS]
        for axis in axes
    ]
    write_chart([AXES[axis] for axis in axes], values, (ONE_STEP, *STITCHES), path)


def missing_sheet(found: Mapping[Point, Mapping[str, Any]], work: Path, path: Path) -> None:
    """Pictures of the points with missing views."""
    shown, rows = [], {}
    for point, values in found.items():
        if point.axis != MISSING or not point.value:
            continue
        for one in read_shown(work / f"{point.name}.safetensors").values():
            order = [method for method in _SHEET if method in one.panoramas]
            chosen = {method: one.panoramas[method] for method in order}
            shown.append(Shown(f"{point.label}: {one.name}", one.views, chosen))
            place = values["names"].index(one.name)
            for method in order[1:]:
                score = values["rows"][method]["PSNR"][place]
                rows.setdefault(method, []).append({"PSNR": score})
    contact_sheet(Evaluation("", 0, {}, rows, [one.name for one in shown], [], shown), path)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", required=True, help="a run's folder or name")
    parser.add_argument("--axes", nargs="+", choices=AXES, default=list(AXES))
    parser.add_argument("--limit", type=int, help="pictures of val; all by default")
    parser.add_argument("--scenes", type=int, default=6, help="for the axis offset")
    parser.add_argument("--seed", type=int, default=0, help="of all draws")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/quality_sweep"))
    parser.add_argument("--out", type=Path, help="the PNG; JSON and sheet lie beside it")
    arguments = parser.parse_args()
    data = shared_panoramas()
    keep_large_buffers()
    torch.set_num_threads(1)
    work = arguments.work
    out = arguments.out or work.with_suffix(".png")
    with one_line_errors(work):
        sweep = loaded(arguments, data)
        found = measure(sweep, points(arguments.axes), work)
    about = {**machine(threads=1), **{k: str(v) for k, v in sweep.identity.items()}}
    about["checkpoint"] = Path(arguments.checkpoint).name
    about["panorama"] = str(sweep.config.panorama_size)
    lines = shortfalls(found) or [f"nowhere is the model {TOLERATED} dB below the best stitch"]
    text = json.dumps({"about": about, "lines": lines, "points": listed(found)}, indent=1)
    write_whole(out.with_suffix(".json"), text)
    chart(found, arguments.axes, out)
    sheet = out.with_name(f"{out.stem}_missing.png")
    missing_sheet(found, work, sheet)
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    show_points(found)
    print(*lines, f"written: {out}, {out.with_suffix('.json')}, {sheet}", sep="\n")


if __name__ == "__main__":
    main()
