"""Decoded panoramas at working size on disk, so that later epochs and runs need not decode again.

One safetensors file for each panorama, mapped into memory, so that all workers and processes share
it. An entry carries the stamp of its panorama's origin, for files their size and time of change,
and counts only while that is the same. It is written beside its place, synced and renamed: readers
see it whole or not at all, and whoever writes last of two replaces one good entry by another.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from spidereye.sources.source import Origin
from spidereye.whole_files import whole_file

logger = logging.getLogger(__name__)

_VERSION = "1"  # of what is kept: raise it where decoding or resizing changes


class PictureCache:
    """Tensors made from panoramas, kept in a folder.

    Where the folder cannot be written (full, read-only), it says so once and goes on without.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self._writes = True

    def get(
        self,
        origin: Callable[[], Origin | None],
        settings: str,
        make: Callable[[], dict[str, Tensor]],
    ) -> dict[str, Tensor]:
        """What `make` makes of the panorama, or made of it when its origin was the same before.

        settings: all else that the result depends on. Errors of `make` pass.
        """
        before = origin()
        if before is None:
            return make()
        entry = self._entry(before.key, settings)
        kept = _read(entry, before.stamp)
        if kept is not None:
            return kept
        made = make()
        if self._writes and origin() == before:  # else it changed while it was decoded
            try:
                _write(entry, made, before.stamp)
            except OSError as error:
                self._writes = False
                reason = error.strerror or str(error)
                logger.warning(
                    f"dataset.cache: cannot write {entry.parent}: {reason}; going on without it"
                )
        return made

    def _entry(self, key: str, settings: str) -> Path:
        text = f"{_VERSION}\n{settings}\n{key}"
        name = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        return self.folder / name[:2] / f"{name[2:]}.safetensors"


def _read(entry: Path, stamp: str) -> dict[str, Tensor] | None:
    try:
        with safe_open(entry, framework="pt") as file:
            if file.metadata() != {"stamp": stamp}:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):  # none yet, or damaged: it is made anew
        return None


def _write(entry: Path, tensors: dict[str, Tensor], stamp: str) -> None:
    # Cloned: a panorama that has the target's size already is both, and may share its memory.
    whole = {name: tensor.clone() for name, tensor in tensors.items()}
    with whole_file(entry) as file:
        file.write(save(whole, {"stamp": stamp}))
