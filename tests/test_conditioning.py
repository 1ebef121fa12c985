"""What networks are told of a shot: the same whatever the order of the views, made once for a rig,
as large as it says, and the start of the flow."""

import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from made_shots import shaken, taken, world

from spidereye import conditioning, self_calibration
from spidereye.conditioning import Conditioner
from spidereye.conditions import ConditioningConfig, Conditions, collated, flattened
from spidereye.rig import Rig, off_centre, spider4
from spidereye.sphere_sweep import SweepPlan
from spidereye.stitching import stitch
from spidereye.super_resolution import SuperResolution

H, W, SIZE = 32, 64, 32
BOTH = ("gain", "rotation")
ORDER = [2, 0, 3, 1]


def rig_of(size: int = SIZE) -> Rig:
    return spider4(f=220 * size / 560, xi=0.85, size=size)


def conditioner(**values) -> Conditioner:
    settings = {"grid": True, "condition": "latent+warp", "prior": "stitch", "factor": 8}
    return Conditioner(ConditioningConfig(**settings | values), H, W)


def shot_of(rig: Rig, seed: int = 0, exposed: int | None = None) -> list[torch.Tensor]:
    return taken(world(seed), rig, exposed)


def conditions(made: Conditioner, views, rig: Rig) -> Conditions:
    found = made.calibrated(views, rig.cameras, rig.sphere_radius)
    return made(views, rig.cameras, found, rig.sphere_radius)


@pytest.fixture
def jittered():
    """Views of a rig that is not quite as it is believed to be, each with its own exposure."""
    return shot_of(shaken(rig_of(), 5), exposed=3), rig_of()


@pytest.mark.parametrize("refine,apart", [((), 0.1), (BOTH, 0.0)])
def test_the_order_of_views_and_cameras_is_of_no_matter(jittered, refine, apart):
    views, rig = jittered
    rig = off_centre(rig, apart)
    made = conditioner(refine=refine, radii=(math.inf, 2.0))
    whole = conditions(made, views, rig)
    swapped = replace(rig, cameras=tuple(rig.cameras[i] for i in ORDER))
    other = conditions(made, [views[i] for i in ORDER], swapped)
    assert whole.warp is not None and float(whole.warp.std()) > 0.1
    assert torch.equal(whole.spread, other.spread)
    # Self-calibration solves the same equations in another order.
    close = {"rtol": 0, "atol": 1e-4 if refine else 1e-5}
    torch.testing.assert_close(other.start, whole.start, **close)
    torch.testing.assert_close(other.views, whole.views[:, ORDER], **close)
    for part, again in zip(whole.grid, other.grid, strict=True):
        torch.testing.assert_close(again.float(), part[:, ORDER].float(), rtol=0, atol=1e-3)
    # Two views that count as much as each other may change places among those handed out.
    shares = slice(-9 + 6, -9 + 8)
    best, second = whole.warp[:, shares].unbind(1)
    clear = best - second > 1e-3
    assert float(clear.float().mean()) > 0.5
    torch.testing.assert_close(
        (other.warp * clear[:, None]),
        (whole.warp * clear[:, None]),
        rtol=0,
        atol=10 * close["atol"],
    )


def test_channels_are_as_many_as_promised_and_mean_what_is_said():
    rig = off_centre(rig_of(), 0.1)
    views = shot_of(rig_of())
    for radii in ((math.inf,), (math.inf, 5.0, 2.0, 1.0)):
        made = conditioner(radii=radii)
        given = conditions(made, views, rig)
        assert given.warp.shape == (1, made.config.channels, H, W)
        assert float(given.warp[:, :3].abs().max()) < 1.5  # the panorama
        assert torch.equal(given.warp[:, -1:], torch.ones(1, 1, H, W))  # seen
        assert torch.equal(given.start, given.warp[:, :3])
        plain = stitch(views, rig.cameras, H, W, radii[-1]).panorama
        last = 3 * len(radii)
        plane = given.warp[:, :3] + conditioning.RESIDUAL * given.warp[:, last : last + 3]
        torch.testing.assert_close(plane, plain, rtol=0, atol=1e-4)
    for off in ({"condition": "latent"}, {"condition": "latent", "prior": "noise"}):
        made = conditioner(**off)
        assert made.config.channels == 0 and conditions(made, views, rig).warp is None


def test_the_start_of_the_flow():
    rig = replace(rig_of(), cameras=rig_of().cameras[:2])  # nobody sees what is behind on the left
    views = shot_of(rig)
    made = conditioner(sigma=0.3)
    given = conditions(made, views, rig)
    seen = stitch(views, rig.cameras, H, W).count > 0
    assert 0.7 < float(seen.float().mean()) < 1
    torch.testing.assert_close(given.spread, torch.where(seen, 0.3, 1.0))
    # Filled where nothing is seen, smoothly and not with black.
    assert bool((given.start.abs() < 1.2).all())
    assert float((given.start * ~seen).abs().mean()) > 0.01
    noise = torch.randn(1, 3, H, W)
    torch.testing.assert_close(given.noised(noise), given.start + given.spread * noise)
    assert torch.equal(given.noised(noise) * ~seen, (given.start + noise) * ~seen)
    assert torch.equal(Conditions(given.views).noised(noise), noise)
    plain = conditions(conditioner(prior="noise"), views, rig)
    assert plain.start is None and plain.spread is None and plain.warp is not None
    # With super-resolution it is closer to the truth than the stitch is.
    truth = torch.nn.functional.avg_pool2d(world(0), 4)
    errors = [
        ((x - truth) * seen).square().mean()
        for x in (given.start, stitch(views, rig.cameras, H, W).panorama)
    ]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("refine,black", [((), 0), (BOTH, 2)])
def test_a_black_view_is_none(jittered, refine, black):
    views, rig = jittered
    views[black] = torch.full_like(views[black], -1.0)
    made = conditioner(refine=refine)
    given = conditions(made, views, rig)
    rest = [number for number in range(4) if number != black]
    fewer = replace(rig, cameras=tuple(rig.cameras[i] for i in rest))
    without = conditions(made, [views[i] for i in rest], fewer)
    close = {"rtol": 0, "atol": 1e-3 if refine else 1e-6}
    torch.testing.assert_close(given.start, without.start, **close)
    torch.testing.assert_close(given.spread, without.spread)
    torch.testing.assert_close(given.warp, without.warp, rtol=0, atol=10 * close["atol"])
    assert not bool(given.grid.seen[:, black].any()) and bool(given.grid.seen[:, rest].any())
    torch.testing.assert_close(given.grid.place[:, rest], without.grid.place, rtol=0, atol=1e-3)
    # A view that is dark, but not black, is there.
    views[black] = torch.full_like(views[black], -0.9)
    assert bool(conditions(conditioner(), views, rig).grid.seen[:, black].any())


@pytest.mark.parametrize("refine", [(), BOTH])
def test_a_burnt_view_counts_where_no_other_sees(refine):
    rig = rig_of()
    two = replace(rig, cameras=rig.cameras[:3:2])  # front and back
    narrow = tuple(replace(c, lens=c.lens.zoomed(torch.tensor(1.6).double())) for c in two.cameras)
    views = shot_of(replace(two, cameras=narrow))
    burnt = [views[0], torch.ones_like(views[1])]
    given = conditions(conditioner(refine=refine), burnt, replace(two, cameras=narrow))
    behind = given.start[..., H // 4 : -H // 4, : W // 16]
    # Without self-calibration nobody knows that it is burnt; it is bright either way.
    assert float(behind.min()) > 0.95 and bool((given.spread[..., : W // 16] < 1).any())
    front = (..., slice(H // 4, -H // 4), slice(3 * W // 8, 5 * W // 8))
    clean = conditions(conditioner(refine=refine), views, replace(two, cameras=narrow))
    torch.testing.assert_close(given.start[front], clean.start[front], atol=0.1, rtol=0)
    # Where another sees, it is no second opinion.
    four = shot_of(rig)
    four[2] = torch.ones_like(four[2])
    if refine:
        made = conditions(conditioner(refine=refine), four, rig)
        black = [four[0], four[1], torch.full_like(four[2], -1.0), four[3]]
        other = conditions(conditioner(refine=refine), black, rig)
        torch.testing.assert_close(made.start, other.start, rtol=0, atol=5e-3)


def test_all_views_black_is_no_error():
    rig = rig_of()
    views = [torch.full((1, 3, SIZE, SIZE), -1.0) for _ in range(4)]
    for refine in ((), BOTH):
        given = conditions(conditioner(refine=refine), views, rig)
        assert all(bool(torch.isfinite(part).all()) for part in flattened(given).values())


def test_what_cameras_decide_is_made_once_for_a_rig(monkeypatch):
    calls = {"grid": 0, "plan": 0, "sharper": 0}

    def counted(name, real):
        def call(*arguments, **values):
            calls[name] += 1
            return real(*arguments, **values)

        return call

    monkeypatch.setattr(conditioning, "latent_grid", counted("grid", conditioning.latent_grid))
    monkeypatch.setattr(SweepPlan, "for_cameras", counted("plan", SweepPlan.for_cameras))
    monkeypatch.setattr(
        SuperResolution, "for_cameras", counted("sharper", SuperResolution.for_cameras)
    )
    made, rig = conditioner(), rig_of()
    first = [conditions(made, shot_of(rig, seed), rig) for seed in (0, 1, 2)]
    assert calls == {"grid": 1, "plan": 1, "sharper": 1}
    assert not torch.allclose(first[0].start, first[1].start, atol=0.1)
    other = replace(rig, cameras=shaken(rig, 1).cameras)
    second = conditions(made, shot_of(rig), other)
    assert calls == {"grid": 2, "plan": 2, "sharper": 2}
    # Two rigs by turns, as cameras of one shot each.
    assert torch.equal(conditions(made, shot_of(rig), rig).start, first[0].start)
    assert torch.equal(conditions(made, shot_of(rig), other).start, second.start)
    assert calls == {"grid": 2, "plan": 2, "sharper": 2}
    for seed in range(4):  # what was used longest ago makes room
        conditions(made, shot_of(rig), shaken(rig, seed + 5))
    assert len(made.kept) <= 8
    fresh = conditions(conditioner(), shot_of(rig), other)
    assert flattened(fresh).keys() == flattened(second).keys()
    assert all(torch.equal(flattened(fresh)[n], part) for n, part in flattened(second).items())


def test_what_is_kept_is_told_apart_by_all_that_cameras_are():
    made, rig, views = conditioner(radii=(math.inf, 2.0)), rig_of(), shot_of(rig_of())
    base = conditions(made, views, rig)
    mask = torch.ones(SIZE, SIZE, dtype=torch.bool)
    mask[: SIZE // 2] = False
    front = rig.cameras[0]
    others = [
        replace(front, visible=mask),
        replace(front, circle=10.0),
        replace(front, position=torch.tensor([0.1, 0, 0], dtype=torch.float64)),
        replace(front, lens=front.lens.zoomed(torch.tensor(1.1, dtype=torch.float64))),
    ]
    for camera in others:
        changed = conditions(made, views, replace(rig, cameras=(camera, *rig.cameras[1:])))
        assert not torch.allclose(changed.start, base.start, atol=1e-3)
        same = torch.equal(changed.grid.place, base.grid.place)
        assert not same or not torch.equal(changed.grid.seen, base.grid.seen)


def test_views_of_several_sizes_stay_apart():
    cameras = [c.resized(s, s) for c, s in zip(rig_of().cameras, (32, 24, 40, 32), strict=True)]
    rig = Rig(tuple(cameras))
    views = taken(world(0), rig)
    given = conditions(conditioner(refine=BOTH), views, rig)
    assert isinstance(given.views, tuple)
    assert [tuple(view.shape[-2:]) for view in given.views] == [(32, 32), (24, 24), (40, 40),
                                                                (32, 32)]  # fmt: skip
    both = collated([given, given])
    assert [len(view) for view in both.views] == [2] * 4 and both.start.shape[0] == 2


def test_finer_views_make_a_better_start():
    small, large = rig_of(), rig_of(64)
    fine = shot_of(large)
    views = [torch.nn.functional.avg_pool2d(view, 2) for view in fine]
    made = conditioner(refine=BOTH)
    found = made.calibrated(views, small.cameras)
    coarse = made(views, small.cameras, found)
    given = made(views, small.cameras, found, math.inf, (fine, large.cameras))
    assert torch.equal(given.views, coarse.views)
    assert torch.equal(given.grid.place, coarse.grid.place)
    truth = torch.nn.functional.avg_pool2d(world(0), 4)
    better, worse = ((x.start - truth).square().mean() for x in (given, coarse))
    assert better < worse


def test_self_calibration_is_asked_for_what_is_configured(jittered, monkeypatch):
    views, rig = jittered
    assert conditioner().calibrated(views, rig.cameras) is None
    found = conditioner(refine=("gain",)).calibrated(views, rig.cameras)
    expected = self_calibration.self_calibrate(views, rig.cameras, ("gain",))
    assert torch.equal(found.gain, expected.gain)
    assert all(torch.equal(a.rotation, b.rotation)
               for a, b in zip(found.cameras, rig.cameras, strict=True))  # fmt: skip
    plain = conditioner()(views, rig.cameras, None)
    given = conditioner(refine=("gain",))(views, rig.cameras, found)
    assert not torch.allclose(given.views, plain.views, atol=0.01)
    both = conditioner(refine=BOTH).calibrated(views, rig.cameras)
    turned = conditioner(refine=BOTH)(views, rig.cameras, both)
    assert not torch.allclose(turned.grid.place, given.grid.place, atol=1e-3)


def test_a_rig_with_a_sphere_of_its_own():
    rig = replace(off_centre(rig_of(), 0.1), sphere_radius=1.5)
    views = shot_of(rig_of())
    given = conditions(conditioner(prior="noise"), views, rig)
    plain = stitch(views, rig.cameras, H, W, 1.5).panorama
    plane = given.warp[:, :3] + conditioning.RESIDUAL * given.warp[:, 3:6]
    torch.testing.assert_close(plane, plain, rtol=0, atol=1e-4)
    nearness = given.grid.sight[..., -1][given.grid.seen]
    torch.testing.assert_close(nearness, torch.full_like(nearness, 1 / 1.5))


def test_the_encoder_gets_large_views_shrunk_and_geometry_as_they_are():
    config = ConditioningConfig(grid=True, condition="latent+warp", prior="stitch", factor=4)
    cameras = spider4(25.0, 0.85, 64).cameras
    torch.manual_seed(0)
    shot = [torch.rand(1, 3, 64, 64) for _ in cameras]
    whole, shrunk = (
        Conditioner(replace(config, encoded=side), 32, 64)(shot, cameras, None)
        for side in (None, 32)
    )
    assert whole.views.shape[-1] == 64 and shrunk.views.shape[-1] == 32
    small = F.interpolate(whole.views[0], size=(32, 32), mode="bilinear", antialias=True)
    assert torch.allclose(shrunk.views[0], small)
    for name in ("warp", "start", "spread"):
        assert torch.equal(getattr(whole, name), getattr(shrunk, name))
    assert all(torch.equal(a, b) for a, b in zip(whole.grid, shrunk.grid, strict=True))


def test_where_nothing_is_seen_the_flow_starts_from_what_is_expected():
    rig = rig_of()
    views = shot_of(rig)
    views[2] = views[3] = torch.full_like(views[0], -1.0)  # missing
    smooth, expected = (conditions(conditioner(expected=e), views, rig) for e in (False, True))
    seen = (smooth.spread < 1).expand_as(smooth.start)
    assert 0.05 < float((~seen).float().mean()) < 0.5
    assert torch.equal(expected.start[seen], smooth.start[seen])
    assert float((expected.start - smooth.start)[~seen].abs().mean()) > 0.01
    assert torch.equal(expected.warp, smooth.warp)
    made = conditioner(expected=True)
    for _ in range(2):
        assert torch.equal(conditions(made, views, rig).start, expected.start)
    assert sum(key.startswith("expected") for key in made.kept) == 1
