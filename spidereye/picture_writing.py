"""Panoramas, views and sheets to picture files, whole or not at all."""

from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from spidereye.picture_headers import BinaryFile
from spidereye.pictures import PictureError, explained
from spidereye.whole_files import whole_file

_WRITERS = {".jpg": "JPEG", ".jpeg": "JPEG", ".png": "PNG", ".webp": "WEBP"} | dict.fromkeys(
    (".tif", ".tiff"), "TIFF"
)
_WEBP_WIDEST = 16383  # pixels
_TIFF_XMP = 700  # the tag that an XMP packet has in a TIFF


def write_picture(
    path: str | Path,
    picture: UInt8[np.ndarray, "H W 3"],
    quality: int = 95,
    xmp: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """Write 8-bit RGB as jpg, png, webp or tif, by the suffix; quality (1-100) for jpg and webp.
    xmp, exif: metadata, as packet and block.

    The file appears whole or not at all: it is written beside its place, synced, and renamed, so a
    full disk or a crash leaves an earlier file as it was. Missing folders are made. Raises
    PictureError.
    """
    path = Path(path)
    check_suffix(path)
    with explained(path, "cannot be written"), whole_file(path) as file:
        save_picture(file, path.suffix, picture, quality, xmp, exif)


def save_picture(
    file: BinaryFile,
    suffix: str,
    picture: UInt8[np.ndarray, "H W 3"],
    quality: int = 95,
    xmp: bytes | None = None,
    exif: bytes | None = None,
) -> None:
    """The same into an open file, in the format of a suffix of those that are written."""
    writer = _WRITERS[suffix.lower()]
    options: dict[str, Any] = {
        "JPEG": {"quality": quality, "subsampling": 0},  # 4:4:4: halved colour bleeds at edges
        "WEBP": {"quality": quality},
    }.get(writer, {})
    options |= _metadata_options(writer, xmp, exif)
    Image.fromarray(picture).save(file, format=writer, **options)


def check_suffix(path: Path) -> str:
    """The format of a picture file by its suffix. Raises PictureError for one that is not
    written."""
    writer = _WRITERS.get(path.suffix.lower())
    if writer is None:
        raise PictureError(
            f"{path}: cannot write pictures with suffix {path.suffix!r}; "
            f"use one of {', '.join(_WRITERS)}"
        )
    return writer


def check_fits(path: Path, width: int) -> None:
    """Raises PictureError for a picture that is wider than its format can be."""
    if check_suffix(path) == "WEBP" and width > _WEBP_WIDEST:
        raise PictureError(
            f"{path}: WebP has at most {_WEBP_WIDEST} columns, the panorama {width}; write another "
            "format, or a smaller size"
        )


def _metadata_options(writer: str, xmp: bytes | None, exif: bytes | None) -> dict[str, Any]:
    """How Pillow is told of an XMP packet and an EXIF block."""
    if writer == "TIFF":  # where EXIF is the file's own directory, and XMP an entry of it
        block = Image.Exif()
        block.load(exif or b"")
        if xmp is not None:
            block[_TIFF_XMP] = xmp
        return {"exif": block}
    options: dict[str, Any] = {} if exif is None else {"exif": exif}
    if writer == "PNG" and xmp is not None:
        options["pnginfo"] = PngInfo()
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", xmp.decode())
    elif xmp is not None:
        options["xmp"] = xmp
    return options
