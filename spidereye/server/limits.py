"""What a request may ask of the server, and the error that says where it asks for more."""

from dataclasses import dataclass

from spidereye.errors import SpiderEyeError


@dataclass(frozen=True)
class Limits:
    """megabytes: of one request.   pixels: of one picture.   views: pictures of one shot, and
    cameras of a rig.   width: of a panorama.   queue, queue_megabytes: jobs that wait, and their
    pictures together.   seconds: from a job's arrival to its start.   kept, kept_seconds,
    kept_megabytes: finished jobs whose panoramas can still be fetched, and their panoramas
    together; the last one always can."""

    megabytes: float = 64.0
    pixels: int = 60_000_000
    views: int = 16
    width: int = 8192
    queue: int = 64
    queue_megabytes: float = 512.0
    seconds: float = 300.0
    kept: int = 64
    kept_seconds: float = 900.0
    kept_megabytes: float = 512.0


class Refused(SpiderEyeError):  # noqa: N818 (it is the answer, no failure)
    """A request that cannot be served: an HTTP status and one sentence."""

    def __init__(self, status: int, text: str):
        super().__init__(text)
        self.status = status
