"""The HTTP API: everyone gets the panorama of their own views, and bad requests a sentence."""

import io
import json
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi.testclient import TestClient
from made_checkpoints import tiny_checkpoint
from made_shots import small_rig, taken, world
from PIL import Image
from running import serving

from spidereye import Stitcher
from spidereye.errors import SpiderEyeError
from spidereye.pictures import to_uint8
from spidereye.rig import Rig, spider4
from spidereye.rig_files import write_rig
from spidereye.server.app import create_app
from spidereye.server.job_queue import JobQueue
from spidereye.server.limits import Limits, Refused
from spidereye.server.models import Models
from spidereye.server.stitch_request import StitchRequest, Upload, Wanted

NAMES = ("front", "right", "back", "left")
LIMITS = Limits(megabytes=2, pixels=1_000_000, views=6, width=512)


def png(picture: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture).save(file, format="PNG")
    return file.getvalue()


def shot(seed: int) -> list[np.ndarray]:
    views = taken(world(seed), small_rig())
    return [to_uint8(view[0]).permute(1, 2, 0).contiguous().numpy() for view in views]


def files(pictures, names=NAMES) -> list:
    return [
        ("views", (f"{name}.png", png(picture), "image/png"))
        for name, picture in zip(names, pictures, strict=True)
    ]


def opened(content: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(content)))


@pytest.fixture(scope="module")
def models(tmp_path_factory) -> Models:
    checkpoint = tiny_checkpoint(tmp_path_factory.mktemp("served"))
    return Models.load({"tiny": str(checkpoint)}, {})


@pytest.fixture(scope="module")
def client(models) -> Iterator[TestClient]:
    with TestClient(create_app(models, LIMITS)) as client:
        yield client


@pytest.fixture(scope="module")
def views() -> list[np.ndarray]:
    return shot(0)


GEOMETRIC = {"model": "geometric", "size": "128x64", "format": "png", "wait": "true"}


def test_a_panorama_is_what_python_would_make(client, views, models):
    answer = client.post("/api/stitch", files=files(views), data=GEOMETRIC)
    assert answer.status_code == 200 and answer.headers["content-type"] == "image/png"
    rig = models.rigs["spider4"]
    expected = Stitcher.geometric(rig, (128, 64))(views).picture
    np.testing.assert_array_equal(opened(answer.content), expected)
    assert b"equirectangular" in answer.content
    # By name, in whatever order; by order where names do not tell.
    order = (2, 0, 3, 1)
    mixed = files([views[i] for i in order], [NAMES[i] for i in order])
    np.testing.assert_array_equal(
        opened(client.post("/api/stitch", files=mixed, data=GEOMETRIC).content), expected
    )
    unnamed = files(views, ("1", "2", "3", "4"))
    np.testing.assert_array_equal(
        opened(client.post("/api/stitch", files=unnamed, data=GEOMETRIC).content), expected
    )
    model = client.post("/api/stitch", files=files(views), data={"wait": "true", "format": "webp"})
    assert opened(model.content).shape == (32, 64, 3)
    other = {"wait": "true", "format": "png", "size": "128x64", "rig": "spider4"}
    assert opened(client.post("/api/stitch", files=files(views), data=other).content).shape[0] == 64


def test_views_may_be_left_out_where_names_tell_which(client, views, models):
    rig, three = models.rigs["spider4"], [2, 0, 1]
    named = files([views[i] for i in three], [NAMES[i] for i in three])
    answer = client.post("/api/stitch", files=named, data=GEOMETRIC)
    expected = Stitcher.geometric(rig, (128, 64))([*views[:3], None]).picture
    np.testing.assert_array_equal(opened(answer.content), expected)
    unnamed = files(views[:3], ("1", "2", "3"))
    answer = client.post("/api/stitch", files=unnamed, data=GEOMETRIC)
    assert answer.status_code == 422 and "may be left out where" in answer.json()["error"]


def test_a_job_is_followed_to_its_end(client, views):
    answer = client.post("/api/stitch", files=files(views), data={"refine": "gain,rotation"})
    assert answer.status_code == 202
    place = answer.headers["location"]
    with client.stream("GET", f"{place}/events") as stream:
        lines = [line for line in stream.iter_lines() if line.startswith("data: ")]
    told = json.loads(lines[-1].removeprefix("data: "))
    assert told["state"] == "done" and told["size"] == [64, 32] and told["seen"] == 1
    assert len(told["corrections"]) == 4 and told["seconds"] > 0
    assert client.get(place).json() == told
    assert opened(client.get(told["panorama"]).content).shape == (32, 64, 3)
    assert set(np.unique(opened(client.get(told["count"]).content))) <= {2, 3, 4}
    assert client.delete(place).json()["state"] == "done"
    assert client.get("/api/jobs/nothing").status_code == 404


def test_what_it_knows_and_how_it_is(client):
    told = client.get("/api/models").json()
    assert [one["name"] for one in told["models"]] == ["tiny", "geometric"]
    assert told["default"] == "tiny" and told["models"][0]["size"] == [64, 32]
    rigs = {one["name"]: one["views"] for one in client.get("/api/rigs").json()["rigs"]}
    assert rigs["spider4"] == list(NAMES) and "dual190" in rigs
    (first, *_) = client.get("/api/samples").json()["samples"]
    view = client.get(f"/api/samples/{first['name']}/{first['views'][0]}.jpg")
    assert opened(view.content).shape == (560, 560, 3) and opened(view.content).std() > 20
    assert client.get(f"/api/samples/{first['name']}/top.jpg").status_code == 404
    assert client.get("/healthz").json()["status"] == "ok"
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/api/stitch", "/api/jobs/{name}", "/api/models", "/api/rigs"} <= set(paths)
    text = client.get("/metrics").text
    assert 'spidereye_requests_total{path="/api/models",status="200"}' in text
    assert "spidereye_jobs_waiting 0.0" in text and "spidereye_job_seconds_bucket" in text
    assert client.get("/").status_code == 200 and client.get("/nowhere").status_code == 404
    assert "error" in client.get("/nowhere").json()


def test_rigs_are_uploaded_or_guessed(client, views, tmp_path):
    write_rig(small_rig(), tmp_path / "rig.yaml")
    text = (tmp_path / "rig.yaml").read_text(encoding="utf-8")
    uploaded = [*files(views), ("rig_file", ("../../etc/rig.yaml", text.encode(), "text/yaml"))]
    made = client.post("/api/stitch", files=uploaded, data=GEOMETRIC)
    expected = Stitcher.geometric(small_rig(), (128, 64))(views).picture
    np.testing.assert_array_equal(opened(made.content), expected)
    masked = text.replace("- name: front", "- name: front\n  mask: /etc/passwd")
    answer = client.post(
        "/api/stitch",
        files=[*files(views), ("rig_file", ("rig.yaml", masked.encode(), "text/yaml"))],
        data=GEOMETRIC,
    )
    assert answer.status_code == 422 and "masks are files of their own" in answer.json()["error"]
    crowd = [replace(small_rig().cameras[0], name=f"v{n}") for n in range(LIMITS.views + 1)]
    write_rig(Rig(tuple(crowd)), tmp_path / "crowd.yaml")
    sent = ("rig_file", ("crowd.yaml", (tmp_path / "crowd.yaml").read_bytes(), "text/yaml"))
    answer = client.post("/api/stitch", files=[*files(views), sent], data=GEOMETRIC)
    assert answer.status_code == 413 and "at most 6 views here, got 7" in answer.json()["error"]
    narrow, wide = (
        opened(
            client.post(
                "/api/stitch",
                files=files(views, "abcd"),
                data={**GEOMETRIC, "family": "equidistant", "fov": fov},
            ).content
        )
        for fov in ("150", "200")
    )
    assert narrow.shape == (64, 128, 3) and np.abs(narrow.astype(int) - wide).mean() > 3


def test_guesses_decode_the_pictures_of_one_shot_at_a_time(models, views, monkeypatch):
    inside, most, plain = [], [], Upload.picture

    def picture(self):
        inside.append(self)
        most.append(len(inside))
        time.sleep(0.01)
        made = plain(self)
        inside.remove(self)
        return made

    monkeypatch.setattr(Upload, "picture", picture)
    uploads = [Upload(f"{name}.png", png(view)) for name, view in zip(NAMES, views, strict=True)]
    wanted = Wanted(model="geometric", size="128x64", family="equidistant", fov=185.0)
    with ThreadPoolExecutor(4) as pool:
        given = models, LIMITS, uploads, wanted
        works = [pool.submit(StitchRequest.checked, *given) for _ in range(4)]
        assert all(work.result().views for work in works)
    assert len(most) == 16 and max(most) == 1


MULTIPART = {"content-type": "multipart/form-data; boundary=x"}


def chunks() -> Iterator[bytes]:
    """A body that does not say beforehand how large it is."""
    yield b'--x\r\ncontent-disposition: form-data; name="views"; filename="a.png"\r\n\r\n'
    yield from [bytes(100_000)] * 30
    yield b"\r\n--x--\r\n"


def bomb() -> bytes:
    """A PNG whose header announces 30000x30000 pixels."""
    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    parts = [(b"IHDR", header), (b"IDAT", data), (b"IEND", b"")]
    chunks = [
        struct.pack(">I", len(content)) + kind + content
        + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in parts
    ]  # fmt: skip
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_bad_uploads_get_a_sentence_and_do_no_harm(client, views):
    good = [content for _, (_, content, _) in files(views)]
    damaged = bytearray(good[0])
    damaged[len(damaged) // 2] ^= 255

    def sent(first: bytes, name: str = "front.png", count: int = 4, **data):
        parts = [("views", (name, first, "image/jpeg"))]
        parts += [("views", (f"{n}.png", good[n % 4], "image/png")) for n in range(1, count)]
        return client.post("/api/stitch", files=parts, data={**GEOMETRIC, **data})

    for status, words, answer in (
        (415, "front.png", sent(b"this is no JPEG" * 20)),
        (413, "30000x30000", sent(bomb())),
        (415, "truncated", sent(good[0][: len(good[0]) // 2])),
        (415, "front.png", sent(bytes(damaged))),
        (400, "front.png is empty", sent(b"")),
        (422, "takes 4 pictures (front, right, back, left), got 5", sent(good[0], count=5)),
        (413, "at most 6 views", sent(good[0], count=9)),
        (413, "at most 2 MB", sent(bytes(3_000_000))),
        (404, "no model is called 'gpt'", sent(good[0], model="gpt")),
        (404, "no rig is called '../x'", sent(good[0], rig="../x")),
        (422, "size is that of a 2:1", sent(good[0], size="64x64")),
        (422, "unknown field 'rigg'; known: family, format", sent(good[0], rigg="spider4")),
        (413, "at most 512 pixels wide", sent(good[0], size="2048x1024")),
        (422, "multiple of 16", sent(good[0], size="40x20", model="tiny")),
        (422, "refine takes gain", sent(good[0], refine="tint")),
        (422, "format is one of", sent(good[0], format="gif")),
        (422, "steps", sent(good[0], steps="many")),
        (422, "steps are 1 to 100", sent(good[0], steps="1000000", model="tiny")),
        (422, "steps and seed go with a model", sent(good[0], steps="4")),
        (422, "steps and seed go with a model", sent(good[0], seed="4")),
        (422, "order goes with fov", sent(good[0], order="front,right,back,left")),
        (413, "at most 2 MB", client.post("/api/stitch", content=chunks(), headers=MULTIPART)),
        (422, "send one of them", sent(good[0], rig="spider4", fov="190")),
        (422, "family goes with fov", sent(good[0], family="equidistant")),
        (
            422,
            "field `views` takes a file, got text",
            client.post("/api/stitch", data={**GEOMETRIC, "views": "front"}),
        ),
        (422, "field `views` is missing", client.post("/api/stitch", data=GEOMETRIC)),
    ):
        assert answer.status_code == status, (words, answer.text)
        error = answer.json()["error"]
        assert words in error and "\n" not in error and "Traceback" not in error, error
        assert "--" not in error, "options of commands are none of the API's"
    named = sent(good[0], name="../../../etc/passwd")
    assert named.status_code == 200
    assert client.post("/api/stitch", files=files(views), data=GEOMETRIC).status_code == 200


def test_bugs_of_ours_are_json_too(models, views, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(StitchRequest, "checked", fails)
    with TestClient(create_app(models, LIMITS), raise_server_exceptions=False) as client:
        answer = client.post("/api/stitch", files=files(views), data=GEOMETRIC)
    assert answer.status_code == 500
    assert answer.json() == {"error": "internal error: ZeroDivisionError"}


@pytest.fixture
def slow(monkeypatch) -> threading.Event:
    """Jobs that wait for this event before they stitch."""
    go, make = threading.Event(), StitchRequest.make

    def waiting(self):
        go.wait(20)
        return make(self)

    monkeypatch.setattr(StitchRequest, "make", waiting)
    return go


class Served:
    """A server on loopback, in a thread."""

    def __init__(self, app):
        self.app = app
        self._server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))

    def __enter__(self) -> "Served":
        self._thread = threading.Thread(target=self._server.run, daemon=True)
        self._thread.start()
        while not self._server.started:
            time.sleep(0.01)
        port = self._server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        return self

    def __exit__(self, *_) -> None:
        self._server.should_exit = True
        self._thread.join(20)


def test_a_client_that_hangs_up_frees_its_job(models, views, slow):
    app = create_app(models, LIMITS)
    with Served(app) as served:
        for _ in range(3):
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(
                    f"{served.url}/api/stitch", files=files(views), data=GEOMETRIC, timeout=0.5
                )
        deadline = time.monotonic() + 10
        while len(app.state.queue) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert len(app.state.queue) == 0
        slow.set()
        made = httpx.post(f"{served.url}/api/stitch", files=files(views), data=GEOMETRIC)
        assert made.status_code == 200


@pytest.mark.slow
def test_a_server_that_is_stopped_finishes_the_job_at_hand_alone(views, tmp_path):
    """Whoever waits for another is told; nothing of that is a trace."""
    large = [np.kron(view, np.ones((8, 8, 1), np.uint8)) for view in views]
    sent = files(large)

    def ask(address: str) -> int:
        answer = httpx.post(f"{address}/api/stitch", files=sent, data={"wait": "true"}, timeout=60)
        return answer.status_code

    with ThreadPoolExecutor(4) as pool:
        with serving(["spidereye", "serve"], tmp_path) as server:
            asked = [pool.submit(ask, server.address) for _ in range(4)]
            while httpx.get(f"{server.address}/healthz").json()["waiting"] < 3:
                time.sleep(0.05)
        assert sorted(one.result() for one in asked) == [200, 503, 503, 503]


@dataclass(frozen=True)
class Load:
    """Shots, and what each becomes as a geometric panorama of 128x64."""

    shots: list[list[np.ndarray]]
    expected: list[np.ndarray]
    sent: list[list]

    def put_on(self, address: str, requests: int, clients: int = 16) -> str:
        """Requests of so many clients at a time, each of which gets the panorama of its own views,
        waiting where the queue is full. Throughput and delays, in words."""
        seconds: list[float] = []

        def client(number: int) -> int:
            right = 0
            with httpx.Client(timeout=60) as session:
                for turn in range(requests // clients + (number < requests % clients)):
                    which = (number + turn) % len(self.shots)
                    start = time.perf_counter()
                    answer = _answered(session, f"{address}/api/stitch", self.sent[which])
                    seconds.append(time.perf_counter() - start)
                    right += np.array_equal(opened(answer), self.expected[which])
            return right

        begin = time.perf_counter()
        with ThreadPoolExecutor(clients) as pool:
            assert sum(pool.map(client, range(clients))) == requests
        rate = requests / (time.perf_counter() - begin)
        p50, p95 = (1000 * float(np.quantile(seconds, share)) for share in (0.5, 0.95))
        return f"{rate:.1f} panoramas a second, p50 {p50:.0f} ms, p95 {p95:.0f} ms"


def _answered(session: httpx.Client, url: str, views: list) -> bytes:
    while True:
        answer = session.post(url, files=views, data=GEOMETRIC)
        if answer.status_code != 429:
            assert answer.status_code == 200, answer.text
            return answer.content
        assert int(answer.headers["retry-after"]) > 0
        time.sleep(0.05)


@pytest.fixture(scope="module")
def load(models) -> Load:
    shots = [shot(seed) for seed in range(16)]
    stitcher = Stitcher.geometric(models.rigs["spider4"], (128, 64))
    return Load(shots, [stitcher(one).picture for one in shots], [files(one) for one in shots])


def test_many_clients_each_get_their_own_panorama(models, load):
    """200 requests from 16 clients, through a queue that is shorter than what they send."""
    with Served(create_app(models, Limits(queue=8))) as served:
        print(load.put_on(served.url, 200))


@pytest.mark.slow
def test_memory_stays_flat_under_load(load, tmp_path):
    """Of a server in a process of its own, from when it keeps as many finished panoramas as it ever
    does: less than half of what it would be if the views of every request stayed."""
    with serving(["spidereye", "serve", "--queue", "8"], tmp_path) as server:
        load.put_on(server.address, 2 * Limits.kept)
        before = server.memory
        told = load.put_on(server.address, 200)
        grown = server.memory - before
    print(f"{told}; {before / 1e6:.0f} MB and {grown / 1e6:+.1f} MB")
    assert grown < 0.5 * 200 * sum(view.nbytes for view in load.shots[0])


def test_what_waits_too_long_or_is_too_much_is_refused():
    go, started = threading.Event(), threading.Event()

    def first():
        started.set()
        go.wait(20)

    queue = JobQueue(Limits(queue=2, queue_megabytes=1, seconds=0.2, kept=2))
    running = queue.submit(first, 10)
    started.wait(5)
    waiting = [queue.submit(lambda: None, 10) for _ in range(2)]
    assert [queue.position(job) for job in (running, *waiting)] == [0, 1, 2]
    with pytest.raises(Refused, match="2 jobs wait already"):
        queue.submit(lambda: None, 10)
    queue.cancel(waiting[0])
    assert queue.position(waiting[1]) == 1 and waiting[0].state == "cancelled"
    with pytest.raises(Refused, match="too many large pictures"):
        queue.submit(lambda: None, 2_000_000)
    time.sleep(0.3)
    go.set()
    deadline = time.monotonic() + 5
    while not waiting[1].is_finished and time.monotonic() < deadline:
        time.sleep(0.01)
    assert running.state == "done" and waiting[1].status == 408
    # Bounded: only the newest are kept, and nothing of what they worked on.
    last = [queue.submit(lambda: bytes(10), 10) for _ in range(2)]
    while not last[1].is_finished and time.monotonic() < deadline:
        time.sleep(0.01)
    assert queue.find(last[1].id).result == bytes(10) and last[1].work is None
    with pytest.raises(Refused, match="no such job"):
        queue.find(running.id)
    queue.close()


def test_large_results_are_not_kept_for_long():
    queue = JobQueue(Limits(kept_megabytes=0.003), size_of=len)
    jobs = [queue.submit(lambda: bytes(2000), 10), queue.submit(lambda: bytes(900), 10)]
    jobs += [queue.submit(lambda: bytes(900), 10), queue.submit(lambda: bytes(9000), 10)]
    deadline = time.monotonic() + 5
    while not jobs[2].is_finished and time.monotonic() < deadline:
        time.sleep(0.01)
    queue.close()
    assert queue.find(jobs[3].id).result == bytes(9000)  # the last one, however large
    for job in jobs[:3]:
        with pytest.raises(Refused, match="no such job"):
            queue.find(job.id)


def test_names_of_models_and_rigs(tmp_path):
    from spidereye.serve_command import _by_name, _named

    assert _named("mine@best", "model") == ("mine", "mine@best")
    assert _named("a=runs/x=y", "model") == ("a", "runs/x=y")
    assert _named("runs/jobs/x/best", "model") == ("model", "runs/jobs/x/best")
    assert _named("rigs/car.yaml", Path("rigs/car.yaml").stem) == ("car", "rigs/car.yaml")
    write_rig(spider4(220 * 64 / 560, 0.85, 64), tmp_path / "car.yaml")
    own = {"spidereye-small": "spidereye-small"}
    assert _by_name("checkpoint", [("a", "x"), ("b", "y")], own) == {"a": "x", "b": "y"}
    assert _by_name("checkpoint", [("spidereye-small", "spidereye-small")], own) == own
    for option, pairs, words in (
        ("checkpoint", [("model", "a/best"), ("model", "b/best")], "a/best is called 'model' too"),
        ("checkpoint", [("spidereye-small", "mine")], "what comes with the package is called"),
        ("rig", [("car", "a/car.yaml"), ("car", "b/car.yaml")], "give it a name of its own, --rig"),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            _by_name(option, pairs, own)
    models = Models.load({}, {"car": str(tmp_path / "car.yaml")})
    assert models.default == "geometric" and models.rig("car").names == NAMES


def test_a_checkpoint_whose_name_has_an_equals_sign(tmp_path, monkeypatch):
    from spidereye.serve_command import _named

    monkeypatch.chdir(tmp_path)
    assert _named("lr=2", "model") == ("lr", "2")
    Path("lr=2").mkdir()
    assert _named("lr=2", "model") == ("lr=2", "lr=2")
    Path("a=b.yaml").touch()
    assert _named("a=b.yaml", Path("a=b.yaml").stem) == ("a=b", "a=b.yaml")
