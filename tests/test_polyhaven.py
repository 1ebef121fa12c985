"""`spidereye data polyhaven` against a server that speaks Poly Haven's API, and misbehaves."""

import hashlib
import json
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from fake_polyhaven import IDS, add_file, publish, radiance, set_json
from fake_server import FakeServer, Fault, serve

from spidereye.downloads import Patience
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt
from spidereye.pictures import read_picture
from spidereye.places import place_of
from spidereye.polyhaven import Collection, collect
from spidereye.provenance import read_sources
from spidereye.sources import SourceConfig, open_source
from spidereye.tone_mapping import tone_map

QUICK = Patience(attempts=3, first_wait=0.01, longest_wait=2.0, timeout=0.5)


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serve() as fake:
        publish(fake)
        yield fake


@pytest.fixture
def wanted(server: FakeServer, tmp_path: Path) -> Collection:
    return Collection(tmp_path / "data", n=8, val=0.3, api=server.address, patience=QUICK)


def _collect(wanted: Collection) -> list[str]:
    said: list[str] = []
    collect(wanted, said.append)
    return said


def _pictures(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.glob("*/*") if p.parent.name != "hdr")


def _times(folder: Path) -> dict[str, int]:
    return {path: (folder / path).stat().st_mtime_ns for path in _pictures(folder)}


def _downloads(server: FakeServer) -> list[str]:
    return [path for path, _ in server.requests if path.startswith("/dl/")]


def test_a_folder_to_train_on(server: FakeServer, wanted: Collection):
    said = _collect(wanted)
    pictures = _pictures(wanted.folder)
    assert len(pictures) == 8
    source = SourceConfig(root=str(wanted.folder))
    assert pictures == [*open_source(source, "train").names, *open_source(source, "val").names]
    entries = {entry.name for entry in wanted.folder.iterdir()}
    assert entries == {"LICENSE.txt", "SOURCES.tsv", "train", "val"}
    assert "8 panoramas of" in said[-1] and "powered by Poly Haven" in said[-1]
    assert "CC0" in (wanted.folder / "LICENSE.txt").read_text()
    assert all(head["User-Agent"].startswith("SpiderEye/") for _, head in server.requests)


def test_sources_tell_where_each_came_from(server: FakeServer, wanted: Collection):
    _collect(wanted)
    rows = read_sources(wanted.folder)
    assert sorted(row.file for row in rows.values()) == _pictures(wanted.folder)
    for asset, row in rows.items():
        body = server.files[row.url.removeprefix(server.address)]
        assert row.md5 == hashlib.md5(body).hexdigest()
        assert (row.name, row.resolution) == (asset.title(), "1k") and row.split in row.file
        assert row.licence.startswith("CC0") and row.date.count("-") == 2


def test_pictures_are_tone_mapped_downloads(server: FakeServer, wanted: Collection):
    _collect(replace(wanted, suffix="png", keep_hdr=True))
    for asset, row in read_sources(wanted.folder).items():
        linear = cv2.imread(str(wanted.radiance(asset, "1k")), cv2.IMREAD_UNCHANGED)
        assert linear is not None
        expected = tone_map(np.ascontiguousarray(linear[..., ::-1]))
        assert np.array_equal(read_picture(wanted.folder / row.file), expected)


def test_places_stay_together_and_splits_are_stable(wanted: Collection):
    _collect(replace(wanted, n=24))
    split = {asset: row.split for asset, row in read_sources(wanted.folder).items()}
    assert len(split) == 24 and set(split.values()) == {"train", "val"}
    for asset, name in split.items():
        assert name == split[f"{place_of(asset)}_01"]
    _collect(few := replace(wanted, folder=wanted.folder.with_name("few"), n=5))
    assert all(row.split == split[asset] for asset, row in read_sources(few.folder).items())


def test_the_same_command_downloads_nothing_again(server: FakeServer, wanted: Collection):
    _collect(wanted)
    before = _times(wanted.folder)
    server.requests.clear()
    _collect(wanted)
    assert [path for path, _ in server.requests] == ["/assets?type=hdris"]
    (wanted.folder / next(iter(before))).unlink()
    server.requests.clear()
    _collect(replace(wanted, n=9))
    assert len(_downloads(server)) == 2
    after = _times(wanted.folder)
    assert len(after) == 9 and len(before.items() & after.items()) == 7


def test_another_resolution_or_format_replaces_the_pictures(wanted: Collection):
    _collect(wanted)
    _collect(replace(wanted, resolution="2k", suffix="png"))
    shapes = [read_picture(wanted.folder / path).shape for path in _pictures(wanted.folder)]
    assert shapes == [(64, 128, 3)] * 8


def test_another_seed_in_the_same_folder_would_mix_the_splits(wanted: Collection):
    _collect(replace(wanted, n=24))
    with pytest.raises(SpiderEyeError, match=r"--seed 0 --val 0\.9 puts this place into the other"):
        _collect(replace(wanted, val=0.9))


def test_the_next_lower_resolution_is_taken_and_said(server: FakeServer, wanted: Collection):
    wanted = replace(wanted, n=24, resolution="8k")
    answer = json.loads(server.files["/files/a_01"])
    del answer["hdri"]["2k"]["hdr"]
    set_json(server, "/files/a_01", answer)
    answer["hdri"] = {"16k": answer["hdri"]["1k"]}
    set_json(server, "/files/b_01", answer)
    said: list[str] = []
    with pytest.raises(SpiderEyeError, match=r"1 of 24 .*\n  b_01: .* 8k or below, has 16k$"):
        collect(wanted, said.append)
    assert "not at 8k, so at the next lower: a_01 (1k), a_02 (2k)" in said[0]
    rows = read_sources(wanted.folder)
    assert rows["a_01"].resolution == "1k" and rows["a_02"].resolution == "2k" and len(rows) == 23
    server.requests.clear()
    with pytest.raises(SpiderEyeError, match="1 of 24"):
        _collect(wanted)
    assert _downloads(server) == []


def test_pure_skies_are_left_out(server: FakeServer, wanted: Collection):
    assets = {name: {"name": name} for name in IDS[:3]} | {"x_puresky": {}}
    assets["y"] = {"category": "Pure Skies/Clear"}
    set_json(server, "/assets?type=hdris", assets)
    said = _collect(wanted)
    assert said[0] == "Poly Haven has 3 panoramas; all of them are taken"
    assert set(read_sources(wanted.folder)) == set(IDS[:3])


def test_a_bad_network_is_survived(server: FakeServer, wanted: Collection):
    dl = [path for path in server.files if path.startswith("/dl/1k")]
    server.faults = {
        "/assets?type=hdris": [Fault(status=503), Fault(cut=20)],
        "/files/a_01": [Fault(status=429, headers={"Retry-After": "1"})],
        dl[0]: [Fault(cut=1000), Fault(cut=1000), Fault(cut=1000)],
        dl[1]: [Fault(cut=1000), Fault(ranges=False)],
        dl[2]: [Fault(status=500), Fault(status=502)],
        dl[3]: [Fault(body=b"#?RADIANCE damaged")],
        dl[4]: [Fault(status=429, headers={"Retry-After": "1"})],
        dl[5]: [Fault(delay=0.8)],
    }
    _collect(replace(wanted, n=24))
    assert len(_pictures(wanted.folder)) == 24 and not any(server.faults.values())


def test_failures_are_named_and_the_rest_goes_on(server: FakeServer, wanted: Collection):
    wanted = replace(wanted, n=24)
    wrong = server.files["/dl/1k/a_02_1k.hdr"]
    server.faults = {
        "/dl/1k/a_01_1k.hdr": [Fault(body=wrong)] * 2,
        "/dl/1k/b_01_1k.hdr": [Fault(status=500)] * 3,
        "/dl/1k/c_01_1k.hdr": [Fault(status=404)],
        "/files/d_01": [Fault(status=404)],
        "/files/e_01": [Fault(body=b"<html>")],
        "/files/f_01": [Fault(body=b'{"hdri": {"1k": {"hdr": {"url": 1}}}}')],
        "/files/g_01": [Fault(body=b'{"hdri": []}')],
    }
    half = radiance(1, 32)[:-200]  # the checksum is right: the file itself is bad
    set_json(server, "/files/h_01", {"hdri": {"1k": {"hdr": add_file(server, "h", "1k", half)}}})
    said: list[str] = []
    with pytest.raises(SpiderEyeError) as caught:
        collect(wanted, said.append)
    head, *lines = str(caught.value).splitlines()
    assert head.startswith("8 of 24 panoramas could not be had; the same command tries these again")
    expected = {
        "a_01": "arrived damaged twice",
        "b_01": "HTTP 500",
        "c_01": "HTTP 404",
        "d_01": "HTTP 404",
        "e_01": "expected a JSON object, got",
        "f_01": "expected url, size and md5 of a file, got",
        "g_01": "expected an object 'hdri', got '[]'",
        "h_01": "h_01_1k.hdr: ",
    }
    for line, (asset, reason) in zip(lines, expected.items(), strict=True):
        assert line.startswith(f"  {asset}: ") and reason in line
    assert len(_pictures(wanted.folder)) == len(read_sources(wanted.folder)) == 16
    assert "16 panoramas" in said[-1]
    with pytest.raises(SpiderEyeError, match="1 of 24"):  # all but the file that is bad itself
        _collect(wanted)
    assert len(_pictures(wanted.folder)) == 23


def test_what_is_no_poly_haven(server: FakeServer, wanted: Collection):
    for answer, message in ((b"{}", "lists no panoramas; is --api right"), (b"", "a JSON object")):
        server.files["/assets?type=hdris"] = answer
        with pytest.raises(SpiderEyeError, match=message) as caught:
            _collect(wanted)
        assert "\n" not in str(caught.value) and not wanted.folder.exists()


def test_progress_is_in_bytes(server: FakeServer, wanted: Collection, monkeypatch, capsys):
    monkeypatch.setattr("spidereye.progress.LOG_EVERY", 0.0)
    for seed, asset in enumerate(IDS[:3]):
        file = add_file(server, asset, "1k", radiance(seed, 1024))  # 2 MB
        set_json(server, f"/files/{asset}", {"hdri": {"1k": {"hdr": file}}})
    set_json(server, "/assets?type=hdris", {asset: {} for asset in IDS[:3]})
    _collect(replace(wanted, jobs=1))
    lines = re.findall(r"MB: (\d)/(\d), .* left \((\d) of 3", capsys.readouterr().err)
    assert len(lines) >= 3 and lines[-1] == ("7", "7", "3")
    assert all(int(done) <= 2 * int(panoramas) + 3 for done, _, panoramas in lines)


def test_values_without_sense(wanted: Collection):
    for change in (
        *({"n": 0}, {"resolution": "1024"}, {"resolution": "0k"}, {"val": 1.5}),
        *({"val": float("nan")}, {"jobs": 0}, {"jobs": 99}, {"suffix": "bmp"}),
    ):
        with pytest.raises(SpiderEyeError, match=r"^--\w+ \S+: "):
            _collect(replace(wanted, **change))


def test_a_full_disk_is_seen_before_the_first_byte(
    server: FakeServer, wanted: Collection, monkeypatch
):
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=50_000))
    with pytest.raises(SpiderEyeError, match=r"8 panoramas need up to 0\.1 MB, .* 0\.1 MB free"):
        _collect(wanted)
    assert _downloads(server) == [] and not wanted.folder.exists()


def test_a_folder_that_cannot_be(wanted: Collection, tmp_path: Path):
    (tmp_path / "file").touch()
    with pytest.raises(SpiderEyeError, match="cannot be written: Not a directory"):
        _collect(replace(wanted, folder=tmp_path / "file" / "x"))


def test_interrupted_and_resumed(server: FakeServer, wanted: Collection):
    slow = [f"/dl/1k/{asset}_1k.hdr" for asset in ("a_01", "f_02", "l_01")]
    server.faults = {path: [Fault(cut=1500), Fault(delay=3.0)] for path in slow}
    wanted = replace(wanted, n=24, patience=replace(QUICK, timeout=10.0))

    def interrupt() -> None:
        deadline = time.monotonic() + 10.0
        while len(read_sources(wanted.folder)) < 21 and time.monotonic() < deadline:
            time.sleep(0.05)
        interrupted.append(time.monotonic())
        signal.raise_signal(signal.SIGINT)

    interrupted: list[float] = []
    threading.Thread(target=interrupt).start()
    with pytest.raises(Interrupt, match=r"stopped; 21 panoramas are in .*data, the same command"):
        _collect(wanted)
    assert time.monotonic() - interrupted[0] < 2.8  # before the server says anything
    assert len(_pictures(wanted.folder)) == 21
    parts = list((wanted.folder / "hdr").glob(".*.part"))
    assert len(parts) == 3 and {part.stat().st_size for part in parts} == {1500}
    server.requests.clear()
    _collect(wanted)
    assert len(_pictures(wanted.folder)) == 24 and sorted(_downloads(server)) == slow
    assert all(server.asked(path)[0]["Range"] == "bytes=1500-" for path in slow)
    assert not (wanted.folder / "hdr").exists()


def test_the_command(server: FakeServer, tmp_path: Path):
    server.faults["/dl/1k/a_01_1k.hdr"] = [Fault(status=404)]
    program = Path(sys.executable).with_name("spidereye")
    arguments = f"data polyhaven --n 24 --val 0.3 -o {tmp_path} --api {server.address}"
    result = subprocess.run([program, *arguments.split()], capture_output=True, text=True)
    assert result.returncode == 2
    assert "23 panoramas of 12 places" in result.stderr and "(23 of 24 " in result.stderr
    assert result.stderr.splitlines()[-2].startswith("spidereye: 1 of 24 panoramas could not be")
    assert result.stderr.splitlines()[-1].endswith("a_01_1k.hdr: HTTP 404 Not Found")


def test_an_empty_split_is_said(wanted: Collection):
    assert "WARNING: one split is empty" in _collect(replace(wanted, n=1))[-1]
    assert "WARNING" not in _collect(replace(wanted, n=2, val=0, folder=wanted.folder / "x"))[-1]
