"""The picture of benchmarks/quality_sweep.py: a column for each axis, PSNR above aligned PSNR."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

from quality_points import Axis
from quality_rows import METRICS

from spidereye.whole_files import write_whole

_COLOURS = ("#d02f2f", "#808a94", "#d9772b", "#2f80d0", "#2c9c6a")  # the model's first


def write_chart(
    axes: Sequence[Axis],
    values: Sequence[Sequence[Mapping[float, Mapping[str, float]]]],
    methods: Sequence[str],
    path: Path,
) -> None:
    """Write the PNG. values: of each axis and metric, by the axis's value, of each method."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(3.6 * len(axes), 7), layout="constrained", dpi=110)
    panels = figure.subplots(len(METRICS), len(axes), squeeze=False)
    for column, (axis, metrics) in enumerate(zip(axes, values, strict=True)):
        for row, (metric, points) in enumerate(zip(METRICS, metrics, strict=True)):
            panel = panels[row][column]
            for number, method in enumerate(methods):
                known = {x: by[method] for x, by in points.items() if method in by}
                if known:
                    panel.plot(
                        list(known), list(known.values()), marker="o", markersize=3.5,
                        label=method, color=_COLOURS[number % len(_COLOURS)],
                        linestyle="--" if number else "-", linewidth=1.4 if number else 2.2,
                        zorder=2 if number else 3,
                    )  # fmt: skip
            panel.grid(alpha=0.25)
            panel.spines[["top", "right"]].set_visible(False)
            if axis.names:
                panel.set_xticks(axis.values, axis.names)
            if row == len(METRICS) - 1:
                panel.set_xlabel(axis.label)
            if column == 0:
                panel.set_ylabel(f"{metric}, dB")
    lines = {line.get_label(): line for panel in panels.flat for line in panel.get_lines()}
    figure.legend(
        list(lines.values()), list(lines), loc="outside upper left", ncols=6, frameon=False
    )
    file = io.BytesIO()
    figure.savefig(file, format="png")
    write_whole(path, file.getvalue())
