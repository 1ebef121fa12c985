"""SOURCES.tsv as it is written, and as somebody has edited it."""

from pathlib import Path

import pytest

from spidereye.errors import SpiderEyeError
from spidereye.provenance import SourceRow, read_sources, write_sources

ROW = SourceRow("train/a.jpg", "train", "a", "A", "1k", "https://x/a", "0", "CC0", "2026-01-31")


def test_what_is_written_is_read(tmp_path: Path):
    assert read_sources(tmp_path) == {}
    rows = {"a": ROW, "b": SourceRow("train/B.jpg", "val", "b", "Ü", *["x"] * 5)}
    write_sources(tmp_path, rows)
    assert read_sources(tmp_path) == rows
    assert [path.name for path in tmp_path.iterdir()] == ["SOURCES.tsv"]


def test_a_title_cannot_break_the_table(tmp_path: Path):
    write_sources(tmp_path, {"a": SourceRow("train/a.jpg", "train", "a", "A\tb\r\nc", *["x"] * 5)})
    assert read_sources(tmp_path)["a"].name == "A b c"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "SOURCES.tsv, line 1: expected the columns file, "),
        (b"\xff\xfe", "SOURCES.tsv: cannot be read: "),
        (b"file\tsplit\nx\ty\n", r"SOURCES.tsv, line 1: expected the columns file, split, asset"),
    ],
)
def test_tables_that_are_not_ours(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "SOURCES.tsv").write_bytes(content)
    with pytest.raises(SpiderEyeError, match=message):
        read_sources(tmp_path)


def test_a_line_cut_short(tmp_path: Path):
    write_sources(tmp_path, {"a": ROW})
    path = tmp_path / "SOURCES.tsv"
    path.write_text(path.read_text() + "train/b.jpg\ttrain\tb\n")
    with pytest.raises(SpiderEyeError, match=r"line 3: expected the columns .* got 3 others"):
        read_sources(tmp_path)
