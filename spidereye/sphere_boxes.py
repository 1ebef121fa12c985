"""What makes players show an MP4 as 360°: boxes that say its pictures are equirectangular.

Both versions of Google's spherical video metadata, of which players know one or the other: version
1, XML in a `uuid` box of the track, and version 2, `st3d` and `sv3d` in the sample description
(github.com/google/spatial-media, docs/spherical-video-rfc.md and spherical-video-v2-rfc.md).
FFmpeg's muxer writes the second only for streams that were read with it.
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple
from uuid import UUID

from spidereye.errors import SpiderEyeError

_VERSION_1 = UUID("ffcc8263-f855-4a93-8814-587a02521fdd").bytes
_XML = (
    '<?xml version="1.0"?>'
    '<rdf:SphericalVideo xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
    ' xmlns:GSpherical="http://ns.google.com/videos/1.0/spherical/">'
    "<GSpherical:Spherical>true</GSpherical:Spherical>"
    "<GSpherical:Stitched>true</GSpherical:Stitched>"
    "<GSpherical:StitchingSoftware>SpiderEye</GSpherical:StitchingSoftware>"
    "<GSpherical:ProjectionType>equirectangular</GSpherical:ProjectionType>"
    "</rdf:SphericalVideo>"
)
# Bytes between a box's header and the boxes in it (ISO/IEC 14496-12): version, flags and count; the
# fields of a VisualSampleEntry.
_FIELDS = {b"stsd": 8, b"avc1": 78, b"hvc1": 78, b"hev1": 78, b"av01": 78}


class _Box(NamedTuple):
    """A box at [start, end) of some bytes, whose content begins at `content`."""

    kind: bytes
    start: int
    content: int
    end: int


def say_spherical(path: Path) -> None:
    """Mark a finished MP4 or MOV, whose index stands at its end, as a whole sphere; in place.

    Raises SpiderEyeError where the file is not of that kind.
    """
    with path.open("r+b") as file:
        index, place = _index(path, file)
        file.seek(place)
        file.write(_with_metadata(index))


def _index(path: Path, file) -> tuple[bytes, int]:
    """The `moov` box, and where it begins: at the end, so that nothing that it points to moves."""
    size = path.stat().st_size
    place = 0
    while place < size:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        if length < 8:
            break
        if kind == b"moov" and place + length == size:
            file.seek(place)
            return file.read(length), place
        place += length
    raise SpiderEyeError(f"{path}: no MP4 with its index at the end; it cannot be marked as 360°")


def _with_metadata(index: bytes) -> bytes:
    """The `moov` box with metadata in its video track."""
    mono = _full(b"st3d", b"\0")
    sphere = _box(
        b"sv3d",
        _full(b"svhd", b"SpiderEye\0")
        + _box(b"proj", _full(b"prhd", bytes(12)) + _full(b"equi", bytes(16))),
    )
    entry = _appended(index, [b"trak", b"mdia", b"minf", b"stbl", b"stsd", b"*"], mono + sphere)
    return _appended(entry, [b"trak"], _box(b"uuid", _VERSION_1 + _XML.encode()))


def _appended(box: bytes, way: list[bytes], extra: bytes) -> bytes:
    """The box with more at the end of the one that a way of kinds leads to, of video's where there
    are several tracks, * for any kind; the sizes on the way grow."""
    if not way:
        return _box(box[4:8], box[8:] + extra)
    kind = box[4:8]
    for child in _boxes(box, 8 + _FIELDS.get(kind, 0)):
        wanted = way[0] in (child.kind, b"*")
        if wanted and (child.kind != b"trak" or _is_video(box[child.start : child.end])):
            inner = _appended(box[child.start : child.end], way[1:], extra)
            return _box(kind, box[8 : child.start] + inner + box[child.end :])
    raise SpiderEyeError(f"the video has no {way[0].decode()} in its {kind.decode()}")


def _is_video(track: bytes) -> bool:
    for media in _boxes(track, 8):
        if media.kind == b"mdia":
            for part in _boxes(track[: media.end], media.content):
                if part.kind == b"hdlr":
                    return track[part.content + 8 : part.content + 12] == b"vide"
    return False


def _boxes(data: bytes, start: int) -> Iterator[_Box]:
    """The boxes one after another from `start` to the end."""
    while start + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        if length < 8:
            return
        yield _Box(kind, start, content, start + length)
        start += length


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _full(kind: bytes, content: bytes) -> bytes:
    """A box of version 0, without flags."""
    return _box(kind, bytes(4) + content)
