"""Shots to try the server with: procedural scenes as a named rig sees them, made when first asked
for."""

import io
import threading
from functools import lru_cache

import torch

from spidereye.picture_writing import save_picture
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import NAMED_RIGS
from spidereye.scenes.scene import Scene
from spidereye.server.limits import Refused

# Name: (seed of the scene, rig).
SAMPLES = {"scene 1": (3, "spider4"), "scene 2": (8, "spider4"), "scene 3": (21, "tri190")}
_WIDTH = 1024  # of the panorama that the views are rendered from
_LOCK = threading.Lock()  # two that ask at once for one sample would both make it


def sample_views(name: str) -> list[str]:
    """The names of a sample's views. Raises Refused (404) for an unknown one."""
    if name not in SAMPLES:
        raise Refused(404, f"no sample is called {name!r}; there are {', '.join(SAMPLES)}")
    return list(NAMED_RIGS[SAMPLES[name][1]]().names)


def sample_view(name: str, view: str) -> bytes:
    """A view of a sample as JPEG. Raises Refused (404) for unknown ones."""
    names = sample_views(name)
    if view not in names:
        raise Refused(404, f"{name} has no view {view!r}; it has {', '.join(names)}")
    with _LOCK:
        return _rendered(name)[names.index(view)]


@lru_cache(maxsize=len(SAMPLES))
def _rendered(name: str) -> list[bytes]:
    seed, rig = SAMPLES[name]
    scene = torch.from_numpy(Scene.random(seed).panorama(_WIDTH)).permute(2, 0, 1)
    made = []
    for view, _ in render_each(to_float(scene)[None], NAMED_RIGS[rig]().cameras):
        file = io.BytesIO()
        save_picture(file, ".jpg", to_uint8(view[0]).permute(1, 2, 0).contiguous().numpy())
        made.append(file.getvalue())
    return made
