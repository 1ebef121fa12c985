"""Why did the documented run score PSNR 14? Lens, EMA start and weights, 2 x 2 x 2.

Trains `SpiderEye` (the documented lens: 59.9°, 26.7 % of the sphere) and `SpiderEye360` (187.6°,
all of it) for equal steps at small widths on SPIDEREYE_SHARED/panoramas and evaluates EMA and raw
weights, with an EMA that starts early and with one that starts later than the run is long.
Training never reads the EMA, so both starts share one training run; where the late EMA comes from
depends on the rule: ours copies the model until the start, so it is the raw weights of the last
step; the note's code leaves it at its random start, which is evaluated too. The geometric stitch
of the same views is the baseline of each lens.

Views are 32 pixels wide here, so the documented focal length is scaled with them (220 at 128 pixels
is 55 at 32: the same 59.9°). Training runs without jitter, so that a few hundred steps mean
something; both configurations alike.

    python benchmarks/why_psnr_14.py [--steps 800] [--out runs/why_psnr_14]

Runs that are finished are not repeated, interrupted ones go on. Two run side by side, one thread
each.
"""

import argparse
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch
from machine import machine
from rich.console import Console
from rich.table import Table
from session import shared_panoramas

SIDE = 32
LENSES = {
    "SpiderEye": ["dataset.f_pix=55.0", "dataset.f_pix_size=null"],
    "SpiderEye360": ["dataset.f_pix=220", "dataset.f_pix_size=560"],
}
EARLY, LATE = 100, 50000  # steps; the late one is what the note says it was set to
SMALL = [
    f"dataset.im_size={SIDE}", f"ssdd.decoder_image_size=[{2 * SIDE},{SIDE}]", "ssdd.decoder=XS",
    "ssdd.encoder_width=32", "ssdd.encoder_train=true", "ssdd.compile=false",
    "ssdd.ema.decay=0.99", "aux_losses.lpips=false", "aux_losses.repa=null",
    "dataset.batch_size=8", "dataset.num_workers=0", "dataset.cache=true",
    "dataset.yaw_augment=true", "dataset.xi_jitter=0", "dataset.f_jitter=0",
    "dataset.rotation_jitter=0", "dataset.brightness=0", "dataset.contrast=0",
    "dataset.color_jitter=0", "training.mixed_precision=no", "training.lr=1e-3",
    "training.grad_clip=1.0", "training.epochs=100000", "training.eval_freq=100000",
    "training.save_freq=100", "training.save_on_best=PSNR", "training.log_freq=50",
    "evaluation.protocols=[clean]", "evaluation.batch_size=7", "show_samples=4",
]  # fmt: skip


def bounds(data: Path) -> list[dict]:
    """What each lens allows at the documented 128-pixel views and 256x128 panoramas, without any
    model: coverage, the stitch, and the stitch with its mean colour wherever nothing is seen."""
    from spidereye.batches import PanoramaDataset, Renderer
    from spidereye.config_files import load_config
    from spidereye.coverage import coverage
    from spidereye.metrics import psnr
    from spidereye.pictures import to_uint8
    from spidereye.render import RenderPlan
    from spidereye.sources import open_source
    from spidereye.stitching import stitch

    rows = []
    for name in LENSES:
        config = load_config(name, [f"dataset.root={data}"])
        rig, source = config.rig(), open_source(config.source(), "val")
        plan = RenderPlan.for_cameras(rig.cameras, "exact")
        dataset = PanoramaDataset(source, (256, 128), plan)
        render = Renderer(rig, plan, source.names)
        scores = []
        for index in range(len(dataset)):
            batch = render([dataset[index]])
            result = stitch(batch.views.unbind(1), batch.cameras, 128, 256)
            seen = result.count > 0
            mean = (result.panorama * seen).sum((2, 3), keepdim=True) / seen.sum()
            pasted = torch.where(seen, result.panorama, mean)
            pictures = [to_uint8(x).double() / 255 for x in (pasted, batch.panorama)]
            scores.append(float(psnr(*pictures)))
        covered = coverage(rig)
        rows.append({"config": name, "seen": covered.seen,
                     "field of view": covered.fields_of_view["front"],
                     "PSNR": sum(scores) / len(scores)})  # fmt: skip
    return rows


def launch(arguments: list[str]) -> None:
    """One launcher process with one thread; its log goes to our stderr."""
    launcher = Path(__file__).parents[1] / "ssdd" / "main_multiview.py"
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, str(launcher), *arguments], check=True, env=environment)


def overrides(config: str, out: Path, data: Path) -> list[str]:
    """The launcher's arguments for one lens."""
    config = config.removesuffix("_start")
    return [f"-cn={config}", f"runs_dir={out}", f"dataset.root={data}", *SMALL, *LENSES[config]]


def train(config: str, steps: int, out: Path, data: Path) -> None:
    """One lens's run, with the early EMA."""
    common = overrides(config, out, data)
    early = [f"run_name={config}", f"ssdd.ema.start_iter={EARLY}", f"training.max_steps={steps}"]
    launch([*common, *early])


def evaluate(config: str, weights: str, out: Path, data: Path, steps: int) -> dict:
    """The clean table of one lens's run with one set of weights."""
    name = f"{config}_{weights}_{steps}"
    results = out / "jobs" / name / "results.json"
    if not results.exists():
        given = [f"ssdd.checkpoint={out}/jobs/{config}/last", f"ssdd.weights={weights}"]
        launch([*overrides(config, out, data), "task=eval", f"run_name={name}", *given])
    return json.loads(results.read_text())["protocols"]["clean"]["table"]


def untrained(config: str, out: Path, data: Path) -> dict:
    """The row of the weights that training starts from: what the note's EMA still is before its
    start."""
    from spidereye.checkpoint import Checkpoint, save_checkpoint
    from spidereye.config_files import config_to_dict, load_config
    from spidereye.model import SpiderEyeModel

    arguments = overrides(config, out, data)
    settings = load_config(config, arguments[1:])
    torch.manual_seed(settings.seed)
    state = dict(SpiderEyeModel(settings.model()).state_dict())
    checkpoint = Checkpoint(state, state, config_to_dict(settings))
    save_checkpoint(out / "jobs" / f"{config}_start" / "last", checkpoint)
    return evaluate(f"{config}_start", "raw", out, data, 0)["model (raw)"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--out", type=Path, default=Path("runs/why_psnr_14"))
    arguments = parser.parse_args()
    data, out, steps = shared_panoramas(), arguments.out, arguments.steps
    limits = bounds(data)
    table = Table(
        title="without any model, 128-px views to 256x128: the stitch, mean colour unseen"
    )
    for column in ("config", "field of view", "sphere seen", "PSNR"):
        table.add_column(column)
    for row in limits:
        table.add_row(row["config"], f"{row['field of view']:.1f}°", f"{row['seen']:.1%}",
                      f"{row['PSNR']:.2f}")  # fmt: skip
    Console(width=150).print(table)
    with ThreadPoolExecutor(2) as pool:
        for job in [pool.submit(train, config, steps, out, data) for config in LENSES]:
            job.result()
    rows = []
    for config in LENSES:
        tables = {
            weights: evaluate(config, weights, out, data, steps) for weights in ("ema", "raw")
        }
        raw, ema = tables["raw"]["model (raw)"], tables["ema"]["model (ema)"]
        rows += [
            (config, f"early ({EARLY})", "EMA", ema),
            (config, f"early ({EARLY})", "raw", raw),
            (config, f"late ({LATE}), our rule: a copy", "EMA", raw),
            (config, f"late ({LATE}), the note's rule: random start", "EMA",
             untrained(config, out, data)),
            (config, f"late ({LATE})", "raw", raw),
            (config, "", "geometric stitch", tables["raw"]["stitch"]),
        ]  # fmt: skip
    about = {**machine(threads=1), "steps": str(steps), "batch": "8", "views": f"{SIDE} px"}
    names = ("config", "EMA start", "weights")
    entries = [{**dict(zip(names, row[:3], strict=True)), **row[3]} for row in rows]
    (out / "table.json").write_text(
        json.dumps({"about": about, "without a model": limits, "rows": entries}, indent=1)
    )
    table = Table(title=", ".join(f"{key} {value}" for key, value in about.items()))
    metrics = ("PSNR", "WS-PSNR", "SSIM", "PSNR seen", "PSNR unseen")
    for column in (*names, *metrics):
        table.add_column(column)
    for entry in entries:
        cells = ["n/a" if entry[name] is None else f"{entry[name]:.2f}" for name in metrics]
        table.add_row(*(entry[name] for name in names), *cells)
    Console(width=150).print(table)


if __name__ == "__main__":
    main()
