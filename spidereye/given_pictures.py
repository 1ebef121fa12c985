"""What people give as a picture, from Python: a path, a PIL image, an array or a tensor."""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.pictures import DAMAGE, probe, read_picture, to_uint8, upright, upright_size

Picture = str | Path | Image.Image | np.ndarray | Tensor


def check_several(images: object) -> None:
    """SpiderEyeError for what is no list of pictures, one of them above all."""
    several = isinstance(images, Sequence | Mapping) and not isinstance(images, str | bytes)
    if not several and not (isinstance(images, np.ndarray | Tensor) and images.ndim == 4):
        raise SpiderEyeError(
            "expected a list of pictures, or a dict of them by the names of the views, got one "
            f"{type(images).__name__}"
        )


def width_of(image: Picture) -> int:
    """Pixels across, of a file by its header. Raises PictureError for a damaged one."""
    if isinstance(image, str | Path):
        return probe(Path(image))[0]
    return upright_size(image)[0] if isinstance(image, Image.Image) else array_of(image).shape[1]


def array_of(image: Picture) -> UInt8[np.ndarray, "h w 3"]:
    """The picture in 8 bits. Raises PictureError for a damaged file, SpiderEyeError for what is no
    picture and for pixels of another type."""
    if isinstance(image, str | Path):
        return read_picture(Path(image))
    if isinstance(image, Image.Image) and image.mode[0] in "IF":
        # Pillow clips these to 255 where it converts them.
        raise SpiderEyeError(
            f"a PIL image of mode {image.mode} has more than 8 bits: give the path of its file, "
            "which is scaled to 8 bits on reading"
        )
    if isinstance(image, Tensor):
        return _from_tensor(image)
    array = _from_image(image) if isinstance(image, Image.Image) else image
    if not isinstance(array, np.ndarray):
        raise SpiderEyeError(
            "a picture is a path, a PIL image, an array [h, w, 3] of uint8 or a tensor [3, h, w], "
            f"got {type(array).__name__}"
        )
    if array.ndim != 3 or array.shape[2] != 3 or 0 in array.shape or array.dtype != np.uint8:
        raise SpiderEyeError(
            f"expected an array [h, w, 3] of uint8, got {list(array.shape)} of {array.dtype}; "
            "scale 16 bits by 1/257 and floats of 0 to 1 by 255, repeat grey in 3 channels, drop "
            "transparency"
        )
    # PyTorch warns of arrays that it must not write, as Pillow's are, though nobody writes here.
    return array if array.flags.writeable else array.copy()


def _from_image(image: Image.Image) -> UInt8[np.ndarray, "h w 3"]:
    """A PIL image, whose file Pillow reads only now."""
    try:
        return np.array(upright(image).convert("RGB"))
    except (OSError, *DAMAGE) as error:
        raise SpiderEyeError(
            f"the PIL image cannot be read: {error}; its file may be damaged, or closed before "
            "Pillow read it"
        ) from error


def _from_tensor(image: Tensor) -> UInt8[np.ndarray, "h w 3"]:
    """A tensor [3, h, w], of bytes or of floats in [-1, 1], as an array."""
    if image.layout != torch.strided or image.is_meta:
        kind = "a meta tensor, which has no values" if image.is_meta else f"one of {image.layout}"
        raise SpiderEyeError(f"expected a dense tensor [3, h, w], got {kind}")
    tensor = image.detach().cpu()
    sound = tensor.ndim == 3 and tensor.shape[0] == 3 and tensor.numel() > 0
    if sound and tensor.is_floating_point():
        tensor = tensor.float()
        sound = bool((tensor.abs() <= 1).all())
        if sound and bool((tensor >= 0).all()):
            warnings.warn(
                "a tensor of floats that are all 0 or more is taken as half as bright as it could "
                "be: they are of [-1, 1]; if yours are of [0, 1], give 2·x - 1",
                stacklevel=2,
            )
        tensor = to_uint8(tensor)
    if not sound or tensor.dtype != torch.uint8:
        raise SpiderEyeError(
            "expected a tensor [3, h, w] of uint8, or of floats in [-1, 1], got "
            f"{list(image.shape)} of {image.dtype}" + _values(image)
        )
    return np.ascontiguousarray(tensor.permute(1, 2, 0).numpy())


def _values(tensor: Tensor) -> str:
    """What is to be said of a wrong tensor's values."""
    if not tensor.numel():
        return ", which is empty"
    if not tensor.is_floating_point():
        return ""
    most = float(tensor.detach().double().abs().max())
    return ", with NaN in it" if math.isnan(most) else f" up to {most:g}"
