"""Where panoramas come from: one interface, one file for each kind.

Layer: data. A source is a sequence of full 2:1 panoramas, 8-bit RGB; it knows nothing of views,
jitter or batches. A new kind is one file here and one line in `open_source`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import UInt8

from spidereye.errors import SpiderEyeError
from spidereye.sources.folder import FolderSource
from spidereye.sources.scenes import SceneSource

Split = Literal["train", "val"]


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

        Its sides are 2:1 within 1 %. Raises SpiderEyeError, naming it, where it cannot be had.
        """
        ...


@dataclass(frozen=True)
class SourceConfig:
    """What to open. Error messages name the fields as `dataset.<field>`."""

    type: str = "folder"  # folder | scenes
    root: str = ""  # folder: the folder that holds train/ and val/ (or eval/)
    limit: int | None = None  # the first so many panoramas of each split; None = all
    on_bad_file: str = "stop"  # folder: stop | skip, on unreadable, truncated, non-2:1, too small
    min_width: int = 0  # pixels; folder: a narrower panorama is a bad file
    seed: int = 0  # scenes: another seed gives other scenes
    scene_count_train: int = 96  # scenes: how many there are in each split
    scene_count_val: int = 12


def open_source(config: SourceConfig, split: Split) -> Source:
    """The source that the config describes, its files checked; SpiderEyeError where it has none."""
    if config.limit is not None and config.limit < 1:
        raise SpiderEyeError(
            f"dataset.limit={config.limit}: give a positive number, or null for all panoramas"
        )
    if config.type == "folder":
        return FolderSource(config.root, split, config.min_width, config.on_bad_file, config.limit)
    if config.type == "scenes":
        count = config.scene_count_train if split == "train" else config.scene_count_val
        return SceneSource(
            split, count if config.limit is None else min(count, config.limit), config.seed
        )
    if config.type in ("video", "shards"):
        raise SpiderEyeError(
            f"dataset.type={config.type} is not available yet; use folder or scenes"
        )
    raise SpiderEyeError(f"dataset.type={config.type} is unknown; use folder or scenes")
