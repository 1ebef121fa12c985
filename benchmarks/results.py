"""What released weights reach: the tables, pictures and failures of docs/results.md.

On panoramas of val, 128-px views to 256x128 and larger, as the rig is and under stress, on near
procedural scenes with parallax, and with views missing; the model by one and twelve steps, beside
every stitch of the same views. Each case is a process of its own on one thread; after them comes a
sweep over what rigs do wrong, on a few pictures. What is done with the same weights is not done
again. Ctrl-C stops; the same command goes on.

    python benchmarks/results.py                                 spidereye-small, about 45 minutes
    python benchmarks/results.py --checkpoint mine@best --cases clean jitter --limit 4
"""

import argparse
import hashlib
import json
import math
import os
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"

import torch
from machine import machine
from quality_measure import evaluated, pictures
from quality_points import ADJACENT, AXES, MISSING, ONE, Point, points
from quality_sweep import Sweep, chart, loaded, shortfalls
from quality_sweep import measure as measure_points
from results_page import sweep_figure, write_page
from safetensors.torch import save
from session import one_line_errors, shared_panoramas

from spidereye.config import Config
from spidereye.cpu import keep_large_buffers
from spidereye.model import SpiderEyeModel, as_used, parameter_count
from spidereye.progress import progress
from spidereye.released import RELEASED
from spidereye.rig_files import load_rig
from spidereye.self_calibration import REFINEMENTS
from spidereye.trained import Trained
from spidereye.weights import find_checkpoint
from spidereye.whole_files import write_whole

KEPT = ("PSNR", "aligned PSNR", "SSIM", "WS-PSNR", "seam error", "PSNR unseen")
_SHOWN = 14  # pictures of a case that are kept for the page


@dataclass(frozen=True)
class Case:
    """title: for the page.   width: of the panorama.   protocol: of evaluation, or "".
    missing: a value of the sweep's axis of missing views, or 0.   rig: a named one.
    steps: of the sampler.   most: pictures of val, the first ones, where large ones take long."""

    title: str
    width: int = 256
    protocol: str = ""
    missing: float = 0.0
    rig: str = "spider4"
    steps: tuple[int, ...] = (1, 12)
    most: int = 100


CASES = {
    "clean": Case("the rig as it is", protocol="clean"),
    "jitter": Case("views turned by up to 3°, exposures and tints changed", protocol="jitter"),
    "parallax": Case("near procedural scenes, cameras 10 cm off the centre", protocol="parallax"),
    "clean 512": Case("the rig as it is", 512, "clean", steps=(1,)),
    "jitter 512": Case("views turned and recoloured", 512, "jitter", steps=(1,)),
    "clean 1024": Case("the rig as it is", 1024, "clean", steps=(1,), most=4),
    "jitter 1024": Case("views turned and recoloured", 1024, "jitter", steps=(1,), most=4),
    "two missing": Case("two adjacent views of four missing", missing=ADJACENT, steps=(1,)),
    "one missing": Case("one view of three missing", missing=ONE, rig="tri190", steps=(1,)),
}


def configured(trained: Trained, case: Case, arguments: argparse.Namespace) -> Config:
    """The weights' configuration for a case."""
    config = trained.at_size((case.width, case.width // 2)).config
    data = config.dataset
    data.type, data.root = "folder", str(arguments.data)
    data.limit = min(arguments.limit or case.most, case.most)
    data.num_workers, data.cache = 0, False
    if case.rig != "spider4":
        data.rig, config.ssdd.n_views = case.rig, len(load_rig(case.rig).cameras)
    config.evaluation.steps, config.evaluation.batch_size = list(case.steps), 1
    config.evaluation.parallax_scenes = arguments.scenes
    config.show_samples, config.task = _SHOWN, "eval"
    return config


def measure(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """A case's values of every picture, and its pictures in a file beside them."""
    keep_large_buffers()
    torch.set_num_threads(1)
    case = CASES[name]
    trained = Trained.load(arguments.checkpoint)
    config = configured(trained, case, arguments)
    assert isinstance(trained.networks, SpiderEyeModel)
    model = as_used(trained.networks)
    if case.missing:
        sweep = Sweep(config, model, arguments.scenes, 0, {})
        found, shown = sweep.measured(Point(MISSING, case.missing))
        rows, names, notes, unseen = found["rows"], found["names"], [], found["unseen"]
        assert shown is not None
    else:
        (shown,) = evaluated(config, model, (case.protocol,), REFINEMENTS)
        rows = {
            method: {metric: [number(row.get(metric)) for row in values] for metric in KEPT}
            for method, values in shown.rows.items()
        }
        names, notes, unseen = shown.names, shown.notes[2:], 0.0
    write_whole(arguments.work / f"{name}.safetensors", save(pictures([shown])))
    made = {"names": names, "rows": rows, "notes": notes, "unseen": unseen}
    made |= {"case": asdict(case), "side": config.dataset.im_size}
    made |= {"parameters": parameter_count(model)}
    return {"identity": identity(arguments), **made}


def number(value: float | None) -> float | None:
    """None for what does not apply to a picture, which JSON has no NaN for."""
    return None if value is None or math.isnan(value) else value


def identity(arguments: argparse.Namespace) -> dict[str, Any]:
    """What a case that is done has to agree with."""
    folder = find_checkpoint(arguments.checkpoint).path
    parts = [(folder / name).read_bytes() for name in ("config.yaml", "ema.safetensors")]
    weights = hashlib.sha256(b"".join(parts)).hexdigest()[:16]
    data = str(arguments.data.resolve())
    return {"weights": weights, "data": data, "limit": arguments.limit, "scenes": arguments.scenes}


def done(name: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """A case's result, where it was measured before in just this way."""
    file = arguments.work / f"{name}.json"
    found = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    same = found.get("identity") == identity(arguments)
    return found if same and found["case"] == json.loads(json.dumps(asdict(CASES[name]))) else None


def run(arguments: argparse.Namespace) -> None:
    """Every case that is not done yet, `jobs` at a time."""
    todo = [name for name in arguments.cases if done(name, arguments) is None]
    # The long ones first, so that the last process does not run alone.
    todo.sort(key=lambda name: -CASES[name].width * len(CASES[name].steps))
    pool = ProcessPoolExecutor(arguments.jobs, get_context("spawn"))
    with pool, progress("cases", len(todo)) as meter:
        waiting = {pool.submit(measure, name, arguments): name for name in todo}
        for future in as_completed(waiting):
            result = json.dumps(future.result(), indent=1)
            write_whole(arguments.work / f"{waiting[future]}.json", result)
            meter.advance(say=waiting[future])


def sweep(arguments: argparse.Namespace) -> dict[Point, dict[str, Any]]:
    """Every point of the sweep; nothing where none is asked for."""
    if not arguments.sweep:
        return {}
    given = argparse.Namespace(
        checkpoint=arguments.checkpoint, limit=arguments.sweep, scenes=arguments.sweep, seed=0
    )
    keep_large_buffers()
    return measure_points(
        loaded(given, arguments.data), points(list(AXES)), arguments.work / "sweep"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", default=RELEASED)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES), metavar="CASE")
    parser.add_argument("--limit", type=int, help="pictures of val; all by default")
    parser.add_argument("--scenes", type=int, default=12, help="of the case parallax")
    parser.add_argument("--sweep", type=int, default=4, help="pictures of the sweep; 0: none")
    parser.add_argument("--jobs", type=int, default=2, help="cases at a time")
    parser.add_argument("--data", type=Path, help="holds val/; SPIDEREYE_SHARED/panoramas")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/results"))
    parser.add_argument("--page", type=Path, default=Path("docs/results.md"))
    arguments = parser.parse_args()
    arguments.data = shared_panoramas(arguments.data, "--data")
    arguments.work.mkdir(parents=True, exist_ok=True)
    with one_line_errors(arguments.work):
        run(arguments)
        swept = sweep(arguments)
    found: Mapping[str, Any] = {name: done(name, arguments) for name in arguments.cases}
    about = {**machine(threads=1), "weights": find_checkpoint(arguments.checkpoint).path.name}
    lines = shortfalls(swept)
    if swept:
        chart(swept, list(AXES), sweep_figure(arguments.page))
    write_page(arguments.page, found, about, arguments.work, swept, lines)
    print(f"written: {arguments.page}")


if __name__ == "__main__":
    main()
