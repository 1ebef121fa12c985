"""What benchmarks share of a session at the command line: the panoramas, errors, and Ctrl-C."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt

STOPPED = 130  # exit code of what Ctrl-C stopped


def shared_panoramas(given: Path | None = None, option: str | None = None) -> Path:
    """The folder that holds train/ and val/; exits where nobody says which. given: by `option`."""
    shared = os.environ.get("SPIDEREYE_SHARED")
    if given is None and not shared:
        instead = f", or give {option}" if option else ""
        sys.exit(f"set SPIDEREYE_SHARED to the folder that holds panoramas/{instead}")
    return given or Path(shared or "") / "panoramas"


@contextmanager
def one_line_errors(resume: Path | None = None) -> Iterator[None]:
    """Errors of ours and Ctrl-C end the process with one line.

    resume: the folder from which the same command goes on, or None.
    """
    try:
        yield
    except SpiderEyeError as error:
        sys.exit(f"error: {error}")
    except (Interrupt, KeyboardInterrupt) as interrupt:
        more = f"stopped; the same command goes on from {resume}" if resume else "stopped"
        print(str(interrupt) or more, file=sys.stderr)
        sys.exit(STOPPED)
