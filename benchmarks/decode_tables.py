"""What benchmarks/decode.py says: the tables, ratios of medians, and exponents against pixels."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, NamedTuple

import torch
from machine import show
from speed import COLUMNS, cells, operations

from spidereye.decoder import DecoderConfig, UViT

WIDTHS = (256, 512, 1024, 2048)
# Pictures of 128x128 a second in one step, of the SSDD paper's figure of rFID; its GPU is not said.
PUBLISHED = {"S": 1026, "B": 689, "M": 356, "L": 302}


class Measured(NamedTuple):
    """What a case of the decoder is told apart by."""

    size: str
    width: int
    height: int
    batch: int = 1
    steps: int = 1
    form: str = "eager"
    precision: str = "fp32"
    tuned: bool = True

    @classmethod
    def of(cls, case: Mapping[str, Any]) -> "Measured":
        """The case's."""
        return cls(**{name: case[name] for name in cls._fields})

    @property
    def work(self) -> int:
        """Floating-point operations."""
        return decoder_operations(self.size, self.width, self.height, self.batch) * self.steps


LARGE, MEDIUM = Measured("S", 1024, 512), Measured("M", 256, 128)


@lru_cache
def decoder_operations(size: str, width: int, height: int, batch: int) -> int:
    """Of one step, counted from shapes alone."""
    with torch.device("meta"), torch.no_grad():
        decoder = UViT(DecoderConfig.named(size)).eval()
        x = torch.empty(batch, 3, height, width)
        t, z = torch.empty(batch), torch.empty(batch, 4, height // 8, width // 8)
        return operations(lambda: decoder(x, t, z))


def exponent(points: Mapping[int, float]) -> float:
    """Of a power law through values by width, against pixels, by least squares of logarithms."""
    xs = [math.log(width * width / 2) for width in points]
    ys = [math.log(value) for value in points.values()]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return over / sum((x - mean_x) ** 2 for x in xs)


@dataclass
class Ratios:
    """times, peaks: medians and memory of what did not fail.   found: by what they say."""

    times: dict[Measured, float]
    peaks: dict[Measured, float]
    found: dict[str, float] = field(default_factory=dict)

    def faster(self, text: str, ours: Measured, other: Measured) -> None:
        """How many times as long the other takes."""
        self._over(text, self.times, other, ours)

    def larger(self, text: str, ours: Measured, other: Measured) -> None:
        """How many times as much memory the other takes."""
        self._over(text, self.peaks, other, ours)

    def _over(self, text: str, table: Mapping, one: Measured, other: Measured) -> None:
        if one in table and other in table:
            self.found[text] = table[one] / table[other]

    def against_dense(self) -> None:
        """S at 1024x512."""
        for precision, named in (("fp32", ""), ("bf16", ", both in bf16")):
            ours = LARGE._replace(precision=precision)
            for form in ("cached", "rebuilt"):
                dense, name = ours._replace(form=form), f"dense, bias {form}{named}"
                self.faster(f"S 1024x512: faster than {name}", ours, dense)
                self.larger(f"S 1024x512: peak memory of {name}, over ours", ours, dense)
        default = LARGE._replace(tuned=False)
        text = "S 1024x512: faster than published, default allocator and layout"
        self.faster(text, LARGE, default._replace(form="published"))
        self.faster("S 1024x512: the allocator and the layout alone", LARGE, default)

    def against_plain(self) -> None:
        """M at 256x128."""
        default = MEDIUM._replace(tuned=False)
        bases = {"eager, default": default, "published": default._replace(form="published")}
        for one in (
            MEDIUM, MEDIUM._replace(form="compiled"), MEDIUM._replace(form="onnx"),
            MEDIUM._replace(precision="bf16"),
        ):  # fmt: skip
            for name, base in bases.items():
                text = f"M 256x128: {one.form} in {one.precision} faster than {name}"
                self.faster(text, one, base)

    def exponents(self) -> None:
        """Of S, in the precision that it was measured in at all sizes."""
        for precision in ("fp32", "bf16"):
            for what, table in (("time", self.times), ("memory", self.peaks)):
                scale = {w: Measured("S", w, w // 2, precision=precision) for w in WIDTHS}
                points = {width: table[key] for width, key in scale.items() if key in table}
                if len(points) > 2:
                    across = f"{min(points)} to {max(points)}"
                    text = f"S: exponent of {what} against pixels, {across}, {precision}"
                    self.found[text] = exponent(points)

    def against_the_paper(self) -> None:
        """The best of each size's forms at 128x128, if a GPU made them."""
        for size, published in PUBLISHED.items():
            rates = [
                key.batch / seconds
                for key, seconds in self.times.items()
                if (key.size, key.width, key.height) == (size, 128, 128)
            ]
            if rates and torch.cuda.is_available():
                text = f"{size} 128x128: pictures a second, over the paper's {published}"
                self.found[text] = max(rates) / published


def report(found: Sequence[Mapping[str, Any]], rates: Mapping[str, float]) -> dict[str, float]:
    """Print the tables; returns the ratios that are asked for. found: case and result of each.
    rates: of matrix products, by precision."""
    layers = [row["result"] for row in found if row["case"]["what"] == "attention"]
    decodes = {
        Measured.of(row["case"]): row["result"] for row in found if row["case"]["what"] == "decoder"
    }
    columns = ("decoder", "panorama", "batch", "steps", "form", "dtype", "setup", *COLUMNS)
    rows = [
        (*cells_of(key._asdict()), *cells(result, key.batch, key.work, rates[key.precision]))
        for key, result in decodes.items()
    ]
    show("one decode", columns, rows)
    done = {key: result for key, result in decodes.items() if "failed" not in result}
    ratios = Ratios(
        {key: result["median"] for key, result in done.items()},
        {key: result["peak_mb"] for key, result in done.items()},
    )
    for layer in layers:
        if "failed" not in layer:
            each = sorted(a / b for a, b in zip(layer["dense"], layer["ours"], strict=True))
            text = "S 1024x512: one attention layer, faster than dense, bias cached"
            ratios.found[text] = each[len(each) // 2]
    ratios.against_dense()
    ratios.against_plain()
    ratios.exponents()
    ratios.against_the_paper()
    said = [(text, f"{value:.2f}") for text, value in ratios.found.items()]
    show("ratios of medians, and exponents", ("what", "measured"), said)
    return ratios.found


def cells_of(case: Mapping[str, Any]) -> tuple[str, ...]:
    """The first columns of a case's row."""
    size, how = f"{case['width']}x{case['height']}", "tuned" if case["tuned"] else "default"
    named = case["size"], size, str(case["batch"]), str(case["steps"])
    return *named, case["form"], case["precision"], how
