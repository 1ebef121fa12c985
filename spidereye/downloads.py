"""Files over HTTP: resumed, checked, retried with patience, and there whole or not at all.

Layer: data. A download grows in `.<name>.part` beside its place and is renamed once its size and
checksum are right. What interrupts it leaves the part, and the next call goes on from there.
"""

import contextlib
import email.utils
import fcntl
import hashlib
import http.client
import logging
import os
import random
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import version
from io import FileIO
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt

logger = logging.getLogger(__name__)

_CHUNK = 2**16  # bytes
_TRANSIENT = frozenset((408, 425, 429, 500, 502, 503, 504))  # HTTP answers worth asking again


class DownloadError(SpiderEyeError):
    """A file that cannot be had: its address and the reason."""


@dataclass(frozen=True)
class Patience:
    """How long to try again before giving up; times in seconds."""

    attempts: int = 5  # in a row that brought nothing new
    first_wait: float = 1.0  # after the first of them, doubled after each further one
    longest_wait: float = 120.0  # a server that asks for a longer one has refused
    timeout: float = 30.0  # without a byte


def fetch(
    url: str,
    path: str | Path,
    *,
    md5: str | None = None,
    size: int | None = None,
    patience: Patience | None = None,
    stop: threading.Event | None = None,
    on_bytes: Callable[[int], object] = lambda count: None,
) -> None:
    """Download url to path, unless it is there already and agrees with md5 and size (bytes).

    A part that an earlier call left is continued where an md5 will tell whether it fits, and where
    the server can. What arrives damaged is downloaded once more from its start. Processes and
    threads that want the same path wait for one another. Missing folders are made.

    stop: set it from another thread to end with Interrupt; the part stays. on_bytes is told how
    many bytes more (or fewer, after a restart) are there. Raises DownloadError.
    """
    path, patience = Path(path), patience or Patience()
    part = path.with_name(f".{path.name}.part")
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        while not (path.exists() and _difference(path, md5, size) is None):
            with part.open("ab", buffering=0) as file:
                if not _lock(file, part, stop):
                    continue  # another process or thread had it and is done: look again
                if md5 is None:
                    file.truncate(0)
                on_bytes(file.seek(0, os.SEEK_END))
                _append(url, file, size, _Tries(url, patience, stop), on_bytes)
                wrong = _difference(part, md5, size)
                if wrong:
                    _restart(file, on_bytes)
                    _append(url, file, size, _Tries(url, patience, stop), on_bytes)
                    wrong = _difference(part, md5, size)
                if wrong:
                    on_bytes(-file.tell())
                    part.unlink()
                    raise DownloadError(f"{url}: arrived damaged twice: {wrong}; try again later")
                os.fsync(file.fileno())
                part.replace(path)
                return
        on_bytes(path.stat().st_size)


def fetch_bytes(
    url: str, patience: Patience | None = None, stop: threading.Event | None = None
) -> bytes:
    """What url answers, for small answers; retried like `fetch`. Raises DownloadError."""
    tries = _Tries(url, patience or Patience(), stop)
    while True:
        try:
            with _answer(url, {}, tries.patience.timeout) as response:
                return response.read()
        except _Trouble as trouble:
            tries.failed(trouble)


class _Trouble(Exception):  # noqa: N818 (an error only once patience has ended)
    """Why a request failed that may succeed next time."""

    def __init__(self, reason: str, wait: float | None = None, restart: bool = False):
        super().__init__(reason)
        self.wait = wait  # seconds that the server asked for
        self.restart = restart  # what is here already is of no use


class _Tries:
    """Counts failures in a row, waits between them, and gives up in the end."""

    def __init__(self, url: str, patience: Patience, stop: threading.Event | None):
        self.url, self.patience, self._stop = url, patience, stop or threading.Event()
        self._failures = 0

    def check_stop(self) -> None:
        if self._stop.is_set():
            raise Interrupt(f"stopped during the download of {self.url}")

    def progressed(self) -> None:
        self._failures = 0

    def failed(self, trouble: _Trouble) -> None:
        self._failures += 1
        if self._failures >= self.patience.attempts:
            raise DownloadError(f"{self.url}: {trouble} ({self._failures} attempts)") from trouble
        # Spread, so that parallel downloads do not come back all at once.
        wait = self.patience.first_wait * 2 ** (self._failures - 1) * random.uniform(0.75, 1.25)
        wait = min(wait, self.patience.longest_wait)
        if trouble.wait is not None:
            if trouble.wait > self.patience.longest_wait:
                raise DownloadError(
                    f"{self.url}: {trouble}; the server asks to wait {trouble.wait:.0f} s, try "
                    "again then"
                ) from trouble
            wait = max(wait, trouble.wait)
        if wait > 5.0:
            logger.warning("%s: %s; trying again in %.0f s", self.url, trouble, wait)
        self._stop.wait(wait)
        self.check_stop()


def _append(
    url: str, file: FileIO, size: int | None, tries: _Tries, on_bytes: Callable[[int], object]
) -> None:
    """Append to file what it lacks, in as many requests as it takes."""
    most = file.seek(0, os.SEEK_END)
    validator = None  # what the server calls the version that the first bytes came from
    while size is None or file.tell() != size:
        try:
            have = file.tell()
            headers = {"Range": f"bytes={have}-"} if have else {}
            if have and validator:
                headers["If-Range"] = validator
            with _answer(url, headers, tries.patience.timeout) as response:
                if have and not _continues(response, have):
                    _restart(file, on_bytes)
                validator = response.headers.get("ETag") or response.headers.get("Last-Modified")
                _copy(response, file, tries, on_bytes)
            return
        except _Trouble as trouble:
            if file.tell() > most:
                most = file.tell()
                tries.progressed()
            if trouble.restart:
                _restart(file, on_bytes)
            tries.failed(trouble)


def _copy(
    response: http.client.HTTPResponse,
    file: FileIO,
    tries: _Tries,
    on_bytes: Callable[[int], object],
) -> None:
    missing = response.length  # None where the server does not say
    while chunk := response.read1(_CHUNK):
        tries.check_stop()
        with _disk_errors(Path(str(file.name))):
            file.write(chunk)
        on_bytes(len(chunk))
        missing = None if missing is None else missing - len(chunk)
    if missing:
        raise _Trouble(f"the connection ended {missing} bytes early")


@contextlib.contextmanager
def _answer(
    url: str, headers: dict[str, str], timeout: float
) -> Iterator[http.client.HTTPResponse]:
    """An open response; what fails on the way is a _Trouble where trying again may help."""
    if not url.startswith(("http://", "https://")):
        raise DownloadError(f"{url!r} is not an http or https address")
    agent = f"SpiderEye/{version('spidereye')}"
    try:
        request = urllib.request.Request(url, headers={"User-Agent": agent, **headers})
        with urllib.request.urlopen(request, timeout=timeout) as response:
            yield response
    except urllib.error.HTTPError as error:
        error.close()
        reason = f"HTTP {error.code} {error.reason}"
        if error.code in _TRANSIENT:
            raise _Trouble(reason, _retry_after(error)) from error
        if error.code == 416 and "Range" in headers:
            raise _Trouble(reason, restart=True) from error
        raise DownloadError(f"{url}: {reason}") from error
    except (http.client.InvalidURL, ValueError) as error:
        raise DownloadError(f"{url!r} is not a valid address: {error}") from error
    except urllib.error.URLError as error:
        if isinstance(error.reason, ssl.SSLCertVerificationError):
            raise DownloadError(f"{url}: {error.reason}") from error
        raise _Trouble(str(error.reason)) from error
    except TimeoutError as error:
        raise _Trouble(f"no byte for {timeout:g} s") from error
    except (http.client.HTTPException, OSError) as error:  # the disk's have become DownloadErrors
        raise _Trouble(f"the connection broke: {error or type(error).__name__}") from error


def _continues(response: http.client.HTTPResponse, start: int) -> bool:
    """Whether the answer begins at byte `start`; servers may ignore the range and send it all."""
    return response.status == 206 and response.headers.get("Content-Range", "").startswith(
        f"bytes {start}-"
    )


def _retry_after(error: urllib.error.HTTPError) -> float | None:
    """Seconds from a Retry-After header, which holds seconds or a date (RFC 9110, 10.2.3)."""
    text = error.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        return max(email.utils.parsedate_to_datetime(text).timestamp() - time.time(), 0.0)
    except ValueError:
        return None


def _difference(path: Path, md5: str | None, size: int | None) -> str | None:
    """How a file differs from what is expected, or None."""
    if size is not None and path.stat().st_size != size:
        return f"{path.stat().st_size} bytes where {size} were announced"
    if md5 is not None:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "md5").hexdigest()
        if found != md5.lower():
            return f"md5 {found} where {md5.lower()} was announced"
    return None


def _restart(file: FileIO, on_bytes: Callable[[int], object]) -> None:
    on_bytes(-file.seek(0, os.SEEK_END))
    file.truncate(0)
    file.seek(0)


def _lock(file: FileIO, part: Path, stop: threading.Event | None) -> bool:
    """Wait until nobody else writes the part; False where it was renamed or removed meanwhile."""
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if stop is not None and stop.is_set():
                raise Interrupt(f"stopped while another process downloads {part}") from None
            time.sleep(0.1)
    return part.exists() and os.path.samestat(part.stat(), os.fstat(file.fileno()))


@contextlib.contextmanager
def _disk_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise DownloadError(f"{path}: cannot be written: {error.strerror or error}") from error
