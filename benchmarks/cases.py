"""Cases of a benchmark, each in a process of its own: so each has its own peak of memory, and its
own setting of the C library's allocator, which cannot be taken back.

A case is a dict; the script is called again with it as JSON behind --case and prints its result as
a line of JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from machine import process_peak

from spidereye.cpu import SPIN_COUNT, keep_large_buffers

_CASE = "--case"


def run_case(script: str, case: Mapping[str, Any], limit: float = 900.0) -> dict[str, Any]:
    """A case's result, or {"failed": why}. case["tuned"]: as our commands set a process up, or with
    the C library's and OpenMP's defaults."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("OMP_", "GOMP_"))}
    if case["tuned"]:
        kept["GOMP_SPINCOUNT"] = SPIN_COUNT
    try:
        made = subprocess.run(
            [sys.executable, script, _CASE, json.dumps(case)],
            env=kept, capture_output=True, text=True, timeout=limit, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {limit:.0f} s"}
    if made.returncode:
        why = (made.stderr.strip().splitlines() or ["no message"])[-1]
        return {"failed": f"exit status {made.returncode}: {why[:200]}"}
    return json.loads(made.stdout.strip().splitlines()[-1])


def given_case() -> dict[str, Any] | None:
    """The case that this process is to measure, its allocator set; None: this is the script that
    people called."""
    if _CASE not in sys.argv:
        return None
    case = json.loads(sys.argv[sys.argv.index(_CASE) + 1])
    if case["tuned"]:
        keep_large_buffers()
    return case


def timed(work: Callable[[], object], runs: int, warm_up: int = 1) -> dict[str, Any]:
    """Seconds of each run, their median, and the process's peak in MB; on GPUs theirs."""
    for _ in range(warm_up):
        work()
    seconds = []
    for _ in range(runs):
        _wait()
        start = time.perf_counter()
        work()
        _wait()
        seconds.append(time.perf_counter() - start)
    peak = process_peak()
    if torch.cuda.is_available():
        peak = torch.cuda.max_memory_allocated() / 2**20
    return {"seconds": seconds, "median": statistics.median(seconds), "peak_mb": peak}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
