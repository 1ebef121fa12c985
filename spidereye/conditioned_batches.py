"""Training batches with their conditions: workers render, self-calibrate and stitch each shot.

Where networks take views alone, rendering a whole batch on the training device is faster
(batches.py). Self-calibration is a matter of single shots and of the CPU, and what is made of a
shot can be kept on disk: with `draws` a panorama has only so many different shots.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor
from torch.utils.data import Dataset

from spidereye.batches import Batch, PanoramaDataset, Renderer
from spidereye.conditioning import Conditioner
from spidereye.conditions import Conditions, collated, flattened, restored, with_views
from spidereye.degradation import Degradation
from spidereye.layers import resize_nearest
from spidereye.picture_cache import PictureCache
from spidereye.pictures import to_float, to_uint8
from spidereye.randomness import generator
from spidereye.render import RenderPlan
from spidereye.rig import Rig, fingerprint, off_centre
from spidereye.rig_variety import drawn_rig
from spidereye.scene_batches import SceneDataset, SceneRenderer
from spidereye.sources.scenes import NearScenes

_VERSION = 7  # of what is kept: raise it where conditions change


@dataclass(frozen=True)
class Parallax:
    """Near scenes among the training panoramas, the only ones with parallax.

    share: of the samples that are near scenes instead.   off_centre: metres from the centre, along
    their axes, at which a sample's cameras stand: from the first to the second.
    """

    share: float = 0.0
    off_centre: tuple[float, float] = (0.05, 0.15)


@dataclass(frozen=True)
class Variety:
    """What real rigs are like, beside jitter.

    rigs: share of the samples that a rig drawn at random sees instead of the configured one.
    degraded: share whose views are vignetted, soft, noisy or compressed.
    """

    rigs: float = 0.0
    degraded: float = 0.0


@dataclass(frozen=True)
class ConditionedSample:
    """What a worker hands over. conditions: as conditioning.flattened names them, in 16 bits."""

    panorama: UInt8[Tensor, "3 H W"]
    conditions: dict[str, Tensor]
    index: int
    name: str


class ConditionedDataset(Dataset[ConditionedSample]):
    """Shots of panoramas; an item is asked for by (epoch, index).

    render: on the CPU, with the jitter of training.   draws: how many different shots of a
    panorama there are, one after the other in the epochs; None: a new one in each.
    cache: used where `draws` is set.
    """

    def __init__(
        self,
        panoramas: PanoramaDataset,
        render: Renderer,
        conditioner: Conditioner,
        parallax: Parallax,
        variety: Variety,
        draws: int | None = None,
        cache: PictureCache | None = None,
    ):
        self.panoramas, self.render, self.conditioner = panoramas, render, conditioner
        self.parallax, self.variety, self.draws = parallax, variety, draws
        self._cache = cache if draws else None
        settings = (
            _VERSION, conditioner.config, panoramas.size, fingerprint(render.rig), render.plan,
            render.jitter, render.seed, parallax, variety, render.degradation,
        )  # fmt: skip
        self._settings = repr(settings)

    def __len__(self) -> int:
        return len(self.panoramas)

    def __getitem__(self, key: tuple[int, int]) -> ConditionedSample:
        epoch, index = key
        draw = epoch % self.draws if self.draws else epoch
        name = self.panoramas.source.names[index]
        if self._cache is None:
            made = self._made(draw, index)
        else:
            made = self._cache.get(
                lambda: self.panoramas.source.origin(index),
                # The draws follow from the index, so the same picture elsewhere is another shot.
                f"{self._settings} {len(self)} {index} {draw}",
                lambda: self._made(draw, index),
            )
        panorama = made["panorama"]
        conditions = {name: part for name, part in made.items() if name != "panorama"}
        return ConditionedSample(panorama, conditions, index, name)

    def _made(self, draw: int, index: int) -> dict[str, Tensor]:
        source = generator(self.render.seed, "parallax", draw, index)
        lot, place = torch.rand(2, generator=source, dtype=torch.float64).tolist()
        render = self._renderer(draw, index)
        radius = math.inf  # photographs have no nearness
        if lot < self.parallax.share:
            batch = self._near(render.rig, draw * len(self) + index, place)
            radius = render.rig.sphere_radius
        else:
            batch = render([self.panoramas[index]], draw)
        batch = self._degraded(batch, draw, index)
        conditions = condition_each(self.conditioner, batch, radius)[0]
        kept = {
            name: part.half() if part.is_floating_point() else part
            for name, part in flattened(conditions).items()
        }
        return {"panorama": to_uint8(batch.panorama[0]), **kept}

    def _renderer(self, draw: int, index: int) -> Renderer:
        """Of the sample's rig."""
        source = generator(self.render.seed, "rig", draw, index)
        if float(torch.rand((), generator=source, dtype=torch.float64)) >= self.variety.rigs:
            return self.render
        rig = drawn_rig(source, self.render.rig.cameras[0].lens.width)
        plan = RenderPlan.for_cameras(rig.cameras, self.render.plan.quality)
        return replace(self.render, rig=rig, plan=plan)

    def _near(self, rig: Rig, number: int, place: float) -> Batch:
        """A shot of the near scene of this number, by cameras off the centre."""
        low, high = self.parallax.off_centre
        rig = off_centre(rig, low + (high - low) * place)
        scenes = NearScenes(number + 1, self.render.seed, "train")
        dataset = SceneDataset(scenes, rig.cameras, self.panoramas.size)
        scene_views = SceneRenderer(rig, torch.device("cpu"), self.render.degradation)
        return scene_views([dataset[number]])

    def _degraded(self, batch: Batch, draw: int, index: int) -> Batch:
        source = generator(self.render.seed, "degradation", draw, index)
        if float(torch.rand((), generator=source, dtype=torch.float64)) >= self.variety.degraded:
            return batch
        return batch.degraded([Degradation.drawn(source)], [source])


@dataclass(frozen=True)
class ConditionedRenderer:
    """Makes batches of such samples on `device`. rig: whose views they are, where all samples
    share one.   views: so many have all samples, those that a rig does not have being black and
    seen by nothing; None: as many as the rig.
    """

    rig: Rig
    device: torch.device
    views: int | None = None

    def __call__(self, samples: Sequence[ConditionedSample], epoch: int = 0) -> Batch:
        """The batch of these samples. Its views are self-calibrated where the conditions are; its
        cameras are the rig's own, which the networks do not ask for any more."""
        panorama = torch.stack([sample.panorama for sample in samples]).to(self.device)
        each = [restored(sample.conditions) for sample in samples]
        if self.views is not None:
            each = [with_views(conditions, self.views) for conditions in each]
        conditions = collated(each).to(self.device)
        views = conditions.views
        assert isinstance(views, Tensor)
        cameras = self.rig.cameras
        return Batch(
            views,
            to_float(panorama),
            cameras,
            cameras,
            self._masks(views).expand(len(samples), -1, -1, -1),
            [sample.index for sample in samples],
            [sample.name for sample in samples],
            conditions,
        )

    def _masks(self, views: Float[Tensor, "B N 3 h w"]) -> Bool[Tensor, "N h w"]:
        """Of the rig's own views at their size here, and nothing for further ones."""
        masks = resize_nearest(self._mask[None].float(), views)[0] > 0
        return F.pad(masks, (0, 0, 0, 0, 0, views.shape[1] - len(masks)), value=False)

    @cached_property
    def _mask(self) -> Bool[Tensor, "N h w"]:
        return torch.stack([camera.mask() for camera in self.rig.cameras]).to(self.device)


def condition_each(
    conditioner: Conditioner, batch: Batch, sphere_radius: float = math.inf
) -> list[Conditions]:
    """The conditions of every shot of a batch, each by itself, on the CPU."""
    return [
        conditioner(
            shot, cameras, conditioner.calibrated(shot, cameras, sphere_radius), sphere_radius
        )
        for shot, cameras in batch.shots()
    ]
