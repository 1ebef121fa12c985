"""Results for people: the table on the terminal, results.json, contact sheets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from torch import Tensor

from spidereye.evaluate import TRUTH, Evaluation, Shown
from spidereye.metrics import METRICS
from spidereye.picture_writing import write_picture
from spidereye.protocols import PROTOCOLS
from spidereye.whole_files import write_whole

# Of contact sheets, in pixels. CELL: a panorama's width, at least and at most.
GAP, LABEL, FONT = 6, 21, 15
CELL = (512, 768)
BACKGROUND, INK = (24, 24, 24), (235, 235, 235)

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def cell(metric: str, value: float | None) -> str:
    """A table cell: the value with a sensible number of digits, n/a where there is none."""
    if value is None:
        return "n/a"
    digits = {"": 4, "dB": 2}.get(METRICS[metric].unit, 2)
    return f"{value:.{digits}f}"


def print_table(result: Evaluation, console: Console) -> None:
    """Metrics down, methods across, to fit a terminal; an arrow says which way is better."""
    title = f"protocol {result.protocol}, mean over {result.samples} panoramas"
    # More than five methods fit into 80 columns only without lines between them.
    plain = {"box": SIMPLE_HEAD, "padding": (0, 1, 0, 0)} if len(result.table) > 5 else {}
    table = Table(title=title, title_justify="left", **plain)
    table.add_column("metric", no_wrap=True)
    for method in result.table:
        table.add_column(_heading(method), justify="right", no_wrap=True)
    for name, metric in METRICS.items():
        label = f"{name} {'↑' if metric.higher_is_better else '↓'} {metric.unit}".rstrip()
        table.add_row(label, *(cell(name, values[name]) for values in result.table.values()))
    meaning = f"protocol {result.protocol}: {PROTOCOLS[result.protocol].meaning}"
    console.print(meaning, highlight=False, markup=False, soft_wrap=True)
    console.print(table)
    for note in result.notes:
        console.print(note, highlight=False, markup=False, soft_wrap=True)


def result_line(result: Evaluation) -> str:
    """PSNR of every method in one line."""
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
                "meaning": PROTOCOLS[result.protocol].meaning,
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
    write_whole(path, json.dumps(content, indent=1))


def contact_sheet(result: Evaluation, path: Path) -> None:
    """A PNG with one row a sample: its views in one cell, the ground truth, then each method under
    its name and PSNR. Panoramas are shown 512 to 768 pixels wide."""
    if result.shown:
        rows = [_sheet_row(shown, result) for shown in result.shown]
        sheet = Image.new(
            "RGB", (max(row.width for row in rows), sum(row.height for row in rows)), BACKGROUND
        )
        top = 0
        for row in rows:  # of different widths where sizes and numbers of views differ
            sheet.paste(row, (0, top))
            top += row.height
        write_picture(path, np.asarray(sheet))


def _sheet_row(shown: Shown, result: Evaluation) -> Image.Image:
    height, width = shown.panoramas[TRUTH].shape[-2:]
    size = _cell_size(width, height)
    cells = [_views(shown, size[1])]
    labels = [shown.name]
    scores = result.names.index(shown.name)
    for method, panorama in shown.panoramas.items():
        cells.append(_resized(panorama, size))
        label = method
        if method != TRUTH:
            label += f"  {cell('PSNR', result.rows[method][scores]['PSNR'])} dB"
        labels.append(label)
    canvas = Image.new(
        "RGB",
        (GAP + sum(picture.width + GAP for picture in cells), LABEL + size[1] + GAP),
        BACKGROUND,
    )
    draw, font, x = ImageDraw.Draw(canvas), ImageFont.load_default(FONT), GAP
    for picture, label in zip(cells, labels, strict=True):
        canvas.paste(picture, (x, LABEL))
        draw.text((x, 2), _clipped(label, picture.width, font), fill=INK, font=font)
        x += picture.width + GAP
    return canvas


def _cell_size(width: int, height: int) -> tuple[int, int]:
    """What a panorama is shown at: enlarged by a whole factor where it is small."""
    factor = -(-CELL[0] // width) if width < CELL[0] else min(1.0, CELL[1] / width)
    return round(width * factor), round(height * factor)


def _views(shown: Shown, height: int) -> Image.Image:
    """All views in one cell, in two rows where there are several."""
    count, rows = len(shown.views), min(2, len(shown.views))
    inner = (height - (rows - 1) * 2) // rows
    width = round(inner * shown.views.shape[-1] / shown.views.shape[-2])
    columns = -(-count // rows)
    picture = Image.new("RGB", (columns * (width + 2) - 2, height), BACKGROUND)
    for number, view in enumerate(shown.views):
        place = (number % columns * (width + 2), number // columns * (inner + 2))
        picture.paste(_resized(view, (width, inner)), place)
    return picture


def _resized(picture: UInt8[Tensor, "3 h w"], size: tuple[int, int]) -> Image.Image:
    """Pixels stay visible where they are enlarged."""
    made = Image.fromarray(picture.permute(1, 2, 0).contiguous().numpy())
    larger = size[0] > made.width
    return made.resize(size, Image.Resampling.NEAREST if larger else Image.Resampling.LANCZOS)


def _clipped(text: str, width: int, font: Font) -> str:
    """The text, its end cut off where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _heading(method: str) -> str:
    """Of a column of a terminal's table: a word a line, and one for each refinement."""
    return "\n+ ".join(part.replace(" ", "\n") for part in method.split(" + "))


def _finite(row: dict[str, float]) -> dict[str, float | None]:
    """NaN is not JSON; a value that a picture does not have is null."""
    return {name: None if value != value else value for name, value in row.items()}
