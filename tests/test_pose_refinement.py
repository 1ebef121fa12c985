"""Poses and lenses found from overlaps, in worlds whose rigs are known."""

import math
from dataclasses import replace

import pytest
import torch
from made_shots import relative_errors, shaken, small_rig, taken, world

from spidereye.camera import Camera
from spidereye.free_parameters import Parameters
from spidereye.lenses import KannalaBrandt, plane_of
from spidereye.overlaps import sphere_points
from spidereye.pose_refinement import refine_poses, work_of
from spidereye.rotation import angle_between, from_degrees


@pytest.fixture(scope="module")
def shot():
    """(views of rotations off by up to 3°, each exposed differently; the rig believed; the true)"""
    rig = small_rig()
    true = shaken(rig, seed=1)
    return taken(world(1), true, seed=5), rig, true


def test_rotations_are_found_from_one_shot(shot):
    views, rig, true = shot
    done: list[int] = []
    refined = refine_poses([views], rig.cameras, advance=done.append)
    assert relative_errors(rig.cameras, true.cameras).max() > 2
    assert relative_errors(refined.cameras, true.cameras).max() < 0.1
    assert refined.improvement > 3
    assert float(torch.rad2deg(refined.uncertainty).max()) < 0.1
    assert set(refined.counts) == {(i, j) for i in range(4) for j in range(i)}
    assert set(refined.counts.values()) == {1}
    assert sum(done) == work_of(1)
    # The rig as a whole stays: the mean of the turns in world axes is 0 to first order.
    pairs = zip(rig.cameras, refined.cameras, strict=True)
    turns = [new.rotation @ old.rotation.T for old, new in pairs]
    skew = sum((turn - turn.T) / 2 for turn in turns) / 4
    assert math.degrees(float(skew.abs().max())) < 0.1


def test_the_reference_keeps_its_pose(shot):
    views, rig, true = shot
    refined = refine_poses([views], rig.cameras, reference=2)
    assert float(angle_between(refined.cameras[2].rotation, rig.cameras[2].rotation)) < 1e-6
    assert relative_errors(refined.cameras, true.cameras).max() < 0.1


def test_shots_share_one_correction_of_rotations_and_f():
    rig = small_rig()
    true = shaken(rig, seed=2, zoom=1 / 1.01)
    shots = [taken(world(10 + n), true, seed=n) for n in range(3)]
    refined = refine_poses(shots, rig.cameras, ("rotation", "f"))
    assert relative_errors(refined.cameras, true.cameras).max() < 0.1
    for found, wanted in zip(refined.cameras, true.cameras, strict=True):
        assert float(found.lens.f / wanted.lens.f) == pytest.approx(1, abs=0.003)
    assert set(refined.counts.values()) == {3}


def test_a_free_principal_point_does_not_bend_the_world():
    """Near stereographic views agree on a world drawn towards an axis nearly as well as on the true
    one: f falls on one side and grows on the other, without a reason in the pictures."""
    rig = small_rig()
    refined = refine_poses([taken(world(3), rig, seed=3)], rig.cameras, ("rotation", "f", "centre"))
    assert relative_errors(refined.cameras, rig.cameras).max() < 0.25
    for found, wanted in zip(refined.cameras, rig.cameras, strict=True):
        assert float(found.lens.f / wanted.lens.f) == pytest.approx(1, abs=0.003)
        assert float((found.lens.centre - wanted.lens.centre).norm()) < 0.3


def test_flat_views_stay_where_they_are():
    rig = small_rig()
    flat = [torch.full((1, 3, 96, 96), 0.25)] * 4
    refined = refine_poses([flat], rig.cameras)
    assert relative_errors(refined.cameras, rig.cameras).max() < 1e-3
    assert refined.uncertainty.min() > math.radians(5)
    assert refined.improvement == pytest.approx(1, abs=0.01)


def test_views_without_overlap_tell_nothing():
    rig = small_rig()
    narrow = [replace(camera, circle=10.0) for camera in rig.cameras]
    refined = refine_poses([taken(world(4), rig)], narrow)
    assert refined.after == {} and bool(refined.uncertainty.isinf().all())
    assert relative_errors(refined.cameras, narrow).max() < 1e-6


@pytest.mark.parametrize("radius", [math.inf, 3.0])
def test_derivatives_of_pixels_by_every_number(radius):
    bends = torch.tensor([0.02, -0.01, 0.001, 0.0], dtype=torch.float64)
    lens = KannalaBrandt(**plane_of(100, 80, fx=30.0), k=bends)
    position = torch.tensor([0.1, -0.2, 0.3], dtype=torch.float64)
    camera = Camera("one", lens, from_degrees(20.0, -10.0, 5.0), position)
    parameters = Parameters(("rotation", "f", "centre"))
    rays = sphere_points(math.radians(10.0))
    _, seen = camera.project(rays, radius)
    found = parameters.derivatives(camera, rays, radius)
    for column in range(parameters.count):
        state = torch.zeros(1, parameters.count, dtype=torch.float64)
        state[0, column] = 1e-6
        ahead, behind = (
            parameters.moved([camera], sign * state)[0].project(rays, radius)[0] for sign in (1, -1)
        )
        difference = (ahead - behind) / 2e-6 - found[..., column]
        assert float(difference[seen].abs().max()) < 1e-2
