"""What benchmarks/quality_sweep.py varies: the shots of each point, what goes wrong with them and
what the methods know of it. All draws are seeded, and of one axis the same up to their size.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from quality_measure import prepared

from spidereye.batches import Batch, PanoramaDataset, Renderer
from spidereye.camera import Camera
from spidereye.config import Config
from spidereye.jitter import JitterConfig
from spidereye.lenses import UCM, Mei
from spidereye.protocols import Shots, off_centre
from spidereye.randomness import generator
from spidereye.render import RenderPlan, select
from spidereye.rig import Rig
from spidereye.scene_batches import SceneDataset, SceneRenderer
from spidereye.setup import make_dataset
from spidereye.sources import open_source
from spidereye.sources.scenes import NearScenes

MISSING, OFFSET = "missing", "offset"
ONE, OPPOSITE, ADJACENT = 1.0, 2.0, 3.0  # values of the axis MISSING


@dataclass(frozen=True)
class Axis:
    """label: of the values.   values: in its unit; 0 is the rig as it is.   names: what to call
    them where numbers say nothing."""

    label: str
    values: tuple[float, ...]
    names: tuple[str, ...] = ()

    def name(self, value: float) -> str:
        return self.names[self.values.index(value)] if self.names else f"{value:g}"


AXES = {
    "xi": Axis("error of the believed ξ, %", (-20, -10, -5, 0, 5, 10, 20)),
    "f": Axis("error of the believed f, %", (-20, -10, -5, 0, 5, 10, 20)),
    "rotation": Axis("yaw, pitch, roll of each view within ±°", (0, 1, 2, 3, 4, 6)),
    "gain": Axis("gain of each view within ± %", (0, 10, 20, 30, 40)),
    OFFSET: Axis("cameras off the centre, cm, near scenes", (0, 5, 10, 15, 20, 30)),
    MISSING: Axis("views missing", (0, ONE, OPPOSITE, ADJACENT),
                  ("none", "1", "2 opposite", "2 adjacent")),
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    axis: str
    value: float

    @property
    def name(self) -> str:
        """Of its file. Nothing wrong is one point for all axes that show the panoramas."""
        if self.value == 0 and self.axis != OFFSET:
            return "clean"
        return f"{self.axis}_{self.value:g}"

    @property
    def label(self) -> str:
        return f"{self.axis} {AXES[self.axis].name(self.value)}"


def points(axes: Sequence[str]) -> list[Point]:
    """All of these axes."""
    return [Point(axis, value) for axis in axes for value in AXES[axis].values]


def listed(found: Mapping[Point, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What was found at points, for JSON."""
    return [{"axis": point.axis, "value": point.value, **row} for point, row in found.items()]


def shots(point: Point, config: Config, scenes: int, seed: int = 0) -> Shots:
    """A point's shots, for evaluation.batch_size=1, rendered already: several methods take them.
    On panoramas of the configured val, or `scenes` near scenes."""
    rig = config.rig()
    if point.axis == OFFSET:
        return prepared(_near(rig, point.value / 100, config, scenes, seed))
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = make_dataset(config, open_source(config.source(), "val"), plan)
    jitter = None
    if point.axis in ("rotation", "gain") and point.value:
        turn = point.value if point.axis == "rotation" else 0.0
        gain = point.value / 100 if point.axis == "gain" else 0.0
        jitter = JitterConfig(0.0, 0.0, turn, contrast=gain, brightness=0.0, color=0.0)
    render = Renderer(rig, plan, dataset.source.names, jitter=jitter, seed=seed)
    made = _prepared(dataset, render, rig)
    batches: Any = made.dataset
    if point.axis in ("xi", "f"):
        batches = [_misbelieved(batch, point) for batch in batches]
    if point.axis == MISSING and point.value:
        batches = [_blackened(batch, point.value, seed) for batch in batches]
    return replace(made, dataset=batches)


def present(batch: Batch) -> list[int]:
    """The views of a batch of one shot that are not black."""
    return [view for view in range(batch.views.shape[1]) if float(batch.views[0, view].max()) > -1]


def without_missing(made: Shots) -> Shots:
    """The same shots for methods that are told which views there are, and get no others."""
    batches: Any = made.dataset
    return replace(made, dataset=[_only_present(batch) for batch in batches])


def _prepared(dataset: PanoramaDataset, render: Renderer, rig: Rig) -> Shots:
    return prepared(Shots(dataset, render, rig))


def _near(rig: Rig, distance: float, config: Config, count: int, seed: int) -> Shots:
    rig, scenes = off_centre(rig, distance), NearScenes(count, seed)
    dataset = SceneDataset(scenes, rig.cameras, config.panorama_size)
    return Shots(dataset, SceneRenderer(rig, torch.device("cpu")), rig)


def _misbelieved(batch: Batch, point: Point) -> Batch:
    """The views of the true lens, with cameras that have a wrong one."""
    factor = 1 + point.value / 100
    return replace(batch, cameras=tuple(_wrong(c, point.axis, factor) for c in batch.cameras))


def _wrong(camera: Camera, axis: str, factor: float) -> Camera:
    lens = camera.lens
    if axis == "f":
        return replace(camera, lens=lens.zoomed(factor))
    assert isinstance(lens, UCM | Mei), "only these lenses have a ξ"
    return replace(camera, lens=replace(lens, xi=lens.xi * factor))


def _blackened(batch: Batch, which: float, seed: int) -> Batch:
    """Without a view drawn for the shot and, where two are asked for, the one that looks most away
    from it or most the same way."""
    source = generator(seed, "missing views", batch.indices[0])
    first = int(torch.randint(len(batch.cameras), (), generator=source))
    axes = torch.stack([select(camera, 0).axis for camera in batch.cameras])
    order = (axes @ axes[first]).argsort(stable=True).tolist()  # the first itself comes last
    missing = {ONE: [first], OPPOSITE: [first, order[0]], ADJACENT: [first, order[-2]]}[which]
    views = batch.views.clone()
    views[:, missing] = -1
    return replace(batch, views=views)


def _only_present(batch: Batch) -> Batch:
    kept = present(batch)
    return replace(
        batch,
        views=batch.views[:, kept],
        cameras=tuple(batch.cameras[view] for view in kept),
        true_cameras=tuple(batch.true_cameras[view] for view in kept),
        mask=batch.mask[:, kept],
    )
