"""The whole chain can learn: one batch of two real panoramas, sampled from noise in 12 steps."""

import time

import pytest
import torch

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.cpu import keep_large_buffers
from spidereye.decoder import DecoderConfig
from spidereye.ema import EMA, EmaConfig
from spidereye.encoder import EncoderConfig
from spidereye.losses import LossWeights, TrainingLoss, training_draws
from spidereye.metrics import psnr
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.pictures import to_uint8
from spidereye.randomness import normal
from spidereye.render import RenderPlan
from spidereye.rig import spider4
from spidereye.sources import SourceConfig, open_source

BUDGET = 600  # seconds on two cores
WANTED = 30  # dB


def sampled_psnr(model, batch):
    noise = normal(0, "overfit", [(0,), (1,)], tuple(batch.panorama.shape[1:]))
    with torch.inference_mode():
        made = model.decode(model.encode(batch.views), noise, steps=12)
    pictures = [to_uint8(x).double() / 255 for x in (made, batch.panorama)]
    return float(psnr(*pictures).min())


@pytest.mark.slow
def test_one_batch_of_two_real_panoramas_is_learnt_to_30_db(shared):
    torch.set_num_threads(2)
    keep_large_buffers()
    torch.manual_seed(0)
    source = open_source(SourceConfig(root=str(shared / "panoramas"), limit=2), "train")
    rig = spider4(220 * 64 / 560, 0.85, 64)
    plan = RenderPlan.for_cameras(rig.cameras, 128)
    dataset = PanoramaDataset(source, (128, 64), plan.panorama_width, cache=False)
    batch = Renderer(rig, plan, source.names)([dataset[0], dataset[1]])
    model = SpiderEyeModel(
        ModelConfig(EncoderConfig(width=32), DecoderConfig.named("XS"), panorama_size=(128, 64))
    )
    loss = TrainingLoss(model, LossWeights())
    ema = EMA(model, EmaConfig(decay=0.98, start_iter=20))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    started, step, reached = time.monotonic(), 0, 0.0
    while reached < WANTED and time.monotonic() - started < BUDGET:
        draws = training_draws(model, batch.views, batch.panorama, 0, step, [0, 1])
        terms = loss(batch.views, batch.panorama, draws)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        left = 1 - (time.monotonic() - started) / BUDGET
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 50) * max(left, 0.02) ** 0.5
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model.state_dict())
        step += 1
        if step % 25 == 0:
            reached = sampled_psnr(ema.model, batch)
            elapsed = time.monotonic() - started
            print(
                f"step {step}, {elapsed:.0f} s: loss {terms['total'].item():.4f}, {reached:.1f} dB"
            )
    assert reached >= WANTED, f"{reached:.1f} dB after {step} steps"
