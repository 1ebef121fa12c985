"""The verb that people import: `Stitcher.load(checkpoint)(images)` is a panorama."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from torch import Tensor

from spidereye.checkpoint import Weights, read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict
from spidereye.errors import SpiderEyeError
from spidereye.model import SpiderEyeModel
from spidereye.pictures import read_picture, resize_area, to_float, to_uint8
from spidereye.randomness import normal
from spidereye.rig import Rig
from spidereye.stitching import stitch
from spidereye.weights import find_checkpoint, load_weights

Picture = str | Path | Image.Image | np.ndarray


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
        return cls(config.rig(), config.panorama_size, model, config, origin, device)

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

        images: paths, PIL images or arrays [h, w, 3] uint8, square, of any size; they are brought
        to the rig's.   rig: another than the stitcher's own.   steps: of the sampler; None: as
        configured.   seed: of its noise.
        Raises SpiderEyeError for a wrong number or shape of pictures.
        """
        rig = self._sized(rig) if rig is not None else self.rig
        views = _views(images, rig).to(self.device)
        width, height = self.size
        geometric = stitch(views.unbind(1), rig.cameras, height, width, rig.sphere_radius)
        panorama = geometric.panorama
        if self.model is not None:
            sampler = self.config.ssdd.fm_sampler
            noise = normal(seed, "stitching noise", [(0,)], (3, height, width)).to(self.device)
            z = self.model.encode(views)
            panorama = self.model.decode(z, noise, steps or sampler.steps, sampler.t_pow_shift)
        picture = to_uint8(panorama[0].float()).permute(1, 2, 0).cpu().numpy()
        return Panorama(np.ascontiguousarray(picture), geometric.count[0, 0].cpu().numpy())

    def _sized(self, rig: Rig) -> Rig:
        """Another rig at the size of the views that this stitcher works with."""
        side = self.rig.cameras[0].lens.width
        cameras = (replace(c, lens=c.lens.resized(side, side)) for c in rig.cameras)
        return replace(rig, cameras=tuple(cameras))


def _views(images: Sequence[Picture], rig: Rig) -> Float[Tensor, "1 N 3 h w"]:
    names = rig.names
    if len(images) != len(names):
        raise SpiderEyeError(
            f"expected {len(names)} pictures, {', '.join(names)} in this order, got {len(images)}"
        )
    views = []
    for image, camera in zip(images, rig.cameras, strict=True):
        array = _array(image)
        height, width = array.shape[:2]
        if width != height:
            label = image if isinstance(image, str | Path) else camera.name
            raise SpiderEyeError(
                f"{label}: expected a square fisheye picture, got {width}x{height} pixels"
            )
        sized = resize_area(array, camera.lens.width, camera.lens.height)
        view = to_float(torch.from_numpy(sized).permute(2, 0, 1))
        views.append(torch.where(camera.mask(), view, -1.0))
    return torch.stack(views)[None]


def _array(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    array = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
        raise SpiderEyeError(
            f"expected an array [h, w, 3] of uint8, got {list(array.shape)} of {array.dtype}"
        )
    return array
