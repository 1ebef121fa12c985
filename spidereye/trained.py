"""Networks that stand ready to make panoramas: a checkpoint's in PyTorch, or an ONNX file's."""

import copy
import math
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from spidereye.checkpoint import Weights, read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.errors import SpiderEyeError
from spidereye.model import SpiderEyeModel, as_used
from spidereye.natural_size import checked_size
from spidereye.onnx_networks import OnnxNetworks
from spidereye.precision import check_precision
from spidereye.released import released
from spidereye.rig import Rig
from spidereye.weights import digest, find_checkpoint, load_weights

_DOWNSAMPLING = 8  # of the decoder
_WIDEST = 1024


@dataclass(frozen=True)
class Trained:
    """networks: in evaluation mode.   config: that they were trained with.   origin: what they are,
    in words.   steps: of the sampler where nothing else is asked.   released: whether they came
    with the package."""

    networks: SpiderEyeModel | OnnxNetworks
    config: Config
    origin: str
    steps: int
    released: bool = False

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        weights: Weights = "ema",
        runs_dir: str = "runs",
        device: str = "cpu",
        precision: str = "fp32",
    ) -> "Trained":
        """checkpoint: a folder, `run_name`, `run_name@best`, `run_name@last`, a Hugging Face id, or
        an .onnx file of `spidereye export`.   device, precision: of an ONNX file.

        Raises SpiderEyeError where there is none, or where it carries no configuration.
        """
        if Path(checkpoint).suffix == ".onnx":
            if not Path(checkpoint).is_file():
                raise SpiderEyeError(f"{checkpoint}: there is no such file")
            if weights != "ema":
                raise SpiderEyeError(
                    f"{checkpoint} has the weights that it was exported with; leave weights out"
                )
            made = OnnxNetworks.load(Path(checkpoint), device, precision)
            return cls(made, made.config, made.origin, made.steps)
        found = find_checkpoint(str(checkpoint), runs_dir)
        if not found.is_ours:
            raise SpiderEyeError(
                f"{found.path} carries no configuration: this takes a checkpoint folder of "
                "`spidereye train` (start one from this file with ssdd.checkpoint=…)"
            )
        # What networks start with is filled at once: the caller's numbers are not for that.
        with torch.random.fork_rng(devices=[]):
            config = config_from_dict(read_config(found.path), [])
            model = SpiderEyeModel(config.model())
        origin = load_weights(model, found, weights)
        model.float().eval().requires_grad_(False)  # whatever the caller's default type is
        ours = found.path in released().values()
        return cls(model, config, origin, config.sampler_steps, ours)

    @property
    def digest(self) -> str:
        """Of the weights: others at the same place have another."""
        networks = self.networks
        return networks.digest if isinstance(networks, OnnxNetworks) else digest(networks)

    def at_size(self, size: tuple[int, int]) -> "Trained":
        """The same networks for panoramas of (W, H), W = 2H; the views that the encoder sees grow
        in proportion. Raises SpiderEyeError for sizes that they do not divide, and for an ONNX
        file, which has one size."""
        own, size = self.config.panorama_size, checked_size(size, twice=False)
        if size == own:
            return self
        if isinstance(self.networks, OnnxNetworks):
            raise SpiderEyeError(
                f"{self.origin} was exported for panoramas of {own[0]}x{own[1]}: for others take a "
                "checkpoint folder"
            )
        config, unit = copy.deepcopy(self.config), self._unit
        if size[0] != 2 * size[1] or size[0] < 1 or size[0] % unit:
            raise SpiderEyeError(
                f"panoramas of {size[0]}x{size[1]} cannot be made: this model takes W = 2H with W "
                f"a multiple of {unit}, such as {self.nearest_width(size[0])}"
            )
        # In a rig of a file, or at f_pix_size, focal lengths follow the views' size.
        config.dataset.f_pix_size = config.dataset.f_pix_size or config.dataset.im_size
        config.dataset.im_size = config.dataset.im_size * size[0] // own[0]
        config.ssdd.decoder_image_size = list(size)
        return replace(self, config=config)

    def fitting_width(self, width: int) -> int:
        """Of the panoramas that the networks make of pictures for one of so many pixels where
        nothing else is asked for: at most 1024, larger ones take minutes."""
        return self.nearest_width(min(width, _WIDEST))

    def nearest_width(self, width: int) -> int:
        """Of the panoramas that the networks can make, the nearest to so many pixels."""
        if isinstance(self.networks, OnnxNetworks):
            return self.config.panorama_size[0]
        return max(1, round(width / self._unit)) * self._unit

    @property
    def _unit(self) -> int:
        """Panoramas' widths are multiples of it, for views and cells to be whole numbers."""
        assert isinstance(self.networks, SpiderEyeModel)
        width, height = self.config.panorama_size
        factor = self.networks.config.encoder.factor
        cells = self.config.dataset.im_size // factor, height // math.lcm(_DOWNSAMPLING, factor)
        return width // math.gcd(*cells)

    def check_rig(self, rig: Rig | None) -> None:
        """Raises SpiderEyeError for a rig in place of one that an ONNX file holds."""
        own = isinstance(self.networks, OnnxNetworks) and self.networks.has_own_rig
        if own and rig is not None:
            raise SpiderEyeError(
                f"{self.origin} was exported with its rig in it (grids=baked) and takes no other; "
                "leave the rig out, or export it with grids=inputs"
            )

    def ready(
        self, device: torch.device, precision: str = "fp32", compile: bool = False
    ) -> SpiderEyeModel | OnnxNetworks:
        """The networks on the device; compile: torch.compile makes code of them when they first
        run. Raises SpiderEyeError for a precision that the device has not, and for an ONNX file
        that was loaded in another, or is to be compiled."""
        check_precision(precision, device)
        if not isinstance(self.networks, SpiderEyeModel):
            if compile:
                raise SpiderEyeError(
                    f"{self.origin} runs as it was exported: compile goes with a checkpoint folder"
                )
            if precision != self.networks.precision:
                raise SpiderEyeError(
                    f"{self.origin} was loaded in {self.networks.precision}, not in {precision}"
                )
            return self.networks
        if compile:
            self.networks.compile_networks()
        return as_used(self.networks).to(device)
