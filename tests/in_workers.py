"""A source read by worker processes, as training reads it."""

from collections.abc import Iterator

import numpy as np
from torch.utils.data import DataLoader, Dataset, Sampler

from spidereye.sources import Source


class _Numbered(Dataset[tuple[int, np.ndarray]]):
    def __init__(self, source: Source) -> None:
        self.source = source

    def __getitem__(self, index: int) -> tuple[int, np.ndarray]:
        return index, self.source.panorama(index, 0)


def in_workers(
    source: Source, batches: Sampler[list[int]], workers: int
) -> Iterator[list[tuple[int, np.ndarray]]]:
    """Lists of (index, panorama)."""
    data = _Numbered(source)
    yield from DataLoader(data, batch_sampler=batches, num_workers=workers, collate_fn=list)
