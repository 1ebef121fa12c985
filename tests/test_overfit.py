"""The whole chain can learn: one batch of two real panoramas, sampled from noise in 12 steps."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from spidereye.batches import PanoramaDataset, Renderer
from spidereye.conditions import Conditions
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

# Steps, not seconds, so that a slow machine takes longer and does not fail: within ten minutes of
# one core on what these were chosen on.
STEPS = 900
WANTED = 30  # dB
RATE = 3e-3
FIRST_LOOK = 500  # steps; a look costs as much as four of them, and 30 dB takes more
PANORAMA = (64, 32)  # of 64-pixel views


def sampled_psnr(model, batch):
    noise = normal(0, "overfit", [(0,), (1,)], tuple(batch.panorama.shape[1:]))
    given = Conditions(batch.views)
    with torch.inference_mode():
        made = model.decode(model.encode(given), given, noise, steps=12)
    pictures = [to_uint8(x).double() / 255 for x in (made, batch.panorama)]
    return float(psnr(*pictures).min())


def learn(panoramas: Path) -> float:
    """PSNR in dB of the worse of two panoramas, sampled until it is enough or steps run out."""
    torch.manual_seed(0)
    source = open_source(SourceConfig(root=str(panoramas), limit=2), "train")
    rig = spider4(220 * 64 / 560, 0.85, 64)
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    dataset = PanoramaDataset(source, PANORAMA, plan)
    batch = Renderer(rig, plan, source.names)([dataset[0], dataset[1]])
    model = SpiderEyeModel(
        ModelConfig(EncoderConfig(width=16), DecoderConfig.named("XXS"), panorama_size=PANORAMA)
    )
    loss = TrainingLoss(model, LossWeights())
    ema = EMA(model, EmaConfig(decay=0.98, start_iter=20))
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.95))
    started, step, reached = time.process_time(), 0, 0.0
    while reached < WANTED and step < STEPS:
        draws = training_draws(model, batch.views, batch.panorama, 0, step, [0, 1])
        terms = loss(Conditions(batch.views), batch.panorama, draws)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = RATE * min(1, (step + 1) / 50) * (1 - step / STEPS) ** 0.5
        optimizer.step()
        optimizer.zero_grad()
        ema.update(model.state_dict())
        step += 1
        if step >= FIRST_LOOK and step % 25 == 0:
            reached = sampled_psnr(ema.model, batch)
            spent = time.process_time() - started
            print(
                f"step {step}, {spent:.0f} processor s: {reached:.1f} dB",
                file=sys.stderr,
                flush=True,
            )
    return reached


@pytest.mark.slow
def test_one_batch_of_two_real_panoramas_is_learnt_to_30_db(shared):
    """In a process of its own, without the type checks of every call; on one core, because
    other slow tests run beside it."""
    command = [sys.executable, __file__, str(shared / "panoramas")]
    result = subprocess.run(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        timeout=2400, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert float(result.stdout) >= WANTED, result.stderr


if __name__ == "__main__":
    keep_large_buffers()
    print(learn(Path(sys.argv[1])))
