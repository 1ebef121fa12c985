"""Commands of ours as tests run them: as functions of their own process, as processes, as servers
beside them."""

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from spidereye.cli import main

# What processes are started with: our commands are found.
ENVIRONMENT = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}


def in_process(
    words: Sequence[str], cwd: Path, command: Callable[[], object] = main
) -> subprocess.CompletedProcess[str]:
    """What a command line does and says in a folder, without the 5 s of imports of a process.
    command: the function that reads it."""
    output, errors, code = io.StringIO(), io.StringIO(), 0
    with (
        pytest.MonkeyPatch.context() as patch,
        contextlib.redirect_stdout(output),
        contextlib.redirect_stderr(errors),
    ):
        patch.setattr(sys, "argv", list(words))
        patch.chdir(cwd)
        try:
            command()
        except SystemExit as stop:
            code = int(stop.code or 0)
    return subprocess.CompletedProcess(words, code, output.getvalue(), errors.getvalue())


@dataclass(frozen=True)
class Serving:
    """A server in a process of its own."""

    address: str
    process: int

    @property
    def memory(self) -> int:
        """Bytes that it holds."""
        pages = Path(f"/proc/{self.process}/statm").read_text(encoding="utf-8").split()[1]
        return int(pages) * os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def serving(words: Sequence[str], folder: Path) -> Iterator[Serving]:
    """What a `spidereye serve` command starts, at any free port, for as long as it is needed."""
    program = Path(sys.executable).parent / words[0]
    process = subprocess.Popen(
        [program, *words[1:], "--port", "0"], cwd=folder, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        (address,) = re.findall(r"http://\S+", process.stdout.readline())
        yield Serving(address, process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(timeout=30)
