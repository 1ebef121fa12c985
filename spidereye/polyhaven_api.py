"""Poly Haven's public API: which panoramas there are, and where their files lie.

Layer: data. The API (https://api.polyhaven.com/api-docs/swagger.json) answers JSON and wants a
User-Agent that names the program, which `downloads` sends. Two of its endpoints are used:

/assets?type=hdris  {asset id: {name, category, …}}
/files/{asset id}   {"hdri": {"1k": {"hdr": {url, size, md5}, "exr": …}, "2k": …}, …}
"""

import json
import re
import threading
from dataclasses import dataclass
from typing import Any

from spidereye.downloads import DownloadError, Patience, fetch_bytes
from spidereye.places import unit_hash

POLY_HAVEN = "https://api.polyhaven.com"

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")  # the API's own rule; such an id is safe in a path


@dataclass(frozen=True)
class Asset:
    """One panorama of the library: its id, as in https://polyhaven.com/a/<id>, and its title."""

    id: str
    name: str


@dataclass(frozen=True)
class RadianceFile:
    """Where an asset's .hdr file lies. size: bytes; md5: 32 lower-case hex digits."""

    asset: Asset
    resolution: str  # 1k, 2k, …: thousands of pixels in width
    url: str
    size: int
    md5: str


@dataclass(frozen=True)
class PolyHaven:
    """The API at an address. Every method raises DownloadError, one line that names the request.

    stop: set it from another thread to end a request with Interrupt.
    """

    address: str = POLY_HAVEN
    patience: Patience | None = None
    stop: threading.Event | None = None

    def panoramas(self) -> list[Asset]:
        """All panoramas, by id, but pure skies: others with an invented lower half."""
        path = "/assets?type=hdris"
        assets = []
        for name, about in sorted(self._object(path).items()):
            if not _ID.fullmatch(name) or not isinstance(about, dict):
                raise self._unexpected(path, f"an asset {name!r}", about)
            category = str(about.get("category", ""))
            if not (category.startswith("Pure Skies") or name.endswith("_puresky")):
                assets.append(Asset(name, str(about.get("name", name))))
        return assets

    def radiance_file(self, asset: Asset, resolution: str) -> RadianceFile:
        """The asset's .hdr at a resolution such as 4k, or else at the next lower that it has."""
        path = f"/files/{asset.id}"
        sizes = self._object(path).get("hdri")
        if not isinstance(sizes, dict):
            raise self._unexpected(path, "an object 'hdri'", sizes)
        there = {
            thousands(name): formats["hdr"]
            for name, formats in sizes.items()
            if thousands(name) and isinstance(formats, dict) and "hdr" in formats
        }
        low = [size for size in there if size <= thousands(resolution)]
        if not low:
            has = ", ".join(f"{size}k" for size in sorted(there)) or "none"
            raise DownloadError(
                f"{self.address}{path}: no .hdr at {resolution} or below, has {has}"
            )
        match there[max(low)]:
            case {"url": str(url), "size": int(size), "md5": str(md5)} if size > 0 and re.fullmatch(
                r"[0-9A-Fa-f]{32}", md5
            ):
                return RadianceFile(asset, f"{max(low)}k", url, size, md5.lower())
        raise self._unexpected(path, "url, size and md5 of a file", there[max(low)])

    def _object(self, path: str) -> dict[str, Any]:
        answer = fetch_bytes(self.address.rstrip("/") + path, self.patience, self.stop)
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError):  # the latter on brackets without end
            value = answer.decode(errors="replace")
        if not isinstance(value, dict):
            raise self._unexpected(path, "a JSON object", value)
        return value

    def _unexpected(self, path: str, expected: str, got: object) -> DownloadError:
        return DownloadError(
            f"{self.address}{path}: expected {expected}, got {str(got)[:60]!r}; is this address "
            "Poly Haven's API?"
        )


def thousands(resolution: str) -> int:
    """4 for "4k"; 0 for what is no resolution."""
    match = re.fullmatch(r"([1-9]\d?)k", resolution)
    return int(match[1]) if match else 0


def choose(assets: list[Asset], count: int, seed: int) -> list[Asset]:
    """`count` of them, or all, in an order that only seed and ids determine.

    A larger count gives the same and more; an asset that the library gains moves none of the
    others, but may take the place of the last.
    """
    return sorted(assets, key=lambda asset: unit_hash(seed, "choice", asset.id))[:count]
