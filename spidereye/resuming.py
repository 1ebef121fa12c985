"""Folders of outputs that the same command goes on with and another one starts anew.

A folder keeps a record of the settings that its files were made with. A file is done where it is
newer than that record and than when what it was made of came to its place: another picture of
that name may be older.
"""

from collections.abc import Iterable
from pathlib import Path

from spidereye.errors import SpiderEyeError


def started(record: Path, settings: str) -> int | None:
    """Since when, in ns, a folder's files are of these settings; None where its record, if there is
    one, is of others. Raises SpiderEyeError for a record that cannot be read."""
    try:
        if record.read_text(encoding="utf-8") == settings:
            return record.stat().st_mtime_ns
    except FileNotFoundError:
        pass
    except NotADirectoryError:
        raise SpiderEyeError(f"{record.parent} is a file: name a folder") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SpiderEyeError(f"{record} cannot be read: {error}; choose another folder") from error
    return None


def is_done(outputs: Iterable[Path], sources: Iterable[Path], since: int) -> bool:
    """Whether every output is there, and newer than the last change of its sources and than `since`
    (ns)."""
    try:
        newest = max(since, *(source.stat().st_ctime_ns for source in sources))
        return all(output.stat().st_mtime_ns >= newest for output in outputs)
    except OSError:
        return False
