"""pictures.py: every kind of file that people have, every way it can be broken."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from spidereye import pictures
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError, probe, read_picture, resize_area, to_float, to_uint8
from spidereye.tone_mapping import tone_map


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    """A smooth 200x100 panorama: lossy formats change it by little."""
    noise = np.random.default_rng(0).random((100, 200, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 6.0)
    spread = (smooth - smooth.min()) / (smooth.max() - smooth.min())
    return np.rint(255 * spread).astype(np.uint8)


def test_all_8_bit_values_survive_the_round_trip():
    values = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(to_uint8(to_float(values)), values)
    assert to_float(values)[[0, 255]].tolist() == [-1.0, 1.0]


def test_to_uint8_rounds_and_clamps():
    x = torch.tensor([-7.0, -1.0, 0.0, 0.4 / 127.5, 0.6 / 127.5, 1.0, 9.0])
    assert to_uint8(x).tolist() == [0, 0, 128, 128, 128, 255, 255]
    assert to_uint8(torch.tensor([-1 + 0.6 / 127.5, -1 + 1.4 / 127.5])).tolist() == [1, 1]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_to_uint8_takes_every_float_type(dtype: torch.dtype):
    assert to_uint8(torch.tensor([-1.0, 1.0], dtype=dtype)).tolist() == [0, 255]


@pytest.mark.parametrize(
    ("suffix", "error"),
    [("png", 0.0), ("tif", 0.0), ("TIFF", 0.0), ("jpg", 1.5), ("JPEG", 1.5), ("webp", 2.0)],
)
def test_written_pictures_read_back(tmp_path: Path, picture: np.ndarray, suffix: str, error: float):
    path = tmp_path / "new" / f"a.{suffix}"
    write_picture(path, picture)
    assert probe(path) == (200, 100)
    back = read_picture(path)
    assert np.abs(back.astype(int) - picture).mean() <= error
    back[0, 0] = 0  # the array is the caller's own
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_unknown_suffix_names_the_known_ones(tmp_path: Path, picture: np.ndarray):
    with pytest.raises(PictureError, match=r"a\.gif.*\.jpg.*\.png.*\.webp.*\.tif"):
        write_picture(tmp_path / "a.gif", picture)


@pytest.mark.parametrize("trouble", ["disk full", "too large for the format"])
def test_a_failing_write_leaves_the_earlier_file_whole(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch, trouble: str
):
    path = tmp_path / "a.webp"
    write_picture(path, picture)
    before = path.read_bytes()
    if trouble == "disk full":

        def no_space(*_: object, **__: object) -> None:
            raise OSError(28, os.strerror(28))

        monkeypatch.setattr(pictures.os, "fsync", no_space)
        with pytest.raises(PictureError, match=r"a\.webp: No space left"):
            write_picture(path, picture[::-1].copy())
    else:
        with pytest.raises(PictureError, match=r"a\.webp: cannot be written"):
            write_picture(path, np.zeros((1, 20000, 3), np.uint8))
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.webp"]


def _saved(path: Path, kind: str, picture: np.ndarray) -> None:
    image, grey = Image.fromarray(picture), picture[..., 0]
    if kind == "grey 16":
        Image.fromarray(grey.astype(np.uint16) * 257).save(path)
    elif kind == "colour 16":
        cv2.imwrite(str(path), picture[..., ::-1].astype(np.uint16) * 257)
    elif kind == "RGBA 16":
        both = np.dstack((picture[..., ::-1], grey)).astype(np.uint16) * 257
        cv2.imwrite(str(path), both)
    elif kind == "RGBA":
        image.putalpha(Image.fromarray(grey))
        image.save(path)
    elif kind in ("L", "LA"):
        Image.fromarray(grey).convert(kind).save(path)
    else:
        image.convert(kind).save(path)


@pytest.mark.parametrize(
    ("name", "kind", "error"),
    [
        ("a.png", "L", 0), ("a.jpg", "L", 2), ("a.tif", "L", 0), ("a.png", "LA", 0),
        ("a.png", "RGBA", 0), ("a.tif", "RGBA", 0),
        ("a.png", "grey 16", 0), ("a.tif", "grey 16", 0), ("a.png", "colour 16", 0),
        ("a.tif", "colour 16", 0), ("a.png", "RGBA 16", 0),
        ("a.jpg", "CMYK", 2), ("a.tif", "CMYK", 0), ("a.png", "P", 30),
    ],
)  # fmt: skip
def test_every_pixel_layout_becomes_rgb(
    tmp_path: Path, picture: np.ndarray, name: str, kind: str, error: float
):
    path = tmp_path / name
    _saved(path, kind, picture)
    grey = kind in ("L", "LA", "grey 16")
    wanted = picture[..., :1].repeat(3, axis=2) if grey else picture
    assert probe(path) == (200, 100)
    assert np.abs(read_picture(path).astype(int) - wanted).mean() <= error


def test_float_tiff_is_refused(tmp_path: Path):
    Image.fromarray(np.zeros((4, 8), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(PictureError, match=r"a\.tif: 32-bit"):
        read_picture(tmp_path / "a.tif")


def test_the_content_decides_not_the_suffix(tmp_path: Path, picture: np.ndarray):
    write_picture(tmp_path / "a.png", picture)
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(read_picture(tmp_path / "a.jpg"), picture)


@pytest.mark.parametrize("suffix", ["png", "tif", "jpg"])
def test_exif_orientation_is_applied(tmp_path: Path, picture: np.ndarray, suffix: str):
    path, exif = tmp_path / f"a.{suffix}", Image.Exif()
    exif[0x0112] = 6  # turned by 90° clockwise for display
    Image.fromarray(picture).save(path, exif=exif, quality=95)
    assert probe(path) == (100, 200)
    upright = read_picture(path)
    assert np.abs(upright.astype(int) - np.rot90(picture, -1)).mean() < 2.5
    if suffix == "jpg":
        assert [read_picture(path, width).shape[1] for width in (26, 25)] == [50, 25]


@pytest.mark.parametrize("min_width", [0, 1, 24, 25, 26, 50, 51, 99, 100, 101, 199, 200, 201, 999])
def test_draft_decoding_is_never_narrower_than_asked(
    tmp_path: Path, picture: np.ndarray, min_width: int
):
    path = tmp_path / "a.jpg"
    write_picture(path, picture)
    width = read_picture(path, min_width).shape[1]
    assert min(min_width, 200) <= width <= 200
    if 0 < min_width <= 100:  # and it does reduce
        assert width in (25, 50, 100) and width < 2 * max(min_width, 13)


def test_draft_decoding_keeps_the_picture(tmp_path: Path, picture: np.ndarray):
    write_picture(tmp_path / "a.jpg", picture)
    half = read_picture(tmp_path / "a.jpg", 100).astype(int)
    assert np.abs(half - resize_area(picture, 100, 50)).mean() < 2


@pytest.mark.parametrize("size", [(1, 2), (2, 1), (1, 1)])
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_tiny_pictures(tmp_path: Path, size: tuple[int, int], suffix: str):
    path = tmp_path / f"a.{suffix}"
    write_picture(path, np.full((size[1], size[0], 3), 77, np.uint8))
    assert probe(path) == size
    for min_width in (0, 1, 512):
        assert read_picture(path, min_width).shape == (size[1], size[0], 3)


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, on TIFF tags
def test_damaged_files_never_raise_anything_else(tmp_path: Path, picture: np.ndarray):
    rng = np.random.default_rng(5)
    for suffix in ("jpg", "png", "webp", "tif"):
        path = tmp_path / f"a.{suffix}"
        write_picture(path, picture[:20, :40].copy())
        whole = np.frombuffer(path.read_bytes(), np.uint8)
        for _ in range(40):
            data = whole.copy()
            data[rng.integers(0, min(len(data), 400), 4)] = rng.integers(0, 256, 4)
            path.write_bytes(data.tobytes())
            for look in (probe, read_picture):
                try:
                    look(path)
                except PictureError:
                    continue


def test_hdr_is_tone_mapped(tmp_path: Path, picture: np.ndarray):
    radiance = (picture[..., ::-1] / 255.0).astype(np.float32) ** 2.2 * 40
    path = tmp_path / "a.hdr"
    cv2.imwrite(str(path), radiance)
    assert probe(path) == (200, 100)
    mapped = read_picture(path).astype(int)
    assert mapped.min() >= 0 and mapped.max() <= 255 and 60 < mapped.mean() < 190
    order = np.argsort(picture[..., 1].ravel(), kind="stable")
    assert (np.diff(mapped[..., 1].ravel()[order][::500]) >= -3).all()  # brighter stays brighter
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(PictureError, match=r"a\.hdr: "):
        read_picture(path)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(PictureError, match=r"a\.hdr: truncated"):
        probe(path)


def test_tone_map_does_not_depend_on_the_scale_and_stands_any_value():
    radiance = np.random.default_rng(0).lognormal(0, 2, (10, 20, 3)).astype(np.float32)
    assert np.abs(tone_map(radiance).astype(int) - tone_map(radiance * 1000)).max() <= 1
    grey = tone_map(np.full((2, 4, 3), 3.0, np.float32))
    linear = 0.18 / 1.18
    assert np.all(grey == round(255 * (1.055 * linear ** (1 / 2.4) - 0.055)))
    radiance[0, 0] = (np.inf, np.nan, -1.0)
    assert tone_map(radiance)[0, 0].tolist() == [255, 0, 0]
    assert not tone_map(np.zeros((2, 4, 3), np.float32)).any()


def test_exr_without_openexr_says_what_to_do(tmp_path: Path):
    path = tmp_path / "a.exr"
    path.write_bytes(b"\x76\x2f\x31\x01" + bytes(100))
    for look in (probe, read_picture):
        with pytest.raises(PictureError, match=r"a\.exr: "):
            look(path)


@pytest.mark.parametrize("size", [(50, 25), (64, 32), (199, 99), (33, 100), (200, 7), (1, 1)])
def test_resize_averages_areas_exactly(picture: np.ndarray, size: tuple[int, int]):
    def averaging(new: int, old: int) -> np.ndarray:
        edges = np.linspace(0, old, new + 1)
        cells = np.arange(old)
        share = np.minimum(edges[1:, None], cells + 1) - np.maximum(edges[:-1, None], cells)
        return share.clip(0) * new / old

    width, height = size
    columns = np.einsum("hwc,jw->hjc", picture.astype(float), averaging(width, 200))
    wanted = np.einsum("ih,hjc->ijc", averaging(height, 100), columns)
    real = resize_area(picture.astype(np.float32), width, height)
    assert real.dtype == np.float32 and np.abs(real - wanted).max() < 1e-2
    rounded = resize_area(picture, width, height)
    assert rounded.dtype == np.uint8 and np.abs(rounded - wanted).max() < 0.51


def test_resize_enlarges_one_axis_and_shrinks_the_other(picture: np.ndarray):
    flat = np.broadcast_to(picture[:1], picture.shape).copy()
    tall = resize_area(flat.astype(np.float32), 50, 300)
    assert tall.shape == (300, 50, 3)
    assert np.allclose(tall, flat.reshape(100, 50, 4, 3).mean(axis=2)[:1], atol=1e-3)
    assert resize_area(picture[..., :1], 20, 10).shape == (10, 20, 1)
    assert np.array_equal(resize_area(picture, 200, 100), picture)
