"""Line charts as SVG for a web page: real text, and colours that follow its light or dark."""

import io
import re
from collections.abc import Sequence
from typing import Any

from spidereye.findings import Curves

_INK = "#010203"  # stands for the page's text colour
_QUIET = "#888888"  # reads on white and on black
_COLOURS = ("#2f80d0", "#d9772b", "#2c9c6a", "#a05fc0", "#c04a5a", "#808a94")
_FEW = 30  # points that are still worth a marker each


def line_chart(
    curves: Curves,
    x_label: str,
    y_label: str,
    logarithmic: bool = False,
    dashed: Sequence[str] = (),
    broad: Sequence[str] = (),
) -> str:
    """An <svg> element to stand inside HTML, transparent, as wide as its parent.

    logarithmic: the y axis, where every value is positive.   dashed: names of reference curves.
    broad: names of curves that others may lie on.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # The salt keeps the names inside two charts of one page apart, and the same every time.
    settings: dict[Any, Any] = {"svg.fonttype": "none", "svg.hashsalt": y_label, "font.size": 10.5}
    settings |= {f"{part}.color": _INK for part in ("text", "xtick", "ytick")}
    with rc_context(settings):
        figure = Figure(figsize=(5, 3.2), layout="constrained")
        axes = figure.add_subplot()
        for number, (name, points) in enumerate(curves.items()):
            steps, values = zip(*points, strict=True)
            style: dict[str, Any] = (
                {"linewidth": 5, "alpha": 0.5} if name in broad else {"linewidth": 1.8}
            )
            axes.plot(
                steps, values, label=name, color=_COLOURS[number % len(_COLOURS)], **style,
                linestyle="--" if name in dashed else "-", markersize=3.5,
                marker="o" if len(points) < _FEW else "",
            )  # fmt: skip
        if logarithmic and all(value > 0 for points in curves.values() for _, value in points):
            axes.set_yscale("log")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True, min_n_ticks=1))
        axes.set_xlabel(x_label, color=_INK)
        axes.set_ylabel(y_label, color=_INK)
        axes.grid(color=_QUIET, alpha=0.22, linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(_QUIET)
        figure.legend(loc="outside upper left", ncols=3, frameon=False)
        figure.patch.set_alpha(0)
        axes.patch.set_alpha(0)
        file = io.StringIO()
        nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
        figure.savefig(file, format="svg", metadata=nothing)
    return _for_html(file.getvalue())


def _for_html(svg: str) -> str:
    """Without what a file of its own needs: prologue, size, namespaces, names of groups."""
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor").replace("xlink:href", "href")
    svg = re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r'<svg role="img" \1>', svg, count=1)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    return re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 system-ui, sans-serif", svg)
