"""Pictures in another order than the rig's are noticed, and those in order are not accused."""

import math
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from made_shots import shaken, small_rig, taken, world

from spidereye import Stitcher
from spidereye.pictures import to_uint8
from spidereye.rig import Rig
from spidereye.rotation import from_degrees
from spidereye.view_order import better_order

TURNED = ((0, 1, 2, 3), (1, 2, 3, 0), (2, 3, 0, 1), (3, 0, 1, 2))


def restored(given: tuple[int, ...], order: tuple[int, ...]) -> tuple[int, ...]:
    """Which view stands where once pictures given in one order are put into another."""
    return tuple(given[number] for number in order)


@pytest.mark.parametrize("seed", range(4))
def test_every_wrong_order_is_noticed_and_no_right_one(seed):
    """A rig of four equal lenses all round looks the same when it is turned by a quarter."""
    rig = small_rig()
    views = taken(world(seed), shaken(rig, seed), seed)
    for given in list(permutations(range(4)))[seed::4]:
        found = better_order([views[number] for number in given], rig.cameras, math.inf)
        if given in TURNED:
            assert found is None
        else:
            assert found is not None and restored(given, found) in TURNED


def test_two_of_many_views_that_were_exchanged():
    cameras, up = small_rig().cameras, from_degrees(0.0, 50.0, 0.0)
    turned = [replace(c, name=f"up {c.name}", rotation=c.rotation @ up) for c in cameras[:3]]
    rig = Rig((*cameras, *turned))
    views = taken(world(0), rig)
    assert better_order(views, rig.cameras, math.inf) is None
    views[1], views[5] = views[5], views[1]
    assert better_order(views, rig.cameras, math.inf) == (0, 5, 2, 3, 4, 1, 6)


def test_flat_views_and_views_of_several_sizes_say_nothing():
    rig = small_rig()
    grey = [torch.zeros(1, 3, 96, 96)] * 4
    assert better_order(grey, rig.cameras, math.inf) is None
    mixed = (rig.cameras[0].resized(48, 48), *rig.cameras[1:])
    views = taken(world(0), Rig(mixed))
    assert better_order(views, mixed, math.inf) is None


def test_a_stitch_says_which_pictures_are_in_each_others_places():
    rig = small_rig()
    views = [to_uint8(v[0]).permute(1, 2, 0).contiguous().numpy() for v in taken(world(1), rig)]
    stitcher = Stitcher.geometric(rig, (128, 64), refine=("gain", "rotation"))
    front, right, back, left = views
    wrong = stitcher([front, left, back, right]).notes
    words = "other pictures in their places: left's for right, right's for left; are they in the"
    assert any(words in note for note in wrong), wrong
    assert not any("in their places" in note for note in stitcher(views).notes)
