"""Metrics on cases worked out by hand, and against formulas written out with scipy."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import scipy.ndimage
import torch
from PIL import Image
from torch import Tensor, nn

from spidereye import judges
from spidereye.judges import FIDs, Judges, load_extractor, load_lpips
from spidereye.metrics import (
    METRICS,
    mean_rows,
    picture_metrics,
    seam_error,
)
from spidereye.perceptual import LPIPS
from spidereye.pictures import to_float, to_uint8


def random_picture(seed: int, count: int = 1, height: int = 32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 3, height, 2 * height, generator=generator) * 2 - 1


def flat(level: int, height: int = 32) -> Tensor:
    """A picture of one 8-bit level."""
    return to_float(torch.full((1, 3, height, 2 * height), level, dtype=torch.uint8))


def everywhere(picture: Tensor) -> Tensor:
    return torch.ones_like(picture[:, :1], dtype=torch.bool)


def score(prediction: Tensor, truth: Tensor, seen: Tensor | None = None) -> dict[str, float]:
    """The metrics of one picture."""
    seen = everywhere(truth) if seen is None else seen
    return {k: v.item() for k, v in picture_metrics(prediction, truth, seen, None).items()}


def row_weights(height: int) -> np.ndarray:
    return np.cos((0.5 - (np.arange(height) + 0.5) / height) * np.pi)


def test_the_table():
    up = ["PSNR", "aligned PSNR", "SSIM", "WS-PSNR", "WS-SSIM", "PSNR seen", "PSNR unseen"]
    down = ["MSE", "MAE", "LPIPS", "FID", "seam error"]
    assert set(METRICS) == {*up, *down}
    assert [name for name, m in METRICS.items() if m.higher_is_better] == up
    for name, metric in METRICS.items():
        assert metric.name == name and metric.meaning and "\n" not in metric.meaning


def test_every_row_but_fid_is_a_number_per_picture():
    x = random_picture(0, count=3)
    table = picture_metrics(x, random_picture(1, count=3), everywhere(x), None)
    assert set(table) == set(METRICS) - {"FID"}
    for values in table.values():
        assert values.shape == (3,) and values.dtype == torch.float64


def test_one_wrong_pixel():
    truth = flat(100)
    prediction = truth.clone()
    prediction[0, 1, 7, 9] = 151 / 127.5 - 1  # 51 levels, a fifth of the range, in one channel
    table, values = score(prediction, truth), 3 * 32 * 64
    assert table["MSE"] == pytest.approx(0.04 / values, rel=1e-9)
    assert table["MAE"] == pytest.approx(0.2 / values, rel=1e-9)
    assert table["PSNR"] == pytest.approx(10 * math.log10(values / 0.04), rel=1e-6)


def test_equal_pictures_are_perfect_and_finite():
    x = random_picture(0)
    table = score(x, x)
    for name in ("PSNR", "aligned PSNR", "WS-PSNR", "PSNR seen"):
        assert table[name] == 100
    for name in ("SSIM", "WS-SSIM"):
        assert table[name] == pytest.approx(1, abs=1e-6)
    assert table["MSE"] == table["MAE"] == 0


def test_aligned_psnr_forgives_a_gain_and_an_offset_of_each_channel():
    levels = torch.randint(0, 120, (1, 3, 32, 64), generator=torch.Generator().manual_seed(3))
    truth = to_float(levels.to(torch.uint8))
    for gain, offset in (([1, 2, 1], [90, 15, 0]), ([-1, -2, 1], [200, 240, 33])):
        # Whole levels, so that rounding to 8 bits changes nothing.
        by_channel = [torch.tensor(values).view(3, 1, 1) for values in (gain, offset)]
        changed = to_float((levels * by_channel[0] + by_channel[1]).to(torch.uint8))
        table = score(changed, truth)
        assert table["aligned PSNR"] == 100 and table["PSNR"] < 20
        assert score(truth, changed)["aligned PSNR"] == 100


def test_aligned_psnr_leaves_what_no_affine_map_explains():
    truth, rows = flat(100), flat(50)
    truth[..., ::2] = flat(200)[..., ::2]
    rows[..., :16, :] = flat(150)[..., :16, :]
    # A constant explains nothing, rows nothing of columns: each pixel stays 50 levels off.
    expected = -20 * math.log10(50 / 255)
    for blind in (flat(0), flat(255), rows):
        assert score(blind, truth)["aligned PSNR"] == pytest.approx(expected, rel=1e-9)
    assert score(flat(7), flat(231))["aligned PSNR"] == 100  # an offset makes them equal


def test_aligned_psnr_equals_least_squares():
    prediction, truth = random_picture(0), random_picture(1)
    prediction = 0.6 * prediction + 0.4 * truth
    a, b = (to_uint8(p)[0].flatten(1).double().numpy() / 255 for p in (prediction, truth))
    errors = []
    for x, y in zip(a, b, strict=True):
        columns = np.stack([x, np.ones_like(x)], axis=1)
        errors.append(np.square(columns @ np.linalg.lstsq(columns, y, rcond=None)[0] - y))
    found = score(prediction, truth)
    assert found["aligned PSNR"] == pytest.approx(-10 * math.log10(np.mean(errors)), rel=1e-9)
    assert found["aligned PSNR"] > found["PSNR"]


def test_pictures_are_compared_as_a_viewer_gets_them():
    truth = flat(100)
    assert score(truth + 0.4 / 127.5, truth)["MSE"] == 0  # rounds to the same levels
    assert score(flat(255) + 5, flat(255))["MSE"] == 0  # out of range is clamped
    assert score(truth + 0.6 / 127.5, truth)["MSE"] == pytest.approx(1 / 255**2)


def test_a_picture_scores_the_same_in_any_batch():
    prediction, truth = random_picture(0, count=5), random_picture(1, count=5)
    seen = truth[:, :1] > 0
    lpips = LPIPS("alex")
    together = picture_metrics(prediction, truth, seen, lpips)
    for i in range(5):
        one = slice(i, i + 1)
        alone = picture_metrics(prediction[one], truth[one], seen[one], lpips)
        for name, values in together.items():
            rel = {"LPIPS": 1e-4, "SSIM": 1e-5}.get(name, 1e-12)  # the two are in float32
            assert alone[name].item() == pytest.approx(values[i].item(), rel=rel), name


def test_mse_mae_and_psnr_equal_torchmetrics():
    from torchmetrics.functional import mean_absolute_error, mean_squared_error
    from torchmetrics.functional.image import peak_signal_noise_ratio

    x, y = flat(10), flat(30)
    x[..., 5:20] = flat(77)[..., 5:20]
    a, b = (((p + 1) / 2).double().contiguous() for p in (x, y))
    table = score(x, y)
    assert table["MSE"] == pytest.approx(mean_squared_error(a, b).item(), rel=1e-5)
    assert table["MAE"] == pytest.approx(mean_absolute_error(a, b).item(), rel=1e-5)
    theirs = peak_signal_noise_ratio(a, b, data_range=1.0).item()
    assert table["PSNR"] == pytest.approx(theirs, rel=1e-5)
    assert table["WS-PSNR"] == pytest.approx(theirs, rel=1e-5)  # each row has the same error


def literal_ssim_map(x: np.ndarray, y: np.ndarray, longitude: str) -> np.ndarray:
    """Wang et al. 2004, Eq. 13, for one channel; longitude: how windows end at the seam."""
    offset = np.arange(-5, 6)
    bell = np.exp(-(offset**2) / (2 * 1.5**2))
    bell /= bell.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        rows = scipy.ndimage.correlate1d(values, bell, axis=0, mode="mirror")
        return scipy.ndimage.correlate1d(rows, bell, axis=1, mode=longitude)

    mx, my = mean(x), mean(y)
    vx, vy, cov = mean(x * x) - mx * mx, mean(y * y) - my * my, mean(x * y) - mx * my
    numerator = (2 * mx * my + 0.01**2) * (2 * cov + 0.03**2)
    return numerator / ((mx * mx + my * my + 0.01**2) * (vx + vy + 0.03**2))


def test_ssim_and_ws_ssim_equal_the_formula():
    truth = random_picture(1)
    prediction = 0.6 * truth + 0.3 * random_picture(2)
    x, y = (np.rint(p[0].numpy() * 127.5 + 127.5) / 255 for p in (prediction, truth))
    table = score(prediction, truth)
    plain = [literal_ssim_map(x[c], y[c], "mirror").mean() for c in range(3)]
    assert table["SSIM"] == pytest.approx(np.mean(plain), rel=1e-5)
    around = np.stack([literal_ssim_map(x[c], y[c], "wrap") for c in range(3)]).mean((0, 2))
    weight = row_weights(32)
    assert table["WS-SSIM"] == pytest.approx((around * weight).sum() / weight.sum(), rel=1e-6)


@pytest.mark.parametrize("row", [0, 5, 15, 31])
def test_an_error_at_one_latitude_counts_by_its_area(row: int):
    truth = flat(100)
    prediction = truth.clone()
    prediction[..., row, :] = 151 / 127.5 - 1
    weight = row_weights(32)
    expected = -10 * math.log10(0.2**2 * weight[row] / weight.sum())
    table = score(prediction, truth)
    assert table["WS-PSNR"] == pytest.approx(expected, rel=1e-9)
    assert table["PSNR"] == pytest.approx(-10 * math.log10(0.2**2 / 32), rel=1e-6)


def test_structure_lost_at_a_pole_hardly_counts():
    truth = random_picture(0)
    at_pole, at_equator = truth.clone(), truth.clone()
    at_pole[..., :3, :] = 0
    at_equator[..., 14:17, :] = 0
    pole, equator = score(at_pole, truth), score(at_equator, truth)
    assert 1 - pole["WS-SSIM"] < 0.4 * (1 - equator["WS-SSIM"])
    assert 1 - pole["WS-PSNR"] < 1 - equator["WS-PSNR"]


def test_where_the_panorama_is_cut_does_not_matter_on_the_sphere():
    truth = random_picture(1)
    prediction = 0.6 * truth + 0.3 * random_picture(2)
    prediction[..., :4] = 0  # worse near the seam
    here = score(prediction, truth)
    there = score(prediction.roll(21, -1), truth.roll(21, -1))
    for name in ("WS-SSIM", "WS-PSNR", "MSE"):
        assert there[name] == pytest.approx(here[name], rel=1e-12)
    assert there["SSIM"] != pytest.approx(here["SSIM"], rel=1e-4)  # it mirrors at the cut


def test_seen_and_unseen_pixels():
    truth = flat(100)
    prediction = truth.clone()
    prediction[..., :16] += 51 / 127.5  # wrong by a fifth of the range in the first quarter
    prediction[:, 0, :, 32:] += 102 / 127.5  # by two fifths, in one channel, in the other half
    seen = torch.zeros(1, 1, 32, 64, dtype=torch.bool)
    seen[..., :32] = True
    table = score(prediction, truth, seen)
    assert table["PSNR seen"] == pytest.approx(-10 * math.log10(0.2**2 / 2), rel=1e-9)
    assert table["PSNR unseen"] == pytest.approx(-10 * math.log10(0.4**2 / 3), rel=1e-9)


def test_no_number_where_nothing_is_unseen_or_seen():
    x, y = random_picture(0), random_picture(1)
    table = score(x, y)
    assert math.isnan(table["PSNR unseen"]) and not math.isnan(table["PSNR seen"])
    assert table["PSNR seen"] == pytest.approx(table["PSNR"], rel=1e-6)
    table = score(x, y, ~everywhere(y))
    assert math.isnan(table["PSNR seen"]) and not math.isnan(table["PSNR unseen"])


def test_lpips_is_that_of_the_rounded_pictures():
    x, y, lpips = random_picture(0), random_picture(1), LPIPS("alex")
    table = picture_metrics(x + 0.1 / 127.5, y, everywhere(y), lpips)
    rounded = [(p * 127.5).add(127.5).round() / 127.5 - 1 for p in (x + 0.1 / 127.5, y)]
    torch.testing.assert_close(table["LPIPS"].float(), lpips(*rounded), rtol=1e-4, atol=0)
    assert math.isnan(score(x, y)["LPIPS"])


@pytest.mark.parametrize("height", [1, 4, 7, 20])
def test_tiny_pictures_have_the_numbers_that_make_sense(height: int):
    x, y = random_picture(0, height=height), random_picture(1, height=height)
    table = {
        name: value.item()
        for name, value in picture_metrics(x, y, x[:, :1] > -2, LPIPS("alex")).items()
    }
    assert not math.isnan(table["PSNR"]) and math.isnan(table["LPIPS"])
    assert math.isnan(table["SSIM"]) == math.isnan(table["WS-SSIM"]) == (height < 6)
    assert math.isnan(table["seam error"]) == (height < 8)


# --- the seam ---


def blurred(picture: Tensor, half: int, passes: int = 1) -> Tensor:
    """[1 2 1]/4 along the rows, in `half` columns on either side of the seam."""
    x = picture.roll(half, -1).clone()
    for _ in range(passes):
        smooth = (x.roll(1, -1) + 2 * x + x.roll(-1, -1)) / 4
        x[..., : 2 * half] = smooth[..., : 2 * half]
    return x.roll(-half, -1)


def faded(picture: Tensor, half: int) -> Tensor:
    """The columns around the seam all alike."""
    x = picture.roll(half, -1).clone()
    x[..., : 2 * half] = x[..., : 2 * half].mean(-1, keepdim=True)
    return x.roll(-half, -1)


BLURS = {
    "2 columns": lambda x: blurred(x, 1),
    "4 columns": lambda x: blurred(x, 2),
    "6 columns, strong": lambda x: blurred(x, 3, 3),
    "8 columns, strong": lambda x: blurred(x, 4, 6),
    "2 columns alike": lambda x: faded(x, 1),
    "8 columns alike": lambda x: faded(x, 4),
}


def natural(correlation: float, seed: int, height: int = 64) -> Tensor:
    """Gaussian noise smooth over so many pixels, on the whole torus: no seam anywhere."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(1, 3, height, 2 * height, generator=generator)
    fy, fx = torch.fft.fftfreq(height)[:, None], torch.fft.fftfreq(2 * height)[None]
    envelope = torch.exp(-2 * (math.pi * correlation) ** 2 * (fx**2 + fy**2))
    smooth = torch.fft.ifft2(torch.fft.fft2(noise) * envelope).real
    return (smooth / smooth.std() * 0.4).clamp(-1, 1)


def seams(pictures: Tensor) -> np.ndarray:
    return seam_error(to_uint8(pictures).double() / 255).numpy()


def seam(picture: Tensor) -> float:
    assert score(picture, -picture)["seam error"] == seams(picture)[0]  # needs no reference
    return float(seams(picture)[0])


@pytest.mark.parametrize("step", [1, 10, 60])
def test_a_step_at_the_seam_is_its_height(step: int):
    picture = flat(100)
    picture[..., 32:] = flat(100 + step)[..., 32:]  # the other step is at the front, far away
    assert seam(picture) == pytest.approx(step, rel=1e-9)
    assert seam(picture.roll(16, -1)) == pytest.approx(0, abs=1e-12)


def test_a_step_in_some_rows_counts_by_their_area():
    picture = flat(100)
    picture[..., 10:12, 32:] = flat(150)[..., 10:12, 32:]
    weight = row_weights(32)
    assert seam(picture) == pytest.approx(50 * weight[10:12].sum() / weight.sum(), rel=1e-9)


def test_a_ramp_that_falls_back_at_the_seam():
    levels = torch.arange(64, dtype=torch.uint8).expand(1, 3, 32, 64)
    assert seam(to_float(levels.contiguous())) == pytest.approx(63 - 1, rel=1e-9)


def test_flat_and_periodic_pictures_have_no_seam():
    assert seam(flat(7)) == 0
    stripes = torch.arange(64) % 2 * 1.0 - 0.5
    assert seam(stripes.expand(1, 3, 32, 64).contiguous()) == pytest.approx(0, abs=1e-12)
    assert seam(faded(stripes.expand(1, 3, 32, 64), 2)) > 60  # a blurred seam among sharp stripes


def test_one_difference_on_either_side_would_reward_blur():
    # Why seam_error looks further than the columns beside the seam.
    picture = natural(1.0, seed=0)

    def naive(x: Tensor) -> float:
        d = (x - x.roll(1, -1)).abs()
        return (d[..., 0] - (d[..., 1] + d[..., -1]) / 2).abs().mean().item()

    assert naive(blurred(picture, 3, 3)) < 0.5 * naive(picture)
    assert seam(blurred(picture, 3, 3)) > seam(picture) + 1


def judge_blurs(pictures: Tensor) -> None:
    """A blurred seam must not score better than the truth: not on average, and in a picture only
    where chance made the true seam stand out."""
    truth = seams(pictures)
    assert np.median(truth) == 0 and (truth > 0.05).mean() < 0.35
    for name, blur in BLURS.items():
        values = seams(blur(pictures))
        assert values.mean() > truth.mean() - 0.02, name
        assert (values < truth - 0.05).mean() <= 0.15, name
        if name.endswith("alike"):  # milder blurs are invisible in smooth pictures
            assert (values > truth + 0.05).mean() > 0.9, name


@pytest.mark.parametrize("correlation", [0.5, 1.0, 2.0, 4.0])
def test_a_blurred_seam_is_not_better_on_noise(correlation: float):
    judge_blurs(torch.cat([natural(correlation, seed) for seed in range(40)]))


@pytest.mark.parametrize("correlation", [0.5, 1.0, 2.0, 4.0])
def test_a_broken_seam_is_worse_on_noise(correlation: float):
    pictures = torch.cat([natural(correlation, seed) for seed in range(20)])
    broken = pictures.clone()
    broken[..., 64:] += 90 / 127.5
    assert (seams(broken) > seams(pictures) + 2).all()
    if correlation >= 1:  # where neighbouring pixels have little in common a shift breaks nothing
        shifted = pictures.clone()  # the two edges at different heights
        shifted[..., 64:] = pictures.roll(8, -2)[..., 64:]
        assert (seams(shifted) > seams(pictures) + 2).all()


@pytest.fixture(scope="module")
def real(shared: Path) -> Tensor:
    """Real panoramas, each turned to four directions, so that any content meets the seam."""
    pictures = []
    for path in sorted((shared / "panoramas" / "val").iterdir()):
        small = Image.open(path).convert("RGB").resize((128, 64), Image.Resampling.BOX)
        picture = to_float(torch.from_numpy(np.array(small)).permute(2, 0, 1)[None].contiguous())
        pictures += [picture.roll(13 + 32 * k, -1) for k in range(4)]
    return torch.cat(pictures)


@pytest.mark.shared
def test_a_blurred_seam_is_not_better_on_real_panoramas(real: Tensor):
    judge_blurs(real)


@pytest.mark.shared
def test_a_broken_seam_is_worse_on_real_panoramas(real: Tensor):
    exposed = torch.cat([0.7 * real[..., :64] + 0.3, 0.7 * real[..., 64:] - 0.3], -1)
    assert (seams(exposed) > seams(real) + 2).mean() > 0.95
    shifted = torch.cat([real[..., :64], real.roll(4, -2)[..., 64:]], -1)
    assert seams(shifted).mean() > seams(real).mean() + 2


# --- sets of pictures ---


def test_mean_rows():
    rows = [
        {"a": 1.0, "b": math.nan, "c": math.nan},
        {"a": 2.0, "b": 5.0, "c": math.nan},
        {"a": 6.0, "b": math.nan, "c": math.nan, "d": 4.0},
    ]
    assert mean_rows(rows) == {"a": 3.0, "b": 5.0, "c": None, "d": 4.0}
    assert mean_rows([]) == {}


def test_the_order_of_pictures_does_not_change_a_mean():
    values = [{"a": math.sin(i) * 10.0 ** (i % 7)} for i in range(101)]
    assert mean_rows(values) == mean_rows(values[::-1]) == mean_rows(values[50:] + values[:50])


class Corners(nn.Module):
    """Four features: the pixels of one channel's corners."""

    num_features = 4

    def forward(self, pictures: Tensor) -> Tensor:
        return pictures[:, 0, ::7, ::7].float().flatten(1)


def byte_pictures(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, 8, 8), dtype=torch.uint8, generator=generator)


def formula(made: Tensor, true: Tensor) -> float:
    f, g = (Corners()(p).double().numpy() for p in (made, true))
    root = np.real(scipy.linalg.sqrtm(np.cov(f.T) @ np.cov(g.T)))
    return ((f.mean(0) - g.mean(0)) ** 2).sum() + np.trace(np.cov(f.T) + np.cov(g.T) - 2 * root)


def test_fid_equals_the_formula_for_each_method():
    truth = byte_pictures(40, 1) // 2
    made = {"one": byte_pictures(40, 0), "other": byte_pictures(40, 2) // 3}
    fids = FIDs(Corners(), made)
    for part in torch.arange(40).split(9):
        fids.update(truth[part], {name: pictures[part] for name, pictures in made.items()})
    for name, distance in fids.compute().items():
        assert distance == pytest.approx(formula(made[name], truth), rel=1e-5), name


def test_fid_asks_the_extractor_once_for_each_picture():
    asked = []
    corners = Corners()
    corners.register_forward_hook(lambda module, given, features: asked.append(len(given[0])))
    truth = byte_pictures(3, 0)
    FIDs(corners, "abc").update(truth, {name: truth for name in "abc"})
    assert asked == [3] * 4


@pytest.mark.parametrize("count", [0, 1])
def test_fid_of_fewer_than_two_pictures_is_no_number(count: int):
    fids = FIDs(Corners(), ["a"])
    if count:
        fids.update(byte_pictures(count, 0), {"a": byte_pictures(count, 1)})
    assert fids.compute() == {"a": None}


@pytest.mark.parametrize("load", [load_extractor, load_lpips])
def test_missing_weights_make_a_note_and_no_metric(
    load: Callable[[], tuple[object, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.delenv("SPIDEREYE_WEIGHTS", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    network, note = load()
    assert network is None
    assert "n/a" in note and "https://" in note and str(tmp_path) in note and "\n" not in note


def test_fid_note_says_extractor_resize_rule_and_n(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    name = "pt_inception-2015-12-05-6726825d.pth"
    (tmp_path / name).touch()
    monkeypatch.setenv("SPIDEREYE_WEIGHTS", str(tmp_path))
    monkeypatch.setattr(judges.FIDInception, "load", staticmethod(Corners))
    found = Judges.load(torch.device("cpu"))
    assert isinstance(found.extractor, Corners) and found.lpips is None
    for part in (name, "299x299", "bilinear", "N is"):
        assert part in found.notes[0]
    assert found.notes[1].startswith("LPIPS: n/a")
