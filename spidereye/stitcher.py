"""The verb that people import: `Stitcher.load(checkpoint)(images)` is a panorama."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Int64, UInt8

from spidereye.checkpoint import Weights, read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.errors import SpiderEyeError
from spidereye.model import SpiderEyeModel
from spidereye.pictures import to_uint8
from spidereye.randomness import normal
from spidereye.rig import Rig
from spidereye.shots import Picture, read_shot
from spidereye.stitching import stitch
from spidereye.weights import find_checkpoint, load_weights


@dataclass(frozen=True)
class Panorama:
    """picture: 8-bit RGB.   count: how many views see each pixel."""

    picture: UInt8[np.ndarray, "H W 3"]
    count: Int64[np.ndarray, "H W"]


class Stitcher:
    """Makes panoramas of one rig's views, with a model or by geometry alone.

    `origin` says in words which weights it uses.
    """

    def __init__(
        self,
        rig: Rig,
        size: tuple[int, int],
        model: SpiderEyeModel | None = None,
        config: Config | None = None,
        origin: str = "geometric stitch",
        device: str = "cpu",
    ):
        self.rig, self.size, self.origin = rig, size, origin
        self.device = torch.device(device)
        self.config = config or Config()
        self.model = model.eval().to(self.device) if model is not None else None

    @classmethod
    def load(
        cls,
        checkpoint: str | Path,
        weights: Weights = "ema",
        device: str = "cpu",
        runs_dir: str = "runs",
    ) -> "Stitcher":
        """A stitcher with the model, rig and sizes of a checkpoint of ours.

        checkpoint: a folder, `run_name`, `run_name@best`, `run_name@last`, or a Hugging Face id.
        Raises SpiderEyeError where there is none, or where it is not one of ours.
        """
        found = find_checkpoint(str(checkpoint), runs_dir)
        if not found.is_ours:
            raise SpiderEyeError(
                f"{found.path} carries no configuration: stitching needs a checkpoint folder of "
                "`spidereye train` (start one from this file with ssdd.checkpoint=…)"
            )
        config = config_from_dict(read_config(found.path), [])
        model = SpiderEyeModel(config.model())
        origin = load_weights(model, found, weights)
        # As its file describes it: pictures come at the calibration's size, crops in one file.
        rig = config.rig_of_file() or config.rig()
        return cls(rig, config.panorama_size, model, config, origin, device)

    @classmethod
    def geometric(cls, rig: Rig, size: tuple[int, int]) -> "Stitcher":
        """A stitcher without a model. size: (W, H) of the panorama in pixels, W = 2H."""
        return cls(rig, size)

    @torch.inference_mode()
    def __call__(
        self,
        images: Sequence[Picture],
        rig: Rig | None = None,
        steps: int | None = None,
        seed: int = 0,
    ) -> Panorama:
        """The panorama of one picture per view, in the rig's order.

        images: paths, PIL images or arrays [h, w, 3] uint8 of any size and the rig's shape, one per
        file of the rig.   rig: another than the stitcher's own.   steps: of the sampler; None: as
        configured.   seed: of its noise.
        Raises SpiderEyeError for a wrong number or shape of pictures.
        """
        side = self.config.dataset.im_size if self.model is not None else None
        shot = read_shot(images, rig or self.rig, side)
        views = [view.to(self.device) for view in shot.views]
        width, height = self.size
        geometric = stitch(views, shot.rig.cameras, height, width, shot.rig.sphere_radius)
        panorama = geometric.panorama
        if self.model is not None:
            sampler = self.config.ssdd.fm_sampler
            noise = normal(seed, "stitching noise", [(0,)], (3, height, width)).to(self.device)
            z = self.model.encode(torch.stack(views, dim=1))
            panorama = self.model.decode(z, noise, steps or sampler.steps, sampler.t_pow_shift)
        picture = to_uint8(panorama[0].float()).permute(1, 2, 0).cpu().numpy()
        return Panorama(np.ascontiguousarray(picture), geometric.count[0, 0].cpu().numpy())
