"""Progress with an ETA: a live bar on a terminal, a line now and then in a log file."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

LOG_EVERY = 15.0  # seconds between lines where there is no terminal


def notes_console() -> Console:
    """Where commands say what people should know beside the result: stderr, lines as they are."""
    return Console(stderr=True, highlight=False, markup=False, soft_wrap=True)


class Meter:
    """Counts steps towards a total. `say` is whatever should be seen beside the count."""

    def __init__(self, console: Console, what: str, total: int, done: int):
        self.what, self.total, self.done = what, total, done
        self._console = console
        self._first = done
        self._started = self._printed = time.monotonic()
        self._bar: Progress | None = None
        if console.is_terminal:
            self._bar = Progress(
                TextColumn(what), BarColumn(), MofNCompleteColumn(), TaskProgressColumn(),
                TimeRemainingColumn(), TextColumn("{task.fields[say]}"), console=console,
            )  # fmt: skip
            self._task = self._bar.add_task(what, total=total, completed=done, say="")
            self._bar.start()

    def advance(self, count: int = 1, say: str = "") -> None:
        """`count` more steps are done."""
        self.done += count
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, say=say)
            return
        now = time.monotonic()
        if now - self._printed >= LOG_EVERY or self.done >= self.total:
            self._printed = now
            rate = (self.done - self._first) / max(now - self._started, 1e-9)
            eta = timedelta(seconds=round((self.total - self.done) / max(rate, 1e-9)))
            # highlight and markup off: file names may hold brackets.
            self._console.print(
                f"{self.what} {self.done}/{self.total}, {eta} left {say}",
                highlight=False, markup=False, soft_wrap=True,
            )  # fmt: skip

    def stop(self) -> None:
        """Leave the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()


@contextmanager
def progress(what: str, total: int, done: int = 0, quiet: bool = False) -> Iterator[Meter]:
    """A meter on stderr for the length of a with block. quiet: for processes but the main one."""
    meter = Meter(Console(stderr=True, quiet=quiet), what, total, done)
    try:
        yield meter
    finally:
        meter.stop()
