"""Results for people: the table on the terminal, results.json, contact sheets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from rich.console import Console
from rich.table import Table

from spidereye.evaluate import Evaluation, Shown
from spidereye.metrics import METRICS
from spidereye.pictures import write_picture

GAP, LABEL = 6, 16  # pixels


def cell(metric: str, value: float | None) -> str:
    """A table cell: the value with a sensible number of digits, n/a where there is none."""
    if value is None:
        return "n/a"
    digits = {"": 4, "dB": 2}.get(METRICS[metric].unit, 2)
    return f"{value:.{digits}f}"


def print_table(result: Evaluation, console: Console) -> None:
    """Metrics down, methods across, to fit a terminal; an arrow says which way is better."""
    title = f"protocol {result.protocol}, mean over {result.samples} panoramas"
    table = Table(title=title, title_justify="left")
    table.add_column("metric", no_wrap=True)
    for method in result.table:
        table.add_column(method, justify="right", no_wrap=True)
    for name, metric in METRICS.items():
        label = f"{name} {'↑' if metric.higher_is_better else '↓'} {metric.unit}".rstrip()
        table.add_row(label, *(cell(name, values[name]) for values in result.table.values()))
    console.print(table)
    for note in result.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def result_line(result: Evaluation) -> str:
    """PSNR and WS-PSNR of every method in one line."""
    parts = [
        f"{method} {cell('PSNR', values['PSNR'])} dB"
        for method, values in result.table.items()
        if values["PSNR"] is not None
    ]
    return f"PSNR on {result.samples} panoramas ({result.protocol}): {', '.join(parts)}"


def write_results(results: list[Evaluation], path: Path, about: dict[str, Any]) -> None:
    """results.json: what was evaluated, the tables, and every picture's own values."""
    content = {
        **about,
        "protocols": {
            result.protocol: {
                "samples": result.samples,
                "table": result.table,
                "notes": result.notes,
                "pictures": [
                    {
                        "name": name,
                        **{method: _finite(rows[i]) for method, rows in result.rows.items()},
                    }
                    for i, name in enumerate(result.names)
                ],
            }
            for result in results
        },
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
    temporary.replace(path)


def contact_sheet(result: Evaluation, path: Path) -> None:
    """A PNG with one row a sample: its views, the ground truth, then each method."""
    if result.shown:
        rows = [_sheet_row(shown) for shown in result.shown]
        write_picture(path, np.concatenate(rows, axis=0))


def _sheet_row(shown: Shown) -> UInt8[np.ndarray, "H W 3"]:
    pictures = [view.permute(1, 2, 0).numpy() for view in shown.views]
    labels = [f"{shown.name}"] + [""] * (len(pictures) - 1)
    for method, panorama in shown.panoramas.items():
        pictures.append(panorama.permute(1, 2, 0).numpy())
        labels.append(method)
    height = LABEL + max(picture.shape[0] for picture in pictures) + GAP
    width = sum(picture.shape[1] + GAP for picture in pictures) + GAP
    canvas = np.full((height, width, 3), 24, np.uint8)
    image = Image.fromarray(canvas)
    draw, font, x = ImageDraw.Draw(image), ImageFont.load_default(11), GAP
    for picture, label in zip(pictures, labels, strict=True):
        image.paste(Image.fromarray(np.ascontiguousarray(picture)), (x, LABEL))
        draw.text((x, 2), label, fill=(235, 235, 235), font=font)
        x += picture.shape[1] + GAP
    return np.asarray(image)


def _finite(row: dict[str, float]) -> dict[str, float | None]:
    """NaN is not JSON; a value that a picture does not have is null."""
    return {name: None if value != value else value for name, value in row.items()}
