"""Where the shared files are, and small things that several tests need."""

import os
import warnings
from pathlib import Path

import pytest

SHARED = os.environ.get("SPIDEREYE_SHARED")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by SPIDEREYE_SHARED; without it the test skips, and says so at the end."""
    if not SHARED:
        pytest.skip("SPIDEREYE_SHARED is not set: this test needs the shared reference files")
    path = Path(SHARED)
    if not path.is_dir():
        pytest.fail(f"SPIDEREYE_SHARED={SHARED} is not a folder")
    return path


def pytest_terminal_summary(terminalreporter) -> None:
    if not SHARED:
        message = "SPIDEREYE_SHARED is not set: golden and real-panorama tests were SKIPPED"
        warnings.warn(message, stacklevel=1)
        terminalreporter.write_sep("!", message, red=True, bold=True)
