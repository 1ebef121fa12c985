"""Jitter, batches and loaders: the same draws whatever the workers, processes and batches."""

import math
import multiprocessing
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_rig_files import PARAMETERS as LENS_PARAMETERS
from torch.utils.data import Dataset, get_worker_info

from spidereye.batches import (
    EverySampleOnce,
    GlobalBatches,
    IndexedDataset,
    PanoramaDataset,
    Renderer,
    loader,
)
from spidereye.jitter import JitterConfig, draw, jitter_colour, jittered_cameras
from spidereye.lenses import UCM, Mei, lens_of, plane_of
from spidereye.randomness import generator, normal
from spidereye.render import QUALITIES, RenderPlan
from spidereye.rig import spider4
from spidereye.sources import SourceConfig, open_source

SIZE = (32, 16)


class Gradient:
    """Panoramas of 64x32 whose colours tell direction and index."""

    names = tuple(f"p{i}" for i in range(7))

    def __len__(self):
        return 7

    def panorama(self, index, min_width):
        u = np.linspace(0, 255, 64)[None].repeat(32, 0)
        v = np.linspace(0, 255, 32)[:, None].repeat(64, 1)
        return np.stack((u, v, np.full_like(u, index * 30)), -1).astype(np.uint8)

    def origin(self, index):
        return None


def setup(jitter=None, seed=0, quality="training"):
    rig = spider4(220 * 16 / 560, 0.85, 16)
    plan = RenderPlan.for_cameras(rig.cameras, quality)
    dataset = PanoramaDataset(Gradient(), SIZE, plan)
    return dataset, Renderer(rig, plan, Gradient.names, jitter=jitter, seed=seed)


def test_a_batch_is_the_documented_pair():
    dataset, render = setup()
    batch = render([dataset[0], dataset[3]])
    views, panorama = batch
    assert views.shape == (2, 4, 3, 16, 16) and panorama.shape == (2, 3, 16, 32)
    assert views.dtype == panorama.dtype == torch.float32
    assert float(views.min()) >= -1 and float(views.max()) <= 1
    assert batch.indices == [0, 3] and batch.names == ["p0", "p3"]
    # Quantised like a camera's eight bits, black outside the circle.
    levels = (views + 1) * 127.5
    assert torch.allclose(levels, levels.round(), atol=1e-4)
    assert bool((views.permute(0, 1, 3, 4, 2)[~batch.mask] == -1).all())


def test_validation_has_no_jitter_and_training_has():
    dataset, plain = setup()
    _, shaken = setup(JitterConfig())
    clean = plain([dataset[1]], epoch=0)
    assert torch.equal(clean.views, plain([dataset[1]], epoch=5).views)
    first, second = shaken([dataset[1]], epoch=0), shaken([dataset[1]], epoch=1)
    assert not torch.equal(first.views, clean.views)
    assert not torch.equal(first.views, second.views)
    assert torch.equal(first.panorama, clean.panorama)  # the panorama is untouched


def test_draws_lie_in_their_documented_ranges():
    draws = [draw(JitterConfig(), 4, 0, 0, index) for index in range(500)]
    xi = torch.tensor([d.xi_scale for d in draws])
    f = torch.tensor([d.f_divisor for d in draws])
    angles = torch.stack([d.angles for d in draws])
    for values, low, high in (
        (xi, 0.6, 1.4),
        (f, 0.9, 1.1),
        (angles, -math.radians(3), math.radians(3)),
        (torch.stack([d.contrast for d in draws]), 0.8, 1.2),
        (torch.stack([d.brightness for d in draws]), -0.2, 0.2),
        (torch.stack([d.color for d in draws]), 0.9, 1.1),
    ):
        span = high - low
        assert low <= float(values.min()) < low + 0.02 * span
        assert high - 0.02 * span < float(values.max()) <= high
    assert all(d.yaw == 0 for d in draws)


def test_switching_one_kind_off_leaves_the_other_draws_alone():
    full, half = draw(JitterConfig(), 4, 0, 3, 5), draw(JitterConfig(xi=0, f=0), 4, 0, 3, 5)
    assert half.xi_scale == half.f_divisor == 1.0
    assert torch.equal(full.angles, half.angles) and torch.equal(full.color, half.color)


def test_believed_cameras_know_the_lens_and_true_ones_the_pose():
    rig = spider4(50, 0.85, 16)
    draws = [draw(JitterConfig(), 4, 0, 0, index) for index in range(3)]
    believed, true = jittered_cameras(rig.cameras, draws)
    for view, nominal in enumerate(rig.cameras):
        assert torch.allclose(believed[view].rotation, nominal.rotation.expand(3, 3, 3))
        assert not torch.allclose(true[view].rotation, believed[view].rotation, atol=1e-4)
        for index, jitter in enumerate(draws):
            for camera in (believed[view], true[view]):
                assert float(camera.lens.xi[index]) == pytest.approx(0.85 * jitter.xi_scale)
                assert float(camera.lens.f[index]) == pytest.approx(50 / jitter.f_divisor)
        tilt = true[view].rotation @ nominal.rotation.T
        angle = torch.rad2deg(torch.acos((tilt.diagonal(dim1=-2, dim2=-1).sum(-1) - 1) / 2))
        assert float(angle.max()) < 5.3  # three angles of at most 3°


def test_jittered_xi_is_clamped():
    rig = spider4(50, 2.9, 16)
    draws = [draw(JitterConfig(), 4, 0, 0, index) for index in range(50)]
    xi = jittered_cameras(rig.cameras, draws)[0][0].lens.xi
    assert float(xi.max()) == 3.0


def test_colour_jitter_by_hand():
    draws = [draw(JitterConfig(), 2, 0, 0, 0)]
    views = torch.full((1, 2, 3, 4, 4), 0.2)  # 0.6 on [0, 1]
    out = (jitter_colour(views, draws)[0, :, :, 0, 0] + 1) / 2
    a, b, g = draws[0].contrast, draws[0].brightness, draws[0].color
    assert torch.allclose(out, (a[:, None] * (g * 0.6) + b[:, None]).clamp(0, 1).float(), atol=1e-6)


def test_random_yaw_turns_views_and_panorama_alike():
    dataset, render = setup(JitterConfig(0, 0, 0, 0, 0, 0, yaw=True))
    _, plain = setup()
    batch, still = render([dataset[2]]), plain([dataset[2]])
    turn = round(draw(render.jitter, 4, 0, 0, 2).yaw * SIZE[0])
    assert turn % SIZE[0] != 0
    assert torch.equal(batch.panorama, still.panorama.roll(turn, -1))
    assert not torch.equal(batch.views, still.views)


@pytest.mark.parametrize("workers", [0, 3])
def test_batches_are_the_same_for_any_number_of_workers(workers):
    dataset, render = setup(JitterConfig())
    batches = GlobalBatches(len(dataset), 3, seed=0, rank=0, processes=1)
    batches.epoch = 2
    seen = [render(raw, 2) for raw in loader(IndexedDataset(dataset), batches, workers)]
    asked = [[(2, index) for index in batch.indices] for batch in seen]
    assert asked == list(batches) and len(seen) == 2
    expected = render([dataset[i] for i in seen[0].indices], 2)
    assert torch.equal(seen[0].views, expected.views)


def test_turning_panoramas_leaves_the_other_draws_alone():
    config = JitterConfig(missing=0.5, share=0.5)
    for index in range(20):
        still = draw(config, 4, 0, 0, index)
        turned = draw(replace(config, yaw=True), 4, 0, 0, index)
        assert still.yaw == 0 < turned.yaw and still.missing == turned.missing
        assert torch.equal(still.angles, turned.angles)
        assert draw(replace(config, missing=1.0), 1, 0, 0, index).missing == ()


class Slow(Dataset[dict[str, torch.Tensor]]):
    """Samples of many tensors; the first worker starts late, so that the others' wait."""

    started = False

    def __getitem__(self, key):
        if get_worker_info().id == 0 and not self.started:
            time.sleep(2)
        self.started = True
        return {str(number): torch.zeros(3) for number in range(9)}


def open_many_at_once() -> int:
    """How many batches come where few files may be open at first."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, most))
    batches = GlobalBatches(120, 12, seed=0, rank=0, processes=1)
    return sum(1 for _ in loader(Slow(), batches, 5))


def test_workers_may_have_more_tensors_ready_than_files_may_be_open():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        assert pool.submit(open_many_at_once).result() == 10


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_samples_views_do_not_depend_on_its_batch(quality):
    dataset, render = setup(JitterConfig(), quality=quality)
    together = render([dataset[i] for i in range(5)], epoch=1)
    for i in range(5):
        assert torch.equal(render([dataset[i]], epoch=1).views[0], together.views[i])


def test_processes_share_out_the_same_global_batches():
    one = list(GlobalBatches(13, 4, seed=1, rank=0, processes=1))
    two = [list(GlobalBatches(13, 4, seed=1, rank=rank, processes=2)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*two, strict=True)] == one
    assert len(one) == 3 and len({i for batch in one for i in batch}) == 12
    resumed = GlobalBatches(13, 4, seed=1, rank=0, processes=1)
    resumed.start = 2
    assert list(resumed) == one[2:] and len(resumed) == 1


def test_epochs_have_different_orders():
    batches = GlobalBatches(13, 4, seed=1, rank=0, processes=1)
    first = list(batches)
    batches.epoch = 1
    second = list(batches)
    assert {epoch for batch in first for epoch, _ in batch} == {0}
    assert {epoch for batch in second for epoch, _ in batch} == {1}
    indices = [[[index for _, index in batch] for batch in one] for one in (first, second)]
    assert indices[0] != indices[1]


@pytest.mark.parametrize("processes", [1, 2, 3])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_evaluation_sees_every_sample_exactly_once(processes, batch_size):
    lists = [EverySampleOnce(7, batch_size, rank, processes) for rank in range(processes)]
    seen = sorted(i for sampler in lists for batch in sampler for i in batch)
    assert seen == list(range(7))
    assert all(len(list(sampler)) == len(sampler) for sampler in lists)


def test_generators_differ_by_stream_and_key_and_repeat():
    draws = {
        (seed, stream, key): float(torch.rand((), generator=generator(seed, stream, *key)))
        for seed in (0, 1)
        for stream in ("a", "b")
        for key in ((0, 1), (1, 0), (1,))
    }
    assert len(set(draws.values())) == len(draws)
    both = normal(0, "x", [(1,), (2,)], (3,))
    assert torch.equal(both[1:], normal(0, "x", [(2,)], (3,)))


def test_real_panoramas_load(shared):
    source = open_source(SourceConfig(root=str(shared / "panoramas"), limit=3), "val")
    assert len(source) == 3
    rig = spider4(220 * 64 / 560, 0.85, 64)
    plan = RenderPlan.for_cameras(rig.cameras)
    render = Renderer(rig, plan, source.names)
    dataset = PanoramaDataset(source, (128, 64), plan)
    batch = render([dataset[0], dataset[2]])
    assert batch.views.std() > 0.1 and batch.panorama.shape == (2, 3, 64, 128)


@pytest.mark.parametrize("model", sorted(LENS_PARAMETERS))
def test_every_lens_is_jittered(model):
    """A shorter focal length shows more: the same pixel looks farther off the axis. ξ changes where
    it is the mirror's."""
    given = LENS_PARAMETERS[model]
    lens = lens_of(model, plane_of(64, fx=24.0), given)
    camera = replace(spider4(24, 0.85, 64).cameras[0], lens=lens)
    draws = [draw(JitterConfig(rotation=0), 1, 0, 0, index) for index in range(6)]
    believed = jittered_cameras((camera,), draws)[0][0]
    if isinstance(believed.lens, UCM | Mei):
        scales = torch.tensor([jitter.xi_scale for jitter in draws], dtype=torch.float64)
        assert torch.allclose(believed.lens.xi, given["xi"] * scales)
    else:
        pixel = torch.tensor([[[45.0, 31.5]]], dtype=torch.float64).expand(6, 1, 2)
        angles = torch.acos(believed.lens.unproject(pixel)[0][:, 0, 2])
        divisors = torch.tensor([jitter.f_divisor for jitter in draws])
        assert torch.equal(angles.argsort(), divisors.argsort())
