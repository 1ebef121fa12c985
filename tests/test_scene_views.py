"""views.py: parallax and occlusion by geometry, and views that agree with the panorama."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from spidereye.camera import Camera
from spidereye.pictures import to_float
from spidereye.render import render_each
from spidereye.rig import spider4
from spidereye.scenes.scene import Scene
from spidereye.scenes.skies import Sky
from spidereye.scenes.solids import Layout, Solid
from spidereye.scenes.textures import Material
from spidereye.scenes.views import really_seen, render_rig, view_depth

RED = Material((1.0, 0.0, 0.0), grain=0.0, glow=(3.0, 0.0, 0.0))
GREEN = Material((0.0, 1.0, 0.0), grain=0.0, glow=(0.0, 3.0, 0.0))
GREY = Material((0.5, 0.5, 0.5), grain=0.0)
BLUE = Sky((0.1, 0.1, 1.0), (0.1, 0.1, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0), hills=0.0)
LAYOUT = Layout((), GREY, BLUE, (), (0.3, 0.3, 0.3), haze=1e9)


def _rig(size: int) -> tuple[Camera, ...]:
    return spider4(220 * size / 560, 0.85, size).cameras


def _at(camera: Camera, *position: float) -> Camera:
    return replace(camera, position=torch.tensor(position, dtype=torch.float64))


def _is_red(view: torch.Tensor) -> torch.Tensor:
    return (view[0] > 0.4) & (view[1] < -0.4)


@pytest.mark.parametrize("distance", [0.8, 1.5, 6.0])
@pytest.mark.parametrize("baseline", [0.1, 0.3])
def test_a_near_thing_shifts_by_the_angle_of_geometry(distance: float, baseline: float):
    """A ball before the rig, seen from `baseline` to the right, is so many pixels farther left."""
    ball = Solid(
        (0.0, 0.0, distance), (0.1 * distance, 0.1 * distance, 0.1 * distance), RED, shape="ball"
    )
    scene = Scene(replace(LAYOUT, solids=(ball,)))
    front = _rig(256)[0]
    places = []
    for camera in (front, _at(front, baseline, 0.0, 0.0)):
        view = render_rig(scene, [camera], oversample=3)[0]
        rows, columns = torch.nonzero(_is_red(view), as_tuple=True)
        assert len(rows) >= 3
        places.append(torch.stack((columns.double().mean(), rows.double().mean())))
    towards = torch.tensor([[0.0, 0.0, distance], [-baseline, 0.0, distance]], dtype=torch.float64)
    expected = front.project(towards / towards.norm(dim=1, keepdim=True))[0]
    assert torch.allclose(places[1] - places[0], expected[1] - expected[0], atol=0.4)
    assert float(expected[0, 0] - expected[1, 0]) > 0.5


def test_what_the_centre_cannot_see_is_seen_from_the_side():
    near = Solid((0.0, 0.0, 1.0), (0.3, 0.6, 0.05), GREY)
    behind = Solid((0.0, 0.0, 3.0), (0.2, 0.2, 0.2), RED)
    scene = Scene(replace(LAYOUT, solids=(near, behind)))
    front = _rig(256)[0]
    centre, side = render_rig(scene, [front, _at(front, 0.3, 0.0, 0.0)])
    assert not _is_red(centre).any()
    assert int(_is_red(side).sum()) > 8


@pytest.mark.parametrize("seed", [1, 5])
def test_from_the_centre_views_are_those_of_the_panorama(seed: int):
    scene = Scene.random((0, 1, seed))
    cameras = _rig(64)
    panorama = to_float(torch.from_numpy(scene.panorama(512))).permute(2, 0, 1)[None]
    cameras = [camera.to(dtype=torch.float32) for camera in cameras]
    for view, (other, mask) in zip(
        render_rig(scene, cameras, 4), render_each(panorama, cameras), strict=True
    ):
        other, mask = other[0], mask[0]
        error = (view - other)[:, mask]
        assert 10 * math.log10(4 / float(error.square().mean())) > 33
        assert (view[:, ~mask] == -1).all()
        assert torch.equal(to_float((view * 127.5 + 127.5).round().to(torch.uint8)), view)


def test_views_may_differ_in_size_and_carry_masks():
    scene = Scene.random((0, 1, 2))
    small, large = _rig(24)[0], _rig(40)[1]
    hidden = torch.ones(40, 40, dtype=torch.bool)
    hidden[30:] = False
    views = render_rig(scene, [small, replace(large, visible=hidden)])
    assert [tuple(view.shape) for view in views] == [(3, 24, 24), (3, 40, 40)]
    assert (views[1][:, 30:] == -1).all() and (views[1][:, 15:25, 15:25] > -1).any()


def test_depth_of_a_view_is_measured_from_the_camera():
    wall = Solid((0.0, 0.0, 5.0), (40.0, 40.0, 2.0), GREY)
    scene = Scene(replace(LAYOUT, solids=(wall,)))
    camera = _at(_rig(65)[0], 0.0, 0.0, 1.0)
    depth = view_depth(scene, camera)
    assert abs(depth[32, 32] - 3.0) < 1e-4
    rays, valid = camera.unproject(camera.pixel_grid())
    on_wall = (rays[..., 1] > -0.1) & (rays[..., 2] > 0.3) & valid
    assert np.allclose(depth[on_wall], 3 / rays[..., 2][on_wall].numpy(), rtol=1e-4)
    assert np.isnan(depth[~camera.mask().numpy()]).all()


def test_really_seen_at_the_centre_is_all_that_is_in_the_picture():
    scene = Scene.random((0, 1, 3))
    front = _rig(64)[0]
    seen = really_seen(scene, front, 32)
    rays = torch.from_numpy(_panorama_rays(32))
    expected = front.project(rays)[1].numpy()
    assert (seen == expected).mean() > 0.998 and seen[16, 32] and not seen[16, 0]


def test_really_seen_leaves_out_what_something_hides_from_the_side():
    """A screen to the right, which hides a wall's part from the camera but not from the centre."""
    screen = Solid((0.35, 0.0, 1.0), (0.3, 3.0, 0.02), GREY)
    wall = Solid((0.0, 0.0, 4.0), (30.0, 8.0, 0.1), GREEN)
    scene = Scene(replace(LAYOUT, solids=(screen, wall)))
    camera = _at(_rig(128)[0], 0.3, 0.0, 0.0)
    seen = really_seen(scene, camera, 180)
    # By hand: from (0.3, 0) the screen, x = 0.2 to 0.5 at z = 1, covers x = -0.095 to 1.09 of the
    # wall's face z = 3.95, and the centre sees x up to 0.79 beside the screen: those are hidden.
    row, column = 90, lambda x: round((math.atan2(x, 3.95) / math.pi + 1) * 180 - 0.5)
    assert seen[row, column(-0.2)] and seen[row, column(-1.0)]
    assert not seen[row, column(0.0)] and not seen[row, column(0.7)]
    assert seen[row, round((math.atan2(0.3, 1.0) / math.pi + 1) * 180)]  # the screen itself
    assert seen[row, column(3.0)]


def test_what_is_really_seen_has_the_panoramas_colour():
    """Textures without light from the side: the same point looks the same from both places."""
    scene = Scene.random((0, 1, 6))
    camera = _at(_rig(192)[0], 0.25, 0.0, 0.1)
    view = render_rig(scene, [camera])[0]
    height = 64
    rays = _panorama_rays(height)
    depth = scene.depth(np.zeros(3), rays)
    panorama = to_float(torch.from_numpy(scene.panorama(2 * height)))
    seen = really_seen(scene, camera, height) & np.isfinite(depth)
    points = torch.from_numpy(rays * np.where(seen, depth, 1.0)[..., None]) - camera.position
    pixels = camera.project(points / points.norm(dim=-1, keepdim=True))[0].round().long()
    u, v = (part.clamp(0, 191) for part in pixels.unbind(-1))
    error = (view[:, v, u].permute(1, 2, 0) - panorama).abs().mean(dim=-1).numpy()
    moved = np.abs(np.roll(panorama.numpy(), 5, axis=1) - panorama.numpy()).mean(axis=-1)
    assert seen.sum() > 500
    assert np.median(error[seen]) < 0.06
    assert np.mean(error[seen]) < 0.5 * np.mean(moved[seen])


def _panorama_rays(height: int) -> np.ndarray:
    columns = ((np.arange(2 * height) + 0.5) / height - 1) * math.pi
    rows = (0.5 - (np.arange(height) + 0.5) / height) * math.pi
    level = np.cos(rows)[:, None]
    y = np.sin(rows)[:, None] * np.ones_like(columns)
    return np.stack((level * np.sin(columns), y, level * np.cos(columns)), axis=-1)
