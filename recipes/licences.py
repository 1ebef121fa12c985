"""May weights trained on these panoramas be given away? Only those of CC0 pictures may.

python recipes/licences.py <panoramas>      a folder with train/ and SOURCES.tsv
"""

import csv
import sys
from dataclasses import dataclass
from pathlib import Path

FREE = "CC0"
GUESSED = "identified by file name"


@dataclass(frozen=True)
class Row:
    """A line of SOURCES.tsv. by_name: its licence was told from its file's name alone."""

    file: str
    split: str
    source: str
    licence: str

    @property
    def by_name(self) -> bool:
        return GUESSED in self.licence


def read_rows(data: Path) -> list[Row]:
    """SOURCES.tsv, as downloads write it or as ours has it."""
    file = data / "SOURCES.tsv"
    with file.open(encoding="utf-8", newline="") as lines:
        found = list(csv.DictReader(lines, delimiter="\t"))
    return [
        Row(row["file"], row["split"], row.get("source") or row.get("url", ""), row["licence"])
        for row in found
    ]


def training_rows(data: Path) -> list[Row]:
    """Of every picture in train/. Raises ValueError for one that has no row or is not CC0."""
    rows = {Path(row.file).name: row for row in read_rows(data) if row.split == "train"}
    pictures = sorted(path.name for path in (data / "train").rglob("*") if path.is_file())
    wrong = [f"{name} is not in SOURCES.tsv" for name in pictures if name not in rows]
    wrong += [
        f"{name}: {rows[name].licence}"
        for name in pictures
        if name in rows and not rows[name].licence.startswith(FREE)
    ]
    if wrong:
        raise ValueError(
            f"{data}: released weights take {FREE} panoramas only: {'; '.join(wrong[:3])}"
            + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        )
    return [rows[name] for name in pictures]


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    try:
        rows = training_rows(Path(sys.argv[1]))
    except (OSError, ValueError, KeyError) as error:
        sys.exit(f"error: {error}")
    named = sum(row.by_name for row in rows)
    print(f"{len(rows)} panoramas, all {FREE}; the licence of {named} is told by their file names")


if __name__ == "__main__":
    main()
