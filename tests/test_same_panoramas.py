"""One interface: a panorama is the same sample in whatever kind of source it arrives."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_server import serve

from spidereye.data_shards import write_shards
from spidereye.picture_writing import write_picture
from spidereye.sources import SOURCE_TYPES, Source, SourceConfig, open_source

COUNT = 5


def _panorama(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 64, 3), dtype=np.uint8)


def _pictures(folder: Path) -> Path:
    for split in ("train", "val"):
        for number in range(COUNT):
            write_picture(folder / split / f"place{number}" / "a.png", _panorama(number))
    return folder


def _folder(tmp_path: Path, request: pytest.FixtureRequest) -> SourceConfig:
    return SourceConfig(root=str(_pictures(tmp_path / "pictures")))


def _shards(tmp_path: Path, request: pytest.FixtureRequest) -> SourceConfig:
    write_shards(_pictures(tmp_path / "pictures"), tmp_path / "shards", "15KB")
    return SourceConfig(type="shards", root=str(tmp_path / "shards"))


def _urls(tmp_path: Path, request: pytest.FixtureRequest) -> SourceConfig:
    shards = Path(_shards(tmp_path, request).root)
    server = serve()
    fake = server.__enter__()
    request.addfinalizer(lambda: server.__exit__(None, None, None))
    for path in shards.rglob("*.tar"):
        fake.files[f"/{path.relative_to(shards)}"] = path.read_bytes()
    last = len(list((shards / "train").iterdir())) - 1
    patterns = [f"{split}/{split}-{{000000..{last:06d}}}.tar" for split in ("train", "val")]
    cache = str(tmp_path / "cache")
    return SourceConfig("shards", fake.address, None, shard_cache=cache,
                        shards_train=patterns[0], shards_val=patterns[1])  # fmt: skip


def _video(tmp_path: Path, request: pytest.FixtureRequest) -> SourceConfig:
    av = pytest.importorskip("av")
    for split in ("train", "val"):
        path = tmp_path / "videos" / split / "a.mkv"
        path.parent.mkdir(parents=True)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("ffv1", rate=10)
            stream.width, stream.height, stream.pix_fmt = 64, 32, "bgr0"
            for number in range(COUNT):
                frame = av.VideoFrame.from_ndarray(_panorama(number), format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return SourceConfig(type="video", root=str(tmp_path / "videos"), frame_interval=1)


WAYS: dict[str, Callable[[Path, pytest.FixtureRequest], SourceConfig]] = {
    "folder": _folder,
    "shards": _shards,
    "urls": _urls,
    "video": _video,
}


def test_every_kind_of_files_is_tested():
    assert set(SOURCE_TYPES) - {"scenes"} <= set(WAYS)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("on_bad_file", ["stop", "skip"])
def test_the_same_panoramas_arrive_whichever_way(tmp_path, request, way, split, on_bad_file):
    config = WAYS[way](tmp_path, request)
    config = SourceConfig(**vars(config) | {"on_bad_file": on_bad_file})
    source = open_source(config, split)
    assert isinstance(source, Source)
    assert len(source) == len(source.names) == len(set(source.names)) == COUNT
    origins = [source.origin(index) for index in range(COUNT)]
    assert None not in origins and len(set(origins)) == COUNT  # what a cache keeps them under
    for index in (3, 0, 4, 1, 2):
        assert np.array_equal(source.panorama(index, 0), _panorama(index)), (way, index)
    if way != "video":  # whose panoramas have no files of their own to be named after
        assert list(source.names) == [f"{split}/place{number}/a.png" for number in range(COUNT)]
    few = open_source(SourceConfig(**vars(config) | {"limit": 2}), split)
    assert list(few.names) == list(source.names)[:2]
    assert np.array_equal(few.panorama(1, 16), _panorama(1))
