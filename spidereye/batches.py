"""Batches: workers read and decode panoramas, the training device renders their views.

Which samples a batch holds depends on (seed, epoch) and the global batch size only; each process
takes its slice of every global batch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from spidereye.camera import Camera
from spidereye.jitter import JitterConfig, draw, jitter_colour, jittered_cameras
from spidereye.panorama import resize_panorama
from spidereye.pictures import resize_area, to_float, to_uint8
from spidereye.randomness import generator
from spidereye.render import RenderPlan, render_views
from spidereye.rig import Rig
from spidereye.sources import Source


@dataclass(frozen=True)
class Batch:
    """`views, panorama = batch` is the documented pair; both float in [-1, 1].

    cameras: what a calibrated rig knows (true lens, nominal pose), N with batch shape [] or [B].
    true_cameras: those that made the views; for tests and oracles only.
    mask: where a view is picture.   indices, names: of the samples in their source.
    """

    views: Float[Tensor, "B N 3 h w"]
    panorama: Float[Tensor, "B 3 H W"]
    cameras: tuple[Camera, ...]
    true_cameras: tuple[Camera, ...]
    mask: Bool[Tensor, "B N h w"]
    indices: list[int]
    names: list[str]

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.views, self.panorama))


@dataclass(frozen=True)
class RawSample:
    """What a worker hands over: the panorama at the width it is rendered from, and the target."""

    source: UInt8[Tensor, "3 Hr Wr"]
    target: UInt8[Tensor, "3 H W"]
    index: int


class PanoramaDataset(Dataset[RawSample]):
    """Decodes panoramas. size: the target's (W, H).   render_width: see RenderPlan.
    cache: keep decoded samples in the memory of each worker."""

    def __init__(self, source: Source, size: tuple[int, int], render_width: int, cache: bool):
        self.source = source
        self.size = size
        self.render_width = render_width
        self._cache: dict[int, RawSample] | None = {} if cache else None

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> RawSample:
        if self._cache is not None and index in self._cache:
            return self._cache[index]
        # Twice the width, so that a decoder's own reduction is finer than what we average.
        picture = self.source.panorama(index, 2 * self.render_width)
        sample = RawSample(
            source=_at_width(picture, self.render_width),
            target=_planar(resize_area(picture, *self.size)),
            index=index,
        )
        if self._cache is not None:
            self._cache[index] = sample
        return sample


class GlobalBatches(Sampler[list[int]]):
    """Index lists of one process: slice `rank` of each of the epoch's global batches.

    Set `epoch` before each pass, and `start` to skip that many global batches (resuming).
    The last batch of an epoch is dropped where it would be short.
    """

    def __init__(self, length: int, batch_size: int, seed: int, rank: int, processes: int):
        self.length, self.batch_size, self.seed = length, batch_size, seed
        self.rank, self.processes = rank, processes
        self.epoch, self.start = 0, 0

    @property
    def batches_per_epoch(self) -> int:
        return self.length // self.batch_size

    def __len__(self) -> int:
        return self.batches_per_epoch - self.start

    def __iter__(self) -> Iterator[list[int]]:
        source = generator(self.seed, "order", self.epoch)
        order = torch.randperm(self.length, generator=source).tolist()
        share = self.batch_size // self.processes
        for batch in range(self.start, self.batches_per_epoch):
            first = batch * self.batch_size + self.rank * share
            yield order[first : first + share]


class EverySampleOnce(Sampler[list[int]]):
    """Index lists of one process for evaluation: rank, rank + processes, …, each sample once."""

    def __init__(self, length: int, batch_size: int, rank: int, processes: int):
        self.indices = list(range(rank, length, processes))
        self.batch_size = batch_size

    def __len__(self) -> int:
        return math.ceil(len(self.indices) / self.batch_size)

    def __iter__(self) -> Iterator[list[int]]:
        for first in range(0, len(self.indices), self.batch_size):
            yield self.indices[first : first + self.batch_size]


def loader(
    dataset: PanoramaDataset, batches: Sampler[list[int]], workers: int
) -> Iterable[list[RawSample]]:
    """A loader of lists of RawSample; the workers live as long as the loader."""
    return DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


@dataclass(frozen=True)
class Renderer:
    """Makes batches of raw samples: all views of a batch in one resampling on `device`.

    jitter None: the rig's own cameras and colours.   seed: of the jitter.
    """

    rig: Rig
    plan: RenderPlan
    names: Sequence[str]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    jitter: JitterConfig | None = None
    seed: int = 0

    def __call__(self, samples: Sequence[RawSample], epoch: int = 0) -> Batch:
        """The batch of these samples; `epoch` tells apart the jitter of their repetitions."""
        indices = [sample.index for sample in samples]
        source = to_float(torch.stack([s.source for s in samples]).to(self.device))
        target = to_float(torch.stack([s.target for s in samples]).to(self.device))
        believed = true = self.rig.cameras
        draws = []
        if self.jitter is not None:
            draws = [
                draw(self.jitter, len(self.rig.cameras), self.seed, epoch, index)
                for index in indices
            ]
            believed, true = jittered_cameras(self.rig.cameras, draws)
            turns = [round(jitter.yaw * target.shape[-1]) for jitter in draws]
            source, target = _turn(source, turns, target.shape[-1]), _turn(target, turns)
        views, mask = render_views(source, true, self.plan.oversample)
        if draws:
            views = jitter_colour(views, draws)
        views = to_float(to_uint8(views))  # a camera has eight bits
        views = torch.where(mask[:, :, None], views, -1.0)
        names = [self.names[index] for index in indices]
        return Batch(views, target, believed, true, mask, indices, names)


def _turn(
    panorama: Float[Tensor, "B 3 H W"], turns: Sequence[int], columns: int | None = None
) -> Float[Tensor, "B 3 H W"]:
    """Each panorama rolled by `turns` of `columns` columns (None: its own)."""
    scale = panorama.shape[-1] // (columns or panorama.shape[-1])
    rolled = [pano.roll(turn * scale, dims=-1) for pano, turn in zip(panorama, turns, strict=True)]
    return torch.stack(rolled)


def _at_width(picture: UInt8[np.ndarray, "H W 3"], width: int) -> UInt8[Tensor, "3 Hr Wr"]:
    if picture.shape[1] >= width:
        return _planar(resize_area(picture, width, width // 2))
    # A panorama smaller than it is rendered from is enlarged on the sphere, without a seam; its
    # sides, 2:1 within 1 %, are made exactly so first.
    half = picture.shape[1] // 2
    exact = to_float(_planar(resize_area(picture, 2 * half, half)))
    larger = resize_panorama(exact[None], width // 2, width)
    return to_uint8(larger)[0]


def _planar(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[Tensor, "3 H W"]:
    return torch.from_numpy(picture).permute(2, 0, 1).contiguous()
