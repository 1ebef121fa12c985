"""What is wrong with a file, and what becomes of bad files: stop with a list, or skip with one."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from spidereye.errors import SpiderEyeError

logger = logging.getLogger(__name__)

WAYS_OUT = (
    "set dataset.root=<a folder with train/ and val/> or use the built-in scenes with "
    "dataset.type=scenes"
)
_SKIP = "dataset.on_bad_file=skip (`spidereye data shards`: --skip-bad)"


@dataclass(frozen=True)
class Complaint:
    """One thing that is wrong with one file.

    kind: a few words that others of its kind share, for counting.   text: names the file too.
    """

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def check_choice(on_bad_file: str) -> None:
    """SpiderEyeError unless it is stop or skip."""
    if on_bad_file not in ("stop", "skip"):
        raise SpiderEyeError(f"dataset.on_bad_file={on_bad_file} is unknown; use stop or skip")


def settle(bad: Sequence[Complaint], good: int, place: Path | str, on_bad_file: str) -> None:
    """Raise one error that lists all complaints ("stop"), or warn with the same list ("skip").

    good: how many panoramas are left; none is an error too.   place: where they were looked for.
    """
    lines = [str(complaint) for complaint in bad]
    if bad and on_bad_file == "stop":
        advice = "mend or remove"
        if len(lines) == 1:
            raise SpiderEyeError(f"{lines[0]}; {advice} the file, or leave it out with {_SKIP}")
        head = f"{len(lines)} bad files; {advice} them, or leave them out with {_SKIP}:"
        raise SpiderEyeError("\n  ".join([head, *lines]))
    if not good:
        head = f"none of {len(lines)} files below {place} can be used; {WAYS_OUT}:"
        raise SpiderEyeError("\n  ".join([head, *lines]))
    if bad:
        count = f"{len(bad)} bad file{'s' if len(bad) > 1 else ''}"
        logger.warning("\n  ".join([f"{count} skipped (dataset.on_bad_file=skip):", *lines]))
