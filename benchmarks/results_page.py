"""docs/results.md and its figures, from what benchmarks/results.py measured."""

import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from machine import show
from PIL import Image
from quality_measure import read_shown
from quality_points import Point, listed

from spidereye.evaluate import START, TRUTH, Evaluation, Shown
from spidereye.report import contact_sheet
from spidereye.whole_files import write_whole

ONE_STEP = "model, 1 step"
UNSEEN = "PSNR unseen"
_METRICS = ("PSNR", "aligned PSNR", "SSIM", "WS-PSNR", "seam error")
_INTERVALS = ("PSNR", "aligned PSNR", UNSEEN)  # metrics with one
_SHEET = (TRUTH, "stitch", "stitch + gain + rotation", ONE_STEP)
_DRAWS = 10_000  # of pictures, for an interval
_EXAMPLES, _WORST = 1, 6  # pictures of each case; and of those where the model does worst


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean over pictures and its 95 % interval, by drawing pictures anew (bootstrap)."""
    array = np.asarray(values, dtype=np.float64)
    draws = np.random.default_rng(0).integers(len(array), size=(_DRAWS, len(array)))
    low, high = np.quantile(array[draws].mean(axis=1), (0.025, 0.975))
    return float(array.mean()), float(low), float(high)


def values_of(found: Mapping[str, Any], method: str, metric: str) -> list[float]:
    """Of the pictures that have one."""
    listed = found["rows"].get(method, {}).get(metric) or []
    return [value for value in listed if value is not None]


def best_stitch(found: Mapping[str, Any], metric: str) -> str:
    """The stitch with the highest mean."""
    names = [name for name in found["rows"] if name.startswith("stitch")]
    return max(names, key=lambda name: np.mean(values_of(found, name, metric)))


def gain(found: Mapping[str, Any], metric: str) -> tuple[float, float, float]:
    """One step of the model above the best stitch of the same pictures: mean and interval."""
    ours = found["rows"][ONE_STEP][metric]
    theirs = found["rows"][best_stitch(found, metric)][metric]
    pairs = zip(ours, theirs, strict=True)
    return interval([one - other for one, other in pairs if None not in (one, other)])


def reached(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, str, str]]:
    """(what, asked, measured, met) of what the released weights have to reach."""
    rows = []
    asked = (
        ("clean", "PSNR", 0.5), ("jitter", "PSNR", 0.1), ("jitter", "aligned PSNR", 0.4),
        ("parallax", "PSNR", 2.0), ("clean 1024", "PSNR", 0.0), ("jitter 1024", "PSNR", 0.0),
        ("two missing", UNSEEN, 1.0), ("one missing", UNSEEN, 1.0),
    )  # fmt: skip
    for name, metric, least in asked:
        if name not in found:
            continue
        mean, low, high = gain(found[name], metric)
        met = "yes" if mean >= least else "no"
        what = f"{name}: {metric} above {best_stitch(found[name], metric)}"
        rows.append((what, f"≥ +{least:g} dB", f"{mean:+.2f} [{low:+.2f}, {high:+.2f}]", met))
    for name in ("clean", "jitter"):
        if name in found:
            ours, truth = (
                float(np.mean(values_of(found[name], method, "seam error")))
                for method in (ONE_STEP, TRUTH)
            )
            met = "yes" if abs(ours - truth) <= 0.1 * truth else "no"
            measured = f"{ours:.3f}, truth {truth:.3f}"
            rows.append((f"{name}: seam error", "the truth's within ±10 %", measured, met))
    return rows


def table_of(found: Mapping[str, Any]) -> list[str]:
    """The lines of a case's table."""
    metrics = [*_METRICS, *([UNSEEN] if found["unseen"] else [])]
    metrics = [m for m in metrics if any(values_of(found, name, m) for name in found["rows"])]
    lines = ["| | " + " | ".join(metrics) + " |", "|---" * (len(metrics) + 1) + "|"]
    for method in sorted(found["rows"], key=_order):
        cells = []
        for metric in metrics:
            values = values_of(found, method, metric)
            if not values:
                cells.append("")
                continue
            mean, low, high = interval(values)
            cell = f"{mean:.3f}" if metric == "SSIM" else f"{mean:.2f}"
            cells.append(f"{cell} [{low:.2f}, {high:.2f}]" if metric in _INTERVALS else cell)
        lines.append(f"| {_name(method)} | " + " | ".join(cells) + " |")
    return lines


def _order(method: str) -> tuple[int, str]:
    groups = ("stitch", "mean colour", START, "model", TRUTH)
    return next((i for i, g in enumerate(groups) if method.startswith(g)), 9), method


def _name(method: str) -> str:
    if method == START:
        return "what the model starts from"
    return f"**{method}**" if method.startswith("model") else method


def sweep_figure(page: Path) -> Path:
    """Where the page's chart of the sweep lies."""
    return page.parent / "figures" / f"{page.stem}_sweep.png"


def sweep_section(
    page: Path, swept: Mapping[Point, Mapping[str, Any]], shortfalls: Sequence[str]
) -> list[str]:
    """The page's lines on the sweep. shortfalls: a line each."""
    if not swept:
        return []
    pictures = max(len(one["names"]) for one in swept.values())
    return [
        "## When rigs are not what they are believed to be", "",
        f"{pictures} pictures, 128-px views to 256x128, one step, each panel one thing wrong in "
        "growing amounts; PSNR above, aligned PSNR below. Missing views are black for the model; "
        "the stitches are told.", "",
        f"![PSNR against each error](figures/{sweep_figure(page).name})", "",
        *(f"- {line}" for line in shortfalls or ["nowhere is the model far below a stitch"]), "",
    ]  # fmt: skip


def write_page(
    path: Path,
    found: Mapping[str, Mapping[str, Any]],
    about: Mapping[str, str],
    work: Path,
    swept: Mapping[Point, Mapping[str, Any]],
    shortfalls: Sequence[str],
) -> None:
    """The page, its figures beside the others, and the JSON in benchmarks/results/. The sweep's
    chart has to be there; shortfalls: what it shows of where the model is worse, a line each."""
    figures, name = path.parent / "figures", path.stem
    bars = reached(found)
    show("what the weights have to reach", ("what", "asked", "measured", "met"), bars)
    examples = [(case, number) for case in found for number in range(_EXAMPLES)]
    _sheet(found, examples, work, figures / f"{name}.jpg")
    _sheet(found, worst(found), work, figures / f"{name}_worst.jpg")
    parameters = max(one["parameters"] for one in found.values())
    lines = [
        f"# What {about['weights']} reaches",
        "",
        f"{parameters / 1e6:.2f} M parameters. Written by `python benchmarks/results.py` "
        f"({', '.join(f'{key} {value}' for key, value in about.items())}).",
        "",
        "Means over pictures; in brackets 95 % intervals, by drawing the pictures anew. The "
        "photographs are those of `val/`, which no training saw; near scenes are procedural, of "
        "other seeds than in training. Every row has the same views. PSNR in dB, seam error in "
        "8-bit levels, best where it is the ground truth's. *What the model starts from* is "
        "geometry without a network.",
        "",
        "## What had to be reached",
        "",
        "| one step of the model | asked | measured | met |",
        "|---|---|---|---|",
        *(f"| {' | '.join(row)} |" for row in bars),
        "",
    ]
    for name_of_case, one in found.items():
        case, size = one["case"], f"{one['case']['width']}x{one['case']['width'] // 2}"
        unseen = f", {one['unseen']:.1%} unseen" if one["unseen"] else ""
        lines += [
            f"## {name_of_case.capitalize()}: {case['title']}",
            "",
            f"{len(one['names'])} panoramas, {one['side']}-px views to {size}{unseen}.",
            "",
            *table_of(one),
            "",
            *(f"{note}\n" for note in one["notes"]),
        ]  # fmt: skip
    lines += sweep_section(path, swept, shortfalls)
    lines += [
        "## Pictures", "",
        "The first of each case: truth, stitch, stitch with gain and rotation, the model.", "",
        f"![Pictures of every case](figures/{name}.jpg)", "",
        "## Where it fails", "",
        "The pictures on which the model loses most, or gains least, against the best stitch.", "",
        f"![The worst pictures](figures/{name}_worst.jpg)",
    ]  # fmt: skip
    write_whole(path, "\n".join(lines) + "\n")
    made = {"about": about, "reached": bars, "cases": found, "sweep": listed(swept)}
    write_whole(
        Path(f"benchmarks/results/{name}.json"), json.dumps(made, indent=1, ensure_ascii=False)
    )


def worst(found: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, int]]:
    """(case, number of the picture) where one step of the model is least above the best stitch."""
    losses = []
    for case, one in found.items():
        theirs = one["rows"][best_stitch(one, "PSNR")]["PSNR"]
        for number, value in enumerate(one["rows"][ONE_STEP]["PSNR"]):
            losses.append((value - theirs[number], case, number))
    return [(case, number) for _, case, number in sorted(losses)[:_WORST]]


def _sheet(
    found: Mapping[str, Mapping[str, Any]],
    chosen: Sequence[tuple[str, int]],
    work: Path,
    path: Path,
) -> None:
    shown, rows = [], {method: [] for method in _SHEET[1:]}
    for case, number in chosen:
        one, name = found[case], found[case]["names"][number]
        kept = {title: s for (_, title), s in read_shown(work / f"{case}.safetensors").items()}
        if name not in kept or any(method not in kept[name].panoramas for method in _SHEET):
            continue
        panoramas = {method: kept[name].panoramas[method] for method in _SHEET}
        shown.append(Shown(f"{case}: {name}", kept[name].views, panoramas))
        for method in rows:
            rows[method].append({"PSNR": one["rows"][method]["PSNR"][number]})
    sheet = path.with_suffix(".png")
    names = [one.name for one in shown]
    contact_sheet(Evaluation("", len(names), {}, rows, names, [], shown), sheet)
    file = io.BytesIO()
    Image.open(sheet).convert("RGB").save(file, "JPEG", quality=88)
    sheet.unlink()
    write_whole(path, file.getvalue())
