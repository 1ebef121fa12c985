"""Jobs one after another in a thread of their own: a model and its caches serve one at a time.

What waits is bounded in number and bytes, what is finished in number and age.
"""

import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from spidereye.errors import SpiderEyeError
from spidereye.server.limits import Limits, Refused

_log = logging.getLogger(__name__)

QUEUED, RUNNING, DONE, FAILED, CANCELLED = "queued", "running", "done", "failed", "cancelled"
FINISHED = (DONE, FAILED, CANCELLED)


@dataclass(eq=False)  # one job is no other, whatever it says
class Job:
    """work: what to do, returning the result.   size: bytes that it holds while it waits, and then
    those of the result.
    error, status: a sentence and an HTTP status where it failed.   created, finished: monotonic
    seconds."""

    id: str
    work: Callable[[], Any] | None
    size: int
    state: str = QUEUED
    result: Any = None
    error: str | None = None
    status: int = 200
    created: float = field(default_factory=time.monotonic)
    started: float | None = None
    finished: float | None = None

    @property
    def is_finished(self) -> bool:
        return self.state in FINISHED


class JobQueue:
    """Runs jobs in the order in which they came. `observe` is told of each that ended; `size_of`
    tells the bytes of a result."""

    def __init__(
        self,
        limits: Limits,
        observe: Callable[[Job], None] = lambda job: None,
        size_of: Callable[[Any], int] = lambda result: 0,
    ):
        self._limits, self._observe, self._size_of = limits, observe, size_of
        self._waiting: deque[Job] = deque()
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="stitching", daemon=True)
        self._thread.start()

    def __len__(self) -> int:
        """How many wait."""
        return len(self._waiting)

    def submit(self, work: Callable[[], Any], size: int) -> Job:
        """Raises Refused where too much waits already (429), and once it is stopped (503)."""
        with self._changed:
            if self._stopping:
                raise Refused(503, "the server stops")
            held = size + sum(job.size for job in self._waiting)
            if len(self._waiting) >= self._limits.queue:
                raise Refused(429, f"{len(self._waiting)} jobs wait already; try again later")
            if held > 1e6 * self._limits.queue_megabytes:
                raise Refused(429, "too many large pictures wait already; try again later")
            job = Job(secrets.token_urlsafe(12), work, size)
            self._jobs[job.id] = job
            self._waiting.append(job)
            self._forget()
            self._changed.notify_all()
        return job

    def find(self, name: str) -> Job:
        """Raises Refused (404) for a job that is not, or no longer, known."""
        with self._changed:
            self._forget()
            if name not in self._jobs:
                raise Refused(404, "no such job; finished ones are forgotten after a while")
            return self._jobs[name]

    def position(self, job: Job) -> int:
        """How many jobs are before this one; 0 where it runs or is finished."""
        with self._changed:
            return 1 + self._waiting.index(job) if job in self._waiting else 0

    def cancel(self, job: Job) -> None:
        """Take it out of the queue; one that runs is let finish and its result dropped."""
        with self._changed:
            if job.is_finished:
                return
            if job in self._waiting:
                self._waiting.remove(job)
            self._end(job, CANCELLED, "the job is cancelled", 409)

    def stop(self) -> None:
        """Do no more than the job at hand: those that wait are cancelled, and new ones refused."""
        with self._changed:
            self._stopping = True
            for job in list(self._waiting):
                self._end(job, CANCELLED, "the server stops", 503)
            self._waiting.clear()
            self._changed.notify_all()

    def close(self) -> None:
        """`stop`, and wait for the job at hand."""
        self.stop()
        self._thread.join(timeout=30)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if self._stopping:
                    return
                job = self._waiting.popleft()
                if time.monotonic() - job.created > self._limits.seconds:
                    text = f"it waited longer than {self._limits.seconds:g} s; try again later"
                    self._end(job, FAILED, text, 408)
                    continue
                job.state, job.started = RUNNING, time.monotonic()
                work = job.work
            assert work is not None
            try:
                outcome = DONE, None, 200, work()
            except Refused as error:
                outcome = FAILED, str(error), error.status, None
            except SpiderEyeError as error:
                outcome = FAILED, str(error), 422, None
            except Exception as error:  # a bug of ours must not end the thread
                _log.exception("job %s", job.id)
                outcome = FAILED, f"internal error: {type(error).__name__}", 500, None
            del work
            with self._changed:
                if not job.is_finished:
                    state, text, status, result = outcome
                    job.result = result
                    self._end(job, state, text, status)
                del outcome

    def _end(self, job: Job, state: str, error: str | None, status: int) -> None:
        job.state, job.error, job.status = state, error, status
        job.finished, job.work = time.monotonic(), None
        job.size = 0 if job.result is None else self._size_of(job.result)
        self._observe(job)
        self._forget()

    def _forget(self) -> None:
        """Finished jobs that are too old, too many or too large together; the newest stay."""
        now, held = time.monotonic(), 0
        finished = [job for job in reversed(self._jobs.values()) if job.finished is not None]
        for place, job in enumerate(finished):
            assert job.finished is not None
            held += job.size
            surplus = place >= self._limits.kept or held > 1e6 * self._limits.kept_megabytes
            if (surplus and place) or now - job.finished > self._limits.kept_seconds:
                del self._jobs[job.id]
