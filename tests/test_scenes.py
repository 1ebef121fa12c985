"""Scenes: geometry against angles worked out by hand, and pictures that deserve the name."""

import math
from dataclasses import replace

import numpy as np
import pytest

from spidereye.pictures import resize_area
from spidereye.scenes.scene import Scene
from spidereye.scenes.skies import Sky
from spidereye.scenes.solids import Layout, Light, Room, Solid
from spidereye.scenes.textures import Material, noise
from spidereye.scenes.tracing import eye_grid, first_hits

RED = Material((1.0, 0.0, 0.0), grain=0.0, glow=(3.0, 0.0, 0.0))
GREY = Material((0.5, 0.5, 0.5), grain=0.0)
BLUE = Sky((0.1, 0.1, 1.0), (0.1, 0.1, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0), hills=0.0)
LAYOUT = Layout((), GREY, BLUE, (), (0.3, 0.3, 0.3), haze=1e9)


def _fan(longitudes: np.ndarray, latitude: float = 0.0) -> np.ndarray:
    level = math.cos(latitude)
    x, z = np.sin(longitudes) * level, np.cos(longitudes) * level
    return np.stack((x, np.full_like(x, math.sin(latitude)), z), axis=-1)


def _is_red(seen: np.ndarray) -> np.ndarray:
    return (seen[..., 0] > 0.7) & (seen[..., 2] < 0.3)


@pytest.mark.parametrize("distance", [1.0, 3.0, 10.0, 40.0])
@pytest.mark.parametrize("yaw", [0.0, 0.6])
@pytest.mark.parametrize("origin", [(0.0, 0.0, 0.0), (0.3, 0.0, 0.0), (-0.2, 0.1, 0.25)])
def test_a_box_is_seen_at_the_angles_of_its_edges(
    distance: float, yaw: float, origin: tuple[float, float, float]
):
    """Parallax: from another place the same box is seen elsewhere, by the angle of geometry."""
    box = Solid((0.4, 0.0, distance), (0.3, 1.0, 0.2), RED, yaw)
    scene = Scene(replace(LAYOUT, solids=(box,)))
    corners = [
        (
            0.4 + x * math.cos(yaw) + z * math.sin(yaw) - origin[0],
            distance - x * math.sin(yaw) + z * math.cos(yaw) - origin[2],
        )
        for x in (-0.15, 0.15)
        for z in (-0.1, 0.1)
    ]
    angles = [math.atan2(x, z) for x, z in corners]
    fan = np.linspace(min(angles) - 0.02, max(angles) + 0.02, 4001)
    seen = fan[_is_red(scene.radiance(np.array(origin), _fan(fan)))]
    step = fan[1] - fan[0]
    assert abs(seen[0] - min(angles)) < 1.5 * step
    assert abs(seen[-1] - max(angles)) < 1.5 * step


def test_a_ball_is_seen_as_wide_as_it_is():
    ball = Solid((0.0, 0.0, 5.0), (2.0, 2.0, 2.0), RED, shape="ball")
    scene = Scene(replace(LAYOUT, solids=(ball,)))
    fan = np.linspace(-0.3, 0.3, 3001)
    seen = fan[_is_red(scene.radiance(np.zeros(3), _fan(fan)))]
    assert abs(seen[-1] - math.asin(1 / 5)) < 4e-4
    assert abs(seen[0] + math.asin(1 / 5)) < 4e-4


@pytest.mark.parametrize(
    ("centre", "row", "column"),
    [
        ((0.0, 0.0, 9.0), 32, 64), ((9.0, 0.0, 0.0), 32, 96), ((-9.0, 0.0, 0.0), 32, 32),
        ((6.0, 6.0 * math.sqrt(2), 6.0), 16, 80), ((0.0, 9.0, -0.01), 0, None),
    ],
)  # fmt: skip
def test_the_panorama_shows_things_where_the_convention_says(
    centre: tuple[float, float, float], row: int, column: int | None
):
    scene = Scene(replace(LAYOUT, solids=(Solid(centre, (1.5, 1.5, 1.5), RED),)))
    red = _is_red(scene.panorama(128) / 255)
    rows, columns = np.nonzero(red)
    if column is None:
        assert rows.min() == 0 and red[0].all()
    else:
        assert abs(rows.mean() + 0.5 - row) < 0.6
        assert abs(columns.mean() + 0.5 - column) < 0.6


def test_near_things_hide_far_ones():
    near, far = (
        Solid((0.0, 0.0, 3.0), (1.0, 1.0, 1.0), GREY),
        Solid((0.0, 0.0, 6.0), (1, 1, 1), RED),
    )
    for solids in ((near, far), (far, near)):
        scene = Scene(replace(LAYOUT, solids=solids))
        assert not _is_red(scene.radiance(np.zeros(3), np.array([0.0, 0.0, 1.0])))
        beside = scene.radiance(np.array([3.0, 0.0, 3.0]), _fan(np.array([-math.pi / 4])))
        assert _is_red(beside).all()


def test_a_box_shades_the_ground_away_from_the_sun():
    sun = (math.sqrt(0.5), math.sqrt(0.5), 0.0)
    box = Solid((0.0, 1.4, 4.0), (1.0, 1.0, 1.0), GREY)  # 2.5 to 3.5 m above the ground
    lit = replace(LAYOUT, lights=(Light(sun, (1.0, 1.0, 1.0), distant=True),))
    places = np.array([[-3.0, -1.6, 4.0], [3.0, -1.6, 4.0]])  # the box's height to the left; right
    rays = places / np.linalg.norm(places, axis=1, keepdims=True)
    open_ground = Scene(lit).radiance(np.zeros(3), rays)
    shaded = Scene(replace(lit, solids=(box,))).radiance(np.zeros(3), rays)
    assert (shaded[0] < 0.8 * open_ground[0]).all()
    assert np.allclose(shaded[1], open_ground[1], atol=1e-3)


def test_a_lamp_lights_one_side_and_shades_behind():
    room = Room(Solid((0.0, 0.0, 0.0), (8.0, 3.2, 8.0), GREY), GREY, (0.3, 0.3, 0.3))
    lamp = Light((0.0, 1.0, -3.0), (5.0, 5.0, 5.0))
    screen = Solid((0.0, 0.0, 1.0), (2.0, 3.0, 0.1), GREY)
    bare = Scene(replace(LAYOUT, lights=(lamp,), room=room))
    screened = Scene(replace(bare.layout, solids=(screen,)))
    behind, front = np.array([0.0, 0.0, 2.0]), np.array([0.0, 0.0, -1.0])
    ahead = np.array([0.0, 0.0, 1.0])
    wall = [scene.radiance(behind, ahead)[0] for scene in (bare, screened)]
    assert wall[1] < 0.85 * wall[0]
    assert screened.radiance(front, ahead)[0] > bare.radiance(front, ahead)[0]


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    """Two of each of the five kinds and more."""
    return [Scene.random((0, 0, index)) for index in range(12)]


def test_same_seed_same_scene(scenes: list[Scene]):
    again = Scene.random((0, 0, 3))
    assert again == scenes[3]
    assert np.array_equal(again.panorama(64), scenes[3].panorama(64))
    assert len({scene.layout for scene in scenes}) == len(scenes)
    assert Scene.random(7) != Scene.random(8)


def test_scenes_are_indoors_and_outdoors_near_and_far(scenes: list[Scene]):
    indoors = [scene.layout.room is not None for scene in scenes]
    assert 2 <= sum(indoors) <= 10
    distances = [math.hypot(*s.centre[::2]) for scene in scenes for s in scene.layout.solids]
    assert min(distances) < 2 and max(distances) > 35


def test_pictures_are_exposed_and_varied(scenes: list[Scene]):
    """Near real ones, whose means and deviations are mostly 110-135 and 35-65 of 255."""
    pictures = np.stack([scene.panorama(48) for scene in scenes]).astype(float)
    means, contrasts = pictures.mean(axis=(1, 2, 3)), pictures.mean(axis=3).std(axis=(1, 2))
    assert means.min() > 70 and means.max() < 180
    assert contrasts.min() > 15 and np.median(contrasts) > 30
    differences = np.abs(pictures[1:] - pictures[:-1]).mean(axis=(1, 2, 3))
    assert differences.min() > 8


def test_nothing_is_in_the_camera(scenes: list[Scene]):
    for scene in scenes:
        near = scene.depth(np.zeros(3), _sphere(512))
        assert near.min() > 0.35


def _sphere(count: int) -> np.ndarray:
    """Unit rays spread over the sphere."""
    y = np.linspace(-0.999, 0.999, count)
    turn = np.arange(count) * 2.399963
    level = np.sqrt(1 - y**2)
    rays = np.stack((level * np.sin(turn), y, level * np.cos(turn)), axis=-1)
    return rays.astype(np.float32)


def test_radiance_is_displayable_from_everywhere(scenes: list[Scene]):
    for scene in scenes[:6]:
        for origin in ((0.0, 0.0, 0.0), (0.2, 0.1, -0.2)):
            seen = scene.radiance(np.array(origin), _sphere(600))
            assert seen.dtype == np.float32 and np.isfinite(seen).all()
            assert seen.min() >= 0 and seen.max() <= 1


def test_no_seam_at_the_back(scenes: list[Scene]):
    """Both sides of ±180° are the same place: 2e-6 rad apart, the colour hardly differs."""
    for scene in scenes:
        sides = [
            np.stack([_fan(np.array([end]), lat)[0] for lat in np.linspace(-1.5, 1.5, 200)])
            for end in (math.pi - 1e-6, 1e-6 - math.pi)
        ]
        left, right = (scene.radiance(np.zeros(3), side) for side in sides)
        assert np.quantile(np.abs(left - right).max(axis=1), 0.95) < 2e-3


def test_the_panorama_is_anti_aliased(scenes: list[Scene]):
    """A picture and one four times as wide, averaged down, agree."""
    for scene in scenes[2:5]:
        small, large = scene.panorama(48), resize_area(scene.panorama(192), 48, 24)
        assert np.abs(small.astype(float) - large).mean() < 4


def test_bundles_of_rays_lose_no_solid(scenes: list[Scene]):
    """What is hit does not depend on which rays are traced together."""
    rays = _sphere(1500)
    for scene in (scenes[1], scenes[3]):
        origin = np.full(3, 0.1, np.float32)
        solids = scene.layout.solids
        alone = [replace(scene.layout, solids=(solid,), room=None) for solid in solids]
        alone_hits = [
            first_hits(layout, eye_grid(layout, origin, len(rays)), rays) for layout in alone
        ]
        hits = np.stack([np.where(number == 0, far, np.inf) for far, number in alone_hits])
        distance, number = first_hits(scene.layout, eye_grid(scene.layout, origin, len(rays)), rays)
        on_solid = number < len(hits)
        assert np.allclose(distance[on_solid], hits.min(axis=0)[on_solid])
        assert (hits.min(axis=0)[~on_solid] >= distance[~on_solid]).all()
        assert on_solid.sum() > 20
        alone = np.concatenate([scene.radiance(origin, rays[i : i + 1]) for i in range(50)])
        assert np.allclose(alone, scene.radiance(origin, rays)[:50], atol=1e-4)


def test_origins_broadcast(scenes: list[Scene]):
    rays = _sphere(64).reshape(4, 16, 3)
    one = scenes[0].radiance(np.zeros(3), rays)
    assert one.shape == (4, 16, 3)
    assert np.array_equal(one, scenes[0].radiance(np.zeros((4, 1, 3)), rays))


def test_texture_detail_fades_with_the_footprint():
    """Far checks and noise go to their mean instead of flickering."""
    u, v = np.random.default_rng(0).uniform(0, 50, (2, 4000)).astype(np.float32)
    checks = Material((0.5, 0.5, 0.5), check=0.8, grain=0.0, tile=(0.2, 0.2))
    bricks = Material((0.6, 0.6, 0.6), (0.0, 0.0, 0.0), (0.2, 0.1), (0.04, 0.02), grain=0.0)
    for material, mean in ((checks, 0.5), (bricks, 0.6 * 0.8 * 0.8)):
        near, far = (
            material.albedo(u, v, np.full_like(u, footprint))[:, 0] for footprint in (0.001, 3.0)
        )
        assert near.std() > 0.2 and far.std() < 0.03
        assert abs(near.mean() - mean) < 0.02 and abs(far.mean() - mean) < 0.02
    assert np.std(noise(u, v, np.full_like(u, 0.001))) > 0.3
    assert np.std(noise(u, v, np.full_like(u, 20.0))) < 0.02
