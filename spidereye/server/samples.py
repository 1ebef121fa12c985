"""Shots to try the server with."""

import threading

from spidereye.rig import NAMED_RIGS
from spidereye.sample_shots import SAMPLES, sample_shot
from spidereye.server.limits import Refused

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
        return sample_shot(name)[view]
