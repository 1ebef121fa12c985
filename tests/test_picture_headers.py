"""picture_headers.py: files that are cut off, have more than a picture in them, or are none."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError, probe, read_picture


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (100, 200, 3)).astype(np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
@pytest.mark.parametrize("kept", [0.02, 0.5, 0.99])
def test_truncated_files_are_errors(tmp_path: Path, picture: np.ndarray, suffix: str, kept: float):
    path = tmp_path / f"cut.{suffix}"
    write_picture(path, picture)
    data = path.read_bytes()
    cut = data[: int(kept * len(data))]
    # A download may reserve the space first: then the end is zeros.
    endings = [b"", bytes(1000)] if suffix in ("jpg", "png") else [b""]
    for ending in endings:
        path.write_bytes(cut + ending)
        for look in (probe, read_picture):
            with pytest.raises(PictureError, match=rf"cut\.{suffix}: "):
                look(path)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_data_after_the_end_is_no_error(tmp_path: Path, picture: np.ndarray, suffix: str):
    """360° cameras append previews and motion data."""
    path = tmp_path / f"a.{suffix}"
    write_picture(path, picture)
    path.write_bytes(path.read_bytes() + b"trailer" * 1000)
    assert probe(path) == (200, 100)
    assert read_picture(path).shape == (100, 200, 3)


def test_the_end_of_an_embedded_thumbnail_is_not_the_end(tmp_path: Path, picture: np.ndarray):
    thumbnail = io.BytesIO()
    Image.fromarray(picture[:20, :40]).save(thumbnail, "JPEG")
    comment = b"Exif\0\0" + thumbnail.getvalue()
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(
        path, extra=b"\xff\xe1" + (len(comment) + 2).to_bytes(2) + comment
    )
    data = path.read_bytes()
    assert data.count(b"\xff\xd9") >= 2
    assert probe(path) == (200, 100)
    path.write_bytes(data[: len(data) // 2 + 400])
    with pytest.raises(PictureError, match="end-of-image"):
        probe(path)


@pytest.mark.parametrize("content", [b"", b"\xff", b"<html>404</html>", b"\xff\xd8\xff", b"II*\0"])
def test_what_is_no_picture_says_so(tmp_path: Path, content: bytes):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    for look in (probe, read_picture):
        with pytest.raises(PictureError, match=r"a\.jpg: ") as caught:
            look(path)
        assert "\n" not in str(caught.value)


def test_missing_files_and_folders(tmp_path: Path):
    for look in (probe, read_picture):
        with pytest.raises(PictureError, match=r"nowhere\.png: No such file"):
            look(tmp_path / "nowhere.png")
        with pytest.raises(SpiderEyeError, match="Is a directory"):
            look(tmp_path)
