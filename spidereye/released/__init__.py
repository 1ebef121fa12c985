"""The weights that come with the package: a folder for each, made by recipes/release.sh, with a
card that says what they were made of and what they reach."""

from pathlib import Path

RELEASED = "spidereye-small"  # what is used where no weights are named


def released() -> dict[str, Path]:
    """The checkpoint folders, by name."""
    return {file.parent.name: file.parent for file in Path(__file__).parent.glob("*/manifest.json")}
