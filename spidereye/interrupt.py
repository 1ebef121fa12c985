"""Ctrl-C during long work: finish the step, save, stop."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupt(Exception):  # noqa: N818 (no error: what was asked for happened)
    """Work was stopped on request and everything is saved; the text says where."""


class StopRequest:
    """requested turns true at the first Ctrl-C (or SIGTERM); the second one stops at once."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def stop_after_step() -> Iterator[StopRequest]:
    """Within this block the first SIGINT or SIGTERM only sets `requested`."""
    stop = StopRequest()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.requested:
            raise KeyboardInterrupt
        stop.requested = True

    numbers = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, handle) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
