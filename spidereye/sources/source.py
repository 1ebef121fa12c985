"""What every source of panoramas is."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

Split = Literal["train", "val"]


class Origin(NamedTuple):
    """What a panorama is made from. key: which.   stamp: another one when that has changed."""

    key: str
    stamp: str


def file_origin(path: Path, part: str = "") -> Origin | None:
    """The origin of a file, or a part of it; None where there is no such file."""
    try:
        state = path.stat()
    except OSError:
        return None
    return Origin(f"{path.resolve()}\n{part}", f"{state.st_size} {state.st_mtime_ns}")


@runtime_checkable
class Source(Protocol):
    """The panoramas of one split, in an order that stays the same from run to run."""

    @property
    def names(self) -> Sequence[str]:
        """One name for each panorama, unique in this source; error messages show it."""
        ...

    def __len__(self) -> int: ...

    def panorama(self, index: int, min_width: int) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` (0 … len-1), at least min_width pixels wide where its file is.

        Its sides are 2:1 within 1 %. The same picture whichever process asks, in whatever order.
        Raises SpiderEyeError, naming it, where it cannot be had.
        """
        ...

    def origin(self, index: int) -> Origin | None:
        """What panorama `index` is made from; None where its picture should not be kept."""
        ...
