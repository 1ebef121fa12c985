"""What a picture file tells without decoding: its format, its size, whether its end is there.

Layer: data, below pictures.py. Pillow reads the sizes of its formats; those of the radiance
formats are read here. Format layouts: ITU T.81 Annex B (JPEG), RFC 2083 (PNG), TIFF 6.0 and the
BigTIFF note, Google's WebP container page, Ward 1991 (Radiance hdr), openexr.com's file layout.
All lengths and positions are bytes, sizes are pixels.
"""

import re
import struct
from io import BytesIO
from typing import BinaryIO

BinaryFile = BinaryIO | BytesIO  # on disk, or in memory

_MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"#?": "HDR",
    b"\x76\x2f\x31\x01": "EXR",
}


def kind_of(file: BinaryFile) -> str | None:
    """ "JPEG", "PNG", "TIFF", "WebP", "HDR" or "EXR" by the first bytes, None for anything else."""
    file.seek(0)
    head = file.read(16)
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WebP"
    return next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), None)


def missing_end(file: BinaryFile, kind: str) -> str | None:
    """What is missing from the end of a file of this kind, or None where nothing is seen to be.

    A cheap look, not a proof: decoding finds the rest.
    """
    size = file.seek(0, 2)
    try:
        if kind == "JPEG":
            return None if _jpeg_ends(file, size) else "no end-of-image marker"
        if kind == "PNG":
            return None if _png_ends(file) else "no IEND chunk"
        if kind == "WebP":
            needed = 8 + _unpack(file, 4, "<I")[0]
        elif kind == "TIFF":
            needed = _tiff_end(file, size)
        elif kind == "HDR":
            height = radiance_size(file, kind)[1]
            needed = 4 * height  # the shortest row: one pixel and its repetition
        else:
            needed = 0
    except struct.error:
        return "the header ends early"
    return f"{needed} bytes announced, {size} there" if needed > size else None


def radiance_size(file: BinaryFile, kind: str) -> tuple[int, int]:
    """(width, height) from the header of an HDR or EXR file; ValueError where there is none."""
    file.seek(0)
    head = file.read(65536)
    if kind == "HDR":
        found = re.search(rb"\n-Y (\d+) \+X (\d+)\n", head)
        if found is None:
            raise ValueError("no resolution line '-Y height +X width'")
        return int(found[2]), int(found[1])
    found = re.search(rb"dataWindow\0box2i\0\x10\0\0\0", head)
    if found is None:
        raise ValueError("no dataWindow")
    left, top, right, bottom = struct.unpack_from("<4i", head, found.end())
    return right - left + 1, bottom - top + 1


def _unpack(file: BinaryFile, position: int, layout: str) -> tuple[int, ...]:
    file.seek(position)
    return struct.unpack(layout, file.read(struct.calcsize(layout)))


def _jpeg_ends(file: BinaryFile, size: int) -> bool:
    file.seek(max(0, size - 64))
    if file.read().rstrip(b"\0").endswith(b"\xff\xd9"):
        return True
    # Cameras append previews and metadata after the picture. Walk the segments, over the thumbnail
    # inside EXIF with its own end marker, to the scan; there only true markers follow an FF.
    file.seek(0)
    data = file.read()
    position = 2
    while data[position : position + 2] != b"\xff\xda":
        marker, length = struct.unpack_from(">HH", data, position)
        if marker < 0xFF00:
            return False
        position += 1 if marker == 0xFFFF else 2 + length  # FF may be repeated as filling
    return data.find(b"\xff\xd9", position) >= 0


def _png_ends(file: BinaryFile) -> bool:
    position = 8
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return False
        if head[4:] == b"IEND":
            return True
        position += 12 + int.from_bytes(head[:4], "big")


def _tiff_end(file: BinaryFile, size: int) -> int:
    """Where the last strip or tile of the first picture ends."""
    file.seek(0)
    order = "<" if file.read(2) == b"II" else ">"
    big = _unpack(file, 2, order + "H")[0] == 43
    count_layout, offset_layout = ("Q", "Q") if big else ("H", "I")
    directory = _unpack(file, 8 if big else 4, order + offset_layout)[0]
    entries = _unpack(file, directory, order + count_layout)[0]
    inline = struct.calcsize(offset_layout)
    entry_layout = f"{order}HH{offset_layout}"  # tag, type, number of values; then value or offset
    entry_size = struct.calcsize(entry_layout) + inline
    values: dict[int, tuple[int, ...]] = {}
    for index in range(entries):
        position = directory + struct.calcsize(count_layout) + index * entry_size
        tag, kind, number = _unpack(file, position, entry_layout)
        if tag not in (273, 279, 324, 325) or kind not in (3, 4, 16):
            continue
        if number > size:  # nonsense that would ask for gigabytes
            raise struct.error
        layout = f"{order}{number}{ {3: 'H', 4: 'I', 16: 'Q'}[kind] }"
        position += entry_size - inline
        if struct.calcsize(layout) > inline:
            position = _unpack(file, position, order + offset_layout)[0]
        values[tag] = _unpack(file, position, layout)
    ends = [0]
    for offsets, lengths in ((273, 279), (324, 325)):  # strips, tiles
        pairs = zip(values.get(offsets, ()), values.get(lengths, ()), strict=False)
        ends += [offset + length for offset, length in pairs]
    return max(ends)
