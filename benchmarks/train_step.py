"""How long a training step takes, against the plain form of it.

f8c4 and decoder M, 128-px views to 256x128, batch 2, AdamW, gradients clipped, EMA. The plain form
is the published one, with a dense bias in every block, an EMA parameter by parameter, no compiling,
and the C library's defaults; what each of ours brings is a row of its own. Each is a process of its
own. Operations are those of ours, which no form can do without.

    python benchmarks/train_step.py                    about 15 minutes on two cores
    python benchmarks/train_step.py --encoder-width 32 --decoder XS
    python benchmarks/train_step.py --device cuda --batch 12         [GPU]
"""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
from cases import given_case, run_case, timed
from dense_attention import make_published
from machine import machine, show
from speed import COLUMNS, cells, counted, matrix_rates, operations, said

from spidereye.conditions import Conditions
from spidereye.decoder import DecoderConfig
from spidereye.ema import EMA, EmaConfig
from spidereye.encoder import EncoderConfig
from spidereye.layers import Recomputing
from spidereye.losses import LossWeights, TrainingLoss, training_draws
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.precision import computing_in, has_bfloat16
from spidereye.whole_files import write_whole

PLAIN = {
    "dense": True, "plain ema": True, "compiled": False, "recomputed": False, "tuned": False,
    "precision": "fp32",
}  # fmt: skip
OURS = PLAIN | {"dense": False, "plain ema": False, "tuned": True}
ROWS = {
    "plain": PLAIN,
    "plain, allocator tuned": PLAIN | {"tuned": True},
    "ours": OURS,
    "ours, compiled": OURS | {"compiled": True},
    "ours, activations recomputed": OURS | {"recomputed": True},
}
IN_HALF = {"ours, bf16": OURS | {"precision": "bf16"}}  # where the device computes in it
ON_GPUS = {"ours, bf16, compiled": OURS | {"compiled": True, "precision": "bf16"}}


def measure(case: dict[str, Any]) -> dict[str, Any]:
    """A row's result, in its process."""
    torch.manual_seed(0)
    side, batch, device = case["side"], case["batch"], case["device"]
    encoder = EncoderConfig(width=case["encoder_width"])
    size = (2 * side, side)
    config = ModelConfig(encoder, DecoderConfig.named(case["decoder"]), panorama_size=size)
    model = SpiderEyeModel(config)
    if case["dense"]:
        make_published(model.decoder)
    model.to(device)
    loss = TrainingLoss(model, LossWeights())
    ema = EMA(model, EmaConfig(start_iter=0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for module in model.modules():
        if isinstance(module, Recomputing):
            module.recompute = case["recomputed"]
    if case["compiled"]:
        model.compile_networks()
    views = torch.rand(batch, 4, 3, side, side).mul(2).sub(1).to(device)
    panorama = torch.rand(batch, 3, side, 2 * side).mul(2).sub(1).to(device)
    numbers = iter(range(1000))

    def step() -> None:
        draws = training_draws(model, views, panorama, 0, next(numbers), list(range(batch)))
        with computing_in(case["precision"], torch.device(device)):
            total = loss(Conditions(views), panorama, draws)["total"]
        total.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
        optimizer.zero_grad()
        if case["plain ema"]:
            _one_by_one(ema.model, model)
        else:
            ema.update(model.state_dict())

    if case["counted"]:
        return {"operations": operations(step)}
    return timed(step, case["runs"])


@torch.no_grad()
def _one_by_one(ema: torch.nn.Module, model: torch.nn.Module) -> None:
    for averaged, parameter in zip(ema.parameters(), model.parameters(), strict=True):
        averaged.mul_(0.999).add_(parameter, alpha=0.001)


def main() -> None:
    case = given_case()
    if case is not None:
        print(json.dumps(measure(case)))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--side", type=int, default=128, help="of a view, pixels")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--encoder-width", type=int, default=128)
    parser.add_argument("--decoder", default="M")
    parser.add_argument("--runs", type=int, default=3, help="steps that are timed")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--rows", nargs="+", choices=ROWS | IN_HALF, default=list(ROWS | IN_HALF), help="plain too"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/train_step.json"))
    arguments = parser.parse_args()
    shared = {
        key: getattr(arguments, key)
        for key in ("side", "batch", "encoder_width", "decoder", "runs", "device")
    }
    rates = matrix_rates(arguments.device)
    work = counted(__file__, {**shared, **OURS, "counted": True})
    found = {}
    half = IN_HALF if has_bfloat16(torch.device(arguments.device)) else {}
    measured = {
        name: row for name, row in (ROWS | half).items() if name in ("plain", *arguments.rows)
    }
    for name, row in (measured | (ON_GPUS if arguments.device != "cpu" else {})).items():
        found[name] = run_case(__file__, {**shared, **row, "counted": False})
        print(
            name, found[name].get("failed") or found[name]["seconds"], file=sys.stderr, flush=True
        )
    about = {
        **machine(len(os.sched_getaffinity(0))), **{k: str(v) for k, v in shared.items()},
        **said(rates, arguments.device),
    }  # fmt: skip
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    plain = found["plain"].get("median")
    rows = []
    for name, result in found.items():
        rate = rates["bf16" if "bf16" in name else "fp32"]
        speed = cells(result, arguments.batch, work, rate)
        compared = plain and "median" in result
        rows.append((name, *speed, f"{plain / result['median']:.2f}×" if compared else "–"))
    show("one training step", ("form", *COLUMNS, "against plain"), rows)
    written = {"about": about, "operations": work, "rows": found}
    write_whole(arguments.out, json.dumps(written, indent=1))
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
