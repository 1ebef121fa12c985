"""The networks of an ONNX file that `spidereye export` wrote, run by ONNX Runtime.

Beside the networks the file says what they are for: configuration, rig, sizes, value ranges.
"""

import base64
import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import yaml
from jaxtyping import Float
from torch import Tensor

from spidereye.conditions import Conditions, flattened
from spidereye.config import Config
from spidereye.config_files import config_from_dict, config_to_dict
from spidereye.errors import SpiderEyeError
from spidereye.onnx_sessions import open_session
from spidereye.rig_files import write_rig

if TYPE_CHECKING:
    from spidereye.trained import Trained

NOISE, PANORAMA, GRID = "noise", "panorama", "grid."
SEEN = f"{GRID}seen"  # an input also where the grid is baked in: a view may be missing
_KEY = "spidereye"
_RIG = "rig.yaml"


@dataclass(frozen=True)
class OnnxNetworks:
    """path: of the file.   session: of ONNX Runtime.   config: of the checkpoint that was exported.
    steps: of the sampler, fixed.   origin: in words.   files: where the rig's own files lie while
    it is used.   precision: that it computes in, fp32 or bf16."""

    path: Path
    session: Any
    config: Config
    steps: int
    origin: str
    files: tempfile.TemporaryDirectory
    precision: str = "fp32"

    @classmethod
    def load(cls, path: Path, device: str = "cpu", precision: str = "fp32") -> "OnnxNetworks":
        """Raises SpiderEyeError for a file that is damaged, or not one of ours, and for an ONNX
        Runtime that does not compute on that device, or not in that precision."""
        session = open_session(path, device, precision)
        text = session.get_modelmeta().custom_metadata_map.get(_KEY)
        if text is None:
            raise SpiderEyeError(f"{path} was not written by `spidereye export`")
        about = json.loads(text)
        files = tempfile.TemporaryDirectory()
        values = yaml.safe_load(about["config"])
        for name, content in about["rig"].items():
            (Path(files.name) / name).write_bytes(base64.b64decode(content))
            values["dataset"]["rig"] = str(Path(files.name) / _RIG)
        config = config_from_dict(values, [])
        return cls(
            path, session, config, about["steps"], f"{path} ({about['origin']})", files, precision
        )

    @property
    def digest(self) -> str:
        """SHA-256 of the file."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def has_own_rig(self) -> bool:
        """Whether where views look is in the file, so that it serves no other rig."""
        asked = {one.name for one in self.session.get_inputs()} - {SEEN}
        return self.config.conditioning().grid and not any(name.startswith(GRID) for name in asked)

    def panorama(
        self,
        given: Conditions,
        noise: Float[Tensor, "B 3 H W"],
        steps: int,
        t_pow_shift: float = 2.0,
    ) -> Float[Tensor, "B 3 H W"]:
        """As SpiderEyeModel.panorama; where the file takes a fixed number of shots at a time, so
        many after each other. Raises SpiderEyeError for other steps than those it has."""
        if steps != self.steps:
            raise SpiderEyeError(
                f"{self.origin} takes {self.steps} step{'s' * (self.steps > 1)} of the sampler, "
                f"not {steps}: export it again with so many, or leave the steps out"
            )
        tensors = {**flattened(given), NOISE: noise}
        asked = [one.name for one in self.session.get_inputs()]
        fed = {name: _array(tensors[name]) for name in asked}
        size = self.session.get_inputs()[0].shape[0]
        if not isinstance(size, int):
            return torch.from_numpy(self.session.run([PANORAMA], fed)[0])
        made = [
            self.session.run([PANORAMA], {name: _part(a, start, size) for name, a in fed.items()})
            for start in range(0, noise.shape[0], size)
        ]
        return torch.from_numpy(np.concatenate([part for (part,) in made])[: noise.shape[0]])


def described(trained: "Trained", steps: int) -> Mapping[str, str]:
    """What a file says of its networks: all as JSON for us, and in words for people."""
    config = trained.config
    width, height = config.panorama_size
    files: dict[str, str] = {}
    rig = config.rig_of_file()
    if rig is not None:
        with tempfile.TemporaryDirectory() as folder:
            write_rig(rig, Path(folder) / _RIG)
            for file in sorted(Path(folder).iterdir()):
                files[file.name] = base64.b64encode(file.read_bytes()).decode()
    about = {
        "config": yaml.safe_dump(config_to_dict(config)),
        "rig": files,
        "steps": steps,
        "origin": trained.origin,
    }
    side = config.dataset.im_size
    return {
        _KEY: json.dumps(about),
        "views": f"{', '.join(config.rig().names)}: RGB in [-1, 1], {side}x{side} pixels",
        "panorama": f"equirectangular, RGB in [-1, 1], not clamped, {width}x{height} pixels",
        "noise": "standard normal",
    }


def _part(values: np.ndarray, start: int, size: int) -> np.ndarray:
    """`size` of them from `start`, the last one again where there are too few."""
    return values[np.arange(start, start + size).clip(max=len(values) - 1)]


def _array(tensor: Tensor) -> np.ndarray:
    tensor = tensor.detach().cpu()
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
