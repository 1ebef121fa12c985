"""What a benchmark's numbers were measured on, the memory it took, and the tables it prints."""

import os
import platform
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from spidereye.cpu import processor_name


def machine(threads: int, dtype: str = "float32") -> dict[str, str]:
    """Processor, cores, threads, versions and dtype, for the head of a table and its JSON."""
    return {
        "cpu": processor_name(),
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(threads),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dtype": dtype,
    }


def process_peak() -> float:
    """Megabytes that this process has had at most. Not ru_maxrss, which starts at the parent's."""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))


def show(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table."""
    table = Table(title=title)
    for column in columns:
        table.add_column(column)
    for row in rows:
        table.add_row(*row)
    Console(width=140).print(table)
