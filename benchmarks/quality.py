"""SpiderEye360 against its parts and against stitching: table, targets and a sheet of pictures.

Every trained row gets the same steps on the same samples of SPIDEREYE_SHARED/panoramas/train
(quality_rows.py says what a row is) and is evaluated on val by its EMA weights: clean views,
jittered ones, and near procedural scenes with cameras 10 cm off the centre, by 1, 4 and 12 steps of
the sampler. The networks are small enough for a CPU. Each row is a process of its own on one
thread, --jobs at a time. Ctrl-C stops; the same command goes on: rows that are done are not done
again, training resumes where it stopped.

    SPIDEREYE_SHARED=… python benchmarks/quality.py --steps 300 --jobs 2
    … --size 128 --steps 60 --seeds 1        the same at 128 px → 256x128
    … --steps 2 --limit 2 --rows stitches concat_conv SpiderEye360 --work runs/quality_try
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

from machine import machine
from quality_measure import measure, steps_done
from quality_rows import ROWS, STITCHES, WINNER, Job, Plan, config_of, identity, jobs
from quality_tables import results, show_results, write_sheet
from session import one_line_errors, shared_panoramas

from spidereye.config import Config
from spidereye.cpu import keep_large_buffers
from spidereye.interrupt import Interrupt, stop_after_step
from spidereye.progress import Meter, progress
from spidereye.whole_files import write_whole

_POLL = 3.0  # seconds between looks at the processes
_PATIENCE = 120.0  # seconds for a step to end and be saved
_EVALUATION = 0.15  # of a row's training: about what its evaluation takes, for the ETA


class Processes:
    """A process for each job, `most` at a time, and how far they are."""

    def __init__(self, plan: Plan, data: Path, work: Path, most: int):
        self.plan, self.data, self.work, self.most = plan, data, work, most
        self.running: dict[Job, subprocess.Popen] = {}
        self._configs: dict[Job, Config] = {}  # composing one takes a tenth of a second
        self.failed: list[Job] = []

    def run(self, todo: Sequence[Job]) -> None:
        """Until all are done. Raises Interrupt after Ctrl-C, once all have saved and ended."""
        waiting, done = list(todo), 0.0
        total = round(len(todo) * self._units)
        with (
            progress("rows", total, round(self._progress(todo))) as meter,
            stop_after_step() as stop,
        ):
            done = self._progress(todo)
            try:
                while (waiting or self.running) and not stop.requested:
                    while waiting and len(self.running) < self.most:
                        self._start(waiting.pop(0))
                    time.sleep(_POLL)
                    self._collect()
                    done = self._advance(meter, todo, done)
            finally:
                self._stop()
        if stop.requested:
            raise Interrupt(f"stopped; the same command goes on from {self.work}")

    @property
    def _units(self) -> float:
        return self.plan.steps * (1 + _EVALUATION)

    def _start(self, job: Job) -> None:
        arguments = [
            sys.executable, __file__, "--one", job.row, str(job.seed),
            "--data", str(self.data), "--work", str(self.work), *options(self.plan),
        ]  # fmt: skip
        with log_of(job, self.work).open("ab") as log:
            # A session of its own, so that Ctrl-C reaches it through us, once.
            self.running[job] = subprocess.Popen(
                arguments, stdout=log, stderr=log, start_new_session=True
            )

    def _collect(self) -> None:
        for job, process in list(self.running.items()):
            status = process.poll()
            if status is None:
                continue
            del self.running[job]
            if status:
                self.failed.append(job)
                tail = log_of(job, self.work).read_text(errors="replace").splitlines()[-3:]
                print(f"{job.name} ended with status {status}:", *tail, sep="\n  ", file=sys.stderr)

    def _advance(self, meter: Meter, todo: Sequence[Job], before: float) -> float:
        now = self._progress(todo)
        steps = [f"{job.name} {self._steps(job)}/{self.plan.steps}" for job in self.running]
        if int(now) > int(before):
            meter.advance(int(now) - int(before), ", ".join(steps))
        return now

    def _progress(self, todo: Sequence[Job]) -> float:
        """In steps of training, evaluations included."""
        return sum(
            self._units if finished(job, self.plan, self.work) else self._steps(job) for job in todo
        )

    def _steps(self, job: Job) -> int:
        if job.row == STITCHES:
            return 0
        if job not in self._configs:
            self._configs[job] = config_of(job, self.plan, self.data, self.work)
        return steps_done(self._configs[job])

    def _stop(self) -> None:
        """What still runs saves and ends; what does not within _PATIENCE is ended."""
        for process in self.running.values():
            process.send_signal(signal.SIGINT)
        try:
            end = time.monotonic() + _PATIENCE
            for process in self.running.values():
                process.wait(max(0.1, end - time.monotonic()))
        except (subprocess.TimeoutExpired, KeyboardInterrupt):
            for process in self.running.values():
                process.kill()


def log_of(job: Job, work: Path) -> Path:
    """What a job says."""
    return work / f"{job.name}.log"


def finished(job: Job, plan: Plan, work: Path) -> dict | None:
    """A job's result, where it was done with just these settings."""
    file = work / f"{job.name}.json"
    if not file.exists():
        return None
    found = json.loads(file.read_text(encoding="utf-8"))
    wanted = identity(job, plan)
    return found if {key: found.get(key) for key in wanted} == wanted else None


def options(plan: Plan) -> list[str]:
    """A plan as options of this command."""
    given = {f"--{name}": value for name, value in asdict(plan).items() if value is not None}
    return [part for name, value in given.items() for part in (name, str(value))]


def one(job: Job, plan: Plan, data: Path, work: Path) -> None:
    """What a job's own process does."""
    # Who starts us in the background may have left it ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with one_line_errors():
        measure(job, plan, data, work)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=int, default=300, help="of training")
    parser.add_argument("--size", type=int, default=64, help="of a view, pixels: 64 or 128")
    parser.add_argument("--batch", type=int, default=Plan.batch)
    parser.add_argument("--draws", type=int, default=Plan.draws, help="shots of each panorama")
    parser.add_argument("--rate", type=float, default=Plan.rate, help="of learning")
    parser.add_argument("--limit", type=int, help="panoramas of each split; all by default")
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS), metavar="ROW")
    parser.add_argument("--seed-rows", nargs="*", choices=ROWS, default=[WINNER], metavar="ROW")
    parser.add_argument("--seeds", type=int, default=3, help="of --seed-rows; the others have one")
    parser.add_argument("--jobs", type=int, default=2, help="rows at a time")
    parser.add_argument("--data", type=Path, help="holds train/ and val/")
    parser.add_argument("--work", type=Path, help="what is kept of rows, and the data cache")
    parser.add_argument("--out", type=Path, help="the JSON; the sheet lies beside it")
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    arguments = parsed()
    data = shared_panoramas(arguments.data, "--data")
    plan = Plan(
        arguments.steps, arguments.size, arguments.batch, arguments.draws, arguments.rate,
        arguments.limit,
    )  # fmt: skip
    work = arguments.work or Path(f"runs/benchmarks/quality_{plan.size}")
    out = arguments.out or work.with_suffix(".json")
    work.mkdir(parents=True, exist_ok=True)
    if arguments.one:
        keep_large_buffers()  # as our commands do
        return one(Job(arguments.one[0], int(arguments.one[1])), plan, data, work)
    asked = jobs(arguments.rows, arguments.seed_rows, arguments.seeds)
    processes = Processes(plan, data, work, arguments.jobs)
    todo = [job for job in asked if finished(job, plan, work) is None]
    print(f"{len(asked) - len(todo)} of {len(asked)} rows are done in {work}", file=sys.stderr)
    with one_line_errors(work):
        processes.run(todo)
    found = {job: done for job in asked if (done := finished(job, plan, work)) is not None}
    about = {**machine(threads=1), "jobs": str(arguments.jobs), **_about(plan)}
    made = results(found, plan)
    write_whole(out, json.dumps({"about": about, **made}, indent=1))
    show_results(about, made)
    write_sheet(found, work, out.with_suffix(".png"))
    print(f"written: {out}, {out.with_suffix('.png')}")
    if processes.failed:
        sys.exit(f"not done: {', '.join(job.name for job in processes.failed)}")


def _about(plan: Plan) -> dict[str, str]:
    return {
        "views": f"{plan.size} px",
        "panoramas": f"{2 * plan.size}x{plan.size}",
        "training": f"{plan.steps} steps of {plan.samples}, learning rate {plan.rate:g}, "
        f"{plan.draws} shots of each panorama",
        "weights": "EMA",
        "limit": str(plan.limit or "none"),
    }


if __name__ == "__main__":
    main()
