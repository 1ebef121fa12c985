"""What a process sets before it works: memory allocation, how threads wait, how often garbage is
looked for, and how many files may be open.

With glibc's defaults every large buffer is mapped afresh and given back to the kernel when freed,
so that a training step spends most of its time on page faults (benchmarks/cpu_settings.py measures
it). Raising the two thresholds keeps freed buffers in the process: memory stays at its peak
between steps, and steps are 2 to 3 times faster.
"""

import ctypes
import gc
import os
import platform
import sys
from pathlib import Path

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
THRESHOLD = 2**31 - 1  # bytes; mallopt takes an int
SPIN_COUNT = "3000"
NEW_OBJECTS = 100_000
_OPEN_FILES = 65_536


def processor_name() -> str:
    """As the processor calls itself, or at least its architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.split(":")[1].strip() for line in lines if "model name" in line)
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def wait_briefly() -> None:
    """Let OpenMP threads spin only briefly before they sleep while they wait. Spinning for
    milliseconds, GNU OpenMP's default, makes a step many times slower as soon as anything else runs
    on the same cores; not spinning at all costs as much as a second thread brings. It must come
    before PyTorch is imported, and gives way to what the user has set.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)


def collect_rarely() -> None:
    """Look for garbage in cycles after 100 000 new objects in place of 700. Importing PyTorch makes
    hundreds of thousands that stay, and looking through them again and again is a fifth of the time
    that every command takes to start."""
    _, *older = gc.get_threshold()
    gc.set_threshold(NEW_OBJECTS, *older)


def allow_open_files() -> None:
    """Let this process and those that it starts open as many files as the system lets it. Every
    tensor that a worker of PyTorch's has ready is one; 1024, the usual limit at first, are few."""
    try:
        import resource
    except ImportError:  # Windows counts otherwise
        return
    now, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = _OPEN_FILES if most == resource.RLIM_INFINITY else min(most, _OPEN_FILES)
    if now != resource.RLIM_INFINITY and now < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def keep_large_buffers() -> bool:
    """Raise glibc's thresholds for this process; True where that worked. Call it once, early."""
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # musl has none
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, THRESHOLD)) and bool(mallopt(M_TRIM_THRESHOLD, THRESHOLD))
