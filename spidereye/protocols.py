"""Protocols of evaluation: which panoramas, and what happens to cameras and views.

Layer: data. Every draw comes from (seed 0, sample index), whatever the run's own seed: a protocol
shows the same pictures to every method of every run, for any batch size and number of processes.
A new protocol is one row of PROTOCOLS.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final

from torch.utils.data import Dataset

from spidereye.batches import Batch, PanoramaDataset, Renderer
from spidereye.jitter import JitterConfig
from spidereye.rig import Rig, index_of_view, off_centre
from spidereye.scene_batches import SceneDataset, SceneRenderer
from spidereye.sources.scenes import NearScenes

# The documented training jitter with ξ and f left alone (design §3).
JITTER_PROTOCOL: Final = JitterConfig(xi=0.0, f=0.0)


@dataclass(frozen=True)
class Protocol:
    """A row of the table.

    name: as `evaluation.protocols` takes it.   meaning: one line.
    jitter: what happens to each view without the methods knowing; None: nothing.
    has_reference: one view gets no jitter, and the methods know which.
    off_centre: metres by which each camera stands off the centre, along its axis; methods know.
    Above 0 the data are near procedural scenes, the only ones with parallax, instead of the
    configured panoramas.
    """

    name: str
    meaning: str
    jitter: JitterConfig | None = None
    has_reference: bool = False
    off_centre: float = 0.0

    @property
    def needs_panoramas(self) -> bool:
        """Whether it shows the configured panoramas."""
        return self.off_centre == 0


PROTOCOLS: Final[dict[str, Protocol]] = {
    protocol.name: protocol
    for protocol in (
        Protocol("clean", "the rig exactly as configured"),
        Protocol(
            "jitter",
            "each view turned by up to 3° without the methods knowing, its colours changed",
            JITTER_PROTOCOL,
        ),
        Protocol(
            "jitter_reference",
            "as jitter, but one view as it is, and the methods know which",
            JITTER_PROTOCOL,
            has_reference=True,
        ),
        Protocol(
            "parallax",
            "procedural scenes with objects from 1 m on, cameras 10 cm off the centre",
            off_centre=0.1,
        ),
    )
}


@dataclass(frozen=True)
class Shots:
    """What a protocol shows.

    dataset: its items are samples; workers make them.   render: samples to a batch.
    rig: of the batches, as near as what they show.   reference: index of the view that is as it is,
    None where no view is.
    few: so many samples or fewer are made before workers would have started.
    """

    dataset: Dataset[Any]
    render: Callable[[list[Any]], Batch]
    rig: Rig
    reference: int | None = None
    few: int = 7

    def __len__(self) -> int:
        return len(self.dataset)  # pyright: ignore[reportArgumentType]


def shots_of(
    protocol: Protocol,
    renderer: Renderer,
    dataset: PanoramaDataset | None,
    size: tuple[int, int],
    reference_view: str = "front",
    scenes: int = 12,
) -> Shots:
    """The shots of a protocol.

    renderer: all of it counts but its jitter, which is replaced by the protocol's.
    dataset: the configured panoramas; None where the protocol needs none.
    size: (W, H) of the panoramas.   scenes: how many, where there are no configured panoramas.
    Raises SpiderEyeError where a reference is needed and the rig has no view of that name.
    """
    if not protocol.needs_panoramas:
        rig = off_centre(renderer.rig, protocol.off_centre)
        near = NearScenes(scenes)
        render = SceneRenderer(rig, renderer.device, renderer.degradation)
        return Shots(SceneDataset(near, rig.cameras, size), render, rig, few=1)
    assert dataset is not None, f"protocol {protocol.name} needs panoramas"
    rig = replace(renderer.rig, sphere_radius=math.inf)  # photographs have no nearness
    reference = None
    if protocol.has_reference:
        reference = index_of_view(rig, "evaluation.reference_view", reference_view)
    shown = replace(renderer, jitter=protocol.jitter, seed=0, reference=reference)
    return Shots(dataset, shown, rig, reference)
