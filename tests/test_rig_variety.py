"""Rigs drawn at random: what is drawn is what is promised, and follows from the generator alone."""

import math

import pytest
import torch

from spidereye.lenses import LENSES
from spidereye.randomness import generator
from spidereye.rig import fingerprint
from spidereye.rig_variety import FEWEST_VIEWS, FIELDS_OF_VIEW, MOST_VIEWS, drawn_rig

RIGS = [drawn_rig(generator(0, "rigs", number), 64) for number in range(60)]


def test_every_lens_model_and_number_of_views_comes():
    assert {rig.cameras[0].lens.model for rig in RIGS} == set(LENSES)
    assert {len(rig.cameras) for rig in RIGS} == set(range(FEWEST_VIEWS, MOST_VIEWS + 1))


@pytest.mark.parametrize("rig", RIGS[:20], ids=range(20))
def test_the_image_circle_sees_a_field_of_view_of_the_range(rig):
    camera = rig.cameras[0]
    around = torch.arange(64, dtype=torch.float64) * (2 * math.pi / 64)
    rim = camera.lens.centre + camera.circle * torch.stack((around.cos(), around.sin()), dim=-1)
    rays, valid = camera.lens.unproject(rim)
    assert bool(valid.all())
    across = 2 * torch.rad2deg(rays[..., 2].clamp(-1, 1).acos())
    # Of lenses without symmetry the mean over azimuths is what is drawn.
    assert FIELDS_OF_VIEW[0] - 1 <= float(across.mean()) <= FIELDS_OF_VIEW[1] + 1


def test_cameras_are_at_the_centre_and_look_apart():
    for rig in RIGS:
        axes = torch.stack([camera.axis for camera in rig.cameras])
        assert all(not bool(camera.position.any()) for camera in rig.cameras)
        closest = (axes @ axes.T - 2 * torch.eye(len(axes))).amax()
        assert math.degrees(math.acos(float(closest))) > 25
        assert len({camera.lens for camera in rig.cameras}) == 1


def test_a_rig_follows_from_its_generator():
    again = drawn_rig(generator(0, "rigs", 7), 64)
    assert fingerprint(again) == fingerprint(RIGS[7]) != fingerprint(RIGS[8])
