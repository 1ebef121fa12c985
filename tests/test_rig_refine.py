"""`spidereye rig refine` from end to end: shots as files in, a rig file, tables and a plot out."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from made_shots import SIZE, relative_errors, shaken, small_rig, taken, world
from PIL import Image

from spidereye.camera import Crop
from spidereye.errors import SpiderEyeError
from spidereye.picture_writing import write_picture
from spidereye.pictures import read_picture, to_uint8
from spidereye.rig import Rig
from spidereye.rig_files import read_rig, write_rig
from spidereye.rig_refine import RefineJob, refine_files
from spidereye.shot_files import find_shots, reduced_sizes
from spidereye.shots import read_shot
from spidereye.stitching import stitch

SHOTS = 2
UNEXPLAINED = "which right cameras do not leave"  # of an overlap's difference


def array(view: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(to_uint8(view[0]).permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def taken_shots(tmp_path_factory) -> tuple[Path, Rig]:
    """A folder with shots of a shaken rig whose f is 1 % less, a block that moves from view to
    view, the believed rig (with a mask and a sphere radius); and the true rig."""
    folder = tmp_path_factory.mktemp("refine")
    visible = torch.ones(SIZE, SIZE, dtype=torch.bool)
    visible[-6:] = False
    rig = small_rig()
    cameras = (replace(rig.cameras[0], visible=visible), *rig.cameras[1:])
    rig = Rig(cameras, sphere_radius=5.0)
    true = shaken(rig, seed=3, zoom=1 / 1.01)
    for number in range(SHOTS):
        views = taken(world(20 + number), true, seed=number)
        views[number][..., 30:50, 20:40] = 0.1
        for camera, view in zip(rig.cameras, views, strict=True):
            write_picture(folder / "shots" / f"{number:04d}" / f"{camera.name}.png", array(view))
    write_rig(rig, folder / "rig.yaml")
    return folder, true


def job(folder: Path, **given) -> RefineJob:
    said = {"shots": [str(folder / "shots")], "rig": str(folder / "rig.yaml")}
    return RefineJob(**{**said, "output": folder / "refined.yaml", **given})


def test_a_rig_is_corrected_from_its_shots(taken_shots, tmp_path, capsys):
    folder, true = taken_shots
    output = tmp_path / "refined.yaml"
    done = refine_files(job(folder, output=output, free="rotation,f"))
    printed, said = capsys.readouterr()
    assert UNEXPLAINED not in said
    rig, refined = read_rig(folder / "rig.yaml"), read_rig(output)
    assert relative_errors(rig.cameras, true.cameras).max() > 2
    assert relative_errors(refined.cameras, true.cameras).max() < 0.1
    for found, wanted in zip(refined.cameras, true.cameras, strict=True):
        assert float(found.lens.f / wanted.lens.f) == pytest.approx(1, abs=0.003)
    # What was written is what was found, and the rest of the rig as it was.
    for one, two, three in zip(refined.cameras, done.rig.cameras, rig.cameras, strict=True):
        assert torch.allclose(one.rotation, two.rotation, atol=1e-12)
        assert (one.name, one.circle, one.crop) == (three.name, three.circle, three.crop)
        assert torch.equal(one.position, three.position)
    assert refined.sphere_radius == 5.0
    assert torch.equal(refined.cameras[0].visible, rig.cameras[0].visible)
    # Every overlap agrees better; the tables name all pairs and views.
    assert all(done.refined.after[pair] < before for pair, before in done.refined.before.items())
    assert "front and right" in printed and "back and left" in printed and "f by %" in printed
    with Image.open(tmp_path / "refined.png") as plot:
        assert plot.width > 800 and np.asarray(plot).std() > 20
    # The shot's panorama comes closer to the truth.
    panorama = torch.nn.functional.interpolate(world(20), (64, 128), mode="area")
    paths = [folder / "shots" / "0000" / f"{name}.png" for name in rig.names]
    errors = []
    for one in (rig, refined):
        shot = read_shot(paths, one)
        made = stitch(shot.views, shot.rig.cameras, 64, 128).panorama
        errors.append(float((made - panorama).square().mean()))
    assert errors[1] < errors[0]


def test_reference_limit_and_shots_that_cannot_be_used(taken_shots, tmp_path, capsys):
    folder, true = taken_shots
    shots = tmp_path / "shots"
    shutil.copytree(folder / "shots", shots)
    (shots / "0001" / "left.png").unlink()
    shutil.copytree(shots / "0000", shots / "0002")
    shutil.copytree(shots / "0000", shots / "0003")
    (shots / "0003" / "back.png").write_bytes(b"no picture")
    shutil.copytree(shots / "0000", shots / "0004")
    write_picture(shots / "0004" / "right.png", array(taken(world(77), true)[1]))
    write_picture(shots / "rig_map.png", np.zeros((8, 8, 3), np.uint8))
    done = refine_files(
        job(folder, shots=[str(shots)], output=tmp_path / "new" / "r.yaml", reference_view="right",
            plot=tmp_path / "p.png", limit=2)
    )  # fmt: skip
    said = capsys.readouterr().err
    assert "0001 has no left" in said and "back.png" in said and "bear no view's name" in said
    assert "0004: " in said and "left out" in said
    assert done.shots.names == [str(shots / "0000")] and "2 of 3 shots taken" in said
    rig = read_rig(folder / "rig.yaml")
    change = done.rig.cameras[1].rotation - rig.cameras[1].rotation
    assert float(change.abs().max()) < 1e-6
    assert (tmp_path / "p.png").is_file() and not (tmp_path / "new" / "r.png").exists()


def test_a_right_rig_is_written_as_it_is(taken_shots, tmp_path, capsys):
    folder, true = taken_shots
    write_rig(true, tmp_path / "true.yaml")
    done = refine_files(
        job(folder, rig=str(tmp_path / "true.yaml"), output=tmp_path / "again.yaml", limit=1)
    )
    assert "written as it was" in capsys.readouterr().err
    again = read_rig(tmp_path / "again.yaml")
    assert relative_errors(again.cameras, true.cameras).max() < 1e-5
    assert done.refined.after == done.refined.before


def test_another_lens_is_suspected(taken_shots, tmp_path, capsys):
    folder, true = taken_shots
    cameras = tuple(replace(c, lens=c.lens.zoomed(1.15)) for c in true.cameras)
    write_rig(replace(true, cameras=cameras), tmp_path / "wrong.yaml")
    refine_files(job(folder, rig=str(tmp_path / "wrong.yaml"), output=tmp_path / "tried.yaml"))
    said = " ".join(capsys.readouterr().err.split())
    assert UNEXPLAINED in said and "--free rotation,f" in said


def test_mistakes_are_one_line_and_write_nothing(taken_shots, tmp_path):
    folder, _ = taken_shots
    empty = tmp_path / "none"
    empty.mkdir()
    write_picture(empty / "a.png", np.zeros((8, 8, 3), np.uint8))
    wide = tmp_path / "wide"
    for name in ("front", "right", "back", "left"):
        write_picture(wide / f"1_{name}.png", np.zeros((48, 96, 3), np.uint8))
    flat, swapped = tmp_path / "flat", tmp_path / "swapped"
    pictures = [folder / "shots" / "0000" / f"{n}.png" for n in ("front", "right", "back", "left")]
    for number, name in enumerate(("front", "right", "back", "left")):
        write_picture(flat / f"1_{name}.png", np.full((SIZE, SIZE, 3), 128, np.uint8))
        write_picture(swapped / f"{name}.png", read_picture(pictures[(number * 2 + 1) % 3]))
    lacking = tmp_path / "lacking"
    shutil.copytree(folder / "shots" / "0000", lacking)
    (lacking / "back.png").unlink()
    output = tmp_path / "out.yaml"
    for given, words in (
        ({"shots": [str(tmp_path / "x")]}, "is not there"),
        ({"shots": [str(empty)]}, "no shots in"),
        ({"shots": [str(lacking)]}, "has no back"),
        ({"shots": [str(wide)]}, "96x48 pixels, which is not the shape of the rig's 96x96"),
        ({"shots": [str(flat)]}, "too flat to tell any rotation"),
        ({"shots": [str(swapped)]}, "in no shot do the views match"),
        ({"rig": "spider5"}, "neither a rig file nor a named rig"),
        ({"free": "rotation,zoom"}, "--free takes rotation, f, centre"),
        ({"free": ""}, "--free takes"),
        ({"reference_view": "up"}, "the rig's views are front, right, back, left"),
        ({"output": empty}, "a rig file ends in .yaml"),
        ({"plot": tmp_path / "p.jpg"}, "ends in .png"),
    ):
        with pytest.raises(SpiderEyeError, match=words) as caught:
            refine_files(job(folder, **{"output": output, **given}))
        assert "\n" not in str(caught.value)
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(SpiderEyeError, match="is a folder"):
        refine_files(job(folder, output=tmp_path / "folder.yaml"))
    assert not output.exists() and not output.with_suffix(".png").exists()


@pytest.mark.parametrize(
    "pattern",
    ["{shot}/{view}", "{shot}_{view}", "{view}_{shot}", "{view}/{shot}", "a/{shot}-{view}"],
)
def test_shots_are_found_by_their_names(tmp_path, pattern):
    rig = small_rig()
    for shot in ("0001", "0002"):
        for view in (*rig.names, *(f"{name}_mask" for name in rig.names)):
            name = pattern.format(shot=shot, view=view) + ".png"
            write_picture(tmp_path / name, np.zeros((8, 8, 3), np.uint8))
    found = find_shots([str(tmp_path)], rig)
    assert len(found.shots) == 2 and not found.left_out
    for shot, number in zip(found.shots, ("0001", "0002"), strict=True):
        expected = [tmp_path / f"{pattern.format(shot=number, view=v)}.png" for v in rig.names]
        assert list(shot.paths) == expected
    assert all("no view's name" in note for note in found.notes)


def test_files_of_several_views_and_of_several_sizes(tmp_path):
    """Two views in one file: every picture is a shot, and the coarsest sets the size of all."""
    crops = [Crop(0, left, 0, SIZE, SIZE, 2 * SIZE, SIZE) for left in (0, SIZE)]
    pair = small_rig().cameras[::2]
    rig = Rig(tuple(replace(c, crop=crop) for c, crop in zip(pair, crops, strict=True)))
    for name, height in (("x", 50), ("y", 200)):
        write_picture(tmp_path / f"{name}.png", np.zeros((height, 2 * height, 3), np.uint8))
    found = find_shots([str(tmp_path)], rig)
    shots, notes = found.shots, [*found.left_out, *found.notes]
    assert [shot.name for shot in shots] == [str(tmp_path / "x"), str(tmp_path / "y")]
    sizes, good, more = reduced_sizes(shots, rig, per_degree=3.0)
    assert sizes == [(100, 50)] and len(good) == 2 and notes == more == []
    sizes, _, _ = reduced_sizes(shots, rig, per_degree=0.1)
    assert sizes[0][0] < 60 and sizes[0][0] == pytest.approx(2 * sizes[0][1], abs=1)
