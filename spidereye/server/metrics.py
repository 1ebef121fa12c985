"""What Prometheus is told: requests by status, jobs by how they ended and how long they took."""

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from spidereye.server.job_queue import Job

_SECONDS = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60, 300)


class Metrics:
    """Of one server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = Counter(
            "spidereye_requests", "HTTP requests", ["path", "status"], registry=self._registry
        )
        self.jobs = Counter("spidereye_jobs", "jobs that ended", ["state"], registry=self._registry)
        self.waiting = Gauge("spidereye_jobs_waiting", "jobs that wait", registry=self._registry)
        self.stitching = Histogram(
            "spidereye_stitch_seconds", "from start to end of a job", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip
        self.whole = Histogram(
            "spidereye_job_seconds", "from arrival to end of a job", buckets=_SECONDS,
            registry=self._registry,
        )  # fmt: skip

    def answered(self, path: str, status: int) -> None:
        """A request was answered."""
        self.requests.labels(path, status).inc()

    def ended(self, job: Job) -> None:
        """A job ended."""
        now = time.monotonic()
        self.jobs.labels(job.state).inc()
        self.whole.observe(now - job.created)
        if job.started is not None:
            self.stitching.observe(now - job.started)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
