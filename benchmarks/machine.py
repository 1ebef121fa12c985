"""What a benchmark's numbers were measured on."""

import os
import platform
from pathlib import Path

import torch


def machine(threads: int, dtype: str = "float32") -> dict[str, str]:
    """Processor, cores, threads, versions and dtype, for the head of a table and its JSON."""
    cpu = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        cpu = next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        pass
    return {
        "cpu": cpu,
        "cores": str(len(os.sched_getaffinity(0))),
        "threads": str(threads),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "dtype": dtype,
    }
