"""The parts of benchmarks/quality.py that decide what is compared, and what counts as reached."""

from dataclasses import asdict
from pathlib import Path

import pytest

from spidereye.config_files import config_to_dict, load_config
from spidereye.run_log import flat

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


def settings(row: str, seed: int = 0) -> dict:
    """All of a row's configuration that is no name of a folder."""
    from quality_rows import Job, Plan, config_of

    config = config_of(Job(row, seed), Plan(steps=3), Path("data"), Path("work"))
    values = flat(config_to_dict(config))
    return {key: value for key, value in values.items() if key != "run_name"}


def test_each_row_differs_from_the_one_before_it_by_what_it_names():
    from quality_rows import ADDED, PLAIN, TRAINED

    plain = settings("concat_conv")
    before = plain
    for row in TRAINED[1:]:
        made = settings(row)
        parent = plain if row in ("average", "spherical") else before
        changed = {key for key in made if made[key] != parent[key]}
        assert changed == set(ADDED[row]) <= set(PLAIN)
        before = made


def test_all_rows_see_the_same_samples():
    from quality_rows import TRAINED

    told = [{k: v for k, v in settings(row).items() if k.startswith("dataset.")} for row in TRAINED]
    assert all(one == told[0] for one in told)
    assert told[0]["dataset.draws"] == "6" and float(told[0]["dataset.parallax_share"]) > 0


def test_the_winner_is_told_what_the_configuration_of_its_name_is_told():
    from quality_rows import PLAIN, WINNER

    ours, shipped = settings(WINNER), flat(config_to_dict(load_config(WINNER, [])))
    assert {key: ours[key] for key in PLAIN} == {key: shipped[key] for key in PLAIN}


def test_seeds_and_lengths_have_runs_of_their_own():
    from quality_rows import STITCHES, WINNER, Job, Plan, config_of, jobs

    made = jobs((STITCHES, "average", WINNER), (WINNER, STITCHES), 3)
    assert [(job.row, job.seed) for job in made] == [
        (STITCHES, 0), ("average", 0), (WINNER, 0), (WINNER, 1), (WINNER, 2),
    ]  # fmt: skip
    runs = {
        config_of(Job(row, seed), Plan(steps), Path("data"), Path("work")).run_name
        for row, seed, steps in ((WINNER, 0, 3), (WINNER, 1, 3), (WINNER, 0, 4), ("average", 0, 3))
    }
    assert len(runs) == 4


def means(**values: list[float]) -> dict:
    from quality_rows import WINNER
    from quality_targets import CALIBRATED, ONE_STEP, TWELVE_STEPS

    keys = {
        "one": (WINNER, ONE_STEP),
        "twelve": (WINNER, TWELVE_STEPS),
        "stitch": ("stitch", "stitch"),
        "calibrated": (CALIBRATED, CALIBRATED),
    }
    return {keys[name]: {"clean": {"PSNR": value}} for name, value in values.items()}


def test_targets_compare_means_over_seeds_and_name_the_worst():
    from quality_targets import TARGETS, outcomes

    found = outcomes(means(one=[36.6, 36.0, 36.3], twelve=[34.7, 36.0, 36.3], stitch=[35.7]))
    assert len(found) == len(TARGETS)
    by = {outcome.text: outcome for outcome in found}
    gain = by["SpiderEye360 model, 1 step vs stitch: clean PSNR"]
    assert gain.measured == pytest.approx(0.6) and gain.worst == pytest.approx(0.3) and gain.met
    assert gain.cells[2:] == ("+0.60 (worst seed +0.30)", "yes")
    steps = by["SpiderEye360 model, 12 steps vs SpiderEye360 model, 1 step: clean PSNR"]
    # Each seed beside its own: the first one's many steps lose 1.9 dB.
    assert steps.worst == pytest.approx(-1.9) and steps.met
    assert by["SpiderEye360 model, 1 step vs stitch: jitter PSNR"].met is None
    short = outcomes(means(one=[36.1], stitch=[35.7]))
    assert {o.text: o.met for o in short}[gain.text] is False


def test_at_other_sizes_the_order_is_asked_for():
    from quality_targets import outcomes

    for value, met in ((36.0, True), (35.7, False)):
        found = outcomes(means(one=[value], stitch=[35.7], twelve=[30.0]), size=128)
        by = {outcome.text: outcome for outcome in found}
        assert by["SpiderEye360 model, 1 step vs stitch: clean PSNR"].met is met
        # Many steps may not fall behind at any size.
        steps = "SpiderEye360 model, 12 steps vs SpiderEye360 model, 1 step: clean PSNR"
        assert by[steps].met is False


def test_a_plan_as_options_is_the_same_plan(monkeypatch, tmp_path):
    from quality import options, parsed
    from quality_rows import Plan

    plan = Plan(7, 128, limit=3, rate=2e-3)
    monkeypatch.setattr("sys.argv", ["quality.py", *options(plan)])
    given = vars(parsed())
    assert {key: given[key] for key in asdict(plan)} == asdict(plan)


def test_the_sweep_tells_where_the_model_falls_short():
    from quality_points import ADJACENT, MISSING, Point
    from quality_sweep import MEAN_FILL, ONE_STEP, STITCH, UNSEEN, shortfalls

    def values(ours: float, fill: float | None = None) -> dict:
        rows = {STITCH: {"PSNR": [30.0, 32.0], "aligned PSNR": [30.0, 32.0]}}
        rows[ONE_STEP] = {"PSNR": [ours, ours], "aligned PSNR": [31.0, 31.0]}
        if fill is not None:
            rows[ONE_STEP][UNSEEN], rows[MEAN_FILL] = [15.0, None], {UNSEEN: [fill, None]}
        return {"rows": rows}

    near, gap = Point("rotation", 3), Point(MISSING, ADJACENT)
    assert shortfalls({near: values(30.71), gap: values(31.0, 14.9)}) == []
    (line,) = shortfalls({near: values(30.69)})
    assert line.startswith("rotation 3: PSNR") and "0.31 below stitch" in line
    (line,) = shortfalls({gap: values(31.0, 15.1)})
    assert "mean colour" in line


def test_two_views_missing_lie_opposite_or_side_by_side():
    import torch
    from quality_points import ADJACENT, ONE, OPPOSITE, _blackened, _only_present, present

    from spidereye.batches import Batch
    from spidereye.rig import spider4

    cameras = spider4(25.0, 0.85, 64).cameras
    views = torch.zeros(1, 4, 3, 64, 64)
    mask = torch.ones(1, 4, 64, 64, dtype=torch.bool)
    pairs = set()
    for index in range(8):
        batch = Batch(views, torch.zeros(1, 3, 64, 128), cameras, cameras, mask, [index], ["x"])
        kept = {which: present(_blackened(batch, which, 0)) for which in (ONE, OPPOSITE, ADJACENT)}
        assert len(kept[ONE]) == 3 and len(kept[OPPOSITE]) == len(kept[ADJACENT]) == 2
        assert (kept[OPPOSITE][1] - kept[OPPOSITE][0]) == 2
        assert (kept[ADJACENT][1] - kept[ADJACENT][0]) % 2 == 1
        assert set(kept[ADJACENT]) <= set(kept[ONE])
        pairs.add(tuple(kept[ADJACENT]))
        left = _only_present(_blackened(batch, OPPOSITE, 0))
        assert left.views.shape[1] == len(left.cameras) == 2
    assert len(pairs) > 1
