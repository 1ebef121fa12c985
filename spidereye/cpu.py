"""What a CPU process sets before it works: memory allocation and how threads wait.

With glibc's defaults every large buffer is mapped afresh and given back to the kernel when freed,
so that a training step spends most of its time on page faults (benchmarks/cpu_settings.py measures
it). Raising the two thresholds keeps freed buffers in the process: memory stays at its peak
between steps, and steps are 2 to 3 times faster.
"""

import ctypes
import os
import sys

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
THRESHOLD = 2**31 - 1  # bytes; mallopt takes an int


def wait_asleep() -> None:
    """Let OpenMP threads sleep while they wait. Spinning, its default, makes a step many times
    slower as soon as anything else runs on the same cores. It must come before PyTorch is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_large_buffers() -> bool:
    """Raise glibc's thresholds for this process; True where that worked. Call it once, early."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, THRESHOLD)) and bool(mallopt(M_TRIM_THRESHOLD, THRESHOLD))
