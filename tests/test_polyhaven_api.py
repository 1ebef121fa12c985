"""What Poly Haven's API says, and what is no answer of it."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from fake_polyhaven import IDS, publish, set_json
from fake_server import FakeServer, serve

from spidereye.downloads import DownloadError, Patience
from spidereye.polyhaven import Collection
from spidereye.polyhaven_api import Asset, PolyHaven, choose, thousands

FILE = {"url": "https://x/y.hdr", "size": 7, "md5": "0123456789ABCDEF" * 2}


@pytest.fixture
def server() -> Iterator[FakeServer]:
    with serve() as fake:
        publish(fake)
        yield fake


@pytest.fixture
def api(server: FakeServer) -> PolyHaven:
    return PolyHaven(server.address + "/", Patience(attempts=2, first_wait=0.01))


def test_panoramas_by_id(api: PolyHaven):
    assert api.panoramas() == [Asset(name, name.title()) for name in IDS]


def test_choice_is_of_the_seed_and_grows():
    assets = [Asset(name, name) for name in IDS]
    chosen = [choose(assets, n, 0) for n in range(1, 25)]
    assert all(few == many[: len(few)] for few, many in pairwise(chosen))
    assert choose(assets[::-1], 8, 0) == chosen[7] != choose(assets, 8, 1)
    # The draw of the split is another one: the first to be chosen do not all go to val/.
    wanted = Collection(Path("x"), val=0.3)
    assets = [Asset(f"place{number:04}", "") for number in range(2000)]
    share = np.mean([wanted.split(asset.id) == "val" for asset in choose(assets, 500, 0)])
    assert abs(share - 0.3) < 0.07


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"", "expected a JSON object, got"),
        (b"\xff\x00garbage", "expected a JSON object, got"),
        (b"[1, 2]", r"expected a JSON object, got '\[1, 2\]'"),
        (b"[" * 100_000, r"expected a JSON object, got"),
        (b'{"../../etc": {}}', "expected an asset '../../etc'"),
        (b'{"a": 3}', "expected an asset 'a', got '3'; is this address Poly Haven's API"),
    ],
)
def test_lists_that_are_none(server: FakeServer, api: PolyHaven, answer: bytes, message: str):
    server.files["/assets?type=hdris"] = answer
    with pytest.raises(DownloadError, match=message) as caught:
        api.panoramas()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("asked", "got"), [("1k", "1k"), ("3k", "2k"), ("8k", "8k"), ("16k", "8k"), ("24k", "8k")]
)
def test_the_resolution_or_the_next_lower(server: FakeServer, api: PolyHaven, asked: str, got: str):
    sizes = {name: {"hdr": {**FILE, "url": f"https://x/{name}"}} for name in ("1k", "8k", "2k")}
    set_json(server, "/files/a", {"hdri": {**sizes, "16k": {"exr": FILE}, "all": 3}})
    file = api.radiance_file(Asset("a", "A"), asked)
    assert (file.resolution, file.url) == (got, f"https://x/{got}")
    assert (file.size, file.md5) == (7, FILE["md5"].lower())


@pytest.mark.parametrize("change", [{"url": 3}, {"size": "7"}, {"size": -1}, {"md5": "0123"}])
def test_files_that_are_none(server: FakeServer, api: PolyHaven, change: dict):
    set_json(server, "/files/a", {"hdri": {"1k": {"hdr": FILE | change}}})
    with pytest.raises(DownloadError, match=r"/files/a: expected url, size and md5 of a file, got"):
        api.radiance_file(Asset("a", "A"), "1k")


def test_no_network(api: PolyHaven):
    with pytest.raises(DownloadError, match=r"http://127\.0\.0\.1:9/assets\?type=hdris: .*refused"):
        replace(api, address="http://127.0.0.1:9").panoramas()
    with pytest.raises(DownloadError, match=r"'polyhaven/assets.*is not an http or https address"):
        replace(api, address="polyhaven").panoramas()


def test_resolutions():
    names = ("1k", "16k", "0k", "k", "1024", "1K", "-1k", "100k", "")
    assert [thousands(name) for name in names] == [1, 16, 0, 0, 0, 0, 0, 0, 0]
