"""What our commands set on CPUs, and what it brings: a training step with and without.

Baseline: the same step in a process with the C library's and OpenMP's defaults. Each setting runs
in processes of its own, in turns, and the ratio is of medians. "beside a busy process" repeats it
while another process keeps one core busy, which is when spinning threads hurt.

    python benchmarks/cpu_settings.py [--steps 5] [--rounds 3]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

from machine import machine
from rich.console import Console
from rich.table import Table

from spidereye.cpu import SPIN_COUNT

STEP = """
import sys, time, torch
if "allocator" in sys.argv[1]:
    from spidereye.cpu import keep_large_buffers
    assert keep_large_buffers()
from spidereye.decoder import DecoderConfig
from spidereye.encoder import EncoderConfig
from spidereye.model import ModelConfig, SpiderEyeModel
torch.manual_seed(0)
side, batch = int(sys.argv[3]), int(sys.argv[4])
model = SpiderEyeModel(ModelConfig(EncoderConfig(width=32), DecoderConfig.named("XS")))
optimizer = torch.optim.AdamW(model.parameters())
views = torch.rand(batch, 4, 3, side, side)
noisy, t = torch.rand(batch, 3, side, 2 * side), torch.rand(batch)
for step in range(int(sys.argv[2]) + 1):
    start = time.perf_counter()
    model(views, noisy, t).velocity.square().mean().backward()
    optimizer.step(); optimizer.zero_grad()
    if step:
        print(time.perf_counter() - start)
"""
SETTINGS = {
    "defaults": (False, False),
    "allocator": (True, False),
    "allocator, brief spinning": (True, True),
}


def seconds(setting: str, steps: int, side: int, batch: int) -> list[float]:
    """Times of `steps` training steps in a process with this setting, after one to warm up."""
    allocator, brief = SETTINGS[setting]
    environment = {
        key: value for key, value in os.environ.items() if not key.startswith(("OMP_", "GOMP_"))
    }
    if brief:
        environment["GOMP_SPINCOUNT"] = SPIN_COUNT
    arguments = ["allocator" if allocator else "plain", str(steps), str(side), str(batch)]
    result = subprocess.run(
        [sys.executable, "-c", STEP, *arguments],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [float(line) for line in result.stdout.split()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--side", type=int, default=64, help="view size in pixels")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/cpu_settings.json"))
    arguments = parser.parse_args()
    rows = []
    for busy in (False, True):
        times: dict[str, list[float]] = {setting: [] for setting in SETTINGS}
        load = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
        try:
            for _ in range(arguments.rounds):
                for setting in SETTINGS:
                    times[setting] += seconds(
                        setting, arguments.steps, arguments.side, arguments.batch
                    )
        finally:
            if load is not None:
                load.kill()
        baseline = statistics.median(times["defaults"])
        for setting, values in times.items():
            median = statistics.median(values)
            rows.append({"busy": busy, "setting": setting, "median_s": median,
                         "min_s": min(values), "max_s": max(values),
                         "speedup": baseline / median})  # fmt: skip
    cores = len(os.sched_getaffinity(0))
    about = {**machine(threads=cores), "batch": str(arguments.batch),
             "views": f"{arguments.side} px", "decoder": "XS"}  # fmt: skip
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps({"about": about, "rows": rows}, indent=1))
    table = Table(title=", ".join(f"{key} {value}" for key, value in about.items()))
    for column in ("machine", "setting", "median s", "min – max s", "against defaults"):
        table.add_column(column)
    for row in rows:
        table.add_row(
            "beside a busy process" if row["busy"] else "idle", row["setting"],
            f"{row['median_s']:.2f}", f"{row['min_s']:.2f} – {row['max_s']:.2f}",
            f"{row['speedup']:.2f}×",
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
