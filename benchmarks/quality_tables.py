"""What benchmarks/quality.py says in the end: table, times, targets and sheet of pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from machine import show
from quality_measure import means_of, read_shown
from quality_rows import (
    METRICS,
    MODEL,
    ONE_RADIUS,
    PROTOCOLS,
    RADII,
    STEPS,
    STITCHES,
    WINNER,
    Job,
    Plan,
    row_settings,
)
from quality_targets import BEST_SPHERE, CALIBRATED, ONE_STEP, STITCH, outcomes

from spidereye.evaluate import START, TRUTH, Evaluation, Shown
from spidereye.report import contact_sheet

_STITCH_ROWS = (STITCH, "stitch + gain", CALIBRATED, BEST_SPHERE)
_MODEL_ROWS = (*(f"{MODEL}, {count} step{'s' * (count > 1)}" for count in STEPS), START)
_SHEET = (STITCH, CALIBRATED, START, ONE_STEP)


def results(found: Mapping[Job, dict], plan: Plan) -> dict[str, Any]:
    """For the JSON: every mean by row, method, protocol and metric, of each seed; times, settings,
    targets, and every picture's values."""
    means: dict[tuple[str, str], dict[str, dict[str, list[float]]]] = {}
    for job, done in found.items():
        for method, protocols in means_of(done).items():
            if job.row != STITCHES and method == STITCH:
                continue  # the same for every row
            row = method if job.row == STITCHES else job.row
            for protocol, metrics in protocols.items():
                into = means.setdefault((row, method), {}).setdefault(protocol, {})
                for metric, value in metrics.items():
                    into.setdefault(metric, []).append(value)
    targets = outcomes(means, plan.size)
    return {
        "means": [
            {"row": row, "method": method, **protocols}
            for (row, method), protocols in means.items()
        ],
        "targets": [vars(outcome) for outcome in targets],
        "target_cells": [outcome.cells for outcome in targets],
        "rows": {
            job.name: {
                "row": job.row,
                "seed": job.seed,
                "told": {} if job.row == STITCHES else row_settings(job.row),
                **{key: done[key] for key in ("settings", "parameters", "seconds", "written")},
                "spheres": done["spheres"],
                "protocols": done["protocols"],
            }
            for job, done in found.items()
        },
    }


def show_results(about: Mapping[str, str], made: Mapping[str, Any]) -> None:
    """Print all of it."""
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    entries = {(entry["row"], entry["method"]): entry for entry in made["means"]}
    rows = []
    for (row, method), entry in entries.items():
        if method not in (*_STITCH_ROWS, *_MODEL_ROWS):
            continue
        cells = [
            " / ".join(_cell(entry.get(protocol, {}).get(metric)) for metric in METRICS)
            for protocol in PROTOCOLS
        ]
        rows.append((row, "" if row == method else method, *cells))
    show(
        "PSNR / aligned PSNR in dB, means over pictures (several seeds: their mean, least…most)",
        ("row", "by", *PROTOCOLS), rows,
    )  # fmt: skip
    spheres = [
        (radius, _cell(entries[name, name]["parallax"]["PSNR"]))
        for radius in RADII
        if (name := f"stitch on the sphere of {radius} m", name) and (name, name) in entries
    ]
    if spheres:
        show("plain stitch on one sphere, parallax, PSNR", ("radius in m", "dB"), spheres)
    times = [
        (name, f"{row['parameters'] / 1e6:.2f}", *(_minutes(s) for s in row["seconds"].values()))
        for name, row in made["rows"].items()
    ]
    columns = ("row and seed", "parameters, M", "training, data made included", "evaluation")
    show("minutes of one process with one thread", columns, times)
    show(
        f"must reach ({WINNER} by the mean of its seeds; one radius: {ONE_RADIUS})",
        ("what", "asked", "measured", "met"), made["target_cells"],
    )  # fmt: skip
    notes = {
        f"{name}, {protocol}: {note}"
        for name, row in made["rows"].items()
        if row["row"] in (STITCHES, WINNER)
        for protocol, values in row["protocols"].items()
        for note in values["notes"]
    }
    for note in sorted(notes):
        print(note)


def write_sheet(found: Mapping[Job, dict], work: Path, path: Path) -> None:
    """A few pictures of every protocol: views, truth, stitches, start and one step of the winner,
    or of the last row that there is."""
    trained = [job for job in found if job.row != STITCHES]
    best = [job for job in trained if job.row == WINNER] or trained[-1:]
    sources = [job for job in found if job.row == STITCHES] + best[:1]
    shown: dict[tuple[str, str], Shown] = {}
    scores: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for job in sources:
        for (protocol, name), picture in read_shown(work / f"{job.name}.safetensors").items():
            title = f"{protocol}: {name}"
            into = shown.setdefault((protocol, name), Shown(title, picture.views, {}))
            into.panoramas.update(picture.panoramas)
            values = found[job]["protocols"][protocol]
            place = values["names"].index(name)
            for method, metrics in values["rows"].items():
                score = {metric: metrics[metric][place] for metric in METRICS}
                scores.setdefault((protocol, name), {})[method] = score
    order = [
        method
        for method in (TRUTH, *_SHEET)
        if shown and all(method in one.panoramas for one in shown.values())
    ]
    pictures = [
        Shown(one.name, one.views, {method: one.panoramas[method] for method in order})
        for one in shown.values()
    ]
    rows = {method: [scores[key][method] for key in shown] for method in order if method != TRUTH}
    names = [one.name for one in pictures]
    contact_sheet(Evaluation("", len(names), {}, rows, names, [], pictures), path)


def _cell(values: list[float] | None) -> str:
    if not values:
        return "–"
    mean = f"{sum(values) / len(values):.2f}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.2f}…{max(values):.2f})"


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.1f}"
