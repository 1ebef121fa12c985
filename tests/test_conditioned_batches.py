"""Conditioned training data: a sample is its (seed, epoch, index), kept or not, by any worker."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from test_train import KilledError, assert_same_weights, killed_at

from spidereye.batches import GlobalBatches, PanoramaDataset, loader
from spidereye.conditioned_batches import ConditionedDataset, ConditionedRenderer
from spidereye.conditions import flattened, restored
from spidereye.config_files import load_config
from spidereye.model import SpiderEyeModel
from spidereye.pictures import to_float
from spidereye.rig import off_centre
from spidereye.rig_variety import MOST_VIEWS
from spidereye.scene_batches import SceneDataset
from spidereye.setup import build_accelerator, datasets
from spidereye.sources.scenes import NearScenes
from spidereye.train import train

SMALL = [
    "ssdd.decoder=XXS",
    "ssdd.encoder_width=16",
    "ssdd.fusion_type=spherical",
    "ssdd.padding=sphere",
    "ssdd.condition=latent+warp",
    "ssdd.prior=stitch",
    "ssdd.sphere_radii=[inf,2]",
    "ssdd.refine=[gain]",
    "dataset.parallax_share=0",
    "dataset.missing_view=0",
    "dataset.jitter_share=1",
    "dataset.yaw_augment=false",
]


PAIRS = [(epoch, index) for epoch in range(2) for index in range(2)]


def made(overrides, *more) -> ConditionedDataset:
    config = load_config("SpiderEye360", [*overrides, *SMALL, *more])
    dataset, _, renderers = datasets(config, build_accelerator(config))
    assert isinstance(dataset, ConditionedDataset)
    assert isinstance(renderers.train, ConditionedRenderer)
    return dataset


def same(one, other) -> bool:
    return (
        torch.equal(one.panorama, other.panorama)
        and one.conditions.keys() == other.conditions.keys()
        and all(torch.equal(part, other.conditions[name]) for name, part in one.conditions.items())
        and (one.index, one.name) == (other.index, other.name)
    )


def views(sample) -> torch.Tensor:
    return sample.conditions["views"][0].float()


def test_training_views_are_taken_by_the_cameras_described(tiny_overrides):
    plain = made(tiny_overrides)
    dark = made(tiny_overrides, "dataset.cameras.vignetting=0.9")
    for pair in PAIRS:
        assert float(views(dark[pair]).mean()) < float(views(plain[pair]).mean())
        assert torch.equal(dark[pair].panorama, plain[pair].panorama)
    kept = [one._settings for one in (plain, dark)]
    assert kept[0] != kept[1], "one must not be taken for the other where both are kept"


def test_a_sample_is_its_seed_epoch_and_index(tiny_overrides):
    dataset, again = made(tiny_overrides), made(tiny_overrides)
    forth = [dataset[0, index] for index in range(4)]
    back = [again[0, index] for index in reversed(range(4))][::-1]
    assert all(same(one, other) for one, other in zip(forth, back, strict=True))
    assert [sample.name for sample in forth] == list(dataset.panoramas.source.names[:4])
    assert not same(dataset[1, 0], forth[0])
    assert torch.equal(dataset[1, 0].panorama, forth[0].panorama)
    assert not torch.equal(views(dataset[1, 0]), views(forth[0]))
    other = made(tiny_overrides, "seed=1")
    assert not torch.equal(views(other[0, 0]), views(forth[0]))
    assert {"views", "warp", "start", "spread", "grid.place"} <= set(forth[0].conditions)
    for part in forth[0].conditions.values():
        assert part.dtype in (torch.float16, torch.bool)
        assert part.dtype == torch.bool or bool(torch.isfinite(part).all())


@pytest.mark.parametrize("workers,near", [(0, 0), (2, 0.2)])
def test_workers_and_batches_do_not_matter(tiny_overrides, workers, near):
    dataset = made(tiny_overrides, f"dataset.parallax_share={near}", "dataset.missing_view=0.3")
    batches = GlobalBatches(len(dataset), 3, seed=0, rank=0, processes=1)
    batches.epoch = 2
    seen = [sample for raw in loader(dataset, batches, workers) for sample in raw]
    assert len(seen) == 6
    for sample in seen:
        assert same(sample, dataset[2, sample.index])
    render = ConditionedRenderer(dataset.render.rig, torch.device("cpu"))
    batch, alone = render(seen[:3]), render(seen[1:2])
    assert torch.equal(batch.views[1:2], alone.views)
    assert torch.equal(batch.panorama[1:2], alone.panorama)
    assert batch.indices == [sample.index for sample in seen[:3]]
    together, single = (flattened(b.conditions) for b in (batch, alone))
    assert all(torch.equal(together[name][1:2], part) for name, part in single.items())
    assert torch.equal(batch.views, batch.conditions.views)
    assert torch.equal(batch.panorama[0], to_float(seen[0].panorama))


def test_draws_come_again(tiny_overrides):
    dataset = made(tiny_overrides, "dataset.draws=2", "dataset.parallax_share=0.3")
    for index in range(2):
        first, second, third = (dataset[epoch, index] for epoch in range(3))
        assert same(first, third) and not same(first, second)
        assert same(second, dataset[7, index])
    endless = made(tiny_overrides, "dataset.parallax_share=0.3")
    assert same(endless[0, 1], dataset[0, 1]) and not same(endless[2, 1], dataset[2, 1])


def test_what_is_kept_on_disk_is_what_is_made(tiny_overrides, tmp_path, monkeypatch):
    kept = [f"dataset.cache={tmp_path / 'kept'}", "dataset.draws=2", "dataset.parallax_share=0.4"]
    plain = made(tiny_overrides, *kept[1:])
    expected = [plain[epoch, index] for epoch, index in PAIRS]
    writing = made(tiny_overrides, *kept)
    assert all(same(a, writing[e, i]) for a, (e, i) in zip(expected, PAIRS, strict=True))
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) >= 4
    reading = made(tiny_overrides, *kept)
    monkeypatch.setattr(ConditionedDataset, "_made", None)  # nothing is made any more
    assert all(same(a, reading[e + 2, i]) for a, (e, i) in zip(expected, PAIRS, strict=True))


@pytest.mark.parametrize(
    "change",
    [
        "seed=3",
        "dataset.rotation_jitter=1",
        "dataset.missing_view=1",
        "ssdd.refine=[]",
        "ssdd.sphere_radii=[inf,3]",
        "dataset.parallax_share=1",
        "dataset.render=exact",
        "dataset.f_pix=200",
    ],
)
def test_what_is_kept_is_asked_for_by_all_that_it_depends_on(tiny_overrides, tmp_path, change):
    kept = [f"dataset.cache={tmp_path / 'kept'}", "dataset.draws=1"]
    before = made(tiny_overrides, *kept)[0, 0]
    changed = made(tiny_overrides, *kept, change)[0, 0]
    assert not same(before, changed)
    assert same(changed, made(tiny_overrides, "dataset.draws=1", change)[0, 0])


def test_without_draws_nothing_is_kept_of_shots(tiny_overrides, tmp_path):
    dataset = made(tiny_overrides, f"dataset.cache={tmp_path / 'kept'}")
    dataset[0, 0], dataset[1, 0]
    assert len(list((tmp_path / "kept").rglob("*.safetensors"))) == 1  # the panorama itself


def test_near_scenes_have_parallax(tiny_overrides):
    """All samples are scenes, seen by cameras between 10 and 20 cm off the centre."""
    dataset = made(
        tiny_overrides, "dataset.parallax_share=1", "dataset.off_centre=[0.1,0.2]",
        "ssdd.refine=[]",
    )  # fmt: skip
    sample, other = dataset[0, 0], dataset[0, 1]
    assert not torch.equal(sample.panorama, other.panorama)
    # The scene, by itself.
    rig = dataset.render.rig
    near = SceneDataset(NearScenes(1, dataset.render.seed, "train"), rig.cameras, (32, 16))[0]
    assert torch.equal(sample.panorama, near.target.permute(2, 0, 1))
    centred = to_float(near.views)
    assert float((views(sample) - centred).abs().mean()) > 0.01
    # On spheres of ∞ and of 2 m such cameras look elsewhere: by up to 0.2 m / 2 m.
    place, seen = (sample.conditions[f"grid.{name}"] for name in ("place", "seen"))
    far, close = place[0].float().chunk(2, dim=1)
    both = seen[0].chunk(2, dim=1)
    moved = (far - close).norm(dim=-1)[both[0] & both[1]]
    assert 0.01 < float(moved.max()) < 0.2
    shifted = off_centre(rig, 0.1)
    assert all(bool(c.position.norm() > 0) for c in shifted.cameras)


def test_cameras_off_the_centre_stand_within_the_range(tiny_overrides, monkeypatch):
    import spidereye.conditioned_batches as module

    dataset = made(tiny_overrides, "dataset.parallax_share=1", "dataset.off_centre=[0.1,0.2]")
    distances = []

    def noted(rig, distance):
        distances.append(distance)
        raise KilledError

    monkeypatch.setattr(module, "off_centre", noted)
    for index in range(7):
        for epoch in range(8):
            with pytest.raises(KilledError):
                dataset[epoch, index]
    assert 0.1 <= min(distances) < 0.11 and 0.19 < max(distances) <= 0.2
    assert len(set(distances)) == len(distances)


def test_the_share_of_near_scenes(tiny_overrides, monkeypatch):
    dataset, near = made(tiny_overrides, "dataset.parallax_share=0.25"), []

    def noted(self, rig, number, place):
        near.append(number)
        return self.render([self.panoramas[0]], 0)

    monkeypatch.setattr(ConditionedDataset, "_near", noted)
    monkeypatch.setattr("spidereye.conditioned_batches.condition_each", lambda *_: [None])
    monkeypatch.setattr("spidereye.conditioned_batches.flattened", lambda _: {})
    for epoch in range(40):
        for index in range(7):
            dataset._made(epoch, index)
    assert 45 < len(near) < 95 and len(set(near)) == len(near)  # 70 of 280, no scene twice


def test_samples_without_jitter_are_the_rig_as_it_is(tiny_overrides):
    still = ["dataset.jitter_share=0", "dataset.xi_jitter=0", "dataset.f_jitter=0",
             "ssdd.refine=[]", "dataset.render=exact"]  # fmt: skip
    dataset = made(tiny_overrides, *still)
    render = replace(dataset.render, jitter=None)
    for index in range(3):
        expected = render([dataset.panoramas[index]])
        assert torch.equal(views(dataset[5, index]), expected.views[0].half().float())
    lens = made(tiny_overrides, *still[:1], *still[3:])
    assert not torch.equal(views(lens[5, 0]), views(dataset[5, 0]))  # lenses still vary
    half = made(tiny_overrides, "dataset.jitter_share=0.5", *still[1:])
    plain = views(dataset[0, 0])
    kinds = [torch.equal(views(half[epoch, 0]), plain) for epoch in range(24)]
    assert 4 < sum(kinds) < 20


def test_missing_views_are_black_and_never_all(tiny_overrides):
    still = ["dataset.jitter_share=0", "dataset.xi_jitter=0", "dataset.f_jitter=0"]
    lacking = made(tiny_overrides, "dataset.missing_view=1", "ssdd.refine=[]", *still)
    whole = made(tiny_overrides, "ssdd.refine=[]", *still)
    missing = []
    for epoch in range(8):
        sample, full = lacking[epoch, 1], whole[epoch, 1]
        black = [number for number, view in enumerate(views(sample)) if bool((view == -1).all())]
        assert 1 <= len(black) < 4
        missing.append(tuple(black))
        rest = [number for number in range(4) if number not in black]
        assert torch.equal(views(sample)[rest], views(full)[rest])
        assert not bool(sample.conditions["grid.seen"][0, black].any())
        assert torch.equal(sample.panorama, full.panorama)
    assert len(set(missing)) > 2 and len({len(black) for black in missing}) > 1


def config(overrides, run_name, *more):
    settings = ["training.max_steps=5", "training.save_freq=1", "training.eval_freq=100",
                "dataset.missing_view=0.3", "losses.relative=true", "dataset.limit=4"]  # fmt: skip
    return load_config("SpiderEye360", [*overrides, *SMALL, *settings, f"run_name={run_name}",
                                        *more])  # fmt: skip


def test_training_on_kept_shots_resumes_bit_for_bit(tiny_overrides, tmp_path, monkeypatch):
    """Without `draws` test_train.py has it, whose runs have conditions too."""
    more = ["dataset.draws=2", f"dataset.cache={tmp_path / 'kept'}", "dataset.parallax_share=0.2"]
    whole = train(config(tiny_overrides, "whole", *more))
    with monkeypatch.context() as patch:
        killed_at(patch, 4)
        with pytest.raises(KilledError):
            train(config(tiny_overrides, "cut", *more))
    folder = train(config(tiny_overrides, "cut", *more))
    assert_same_weights(folder, whole)
    kept = load_file(whole / "last" / "raw.safetensors")
    assert float(kept["decoder.conv_out.weight"].abs().max()) > 0  # it was zero to start with


def test_panoramas_alone_need_no_conditions(tiny_overrides):
    plain = load_config("SpiderEye", [*tiny_overrides, "dataset.f_pix_size=560"])
    dataset, _, renderers = datasets(plain, build_accelerator(plain))
    assert not isinstance(dataset, ConditionedDataset | PanoramaDataset)
    assert renderers.train([dataset[0, 1]], 0).conditions is None
    near = load_config(
        "SpiderEye",
        [*tiny_overrides, "dataset.f_pix_size=560", "dataset.parallax_share=0.01"],
    )
    dataset, _, renderers = datasets(near, build_accelerator(near))
    assert isinstance(dataset, ConditionedDataset)
    assert set(dataset[0, 1].conditions) == {"views"}
    batch = renderers.train([dataset[0, 1]], 0)
    assert batch.conditions is not None and batch.conditions.grid is None


VARIED = [
    "dataset.rig_variety=1", "dataset.degradation=1", "dataset.parallax_share=0.3",
    "dataset.missing_view=0.3",
]  # fmt: skip


def test_other_rigs_and_cameras_follow_from_seed_epoch_and_index(tiny_overrides):
    dataset, again = made(tiny_overrides, *VARIED), made(tiny_overrides, *VARIED)
    forth = [dataset[0, index] for index in range(4)]
    back = [again[0, index] for index in reversed(range(4))][::-1]
    assert all(same(one, other) for one, other in zip(forth, back, strict=True))
    assert len({len(views(sample)) for sample in forth}) > 1
    plain = made(tiny_overrides, "dataset.missing_view=0.3", "dataset.parallax_share=0.3")
    assert not any(same(one, plain[0, index]) for index, one in enumerate(forth))


def test_rigs_of_different_numbers_of_views_make_one_batch(tiny_overrides):
    """And the networks make of a shot in it what they make of it alone."""
    config = load_config("SpiderEye360", [*tiny_overrides, *SMALL, *VARIED])
    dataset, _, renderers = datasets(config, build_accelerator(config))
    samples = [dataset[0, index] for index in range(4)]
    batch = renderers.train(samples)
    assert batch.views.shape[:2] == (4, MOST_VIEWS) == batch.mask.shape[:2]
    torch.manual_seed(0)
    model = SpiderEyeModel(config.model()).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    together = model.encode(batch.conditions)
    for place, sample in enumerate(samples):
        alone = model.encode(restored(sample.conditions))
        assert torch.allclose(together[place : place + 1], alone, atol=1e-5)
