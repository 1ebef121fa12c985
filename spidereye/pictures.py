"""Picture files and the one place where pixels change type.

Layer: data. Inside SpiderEye pictures are float in [-1, 1]; at the file edge they are uint8 in
[0, 255]. This module alone converts between the two (design.md §1), reads files, and resizes by
area averaging. What a file's first and last bytes say is in picture_headers.py; picture_writing.py
writes them.

Colours are taken as the file stores them: colour profiles are ignored, alpha is dropped. An EXIF
orientation is applied, so that a picture is the way up that viewers show it.
"""

import io
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import cv2
import numpy as np
import torch
from jaxtyping import Float, Float32, UInt8
from PIL import ExifTags, Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.picture_headers import BinaryFile, kind_of, missing_end, radiance_size
from spidereye.tone_mapping import tone_map

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".hdr", ".exr")

# The decoder is chosen by the file's first bytes. Opening the classes directly, not through
# Image.open, leaves out Pillow's limit of 179 megapixels, which a 20k panorama exceeds; ours is:
_DECODERS = {
    "JPEG": JpegImageFile,
    "PNG": PngImageFile,
    "TIFF": TiffImageFile,
    "WebP": WebPImageFile,
}
_MAX_PIXELS = 2**29  # 32768 x 16384: 1.6 GB as 8-bit RGB (a TIFF still meets Pillow's limit)

# What Pillow and OpenCV were seen to raise on damaged bytes, besides OSError.
DAMAGE = (
    *(ValueError, TypeError, SyntaxError, EOFError, LookupError, ArithmeticError, struct.error),
    *(cv2.error, Image.DecompressionBombError),
)


class PictureError(SpiderEyeError):
    """A file that cannot be read or written as a picture: its path and the reason."""


class TooManyPixels(PictureError):  # noqa: N818 (as SpiderEyeErrors read: what was found)
    """A picture that would not be read at any time."""


def to_uint8(x: Float[Tensor, "*shape"]) -> UInt8[Tensor, "*shape"]:
    """Pixels in [-1, 1], any float type, as rounded 8-bit values; what lies outside is clamped."""
    wide = x if x.dtype == torch.float64 else x.float()  # bf16 has too few digits for 256 steps
    return (wide * 127.5).add_(127.5).round_().clamp_(0, 255).to(torch.uint8)


def to_float(x: UInt8[Tensor, "*shape"]) -> Float32[Tensor, "*shape"]:
    """8-bit pixels as float32 in [-1, 1]: v / 127.5 - 1."""
    return x.float().div_(127.5).sub_(1.0)


def in_bytes(picture: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """One in [-1, 1] as an array in 8 bits."""
    made = to_uint8(picture[0].float()).permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(made)


def probe(path: str | Path, file: BinaryFile | None = None) -> tuple[int, int]:
    """(width, height) in pixels from the header, without decoding.

    file: the picture's bytes where it lies inside another file; path then only names it.

    Also looks whether the file's end is there: JPEG and PNG end markers, the lengths that WebP and
    TIFF announce, the shortest possible hdr. Raises PictureError for a file that is not a picture
    of a supported format or is cut off.
    """
    path = Path(path)
    with explained(path), nullcontext(file) if file else path.open("rb") as data:
        kind = _checked_kind(path, data)
        if kind in _DECODERS:
            with _open(path, data, kind) as image:
                return upright_size(image)
        return radiance_size(data, kind)


def read_picture(
    path: str | Path, min_width: int = 0, file: BinaryFile | None = None
) -> UInt8[np.ndarray, "H W 3"]:
    """The picture as 8-bit RGB.

    min_width: pixels. A JPEG wider than twice that is decoded at 1/2, 1/4 or 1/8 of its size, which
    is much faster, and never comes out narrower than min_width. 0 decodes at full size.
    file: the picture's bytes where it lies inside another file; path then only names it.

    Grey becomes RGB, alpha is dropped, CMYK is converted, 16-bit samples are scaled to 8 bits;
    hdr and exr are tone mapped (`tone_map`). Raises PictureError with the path and the reason.
    """
    path = Path(path)
    with explained(path), nullcontext(file) if file else path.open("rb") as data:
        kind = _checked_kind(path, data)
        if kind not in _DECODERS:
            return tone_map(_read_radiance(path, data, kind))
        if kind == "PNG":
            # Decoding alone returns black where the data is damaged; this compares checksums.
            with _open(path, data, kind) as image:
                image.verify()
        with _open(path, data, kind) as image:
            orientation = _orientation(image)
            if kind == "JPEG" and image.mode == "RGB" and orientation == 1:
                most = min(image.width // min_width, image.height) if min_width > 0 else 1
                picture = _decode_jpeg(data, most)
                if picture is not None:  # where it is damaged, Pillow says how
                    return picture
            if min_width > 0:
                sideways = orientation in _SIDEWAYS
                image.draft(None, (1, min_width) if sideways else (min_width, 1))
            upright = _to_rgb(image)
            if orientation != 1 and kind != "TIFF":  # Pillow turns TIFFs itself, on loading
                ImageOps.exif_transpose(upright, in_place=True)
            return _pixels(upright)


def resize_area(
    picture: UInt8[np.ndarray, "H W C"] | Float32[np.ndarray, "H W C"], width: int, height: int
) -> UInt8[np.ndarray, "{height} {width} C"] | Float32[np.ndarray, "{height} {width} C"]:
    """The picture at width x height pixels, in its own type and range.

    Shrinking averages exactly the area that each new pixel covers; enlarging is bilinear. 8-bit
    pictures are rounded once, at the end.
    """
    # One axis may shrink while the other grows, and OpenCV averages only where both shrink.
    shrunk = (min(width, picture.shape[1]), min(height, picture.shape[0]))
    result = picture if shrunk == (width, height) else picture.astype(np.float32)
    for size, method in ((shrunk, cv2.INTER_AREA), ((width, height), cv2.INTER_LINEAR)):
        if (result.shape[1], result.shape[0]) != size:
            result = cv2.resize(result, size, interpolation=method)
    result = result.reshape(height, width, picture.shape[2])  # OpenCV drops a single channel
    return result if result.dtype == picture.dtype else np.rint(result).astype(np.uint8)


_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that swap width and height


def _orientation(image: Image.Image) -> int:
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, OSError):  # broken metadata does not spoil the pixels
        return 1


def upright_size(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a PIL image as its EXIF orientation says that it is seen."""
    width, height = image.size
    # A TIFF's size is already the upright one: Pillow turns it itself.
    if not isinstance(image, TiffImageFile) and _orientation(image) in _SIDEWAYS:
        return height, width
    return width, height


def upright(image: Image.Image) -> Image.Image:
    """A PIL image as its EXIF orientation says that it is seen."""
    image.load()  # which turns TIFFs
    return image if _orientation(image) == 1 else ImageOps.exif_transpose(image)


def _checked_kind(path: Path, file: BinaryFile) -> str:
    """The format by the file's first bytes, once its end was seen to be there too."""
    kind = kind_of(file)
    if kind is None and file.seek(0, io.SEEK_END) == 0:
        raise PictureError(f"{path}: the file is empty; copy it again")
    if kind is None:
        supported = ", ".join(suffix[1:] for suffix in PICTURE_SUFFIXES)
        raise PictureError(f"{path}: not a picture; supported are {supported}")
    missing = missing_end(file, kind)
    if missing:
        raise PictureError(f"{path}: truncated {kind}: {missing}; copy the file again")
    if kind == "EXR":
        # OpenCV asks for this before its first use of the EXR decoder.
        os.environ.setdefault("OPENCV_IO_ENABLE_OPENEXR", "1")
        # Its reader and writer come together, and the writer can be asked for without a file.
        if not cv2.haveImageWriter("any.exr"):
            raise PictureError(
                f"{path}: this OpenCV ({cv2.__version__}) was built without OpenEXR; convert the "
                "file to hdr, tif or png, or install an OpenCV that has it"
            )
    return kind


def _open(path: Path, file: BinaryFile, kind: str) -> ImageFile:
    file.seek(0)
    image = _DECODERS[kind](file, str(path))
    width, height = image.size
    if width * height > _MAX_PIXELS:
        image.close()
        raise TooManyPixels(
            f"{path}: {width}x{height} pixels are more than the {_MAX_PIXELS} that are read; "
            "shrink the picture"
        )
    return image


def _to_rgb(image: ImageFile) -> Image.Image:
    image.load()  # raises where the data ends early: Pillow's grey filling is off by default
    if image.mode in ("I", "F"):
        raise PictureError(
            f"{image.filename}: 32-bit samples have no known range; save it with 8 or 16 bits"
        )
    if image.mode.startswith("I;16"):
        # Pillow clips 16-bit grey to 255 where we scale it.
        grey = np.rint(np.asarray(image).astype(np.float32) / 257.0).astype(np.uint8)
        return Image.fromarray(grey).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _pixels(image: Image.Image) -> UInt8[np.ndarray, "H W 3"]:
    """An RGB image as an array of one's own. In strips, because Pillow hands pixels over in a copy:
    of a 32-megapixel panorama it would be 100 MB more."""
    picture = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, 256):
        bottom = min(top + 256, image.height)
        picture[top:bottom] = np.asarray(image.crop((0, top, image.width, bottom)))
    return picture


def _decode_jpeg(file: BinaryFile, reduction: int) -> UInt8[np.ndarray, "H W 3"] | None:
    """At 1/1, 1/2, 1/4 or 1/8 of its size, by `reduction` at most; OpenCV is faster at it."""
    flags = {2: cv2.IMREAD_REDUCED_COLOR_2, 4: cv2.IMREAD_REDUCED_COLOR_4}
    flags |= {1: cv2.IMREAD_COLOR, 8: cv2.IMREAD_REDUCED_COLOR_8}
    flag = flags[max(step for step in flags if step <= max(reduction, 1))]
    file.seek(0)
    encoded = np.frombuffer(file.read(), np.uint8)
    picture = cv2.imdecode(encoded, flag | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if picture is None else cv2.cvtColor(picture, cv2.COLOR_BGR2RGB, dst=picture)


def _read_radiance(path: Path, file: BinaryFile, kind: str) -> Float32[np.ndarray, "H W 3"]:
    file.seek(0)
    encoded = np.frombuffer(file.read(), np.uint8)
    picture = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if picture is None:
        raise PictureError(f"{path}: OpenCV cannot decode this {kind}: damaged or truncated")
    return np.ascontiguousarray(picture[..., ::-1], dtype=np.float32)


@contextmanager
def explained(path: Path, trouble: str = "damaged or unsupported") -> Iterator[None]:
    """Turns what readers and writers raise into a PictureError that names the file."""
    try:
        yield
    except SpiderEyeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise PictureError(f"{path}: {reason}") from error
    except DAMAGE as error:
        raise PictureError(f"{path}: {trouble}: {error}") from error
