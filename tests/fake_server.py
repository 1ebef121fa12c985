"""A web server for tests of downloads: serves bytes with ranges, and fails on request."""

import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass(frozen=True)
class Fault:
    """What one request gets in place of the plain answer."""

    status: int = 0  # this HTTP status and no body; 0: an answer with a body
    headers: dict[str, str] = field(default_factory=dict)
    cut: int | None = None  # so many bytes of the body are sent, then the connection drops
    body: bytes | None = None  # in place of the file
    ranges: bool = True  # False: the Range header is ignored
    length: bool = True  # False: no Content-Length, the body ends with the connection
    delay: float = 0.0  # seconds of silence before the answer


@dataclass
class FakeServer:
    """files: path to content. faults: path to what its next requests meet, one after the other."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    def asked(self, path: str) -> list[dict[str, str]]:
        """The headers of each request for a path."""
        return [headers for asked, headers in self.requests if asked == path]


@contextmanager
def serve() -> Iterator[FakeServer]:
    """A server on a free local port for the length of a with block."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            with suppress(ConnectionError):  # the client has gone away
                _answer(self, fake)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _answer(handler: BaseHTTPRequestHandler, fake: FakeServer) -> None:
    headers = dict(handler.headers)
    fake.requests.append((handler.path, headers))
    faults = fake.faults.get(handler.path)
    fault = faults.pop(0) if faults else Fault()
    time.sleep(fault.delay)
    body = fake.files.get(handler.path) if fault.body is None else fault.body
    if fault.status or body is None:
        handler.send_response(fault.status or 404)
        for name, value in fault.headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        return
    etag = hashlib.sha256(body).hexdigest()
    start = 0
    if fault.ranges and headers.get("If-Range", etag) == etag:
        start = int(headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
    if start and start >= len(body):
        handler.send_response(416)
        handler.end_headers()
        return
    handler.send_response(206 if start else 200)
    if start:
        handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
    if fault.length:
        handler.send_header("Content-Length", str(len(body) - start))
    handler.send_header("ETag", etag)
    handler.end_headers()
    handler.wfile.write(body[start:][: fault.cut])
