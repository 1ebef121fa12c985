"""Many shots by one command, resumed by the same; views told by their names."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_checkpoints import tiny_checkpoint
from made_shots import small_rig, taken, world
from PIL import Image

from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt
from spidereye.picture_writing import check_fits, write_picture
from spidereye.pictures import to_uint8
from spidereye.rig import spider4
from spidereye.shot_files import by_name, find_shots
from spidereye.stitch_files import stitch_files
from spidereye.stitch_job import StitchJob, geometric_stitcher, size_from
from spidereye.stitch_many import stitch_shots

NAMES = ("front", "right", "back", "left")


@pytest.fixture
def shots(tmp_path) -> Path:
    """Three shots: 0001/front.png …, below `shots`."""
    for number in range(3):
        folder = tmp_path / "shots" / f"000{number}"
        folder.mkdir(parents=True)
        for name, view in zip(NAMES, taken(world(number), small_rig()), strict=True):
            array = to_uint8(view[0]).permute(1, 2, 0).numpy()
            Image.fromarray(array).save(folder / f"{name}.png")
    return tmp_path / "shots"


def job(shots: Path, **more) -> StitchJob:
    made = StitchJob([shots], shots.parent / "panos", "geometric", size=(128, 64), batch=True)
    return replace(made, **more)


def pictures(folder: Path) -> dict[str, np.ndarray]:
    return {path.name: np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))}


def test_each_shot_becomes_what_it_would_alone(shots, capsys):
    stitch_shots(job(shots, mask=shots.parent / "masks"), ".png")
    made = pictures(shots.parent / "panos")
    assert list(made) == ["0000.png", "0001.png", "0002.png"]
    assert "3 panoramas, geometric stitch" in capsys.readouterr().out
    assert all((mask == 255).all() for mask in pictures(shots.parent / "masks").values())
    for name in ("0000", "0002"):
        alone = shots.parent / f"{name}.png"
        paths = [shots / name / f"{view}.png" for view in NAMES]
        stitch_files(StitchJob(paths, alone, "geometric", size=(128, 64)))
        np.testing.assert_array_equal(np.asarray(Image.open(alone)), made[f"{name}.png"])
    assert np.abs(made["0000.png"].astype(int) - made["0001.png"]).mean() > 10


def test_the_same_command_goes_on_and_another_starts_anew(shots, capsys):
    stitch_shots(job(shots))
    panos = sorted((shots.parent / "panos").glob("*.jpg"))
    first = [path.stat().st_mtime_ns for path in panos]
    panos[1].unlink()
    stitch_shots(job(shots))
    assert "1 panorama; 2 were there already" in capsys.readouterr().out
    again = [path.stat().st_mtime_ns for path in panos]
    assert again[0] == first[0] and again[2] == first[2] and again[1] > first[1]
    # A picture that was taken anew, and other settings.
    os.utime(shots / "0002" / "left.png")
    stitch_shots(job(shots))
    assert "1 panorama; 2 were there already" in capsys.readouterr().out
    stitch_shots(job(shots, kernel="bilinear"))
    assert "3 panoramas, " in capsys.readouterr().out


def test_an_older_picture_put_in_its_place_is_another(shots, capsys):
    """As copies that keep their times are; a time in the future is no reason to begin anew."""
    for file in (shots / "0000").iterdir():
        os.utime(file, (2**33, 2**33))
    stitch_shots(job(shots))
    stitch_shots(job(shots))
    assert "0 panoramas; 3 were there already" in capsys.readouterr().out
    older = shots / "0001" / "left.png"
    shutil.copyfile(shots / "0002" / "left.png", older)
    os.utime(older, (1e9, 1e9))
    stitch_shots(job(shots))
    assert "1 panorama; 2 were there already" in capsys.readouterr().out


def test_two_shots_that_would_be_one_panorama_are_refused(shots):
    for view in NAMES:
        shutil.copy(shots / "0001" / f"{view}.png", shots / f"0000_{view}.png")
    with pytest.raises(SpiderEyeError, match=r"0000_front.png .*0000/front.png would both become"):
        stitch_shots(job(shots))
    assert not (shots.parent / "panos").exists()


def test_names_that_differ_by_case_alone_are_told_apart(tmp_path):
    rig = spider4(10.0, 0.85, 16)
    names = ("A", "a", "b", "B")
    pairs = zip(rig.cameras, names, strict=True)
    rig = replace(rig, cameras=tuple(replace(camera, name=name) for camera, name in pairs))
    for name in names:
        write_picture(tmp_path / f"x_{name}.png", np.zeros((16, 16, 3), np.uint8))
    (found,) = find_shots([str(tmp_path)], rig).shots
    assert [path.stem for path in found.paths] == [f"x_{name}" for name in names]


def test_nobody_gets_more_than_16384_columns_unasked():
    rig = spider4(10.0, 0.85, 16)
    made = geometric_stitcher(StitchJob([], Path("x.jpg"), "geometric"), rig, [16000] * 4)
    assert made.size == (16384, 8192)


def test_webp_is_refused_before_the_work_where_it_cannot_be_so_wide(shots):
    with pytest.raises(SpiderEyeError, match=r"WebP has at most 16383 columns, the panorama 16384"):
        stitch_shots(job(shots, size=(16384, 8192)), ".webp")
    check_fits(Path("a.webp"), 16383), check_fits(Path("a.png"), 20000)


def test_masks_lie_to_each_other_as_the_shots_do(shots, capsys):
    shutil.rmtree(shots / "0002")
    for number, place in enumerate(("a", "b")):
        (shots / place).mkdir()
        (shots / f"000{number}").rename(shots / place / "same.name")
    masks = shots.parent / "masks"
    stitch_shots(job(shots, mask=masks), ".png")
    assert pictures(masks / "a").keys() == pictures(masks / "b").keys() == {"same.name.png"}
    (masks / "b" / "same.name.png").unlink()
    capsys.readouterr()
    stitch_shots(job(shots, mask=masks), ".png")
    assert "1 panorama; 1 was there already" in capsys.readouterr().out
    assert (masks / "b" / "same.name.png").is_file()


def test_other_weights_in_the_same_place_start_anew(shots, tmp_path, capsys):
    checkpoint = tiny_checkpoint(tmp_path / "model")
    asked = job(shots, method="model", checkpoint=str(checkpoint), size=None)
    stitch_shots(asked)
    stitch_shots(asked)
    assert "0 panoramas; 3 were there already" in capsys.readouterr().out
    tiny_checkpoint(tmp_path / "model", spread=0.03)
    stitch_shots(asked)
    assert "3 panoramas, " in capsys.readouterr().out


def test_damaged_and_incomplete_shots_are_named_and_the_others_made(shots, capsys):
    (shots / "0000" / "back.png").write_bytes((shots / "0000" / "back.png").read_bytes()[:200])
    (shots / "0001" / "left.png").unlink()
    with pytest.raises(SpiderEyeError, match=r"1 of 2 shots could not be made: shot .*0000.*back"):
        stitch_shots(job(shots), ".png")
    said = capsys.readouterr()
    assert "0001 has no left; left out" in said.err
    assert "1 panorama; 1 incomplete shot was left out, geometric" in said.out
    shutil.rmtree(shots / "0000")
    stitch_shots(job(shots), ".png")
    said = capsys.readouterr().out
    assert "0 panoramas; 1 was there already; 1 incomplete shot was left out, geometric" in said
    assert list(pictures(shots.parent / "panos")) == ["0002.png"]
    with pytest.raises(SpiderEyeError, match=r"suffix '\.gif'"):
        stitch_shots(job(shots), ".gif")
    (shots.parent / "file").touch()
    with pytest.raises(SpiderEyeError, match="file is a file: name a folder"):
        stitch_shots(job(shots, output=shots.parent / "file"))
    with pytest.raises(SpiderEyeError, match=r"p\.jpg: with --batch a folder is written"):
        stitch_shots(job(shots, output=shots.parent / "p.jpg"))
    with pytest.raises(SpiderEyeError, match="lies in the output folder"):
        stitch_shots(job(shots, output=shots))


def test_ctrl_c_stops_after_the_shot_at_hand(shots, monkeypatch):
    from spidereye import stitch_many

    write = stitch_many.write_panorama

    def write_and_stop(*given):
        os.kill(os.getpid(), signal.SIGINT)
        write(*given)

    monkeypatch.setattr(stitch_many, "write_panorama", write_and_stop)
    with pytest.raises(Interrupt, match="stopped with 1 of 3 panoramas done"):
        stitch_shots(job(shots), ".png")
    assert list(pictures(shots.parent / "panos")) == ["0000.png"]


def test_views_are_found_by_name_or_by_order(shots, tmp_path, capsys):
    rig = small_rig()
    paths = [Path(f"{name}.jpg") for name in NAMES]
    shuffled = [paths[2], paths[0], paths[3], paths[1]]
    assert by_name(shuffled, rig) == paths and by_name(paths, rig) == paths
    assert by_name([None, paths[0], paths[3], paths[1]], rig) == [*paths[:2], None, paths[3]]
    for unclear in (
        [Path("a_front.jpg"), Path("b_front.jpg"), Path("back.jpg"), Path("left.jpg")],
        [Path("1.jpg"), *shuffled[1:]],
        shuffled[:3],
    ):
        assert by_name(unclear, rig) == unclear
    files = [shots / "0000" / f"{name}.png" for name in NAMES]
    outputs = [tmp_path / "ordered.png", tmp_path / "shuffled.png"]
    for output, given in zip(outputs, (files, files[::-1]), strict=True):
        stitch_files(StitchJob(given, output, "geometric", size=(128, 64)))
    assert "views by name: front " in capsys.readouterr().err
    one, other = (np.asarray(Image.open(path)) for path in outputs)
    np.testing.assert_array_equal(one, other)


def test_sizes_are_read_or_explained():
    assert size_from("1024x512") == (1024, 512) == size_from("1024") == size_from("1024X512")
    for wrong in ("1024x500", "0", "axb", "-4x-2", "", "3"):
        with pytest.raises(SpiderEyeError, match=r"--size is that of a 2:1 panorama"):
            size_from(wrong)


def test_links_that_lead_in_a_circle_are_one_line(shots, tmp_path):
    loop = tmp_path / "loop.png"
    loop.symlink_to("loop.png")
    views = [shots / "0000" / f"{name}.png" for name in NAMES]
    for images in ([loop, *views[1:]], [loop, loop, *views[2:]]):
        one = job(shots, images=images, output=tmp_path / "pano.png", batch=False)
        with pytest.raises(SpiderEyeError, match=r"loop\.png"):
            stitch_files(one)
    job(shots, images=views, output=loop, batch=False).check_output()
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SpiderEyeError, match="loop"):
        stitch_shots(job(shots, output=tmp_path / "loop"))
