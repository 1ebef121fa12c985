"""The report page: one HTML file with pictures, tables and curves that opens without a network.

Everything is inside the file: pictures as data URIs, curves as inline SVG, one style sheet, no
script. What it says about the result is made from the numbers, in findings.py.
"""

import base64
import html
import io
import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from spidereye.charts import line_chart
from spidereye.evaluate import TRUTH, Evaluation, Shown
from spidereye.findings import (
    Entries,
    findings,
    loss_curves,
    metric_curves,
    model_name,
    value_of,
)
from spidereye.metrics import METRICS
from spidereye.protocols import PROTOCOLS
from spidereye.report import cell
from spidereye.stitch_rows import STITCH
from spidereye.whole_files import write_whole

_VIEW_NAMES = ("front", "right", "back", "left")
_ERROR_GAIN = 4  # a mean error of 64 levels is white


def write_report(
    run_folder: Path,
    evaluations: Sequence[Evaluation],
    entries: Entries,
    about: Mapping[str, str],
    path: Path,
    view_names: Sequence[str] = _VIEW_NAMES,
) -> None:
    """Write the page of a run to `path`, whole or not at all.

    evaluations: one per protocol; the first method of their tables is the model.
    entries: of the run's metrics.jsonl (run_log.read_log).
    about: what was run, label → text, in the order to be shown.   view_names: the rig's.
    """
    said = "".join(f"<p>{html.escape(line)}</p>" for line in findings(evaluations, entries))
    pictures = [_pictures(result, view_names) for result in evaluations]
    sections = [
        _section("What to see", said),
        *pictures[:1],
        _section("Results", _tables(evaluations)),
        _section("Learning curves", _charts(entries)),
        *pictures[1:],
        _section("Where to go on", _commands(run_folder)),
        _section("What was run", _facts(about)),
    ]
    name = html.escape(run_folder.name)
    style = Path(__file__).with_suffix(".css").read_text(encoding="utf-8")
    # The policy makes the browser itself refuse anything that would need a network.
    page = f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
<title>SpiderEye: {name}</title>
<style>
{style}</style>
</head>
<body>
<main>
<header>
<p class="mark">SpiderEye</p>
<h1>{name}</h1>
{_tiles(evaluations)}
</header>
{"".join(sections)}</main>
</body>
</html>
"""
    write_whole(path, page)


def _section(title: str, content: str) -> str:
    """Nothing where there is nothing to show."""
    if not content:
        return ""
    return f"<section>\n<h2>{html.escape(title)}</h2>\n{content}\n</section>\n"


def _tiles(evaluations: Sequence[Evaluation]) -> str:
    """The two numbers that matter most, large."""
    if not evaluations:
        return ""
    result = evaluations[0]
    tiles = [
        f'<div class="tile"><b>{cell("PSNR", value_of(result, method, "PSNR"))} '
        f"<small>dB</small></b>{html.escape(label)}</div>"
        for method, label in (
            (model_name(result), model_name(result)),
            (STITCH, "geometric stitch"),
        )
    ]
    measured = f"PSNR, the higher the better: mean of {result.samples} panoramas, {result.protocol}"
    return f'<div class="tiles">{"".join(tiles)}</div>\n<p class="quiet">{measured}</p>'


def _tables(evaluations: Sequence[Evaluation]) -> str:
    """A table for each protocol, and once below them why cells are n/a and what else is to know."""
    reasons: list[str] = []
    tables = "".join(_table(result, reasons) for result in evaluations)
    others = dict.fromkeys(note for result in evaluations for note in result.notes)
    footnotes = "".join(f"<li>{html.escape(reason)}</li>" for reason in reasons)
    notes = (f'<p class="notes">{html.escape(note)}</p>' for note in others if note not in reasons)
    return tables + (f'<ol class="notes">{footnotes}</ol>' if reasons else "") + "".join(notes)


def _table(result: Evaluation, reasons: list[str]) -> str:
    """Metrics down and methods across, which fits a phone; the best of model and stitch is bold.

    reasons: of n/a cells; the new ones are added, and the cells refer to them by number.
    """
    rows = []
    for metric, spec in METRICS.items():
        values = {method: value_of(result, method, metric) for method in result.table}
        # Compared as printed: of two equal numbers neither should be the bold one alone.
        printed = {method: cell(metric, value) for method, value in values.items()}
        rivals = {m: v for m, v in values.items() if m != TRUTH and v is not None}
        pick = max if spec.higher_is_better else min
        best = printed[pick(rivals, key=lambda m: rivals[m])] if len(rivals) > 1 else None
        cells = []
        for method, value in values.items():
            if value is None:
                reason = _why_missing(result, metric, method)
                if reason not in reasons:
                    reasons.append(reason)
                cells.append(f'<td class="na">n/a<sup>{reasons.index(reason) + 1}</sup></td>')
            else:
                bold = method != TRUTH and printed[method] == best
                cells.append(f"<td>{'<b>' * bold}{printed[method]}{'</b>' * bold}</td>")
        unit = f", {spec.unit}" if spec.unit else ""
        label = f"{metric}{unit} {'↑' if spec.higher_is_better else '↓'}"
        rows.append(
            f'<tr><th scope="row">{html.escape(label)}<small>{html.escape(spec.meaning)}</small>'
            f"</th>{''.join(cells)}</tr>\n"
        )
    heads = "".join(f'<th scope="col">{html.escape(method)}</th>' for method in result.table)
    return (
        f"<h3>{_protocol(result)}</h3>\n"
        f'<div class="table"><table>\n<thead><tr><th scope="col">metric</th>{heads}</tr></thead>\n'
        f"<tbody>\n{''.join(rows)}</tbody>\n</table></div>\n"
    )


def _protocol(result: Evaluation) -> str:
    text = f"Protocol {result.protocol}, {result.samples} panoramas"
    return html.escape(f"{text}: {PROTOCOLS[result.protocol].meaning}")


def _why_missing(result: Evaluation, metric: str, method: str) -> str:
    if method == TRUTH:
        return "the truth would be compared with itself; only its own seam says something"
    for note in result.notes:
        if note.startswith(metric):
            return note
    if metric == "PSNR unseen":
        return f"{metric}: the views see every pixel"
    return f"{metric}: not defined for any of these pictures"


def _pictures(result: Evaluation, view_names: Sequence[str]) -> str:
    """The samples that the evaluation kept: views, truth, what each method made, model's error."""
    if not result.shown:
        return ""
    intro = (
        f"<p>{_protocol(result)}. In the error picture black is right and white is wrong by "
        f"{255 // _ERROR_GAIN + 1} of 256 levels or more.</p>\n"
    )
    samples = "\n".join(_sample(result, shown, view_names) for shown in result.shown)
    return _section(f"Pictures: {result.protocol}", intro + samples)


def _sample(result: Evaluation, shown: Shown, view_names: Sequence[str]) -> str:
    names = list(view_names) if len(view_names) == len(shown.views) else []
    names = names or [f"view {number + 1}" for number in range(len(shown.views))]
    views = [_figure(view, name, name) for view, name in zip(shown.views, names, strict=True)]
    panoramas = []
    row = result.names.index(shown.name)
    for method, panorama in shown.panoramas.items():
        scores = result.rows.get(method, [])
        decibels = scores[row].get("PSNR", math.nan) if row < len(scores) else math.nan
        caption = f"{method}, {cell('PSNR', decibels)} dB" if math.isfinite(decibels) else method
        panoramas.append(_figure(panorama, caption, f"{method} of {shown.name}"))
    model = model_name(result)
    if model in shown.panoramas and TRUTH in shown.panoramas:
        error = (shown.panoramas[model].int() - shown.panoramas[TRUTH].int()).abs()
        grey = (error.float().mean(0) * _ERROR_GAIN).clamp(0, 255).byte().expand(3, -1, -1)
        panoramas.append(_figure(grey, f"error of {model}", f"error of {shown.name}"))
    return (
        f'<div class="sample"><h3>{html.escape(shown.name)}</h3>\n'
        f'<div class="views">{"".join(views)}</div>\n'
        f'<div class="panoramas">{"".join(panoramas)}</div></div>'
    )


def _figure(picture: UInt8[Tensor, "3 h w"], caption: str, alternative: str) -> str:
    """PNG, because every pixel of these small pictures is looked at."""
    file = io.BytesIO()
    Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy()).save(file, "PNG", optimize=True)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    height, width = picture.shape[1:]
    return (
        f'<figure><img width="{width}" height="{height}" alt="{html.escape(alternative)}" '
        f'src="data:image/png;base64,{data}"><figcaption>{html.escape(caption)}</figcaption>'
        "</figure>"
    )


def _charts(entries: Entries) -> str:
    losses, quality = loss_curves(entries), metric_curves(entries)
    charts = []
    if losses:
        text = "The loss and its terms, before their weights, on a logarithmic axis."
        charts.append(
            (line_chart(losses, "step", "loss", logarithmic=True, broad=("total",)), text)
        )
    if quality:
        text = "PSNR on the validation panoramas, clean, as training went on."
        charts.append((line_chart(quality, "step", "PSNR, dB", dashed=(STITCH,)), text))
    figures = (f"<figure>{svg}<figcaption>{text}</figcaption></figure>" for svg, text in charts)
    return f'<div class="charts">{"".join(figures)}</div>' if charts else ""


def _commands(run_folder: Path) -> str:
    run = shlex.quote(str(run_folder))
    views = "front.png right.png back.png left.png"
    steps = [
        (
            "Train on your own panoramas, a folder with train/ and val/. SpiderEye360 is the "
            "recommended configuration; its losses need downloaded weights, and spidereye info "
            "says which of them are here.",
            "spidereye train -cn SpiderEye360 dataset.root=/path/to/panoramas run_name=mine",
        ),
        ("Evaluate a checkpoint, here the raw weights of this one.",
         f"spidereye eval {run}/last ssdd.weights=raw"),
        ("Make a panorama of four views with this model.",
         f"spidereye stitch {views} --checkpoint {run} -o panorama.png"),
        ("The same by geometry alone.",
         f"spidereye stitch {views} --method geometric -o panorama.png"),
        ("See the curves in TensorBoard.", f"tensorboard --logdir {run}"),
    ]  # fmt: skip
    return "<p>After make quickstart, these commands are in .venv/bin.</p>" + "\n".join(
        f'<p class="before">{html.escape(why)}</p>\n<pre>{html.escape(command)}</pre>'
        for why, command in steps
    )


def _facts(about: Mapping[str, str]) -> str:
    if not about:
        return ""
    items = (
        f"<dt>{html.escape(label)}</dt><dd>{html.escape(str(text))}</dd>"
        for label, text in about.items()
    )
    return f"<dl>{''.join(items)}</dl>"
