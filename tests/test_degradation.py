"""What cameras do to pictures: each effect by its definition, none where none is asked."""

import numpy as np
import pytest
import torch

from spidereye.degradation import Degradation
from spidereye.randomness import generator
from spidereye.rig import spider4

CAMERAS = spider4(25.0, 0.85, 64).cameras
MASK = CAMERAS[0].mask()


def flat(level: int) -> torch.Tensor:
    view = torch.full((4, 3, 64, 64), level, dtype=torch.uint8)
    return view * MASK.to(torch.uint8)


def made(degradation: Degradation, views: torch.Tensor) -> torch.Tensor:
    return degradation(views, CAMERAS, generator(0, "noise"))


def test_nothing_asked_is_nothing_done():
    views = flat(200)
    assert torch.equal(made(Degradation(), views), views)


def test_vignetting_takes_its_share_at_the_rim_and_nothing_in_the_middle():
    light = made(Degradation(vignetting=0.25), flat(200))[0, 0].double()
    assert light[31:33, 31:33].eq(200).all()
    rim = light[32, 1]  # 30.5 of 32 pixels from the centre
    assert float(rim) == pytest.approx(200 * (1 - 0.25 * (30.5 / 32) ** 2), abs=1)


def test_blur_spreads_a_point_by_its_deviation_and_leaves_the_rim_alone():
    views = flat(0)
    views[:, :, 32, 32] = 255
    views[:, :, 30, 30] = 1  # so that no view is black all over
    spread = made(Degradation(blur=1.0), views)[0, 0].double()
    offsets = torch.arange(64).double() - 32
    variance = float((spread.sum(0) * offsets.square()).sum() / spread.sum())
    assert variance == pytest.approx(1.0, abs=0.15)
    assert torch.equal(made(Degradation(blur=1.0), flat(200)), flat(200))


@pytest.mark.parametrize("level", [64, 255 // 2])
def test_noise_has_its_deviation_and_grows_with_the_light(level):
    noisy = made(Degradation(read_noise=0.01, shot_noise=0.02), flat(level)).double()
    values = noisy[:, :, MASK] - level
    expected = 255 * np.sqrt(0.01**2 + 0.02**2 * level / 255)
    assert float(values.std()) == pytest.approx(expected, rel=0.05)
    assert abs(float(values.mean())) < 0.1


def test_jpeg_changes_what_it_cannot_keep():
    views = torch.randint(0, 255, (4, 3, 64, 64), dtype=torch.uint8) * MASK.to(torch.uint8)
    good, bad = (
        (made(Degradation(jpeg_quality=quality), views).double() - views).abs().mean()
        for quality in (95, 60)
    )
    assert 0 < float(good) < float(bad)


def test_black_stays_black():
    views = flat(128)
    views[2] = 0  # a view that is missing
    degraded = made(Degradation(0.2, 0.5, 0.01, 0.01, 70), views)
    assert not degraded[2].any() and degraded[1].any()
    assert not degraded[:, :, ~MASK].any()


def test_draws_follow_from_the_generator_and_have_every_effect():
    drawn = [Degradation.drawn(generator(0, "camera", number)) for number in range(200)]
    assert Degradation.drawn(generator(0, "camera", 3)) == drawn[3]
    for field in ("vignetting", "blur", "read_noise", "shot_noise"):
        values = [getattr(one, field) for one in drawn]
        assert 0.4 < np.mean([value > 0 for value in values]) < 0.8
    qualities = [one.jpeg_quality for one in drawn if one.jpeg_quality is not None]
    assert min(qualities) >= 60 and max(qualities) <= 95
