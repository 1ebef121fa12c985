"""Batches: workers read and decode panoramas, the training device renders their views.

Which samples a batch holds depends on (seed, epoch) and the global batch size only; each process
takes its slice of every global batch.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from spidereye.camera import Camera
from spidereye.conditions import Conditions
from spidereye.cpu import allow_open_files
from spidereye.degradation import Degradation
from spidereye.jitter import Jitter, JitterConfig, draw, jitter_colour, jittered_cameras, without
from spidereye.picture_cache import PictureCache
from spidereye.pictures import resize_area, to_float, to_uint8
from spidereye.randomness import generator
from spidereye.render import RenderPlan, render_views, select
from spidereye.rig import Rig
from spidereye.rotation import from_yaw_pitch_roll
from spidereye.sources import Source


@dataclass(frozen=True)
class Batch:
    """`views, panorama = batch` is the documented pair; both float in [-1, 1].

    cameras: what a calibrated rig knows (true lens, nominal pose), N with batch shape [] or [B].
    true_cameras: those that made the views; for tests and oracles only.
    mask: where a view is picture.   indices, names: of the samples in their source.
    conditions: what networks are told beside the views; None: nothing, or not made yet.
    """

    views: Float[Tensor, "B N 3 h w"]
    panorama: Float[Tensor, "B 3 H W"]
    cameras: tuple[Camera, ...]
    true_cameras: tuple[Camera, ...]
    mask: Bool[Tensor, "B N h w"]
    indices: list[int]
    names: list[str]
    conditions: Conditions | None = None

    def __iter__(self) -> Iterator[Tensor]:
        return iter((self.views, self.panorama))

    def shots(self) -> Iterator[tuple[list[Float[Tensor, "1 3 h w"]], list[Camera]]]:
        """The views of each sample and their believed cameras, of batch shape []."""
        for sample, views in enumerate(self.views):
            yield list(views[:, None].unbind(0)), [select(one, sample) for one in self.cameras]

    def degraded(self, each: Sequence[Degradation], sources: Sequence[torch.Generator]) -> "Batch":
        """The batch as such cameras took its shots, on the CPU one by one. sources: of noise."""
        if all(one.is_none for one in each):
            return self
        views = [
            own(to_uint8(shot).cpu(), [select(c, i) for c in self.true_cameras], source)
            for i, (shot, own, source) in enumerate(zip(self.views, each, sources, strict=True))
        ]
        return replace(self, views=to_float(torch.stack(views)).to(self.views.device))


@dataclass(frozen=True)
class RawSample:
    """What a worker hands over: the panorama that views are rendered from, and the target. Both in
    the order in which pictures are decoded, channels last."""

    source: UInt8[Tensor, "Hr Wr 3"]
    target: UInt8[Tensor, "H W 3"]
    index: int


class PanoramaDataset(Dataset[RawSample]):
    """Decodes panoramas to what a plan needs. size: the target's (W, H).   cache: None for none."""

    def __init__(
        self,
        source: Source,
        size: tuple[int, int],
        plan: RenderPlan,
        cache: PictureCache | None = None,
    ):
        self.source = source
        self.size = size
        self.plan = plan
        self._cache = cache

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> RawSample:
        if self._cache is None:
            return RawSample(**self._decoded(index), index=index)
        settings = f"{self.size} {self.plan.width} {self.plan.quality}"
        kept = self._cache.get(
            lambda: self.source.origin(index), settings, lambda: self._decoded(index)
        )
        return RawSample(**kept, index=index)

    def _decoded(self, index: int) -> dict[str, Tensor]:
        picture = self.source.panorama(index, max(self.plan.width, self.size[0]))
        source = _at_working_size(_two_to_one(picture), self.plan.width)
        target = resize_area(picture, *self.size)
        return {"source": torch.from_numpy(source), "target": torch.from_numpy(target)}


class IndexedDataset(Dataset[RawSample]):
    """The panoramas asked for by (epoch, index), as GlobalBatches names them."""

    def __init__(self, panoramas: PanoramaDataset):
        self.panoramas = panoramas

    def __len__(self) -> int:
        return len(self.panoramas)

    def __getitem__(self, key: tuple[int, int]) -> RawSample:
        return self.panoramas[key[1]]


class GlobalBatches(Sampler[list[tuple[int, int]]]):
    """Lists of (epoch, index) of one process: slice `rank` of each of the epoch's global batches.

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

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        source = generator(self.seed, "order", self.epoch)
        order = torch.randperm(self.length, generator=source).tolist()
        share = self.batch_size // self.processes
        for batch in range(self.start, self.batches_per_epoch):
            first = batch * self.batch_size + self.rank * share
            yield [(self.epoch, index) for index in order[first : first + share]]


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


def loader(dataset: Dataset[Any], batches: Sampler[Any], workers: int) -> Iterable[list[Any]]:
    """A loader of lists of the data set's samples; the workers live as long as the loader."""
    if workers:
        allow_open_files()
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
    reference: index of a view whose pose and colours get no jitter; None: all views get theirs.
    degradation: what its cameras do to every view.
    """

    rig: Rig
    plan: RenderPlan
    names: Sequence[str]
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    jitter: JitterConfig | None = None
    seed: int = 0
    reference: int | None = None
    degradation: Degradation = field(default_factory=Degradation)

    def __call__(self, samples: Sequence[RawSample], epoch: int = 0) -> Batch:
        """The batch of these samples; `epoch` tells apart the jitter of their repetitions."""
        return taken(self.degradation, self._seen(samples, epoch), self.seed, epoch)

    def _seen(self, samples: Sequence[RawSample], epoch: int) -> Batch:
        indices = [sample.index for sample in samples]
        names = [self.names[index] for index in indices]
        target = torch.stack([sample.target for sample in samples]).to(self.device)
        target = to_float(target.permute(0, 3, 1, 2).contiguous())
        if self.jitter is None:
            cameras = self.rig.cameras
            levels, mask = self._rendered(samples, cameras)
            views = to_float(levels).contiguous()
            return Batch(views, target, cameras, cameras, mask, indices, names)
        count = len(self.rig.cameras)
        draws = [draw(self.jitter, count, self.seed, epoch, index) for index in indices]
        if self.reference is not None:
            draws = [without(jitter, [self.reference]) for jitter in draws]
        believed, true = jittered_cameras(self.rig.cameras, draws)
        turns = [round(jitter.yaw * target.shape[-1]) for jitter in draws]
        levels, mask = self._rendered(samples, _turned(true, turns, target.shape[-1]))
        views = _coloured(levels, mask, draws)
        for view, jitter in zip(views, draws, strict=True):
            view[list(jitter.missing)] = -1.0
        rolled = [pano.roll(turn, dims=-1) for pano, turn in zip(target, turns, strict=True)]
        return Batch(views, torch.stack(rolled), believed, true, mask, indices, names)

    def _rendered(
        self, samples: Sequence[RawSample], cameras: Sequence[Camera]
    ) -> tuple[UInt8[Tensor, "B N 3 h w"], Bool[Tensor, "B N h w"]]:
        """Views with eight bits, like a camera's. Panoramas that are smaller than the plan wants
        have sizes of their own, and each size is rendered by itself."""
        sizes: dict[tuple[int, ...], list[int]] = {}
        for place, sample in enumerate(samples):
            sizes.setdefault(tuple(sample.source.shape), []).append(place)
        views, masks, order = [], [], []
        for places in sizes.values():
            source = torch.stack([samples[place].source for place in places]).to(self.device)
            source = source.permute(0, 3, 1, 2)
            if self.plan.quality == "exact" or self.device.type != "cpu":
                source = to_float(source)
            chosen = cameras if len(sizes) == 1 else [select(c, places) for c in cameras]
            view, mask = render_views(source, chosen, self.plan)
            views.append(to_uint8(view) if view.is_floating_point() else view)
            masks.append(mask)
            order += places
        if len(sizes) == 1:
            return views[0], masks[0]
        back = sorted(range(len(order)), key=lambda place: order[place])
        return torch.cat(views)[back], torch.cat(masks)[back]


def taken(degradation: Degradation, batch: Batch, seed: int = 0, epoch: int = 0) -> Batch:
    """A batch as such cameras take it; the noise follows from (seed, epoch, sample index)."""
    sources = [generator(seed, "cameras", epoch, index) for index in batch.indices]
    return batch.degraded([degradation] * len(sources), sources)


def _coloured(
    levels: UInt8[Tensor, "B N 3 h w"], mask: Bool[Tensor, "B N h w"], draws: Sequence[Jitter]
) -> Float[Tensor, "B N 3 h w"]:
    """The views with jittered colours, of eight bits and black outside the mask again."""
    # On a CPU one by one: a sample fits into the processor's cache, a batch does not.
    step = 1 if levels.device.type == "cpu" else len(levels)
    made = torch.empty(levels.shape, device=levels.device)
    for start in range(0, len(levels), step):
        part = slice(start, start + step)
        colours = jitter_colour(to_float(levels[part].contiguous()), draws[part])
        made[part] = to_float(to_uint8(colours).mul_(mask[part, :, None].to(torch.uint8)))
    return made


def _turned(cameras: Sequence[Camera], turns: Sequence[int], width: int) -> tuple[Camera, ...]:
    """Cameras that see of a panorama what these would see once it is rolled by `turns` columns."""
    angles = torch.tensor(turns, dtype=torch.float64) * (-2 * math.pi / width)
    level = torch.zeros_like(angles)
    turn = from_yaw_pitch_roll(angles, level, level)
    return tuple(replace(camera, rotation=turn @ camera.rotation) for camera in cameras)


def _two_to_one(picture: UInt8[np.ndarray, "H W 3"]) -> UInt8[np.ndarray, "H2 W2 3"]:
    """The picture, 2:1 within 1 %, made exactly so and of even height."""
    height, width = picture.shape[:2]
    half = max(2, width // 4 * 2)
    return picture if (height, width) == (half, 2 * half) else resize_area(picture, 2 * half, half)


def _at_working_size(
    picture: UInt8[np.ndarray, "H W 3"], width: int
) -> UInt8[np.ndarray, "Hr Wr 3"]:
    """The picture halved as often as it stays at least `width` wide: whole factors lose least and
    are fast. Never enlarged: interpolating twice would blur."""
    halvings = max(0, math.floor(math.log2(picture.shape[1] / width)))
    width = picture.shape[1] // 2**halvings // 2 * 2
    return resize_area(picture, width, width // 2)
