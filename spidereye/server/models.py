"""What a server stitches with: models, loaded once, rigs by name, and stitchers used lately."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field

from spidereye.config import Config
from spidereye.errors import SpiderEyeError
from spidereye.precision import device_named
from spidereye.recent import Recent
from spidereye.rig import NAMED_RIGS, Rig, fingerprint
from spidereye.rig_files import load_rig
from spidereye.server.limits import Refused
from spidereye.stitcher import Stitcher
from spidereye.trained import Trained

GEOMETRIC = "geometric"
_STITCHERS = 4  # a plan of 2048x1024 from four views takes 61 MB


@dataclass
class Models:
    """trained: by name.   rigs: by name, beside the named ones.   device: of the networks."""

    trained: Mapping[str, Trained]
    rigs: Mapping[str, Rig]
    device: str = "cpu"
    _stitchers: Recent = field(default_factory=lambda: Recent(_STITCHERS))
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def load(
        cls, checkpoints: Mapping[str, str], rigs: Mapping[str, str], device: str = "cpu"
    ) -> "Models":
        """checkpoints, rigs: by name, as Stitcher.load and load_rig take them.

        Raises SpiderEyeError for what cannot be loaded.
        """
        if GEOMETRIC in checkpoints:
            raise SpiderEyeError(f"no model may be called {GEOMETRIC}: that is the stitch alone")
        device_named(device)
        trained = {name: Trained.load(given, device=device) for name, given in checkpoints.items()}
        named = {name: make() for name, make in NAMED_RIGS.items()}
        named |= {name: load_rig(path) for name, path in rigs.items()}
        return cls(trained, named, device)

    @property
    def default(self) -> str:
        """The first model, or the geometric stitch where there is none."""
        return next(iter(self.trained), GEOMETRIC)

    def rig(self, name: str) -> Rig:
        """Raises Refused (404) for an unknown one."""
        if name not in self.rigs:
            raise Refused(404, f"no rig is called {name!r}; there are {', '.join(self.rigs)}")
        return self.rigs[name]

    def rig_of(self, model: str) -> Rig:
        """The rig where none is named. Raises Refused (404) for an unknown model."""
        if model == GEOMETRIC:
            return self.rigs["spider4"]
        config = self._find(model).config
        return config.rig_of_file() or config.rig()

    def natural_size(self, model: str, width: int) -> tuple[int, int] | None:
        """Of panoramas where none is asked for, of pictures that would make one so wide; None for
        the model's own. Raises Refused (404) for an unknown model."""
        if model != GEOMETRIC:
            trained = self._find(model)
            if not trained.released:
                return None
            width = trained.fitting_width(width)
        return width, width // 2

    def stitcher(
        self, model: str, rig: Rig, size: tuple[int, int] | None, refine: tuple[str, ...] | None
    ) -> Stitcher:
        """size: None for the model's own; the geometric stitch needs one.   refine: None for what
        the model was trained with, or nothing.

        Raises Refused (404) for an unknown model, SpiderEyeError for what it does not take.
        """
        key = f"{model} {fingerprint(rig)} {size} {refine}"
        with self._lock:  # requests are checked in several threads
            return self._stitchers.find(key, lambda: self._made(model, rig, size, refine))

    def _made(
        self, model: str, rig: Rig, size: tuple[int, int] | None, refine: tuple[str, ...] | None
    ) -> Stitcher:
        if model == GEOMETRIC:
            assert size is not None
            return Stitcher.geometric(rig, size, refine=refine or ())
        trained = self._find(model)
        own = fingerprint(rig) == fingerprint(self.rig_of(model))
        trained.check_rig(None if own else rig)
        trained = trained if size is None else trained.at_size(size)
        return Stitcher(rig, trained.config.panorama_size, trained, self.device, refine=refine)

    def about(self) -> list[dict[str, object]]:
        """For /api/models: name, what it is, the size it makes, and whether it takes any rig."""
        said: list[dict[str, object]] = [
            {"name": name, "about": one.origin, "steps": one.steps, **_made(one.config)}
            for name, one in self.trained.items()
        ]
        stitch = {"name": GEOMETRIC, "about": "the views reprojected and blended, no model"}
        return [*said, {**stitch, "steps": 0, "size": None, "any_rig": True}]

    def _find(self, model: str) -> Trained:
        if model not in self.trained:
            names = ", ".join([*self.trained, GEOMETRIC])
            raise Refused(404, f"no model is called {model!r}; there are {names}")
        return self.trained[model]


def _made(config: Config) -> dict[str, object]:
    return {"size": list(config.panorama_size), "any_rig": config.conditioning().grid}
