"""Every command of the README and of docs/ is run as it stands there, each block in a folder with
small stand-ins for the files that it names; training is made short by overrides at its end."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import httpx
import pytest
from made_shots import small_rig
from running import in_process, serving
from stand_ins import (
    FEW_SCENES,
    NAMES,
    SHORT_TRAINING,
    SHORT_WORK,
    SMALL_NETWORKS,
    make_stand_ins,
    pictures,
)
from test_video_stitching import write

from spidereye import cli

ROOT = Path(__file__).parents[1]
Words = tuple[str, ...]  # of a command line
NOT_RUN = {
    "make test": "is what runs this",
    "pip install": "would change the environment that this runs in",
    "spidereye data polyhaven": "downloads; test_polyhaven.py does it from a server of its own",
}
# What is added to a command's end so that it takes seconds, by how the command begins.
SHORTENED = {
    "spidereye train": [*SMALL_NETWORKS, *SHORT_WORK, *SHORT_TRAINING],
    "spidereye distill": [*SHORT_WORK, *SHORT_TRAINING],
    "spidereye eval": SHORT_WORK,
    "spidereye eval stitch": SMALL_NETWORKS,
    "spidereye quickstart": [*SHORT_TRAINING, *SHORT_WORK, *FEW_SCENES],
    "spidereye data synth": ["--n", "1", "--val", "1", "--width", "64", "--view-size", "32"],
}
TRAINING = ("accelerate launch", "make quickstart", "spidereye train", "spidereye distill")
SLOW = (*TRAINING, "spidereye eval", "spidereye export")
ADDRESS = "http://127.0.0.1:8000"


@dataclass(frozen=True)
class Block:
    """Commands that are read together. line: of the page, where they begin."""

    page: str
    line: int
    commands: tuple[Words, ...]

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def is_slow(self) -> bool:
        return any(beginnings(words, SLOW) for words in self.commands)


def blocks() -> list[Block]:
    """Of all pages: fenced commands, and those within the text that name a file, a run or a key;
    the others there only name a command."""
    found = []
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        text = path.read_text(encoding="utf-8")
        pattern = r"^```bash\n(.*?)^```|`((?:spidereye|accelerate|make) [^`…]+)`"
        for match in re.finditer(pattern, text, re.S | re.M):
            fenced, inline = match.groups()
            if fenced is None and not re.search(r"[.=@][\w<]", inline):
                continue
            lines = [inline] if fenced is None else fenced.replace("\\\n", " ").splitlines()
            commands = [tuple(shlex.split(line, comments=True)) for line in lines]
            line = 1 + text.count("\n", 0, match.start())
            page = str(path.relative_to(ROOT))
            found.append(Block(page, line, tuple(words for words in commands if words)))
    return found


def beginnings(words: Words, some: Iterable[str]) -> list[str]:
    """Those that are a command's."""
    return [one for one in some if words[: len(one.split())] == tuple(one.split())]


def after(words: Words, *options: str) -> list[str]:
    """The values of some of a command's options."""
    return [value for option, value in pairwise(words) if option in options]


def runs_trained(words: Words) -> list[str]:
    """Names of the runs that a command trains."""
    if not beginnings(words, TRAINING):
        return []
    return [word.partition("=")[2] for word in words if word.startswith("run_name=")]


BLOCKS = blocks()
COMMANDS = [words for block in BLOCKS for words in block.commands]


@pytest.fixture(scope="module")
def stand_ins(tmp_path_factory) -> Path:
    folder = make_stand_ins(tmp_path_factory.mktemp("stand_ins"))
    for name, view in zip(NAMES, pictures(small_rig()), strict=True):
        write(folder / f"{name}.mp4", [view] * 3)
    return folder


@pytest.fixture(scope="module")
def server(stand_ins) -> Iterator[str]:
    """The address of one that is started as the pages say."""
    words = next(words for words in COMMANDS if beginnings(words, ["spidereye serve"]))
    with serving(words, stand_ins) as server:
        yield server.address


class Reader:
    """Someone who types a page's commands one after another in a folder."""

    def __init__(self, folder: Path, request: pytest.FixtureRequest):
        self._folder, self._request = folder, request
        self._job = ""  # of the server, which its answers name

    def types(self, words: Words) -> None:
        """Run a command, and look at what it leaves."""
        outputs = [self._folder / name for name in after(words, "-o", "--mask")]
        for output in outputs:
            if output.is_file():
                output.unlink()
        if beginnings(words, ["spidereye serve"]):
            with serving(words, self._folder) as server:
                assert httpx.get(f"{server.address}/healthz").json()["status"] == "ok"
        elif beginnings(words, ["curl"]):
            self._asks(words)
        elif beginnings(words, ["make quickstart"]):
            assert "$(BIN)/spidereye quickstart" in (ROOT / "Makefile").read_text()
            data = [word.partition("=")[2] for word in words[2:]]
            self._runs(("spidereye", "quickstart", *(f"--data={folder}" for folder in data)))
            outputs.append(self._folder / "runs" / "quickstart" / "report.html")
        elif beginnings(words, ["accelerate launch", "spidereye"]):
            self._runs(words)
        else:
            pytest.fail(f"neither run nor listed in NOT_RUN: {shlex.join(words)}")
        outputs += [self._folder / "runs" / "jobs" / run / "last" for run in runs_trained(words)]
        for output in outputs:
            assert output.exists(), f"{shlex.join(words)} left no {output}"

    def _runs(self, words: Words) -> None:
        data = "pictures" if beginnings(words, ["spidereye data"]) else "panoramas"
        more = [word for one in beginnings(words, SHORTENED) for word in SHORTENED[one]]
        command = cli.main
        if words[0] == "accelerate":  # which sets up processes, and here there is one
            words = words[2:]
            more = [*SHORTENED["spidereye train"], "dataset.root=panoramas"]
            command = partial(cli.launch, [*words[1:], *more])
        words = tuple(word.replace("<folder>", data) for word in (*words, *more))
        succeeded(in_process(words, self._folder, command))

    def _asks(self, words: Words) -> None:
        assert any(word.startswith(ADDRESS) for word in words), words
        address = self._request.getfixturevalue("server")
        words = tuple(
            word.replace(ADDRESS, address).replace("/jobs/ID", f"/jobs/{self._job}")
            for word in words
        )
        told = succeeded(
            subprocess.run(
                [*words, "--fail"], cwd=self._folder, capture_output=True, text=True, timeout=60
            )
        )
        self._job = (re.findall(r'"id": ?"([^"]+)"', told) or [self._job])[0]


def succeeded(result: subprocess.CompletedProcess[str]) -> str:
    """What a command said."""
    what = f"{shlex.join(result.args)}\n{result.stdout}{result.stderr}"
    assert result.returncode == 0, what
    return result.stdout


@pytest.mark.parametrize(
    "block",
    [pytest.param(b, id=str(b), marks=[pytest.mark.slow] * b.is_slow) for b in BLOCKS],
)
def test_commands_work_as_they_are_shown(block, stand_ins, tmp_path, request):
    if any(beginnings(w, ["curl"]) for w in block.commands) and not shutil.which("curl"):
        pytest.skip("curl is not installed")
    folder = tmp_path / "here"
    shutil.copytree(stand_ins, folder)
    for run in (run for words in block.commands for run in runs_trained(words)):
        shutil.rmtree(folder / "runs" / "jobs" / run, ignore_errors=True)
    reader = Reader(folder, request)
    for words in block.commands:
        if not beginnings(words, NOT_RUN):
            reader.types(words)


def test_what_is_not_run_is_still_there():
    assert len(COMMANDS) > 40
    assert set(NOT_RUN) == {one for words in COMMANDS for one in beginnings(words, NOT_RUN)}


def test_the_lines_of_python_work_as_they_are_shown(stand_ins, tmp_path, monkeypatch):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    shutil.copytree(stand_ins, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    names: dict = {}
    exec(code, names)
    panorama = names["panorama"]
    assert panorama.picture.shape == (*panorama.count.shape, 3) and panorama.seen.all()
