"""How fast something is beside what the machine could do: floating-point operations, and the share
of its measured rate of matrix products."""

import sys
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from cases import run_case, timed
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from spidereye.precision import has_bfloat16

COLUMNS = ("median s", "pictures/s", "peak GB", "Gflop", "of the matrix rate")


def operations(work: Callable[[], object]) -> int:
    """Floating-point operations of products and convolutions in work(), those of its backward pass
    too. Attention runs as products, which are counted everywhere."""
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        work()
    return counter.get_total_flops()


def counted(script: str, case: Mapping[str, Any]) -> int:
    """The operations that a script's case prints. Leaves where they could not be counted."""
    result = run_case(script, case)
    if "operations" not in result:
        sys.exit(f"error: operations were not counted: {result.get('failed', result)}")
    return result["operations"]


def matrix_rate(device: str, dtype: torch.dtype, side: int = 2048, runs: int = 7) -> float:
    """Floating-point operations per second of a product of two square matrices, the median: as a
    product or as a convolution of one pixel, whichever is faster. PyTorch on CPUs has a library for
    each, and that for products leaves half of some processors unused."""
    one, other = (torch.rand(side, side, device=device).to(dtype) for _ in range(2))
    picture, kernel = one.T.unflatten(1, (-1, 32))[None], other.T[:, :, None, None]
    picture = picture.contiguous(memory_format=torch.channels_last)
    kernel = kernel.contiguous(memory_format=torch.channels_last)
    ways = (lambda: one @ other, lambda: F.conv2d(picture, kernel))
    return 2 * side**3 / min(timed(way, runs, 2)["median"] for way in ways)


def matrix_rates(device: str) -> dict[str, float]:
    """By the precisions that the device computes in, fp32 and bf16."""
    dtypes = {"fp32": torch.float32}
    if has_bfloat16(torch.device(device)):
        dtypes["bf16"] = torch.bfloat16
    side = 2048 if device == "cpu" else 8192
    return {name: matrix_rate(device, dtype, side) for name, dtype in dtypes.items()}


def said(rates: Mapping[str, float], device: str) -> dict[str, str]:
    """For the head of a table, and of its JSON."""
    words = {f"matrix product, {name}": f"{rate / 1e9:.0f} Gflop/s" for name, rate in rates.items()}
    if "bf16" not in rates:
        words["bf16"] = f"not measured: this {device} does not compute in bfloat16"
    return words


def cells(result: Mapping[str, Any], pictures: int, work: int, rate: float) -> tuple[str, ...]:
    """What stands under COLUMNS. result: of a case.   pictures, work: made by it once, and the
    operations that this takes.   rate: of the machine, in the case's precision."""
    if "failed" in result:
        return (result["failed"], *[""] * (len(COLUMNS) - 1))
    seconds = result["median"]
    return (
        f"{seconds:.3g}", f"{pictures / seconds:.3g}", f"{result['peak_mb'] / 1024:.2f}",
        f"{work / 1e9:.0f}", f"{work / seconds / rate:.0%}",
    )  # fmt: skip
