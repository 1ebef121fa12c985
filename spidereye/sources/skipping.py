"""A source that goes on where a panorama breaks in the middle of the work."""

import logging
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8

from spidereye.pictures import PictureError
from spidereye.sources.source import Origin, Source

logger = logging.getLogger(__name__)

_FARTHEST = 8  # places from the broken panorama to its replacement


class SkippingSource:
    """Another source, but a panorama that cannot be decoded is replaced by its nearest neighbour.

    What a file's header, end or index tells was left out when the source was opened, and the order
    of the samples is fixed by then. So what breaks later keeps its place and shows its neighbour's
    picture, and a warning says so, once in each process.
    """

    def __init__(self, source: Source) -> None:
        self.source = source
        self.names: Sequence[str] = source.names
        self._warned: set[int] = set()

    def __len__(self) -> int:
        return len(self.source)

    def panorama(self, index: int, min_width: int = 0) -> UInt8[np.ndarray, "H W 3"]:
        """Panorama `index` or, if it is broken, that of its nearest readable neighbour.

        Raises the PictureError of the first where none near it can be read either.
        """
        try:
            return self.source.panorama(index, min_width)
        except PictureError as error:
            for other in _neighbours(index, len(self)):
                try:
                    picture = self.source.panorama(other, min_width)
                except PictureError:
                    continue
                if index not in self._warned:
                    self._warned.add(index)
                    logger.warning(
                        "%s; %s is shown in its place (dataset.on_bad_file=skip)",
                        error,
                        self.names[other],
                    )
                return picture
            raise

    def origin(self, index: int) -> Origin | None:
        """That of the panorama itself; None once a neighbour stands in for it, so that nothing
        takes the neighbour's picture for it later."""
        return None if index in self._warned else self.source.origin(index)


def _neighbours(index: int, length: int) -> Iterator[int]:
    for distance in range(1, _FARTHEST + 1):
        for other in (index - distance, index + distance):
            if 0 <= other < length:
                yield other
