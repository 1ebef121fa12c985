"""Poly Haven's public API on a local server, with panoramas of 64 and 128 pixels as 1k and 2k."""

import hashlib
import json

import cv2
import numpy as np
from fake_server import FakeServer

IDS = [f"{place}_{shot:02}" for place in "abcdefghijkl" for shot in (1, 2)]  # twelve places


def publish(server: FakeServer) -> None:
    """Put the panoramas of IDS and what the API says of them on a server."""
    about = {name: {"name": name.title(), "categories": ["outdoor"], "type": 0} for name in IDS}
    set_json(server, "/assets?type=hdris", about)
    for seed, asset in enumerate(IDS):
        sizes = {
            "1k": {"hdr": add_file(server, asset, "1k", radiance(seed))},
            "2k": {"hdr": add_file(server, asset, "2k", radiance(seed, 128))},
        }
        set_json(server, f"/files/{asset}", {"hdri": sizes, "backplates": None})


def radiance(seed: int, width: int = 64) -> bytes:
    """A small .hdr file of bright and dark noise."""
    rows = np.random.default_rng(seed).lognormal(size=(width // 2, width, 3)).astype(np.float32)
    return cv2.imencode(".hdr", rows)[1].tobytes()


def add_file(server: FakeServer, asset: str, resolution: str, body: bytes) -> dict[str, object]:
    """Put a file on the server; what the API says of it."""
    path = f"/dl/{resolution}/{asset}_{resolution}.hdr"
    server.files[path] = body
    md5 = hashlib.md5(body).hexdigest()
    return {"url": server.address + path, "size": len(body), "md5": md5}


def set_json(server: FakeServer, path: str, value: object) -> None:
    """Have the server answer a path with JSON."""
    server.files[path] = json.dumps(value).encode()
