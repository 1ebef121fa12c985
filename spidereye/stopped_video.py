"""What a video that was stopped by Ctrl-C needs to be gone on with: a file beside it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spidereye.whole_files import write_whole


@dataclass(frozen=True)
class StoppedVideo:
    """frames: so many are in the video.   state: by the names of what has one, and its parts."""

    frames: int
    state: Mapping[str, Tensor]

    def of(self, name: str) -> dict[str, Tensor]:
        """The state of what has this name."""
        start = f"{name}/"
        return {k.removeprefix(start): v for k, v in self.state.items() if k.startswith(start)}


def record_of(video: Path) -> Path:
    """Where a stopped video's record lies."""
    return video.with_name(f"{video.name}.stopped")


def keep(
    video: Path, settings: str, frames: int, states: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Write the record of a video that is finished up to here. Raises SpiderEyeError where it
    cannot be written."""
    parts = {
        f"{name}/{part}": x.contiguous() for name, s in states.items() for part, x in s.items()
    }
    said = {"settings": settings, "video": _identity(video), "frames": str(frames)}
    write_whole(record_of(video), save(parts, said))


def find(video: Path, settings: str) -> StoppedVideo | None:
    """The record of this video, where there is one, of the same settings and of this very file."""
    try:
        with safe_open(record_of(video), "pt") as file:
            said = file.metadata() or {}
            if (said.get("settings"), said.get("video")) != (settings, _identity(video)):
                return None
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return StoppedVideo(int(said["frames"]), state)
    except (OSError, SafetensorError):
        return None


def forget(video: Path) -> None:
    """Remove the record, if there is one."""
    record_of(video).unlink(missing_ok=True)


def _identity(file: Path) -> str:
    found = file.stat()
    return json.dumps([found.st_size, found.st_mtime_ns])
