"""What lies where in a tar, so that any member can be read without the ones before it."""

import io
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from spidereye.sources.bad_files import Complaint

_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")  # gzip bzip2 xz zstandard
_BUFFER = 2**16  # bytes


@dataclass(frozen=True)
class Member:
    """A regular file in a tar: its bytes are tar[offset : offset + size]."""

    tar: Path
    name: str
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """A file over its bytes alone."""
        return io.BufferedReader(_Window(self.tar, self.offset, self.size), _BUFFER)

    def __str__(self) -> str:
        return f"{self.tar}/{self.name}"


def index_tar(
    path: Path, wanted: Callable[[str], bool] = lambda name: True
) -> tuple[list[Member], list[Complaint]]:
    """The regular files in a tar whose names are wanted, in its order, and what is wrong with it.

    Reads the headers only. Of a truncated tar the members before the cut are returned; a tar is
    truncated where the end-of-archive mark (a block of zeros, POSIX.1-2001) is missing.
    """
    members: list[Member] = []
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            if file.read(6).startswith(_COMPRESSED):
                text = f"{path}: a compressed tar cannot be read at random; uncompress it"
                return [], [Complaint("compressed", text)]
            file.seek(0)
            try:
                with tarfile.open(fileobj=file, mode="r:") as tar:
                    for info in tar:
                        if info.isreg() and not info.issparse() and wanted(info.name):
                            if info.offset_data + info.size > size:
                                break
                            members.append(Member(path, info.name, info.offset_data, info.size))
                    file.seek(tar.offset)
                if file.read(tarfile.BLOCKSIZE) == bytes(tarfile.BLOCKSIZE):
                    return members, []
                reason = "the end of the archive is missing"
            except (tarfile.TarError, EOFError, ValueError) as error:
                reason = str(error)
    except OSError as error:
        return members, [Complaint("unreadable", f"{path}: {error.strerror or error}")]
    if not members and size >= tarfile.BLOCKSIZE and "end of" not in reason:
        return [], [Complaint("unreadable", f"{path}: not a tar: {reason}")]
    return members, [
        Complaint(
            "truncated",
            f"{path}: truncated or damaged tar ({reason}) after {len(members)} pictures; "
            "copy it again",
        )
    ]


class _Window(io.RawIOBase):
    """A part of a file as a file."""

    mode = "rb"

    def __init__(self, path: Path, start: int, size: int) -> None:
        self._file = path.open("rb", buffering=0)
        self._start, self._size, self._position = start, size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        origin = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if origin + offset < 0:
            raise OSError(f"cannot seek to {origin + offset}")
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]
        left = max(0, min(len(buffer), self._size - self._position))
        self._file.seek(self._start + self._position)
        count = self._file.readinto(memoryview(buffer)[:left]) or 0
        self._position += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
