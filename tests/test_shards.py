"""Tar shards: the same bytes every time, read as their folder would be, fetched once from URLs."""

import io
import logging
import os
import pickle
import re
import tarfile
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
from fake_server import Fault, serve
from in_workers import in_workers

from spidereye.batches import EverySampleOnce
from spidereye.data_shards import member_name, parse_size, write_shards
from spidereye.downloads import Patience
from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.pictures import PictureError
from spidereye.sources import SourceConfig, open_source
from spidereye.sources.folder import FolderSource
from spidereye.sources.shards import ShardSource, expand_braces
from spidereye.sources.tar_index import index_tar

NAMES = ("a/x.PNG", "a/y.webp", "b.v2 50%.png", "c.png", "d/e.f/ü.png", "z.jpg")
QUICK = Patience(attempts=3, first_wait=0.01, timeout=5)


def picture(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (32, 64, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(NAMES[:count]):
            write_picture(tmp_path / "pictures" / split / name, picture(number))
    return tmp_path / "pictures"


@pytest.fixture
def shards(folder: Path, tmp_path: Path) -> Path:
    assert write_shards(folder, tmp_path / "shards", "21KB") == 4
    return tmp_path / "shards"


def test_shards_give_what_their_folder_gives(folder, shards):
    assert len(list((shards / "train").iterdir())) == 3
    for split in ("train", "val"):
        plain = FolderSource(folder, split)
        packed = open_source(SourceConfig(type="shards", root=str(shards)), split)
        assert list(packed.names) == list(plain.names)
        for index in range(len(plain)):
            assert np.array_equal(packed.panorama(index, 0), plain.panorama(index, 0))
            assert np.array_equal(packed.panorama(index, 16), plain.panorama(index, 16))


def test_names_follow_the_conventions_of_webdataset(shards):
    keys = []
    for path in sorted((shards / "train").iterdir()):
        with tarfile.open(path) as tar:
            for info in tar:
                # webdataset's own rule: the key ends at the first dot of the last part.
                found = re.fullmatch(r"((?:.*/|)[^.]+)[.]([^/]*)", info.name)
                assert found and found[2].lower() in ("png", "webp", "jpg"), info.name
                keys.append(found[1])
                assert (info.mtime, info.uid, info.gid, info.uname) == (0, 0, 0, "")
    assert keys == ["a/x", "a/y", "b%2Ev2 50%25", "c", "d/e.f/ü", "z"]
    assert len(set(keys)) == 6


def test_shards_have_the_same_bytes_every_time(folder, shards, tmp_path):
    for path in folder.rglob("*.png"):
        path.touch()
    write_shards(folder, tmp_path / "again", "21KB")
    for path in shards.rglob("*.tar"):
        assert path.read_bytes() == (tmp_path / "again" / path.relative_to(shards)).read_bytes()
        assert path.stat().st_size <= 21_000


def test_writing_goes_on_where_it_was_interrupted(folder, shards):
    paths = sorted(shards.rglob("*.tar"))
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}
    paths[1].unlink()
    assert write_shards(folder, shards, "21KB") == 4
    assert all(path.read_bytes() == before[path][0] for path in paths)
    assert {path for path in paths if path.stat().st_mtime_ns != before[path][1]} == {paths[1]}
    with pytest.raises(SpiderEyeError, match=r"train-000000\.tar is in the way: it holds other"):
        write_shards(folder, shards, "40KB")
    (shards / "train" / "train-000007.tar").write_bytes(paths[0].read_bytes())
    with pytest.raises(SpiderEyeError, match=r"train-000007\.tar is there too"):
        write_shards(folder, shards, "21KB")


def test_a_changed_picture_is_packed_again(folder, shards):
    path = folder / "train" / "c.png"
    data = bytearray(path.read_bytes())
    write_picture(path, picture(99))
    if path.stat().st_size != len(data):
        pytest.skip("this picture compressed to another size")
    write_shards(folder, shards, "21KB")
    assert np.array_equal(ShardSource(shards, "train").panorama(3), picture(99))


def test_what_cannot_be_packed(folder, tmp_path):
    write_picture(folder / "train" / "c.jpg", picture(1))
    with pytest.raises(SpiderEyeError, match=r"c\.jpg and .*c\.png differ in their suffix only"):
        write_shards(folder, tmp_path / "out")
    (folder / "train" / "c.jpg").write_bytes(b"no picture")
    with pytest.raises(SpiderEyeError, match=r"c\.jpg: not a picture"):
        write_shards(folder, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert write_shards(folder, tmp_path / "out", skip_bad=True) == 2
    with pytest.raises(SpiderEyeError, match="has no train/ or val/; found: a/"):
        write_shards(folder / "train", tmp_path / "out")
    with pytest.raises(SpiderEyeError, match="name another one"):
        write_shards(folder, folder)


def test_sizes():
    values = {"500MB": 5 * 10**8, "1.5 g": 15 * 10**8, "2GiB": 2**31, "7": 7, "64k": 64_000}
    assert {text: parse_size(text) for text in values} == values
    for text in ("", "big", "0", "-1MB", "1PB", "1e9"):
        with pytest.raises(SpiderEyeError, match="is not a size"):
            parse_size(text)
    assert member_name(Path("a.b/c.d.jpg")) == "a.b/c%2Ed.jpg"


def test_a_truncated_shard(shards, caplog):
    path = shards / "train" / "train-000001.tar"
    whole = path.read_bytes()
    members, bad = index_tar(path)
    assert not bad and len(members) >= 2
    config = SourceConfig(type="shards", root=str(shards))
    cuts = {
        members[1].offset + 100: 1,  # in the middle of a picture
        members[1].offset: 1,  # right behind a header
        members[1].offset - 100: 1,  # in the middle of a header
        len(whole) - 10240 if len(whole) % 10240 == 0 else 0: 0,
    }
    for cut, left in cuts.items():
        path.write_bytes(whole[:cut])
        if not cut or left == 0:
            continue
        with pytest.raises(SpiderEyeError, match=r"train-000001\.tar: truncated or damaged tar"):
            open_source(config, "train")
        source = open_source(replace(config, on_bad_file="skip"), "train")
        assert len(source) == 6 - len(members) + left, cut
    # Cut between two pictures, only the missing end tells.
    end = members[-1].offset + -(-members[-1].size // 512) * 512
    path.write_bytes(whole[:end])
    with pytest.raises(SpiderEyeError, match="the end of the archive is missing"):
        open_source(config, "train")
    with caplog.at_level(logging.WARNING):
        assert len(open_source(replace(config, on_bad_file="skip"), "train")) == 6
    assert "truncated or damaged tar" in caplog.text


def test_broken_members_and_things_that_are_no_tar(shards, caplog):
    path = shards / "train" / "train-000001.tar"
    whole = path.read_bytes()
    (first, *rest), _ = index_tar(path)
    path.write_bytes(whole[: first.offset] + b"<html>" + whole[first.offset + 6 :])
    config = SourceConfig(type="shards", root=str(shards))
    with pytest.raises(SpiderEyeError, match=rf"train-000001\.tar/{first.name}: not a picture"):
        open_source(config, "train")
    skipping = open_source(replace(config, on_bad_file="skip"), "train")
    assert len(skipping) == 5 and f"train/{first.name}" not in skipping.names
    damaged_header = bytearray(whole)
    damaged_header[rest[0].offset - 512 : rest[0].offset - 500] = b"x" * 12
    path.write_bytes(damaged_header)
    with pytest.raises(SpiderEyeError, match="truncated or damaged tar"):
        open_source(config, "train")
    path.write_bytes(b"no tar" * 1000)
    with pytest.raises(SpiderEyeError, match=r"train-000001\.tar: not a tar"):
        open_source(config, "train")
    path.write_bytes(b"\x1f\x8b" + whole)
    with pytest.raises(SpiderEyeError, match="compressed tar"):
        open_source(config, "train")
    path.write_bytes(b"")
    with pytest.raises(SpiderEyeError, match=r"train-000001\.tar: "):
        open_source(config, "train")


def test_damage_inside_a_member_is_named_when_it_is_reached(shards):
    source = ShardSource(shards, "train")
    index = list(source.names).index("train/c.png")
    member = source._members[index]
    data = bytearray(member.tar.read_bytes())
    data[member.offset + 41 : member.offset + 49] = bytes(8)
    member.tar.write_bytes(data)
    with pytest.raises(PictureError, match=r"\.tar/c\.png: "):
        source.panorama(index)
    config = SourceConfig(type="shards", root=str(shards), on_bad_file="skip")
    skipping = open_source(config, "train")
    assert np.array_equal(skipping.panorama(index, 0), source.panorama(index - 1))


def test_an_older_picture_of_the_same_size_is_packed_again(folder, shards, tmp_path):
    for number in (1, 2):
        write_picture(tmp_path / f"{number}.tif", picture(number))
    (tmp_path / "1.tif").rename(folder / "train" / "t.tif")
    write_shards(folder, tmp_path / "again", "1MB")
    (tmp_path / "2.tif").rename(folder / "train" / "t.tif")
    os.utime(folder / "train" / "t.tif", (1e9, 1e9))
    write_shards(folder, tmp_path / "again", "1MB")
    source = ShardSource(tmp_path / "again", "train")
    (index,) = (i for i, name in enumerate(source.names) if name.endswith("t.tif"))
    assert np.array_equal(source.panorama(index), picture(2))


def test_no_shard_is_larger_than_it_may_be(tmp_path):
    """Names outside ASCII, or long ones, take more than one block."""
    for number in range(40):
        write_picture(tmp_path / "in" / "train" / f"{number:02d}ä{'x' * 120}.png", picture(number))
    write_shards(tmp_path / "in", tmp_path / "out", "61440")
    sizes = [path.stat().st_size for path in (tmp_path / "out").rglob("*.tar")]
    assert len(sizes) > 3 and max(sizes) <= 61440


def test_roots_with_brackets_and_shards_of_one_name(tmp_path, shards):
    root = tmp_path / "pano[1] {a,b}"
    for folder in ("x", "y"):
        (root / "train" / folder).mkdir(parents=True)
        (root / "train" / folder / "0.tar").write_bytes(
            (shards / "train" / "train-000000.tar").read_bytes()
        )
    named = ShardSource(root, "train", "train/{x,y}/0.tar").names
    assert len(set(named)) == len(named) > 1 and named[0].startswith("train/x/0.tar/")


def test_other_peoples_shards(tmp_path, folder):
    """Each counts from 0, has labels beside the pictures, and names that begin with ./"""
    for number in range(2):
        path = tmp_path / "train" / f"{number}.tar"
        path.parent.mkdir(exist_ok=True)
        with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, content in (
                ("./000.jpg", (folder / "train" / "z.jpg").read_bytes()),
                ("./000.json", b"{}"),
                (f"./only{number}.png", (folder / "train" / "c.png").read_bytes()),
            ):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))
    source = ShardSource(tmp_path, "train")
    assert list(source.names) == [
        "train/0.tar/./000.jpg", "train/only0.png", "train/1.tar/./000.jpg", "train/only1.png",
    ]  # fmt: skip
    assert len(ShardSource(tmp_path, "train", limit=3)) == 3


def test_every_sample_arrives_once_over_processes_and_workers(shards):
    source = open_source(SourceConfig(type="shards", root=str(shards)), "train")
    source = pickle.loads(pickle.dumps(source))
    seen = []
    for rank in range(2):
        batches = EverySampleOnce(len(source), 2, rank, 2)
        for index, there in chain.from_iterable(in_workers(source, batches, workers=2)):
            seen.append(index)
            assert np.array_equal(there, source.panorama(index, 0))
    assert sorted(seen) == list(range(6))


def test_patterns(shards, tmp_path):
    assert list(expand_braces("a{08..10}-{x,y}")) == [
        f"a{number}-{letter}" for number in ("08", "09", "10") for letter in "xy"
    ]
    assert list(expand_braces("{9..11}")) == ["9", "10", "11"]
    assert list(expand_braces("plain")) == ["plain"]
    for pattern in ("{1..", "a}", "{a{b}}", "{5..1}", "{0..9999999999}"):
        with pytest.raises(SpiderEyeError, match=r"must count up|no partner"):
            list(expand_braces(pattern))
    whole = list(ShardSource(shards, "train").names)
    for pattern in ("train/*.tar", f"{shards}/train/train-{{000000..000002}}.tar"):
        assert list(ShardSource(shards, "train", pattern).names) == whole
    config = SourceConfig(type="shards", root=str(shards), shards_val="{train,val}/*0.tar")
    assert len(open_source(config, "val")) > 2
    with pytest.raises(SpiderEyeError, match=r"dataset\.shards_train: there is no shard .*03\.tar"):
        ShardSource(shards, "train", "train/train-{000000..000003}.tar")
    with pytest.raises(SpiderEyeError, match=r"but 6 for dataset\.type=folder"):
        ShardSource(tmp_path / "pictures", "train")


def test_shards_behind_urls_are_fetched_once(shards, tmp_path):
    cache = tmp_path / "cache"
    with serve() as server:
        for path in shards.rglob("*.tar"):
            server.files[f"/data/{path.relative_to(shards)}"] = path.read_bytes()
        first = "/data/train/train-000000.tar"
        server.faults[first] = [Fault(503), Fault(cut=5000), Fault()]
        pattern = "train/train-{000000..000002}.tar"
        root = f"{server.address}/data"
        source = ShardSource(root, "train", pattern, cache, patience=QUICK)
        local = ShardSource(shards, "train")
        assert list(source.names) == list(local.names)
        for index in range(6):
            assert np.array_equal(source.panorama(index), local.panorama(index))
        assert [request.get("Range") for request in server.asked(first)] == [
            None, None, "bytes=5000-",
        ]  # fmt: skip
        assert sorted(cache.iterdir()) == sorted(cache.glob("*-train-00000?.tar"))
        asked = len(server.requests)
        ShardSource(root, "train", pattern, cache, patience=QUICK)
        assert len(server.requests) == asked
        few = ShardSource(root, "train", pattern, tmp_path / "other", limit=1, patience=QUICK)
        assert len(few) == 1 and len(list((tmp_path / "other").glob("*.tar"))) == 1
        with pytest.raises(SpiderEyeError, match=r"train/none\.tar: HTTP 404"):
            ShardSource(root, "train", "train/none.tar", cache, patience=QUICK)
        with pytest.raises(SpiderEyeError, match=r"cannot be listed: .*dataset\.shards_val"):
            ShardSource(root, "val")
