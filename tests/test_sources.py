"""Where panoramas come from: folders with every bad file of the world, and the built-in scenes."""

import logging
import os
import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError
from spidereye.sources import SourceConfig, open_source
from spidereye.sources.folder import FolderSource
from spidereye.sources.scenes import SceneSource


def _picture(value: int = 100, size: tuple[int, int] = (64, 32)) -> np.ndarray:
    picture = np.random.default_rng(value).integers(0, 256, (size[1], size[0], 3))
    picture[0, 0] = value
    return picture.astype(np.uint8)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Five panoramas to train on, in folders and formats as people have them, and one to check."""
    for number, name in enumerate(("b.png", "a/x.PNG", "a/y/z.tiff", "c.png", "B.webp")):
        write_picture(tmp_path / "train" / name, _picture(number))
    write_picture(tmp_path / "val" / "v.png", _picture(50))
    (tmp_path / "train" / "notes.txt").write_text("no picture")
    (tmp_path / "train" / "._b.png").write_bytes(b"a file of macOS")
    write_picture(tmp_path / "train" / ".cache" / "thumbnail.png", _picture(60))
    return tmp_path


NAMES = ["train/B.webp", "train/a/x.PNG", "train/a/y/z.tiff", "train/b.png", "train/c.png"]


def test_folders_are_searched_in_depth_and_sorted(root: Path):
    source = open_source(SourceConfig(root=str(root)), "train")
    assert list(source.names) == NAMES and len(source) == 5
    assert source.panorama(3, 0)[0, 0].tolist() == [0, 0, 0]
    assert source.panorama(1, 0)[0, 0].tolist() == [1, 1, 1]
    assert source.panorama(4, 16).shape == (32, 64, 3)


def test_eval_is_taken_where_there_is_no_val(root: Path):
    assert list(FolderSource(root, "val").names) == ["val/v.png"]
    (root / "val").rename(root / "eval")
    assert list(FolderSource(root, "val").names) == ["eval/v.png"]
    (root / "eval").rename(root / "test")
    with pytest.raises(SpiderEyeError, match=r"has no val/ or eval/; found: test/, train/;"):
        FolderSource(root, "val")


def test_limit_takes_the_first(root: Path):
    config = SourceConfig(root=str(root), limit=2)
    assert list(open_source(config, "train").names) == NAMES[:2]
    assert len(open_source(replace(config, limit=99), "train")) == 5
    with pytest.raises(SpiderEyeError, match=r"dataset\.limit=0"):
        open_source(replace(config, limit=0), "train")


def test_missing_root_names_the_ways_out(tmp_path: Path):
    with pytest.raises(SpiderEyeError) as caught:
        FolderSource("/data/360SP-data", "train")
    message = str(caught.value)
    assert message.startswith("no data at /data/360SP-data: ") and "\n" not in message
    assert "dataset.root=" in message and "dataset.type=scenes" in message
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(SpiderEyeError, match=f"no data at {file}: it is a file"):
        FolderSource(file, "train")
    with pytest.raises(SpiderEyeError, match=r"no data: dataset\.root is empty"):
        FolderSource("", "train")


def test_folder_without_train_lists_what_is_there(tmp_path: Path):
    with pytest.raises(SpiderEyeError, match="has no train/; found: nothing"):
        FolderSource(tmp_path, "train")
    for number in range(12):
        (tmp_path / f"scan{number:02d}").mkdir()
    (tmp_path / "a.jpg").touch()
    with pytest.raises(SpiderEyeError, match=r"found: a\.jpg, scan00/, .*scan06/ and 5 more"):
        FolderSource(tmp_path, "train")


def test_empty_folder(tmp_path: Path):
    (tmp_path / "train").mkdir()
    with pytest.raises(SpiderEyeError, match=r"no panoramas below .*train: found nothing"):
        FolderSource(tmp_path, "train")
    (tmp_path / "train" / "a.gif").touch()
    with pytest.raises(SpiderEyeError, match=r"found a\.gif, but no jpg, jpeg, png"):
        FolderSource(tmp_path, "train")


def _spoil(root: Path) -> dict[str, str]:
    """Adds one bad file of each kind; returns what is said about it by its name."""
    train = root / "train"
    whole = train / "truncated.jpg"
    write_picture(whole, _picture())
    whole.write_bytes(whole.read_bytes()[:-200])
    write_picture(train / "wide.png", _picture(1, (64, 36)))
    write_picture(train / "small.png", _picture(2, (30, 15)))
    write_picture(train / "pixel.png", _picture(3, (1, 2)))
    (train / "page.jpg").write_bytes(b"<html>")
    return {
        "truncated.jpg": "truncated",
        "wide.png": "64x36 pixels, but a full panorama is 2:1",
        "small.png": "30 pixels wide, but 32 are needed",
        "pixel.png": "1x2 pixels, but",
        "page.jpg": "not a picture",
    }


def test_bad_files_stop_with_a_list_of_all(root: Path):
    reasons = _spoil(root)
    with pytest.raises(SpiderEyeError) as caught:
        open_source(SourceConfig(root=str(root), min_width=32), "train")
    first, *rest = str(caught.value).split("\n")
    assert first.startswith("5 bad files;") and "dataset.on_bad_file=skip" in first
    assert len(rest) == 5
    for name, reason in reasons.items():
        assert any(str(root / "train" / name) in line and reason in line for line in rest)


def test_one_bad_file_is_one_line(root: Path):
    write_picture(root / "train" / "wide.png", _picture(1, (64, 36)))
    with pytest.raises(SpiderEyeError) as caught:
        FolderSource(root, "train")
    message = str(caught.value)
    assert "\n" not in message
    assert "wide.png: 64x36" in message and "dataset.on_bad_file=skip" in message


def test_bad_files_are_skipped_with_a_warning(root: Path, caplog: pytest.LogCaptureFixture):
    reasons = _spoil(root)
    config = SourceConfig(root=str(root), min_width=32, on_bad_file="skip")
    with caplog.at_level(logging.WARNING):
        assert list(open_source(config, "train").names) == NAMES
    (record,) = caplog.records
    assert "5 bad files skipped" in record.message
    assert all(name in record.message for name in reasons)
    # A limit counts good files: the bad ones on the way do not use it up.
    assert list(open_source(replace(config, limit=5), "train").names) == NAMES


def test_nothing_but_bad_files(tmp_path: Path):
    (tmp_path / "train").mkdir()
    _spoil(tmp_path)
    with pytest.raises(SpiderEyeError, match="none of 5 files"):
        FolderSource(tmp_path, "train", min_width=32, on_bad_file="skip")


def test_two_to_one_within_one_percent(tmp_path: Path):
    for height in (99, 100, 101, 98, 102):
        write_picture(tmp_path / "train" / f"{height}.png", _picture(1, (200, height)))
    with pytest.raises(SpiderEyeError) as caught:
        FolderSource(tmp_path, "train")
    bad = [line.split(": ")[0].rsplit("/", 1)[1] for line in str(caught.value).split("\n")[1:]]
    assert bad == ["102.png", "98.png", "99.png"]  # 200/99 is 1.01 % off


@pytest.mark.parametrize("kind", ["L", "RGBA", "LA", "16"])
def test_grey_rgba_and_16_bit_panoramas_work(tmp_path: Path, kind: str):
    (tmp_path / "train").mkdir()
    image = Image.fromarray(_picture())
    if kind == "16":
        image = Image.fromarray(_picture()[..., 0].astype(np.uint16) * 257)
    else:
        image = image.convert(kind)
    image.save(tmp_path / "train" / "a.png")
    assert FolderSource(tmp_path, "train", min_width=64).panorama(0).shape == (32, 64, 3)


def test_a_file_that_fails_later_names_itself(root: Path):
    source = FolderSource(root, "train")
    path = root / "train" / "b.png"
    data = bytearray(path.read_bytes())
    data[41:49] = bytes(8)  # the head of the compressed data; header and end are whole
    path.write_bytes(data)
    with pytest.raises(PictureError, match=r"train/b\.png: "):
        source.panorama(3)
    path.unlink()
    with pytest.raises(PictureError, match=r"train/b\.png: No such file"):
        source.panorama(3)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file_is_listed(root: Path):
    (root / "train" / "b.png").chmod(0)
    with pytest.raises(SpiderEyeError, match=r"b\.png: Permission denied"):
        FolderSource(root, "train")


def test_linked_folders_are_followed_once(root: Path, tmp_path_factory: pytest.TempPathFactory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    write_picture(elsewhere / "far.png", _picture())
    (root / "train" / "link").symlink_to(elsewhere)
    (elsewhere / "circle").symlink_to(root / "train")
    assert list(FolderSource(root, "train").names) == [*NAMES, "train/link/far.png"]


def test_unknown_choices_name_the_known(root: Path):
    with pytest.raises(SpiderEyeError, match=r"type=foldr.*folder, video, shards or scenes"):
        open_source(SourceConfig(type="foldr"), "train")
    with pytest.raises(SpiderEyeError, match=r"dataset\.on_bad_file=ignore.*stop or skip"):
        open_source(SourceConfig(root=str(root), on_bad_file="ignore"), "train")


def test_scenes_are_counted_and_named():
    config = SourceConfig(type="scenes")
    train, val = open_source(config, "train"), open_source(config, "val")
    assert (len(train), len(val)) == (96, 12)
    assert (train.names[12], val.names[0]) == ("scene-train-00012", "scene-val-00000")
    assert len(open_source(replace(config, limit=3), "train")) == 3
    assert len(open_source(replace(config, scene_count_val=500), "val")) == 500
    with pytest.raises(SpiderEyeError, match=r"dataset\.scene_count_train"):
        SceneSource("train", 0)


def test_scenes_depend_on_seed_split_and_index_alone():
    first = SceneSource("train", 4, seed=3)
    again = SceneSource("train", 9, seed=3)
    again.panorama(3, 64)
    for index in (0, 3):
        assert np.array_equal(first.panorama(index, 64), again.panorama(index, 64))
    layouts = [
        source.scene(index).layout
        for source in (first, SceneSource("val", 4, seed=3), SceneSource("train", 4, seed=4))
        for index in range(4)
    ]
    assert all(a != b for i, a in enumerate(layouts) for b in layouts[:i])


def test_scene_widths_and_cache():
    room = 2 * 64 * 32 * 3
    source = SceneSource("val", 3, cache_bytes=room)
    small = source.panorama(0, 64)
    assert small.shape == (32, 64, 3)
    small[:] = 0  # the caller's own: the cache keeps the picture
    assert source.panorama(0, 64).mean() > 10
    assert source.panorama(0, 99).shape == (50, 100, 3)
    for index in (1, 2, 0):
        source.panorama(index, 64)
        assert sum(kept.nbytes for kept in source._cache.values()) <= room
    assert list(source._cache) == [(2, 64), (0, 64)]


def test_sources_travel_to_worker_processes(root: Path):
    for source in (FolderSource(root, "train"), SceneSource("val", 2)):
        assert pickle.loads(pickle.dumps(source)).names == source.names


def test_a_folder_that_cannot_be_listed_stops_all(root: Path, monkeypatch: pytest.MonkeyPatch):
    """Its panoramas were left out without a word."""
    shut(root / "train" / "a", monkeypatch)
    message = r"train/a: the folder cannot be listed: Permission denied"
    for on_bad_file in ("stop", "skip"):
        with pytest.raises(SpiderEyeError, match=message):
            FolderSource(root, "train", on_bad_file=on_bad_file)
    assert len(FolderSource(root, "val")) == 1


def shut(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody list a folder, root neither."""
    scandir = os.scandir

    def refused(place: str):
        if str(place) == str(folder):
            raise PermissionError(13, "Permission denied", place)
        return scandir(place)

    monkeypatch.setattr(os, "scandir", refused)


def test_what_disks_keep_for_themselves_is_not_looked_into(root: Path):
    write_picture(root / "train" / "lost+found" / "1.png", _picture())
    assert list(FolderSource(root, "train").names) == NAMES


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among files")
def test_pipes_are_no_files(root: Path):
    """Whoever opens one waits until somebody writes."""
    os.mkfifo(root / "train" / "pipe.png")
    (root / "train" / "link.png").symlink_to("pipe.png")
    assert list(FolderSource(root, "train").names) == NAMES


def test_links_that_lead_nowhere_are_bad_files(root: Path):
    (root / "train" / "gone.png").symlink_to("nowhere.png")
    (root / "train" / "loop.png").symlink_to("loop.png")
    with pytest.raises(SpiderEyeError, match=r"gone\.png: No such file") as caught:
        FolderSource(root, "train")
    assert "loop.png: Too many levels of symbolic links" in str(caught.value)
