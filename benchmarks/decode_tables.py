"""What benchmarks/decode.py says: the tables, ratios of medians, and exponents against pixels."""

import math
from typing import Any

import torch
from machine import show
from torch.utils.flop_counter import FlopCounterMode

from spidereye.decoder import DecoderConfig, UViT

WIDTHS = (256, 512, 1024, 2048)


def operations(size: str, width: int, batch: int) -> int:
    """Floating-point operations of one step, counted from shapes alone."""
    with torch.device("meta"):
        decoder = UViT(DecoderConfig.named(size)).eval()
        x, z = (
            torch.empty(batch, 3, width // 2, width),
            torch.empty(batch, 4, width // 16, width // 8),
        )
        t = torch.empty(batch)
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        decoder(x, t, z)
    return counter.get_total_flops()


def exponent(points: dict[int, float]) -> float:
    """Of a power law through values by width, against pixels, by least squares of logarithms."""
    xs = [math.log(width * width / 2) for width in points]
    ys = [math.log(value) for value in points.values()]
    mean_x, mean_y = sum(xs) / len(xs), sum(ys) / len(ys)
    over = sum((x - mean_x) * (y - mean_y) for x, y in zip(xs, ys, strict=True))
    return over / sum((x - mean_x) ** 2 for x in xs)


def report(found: list[dict[str, Any]], rate: float) -> dict[str, Any]:
    """Print the tables; returns the ratios that are asked for."""
    rows, times, peaks = [], {}, {}
    for row in found:
        case, result = row["case"], row["result"]
        if case["what"] == "attention":
            continue
        name = (
            case["size"],
            case["width"],
            case["batch"],
            case["steps"],
            case["form"],
            case["tuned"],
        )
        if "failed" in result:
            rows.append((*cells_of(case), result["failed"], "", "", "", ""))
            continue
        seconds = result["median"]
        times[name], peaks[name] = seconds, result["peak_mb"]
        work = operations(case["size"], case["width"], case["batch"]) * case["steps"]
        rows.append((
            *cells_of(case), f"{seconds:.2f}", f"{case['batch'] / seconds:.2f}",
            f"{result['peak_mb'] / 1024:.2f}", f"{work / 1e9:.0f}", f"{work / seconds / rate:.0%}",
        ))  # fmt: skip
    columns = (
        "decoder", "panorama", "batch", "steps", "form", "setup", "s", "pictures/s", "peak GB",
        "Gflop", "of the matrix rate",
    )  # fmt: skip
    show("one decode", columns, rows)
    ratios: dict[str, float] = {}

    def ratio(text: str, table: dict, one: tuple, other: tuple) -> None:
        if one in table and other in table:
            ratios[text] = table[other] / table[one]

    ours = ("S", 1024, 1, 1, "eager", True)
    for form, mine in (("cached", "eager"), ("cached bf16", "bf16"), ("rebuilt", "eager")):
        one, dense = (*ours[:4], mine, True), (*ours[:4], form, True)
        ratio(f"S 1024x512: faster than dense, bias {form}", times, one, dense)
        ratio(f"S 1024x512: peak memory of dense, bias {form}, over ours", peaks, one, dense)
    ratio("S 1024x512: faster than published, default allocator and layout", times, ours,
          (*ours[:4], "published", False))  # fmt: skip
    ratio("S 1024x512: the allocator alone", times, ours, (*ours[:5], False))
    plain = ("M", 256, 1, 1, "eager", False)
    for form in ("eager", "compiled", "onnx", "bf16"):
        for name, base in (
            ("eager, default", plain),
            ("published", (*plain[:4], "published", False)),
        ):
            text = f"M 256x128: {form} faster than {name}"
            ratio(text, times, (*plain[:4], form, True), base)
    for row in found:
        if row["case"]["what"] == "attention" and "failed" not in row["result"]:
            pairs = zip(row["result"]["dense"], row["result"]["ours"], strict=True)
            each = sorted(dense / our for dense, our in pairs)
            ratios["S 1024x512: one attention layer, faster than dense, bias cached"] = each[
                len(each) // 2
            ]
    scale = {width: ("S", width, 1, 1, "eager", True) for width in WIDTHS}
    for what, table in (("time", times), ("memory", peaks)):
        points = {width: table[key] for width, key in scale.items() if key in table}
        if len(points) > 2:
            ratios[f"S: exponent of {what} against pixels, {min(points)} to {max(points)}"] = (
                exponent(points)
            )
    show("ratios of medians, and exponents", ("what", "measured"),
         [(text, f"{value:.2f}") for text, value in ratios.items()])  # fmt: skip
    return ratios


def cells_of(case: dict[str, Any]) -> tuple[str, ...]:
    """The first columns of a case's row."""
    size = f"{case['width']}x{case['width'] // 2}"
    how = "tuned" if case["tuned"] else "default"
    return case["size"], size, str(case["batch"]), str(case["steps"]), case["form"], how
