"""`spidereye views`: files that are right, whole, resumed, and never in each other's way."""

import os
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from spidereye import view_files
from spidereye.camera import Crop
from spidereye.cli import app
from spidereye.errors import SpiderEyeError
from spidereye.interrupt import Interrupt
from spidereye.picture_paths import matching_pictures
from spidereye.picture_writing import write_picture
from spidereye.pictures import read_picture, to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import Rig, spider4
from spidereye.rig_files import load_rig, write_rig
from spidereye.shots import read_shot
from spidereye.view_files import Rendered, render_files


@pytest.fixture
def panoramas(tmp_path) -> Path:
    """A folder with three small panoramas, one of them below it."""
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "below/c.png"):
        coarse = torch.from_numpy(rng.random((1, 3, 8, 16), dtype=np.float32) * 2 - 1)
        fine = torch.nn.functional.interpolate(coarse, size=(64, 128), mode="bilinear")
        picture = to_uint8(fine[0]).permute(1, 2, 0).numpy()
        write_picture(tmp_path / "panoramas" / name, np.ascontiguousarray(picture))
    return tmp_path / "panoramas"


@pytest.fixture
def rig() -> Rig:
    """Four views of two sizes, one of them partly hidden."""
    small, large = spider4(20, 0.85, 48), spider4(30, 0.85, 72)
    visible = torch.ones(48, 48, dtype=torch.bool)
    visible[30:] = False
    hidden = replace(small.cameras[1], visible=visible)
    return Rig((small.cameras[0], hidden, large.cameras[2], large.cameras[3]))


def dual(rig: Rig) -> Rig:
    """The first two views as crops of one file of 110 x 60 pixels that overlap by a column."""
    crops = [Crop(0, left, top, 48, 48, 110, 60) for left, top in ((5, 0), (52, 12))]
    cameras = (replace(c, crop=crop) for c, crop in zip(rig.cameras[:2], crops, strict=True))
    return Rig(tuple(cameras))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_views_masks_and_rig_of_a_panorama(panoramas, rig, tmp_path):
    out = tmp_path / "views"
    done = render_files([str(panoramas / "a.png")], rig, out)
    assert done == Rendered(out, 1, 0, 4)
    views = [f"a_{name}.png" for name in rig.names]
    masks = [f"{name}_mask.png" for name in rig.names]
    expected = [*views, *masks, "rig.yaml", "rig_mask1.png", "views.json"]
    assert names_in(out) == sorted(expected)
    panorama = to_float(torch.from_numpy(read_picture(panoramas / "a.png")).permute(2, 0, 1))[None]
    for camera, (view, mask) in zip(rig.cameras, render_each(panorama, rig.cameras), strict=True):
        made = read_picture(out / f"a_{camera.name}.png")
        assert np.array_equal(made, to_uint8(view[0]).permute(1, 2, 0).numpy())
        seen = read_picture(out / f"{camera.name}_mask.png")
        assert np.array_equal(seen, np.where(mask[0, :, :, None], 255, 0).repeat(3, axis=2))
        assert not made[seen == 0].any() and made[seen > 0].any()
    # The rig beside the views is theirs.
    shot = read_shot([out / name for name in views], load_rig(out / "rig.yaml"))
    assert torch.equal(shot.rig.cameras[1].mask(), rig.cameras[1].mask())


def test_crops_are_put_together_as_the_camera_writes_them(panoramas, rig, tmp_path):
    rig = dual(rig)
    out = tmp_path / "views"
    assert render_files([str(panoramas)], rig, out).files == 1
    file = read_picture(out / "a_front+right.png")
    assert file.shape == (60, 110, 3)
    apart, alone = tmp_path / "apart", Rig(tuple(replace(c, crop=None) for c in rig.cameras))
    render_files([str(panoramas)], alone, apart)
    shot = read_shot([file], rig)
    for view, camera in zip(shot.views, alone.cameras, strict=True):
        expected = read_picture(apart / f"a_{camera.name}.png")
        mask = camera.mask().numpy()
        assert np.array_equal(to_uint8(view[0]).permute(1, 2, 0).numpy()[mask], expected[mask])
    both = read_picture(out / "front+right_mask.png")[..., 0] > 0
    assert both.sum() == sum(int(camera.mask().sum()) for camera in alone.cameras)
    assert not file[~both].any()


def test_the_same_command_does_only_what_is_missing(panoramas, rig, tmp_path):
    out = tmp_path / "views"
    assert render_files([str(panoramas)], rig, out).panoramas == 3
    times = {path.name: path.stat().st_mtime_ns for path in out.iterdir()}
    assert render_files([str(panoramas)], rig, out) == Rendered(out, 0, 3, 4)
    assert {path.name: path.stat().st_mtime_ns for path in out.iterdir()} == times
    (out / "b_right.png").unlink()
    os.utime(panoramas / "a.png")  # a newer panorama
    assert render_files([str(panoramas)], rig, out) == Rendered(out, 2, 1, 4)
    assert (out / "c_front.png").stat().st_mtime_ns == times["c_front.png"]


def test_another_command_makes_everything_anew(panoramas, rig, tmp_path):
    out = tmp_path / "views"
    render_files([str(panoramas)], rig, out)
    before = read_picture(out / "a_front.png")
    turned = Rig((replace(rig.cameras[0], rotation=rig.cameras[3].rotation), *rig.cameras[1:]))
    assert render_files([str(panoramas)], turned, out).panoramas == 3
    assert not np.array_equal(before, read_picture(out / "a_front.png"))
    assert render_files([str(panoramas)], turned, out, quality="training").panoramas == 3
    assert render_files([str(panoramas)], turned, out, quality="training").panoramas == 0


def test_interrupted_work_is_gone_on_with(panoramas, rig, tmp_path, monkeypatch):
    out = tmp_path / "views"

    def interrupted(*arguments):
        os.kill(os.getpid(), signal.SIGINT)
        return render_each(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(view_files, "render_each", interrupted)
        with pytest.raises(Interrupt, match="1 of 3 panoramas done"):
            render_files([str(panoramas)], rig, out)
    assert [name for name in names_in(out) if name.startswith("a_")] == [
        f"a_{name}.png" for name in sorted(rig.names)
    ]
    assert not any(name.startswith(("b_", "c_", ".")) for name in names_in(out))
    assert render_files([str(panoramas)], rig, out) == Rendered(out, 2, 1, 4)


def test_a_damaged_panorama_does_not_hold_up_the_others(panoramas, rig, tmp_path):
    data = bytearray((panoramas / "a.png").read_bytes())
    data[len(data) // 2] ^= 0xFF  # header and end are sound
    (panoramas / "a.png").write_bytes(bytes(data))
    with pytest.raises(SpiderEyeError, match=r"a\.png.*all others are done"):
        render_files([str(panoramas)], rig, tmp_path / "views")
    made = names_in(tmp_path / "views")
    assert "c_front.png" in made and not any(name.startswith("a_") for name in made)


def test_panoramas_that_are_none_are_listed_before_any_work(panoramas, rig, tmp_path):
    write_picture(panoramas / "square.png", np.zeros((8, 8, 3), np.uint8))
    (panoramas / "empty.jpg").touch()
    with pytest.raises(SpiderEyeError) as error:
        render_files([str(panoramas)], rig, tmp_path / "views")
    assert "square.png: 8x8" in str(error.value) and "empty.jpg: the file is" in str(error.value)
    assert not (tmp_path / "views").exists()


def test_files_never_overwrite_each_other(panoramas, rig, tmp_path):
    write_picture(panoramas / "below" / "a.png", read_picture(panoramas / "b.png"))
    with pytest.raises(SpiderEyeError, match=r"below/a\.png would overwrite that of .*a\.png"):
        render_files([str(panoramas)], rig, tmp_path / "views")
    with pytest.raises(SpiderEyeError, match="lies in the output folder"):
        render_files([str(panoramas / "b.png")], rig, panoramas)
    bad = Rig((replace(rig.cameras[0], name="../front"), *rig.cameras[1:]))
    with pytest.raises(SpiderEyeError, match="cannot be part of a file's name"):
        render_files([str(panoramas / "b.png")], bad, tmp_path / "views")
    assert not (tmp_path / "views").exists()


def test_a_panorama_off_2_to_1_by_a_pixel(rig, tmp_path):
    write_picture(tmp_path / "odd.png", np.full((100, 201, 3), 77, np.uint8))
    render_files([str(tmp_path / "odd.png")], rig, tmp_path / "views")
    view = read_picture(tmp_path / "views" / "odd_front.png")
    assert (view[read_picture(tmp_path / "views" / "front_mask.png") > 0] == 77).all()


def test_the_command(panoramas, rig, tmp_path):
    write_rig(rig, tmp_path / "rig.yaml")
    out = tmp_path / "views"
    command = ["views", str(panoramas / "*.png"), "--rig", str(tmp_path / "rig.yaml")]
    said = CliRunner().invoke(app, [*command, "-o", str(out), "--format", "jpg", "--size", "32"])
    assert said.exception is None
    assert f"{out}: 8 pictures of 2 panoramas" in said.output
    assert read_picture(out / "b_back.jpg").shape == (32, 32, 3)
    for options, message in (
        (["--quality", "best"], "training or exact|exact or training"),
        (["--format", "gif"], "png or jpg"),
        (["--rig", "spider5"], "spider4"),
        (["--device", "gpu"], "device is cpu, cuda"),
        (["--device", "cuda:99"], "PyTorch finds"),
    ):
        failed = CliRunner().invoke(app, [*command, "-o", str(tmp_path / "new"), *options])
        assert isinstance(failed.exception, SpiderEyeError)
        with pytest.raises(SpiderEyeError, match=message):
            raise failed.exception
    assert not (tmp_path / "new").exists()


def test_pictures_by_name_folder_and_pattern(panoramas, monkeypatch):
    def found(*names: str) -> list[str]:
        return [path.as_posix() for path in matching_pictures(names)]

    monkeypatch.chdir(panoramas)
    assert found("b.png", "a.png", "b.png") == ["b.png", "a.png"]
    assert found(".") == ["a.png", "b.png", "below/c.png"]
    assert found("[ab].png") == ["a.png", "b.png"]
    assert found("**/*.png") == ["a.png", "b.png", "below/c.png"]
    assert found(str(panoramas / "b*"), "*") == [(panoramas / "b.png").as_posix(), "a.png", "b.png"]
    Path("[x].png").touch()
    assert found("[x].png") == ["[x].png"]
    for name in ("none.png", "*.jpg", "", "**a", "\0"):
        with pytest.raises(SpiderEyeError):
            found(name)


def test_names_that_begin_with_a_tilde_and_are_no_user(panoramas, monkeypatch):
    monkeypatch.chdir(panoramas)
    for name in ("~back.png", "~dir/front.png"):
        Path(name).parent.mkdir(exist_ok=True)
        shutil.copy("a.png", name)
    assert matching_pictures(["~back.png", "~dir", "~b*.png"]) == [
        Path("~back.png"),
        Path("~dir/front.png"),
    ]
    with pytest.raises(SpiderEyeError, match=r"~nobody\.png is not there"):
        matching_pictures(["~nobody.png"])
    monkeypatch.setenv("HOME", str(panoramas))
    assert matching_pictures(["~/a.png"]) == [panoramas / "a.png"]


def test_links_that_lead_in_a_circle_are_one_line(panoramas, rig, tmp_path):
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(SpiderEyeError, match="loop"):
        render_files([str(panoramas)], rig, tmp_path / "loop")
