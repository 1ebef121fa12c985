"""The cache of decoded panoramas: the same pictures, made anew whenever their files change."""

import logging
import multiprocessing
import os

import numpy as np
import pytest
import torch

from spidereye.batches import PanoramaDataset
from spidereye.picture_cache import PictureCache
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError
from spidereye.render import RenderPlan
from spidereye.rig import spider4
from spidereye.sources import SourceConfig, open_source
from spidereye.sources.source import file_origin

PLAN = RenderPlan.for_cameras(spider4(220 * 16 / 560, 0.85, 16).cameras)
SIZE = (32, 16)


def same(a, b):
    return torch.equal(a.source, b.source) and torch.equal(a.target, b.target)


def entries(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def opened(tiny_panoramas):
    return open_source(SourceConfig(root=str(tiny_panoramas)), "val")


@pytest.fixture
def photo(tmp_path):
    """A folder with one panorama that a test may change, and the source of it."""
    path = tmp_path / "data" / "val" / "a.png"
    write_picture(path, np.full((32, 64, 3), 40, np.uint8))
    return path, open_source(SourceConfig(root=str(tmp_path / "data")), "val")


def test_samples_are_the_same_from_the_cache_and_are_decoded_once(opened, tmp_path, monkeypatch):
    plain = PanoramaDataset(opened, SIZE, PLAN)
    first = PanoramaDataset(opened, SIZE, PLAN, PictureCache(tmp_path / "cache"))
    assert all(same(first[i], plain[i]) for i in range(len(plain)))
    assert len(entries(tmp_path / "cache")) == len(plain)
    later = PanoramaDataset(opened, SIZE, PLAN, PictureCache(tmp_path / "cache"))
    monkeypatch.setattr(type(opened), "panorama", lambda *_: pytest.fail("decoded again"))
    expected = [first[i] for i in range(len(plain))]
    assert all(same(later[i], sample) for i, sample in enumerate(expected))


def test_another_size_or_quality_is_another_entry(opened, tmp_path):
    cache = PictureCache(tmp_path)
    assert PanoramaDataset(opened, SIZE, PLAN, cache)[0].target.shape == (16, 32, 3)
    assert PanoramaDataset(opened, (64, 32), PLAN, cache)[0].target.shape == (32, 64, 3)
    exact = RenderPlan("exact", PLAN.details)
    assert PanoramaDataset(opened, SIZE, exact, cache)[0].source.shape == (32, 64, 3)
    assert len(entries(tmp_path)) == 3


@pytest.mark.parametrize("change", ["bigger file", "same size, later"])
def test_a_changed_file_is_read_again(photo, tmp_path, change):
    path, source = photo
    cache = PictureCache(tmp_path / "cache")
    dataset = PanoramaDataset(source, SIZE, PLAN, cache)
    assert int(dataset[0].target.max()) == 40
    before = path.stat()
    if change == "bigger file":
        noise = np.random.default_rng(0).integers(150, 200, (32, 64, 3), dtype=np.uint8)
        write_picture(path, noise)
        assert path.stat().st_size != before.st_size
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    else:
        write_picture(path, np.full((32, 64, 3), 170, np.uint8))
        assert path.stat().st_size == before.st_size
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert int(dataset[0].target.min()) >= 150
    assert len(entries(tmp_path / "cache")) == 1  # the old entry is replaced, not left behind


def test_a_file_that_changes_while_it_is_decoded_is_not_kept(photo, tmp_path):
    path, _ = photo
    cache = PictureCache(tmp_path / "cache")

    def make():
        write_picture(path, np.full((32, 64, 3), 9, np.uint8))
        return {"x": torch.ones(1)}

    kept = cache.get(lambda: file_origin(path), "", make)
    assert torch.equal(kept["x"], torch.ones(1))
    assert not entries(tmp_path / "cache")


@pytest.mark.parametrize("damage", ["cut off", "empty", "noise", "header only"])
def test_a_damaged_entry_is_made_anew(opened, tmp_path, damage):
    dataset = PanoramaDataset(opened, SIZE, PLAN, PictureCache(tmp_path))
    expected = dataset[1]
    [entry] = entries(tmp_path)
    data = entry.read_bytes()
    spoilt = {"cut off": data[:-7], "empty": b"", "noise": b"\xff" * 99, "header only": data[:40]}
    entry.write_bytes(spoilt[damage])
    assert same(dataset[1], expected)
    assert entry.read_bytes() == data


def _full(*_):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("trouble", ["full", "a file in the way"])
def test_where_it_cannot_write_it_says_so_once_and_goes_on(
    opened, tmp_path, caplog, monkeypatch, trouble
):
    folder = tmp_path / "cache"
    if trouble == "full":
        monkeypatch.setattr(os, "fsync", _full)
    else:
        folder.write_text("not a folder")
    plain, cached = (
        PanoramaDataset(opened, SIZE, PLAN, cache) for cache in (None, PictureCache(folder))
    )
    with caplog.at_level(logging.WARNING):
        assert all(same(cached[i], plain[i]) for i in range(3))
    assert len(caplog.records) == 1 and "going on without it" in caplog.text
    assert str(folder) in caplog.text
    assert trouble != "full" or not entries(folder)  # nothing half-written


def test_errors_of_the_file_itself_pass(photo, tmp_path):
    path, source = photo
    dataset = PanoramaDataset(source, SIZE, PLAN, PictureCache(tmp_path / "cache"))
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(PictureError, match=r"a\.png"):
        dataset[0]
    assert not entries(tmp_path / "cache")


def _read_all(root, folder, start, results):
    source = open_source(SourceConfig(root=root), "val")
    dataset = PanoramaDataset(source, SIZE, PLAN, PictureCache(folder))
    start.wait()
    results.put([int(dataset[i].target.sum()) for _ in range(20) for i in range(len(source))])


def test_two_processes_writing_at_once_agree(opened, tiny_panoramas, tmp_path):
    context = multiprocessing.get_context("spawn")
    start, results = context.Barrier(2), context.Queue()
    arguments = (str(tiny_panoramas), str(tmp_path), start, results)
    processes = [context.Process(target=_read_all, args=arguments) for _ in range(2)]
    for process in processes:
        process.start()
    sums = [results.get(timeout=120) for _ in processes]
    for process in processes:
        process.join(timeout=60)
    plain = PanoramaDataset(opened, SIZE, PLAN)
    expected = [int(plain[i].target.sum()) for i in range(len(opened))] * 20
    assert sums == [expected, expected]
    assert all(path.suffix == ".safetensors" for path in entries(tmp_path))  # no leftovers


def test_scenes_are_drawn_once(tmp_path, monkeypatch):
    config = SourceConfig(type="scenes", scene_count_train=2)
    first = PanoramaDataset(open_source(config, "train"), SIZE, PLAN, PictureCache(tmp_path))[1]
    again = open_source(config, "train")
    monkeypatch.setattr(type(again), "panorama", lambda *_: pytest.fail("drawn again"))
    assert same(PanoramaDataset(again, SIZE, PLAN, PictureCache(tmp_path))[1], first)
    other = SourceConfig(type="scenes", scene_count_train=2, seed=1)
    assert open_source(other, "train").origin(1) != again.origin(1)


def test_a_neighbour_that_stands_in_is_not_kept_for_the_broken_panorama(photo, tmp_path):
    path, _ = photo
    write_picture(path.with_name("b.png"), np.full((32, 64, 3), 90, np.uint8))
    source = open_source(SourceConfig(root=str(tmp_path / "data"), on_bad_file="skip"), "val")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 0xFF  # found when it is decoded
    path.write_bytes(data)
    dataset = PanoramaDataset(source, SIZE, PLAN, PictureCache(tmp_path / "cache"))
    assert int(dataset[0].target.max()) == int(dataset[1].target.max()) == 90
    assert len(entries(tmp_path / "cache")) == 1
