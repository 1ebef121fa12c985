"""`spidereye data check | split | stats | shards`, as people run them."""

import json
import math
import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_sources import shut
from typer.testing import CliRunner

from spidereye.data_check import check_files
from spidereye.data_commands import data_app
from spidereye.data_split import assign, write_split
from spidereye.data_stats import measure, moments
from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.sources import SourceConfig, open_source


def run(*arguments: object, code: int = 0) -> str:
    """What a data command prints; an error of the user's is raised as it is."""
    result = CliRunner().invoke(data_app, [str(one) for one in arguments])
    if isinstance(result.exception, SpiderEyeError):
        raise result.exception
    assert result.exit_code == code, result.output
    return result.stdout


def picture(number: int = 0, size: tuple[int, int] = (64, 32)) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six pictures of four places by name, two of one place by folder."""
    names = ("pier_01.png", "pier_02.png", "mill_4k.png", "cave.png", "barn_1.png", "barn_dawn.png")
    for number, name in enumerate((*names, "room/1.png", "room/2.png")):
        write_picture(tmp_path / "all" / name, picture(number))
    (tmp_path / "all" / "notes.txt").write_text("not a picture")
    return tmp_path / "all"


def spoil(folder: Path) -> list[str]:
    """One bad picture of each kind; returns their names, those that only decoding finds last."""
    write_picture(folder / "cut.jpg", picture())
    data = (folder / "cut.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(data[:-100])
    (folder / "page.jpg").write_text("<html>")
    write_picture(folder / "small.png", picture(1, (32, 16)))
    write_picture(folder / "square.png", picture(1, (64, 64)))
    write_picture(folder / "inside.png", picture())
    data = bytearray((folder / "inside.png").read_bytes())
    data[41:49] = bytes(8)
    (folder / "inside.png").write_bytes(data)
    return ["cut.jpg", "page.jpg", "small.png", "square.png", "inside.png"]


def test_check_lists_every_bad_file(folder):
    assert run("check", folder) == (
        "8 pictures with 8 usable panoramas; all good; 1 other files left aside\n"
    )
    names = spoil(folder)
    *lines, summary = run("check", folder, "--min-width", 64, code=1).splitlines()
    assert [line.split(": ")[0].rsplit("/", 1)[1] for line in lines] == names[:4]
    assert summary.startswith("13 pictures with 9 usable panoramas; 4 bad: 2 unreadable, ")
    assert "1 not 2:1" in summary and "1 too narrow" in summary
    *lines, summary = run("check", folder, "--min-width", 64, "--decode", code=1).splitlines()
    assert sorted(line.split(": ")[0].rsplit("/", 1)[1] for line in lines) == sorted(names)
    assert "1 damaged inside" in summary and "8 usable" in summary


def test_check_says_where_there_is_nothing(tmp_path):
    with pytest.raises(SpiderEyeError, match=r"no pictures, videos or shards below .*: found noth"):
        run("check", tmp_path)
    with pytest.raises(SpiderEyeError, match="there is no such folder"):
        run("check", tmp_path / "nowhere")


def test_check_looks_into_videos_and_shards(folder, tmp_path):
    pytest.importorskip("av")
    from made_videos import damage, write_video

    split = tmp_path / "split"
    write_split(assign(folder, 0.5, 0, "file"), split, link=True)
    run("shards", split, "-o", tmp_path / "out")
    damage(write_video(tmp_path / "out" / "b.mov", 12, "mjpeg", "yuvj420p"), 5)
    write_video(tmp_path / "out" / "a.mkv", 10, "mjpeg", "yuvj420p", ((64, 32), (96, 48)))
    report = check_files(tmp_path / "out")
    assert report.files == {"picture": 0, "video": 2, "shard": 2}
    assert [complaint.kind for complaint in report.bad] == ["changes size"]
    assert report.panoramas == 10 + 12 + 8
    report = check_files(tmp_path / "out", decode=True)
    assert [complaint.kind for complaint in report.bad] == ["changes size", "damaged frames"]
    assert "b.mov: the frame at 0.50 s" in str(report.bad[1])
    assert "1 of 12 frames" in str(report.bad[1]) and report.panoramas == 10 + 11 + 8
    tar = next((tmp_path / "out").rglob("*.tar"))
    tar.write_bytes(tar.read_bytes()[:-10240])
    kinds = [complaint.kind for complaint in check_files(tmp_path / "out").bad]
    assert sorted(kinds) == ["changes size", "truncated"]


def places_of(folder: Path) -> dict[str, str]:
    """Split by file name."""
    return {
        path.relative_to(folder / split).as_posix(): split
        for split in ("train", "val")
        for path in (folder / split).rglob("*.png")
    }


@pytest.mark.parametrize("seed", [1, 5, 6])
@pytest.mark.parametrize("how", ["--link", "--copy"])
def test_split_keeps_places_together(folder, tmp_path, seed, how):
    out = tmp_path / "out"
    try:
        printed = run("split", folder, "-o", out, "--val", 0.4, "--seed", seed, how)
    except SpiderEyeError as error:
        assert "no place falls to" in str(error)
        pytest.skip("this seed draws one side only")
    where = places_of(out)
    assert len(where) == 8
    for pair in (("pier_01", "pier_02"), ("barn_1", "barn_dawn"), ("room/1", "room/2")):
        assert len({where[f"{name}.png"] for name in pair}) == 1, pair
    files = list(out.rglob("*.png"))
    assert all(path.is_symlink() == (how == "--link") for path in files)
    for path in files:
        same = folder / path.relative_to(out / path.relative_to(out).parts[0])
        assert path.read_bytes() == same.read_bytes()
    assert f"{list(where.values()).count('val')} files of" in printed.splitlines()[1]
    again = run("split", folder, "-o", out, "--val", 0.4, "--seed", seed, how)
    assert again.count(" 0 new") == 2
    assert len(open_source(SourceConfig(root=str(out)), "val")) == list(where.values()).count("val")


def test_split_is_stable_when_files_are_added_and_fair(tmp_path):
    for number in range(400):
        path = tmp_path / "all" / f"place{number:03d}x" / "a.png"
        path.parent.mkdir(parents=True)
        path.touch()
    before = {item.below: item.split for item in assign(tmp_path / "all", 0.1, 3)}
    assert 20 <= list(before.values()).count("val") <= 60  # 40 ± 3.3 standard deviations
    (tmp_path / "all" / "place100x" / "b.png").touch()
    (tmp_path / "all" / "another.png").touch()
    after = {item.below: item.split for item in assign(tmp_path / "all", 0.1, 3)}
    assert len(after) == 402 and all(after[below] == split for below, split in before.items())
    assert after[Path("place100x/b.png")] == before[Path("place100x/a.png")]
    assert before != {item.below: item.split for item in assign(tmp_path / "all", 0.1, 4)}


def test_split_goes_on_and_never_mixes(folder, tmp_path):
    out = tmp_path / "out"
    plan = assign(folder, 0.5, 0, "file")
    write_split(plan[:3], out, link=False)
    assert sum(write_split(plan, out, link=False).values()) == 5
    others = (assign(folder, 0.5, seed, "file") for seed in range(1, 50))
    other = next(one for one in others if one != plan)
    before = places_of(out)
    with pytest.raises(SpiderEyeError, match="was made with another --seed"):
        write_split(other, out, link=False)
    assert places_of(out) == before
    victim = out / plan[0].split / plan[0].below
    victim.write_bytes(b"something else")
    with pytest.raises(SpiderEyeError, match="is in the way: it is not a copy of"):
        write_split(plan, out, link=False)
    assert not list(out.rglob("*.tmp"))


def test_stats_leave_out_a_kind_of_which_nothing_can_be_used(folder, tmp_path):
    (folder / "broken.mp4").write_bytes(b"no video")
    write_picture(folder / "a#1.png", picture(1))
    told = run("stats", folder, "--json", tmp_path / "stats.json")
    values = json.loads((tmp_path / "stats.json").read_text())["all"]
    assert values["panoramas"] == 9 and values["formats"] == {".png": 9}
    assert "unreadable" in told and "broken.mp4" in values["unreadable"][0]
    alone = tmp_path / "alone"
    alone.mkdir()
    (folder / "broken.mp4").rename(alone / "broken.mp4")
    with pytest.raises(SpiderEyeError, match=r"(?s)none of 1 .*broken\.mp4"):
        run("stats", alone)


def test_split_does_not_write_into_what_it_splits(folder):
    before = sorted(folder.rglob("*"))
    for out in (folder, folder / "sets"):
        with pytest.raises(SpiderEyeError, match=r"-o .* lies in .*, the folder that is split"):
            write_split(assign(folder, 0.4, 0), out, link=True)
    assert sorted(folder.rglob("*")) == before


def test_split_explains_what_it_cannot_do(folder, tmp_path):
    for number in range(3):
        write_picture(tmp_path / "one" / "room" / f"view_{number}.png", picture(number))
    with pytest.raises(SpiderEyeError, match="there is 1, by folder; try --places name"):
        assign(tmp_path / "one", 0.3, 0)
    with pytest.raises(SpiderEyeError, match="between 0 and 1"):
        assign(folder, 0.0, 0)
    with pytest.raises(SpiderEyeError, match="folder, name, file"):
        assign(folder, 0.1, 0, "town")
    (folder / "train").mkdir()
    with pytest.raises(SpiderEyeError, match="has a train/ already"):
        assign(folder, 0.1, 0)
    (folder / "train").rmdir()
    with pytest.raises(SpiderEyeError, match=r"no place falls to val: .*try --seed \d+") as caught:
        assign(folder, 0.01, 0)
    seed = int(str(caught.value).rsplit(" ", 1)[1])
    assert {item.split for item in assign(folder, 0.01, seed)} == {"train", "val"}


def test_moments_weigh_by_area_on_the_sphere():
    """Against the sphere's area, for a picture that is white above 30° and black below."""
    height = 600
    latitude = 90 - (np.arange(height) + 0.5) * 180 / height
    rows = np.where(latitude > 30, 255, 0).astype(np.uint8)
    values = np.broadcast_to(rows[:, None, None], (height, 8, 3))
    share = (1 - math.sin(math.radians(30))) / 2  # of the sphere above 30° of latitude
    assert np.allclose(moments(np.ascontiguousarray(values)), share, atol=1e-5)


def test_stats(folder, tmp_path):
    names = [path for path in sorted(folder.rglob("*.png"))]
    write_picture(folder / "flat.webp", np.full((50, 100, 3), 200, np.uint8))
    spoiled = tmp_path / "new" / "stats.json"
    table = run("stats", folder, "--json", spoiled)
    values = json.loads(spoiled.read_text())["all"]
    assert values["panoramas"] == 9 and values["formats"] == {".png": 8, ".webp": 1}
    assert values["sizes"] == {"64x32": 8, "100x50": 1}
    assert values["bytes"] == sum(path.stat().st_size for path in [*names, folder / "flat.webp"])
    weight = np.cos((0.5 - (np.arange(32) + 0.5) / 32) * np.pi)[:, None]
    weight = np.broadcast_to(weight / weight.sum() / 64, (32, 64)).ravel()
    pixels = [picture(number).reshape(-1, 3) / 255 for number in range(8)]
    pixels.append(np.full((1, 3), 200 / 255))  # webp at quality 95 keeps a flat grey
    weights = [weight] * 8 + [np.ones(1)]
    every, weights = np.concatenate(pixels), np.concatenate(weights)
    mean = np.average(every, axis=0, weights=weights)
    std = np.sqrt(np.average((every - mean) ** 2, axis=0, weights=weights))
    assert np.allclose(values["mean"], mean, atol=1e-3)
    assert np.allclose(values["std"], std, atol=1e-3)
    assert "8 × 64x32" in table and f"{values['mean'][0]:.4f}" in table


def test_stats_by_split_and_without_the_broken(folder, tmp_path):
    write_split(assign(folder, 0.5, 0, "file"), tmp_path / "out", link=True)
    measured = measure(tmp_path / "out")
    assert set(measured) == {"train", "val"}
    assert sum(one.count for one in measured.values()) == 8
    spoil(folder)
    (one,) = measure(folder).values()
    assert one.count == 9 and len(one.unreadable) == 1 and "inside.png" in one.unreadable[0]
    with pytest.raises(SpiderEyeError, match="no pictures, videos or shards"):
        (tmp_path / "empty").mkdir()
        measure(tmp_path / "empty")


def test_shards_command(folder, tmp_path):
    write_split(assign(folder, 0.5, 0, "file"), tmp_path / "split", link=True)
    printed = run("shards", tmp_path / "split", "-o", tmp_path / "out", "--shard-size", "20KB")
    tars = list((tmp_path / "out").rglob("*.tar"))
    assert printed == f"{len(tars)} shards in {tmp_path / 'out'}\n" and len(tars) > 2
    with pytest.raises(SpiderEyeError, match="'20 miles' is not a size"):
        run("shards", tmp_path / "split", "-o", tmp_path / "out", "--shard-size", "20 miles")
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(SpiderEyeError, match="cannot be written: Too many levels"):
        run("shards", tmp_path / "split", "-o", tmp_path / "circle")


def test_check_complains_of_folders_that_cannot_be_listed(folder, monkeypatch):
    shut(folder / "room", monkeypatch)
    output = run("check", folder, code=1)
    assert f"{folder}/room: the folder cannot be listed: Permission denied\n" in output
    assert "6 pictures with 6 usable panoramas; 1 bad: 1 unreadable" in output
    for command in (["split", folder, "-o", folder.parent / "out"], ["stats", folder]):
        with pytest.raises(SpiderEyeError, match="room: the folder cannot be listed"):
            run(*command)
    shut(folder, monkeypatch)
    with pytest.raises(SpiderEyeError, match="all: the folder cannot be listed"):
        run("check", folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes among files")
def test_check_does_not_wait_for_pipes(folder):
    os.mkfifo(folder / "pipe.png")
    assert "8 pictures with 8 usable panoramas; all good" in run("check", folder)


@pytest.mark.parametrize(
    "progressive, size", [(False, (64, 32)), (False, (500, 250)), (True, (500, 250))]
)
def test_check_finds_jpegs_that_end_early_behind_an_end_marker(folder, progressive, size):
    """Decoders fill them with grey."""
    smooth = np.random.default_rng(5).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    whole = Image.fromarray(smooth).resize(size, Image.Resampling.BICUBIC)
    for name, rows in (("plain", 0), ("restarts", 1)):
        whole.save(folder / f"{name}.jpg", progressive=progressive, restart_marker_rows=rows)
    Image.new("RGB", size, (128, 128, 128)).save(folder / "grey.jpg", progressive=progressive)
    data = (folder / "plain.jpg").read_bytes()
    (folder / "trailer.jpg").write_bytes(data + b"and a film" + data)
    (folder / "filled.jpg").write_bytes(data[:-2] + b"\xff\xff\xff" + data[-2:])
    assert "13 pictures with 13 usable panoramas; all good" in run("check", folder, "--decode")
    (folder / "cut.jpg").write_bytes(data[: -len(data) // 8] + b"\xff\xd9")
    output = run("check", folder, "--decode", code=1)
    assert f"{folder}/cut.jpg: its data ends before the picture does\n" in output
    assert "14 pictures with 13 usable panoramas; 1 bad: 1 damaged inside" in output
    shards = folder.parent / "shards"
    shards.mkdir()
    with tarfile.open(shards / "0.tar", "w") as tar:
        tar.add(folder / "cut.jpg", "cut.jpg")
    assert "0.tar/cut.jpg: its data ends before" in run("check", shards, "--decode", code=1)


def test_check_finds_zeros_that_end_a_jpeg_early(folder):
    whole = Image.fromarray(picture(3, (32, 16))).resize((256, 128), Image.Resampling.BICUBIC)
    whole.save(folder / "zeros.jpg")
    data = bytearray((folder / "zeros.jpg").read_bytes())
    quarter = len(data) // 4
    data[quarter : 3 * quarter] = bytes(2 * quarter)
    (folder / "zeros.jpg").write_bytes(data)
    assert "zeros.jpg: its data ends before" in run("check", folder, "--decode", code=1)


def test_names_that_are_no_text_are_split(folder):
    """Their place could not be hashed."""
    write_picture(folder / "a\udcff.png", picture(9))
    out = folder.parent / "out"
    run("split", folder, "-o", out, "--places", "file")
    assert len([*out.glob("*/a\udcff.png")]) == 1


def test_stats_and_split_stand_links_that_lead_nowhere(folder):
    (folder / "gone.png").symlink_to("nowhere.png")
    (folder / "loop.png").symlink_to("loop.png")
    assert measure(folder)["all"].count == 8
    items = assign(folder, 0.3, 0, "file")
    assert sum(write_split(items, folder.parent / "out", link=True).values()) == 10
    assert not write_split(items, folder.parent / "out", link=True).total()
