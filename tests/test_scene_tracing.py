"""tracing.py, ray_grids.py: grids against every solid asked about every ray."""

import numpy as np
import pytest

from spidereye.scenes.ray_grids import ParallelGrid, PointGrid
from spidereye.scenes.scene import Scene
from spidereye.scenes.solids import Layout
from spidereye.scenes.tracing import eye_grid, first_hits, hidden_from_afar, hidden_from_point


@pytest.fixture(scope="module", params=[0, 5, 9])
def layout(request: pytest.FixtureRequest) -> Layout:
    """Scenes with a sun and several lamps."""
    return Scene.random((0, 1, request.param)).layout


def _points(count: int) -> np.ndarray:
    spread = np.array([6.0, 1.5, 6.0])
    return (np.random.default_rng(3).normal(size=(count, 3)) * spread).astype(np.float32)


def _nearest(layout: Layout, origins: np.ndarray, directions: np.ndarray, reach: np.ndarray):
    """Without any grid; lamps, which throw no shadow, left out."""
    nearest = np.full(len(reach), np.inf, np.float32)
    for solid in np.flatnonzero(~layout.table.lamps):
        numbers = np.full(len(reach), solid)
        entry = layout.table.entries(numbers, origins, directions, reach)
        nearest = np.minimum(nearest, entry)
    return nearest


def test_shadows_are_those_of_all_solids(layout: Layout):
    points = _points(700)
    shaded = 0
    for grid in layout.light_grids:
        if isinstance(grid, ParallelGrid):
            towards = np.broadcast_to(-grid.axes[2], points.shape)
            endless = np.full(len(points), np.inf, np.float32)
            expected = np.isfinite(_nearest(layout, points, towards, endless))
            hidden = hidden_from_afar(layout, grid, points)
        else:
            away = points - grid.point
            length = np.linalg.norm(away, axis=1)
            away /= length[:, None]
            origins = np.broadcast_to(grid.point, points.shape)
            expected = np.isfinite(_nearest(layout, origins, away, length))
            hidden = hidden_from_point(layout, grid, away, length)
        assert (hidden != expected).mean() <= 0.003  # rounding at edges
        shaded += hidden.sum()
    assert shaded > 20


@pytest.mark.parametrize("resolution", [1, 7, 40])
def test_what_is_seen_does_not_depend_on_the_grid(layout: Layout, resolution: int):
    rays = _points(900)
    rays /= np.linalg.norm(rays, axis=1, keepdims=True)
    place = np.array([0.2, 0.1, -0.3], np.float32)
    usual = first_hits(layout, eye_grid(layout, place, 40_000), rays)
    other = first_hits(layout, PointGrid.build(layout.table, place, resolution), rays)
    assert np.allclose(usual[0], other[0], rtol=1e-5)
    assert (usual[1] != other[1]).mean() < 0.01  # where surfaces coincide
