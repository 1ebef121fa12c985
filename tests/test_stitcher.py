"""`Stitcher`: refined where the overlaps tell, left alone elsewhere, fast the second time."""

import copy
import math
import pickle
import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from made_checkpoints import tiny_checkpoint
from PIL import ExifTags, Image

from spidereye import Stitcher, conditioning, rotation
from spidereye.camera import Camera
from spidereye.config import Config
from spidereye.errors import SpiderEyeError
from spidereye.given_pictures import array_of, check_several, width_of
from spidereye.lenses import UCM
from spidereye.lenses.families import family
from spidereye.model import SpiderEyeModel
from spidereye.natural_size import checked_size
from spidereye.pictures import resize_area, to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import Rig, spider4
from spidereye.rig_files import read_rig, write_rig
from spidereye.rotation import angle_between
from spidereye.scenes.scene import Scene
from spidereye.self_calibration import self_calibrate
from spidereye.shot_stitching import ShotStitch
from spidereye.shots import read_shot, widths_of
from spidereye.stitch_files import refinement_lines, stitch_files
from spidereye.stitch_job import StitchJob, size_from
from spidereye.stitched import checked_sampling
from spidereye.trained import Trained

SIDE = 96
RIG = spider4(220 * SIDE / 560, 0.85, SIDE)
SIZE = (256, 128)
BOTH = ("gain", "rotation")
# Degrees of yaw, pitch and roll, and gains and offsets, that are about nought on the mean over the
# rig, because views alone do not tell the mean.
TURNS = ((2.0, -1.5, 1.0), (-2.5, 1.0, -1.0), (-2.0, -1.5, 1.0), (2.5, 1.0, -1.0))
COLOURS = ((1.111, 0.02), (0.909, -0.02), (1.053, -0.03), (0.952, 0.03))


@pytest.fixture(scope="module")
def panorama() -> np.ndarray:
    return Scene.random(3).panorama(512)


def rendered(panorama: np.ndarray, rig: Rig) -> list[np.ndarray]:
    picture = to_float(torch.from_numpy(panorama).permute(2, 0, 1))[None].double()
    views = [view for view, _ in render_each(picture, rig.cameras)]
    return [to_uint8(view[0]).permute(1, 2, 0).contiguous().numpy() for view in views]


def turned(rig: Rig, degrees) -> Rig:
    cameras = [
        replace(camera, rotation=camera.rotation @ rotation.from_degrees(*angles))
        for camera, angles in zip(rig.cameras, degrees, strict=True)
    ]
    return replace(rig, cameras=tuple(cameras))


def exposed(pictures, colours) -> list[np.ndarray]:
    return [
        np.rint(picture * gain + 255 * offset).clip(0, 255).astype(np.uint8)
        for picture, (gain, offset) in zip(pictures, colours, strict=True)
    ]


def psnr(made: np.ndarray, panorama: np.ndarray) -> float:
    truth = resize_area(panorama, made.shape[1], made.shape[0])
    error = np.square(made.astype(float) - truth).mean()
    return 10 * math.log10(255**2 / max(error, 1e-9))


def geometric(*refine, **more) -> Stitcher:
    return Stitcher.geometric(RIG, SIZE, refine=refine, **more)


@pytest.fixture(scope="module")
def shaken(panorama) -> list[np.ndarray]:
    return exposed(rendered(panorama, turned(RIG, TURNS)), COLOURS)


def test_refinement_improves_a_jittered_shot(panorama, shaken):
    plain, gain, both = (geometric(*what)(shaken) for what in ((), ("gain",), BOTH))
    assert psnr(gain.picture, panorama) > psnr(plain.picture, panorama) + 2
    assert psnr(both.picture, panorama) > psnr(gain.picture, panorama) + 2
    assert plain.corrections == () and plain.misalignment is None and plain.notes == ()
    assert [c.view for c in both.corrections] == list(RIG.names)
    assert all(c.turned > math.radians(0.5) for c in both.corrections)
    assert all(c.turned == 0 for c in gain.corrections) and gain.misalignment
    brighter = [c.gain[1] for c in both.corrections]
    assert brighter[1] > brighter[3] > brighter[2] > brighter[0]
    for blend in ("multiband", "none"):
        better, worse = (geometric(*what, blend=blend)(shaken) for what in (BOTH, ()))
        assert psnr(better.picture, panorama) > psnr(worse.picture, panorama) + 2


def test_the_reference_view_keeps_its_colours_and_pose(panorama):
    """Where the truth is absolute: one view is exact and the panorama is made to fit it."""
    turns, colours = ((0.0, 0.0, 0.0), *TURNS[1:]), ((1.0, 0.0), *COLOURS[1:])
    pictures = exposed(rendered(panorama, turned(RIG, turns)), colours)
    free, fixed = (geometric(*BOTH, reference_view=name)(pictures) for name in (None, "front"))
    front = fixed.corrections[0]
    assert front.turned < 1e-4 and np.allclose(front.gain, 1) and np.allclose(front.offset, 0)
    assert psnr(fixed.picture, panorama) > psnr(free.picture, panorama) + 3
    assert psnr(fixed.picture, panorama) > psnr(geometric()(pictures).picture, panorama) + 5


def test_the_second_shot_uses_the_plan_of_the_first(panorama):
    pictures = rendered(panorama, RIG)
    stitcher = Stitcher.geometric(RIG, (512, 256))
    seconds, plans = [], []
    for _ in range(3):
        start = time.perf_counter()
        stitcher(pictures)
        seconds.append(time.perf_counter() - start)
        plans.append(next(iter(stitcher.stitch.plans.values())))
    assert plans[0] is plans[1] is plans[2]
    assert min(seconds[1:]) < seconds[0] / 2
    # Other sizes and rigs have plans of their own; only the last ones are kept.
    larger = [cv2.resize(picture, None, fx=2, fy=2) for picture in pictures]
    stitcher(larger)
    stitcher(pictures, turned(RIG, TURNS))
    assert len(stitcher.stitch.plans) == 2
    assert all(plan is not plans[0] for plan in stitcher.stitch.plans.values())


def test_what_nobody_sees_is_filled_and_flagged(panorama):
    rig = spider4(220 * SIDE / 320, 0.85, SIDE)  # about 120° each
    pictures = rendered(panorama, rig)
    for blend in ("feather", "multiband", "none"):
        made = Stitcher.geometric(rig, SIZE, blend=blend)(pictures)
        assert 0.5 < made.seen.mean() < 0.95 and not made.seen[0].any()
        np.testing.assert_array_equal(made.seen, made.count > 0)
        assert psnr(made.picture[48:80], resize_area(panorama, *SIZE)[48:80]) > 25
        # Smooth: from column to column next to nothing, neither black nor grey.
        assert np.abs(np.diff(made.picture[:2].astype(int), axis=1)).max() < 12
        assert made.picture[0].std() < 40 and made.picture[0].min() > 0


@pytest.mark.parametrize("level", [0, 255])
def test_a_black_or_saturated_view_is_left_out_and_said(panorama, shaken, level):
    """Refinement of the other three may not suffer, and the picture is no worse."""
    pictures = [shaken[0], np.full_like(shaken[1], level), *shaken[2:]]
    plain, refined = geometric()(pictures), geometric(*BOTH)(pictures)
    assert any(note.startswith("right: ") and "black" in note for note in refined.notes)
    assert refined.corrections[1].gain == (1, 1, 1) and refined.corrections[1].turned == 0
    assert psnr(refined.picture, panorama) > psnr(plain.picture, panorama) - 0.2


def test_flat_overlaps_are_not_made_worse():
    """Snow under an overcast sky: a ramp of 20 levels, and drifts of a few."""
    drifts = np.random.default_rng(0).normal(0, 2, (8, 16, 3))
    snow = np.linspace(235, 215, 256)[:, None, None] + cv2.resize(drifts, (512, 256))
    snow = np.rint(snow).astype(np.uint8)
    pictures = rendered(snow, RIG)
    plain = psnr(geometric()(pictures).picture, snow)
    for refine in (("gain",), BOTH):
        refined = geometric(*refine)(pictures)
        assert psnr(refined.picture, snow) > plain - 0.2
        assert all(correction.turned < math.radians(0.1) for correction in refined.corrections)
    assert "poses left as they are" in " ".join(refined.notes)


def test_large_views_are_compared_at_a_smaller_size(panorama):
    """What the shrunk views tell is what the large ones would."""
    rig = turned(RIG, TURNS)
    large = replace(rig, cameras=tuple(camera.resized(600, 600) for camera in rig.cameras))
    pictures = rendered(panorama, large)
    shot = read_shot(pictures, RIG)
    small = shot.shrunk(512)
    assert small.views[0].shape == (1, 3, 512, 512) and small.rig.cameras[0].lens.width == 512
    found, expected = (self_calibrate(one.views, one.rig.cameras, BOTH) for one in (small, shot))
    for one, other in zip(found.cameras, expected.cameras, strict=True):
        assert float(angle_between(one.rotation, other.rotation)) < math.radians(0.03)
    assert float((found.gain - expected.gain).abs().max()) < 0.005
    assert float((found.offset - expected.offset).abs().max()) < 0.003


def test_files_of_any_kind_and_size(panorama, tmp_path):
    """Sixteen bits beside eight, grey beside RGBA, one file twice as large."""
    grey = cv2.cvtColor(panorama, cv2.COLOR_RGB2GRAY)
    pictures = rendered(np.repeat(grey[..., None], 3, axis=-1), RIG)
    expected = geometric()(pictures).picture.astype(int)
    paths = [tmp_path / f"{name}.png" for name in RIG.names]
    cv2.imwrite(str(paths[0]), pictures[0].astype(np.uint16) * 257)  # 16-bit RGB
    cv2.imwrite(str(paths[1]), pictures[1][..., 0].astype(np.uint16) * 257)  # 16-bit grey
    alpha = np.full((SIDE, SIDE, 1), 200, np.uint8)
    Image.fromarray(np.concatenate((pictures[2], alpha), axis=-1)).save(paths[2])
    Image.fromarray(pictures[3][..., 0]).resize((2 * SIDE, 2 * SIDE), 0).save(paths[3])
    made = geometric(*BOTH)(paths)
    assert np.abs(geometric()(paths).picture - expected).mean() < 2
    assert np.abs(made.picture - expected).mean() < 4
    with pytest.raises(SpiderEyeError, match=r"mode I;16 has more than 8 bits: give the path"):
        geometric()([Image.open(path) for path in (paths[1], *paths[1:])])
    with pytest.raises(SpiderEyeError, match=r"of uint16; scale 16 bits"):
        geometric()([pictures[0].astype(np.uint16), *pictures[1:]])


def test_settings_that_make_no_sense_are_explained():
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"refine": ("tint",)}, "refine takes gain, rotation; got 'tint'"),
        ({"blend": "poisson"}, "blend takes feather, multiband, none; got"),
        ({"kernel": "nearest"}, "kernel takes bilinear, bicubic, lanczos; got"),
        ({"reference_view": "front"}, "goes with refine: without it"),
        ({"refine": ("gain",), "reference_view": "top"}, "has front, right, back, left"),
    ]
    for more, words in wrong:
        with pytest.raises(SpiderEyeError, match=words):
            Stitcher(RIG, SIZE, **more)


def test_options_that_make_no_sense_are_explained():
    """Those of the command, before anything is read."""
    job = StitchJob([Path("a.png")], Path("out.png"), "geometric")
    model = replace(job, method="model", checkpoint="x")
    both = "--refine takes gain or rotation, or both as gain,rotation; got 'foo'"
    for wrong, words in (
        (replace(job, refine="foo"), both),
        (replace(job, refine="gain,"), "got ''"),
        (
            replace(job, blend="poisson"),
            "--blend takes feather or multiband or none; got 'poisson'",
        ),
        (replace(job, kernel="nearest"), "--kernel takes"),
        (replace(job, reference_view="front"), "--reference-view front goes with --refine"),
        (replace(job, mask=Path("mask.jpg")), "ends in .png"),
        (replace(job, mask=Path("out.png")), "its own place"),
        (replace(model, blend="none"), "--blend goes with --method geometric"),
        (replace(model, refine="none", reference_view="front"), "front goes with --refine"),
        (replace(job, images=[Path("-")]), "every picture is missing (-)"),
        (replace(job, images=[Path("a.png"), Path("./a.png")]), "a.png is given twice"),
        (replace(job, steps=2), "--steps goes with --method model"),
        (replace(job, checkpoint="x"), "--checkpoint goes with --method model"),
        (replace(job, precision="bf16"), "--precision goes with --method model"),
        (replace(job, rig="tri190", xi=0.9), "--xi describe the lens of spider4, and --rig brings"),
    ):
        with pytest.raises(SpiderEyeError, match=re.escape(words)):
            wrong.check()
    replace(job, refine="rotation, gain", reference_view="front", mask=Path("m.PNG")).check()
    replace(model, refine="gain", mask=Path("m.png"), rig="tri190").check()
    replace(model, reference_view="front").check()  # it may have been trained with refinement
    assert replace(model, refine="none").refinements == ()


def test_where_no_panorama_can_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "file").touch()
    nowhere = [tmp_path / f"{name}.png" for name in ("front", "right", "back", "left")]
    job = StitchJob(nowhere, tmp_path / "out.png", "geometric")
    (tmp_path / "link.png").symlink_to("out.png")
    for wrong, words in (
        (replace(job, mask=tmp_path / "link.png"), "give the mask its own place"),
        (replace(job, output=tmp_path / "out.bmp"), "cannot write pictures with suffix '.bmp'"),
        (replace(job, output=tmp_path / "file" / "out.png"), "cannot be written: Not a directory"),
        (replace(job, mask=tmp_path / "file" / "m.png"), "cannot be written: Not a directory"),
        (replace(job, output=nowhere[0]), "front.png is one of the views: name another"),
        (replace(job, images=[tmp_path]), "is a folder: give the files of one shot, or --batch"),
        (replace(job, images=nowhere[:3]), "expected 4 files, front, right, back, left, got 3: "),
        (replace(job, images=nowhere[1:]), "there is none for front; - in its place stands for"),
        (replace(job, device="gpu"), "device is cpu, cuda, cuda:1 …, got 'gpu'"),
    ):
        with pytest.raises(SpiderEyeError, match=re.escape(words)):
            stitch_files(wrong)
    with pytest.raises(SpiderEyeError, match="at most 16384 wide, got '100000x50000'"):
        size_from("100000x50000")
    (tmp_path / "out.png").mkdir()
    with pytest.raises(SpiderEyeError, match=r"out\.png is a folder: name a file in it"):
        stitch_files(job)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "link.png", "out.png"}


def test_a_model_takes_compensated_views(shaken):
    config = Config()
    config.dataset.im_size, config.ssdd.decoder_image_size = 16, [32, 16]
    config.ssdd.decoder, config.ssdd.encoder_width, config.ssdd.fm_sampler.steps = "XS", 32, 1
    torch.manual_seed(0)
    trained = Trained(SpiderEyeModel(config.model()), config, "random weights", 1)
    plain, gain = (Stitcher(RIG, (32, 16), trained, refine=r) for r in ((), ("gain",)))
    with_gain = gain(shaken)
    assert len(with_gain.corrections) == 4 and with_gain.corrections[1].gain[0] > 1.01
    assert with_gain.seen.all() and with_gain.picture.shape == (16, 32, 3)
    assert np.abs(with_gain.picture.astype(int) - plain(shaken).picture).max() > 0
    with pytest.raises(SpiderEyeError, match="geometric stitch only: this model takes no"):
        Stitcher(RIG, (32, 16), trained, refine=("gain", "rotation"))


def test_views_much_finer_than_the_panorama_are_averaged(panorama):
    """Read point by point they would alias."""
    cameras = tuple(camera.resized(320, 320) for camera in RIG.cameras)
    pictures = rendered(panorama, Rig(cameras))
    made = Stitcher.geometric(RIG, (128, 64))(pictures)
    assert made.picture.shape == (64, 128, 3) and made.count.shape == (64, 128)
    assert psnr(made.picture, panorama) > 36


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("spherical"))


@pytest.fixture(scope="module")
def views(panorama) -> list[np.ndarray]:
    return rendered(panorama, RIG)


@pytest.fixture
def grids(monkeypatch) -> list[int]:
    """How many cameras each grid that is made has."""
    made = []

    def counted(cameras, *more):
        made.append(len(cameras))
        return latent_grid(cameras, *more)

    latent_grid = conditioning.latent_grid
    monkeypatch.setattr(conditioning, "latent_grid", counted)
    return made


def mixed_rig() -> Rig:
    """Three views of different lenses and sizes, one of them not square."""
    origin = torch.zeros(3, dtype=torch.float64)
    lenses = (
        (family("equidistant", math.radians(95), 40.0, 80), 40.0),
        (UCM.create(220 * 48 / 560, 0.85, 64, 48), 24.0),
        (family("stereographic", math.radians(100), 60.0, 120), 60.0),
    )
    return Rig(
        tuple(
            Camera(name, lens, rotation.from_degrees(yaw), origin, circle)
            for name, yaw, (lens, circle) in zip("abc", (0, 120, -120), lenses, strict=True)
        )
    )


def difference(one: np.ndarray, other: np.ndarray) -> int:
    return int(np.abs(one.astype(int) - other).max())


def test_a_conditioned_model_is_refined_as_it_was_trained(checkpoint, panorama, shaken):
    stitcher = Stitcher.load(checkpoint)
    made = stitcher(shaken)
    assert stitcher.refine == ("gain",) and stitcher.takes_cameras
    assert made.picture.shape == (32, 64, 3) and made.seen.all() and len(made.corrections) == 4
    assert made.corrections[1].gain[0] > 1.01 and made.misalignment
    asked = Stitcher.load(checkpoint, refine=BOTH)(shaken)
    assert psnr(asked.picture, panorama) > psnr(made.picture, panorama) + 1
    plain = Stitcher.load(checkpoint, refine=())(shaken)
    assert plain.corrections == () and psnr(made.picture, panorama) > psnr(plain.picture, panorama)
    # Where all is seen nothing is left to noise, and the network has a say.
    assert difference(stitcher(shaken, seed=7).picture, made.picture) == 0
    assert difference(Stitcher.load(checkpoint, "raw")(shaken).picture, made.picture) > 0


def test_a_conditioned_model_takes_any_rig(checkpoint, panorama, views):
    rig = mixed_rig()
    pictures = rendered(panorama, rig)
    stitcher = Stitcher.load(checkpoint, refine=())
    own, other = stitcher(views), stitcher(pictures, rig=rig)
    assert other.picture.shape == own.picture.shape and other.count.max() == 3
    assert psnr(own.picture, panorama) > 22 and psnr(other.picture, panorama) > 22
    again = Stitcher.load(checkpoint, rig=rig, refine=())(pictures)
    assert difference(again.picture, other.picture) == 0
    with pytest.raises(SpiderEyeError, match="expected 3 pictures, a, b, c in this order, got 4"):
        stitcher(views, rig=rig)
    with pytest.raises(SpiderEyeError, match=r"b is 64x48.*cannot be 48x48.*aspect ratio"):
        stitcher([pictures[0], views[0][:48, :48], pictures[2]], rig=rig)


def test_pictures_of_any_kind_by_order_or_by_name(checkpoint, views):
    """Arrays, PIL images and tensors of bytes and floats, listed or named."""
    tensors = [torch.from_numpy(view).permute(2, 0, 1) for view in views]
    floats = [to_float(tensor) for tensor in tensors]
    images = [Image.fromarray(view) for view in views]
    for stitcher in (geometric(), Stitcher.load(checkpoint)):
        expected = stitcher(views).picture
        for given in (tensors, floats, images):
            assert difference(stitcher(given).picture, expected) == 0
        named = {name: views[RIG.names.index(name)] for name in ("left", "back", "front", "right")}
        assert difference(stitcher(named).picture, expected) == 0
        three = {name: view for name, view in named.items() if name != "right"}
        absent = stitcher([views[0], None, *views[2:]])
        assert difference(stitcher(three).picture, absent.picture) == 0
    with pytest.raises(SpiderEyeError, match="is called top: its pictures are front, right, back"):
        geometric()({"top": views[0]})
    bright = [255 * (floats[0] + 1) / 2, *floats[1:]]
    with pytest.raises(SpiderEyeError, match=r"floats in \[-1, 1\], got \[3, 96, 96\].* up to 2"):
        geometric()(bright)
    with pytest.raises(SpiderEyeError, match=r"tensor \[3, h, w\] of uint8.* got \[96, 96, 3\]"):
        geometric()([torch.from_numpy(views[0]), *tensors[1:]])
    with pytest.raises(SpiderEyeError, match=r"expected a list of pictures, .* got one str"):
        geometric()("front.jpg")
    with pytest.raises(SpiderEyeError, match=r"got one ndarray"):
        check_several(views[0])


@pytest.mark.filterwarnings("error")
def test_arrays_that_must_not_be_written_are_read(views):
    """As NumPy makes them of PIL images."""
    locked = [view.copy() for view in views]
    for view in locked:
        view.setflags(write=False)
    assert difference(geometric("gain")(locked).picture, geometric("gain")(views).picture) == 0


def test_sizes_are_those_of_panoramas():
    for wrong in (512, "512x256", (256, 512), (512, 300), (0, 0), (64.0, 32.0), (1, 2, 3)):
        with pytest.raises(SpiderEyeError, match=r"is \(W, H\) in pixels with W = 2H, .* got"):
            checked_size(wrong)
    assert checked_size((np.int64(64), 32)) == (64, 32)
    with pytest.raises(SpiderEyeError, match=r"got \(256, 512\)"):
        Stitcher.geometric(RIG, (256, 512))


def test_what_is_meant_otherwise_is_understood_or_said(views):
    assert Stitcher.geometric(RIG, SIZE, refine="gain, rotation").refine == BOTH
    halves = [torch.from_numpy(view).permute(2, 0, 1) / 255 for view in views]
    with pytest.warns(UserWarning, match=r"if yours are of \[0, 1\], give 2·x - 1"):
        geometric()(halves)


def test_rigs_are_given_by_name_or_file(checkpoint, panorama, tmp_path):
    rig = mixed_rig()
    pictures, file = rendered(panorama, rig), tmp_path / "rig.yaml"
    write_rig(rig, file)
    expected = Stitcher.geometric(read_rig(file), SIZE)(pictures)
    stitcher = Stitcher.load(checkpoint)
    assert difference(Stitcher.geometric(str(file), SIZE)(pictures).picture, expected.picture) == 0
    for_file = Stitcher.load(checkpoint, rig=file)(pictures)
    assert difference(stitcher(pictures, rig=file).picture, for_file.picture) == 0
    assert Stitcher.geometric("tri190", SIZE).rig.names == ("front", "right", "left")
    with pytest.raises(SpiderEyeError, match=r"no\.yaml is neither a rig file nor a named rig"):
        stitcher(pictures, rig="no.yaml")


def test_a_batch_is_each_of_its_shots(checkpoint, views, shaken):
    shots = [views, shaken, [views[0], None, *views[2:]]]
    for stitcher in (geometric("gain"), Stitcher.load(checkpoint)):
        for made, alone in zip(stitcher.batch(shots), map(stitcher, shots), strict=True):
            assert difference(made.picture, alone.picture) <= 1
            np.testing.assert_array_equal(made.count, alone.count)
            assert made.notes == alone.notes and len(made.corrections) == len(alone.corrections)
    assert geometric().batch([]) == []


def test_pil_images_are_turned_as_their_files_are(views, tmp_path):
    """Cameras that are held on their side say so in EXIF."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    paths = []
    for name, view in zip("abcd", views, strict=True):
        paths.append(tmp_path / f"{name}.png")
        on_its_side = Image.fromarray(np.ascontiguousarray(np.rot90(view)))
        on_its_side.save(paths[-1], exif=exif)
    opened = [Image.open(path) for path in paths]
    assert difference(geometric()(opened).picture, geometric()(views).picture) == 0
    assert difference(geometric()(paths).picture, geometric()(views).picture) == 0
    tall = Image.new("RGB", (30, 50))
    tall.getexif()[ExifTags.Base.Orientation] = 6
    assert width_of(tall) == array_of(tall).shape[1] == 50
    tall.save(tmp_path / "tall.tif", exif=exif)  # Pillow turns these itself
    assert width_of(Image.open(tmp_path / "tall.tif")) == 50
    assert array_of(Image.open(tmp_path / "tall.tif")).shape[1] == 50


def test_what_no_two_views_tell_is_not_told(shaken):
    noise = np.random.default_rng(0)
    strange = [noise.integers(0, 256, shaken[0].shape, dtype=np.uint8) for _ in shaken]
    made = geometric(*BOTH)(strange)
    assert made.misalignment is None
    assert any("misalignment: cannot be told" in line for line in refinement_lines(made, BOTH))
    assert geometric(*BOTH)(shaken).misalignment is not None


def test_steps_and_seeds_that_cannot_be(checkpoint, views):
    stitcher = Stitcher.load(checkpoint)
    for given in ({"steps": 0}, {"steps": -1}, {"seed": -1}):
        with pytest.raises(SpiderEyeError, match=r"steps are 1 or more, seed is 0 or more; got"):
            stitcher(views, **given)
    for given in ({"steps": 2}, {"seed": 3}):
        with pytest.raises(SpiderEyeError, match="steps and seed go with a model"):
            geometric()(views, **given)
    with pytest.raises(SpiderEyeError, match=r"expected an array .* got \[0, 0, 3\]"):
        stitcher([np.zeros((0, 0, 3), np.uint8), *views[1:]])


def test_what_one_shot_told_serves_others(checkpoint, views, shaken):
    for stitcher in (geometric(*BOTH), Stitcher.load(checkpoint)):
        found = stitcher.calibrate(shaken)
        assert found is not None
        assert difference(stitcher(shaken, found=found).picture, stitcher(shaken).picture) == 0
        assert difference(stitcher(views, found=found).picture, stitcher(views).picture) > 5
    assert geometric().calibrate(shaken) is None


def test_a_model_makes_panoramas_of_other_sizes(checkpoint, panorama, views):
    """Four times the pixels, and what they can show is there."""
    own, large = Stitcher.load(checkpoint), Stitcher.load(checkpoint, size=(128, 64))
    assert large.size == (128, 64) and large.config.dataset.im_size == 64
    made = large(views)
    assert made.picture.shape == (64, 128, 3) and made.count.shape == (64, 128)
    enlarged = cv2.resize(own(views).picture, (128, 64), interpolation=cv2.INTER_CUBIC)
    assert psnr(made.picture, panorama) > psnr(enlarged, panorama) + 1
    for width, height in ((100, 60), (136, 68), (0, 0)):
        with pytest.raises(SpiderEyeError, match=rf"of {width}x{height} cannot .* multiple of 16"):
            Stitcher.load(checkpoint, size=(width, height))


def test_the_order_of_the_views_does_not_matter(checkpoint, views):
    order = [2, 0, 3, 1]
    permuted = replace(RIG, cameras=tuple(RIG.cameras[i] for i in order))
    stitcher = Stitcher.load(checkpoint, refine=())
    made, other = stitcher(views), stitcher([views[i] for i in order], rig=permuted)
    assert difference(made.picture, other.picture) <= 1
    np.testing.assert_array_equal(made.count, other.count)


def test_a_rigs_grid_is_made_once(checkpoint, views, shaken, grids):
    stitcher = Stitcher.load(checkpoint, refine=())
    first = stitcher(views)
    assert difference(stitcher(shaken).picture, first.picture) > 0 and grids == [4]
    stitcher([*views[:3], None])
    assert grids == [4, 3]


def test_the_model_starts_from_the_pictures_own_detail(checkpoint, panorama):
    """Shrunk to the encoder's 32 pixels, views show less than a 64x32 panorama can."""
    large = replace(RIG, cameras=tuple(camera.resized(256, 256) for camera in RIG.cameras))
    small = replace(RIG, cameras=tuple(camera.resized(32, 32) for camera in RIG.cameras))
    stitcher = Stitcher.load(checkpoint, refine=())
    fine, coarse = (stitcher(rendered(panorama, rig)).picture for rig in (large, small))
    assert psnr(fine, panorama) > psnr(coarse, panorama) + 1


@pytest.mark.parametrize("refine", [(), ("gain",)])
def test_a_model_works_without_a_missing_or_black_view(checkpoint, views, refine):
    stitcher = Stitcher.load(checkpoint, refine=refine)
    three = replace(RIG, cameras=tuple(RIG.cameras[i] for i in (0, 2, 3)))
    expected = stitcher([views[0], *views[2:]], rig=three)
    missing = stitcher([views[0], None, *views[2:]])
    black = stitcher([views[0], np.zeros_like(views[1]), *views[2:]])
    assert difference(missing.picture, expected.picture) == 0
    assert difference(black.picture, expected.picture) <= 1
    for made, word in ((missing, "missing"), (black, "it shows nothing")):
        np.testing.assert_array_equal(made.count, expected.count)
        said = [note for note in made.notes if note.startswith("right: ")]
        assert len(said) == 1 and word in said[0] and "the others see 100.0%" in said[0]
    assert len(missing.corrections) == (3 if refine else 0)
    with pytest.raises(SpiderEyeError, match="every picture of the shot is missing: give at least"):
        stitcher([None] * 4)


def test_a_missing_reference_is_said(checkpoint, shaken):
    for stitcher in (
        Stitcher.load(checkpoint, reference_view="right"),
        geometric("gain", reference_view="right"),
    ):
        made = stitcher([shaken[0], None, *shaken[2:]])
        assert any("right is the reference but missing" in note for note in made.notes)
        right, back, _ = stitcher([None, *shaken[1:]]).corrections
        assert np.allclose(right.gain, 1) and not np.allclose(back.gain, 1, atol=0.05)


def test_how_little_is_seen_is_said_or_refused(checkpoint, panorama):
    narrow = {f: spider4(f * SIDE / 560, 0.85, SIDE) for f in (750, 2200)}
    pictures = {f: rendered(panorama, rig) for f, rig in narrow.items()}
    stitcher = Stitcher.load(checkpoint, refine=())
    made = stitcher(pictures[750], rig=narrow[750])
    assert 0.05 < made.seen.mean() < 0.5
    (note,) = made.notes
    assert re.fullmatch(r"most of this panorama is guessed: [\d.]+% of the sphere is seen", note)
    # The noise that the flow starts from is where nothing is seen.
    other = stitcher(pictures[750], rig=narrow[750], seed=1)
    apart = np.abs(made.picture.astype(int) - other.picture).max(axis=-1)
    assert apart[~made.seen].mean() > 5 * apart[made.seen].mean()
    with pytest.raises(
        SpiderEyeError, match=r"see only [\d.]+% of the sphere, and the model starts"
    ):
        stitcher(pictures[2200], rig=narrow[2200])
    assert Stitcher.geometric(narrow[2200], SIZE)(pictures[2200]).picture.shape == (128, 256, 3)


@pytest.mark.parametrize("fusion", ["concat_conv", "average"])
def test_fusions_of_a_fixed_number_of_views_are_given_black_ones(fusion, tmp_path, views):
    stitcher = Stitcher.load(tiny_checkpoint(tmp_path / "plain", fusion))
    assert not stitcher.takes_cameras and stitcher.refine == ()
    missing = stitcher([views[0], None, *views[2:]])
    black = stitcher([views[0], np.zeros_like(views[1]), *views[2:]])
    assert difference(missing.picture, black.picture) == 0
    assert missing.notes == (
        "right: missing; the others see 100.0% of the sphere; the model is given a black view in "
        "its place",
    )
    assert black.notes == (
        "right: it shows nothing; the others see 100.0% of the sphere; the model takes it as it is",
    )
    assert missing.count.max() == 3
    words = f"trained for 4 views and .* has 3 \\(a, b, c\\).*{fusion}"
    with pytest.raises(SpiderEyeError, match=words):
        stitcher(views[:3], rig=mixed_rig())
    with pytest.raises(SpiderEyeError, match="takes no other number"):
        model = SpiderEyeModel(stitcher.config.model())
        Stitcher(mixed_rig(), (64, 32), Trained(model, stitcher.config, "random weights", 1))


@pytest.mark.parametrize("blend", ["feather", "multiband", "none"])
def test_the_stitch_works_without_a_missing_view(panorama, views, blend):
    three = replace(RIG, cameras=tuple(RIG.cameras[i] for i in (0, 2, 3)))
    stitcher = Stitcher.geometric(RIG, SIZE, blend=blend)
    made = stitcher([views[0], None, *views[2:]])
    expected = Stitcher.geometric(three, SIZE, blend=blend)([views[0], *views[2:]])
    assert difference(made.picture, expected.picture) == 0
    assert made.notes == ("right: missing; the others see 100.0% of the sphere",)
    # A black one is no worse than none; where it alone sees it is black.
    black = stitcher([views[0], np.zeros_like(views[1]), *views[2:]])
    assert psnr(black.picture, panorama) > psnr(made.picture, panorama) - 0.5
    assert black.notes == ("right: it is black; it counts only where no other view sees",)
    made = stitcher([None, views[1], None, None])
    assert made.notes[0].startswith("front, back, left: missing; the others see 5")
    assert stitcher([np.zeros_like(view) for view in views]).notes == ("every view is black",)


def test_one_picture_in_two_places_is_noticed(views):
    stitcher = Stitcher.geometric(RIG, SIZE)
    twice = stitcher([views[0], views[1], views[0].copy(), views[3]])
    assert twice.notes == (
        "front and back are the same picture; for one that is missing give None, or - to a command",
    )
    nearly = views[0].copy()
    nearly[0, 0] ^= 1
    assert stitcher([views[0], views[1], nearly, views[3]]).notes == ()


def test_what_was_found_is_matched_by_the_names_of_the_views(checkpoint, views, shaken):
    """A view that is missing has no place in it, and another order is another order."""
    order = [2, 0, 3, 1]
    permuted = replace(RIG, cameras=tuple(RIG.cameras[i] for i in order))
    three = [shaken[0], None, *shaken[2:]]
    for stitcher in (geometric(*BOTH), Stitcher.load(checkpoint)):
        found = stitcher.calibrate(shaken)
        assert found is not None
        made, (again, whole) = (
            stitcher(three, found=found),
            stitcher.batch([three, shaken], found=found),
        )
        assert difference(made.picture, again.picture) <= 1
        assert [c.view for c in made.corrections] == ["front", "back", "left"]
        assert made.corrections[1].gain == whole.corrections[2].gain
        turned = stitcher([shaken[i] for i in order], permuted, found=found)
        assert difference(turned.picture, stitcher(shaken, found=found).picture) <= 1
        few = stitcher.calibrate(three)
        with pytest.raises(SpiderEyeError, match="is of front, back, left, and says nothing of ri"):
            stitcher(views, found=few)


def test_what_was_found_is_peoples_own(shaken):
    """No tensors of inference mode, which nobody may change."""
    found = geometric(*BOTH).calibrate(shaken)
    assert found is not None
    found.gain.mul_(0.9)
    scale = torch.ones(3, dtype=torch.float64, requires_grad=True)
    (found.offset * scale + found.cameras[0].rotation[0]).sum().backward()
    assert scale.grad is not None


def test_refinements_are_given_in_many_ways(shaken):
    for given in ("rotation,gain", iter(("rotation", "gain")), {"rotation": 1, "gain": 2}):
        assert Stitcher.geometric(RIG, SIZE, refine=given).refine == ("rotation", "gain")
    assert Stitcher.geometric(RIG, SIZE, refine="none").refine == ()
    found = geometric(*BOTH).calibrate(shaken, refine="gain")
    assert found is not None and torch.equal(found.cameras[0].rotation, RIG.cameras[0].rotation)
    assert geometric(*BOTH).calibrate(shaken, refine="none") is None


def test_how_little_the_stitch_sees_is_said(panorama):
    rig = spider4(2200 * SIDE / 560, 0.85, SIDE)
    for blend in ("feather", "multiband"):
        (note,) = Stitcher.geometric(rig, SIZE, blend=blend)(rendered(panorama, rig)).notes
        assert re.fullmatch(r"most of .* is filled smoothly: [\d.]+% of the sphere is seen", note)
    hidden = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    none = Rig(tuple(replace(camera, visible=hidden) for camera in RIG.cameras[:1]))
    notes = ShotStitch(SIZE, "lanczos", "feather", torch.device("cpu")).notes(
        read_shot(rendered(panorama, none), none), np.zeros((128, 256), np.uint8), ()
    )
    assert notes == ["all of this panorama is filled smoothly: nothing of the sphere is seen"]


def test_sizes_are_whole_numbers_from_the_start(checkpoint):
    made = Stitcher.geometric(RIG, [128, 64], device=torch.device("cpu"))
    assert made.size == made.stitch.size == (128, 64)
    small = checked_size((np.uint8(128), np.uint8(64)))  # whose sums have 8 bits
    assert [type(side) for side in small] == [int, int]
    for wrong in ((1048576, 524288), (16386, 8193)):
        with pytest.raises(SpiderEyeError, match="at most 16384 wide, got"):
            Stitcher.load(checkpoint, size=wrong)


def test_steps_and_seeds_are_whole_numbers():
    for wrong in ((1.5, 0), (None, 3.0), (2, "1"), (2, None)):
        with pytest.raises(SpiderEyeError, match=r"seed is 0 or more; got .*: both are whole num"):
            checked_sampling(True, *wrong)
    assert checked_sampling(True, np.uint8(255), np.int64(2**40)) == (255, 2**40)


def test_a_batch_is_given_bit_by_bit(checkpoint, views):
    stitcher = Stitcher.load(checkpoint)
    stitcher.fits = True
    first, second = stitcher.batch(shot for shot in (views, views))
    assert difference(first.picture, second.picture) == 0


def test_a_stitcher_in_use_can_be_copied(checkpoint, views):
    """And is pickled without what can be made again."""
    stitcher = Stitcher.load(checkpoint)
    before = len(pickle.dumps(stitcher))
    made = stitcher(views)
    assert len(pickle.dumps(stitcher)) < 1.1 * before
    for other in (copy.deepcopy(stitcher), pickle.loads(pickle.dumps(stitcher))):
        assert difference(other(views).picture, made.picture) == 0


@pytest.mark.parametrize("kind", ["autocast", "float64"])
def test_the_callers_precision_changes_nothing(checkpoint, views, shaken, kind):
    some = [views[0], None, None, None]  # so that noise and expectations have a say
    expected = Stitcher.load(checkpoint).batch([shaken, some])
    found = geometric(*BOTH).calibrate(shaken)
    other, wide = Stitcher.load(checkpoint), torch.float64 if kind == "float64" else torch.float32
    torch.set_default_dtype(wide)
    try:
        with torch.autocast("cpu", torch.bfloat16, enabled=kind == "autocast"):
            made, again = other.batch([shaken, some]), geometric(*BOTH).calibrate(shaken)
    finally:
        torch.set_default_dtype(torch.float32)
    for one, same in zip(made, expected, strict=True):
        assert difference(one.picture, same.picture) == 0
    assert found is not None and again is not None and torch.equal(found.gain, again.gain)


def test_pictures_that_are_none_are_told_by_their_views(views, tmp_path):
    path = tmp_path / "view.png"
    Image.fromarray(views[1]).save(path)
    closed = Image.open(path)
    closed.close()
    (tmp_path / "half.png").write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    tensor = torch.from_numpy(views[1]).permute(2, 0, 1)
    for wrong, words in (
        (Image.open(tmp_path / "half.png"), "right: the PIL image cannot be read: .*truncated"),
        (closed, "right: the PIL image cannot be read: .*closed"),
        (torch.zeros(3, 0, 0), r"right: expected a tensor .* got \[3, 0, 0\] .*, which is empty"),
        (
            to_float(tensor).to_sparse(),
            r"right: expected a dense tensor .*, got one of .*sparse_coo",
        ),
        (tensor.to("meta"), "right: expected a dense tensor .* a meta tensor, which has no values"),
        (torch.full((3, 96, 96), math.nan), "right: expected a tensor .* with NaN in it"),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            geometric()([views[0], wrong, *views[2:]])
    with pytest.raises(SpiderEyeError, match=r"b: expected a tensor .*, which is empty"):
        widths_of([views[0], torch.zeros(3, 0, 0)], ["a", "b"])


def test_rigs_are_checked_however_they_are_made():
    front = RIG.cameras[0]
    mirror = torch.diag(torch.tensor([1.0, 1.0, -1.0], dtype=torch.float64))
    for wrong, words in (
        (lambda: replace(RIG, cameras=()), "a rig is of at least one camera, got none"),
        (lambda: replace(RIG, cameras=(front, front)), "two views of a rig are called 'front'"),
        (lambda: replace(RIG, sphere_radius=0.0), "metres above 0, or math.inf, got 0"),
        (lambda: replace(RIG, sphere_radius=math.nan), "metres above 0, or math.inf, got nan"),
        (lambda: Rig((replace(front, rotation=mirror),)), "rotation of view front is none: expec"),
        (lambda: Rig((replace(front, rotation=2 * front.rotation),)), "RᵀR = 1 and determinant 1"),
        (lambda: Rig((replace(front, rotation=math.nan * mirror),)), "rotation of view front is n"),
        (
            lambda: Rig((replace(front, position=math.inf * mirror[0]),)),
            "position of view front is",
        ),
        (
            lambda: Rig((replace(front, position=3.0 - mirror[0]),), sphere_radius=3.0),
            "view front stands .* m from the centre, not inside the sphere of 3 m",
        ),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            wrong()


def given(camera: Camera, **fields: Any) -> Any:
    """A camera of fields that are not of their types, which only tests check."""
    made = copy.copy(camera)
    for name, value in fields.items():
        object.__setattr__(made, name, value)
    made.__post_init__()
    return made


def test_cameras_take_what_becomes_tensors():
    front = RIG.cameras[0]
    mask = np.full((SIDE, SIDE), 255, np.uint8)
    made = given(front, rotation=front.rotation.numpy(), position=[0, 0, 0], visible=mask)
    assert made.rotation.equal(front.rotation) and made.position.equal(front.position)
    assert made.visible.dtype == torch.bool and Rig((made,)).names == ("front",)
    for wrong, words in (
        ({"rotation": np.eye(2)}, r"rotation of view front is of shape \[3, 3\], got \[2, 2\]"),
        ({"position": [0, 0]}, r"position of view front is of shape \[3\], got \[2\]"),
        ({"visible": torch.ones(SIDE)}, "mask of view front is 96 pixels, its lens 96x96"),
    ):
        with pytest.raises(SpiderEyeError, match=words):
            given(front, **wrong)


def test_rigs_and_panoramas_can_be_compared(views):
    """As what they are: tensors have no one answer."""
    assert replace(RIG) != RIG and RIG == RIG and len({RIG, replace(RIG)}) == 2
    assert replace(RIG.cameras[0]) != RIG.cameras[0]
    assert geometric()(views) != geometric()(views)
