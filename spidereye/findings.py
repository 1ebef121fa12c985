"""What the numbers of a run say, in sentences: who wins, by how much, and where it is heading.

Every sentence is made from the tables and from metrics.jsonl, so none can outlive its truth.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spidereye.evaluate import Evaluation
from spidereye.metrics import METRICS
from spidereye.stitch_rows import STITCH

Entries = Sequence[Mapping[str, Any]]
Curves = dict[str, list[tuple[int, float]]]  # name: (step, value), by step

NOTABLE = 0.05  # dB: what rounding to one digit would hide is not a difference
# What else a line of metrics.jsonl holds besides loss terms.
_NOT_TERMS = ("kind", "step", "epoch", "lr", "samples_per_second")


def findings(evaluations: Sequence[Evaluation], entries: Entries = ()) -> list[str]:
    """Sentences for a reader who has not seen a table yet."""
    if not evaluations:
        return ["Nothing was evaluated yet."]
    sentences = [_winner(evaluations[0]), _seen_and_unseen(evaluations[0])]
    sentences += [_harder(evaluations[0], other) for other in evaluations[1:]]
    sentences.append(_trend(entries, model_name(evaluations[0])))
    sentences.append(_caution(evaluations[0]))
    return [sentence for sentence in sentences if sentence]


def model_name(result: Evaluation) -> str:
    """The model's row: the first."""
    return next(iter(result.table))


def value_of(result: Evaluation, method: str, metric: str) -> float | None:
    """A cell of the table; None for what is missing, NaN or infinite."""
    value = result.table.get(method, {}).get(metric)
    return value if value is not None and math.isfinite(value) else None


def loss_curves(entries: Entries) -> Curves:
    """Every term of the loss, the total first."""
    curves: Curves = {"total": []}
    for entry in entries:
        if entry.get("kind") == "train":
            for name, value in entry.items():
                if name not in _NOT_TERMS:
                    _add(curves, name, entry["step"], value)
    return {name: curve for name, curve in curves.items() if curve}


def metric_curves(entries: Entries, metric: str = "PSNR", protocol: str = "clean") -> Curves:
    """One metric of every method at the evaluations during training."""
    curves: Curves = {}
    for entry in entries:
        if entry.get("kind") == "eval" and entry.get("protocol") == protocol:
            _add(curves, entry["method"], entry["step"], entry.get(metric))
    return curves


def _winner(result: Evaluation) -> str:
    model = model_name(result)
    ours, theirs = (value_of(result, name, "PSNR") for name in (model, STITCH))
    if ours is None or theirs is None:
        return "PSNR could not be computed for both the model and the geometric stitch."
    where = f"on {_panoramas(result)} it was not trained on"
    gap = abs(ours - theirs)
    if gap < NOTABLE:
        text = f"The {model} and the geometric stitch of the same views are level, at {ours:.1f} dB"
        return f"{text} PSNR {where}.{_other_way(result, model, None)}"
    if ours > theirs:
        text = f"The {model} beats the geometric stitch of the same views by {gap:.1f} dB PSNR"
        return f"{text} {where} ({ours:.1f} against {theirs:.1f}).{_other_way(result, model, True)}"
    text = f"The geometric stitch of the same views beats the {model} by {gap:.1f} dB PSNR"
    return (
        f"{text} {where} ({theirs:.1f} against {ours:.1f}): until that turns round, plain "
        f"reprojection is the better choice for this rig.{_other_way(result, model, False)}"
    )


def _other_way(result: Evaluation, model: str, model_won: bool | None) -> str:
    """The metrics that disagree with PSNR about who is better."""
    if model_won is None:
        return ""
    others = []
    for name, metric in METRICS.items():
        ours, theirs = value_of(result, model, name), value_of(result, STITCH, name)
        if "PSNR" in name or ours is None or theirs is None or ours == theirs:
            continue
        if ((ours > theirs) == metric.higher_is_better) != model_won:
            others.append(name)
    return f" By {_listed(others)} it is the other way round." if others else ""


def _seen_and_unseen(result: Evaluation) -> str:
    model = model_name(result)
    seen, unseen = (value_of(result, model, f"PSNR {part}") for part in ("seen", "unseen"))
    if seen is None or unseen is None:
        return ""
    return (
        f"Where at least one view looks, the {model} has {seen:.1f} dB; where none does, it can "
        f"only guess, and has {unseen:.1f} dB."
    )


def _harder(first: Evaluation, other: Evaluation) -> str:
    """How a second protocol changes each method."""
    parts = []
    for name in (model_name(first), STITCH):
        before, after = value_of(first, name, "PSNR"), value_of(other, name, "PSNR")
        if before is not None and after is not None:
            change = after - before
            verb = "gains" if change > 0 else "loses"
            size = f"{verb} {abs(change):.1f} dB (to {after:.1f})"
            parts.append(f"the {name} {size if abs(change) >= NOTABLE else 'keeps its PSNR'}")
    if not parts:
        return ""
    return f"From {first.protocol} to {other.protocol} conditions {' and '.join(parts)}."


def _trend(entries: Entries, model: str) -> str:
    curves = metric_curves(entries)
    curve = curves.get(model) or next(iter(curves.values()), [])
    if len(curve) < 2:
        return ""
    (first_step, first), (last_step, last) = curve[0], curve[-1]
    best_step, best = max(curve, key=lambda point: point[1])
    text = f"In training, the model's PSNR went from {first:.1f} dB at step {first_step} to "
    text += f"{last:.1f} dB at step {last_step}"
    if best - last >= NOTABLE:
        return f"{text}; its best was {best:.1f} dB, at step {best_step}."
    if last - curve[-2][1] >= NOTABLE:
        return f"{text} and was still rising, so more steps should help."
    return f"{text} and had stopped rising."


def _caution(result: Evaluation) -> str:
    if result.samples >= 50:
        return ""
    return (
        f"{_panoramas(result)[0].upper()}{_panoramas(result)[1:]} are few: take differences of a "
        "few tenths of a decibel for chance."
    )


def _add(curves: Curves, name: str, step: int, value: Any) -> None:
    if isinstance(value, int | float) and math.isfinite(value):
        curves.setdefault(name, []).append((step, float(value)))


def _panoramas(result: Evaluation) -> str:
    return f"{result.samples} panorama{'' if result.samples == 1 else 's'}"


def _listed(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"
