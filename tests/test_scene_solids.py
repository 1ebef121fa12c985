"""shapes.py, solids.py, tracing.py: shapes against what is inside them, holes,
windows, distances worked out by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest

from spidereye.scenes.scene import Scene
from spidereye.scenes.shapes import SHAPES, Shape, crossing, surface
from spidereye.scenes.skies import Sky
from spidereye.scenes.solids import Layout, Light, Room, Solid
from spidereye.scenes.textures import Material

GREY = Material((0.5, 0.5, 0.5), grain=0.0)
BLUE = Sky((0.1, 0.1, 1.0), (0.1, 0.1, 1.0), (0.0, 1.0, 0.0), (0.0, 0.0, 0.0), hills=0.0)
LAYOUT = Layout((), GREY, BLUE, (), (0.3, 0.3, 0.3), haze=1e9)


def _inside(shape: Shape, points: np.ndarray) -> np.ndarray:
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    return (np.abs(points) <= 1).all(axis=-1) & {
        "box": np.ones_like(x, bool),
        "ball": x**2 + y**2 + z**2 <= 1,
        "cylinder": np.hypot(x, z) <= 1,
        "cone": np.hypot(x, z) <= (1 - y) / 2,
        "gable": np.abs(x) <= (1 - y) / 2,
    }[shape]


@pytest.fixture(scope="module")
def lines() -> tuple[np.ndarray, np.ndarray]:
    """Through the shapes and past them, from near and far, steep ones too."""
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(600, 3))
    directions[:100] *= (0.1, 1.0, 0.1)
    through = rng.uniform(-1.2, 1.2, (600, 3))
    starts = through - directions * rng.choice([0.0, 2.0, 30.0], (600, 1))
    return starts.astype(np.float32), directions.astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES)
def test_lines_are_inside_between_the_crossings(shape: Shape, lines: tuple[np.ndarray, np.ndarray]):
    origins, directions = lines
    near, far = crossing(shape, origins, directions)
    hit = near < far - 1e-3
    assert 100 < hit.sum() < 590
    width = (far - near)[hit]
    for share, expected in ((0.02, True), (0.5, True), (0.98, True), (-0.03, False), (1.03, False)):
        t = near[hit] + share * width
        points = origins[hit] + t[:, None] * directions[hit]
        assert (_inside(shape, points) == expected).mean() > 0.985
    # Lines that miss are nowhere inside.
    t = np.linspace(-40, 40, 8001, dtype=np.float32)[:, None, None]
    missing = np.flatnonzero(near > far)
    assert not _inside(shape, origins[missing] + t * directions[missing]).any()


@pytest.mark.parametrize("shape", SHAPES)
def test_normals_point_out(shape: Shape, lines: tuple[np.ndarray, np.ndarray]):
    origins, directions = lines
    half = np.array([0.7, 1.5, 0.4], np.float32)
    near, far = crossing(shape, origins, directions)
    hit = near < far - 1e-2
    points = origins[hit] + near[hit, None] * directions[hit]
    normals, u, v = surface(shape, points, half)
    assert np.allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-5)
    assert np.isfinite(u).all() and np.isfinite(v).all()
    step = 0.01 * normals / half
    assert _inside(shape, points - step).mean() > 0.95
    assert not _inside(shape, points + step).any()


def test_depth_is_metres_along_the_ray():
    ball = Solid((0.0, 0.0, 5.0), (2.0, 2.0, 2.0), GREY, shape="ball")
    scene = Scene(replace(LAYOUT, solids=(ball,)))
    down = math.radians(-40)
    rays = np.array([[0, 0, 1], [0, math.sin(down), -math.cos(down)], [0, 1, 0], [0, 0, -1.0]])
    depth = scene.depth(np.zeros(3), rays)
    assert np.allclose(depth[:2], [4.0, 1.6 / math.sin(-down)], rtol=1e-5)
    assert np.isinf(depth[2:]).all()
    assert scene.depth(np.array([0.0, 0.0, 1.0]), rays[0]) == pytest.approx(3.0, rel=1e-5)
    assert np.array_equal(scene.look(np.zeros(3), rays)[1], depth)
    panorama = scene.panorama_depth(256)
    assert panorama.shape == (128, 256) and abs(panorama[64, 128] - 4.0) < 1e-2


def test_a_fence_is_seen_through_between_its_boards():
    boards = Material((0.5, 0.3, 0.1), tile=(0.2, 9.0), gap=(0.05, 0.0), open_gaps=True)
    fence = Solid((0.0, 0.0, 3.0), (8.0, 2.0, 0.02), boards)
    scene = Scene(replace(LAYOUT, solids=(fence,)))
    x = np.linspace(-2, 2, 4001)
    rays = np.stack((x, np.full_like(x, 0.1), np.full_like(x, 2.99)), axis=-1)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    open_share = np.isinf(scene.depth(np.zeros(3), rays)).mean()
    # Boards 2 cm thick narrow gaps that are seen askew, by at most tan(34°)·2 cm.
    assert 0.18 < open_share <= 0.26


def test_foliage_has_holes_and_throws_dappled_shade():
    leaves = Material((0.1, 0.4, 0.1), grain=0.0, holes=0.6, hole_size=0.2)
    crown = Solid((0.0, 1.5, 5.0), (3.0, 3.0, 3.0), leaves, shape="ball")
    sun = Light((0.0, 1.0, 0.0), (1.0, 1.0, 1.0), distant=True)
    scene = Scene(replace(LAYOUT, solids=(crown,), lights=(sun,)))
    up = np.stack(np.meshgrid(np.linspace(-0.2, 0.2, 60), np.linspace(0.05, 0.4, 60)), axis=-1)
    rays = np.concatenate((up, np.ones((60, 60, 1))), axis=-1)
    rays /= np.linalg.norm(rays, axis=-1, keepdims=True)
    assert 0.1 < np.isinf(scene.depth(np.zeros(3), rays)).mean() < 0.7
    ground = np.stack(np.meshgrid(np.linspace(-1, 1, 60), [-1.6], np.linspace(4, 6, 60)), axis=-1)
    rays = ground / np.linalg.norm(ground, axis=-1, keepdims=True)
    bright = scene.radiance(np.zeros(3), rays, 1e-3)[..., 0]
    lit = bright > 0.5 * (bright.min() + bright.max())
    assert 0.05 < lit.mean() < 0.8


def test_windows_show_the_outside_and_let_the_sun_in():
    box = Solid((0.0, 0.0, 0.0), (4.0, 3.2, 4.0), GREY)
    window = Solid((0.0, 0.2, 2.0), (1.0, 1.0, 0.4), GREY)
    tower = Solid((0.0, 0.0, 20.0), (0.5, 30.0, 0.5), GREY)
    height = math.radians(35)
    sun = Light((0.0, math.sin(height), math.cos(height)), (3.0, 3.0, 3.0), distant=True)
    room = Room(box, GREY, (0.1, 0.1, 0.1), (window,))
    scene = Scene(replace(LAYOUT, room=room, solids=(tower,), lights=(sun,), floor=-5.0))

    def towards(x: float, y: float, z: float) -> np.ndarray:
        return np.array([x, y, z]) / math.hypot(x, y, z)

    rays = np.stack(
        [
            towards(0, 0.2, 2), towards(0.3, 0.3, 2), towards(0.3, -0.2, 2), towards(0.7, 0, 2),
            towards(0, 0, -1),
        ]
    )  # fmt: skip
    depth = scene.depth(np.zeros(3), rays)
    assert depth[0] == pytest.approx(19.75 / rays[0, 2], rel=1e-4)  # the tower
    assert np.isinf(depth[1])  # the sky
    assert depth[2] == pytest.approx(5.0 / -rays[2, 1], rel=1e-4)  # the ground, 5 m below
    assert depth[3] == pytest.approx(2.0 / rays[3, 2], rel=1e-4)  # the wall beside
    assert depth[4] == pytest.approx(2.0)
    # From the floor up towards the sun the wall is met at y = -1.6 + (2 - z)·tan 35°: the window,
    # from -0.3 to 0.7, lets it in at z from -1.28 to 0.14; the tower's shade is 0.5 m wide.
    floor = np.array([towards(x, -1.6, z) for x, z in ((0.4, -0.5), (0.4, 1.0), (0, -0.5))])
    bright = scene.radiance(np.zeros(3), floor)[:, 0]
    assert bright[0] > 1.5 * bright[1] and bright[0] > 1.5 * bright[2]
