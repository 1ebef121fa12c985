"""Where panoramas come from: one interface, one file for each kind.

Layer: data. A source is a sequence of full 2:1 panoramas, 8-bit RGB; it knows nothing of views,
jitter or batches. A new kind is one file here and one line in `open_source`.
"""

from dataclasses import dataclass

from spidereye.errors import SpiderEyeError
from spidereye.sources.folder import FolderSource
from spidereye.sources.scenes import SceneSource
from spidereye.sources.shards import ShardSource
from spidereye.sources.skipping import SkippingSource
from spidereye.sources.source import Source, Split

__all__ = ["SOURCE_TYPES", "Source", "SourceConfig", "Split", "open_source"]

SOURCE_TYPES = ("folder", "video", "shards", "scenes")


@dataclass(frozen=True)
class SourceConfig:
    """What to open. Error messages name the fields as `dataset.<field>`."""

    type: str = (
        "folder"  # one of SOURCE_TYPES; files of other types in the same folders stay unread
    )
    root: str = ""  # the folder that holds train/ and val/ (or eval/); shards: or a URL
    limit: int | None = None  # the first so many panoramas of each split; None = all
    on_bad_file: str = "stop"  # files: stop | skip, on unreadable, truncated, non-2:1, too small
    min_width: int = 0  # pixels; files: a narrower panorama is a bad file
    frame_interval: int = 24  # video: every so many-th frame is a panorama
    max_frames_per_video: int | None = None  # video: the first so many of those; None = all
    shards_train: str | None = None  # shards: path, pattern or URL; None = all below root/train
    shards_val: str | None = None
    shard_cache: str | None = None  # shards: folder for what URLs give; None = below ~/.cache
    seed: int = 0  # scenes: another seed gives other scenes
    scene_count_train: int = 96  # scenes: how many there are in each split
    scene_count_val: int = 12


def open_source(config: SourceConfig, split: Split) -> Source:
    """The source that the config describes, its files checked; SpiderEyeError where it has none."""
    if config.limit is not None and config.limit < 1:
        raise SpiderEyeError(
            f"dataset.limit={config.limit}: give a positive number, or null for all panoramas"
        )
    if config.type == "scenes":
        count = config.scene_count_train if split == "train" else config.scene_count_val
        return SceneSource(
            split, count if config.limit is None else min(count, config.limit), config.seed
        )
    source = _open_files(config, split)
    return SkippingSource(source) if config.on_bad_file == "skip" else source


def _open_files(config: SourceConfig, split: Split) -> Source:
    checks = (config.min_width, config.on_bad_file, config.limit)
    if config.type == "folder":
        return FolderSource(config.root, split, *checks)
    if config.type == "video":
        # Not above: it needs PyAV, which is an extra.
        from spidereye.sources.video import VideoSource

        interval, most = config.frame_interval, config.max_frames_per_video
        return VideoSource(config.root, split, interval, most, *checks)
    if config.type == "shards":
        pattern = config.shards_train if split == "train" else config.shards_val
        return ShardSource(config.root, split, pattern, config.shard_cache, *checks)
    raise SpiderEyeError(
        f"dataset.type={config.type} is unknown; use {', '.join(SOURCE_TYPES[:-1])} or scenes"
    )
