"""The one exception that users are meant to see.

Layer: below everything. The command line turns it into a single line on stderr and exit code 2,
and so it does with what the system refuses (an OSError with its number); any other exception is a
bug of ours and keeps its stack trace.
"""


class SpiderEyeError(Exception):
    """A mistake that its reader can mend: what was expected, what came, what to do."""


def require_extra(extra: str, package: str) -> SpiderEyeError:
    """The error for an optional dependency that is missing; raise it `from` the ImportError."""
    return SpiderEyeError(
        f"this needs the package {package!r}, which is not installed: "
        f"pip install 'spidereye[{extra}]'"
    )
