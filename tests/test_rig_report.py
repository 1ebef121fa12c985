"""`spidereye rig check` and `rig convert`: what they print, draw and write, and their numbers."""

import math
import re
from dataclasses import replace
from pathlib import Path

import calibration_samples as samples
import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from spidereye.cli import app
from spidereye.coverage import angular_resolution, blind_spot, coverage, seen_by, sphere_fraction
from spidereye.errors import SpiderEyeError
from spidereye.lenses.families import family
from spidereye.panorama import panorama_rays
from spidereye.rig import NAMED_RIGS, Rig, yaw_pitch_roll
from spidereye.rig_files import load_rig, read_rig, write_rig
from spidereye.rig_report import check_rig, coverage_picture
from spidereye.rotation import from_degrees

EXAMPLES = Path(__file__).parents[1] / "examples" / "rigs"
BLIND = (0x2B, 0x2B, 0x2B)


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["rig", *map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def dual(fov: float, size: int = 200) -> Rig:
    """Two equidistant lenses, front and back, of a chosen field of view."""
    lens = family("equidistant", math.radians(fov / 2), size / 2, size)
    cameras = (replace(c, lens=lens, circle=size / 2) for c in NAMED_RIGS["dual190"]().cameras)
    return Rig(tuple(cameras))


def test_shares_of_the_sphere_are_those_of_caps():
    # A view of half angle θ sees the share (1 - cos θ)/2 of the sphere.
    for fov in (60.0, 170.0, 240.0):
        share = (1 - math.cos(math.radians(fov / 2))) / 2
        seen = seen_by(dual(fov))
        assert sphere_fraction(seen).tolist() == pytest.approx([share, share], abs=2e-3)
        both = max(0.0, 2 * share - 1)
        assert float(sphere_fraction(seen[0] & seen[1])) == pytest.approx(both, abs=3e-3)
        assert coverage(dual(fov)).seen == pytest.approx(min(1, 2 * share), abs=3e-3)


def test_blind_spot_is_the_widest_gap():
    assert blind_spot(seen_by(dual(190)).any(dim=0)) is None
    ring = blind_spot(seen_by(dual(150)).any(dim=0))
    assert ring is not None and ring.diameter == pytest.approx(30, abs=0.8)
    ahead = math.cos(math.radians(ring.pitch)) * math.cos(math.radians(ring.yaw))
    assert abs(ahead) < math.sin(math.radians(1))  # anywhere between the two lenses
    # A cap of 20° that only direction (yaw 40, pitch 65) is the middle of.
    rays = panorama_rays(256, 512)
    yaw, pitch = math.radians(40), math.radians(65)
    middle = torch.tensor(
        [math.sin(yaw) * math.cos(pitch), math.sin(pitch), math.cos(yaw) * math.cos(pitch)]
    )
    cap = blind_spot(rays @ middle.double() < math.cos(math.radians(10)))
    assert cap is not None and cap.diameter == pytest.approx(20, abs=0.8)
    assert cap.pitch == pytest.approx(65, abs=0.6) and cap.yaw == pytest.approx(40, abs=1.5)
    nothing = blind_spot(torch.zeros(8, 16, dtype=torch.bool))
    assert nothing is not None and nothing.diameter == 360


def test_angular_resolution_of_lenses_whose_formula_is_known():
    # Equidistant: f pixels per radian along the radius, f·θ/sin θ around it.
    camera = dual(180, size=512).cameras[0]
    f = 256 / (math.pi / 2)
    got = angular_resolution(camera)
    assert got.centre == pytest.approx(math.radians(f), rel=1e-4)
    theta = torch.linspace(1e-6, math.pi / 2, 100_001, dtype=torch.float64)
    # Mean of f·√(θ/sin θ) over the solid angle sin θ dθ of a half sphere, which is 1.
    mean = torch.trapezoid(f * (theta / theta.sin()).sqrt() * theta.sin(), theta)
    assert got.mean == pytest.approx(math.radians(float(mean)), rel=2e-3)
    # A stereographic lens keeps angles: 1/cos²(θ/2) as fine at θ as at its centre, in each axis.
    lens = family("stereographic", math.pi / 2, 256, 512)
    fine = angular_resolution(replace(camera, lens=lens))
    assert fine.centre == pytest.approx(math.radians(128), rel=1e-4)
    assert fine.mean == pytest.approx(math.radians(128) * 2 * math.log(2), rel=2e-3)
    hidden = replace(camera, visible=torch.zeros(512, 512, dtype=torch.bool))
    assert angular_resolution(hidden).mean == 0 and math.isnan(angular_resolution(hidden).centre)


@pytest.mark.parametrize(
    ("rig", "views", "lines"),
    [
        ("spider4", 4, ["front  ucm   560x560  220.0", "187.6", "100.0% by ≥2", "blind: nowhere"]),
        ("dual190", 2, ["kb4   1024x1024", "190.0", "front and back 8.7%"]),
        ("tri190", 3, ["right  kb4", "120.0 0.0 0.0", "-120.0 0.0 0.0"]),
        ("cube6", 6, ["0.0 90.0 0.0", "0.0 -90.0 0.0", "front and up 4.4%"]),
        (EXAMPLES / "dual_fisheye.yaml", 2, ["at (1920, 0) of file 0, which is 3840x1920"]),
        (EXAMPLES / "upside_down.yaml", 3, ["1024x1024", "-120.0 -15.0 180.0", "-0.052 0.000"]),
    ],
)
def test_check_tells_lenses_coverage_and_overlaps(tmp_path, rig, views, lines):
    map_path = tmp_path / "map.png"
    output = run("check", rig, "-o", map_path)
    assert f": {views} views, " in output and "by ≥1" in output
    for line in lines:
        assert line in output
    assert Image.open(map_path).size == (1210, 759)


def test_check_shows_blind_directions_masks_and_warns(tmp_path):
    rig = dual(150)
    visible = torch.ones(200, 200, dtype=torch.bool)
    visible[150:] = False
    rig = replace(rig, cameras=(replace(rig.cameras[0], visible=visible), rig.cameras[1]))
    write_rig(rig, tmp_path / "narrow.yaml")
    output = run("check", tmp_path / "narrow.yaml")
    seen = float(sphere_fraction(seen_by(rig, 512).any(dim=0)))
    assert f"{seen:.1%} by ≥1" in output
    assert "front: its mask hides 25.0% of the picture" in output
    assert re.search(r"blind: \d+\.\d% of the sphere; widest gap \d+\.\d° across, around", output)
    assert f"WARNING: the views see only {seen:.1%}" in output
    picture = np.asarray(Image.open(tmp_path / "narrow_coverage.png").convert("RGB"))
    # The share of the map that has the blind colour, hatches aside.
    share = (picture[65:630, 70:1190] == BLIND).all(axis=-1).mean()
    grid = 1 - float(seen_by(rig).any(dim=0).double().mean())
    assert 0.5 * grid < share < grid


def test_the_map_shows_the_way_up_of_every_view():
    rig = load_rig("dual190")
    turned = replace(rig.cameras[0], rotation=from_degrees(0, 0, 180))
    drawn = []
    for front in (rig.cameras[0], turned):
        posed = Rig((front, rig.cameras[1]))
        picture = coverage_picture("x", posed, seen_by(posed, 64)).astype(int)
        # Only the first view's arrow is red, above its name in the middle of the map or below it.
        red = np.abs(picture[:, 600:660] - [0xE6, 0x19, 0x4B]).sum(-1) < 60
        drawn.append((int(red[240:325].sum()), int(red[375:460].sum())))
    (above, not_below), (not_above, below) = drawn
    assert min(above, below) > 50 and max(not_below, not_above) < 5


def test_check_refuses_what_it_cannot_read_or_write(tmp_path):
    with pytest.raises(SpiderEyeError, match=r"neither a rig file nor a named rig"):
        check_rig(str(tmp_path / "none.yaml"))
    with pytest.raises(SpiderEyeError, match=r"ends in \.png"):
        check_rig("spider4", tmp_path / "map.txt")


def test_convert_kalibr(tmp_path):
    (tmp_path / "camchain.yaml").write_text(samples.KALIBR)
    rig_path = tmp_path / "rig.yaml"
    output = run("convert", tmp_path / "camchain.yaml", "-o", rig_path, "--fov", "100")
    rig = read_rig(rig_path)
    assert rig.names == ("cam0", "cam1", "cam2", "cam3")
    middle = torch.stack([camera.position for camera in rig.cameras]).mean(dim=0)
    assert float(middle.abs().max()) < 1e-15
    assert re.search(r"cam2 +ds +720x512", output) and "100.0" in output and "WARNING" not in output
    assert "poses: as calibrated, cam0 looks to the front" in output


def test_convert_warns_where_poses_and_circles_are_unknown(tmp_path):
    paths = []
    for name in "abcd":
        paths.append(tmp_path / f"{name}.json")
        paths[-1].write_text(samples.OPENCV_JSON)
    rig_path = tmp_path / "rig.yaml"
    output = run("convert", *paths, "-o", rig_path)
    assert "WARNING: the files have no poses" in output and "image circles: calibrations" in output
    run("convert", *paths, "-o", rig_path, "--yaw", "0,90,180,-90", "--pitch", "-10")
    pitches = [float(camera.axis[1]) for camera in read_rig(rig_path).cameras]
    assert pitches == pytest.approx([-math.sin(math.radians(10))] * 4)
    output = run("convert", *paths, "-o", rig_path, "--names", "front,right,back,left")
    axes = [camera.axis.round(decimals=9).tolist() for camera in read_rig(rig_path).cameras]
    assert axes == [[0, 0, 1], [1, 0, 0], [0, 0, -1], [-1, 0, 0]]
    assert "WARNING" not in output and "poses: as given" in output
    # What is said replaces only that angle of the names' directions: a car's cameras look down.
    run("convert", *paths, "-o", rig_path, "--names", "front,right,back,left", "--pitch", "-20")
    yaws = [yaw_pitch_roll(camera.rotation)[:2] for camera in read_rig(rig_path).cameras]
    assert [round(x) % 360 for pair in yaws for x in pair] == [0, 340, 90, 340, 180, 340, 270, 340]
    output = run("convert", *paths, "-o", rig_path, "--circle", "inscribed", "--up", "0,0,-1")
    assert [camera.circle for camera in read_rig(rig_path).cameras] == [240.0] * 4
    assert read_rig(rig_path).cameras[0].axis.round(decimals=9).tolist() == [0, -1, 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "rig.json"], "ends in .yaml"),
        (["-o", "k.yaml"], "is one of the calibrations"),
        (["-o", "r.yaml", "--format", "ros"], "one of kalibr, opencv"),
        (["-o", "r.yaml", "--yaw", "0,90,180,-90"], "--yaw is for files without poses"),
        (["-o", "r.yaml", "--yaw", "north"], "numbers with commas"),
        (["-o", "r.yaml", "--fov", "359"], "half angles up to"),
        (["-o", "r.yaml", "--fov", "150", "--circle", "diagonal"], "either --fov or --circle"),
        (["-o", "r.yaml", "--circle", "round"], "inscribed, diagonal, none"),
        (["-o", "r.yaml", "--names", "a,b"], "2 names for 4 views"),
        (["-o", "r.yaml", "--up", "0,1"], "3 numbers"),
    ],
)
def test_convert_refuses_what_cannot_be(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    Path("k.yaml").write_text(samples.KALIBR)
    with pytest.raises(SpiderEyeError, match=re.escape(message)):
        CliRunner().invoke(app, ["rig", "convert", "k.yaml", *arguments], catch_exceptions=False)
    assert [path.name for path in tmp_path.iterdir()] == ["k.yaml"]


def test_names_that_are_no_text_and_dollars_are_drawn(tmp_path):
    path = tmp_path / "r\udcff$^$.yaml"
    write_rig(dual(190), path)
    check_rig(str(path))
    assert (tmp_path / "r\udcff$^$_coverage.png").exists()


def test_convert_stands_links_that_lead_in_a_circle(tmp_path):
    loop = tmp_path / "loop.yaml"
    loop.symlink_to("loop.yaml")
    with pytest.raises(SpiderEyeError, match=r"loop\.yaml cannot be read: Too many levels"):
        run("convert", loop, "-o", tmp_path / "rig.yaml")
