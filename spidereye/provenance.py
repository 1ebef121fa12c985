"""SOURCES.tsv: where each downloaded panorama of a folder came from, and under which licence.

Layer: data. One line for each panorama, tab-separated, written anew as a whole each time.
"""

from dataclasses import astuple, dataclass, fields
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.whole_files import write_whole


@dataclass(frozen=True)
class SourceRow:
    """A panorama of the folder: one line of SOURCES.tsv."""

    file: str  # below the folder
    split: str  # train | val
    asset: str  # the library's id for it
    name: str
    resolution: str
    url: str  # of the downloaded file
    md5: str  # of the downloaded file
    licence: str
    date: str  # of the download, ISO 8601


_HEADER = [field.name for field in fields(SourceRow)]


def read_sources(folder: Path) -> dict[str, SourceRow]:
    """What SOURCES.tsv says, by asset; empty without one. SpiderEyeError if it is not ours."""
    path = folder / "SOURCES.tsv"
    if not path.exists():
        return {}
    try:
        header, *lines = [line.split("\t") for line in path.read_text("utf-8").splitlines() or [""]]
    except (OSError, ValueError) as error:
        raise SpiderEyeError(f"{path}: cannot be read: {error}; choose another folder") from error
    for number, cells in enumerate([header, *lines], start=1):
        if len(cells) != len(_HEADER) or header != _HEADER:
            raise SpiderEyeError(
                f"{path}, line {number}: expected the columns {', '.join(_HEADER)}, got "
                f"{len(cells)} others; mend the file or choose another folder"
            )
    return {row.asset: row for row in (SourceRow(*cells) for cells in lines)}


def write_sources(folder: Path, rows: dict[str, SourceRow]) -> None:
    """Write SOURCES.tsv, by file. Tabs and line ends within a cell become spaces."""
    cells = [_HEADER, *(astuple(row) for row in sorted(rows.values(), key=lambda row: row.file))]
    lines = ["\t".join(" ".join(cell.split()) for cell in row) + "\n" for row in cells]
    write_whole(folder / "SOURCES.tsv", "".join(lines))
