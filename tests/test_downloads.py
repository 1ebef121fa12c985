"""Downloads meet everything that networks do: drops, refusals, lies about ranges, damage."""

import errno
import hashlib
import http.client
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path

import numpy as np
import pytest
from fake_server import FakeServer, Fault, serve

from spidereye.downloads import DownloadError, Patience, fetch, fetch_bytes
from spidereye.interrupt import Interrupt

BODY = np.random.default_rng(0).bytes(300_000)
MD5 = hashlib.md5(BODY).hexdigest()
QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=2.0, timeout=0.5)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serve() as fake:
        fake.files["/file"] = BODY
        yield fake


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "file.bin"


def _fetch(server: FakeServer, path: Path, **more) -> None:
    arguments = {"md5": MD5, "size": len(BODY), "patience": QUICK} | more
    fetch(f"{server.address}/file", path, **arguments)


def _only_file(path: Path) -> bool:
    return [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_arrives_whole_and_is_not_fetched_again(server: FakeServer, path: Path):
    counts: list[int] = []
    _fetch(server, path, on_bytes=counts.append)
    assert path.read_bytes() == BODY and _only_file(path) and sum(counts) == len(BODY)
    _fetch(server, path)
    assert len(server.requests) == 1
    assert server.requests[0][1]["User-Agent"].startswith("SpiderEye/")
    path.write_bytes(BODY[:-1] + b"?")  # damaged on disk, its size is right
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == 2


def test_a_dropped_connection_goes_on_where_it_broke(server: FakeServer, path: Path):
    # Four drops with three attempts: each brought something new, so patience starts afresh.
    server.faults["/file"] = [Fault(cut=60_000) for _ in range(4)]
    _fetch(server, path)
    assert path.read_bytes() == BODY
    ranges = [headers.get("Range") for headers in server.asked("/file")]
    assert ranges == [None, *(f"bytes={60_000 * count}-" for count in range(1, 5))]


def test_drops_without_progress_end_in_one_line(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(cut=0)] * 3
    with pytest.raises(DownloadError, match=r"/file: .*300000 bytes early \(3 attempts\)$"):
        _fetch(server, path)
    assert not path.exists()


def test_a_server_that_ignores_ranges_is_asked_from_the_start(server: FakeServer, path: Path):
    counts: list[int] = []
    server.faults["/file"] = [Fault(cut=100_000), Fault(ranges=False)]
    _fetch(server, path, on_bytes=counts.append)
    assert path.read_bytes() == BODY and sum(counts) == len(BODY)
    # Dropping at the same byte again and again is no progress.
    path.unlink()
    server.faults["/file"] = [Fault(cut=100_000, ranges=False)] * 9
    with pytest.raises(DownloadError, match="200000 bytes early"):
        _fetch(server, path)
    assert len(server.faults["/file"]) == 6


def test_a_later_call_resumes_where_the_checksum_will_tell(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(cut=200_000), *[Fault(status=500)] * 3]
    with pytest.raises(DownloadError, match="HTTP 500"):
        _fetch(server, path)
    _fetch(server, path)
    assert path.read_bytes() == BODY
    assert server.requests[-1][1]["Range"] == "bytes=200000-"
    # Without one nothing says that the old part belongs to today's file.
    path.with_name(".file.bin.part").write_bytes(b"old bytes")
    path.unlink()
    _fetch(server, path, md5=None, size=None)
    assert path.read_bytes() == BODY and "Range" not in server.requests[-1][1]


def test_a_file_that_changes_between_two_requests_is_not_mixed(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(cut=100_000, body=b"x" * len(BODY))]
    _fetch(server, path, md5=None, size=None)
    assert path.read_bytes() == BODY and "If-Range" in server.requests[-1][1]


def test_a_part_of_another_version_costs_one_restart(server: FakeServer, path: Path):
    path.parent.mkdir()
    part = path.with_name(".file.bin.part")
    part.write_bytes(b"x" * 1000)
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == 2
    path.unlink()
    part.write_bytes(b"x" * (len(BODY) + 1))  # longer than the file: the server has no such range
    _fetch(server, path)
    assert path.read_bytes() == BODY
    path.unlink()
    part.write_bytes(BODY)  # everything had come when the process was killed
    before = len(server.requests)
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == before


def test_damage_is_fetched_once_more_and_then_named(server: FakeServer, path: Path):
    wrong = b"y" * len(BODY)
    server.faults["/file"] = [Fault(body=wrong)]
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == 2
    path.unlink()
    server.faults["/file"] = [Fault(body=wrong)] * 2
    with pytest.raises(DownloadError, match=rf"damaged twice: md5 \w+ where {MD5} was announced"):
        _fetch(server, path)
    server.faults["/file"] = [Fault(body=BODY[:-5])] * 2
    with pytest.raises(DownloadError, match="299995 bytes where 300000 were announced"):
        _fetch(server, path, md5=None)
    assert list(path.parent.iterdir()) == []


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_passing_refusals_are_tried_again(server: FakeServer, path: Path, status: int):
    server.faults["/file"] = [Fault(status=status), Fault(status=status)]
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == 3


def test_retry_after_is_honoured(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(status=429, headers={"Retry-After": "1"})]
    start = time.monotonic()
    _fetch(server, path)
    assert time.monotonic() - start >= 1.0
    for far in ("3600", formatdate(time.time() + 3600, usegmt=True)):
        path.unlink(missing_ok=True)
        server.faults["/file"] = [Fault(status=429, headers={"Retry-After": far})]
        with pytest.raises(DownloadError, match=r"HTTP 429 .*asks to wait 3[56]\d\d s"):
            _fetch(server, path)
    server.faults["/file"] = [Fault(status=503, headers={"Retry-After": "soon"})]
    _fetch(server, path)
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_lasting_refusals_are_not(server: FakeServer, path: Path, status: int):
    server.faults["/file"] = [Fault(status=status)]
    with pytest.raises(DownloadError, match=f"/file: HTTP {status}"):
        _fetch(server, path)
    assert len(server.requests) == 1 and not path.exists()


def test_silence_is_a_failure_too(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(delay=1.0)]
    _fetch(server, path)
    assert len(server.requests) == 2
    with pytest.raises(DownloadError, match=r"http://127.0.0.1:9/x: .*refused \(3 attempts\)"):
        fetch("http://127.0.0.1:9/x", path.with_name("x"), patience=QUICK)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://exa mple/x", "http://[1/x", "x"])
def test_addresses_that_are_none(url: str, path: Path):
    with pytest.raises(DownloadError, match=r"is not (a valid|an http or https) address"):
        fetch(url, path, patience=QUICK)


def test_without_any_length_the_end_of_the_connection_is_the_end(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(length=False)]
    _fetch(server, path, md5=None, size=None)
    assert path.read_bytes() == BODY


def test_a_disk_that_cannot_be_written(server: FakeServer, tmp_path: Path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DownloadError, match=r"file/f\.bin: cannot be written: "):
        _fetch(server, tmp_path / "file" / "f.bin")


def test_a_network_that_goes_away_is_no_disk(server: FakeServer, path: Path, monkeypatch):
    plain, left = http.client.HTTPResponse.read1, [2]

    def read1(response, *given):
        if left[0]:
            left[0] -= 1
            raise OSError(errno.EHOSTUNREACH, "No route to host")
        return plain(response, *given)

    monkeypatch.setattr(http.client.HTTPResponse, "read1", read1)
    _fetch(server, path)
    assert path.read_bytes() == BODY and len(server.requests) == 3
    left[0] = 100
    with pytest.raises(DownloadError, match=r"No route to host \(3 attempts\)"):
        _fetch(server, path.with_name("other"))


def test_stopping_keeps_the_part(server: FakeServer, path: Path):
    stop = threading.Event()
    server.faults["/file"] = [Fault(status=503, headers={"Retry-After": "2"})]
    threading.Timer(0.2, stop.set).start()
    start = time.monotonic()
    with pytest.raises(Interrupt, match="stopped during the download of http"):
        _fetch(server, path, stop=stop)
    assert time.monotonic() - start < 1.0
    stop.clear()
    with pytest.raises(Interrupt):
        _fetch(server, path, stop=stop, on_bytes=lambda count: count and stop.set())
    had = path.with_name(".file.bin.part").stat().st_size
    assert 0 < had < len(BODY) and not path.exists()
    _fetch(server, path)
    assert path.read_bytes() == BODY and server.requests[-1][1]["Range"] == f"bytes={had}-"


def test_several_at_once_download_it_once(server: FakeServer, path: Path):
    server.faults["/file"] = [Fault(delay=0.3)]
    threads = [threading.Thread(target=_fetch, args=(server, path)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() == BODY and _only_file(path)
    assert len(server.requests) == 1


def test_small_answers(server: FakeServer):
    server.faults["/file"] = [Fault(cut=10), Fault(status=500)]
    assert fetch_bytes(f"{server.address}/file", QUICK) == BODY
    with pytest.raises(DownloadError, match="/none: HTTP 404"):
        fetch_bytes(f"{server.address}/none", QUICK)
