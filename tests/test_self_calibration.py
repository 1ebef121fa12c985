"""Colours and poses from the overlaps: found where they can be, left alone where they cannot."""

import math
from dataclasses import replace

import pytest
import torch

from spidereye import rotation
from spidereye.camera import Camera
from spidereye.colour_compensation import compensate, overlaps_of
from spidereye.errors import SpiderEyeError
from spidereye.jitter import JitterConfig, draw, jitter_colour, jittered_cameras
from spidereye.lenses import UCM
from spidereye.overlaps import blurred, misalignment, read_overlaps, sphere_points
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each, select
from spidereye.rig import spider4
from spidereye.scenes.scene import Scene
from spidereye.self_calibration import self_calibrate
from spidereye.stitching import stitch

RIG = spider4(220 * 128 / 560, 0.85, 128)
PROTOCOL = JitterConfig(xi=0.0, f=0.0)
DEGREE = math.radians(1)


def panorama(index: int = 3) -> torch.Tensor:
    """A procedural scene, 256 x 512, in [-1, 1]."""
    return to_float(torch.from_numpy(Scene.random(index).panorama(512)).permute(2, 0, 1))[None]


def shaken(picture, seed=0, colours=True, poses=True):
    """(views, believed, true cameras) of a jittered shot."""
    jitter = draw(PROTOCOL, 4, seed, 0, 0)
    believed, true = jittered_cameras(RIG.cameras, [jitter])
    believed, true = (tuple(select(c, 0) for c in cameras) for cameras in (believed, true))
    views = torch.stack([v for v, _ in render_each(picture, true if poses else believed)], dim=1)
    if colours:
        views = jitter_colour(views, [jitter])
    mask = torch.stack([camera.mask() for camera in believed])[None, :, None]
    views = torch.where(mask, to_float(to_uint8(views)), -1.0)
    return list(views.unbind(1)), believed, true if poses else believed


def psnr(views, cameras, truth, misaligned=0.0, blank=()):
    made = stitch(views, cameras, 64, 128, misalignment=misaligned, blank=blank).panorama
    truth = torch.nn.functional.avg_pool2d(truth, 4)
    return float(10 * torch.log10(4 / (made - truth).square().mean()))


def relative_errors(found, true) -> list[float]:
    """Degrees by which the rotation between every two views is wrong."""
    return [
        math.degrees(
            float(
                rotation.angle_between(
                    found[i].rotation.T @ found[j].rotation, true[i].rotation.T @ true[j].rotation
                )
            )
        )
        for i in range(len(found))
        for j in range(i)
    ]


def test_points_are_even_on_the_sphere():
    rays = sphere_points(math.radians(4))
    assert torch.allclose(rays.norm(dim=-1), torch.ones(len(rays), dtype=torch.float64))
    assert float(rays.mean(0).norm()) < 1e-3
    second = rays.T @ rays / len(rays)
    torch.testing.assert_close(second, torch.eye(3).double() / 3, rtol=0, atol=1e-3)


def test_exact_gains_and_offsets_are_found_exactly():
    """Without noise, clipping or parallax the only thing left open is the common one."""
    source = torch.Generator().manual_seed(1)
    truth = 0.2 + 0.6 * torch.rand(3, 4000, generator=source, dtype=torch.float64)
    gain = 1 + 0.3 * (torch.rand(4, 3, generator=source, dtype=torch.float64) - 0.5)
    offset = 0.2 * (torch.rand(4, 3, generator=source, dtype=torch.float64) - 0.5)
    colour = (truth - offset[..., None]) / gain[..., None]
    weight = (torch.rand(4, 1, 4000, generator=source) > 0.4).double().expand(4, 3, -1)
    found, shift = compensate(colour, weight, reference=2)
    torch.testing.assert_close(found / found[2], gain / gain[2], rtol=0.02, atol=0)
    made = found[..., None] * colour + shift[..., None]
    assert float((made - made[:1]).abs().max()) < 0.01
    assert torch.allclose(found[2], torch.ones(3).double())
    assert torch.allclose(shift[2], torch.zeros(3).double(), atol=1e-12)
    # Without a reference all change least: the mean gain is about 1.
    found, shift = compensate(colour, weight)
    assert float((found.mean(0) - 1).abs().max()) < 0.03
    assert float(shift.mean(0).abs().max()) < 0.03


def test_flat_overlaps_are_not_stretched():
    """One colour tells an offset or a gain, not both; the least change of both is taken."""
    colour = torch.full((2, 3, 500), 0.5, dtype=torch.float64)
    colour[1] = 0.6
    gain, offset = compensate(colour, torch.ones_like(colour))
    made = gain * colour[..., 0] + offset
    assert float((made[0] - made[1]).abs().max()) < 1e-3
    assert float((gain - 1).abs().max()) < 0.1 and float(offset.abs().max()) < 0.06


def test_a_view_without_overlaps_stays_when_others_change():
    source = torch.Generator().manual_seed(1)
    colour = torch.rand(3, 3, 2000, generator=source, dtype=torch.float64).expand(3, 3, -1).clone()
    colour[1] = 0.7 * colour[0] + 0.1
    weight = torch.ones_like(colour)
    weight[2], weight[:2, :, :500] = 0, 0
    weight[2, :, :500] = 1
    for reference in (None, 0):
        gain, offset = compensate(colour, weight, reference)
        assert torch.equal(gain[2], torch.ones(3).double()) and bool((offset[2] == 0).all())
        assert bool((gain[1] > 1.2 * gain[0]).all())
    gain, _ = compensate(colour, weight, 2)
    assert torch.equal(gain, torch.ones_like(gain))


def test_nothing_to_compare_changes_nothing():
    colour = torch.rand(3, 3, 100, dtype=torch.float64)
    gain, offset = compensate(colour, torch.zeros_like(colour))
    torch.testing.assert_close(gain, torch.ones_like(gain))
    torch.testing.assert_close(offset, torch.zeros_like(offset))


def test_pairs_are_listed_with_all_rays_that_they_share():
    """Filled up to one length, by rays at which one of the two has no weight."""
    source = torch.Generator().manual_seed(3)
    weight = (torch.rand(4, 3, 50, generator=source) > 0.6).double()
    weight[1] = 0
    found = {}
    for overlaps in overlaps_of(weight):
        one, other = overlaps.of(weight.amax(dim=1))
        for i, j, rays, both in zip(
            overlaps.one, overlaps.other, overlaps.rays, one * other, strict=True
        ):
            assert len(rays.unique()) == len(rays)
            found[int(i), int(j)] = set(rays[both > 0].tolist())
    sees = (weight > 0).any(dim=1)
    pairs = [(2, 0), (3, 0), (3, 2)]
    assert found == {(i, j): set((sees[i] & sees[j]).nonzero()[:, 0].tolist()) for i, j in pairs}
    assert overlaps_of(torch.zeros(3, 3, 0).double()) == []


def test_clipped_pixels_and_rims_take_no_part():
    view = torch.full((1, 3, 128, 128), 0.2)
    view[..., :64] = 1.0  # clipped half
    image = blurred(view, RIG.cameras[0], DEGREE)
    good = image.image[0, 9]
    assert float(good[40:90, 10:40].max()) == 0 and float(good[40:90, 75:100].min()) == 1
    readings = read_overlaps([image], [image.camera], sphere_points(DEGREE), math.inf)
    unclipped = readings.colour[0, 0][readings.weight[0, 0] > 0]
    # A quarter of what is blurred may be clipped, which is where the weight ends.
    assert float(unclipped.min()) > 0.59 and float(unclipped.median()) == pytest.approx(0.6)


def test_a_jittered_shot_agrees_afterwards():
    picture = panorama()
    views, believed, true = shaken(picture)
    plain = psnr(views, believed, picture)
    coloured = self_calibrate(views, believed, ("gain",))
    both = self_calibrate(views, believed)
    assert max(relative_errors(both.cameras, true)) < 0.3
    assert sorted(relative_errors(believed, true))[0] > 1
    assert coloured.cameras[0].rotation is believed[0].rotation or torch.equal(
        coloured.cameras[0].rotation, believed[0].rotation
    )
    assert psnr(coloured.views, believed, picture, coloured.misalignment) > plain + 1
    assert psnr(both.views, both.cameras, picture) > plain + 1.5
    assert coloured.misalignment > 3 * both.misalignment
    # The rotation of the whole rig stays: the mean turn is none, up to the order of rotations.
    turns = torch.stack(
        [b.rotation @ c.rotation.T for b, c in zip(both.cameras, believed, strict=True)]
    )
    mean = (turns - turns.transpose(-1, -2)).mean(0)
    assert float(mean.norm()) < math.radians(0.3)


def test_a_reference_view_keeps_colour_and_pose():
    picture = panorama()
    views, believed, true = shaken(picture)
    made = self_calibrate(views, believed, reference=1)
    assert float(rotation.angle_between(made.cameras[1].rotation, believed[1].rotation)) < 1e-4
    torch.testing.assert_close(made.views[1], views[1], rtol=0, atol=1e-5)
    assert max(relative_errors(made.cameras, true)) < 0.3


def test_a_clean_shot_stays_as_it_is():
    picture = panorama()
    views, believed, _ = shaken(picture, colours=False, poses=False)
    made = self_calibrate(views, believed)
    assert made.cameras == believed or all(
        torch.equal(a.rotation, b.rotation) for a, b in zip(made.cameras, believed, strict=True)
    )
    assert any("poses left as they are" in note for note in made.notes)
    assert made.misalignment == 0
    before = psnr(views, believed, picture)
    assert psnr(made.views, made.cameras, picture) > before - 0.1


@pytest.mark.parametrize("fault", ["black", "nearly black", "saturated"])
def test_a_broken_view_is_named_and_harms_nobody(fault):
    picture = panorama()
    views, believed, _ = shaken(picture)
    noise = torch.randint(0, 6, views[1].shape, generator=torch.Generator().manual_seed(0))
    views[1] = {
        "black": torch.full_like(views[1], -1),
        "nearly black": to_float(noise.to(torch.uint8)),
        "saturated": torch.where(believed[1].mask(), torch.ones_like(views[1]), -1),
    }[fault]
    made = self_calibrate(views, believed)
    assert any(note.startswith("right:") and "left as it is" in note for note in made.notes)
    assert torch.equal(made.cameras[1].rotation, believed[1].rotation)
    assert torch.equal(made.gain[1], torch.ones(3).double())
    # It counts only where nobody else sees, which for this rig is nowhere.
    assert made.blank == (1,)
    before = psnr(views, believed, picture)
    after = psnr(made.views, made.cameras, picture, made.misalignment, made.blank)
    assert after > before + 5


def test_overlaps_without_texture_are_refused():
    """Snow: nothing to hold on to but noise."""
    source = torch.Generator().manual_seed(2)
    views = [
        torch.where(c.mask(), 0.75 + 0.01 * torch.randn(1, 3, 128, 128, generator=source), -1.0)
        for c in RIG.cameras
    ]
    made = self_calibrate(views, RIG.cameras)
    for one, two in zip(made.cameras, RIG.cameras, strict=True):
        assert float(rotation.angle_between(one.rotation, two.rotation)) < math.radians(0.1)
    assert float((made.gain - 1).abs().max()) < 0.05 and float(made.offset.abs().max()) < 0.05
    assert made.notes


def test_views_that_do_not_overlap_stay_as_they_are():
    narrow = spider4(220, 0.85, 128)
    views = [view for view, _ in render_each(panorama(), narrow.cameras)]
    made = self_calibrate(views, narrow.cameras)
    assert len(made.notes) == 4 and all("overlaps" in note for note in made.notes)
    assert torch.equal(made.gain, torch.ones(4, 3).double())
    assert all(torch.equal(a, b) for a, b in zip(made.views, views, strict=True))


def test_misalignment_is_in_radians():
    """Two views of one scene that are off by 2.5°, seen at a comparison of 1°."""
    picture = panorama()
    off = replace(RIG.cameras[0], rotation=rotation.from_degrees(2.5) @ RIG.cameras[0].rotation)
    views = [view for view, _ in render_each(picture, (RIG.cameras[0], off))]
    prepared = [blurred(view, RIG.cameras[0], DEGREE) for view in views]
    readings = read_overlaps(
        prepared, [view.camera for view in prepared], sphere_points(DEGREE), math.inf
    )
    # Only half of a colour's change is along the shift, and edges saturate.
    assert 0.8 < math.degrees(misalignment(readings, DEGREE)) < 3.5


def test_a_single_view_and_odd_shapes_are_no_trouble():
    view, camera = torch.zeros(1, 3, 128, 128), RIG.cameras[0]
    made = self_calibrate([view], [camera])
    assert made.views[0] is view and made.misalignment == 0
    for height, width, f in ((640, 360, 500.0), (360, 640, 700.0), (300, 1920, 900.0)):
        plane = {"cx": (width - 1) / 2, "cy": (height - 1) / 2}
        lens = UCM.create(f=f, xi=0.5, width=width, height=height, **plane)
        odd = Camera("odd", lens, torch.eye(3).double(), torch.zeros(3).double())
        for angle in (0.7, 1.0, 2.3, 4.0):
            image = blurred(torch.rand(1, 3, height, width), odd, angle * DEGREE)
            assert image.image.shape[-2:] == (image.camera.lens.height, image.camera.lens.width)


def test_an_unknown_refinement_names_the_choices():
    with pytest.raises(SpiderEyeError, match="refine takes gain, rotation; got 'foo'"):
        self_calibrate([], [], ("foo",))


@pytest.mark.parametrize("factor", [0.9, 1.0, 1.1])
def test_rotations_that_mend_nothing_are_left_out(factor):
    """A wrong focal length is no rotation: views stay as far apart whatever the rotations are."""
    picture = panorama()
    views, believed, _ = shaken(picture, colours=False, poses=factor == 1)
    wrong = [replace(c, lens=c.lens.zoomed(torch.tensor(factor).double())) for c in believed]
    found = self_calibrate(views, wrong, ("gain", "rotation"))
    turned = any(
        not torch.equal(one.rotation, two.rotation)
        for one, two in zip(found.cameras, wrong, strict=True)
    )
    assert turned == (factor == 1)
    said = [note for note in found.notes if "lenses or positions may be wrong" in note]
    assert bool(said) == (factor != 1), found.notes
    if factor != 1:
        assert found.misalignment > DEGREE
        gain_alone = self_calibrate(views, wrong, ("gain",))
        assert torch.equal(found.gain, gain_alone.gain)
