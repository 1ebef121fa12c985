"""Batches of procedural scenes, each view rendered from where its camera stands.

`batches.py` renders views from a panorama and knows one place only; here parallax and occlusion are
real. Workers render the scenes, one by one, so that no number depends on the batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import UInt8
from torch import Tensor
from torch.utils.data import Dataset

from spidereye.batches import Batch, taken
from spidereye.camera import Camera
from spidereye.degradation import Degradation
from spidereye.pictures import resize_area, to_float, to_uint8
from spidereye.rig import Rig
from spidereye.scenes.views import render_rig
from spidereye.sources.scenes import NearScenes

_POINTS = 3  # along an axis of a view's pixel
_FINENESS = 2  # of the panorama that the target is averaged from, which takes 2x2 points a pixel


@dataclass(frozen=True)
class SceneSample:
    """What a worker hands over: one scene's views, and the target, channels last."""

    views: UInt8[Tensor, "N 3 h w"]
    target: UInt8[Tensor, "H W 3"]
    index: int
    name: str


class SceneDataset(Dataset[SceneSample]):
    """Views by cameras of one picture size and batch shape []; targets of `size` (W, H) from the
    origin."""

    def __init__(self, scenes: NearScenes, cameras: Sequence[Camera], size: tuple[int, int]):
        self.scenes, self.cameras, self.size = scenes, tuple(cameras), size

    def __len__(self) -> int:
        return len(self.scenes)

    def __getitem__(self, index: int) -> SceneSample:
        scene = self.scenes.scene(index)
        views = torch.stack([to_uint8(v) for v in render_rig(scene, self.cameras, _POINTS)])
        target = resize_area(scene.panorama(_FINENESS * self.size[0]), *self.size)
        return SceneSample(views, torch.from_numpy(target), index, self.scenes.name(index))


@dataclass(frozen=True)
class SceneRenderer:
    """Makes batches of such samples on `device`. rig: whose cameras made the views.
    degradation: what these do to every view."""

    rig: Rig
    device: torch.device
    degradation: Degradation = field(default_factory=Degradation)

    def __call__(self, samples: Sequence[SceneSample]) -> Batch:
        """The batch of these samples; the cameras that made the views are the believed ones."""
        cameras, count = self.rig.cameras, len(samples)
        views = torch.stack([sample.views for sample in samples]).to(self.device)
        target = torch.stack([sample.target for sample in samples]).to(self.device)
        mask = torch.stack([camera.mask() for camera in cameras]).to(self.device)
        seen = Batch(
            to_float(views),
            to_float(target.permute(0, 3, 1, 2).contiguous()),
            cameras,
            cameras,
            mask.expand(count, *mask.shape),
            [sample.index for sample in samples],
            [sample.name for sample in samples],
        )
        return taken(self.degradation, seen)
