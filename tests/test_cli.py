"""What every command does with what the system refuses, and with words that could be two things."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from running import in_process

from spidereye import jobs
from spidereye.cli import _run


@pytest.mark.parametrize(
    "words",
    [
        ["views", "{long}", "-o", "out"],
        ["stitch", "{long}", "-o", "a.png", "--method", "geometric"],
        ["stitch", "a.png", "b.png", "-o", "{long}.png", "--method", "geometric"],
        ["data", "check", "{long}"],
        ["rig", "check", "{long}"],
    ],
    ids=lambda words: " ".join(words),
)
def test_a_name_that_no_file_can_have_is_one_line(tmp_path, words):
    """A file in a folder that may not be entered is refused in the same places."""
    words = [word.format(long="a" * 300) for word in words]
    result = in_process(["spidereye", *words], tmp_path)
    assert result.returncode == 2 and result.stderr.count("\n") == 1, result.stderr
    assert result.stderr.startswith("spidereye: ") and "File name too long" in result.stderr


def test_what_the_system_refuses_is_one_line_and_what_libraries_raise_is_not(capsys):
    def refused() -> None:
        raise PermissionError(13, "Permission denied", "locked/front.png")

    def broken() -> None:
        raise OSError("a library's own")

    with pytest.raises(SystemExit, match="2"):
        _run(refused)
    assert capsys.readouterr().err == "spidereye: Permission denied: locked/front.png\n"
    with pytest.raises(OSError, match="a library's own"):
        _run(broken)


def printed(code: str, encoding: str = "utf-8", **streams) -> subprocess.CompletedProcess[bytes]:
    """A process of its own that runs `code` as commands are run."""
    program = f"import sys; from spidereye.cli import _run; _run(lambda: ({code}, sys.exit(0)))"
    environment = {**os.environ, "PYTHONIOENCODING": f"{encoding}:strict", "PYTHONUNBUFFERED": ""}
    streams = {"stdout": subprocess.PIPE, **streams}
    return subprocess.run(
        [sys.executable, "-c", program], env=environment, stderr=subprocess.PIPE, **streams
    )


def test_names_that_are_no_text_and_terminals_without_our_letters_stop_no_command():
    assert printed(r"print('a\udcff.png é')").stdout == r"a\udcff.png é".encode() + b"\n"
    assert printed(r"print('by \u22652')", "latin-1").stdout == b"by \\u22652\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_what_cannot_be_printed_is_one_line():
    with Path("/dev/full").open("w") as full:
        result = printed("print('done')", stdout=full)
    assert result.returncode == 2
    assert result.stderr == b"spidereye: cannot print: No space left on device\n"


def test_a_reader_who_has_gone_is_left_in_peace():
    read, write = os.pipe()
    os.close(read)
    result = printed("print('done')", stdout=write)
    os.close(write)
    assert result.returncode == 1 and result.stderr == b""


def test_eval_takes_a_folder_whose_name_has_an_equals_sign(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(jobs, "evaluate_checkpoint", lambda *given: asked.append(given))
    (tmp_path / "w" / "lr=1e-4" / "best").mkdir(parents=True)
    words = ["spidereye", "eval", "w/lr=1e-4/best", "run_name=e"]
    assert in_process(words, tmp_path).returncode == 0
    assert asked == [("w/lr=1e-4/best", ["run_name=e"])]
    result = in_process(["spidereye", "eval", "run_name=e"], tmp_path)
    assert result.returncode == 2 and "needs a checkpoint" in result.stderr
