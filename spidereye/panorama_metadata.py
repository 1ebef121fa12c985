"""What a panorama's file says beside its pixels: that it is a whole sphere, and when and where its
views were taken.

Viewers show a picture as 360° when its XMP says so in Google's GPano schema
(developers.google.com/streetview/spherical-metadata).
"""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image

from spidereye.picture_headers import BinaryFile
from spidereye.picture_writing import save_picture, write_picture
from spidereye.pictures import DAMAGE

# Of an EXIF block's main directory and of its "Exif" one: what stays true of a panorama made of
# the picture. Not its size, lens, exposure, orientation or thumbnail.
_KEPT_MAIN = (ExifTags.Base.Artist, ExifTags.Base.Copyright, ExifTags.Base.ImageDescription)
_KEPT_TIMES = (
    ExifTags.Base.DateTimeOriginal,
    ExifTags.Base.DateTimeDigitized,
    ExifTags.Base.OffsetTimeOriginal,
    ExifTags.Base.OffsetTimeDigitized,
    ExifTags.Base.SubsecTimeOriginal,
    ExifTags.Base.SubsecTimeDigitized,
)
_SOFTWARE = "SpiderEye"
_EXIF_VERSION = b"0232"


def write_panorama(
    path: Path, panorama: UInt8[np.ndarray, "H W 3"], pictures: Sequence[Path] = ()
) -> None:
    """Write an equirectangular panorama as write_picture does, with metadata that lets viewers show
    it as 360°, and time and place of the pictures it was made of. Raises PictureError."""
    write_picture(path, panorama, **_metadata(panorama, pictures))


def save_panorama(
    file: BinaryFile,
    suffix: str,
    panorama: UInt8[np.ndarray, "H W 3"],
    pictures: Sequence[Path | BinaryFile] = (),
) -> None:
    """The same into an open file, in the format of a suffix that pictures are written with."""
    save_picture(file, suffix, panorama, **_metadata(panorama, pictures))


def _metadata(
    panorama: UInt8[np.ndarray, "H W 3"], pictures: Sequence[Path | BinaryFile]
) -> dict[str, Any]:
    height, width = panorama.shape[:2]
    return {"xmp": sphere_xmp(width, height), "exif": carried_exif(pictures)}


def sphere_xmp(width: int, height: int) -> bytes:
    """The XMP packet of a full-sphere equirectangular panorama of width x height pixels."""
    said = {
        "ProjectionType": "equirectangular",
        "UsePanoramaViewer": "True",
        "StitchingSoftware": _SOFTWARE,
        "FullPanoWidthPixels": width,
        "FullPanoHeightPixels": height,
        "CroppedAreaImageWidthPixels": width,
        "CroppedAreaImageHeightPixels": height,
        "CroppedAreaLeftPixels": 0,
        "CroppedAreaTopPixels": 0,
    }
    lines = "".join(f"\n   <GPano:{name}>{value}</GPano:{name}>" for name, value in said.items())
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
        '<x:xmpmeta xmlns:x="adobe:ns:meta/">\n'
        ' <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">\n'
        '  <rdf:Description rdf:about=""'
        ' xmlns:GPano="http://ns.google.com/photos/1.0/panorama/">'
        f"{lines}\n  </rdf:Description>\n </rdf:RDF>\n</x:xmpmeta>\n"
        '<?xpacket end="w"?>'
    ).encode()


def carried_exif(pictures: Sequence[Path | BinaryFile]) -> bytes | None:
    """The EXIF block for a panorama of these pictures: time, place, author and description of the
    first that has any of them, or None. Broken metadata is none."""
    for picture in pictures:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what is broken
                block = _carried(picture)
        except (OSError, *DAMAGE):
            continue
        if block is not None:
            return block
    return None


def _carried(picture: Path | BinaryFile) -> bytes | None:
    with Image.open(picture) as image:
        exif = image.getexif()
        main = {tag: exif[tag] for tag in _KEPT_MAIN if tag in exif}
        taken = exif.get_ifd(ExifTags.IFD.Exif)
        times = {tag: taken[tag] for tag in _KEPT_TIMES if tag in taken}
        place = dict(exif.get_ifd(ExifTags.IFD.GPSInfo))
    return _block(main, times, place) if main or times or place else None


def _block(main: dict, times: dict, place: dict) -> bytes:
    exif = Image.Exif()
    for tag, value in main.items():
        exif[tag] = value
    exif[ExifTags.Base.Software] = _SOFTWARE
    exif.get_ifd(ExifTags.IFD.Exif).update(times | {ExifTags.Base.ExifVersion: _EXIF_VERSION})
    if place:
        exif.get_ifd(ExifTags.IFD.GPSInfo).update(place)
    return exif.tobytes()
