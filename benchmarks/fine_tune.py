"""Does going on from the released weights with one's own rig help? On a rig with odd lenses.

Three cameras of 165°, of a Kannala-Brandt lens that is neither equidistant nor stereographic, off
the middle of their pictures, at uneven yaws and looking down a little: 4 % of the sphere is seen by
nobody. The lenses are softer than any that the released weights were trained
with, in training and in evaluation. The command is the one that docs/training.md gives; both models
and the stitches are evaluated on val by one step. Ctrl-C stops; the same command goes on.

    SPIDEREYE_SHARED=… python benchmarks/fine_tune.py --steps 150
"""

import argparse
import json
from pathlib import Path

import torch
from machine import machine, show
from quality_measure import evaluated
from quality_rows import MODEL, digest
from results_page import interval
from session import one_line_errors, shared_panoramas

from spidereye.camera import Camera
from spidereye.checkpoint import read_config
from spidereye.config import Config
from spidereye.config_files import config_from_dict, load_config
from spidereye.coverage import coverage
from spidereye.cpu import keep_large_buffers
from spidereye.degradation import Degradation
from spidereye.evaluate import Evaluation
from spidereye.lenses import lens_of, plane_of
from spidereye.lenses.field_of_view import with_half_angle
from spidereye.model import SpiderEyeModel, as_used
from spidereye.released import RELEASED
from spidereye.rig import Rig
from spidereye.rig_files import write_rig
from spidereye.rotation import from_degrees
from spidereye.self_calibration import REFINEMENTS
from spidereye.train import train
from spidereye.weights import find_checkpoint, load_weights
from spidereye.whole_files import write_whole

SIDE = 256  # pixels of a view's file
POSES = {"ahead": (0.0, -12.0, 3.0), "right": (112.0, -5.0, 0.0), "left": (-125.0, -15.0, -6.0)}
LENSES = Degradation(vignetting=0.1, blur=1.2)  # of 128-px views; trained were 0.25, 0.75 at most
PROTOCOLS = ("clean", "jitter")
METRICS = ("PSNR", "aligned PSNR", "PSNR unseen")


def odd_rig() -> Rig:
    """See above."""
    plane = plane_of(SIDE, SIDE, fx=1.0, cx=0.49 * SIDE, cy=0.515 * SIDE)
    lens = lens_of("kb4", plane, {"k": [-0.09, 0.03, -0.006, 0.0006]})
    lens = with_half_angle(lens, torch.pi * 165 / 360, 0.48 * SIDE)
    origin = torch.zeros(3, dtype=torch.float64)
    return Rig(
        tuple(
            Camera(name, lens, from_degrees(*pose), origin, 0.48 * SIDE)
            for name, pose in POSES.items()
        )
    )


def tuning(data: Path, rig: Path, arguments: argparse.Namespace) -> Config:
    """The documented command's configuration."""
    work = arguments.work.resolve()
    settings = {
        "dataset.root": f"'{data}'",
        "dataset.rig": f"'{rig.resolve()}'",
        "ssdd.n_views": str(len(POSES)),
        "runs_dir": f"'{work}'",
        "ssdd.checkpoint": f"'{find_checkpoint(arguments.checkpoint).path}'",
        "training.lr": str(arguments.rate),
        "training.max_steps": str(arguments.steps),
        "training.cooldown": str(arguments.steps),
        "dataset.cameras.blur": str(arguments.blur),
        "dataset.cameras.vignetting": str(arguments.vignetting),
        "dataset.rig_variety": "0",
        "dataset.degradation": "0",
        "ssdd.ema.decay": "0.95",
        "dataset.draws": str(arguments.draws),
        "dataset.cache": f"'{work / 'cache'}'",
    }
    settings["run_name"] = f"tuned-{digest(settings)}"
    return load_config("SpiderEye360-small", [f"{key}={value}" for key, value in settings.items()])


def on_the_rig(checkpoint: str, like: Config) -> list[Evaluation]:
    """A checkpoint on the odd rig, by every protocol."""
    path = find_checkpoint(checkpoint, like.runs_dir)
    config = config_from_dict(read_config(path.path), ["evaluation.steps=[1]"])
    config.dataset, config.ssdd.n_views = like.dataset, like.ssdd.n_views
    model = SpiderEyeModel(config.model())
    load_weights(model, path, "ema")
    return evaluated(config, as_used(model), PROTOCOLS, REFINEMENTS)


def values_of(found: dict[str, list[Evaluation]]) -> dict[str, dict[str, dict[str, list[float]]]]:
    """By method, protocol and metric: of every picture."""
    values: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name, results in found.items():
        for result in results:
            for method, rows in result.rows.items():
                if "PSNR" in rows[0]:
                    method = method.replace(MODEL, name)
                    own = values.setdefault(method, {}).setdefault(result.protocol, {})
                    own |= {metric: [row[metric] for row in rows] for metric in METRICS}
    return values


def gains_of(values: dict[str, dict[str, dict[str, list[float]]]]) -> dict[str, tuple[float, ...]]:
    """What tuning brought: the mean over pictures and its interval."""
    before, after = (values[f"{name}, 1 step"] for name in ("released", "tuned"))
    return {
        f"{protocol}, {metric}": interval(
            [
                new - old
                for old, new in zip(before[protocol][metric], after[protocol][metric], strict=True)
            ]
        )
        for protocol in PROTOCOLS
        for metric in METRICS
    }


def report(found: dict[str, list[Evaluation]], about: dict[str, str], out: Path) -> None:
    """The tables, and all values as JSON."""
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    values = values_of(found)
    for metric in METRICS:
        cells = [
            (method, *(_mean(protocols[protocol][metric]) for protocol in PROTOCOLS))
            for method, protocols in values.items()
        ]
        show(f"{metric} in dB, means over pictures and 95 % intervals", ("", *PROTOCOLS), cells)
    gains = gains_of(values)
    cells = [
        (name, f"{m:+.2f} [{low:+.2f}, {high:+.2f}]") for name, (m, low, high) in gains.items()
    ]
    show("tuned above released, dB", ("", "mean and interval"), cells)
    made = {"about": about, "gains": gains, "values": values}
    write_whole(out, json.dumps(made, indent=1, ensure_ascii=False))
    print(f"written: {out}")


def _mean(values: list[float]) -> str:
    mean, low, high = interval(values)
    return f"{mean:.2f} [{low:.2f}, {high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--checkpoint", default=RELEASED)
    parser.add_argument("--steps", type=int, default=150, help="of training")
    parser.add_argument("--blur", type=float, default=LENSES.blur, help="pixels of a 128-px view")
    parser.add_argument("--vignetting", type=float, default=LENSES.vignetting, help="at the rim")
    parser.add_argument("--draws", type=int, default=3, help="shots of each panorama")
    parser.add_argument("--rate", type=float, default=3e-4, help="of learning")
    parser.add_argument("--work", type=Path, default=Path("runs/benchmarks/fine_tune"))
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results/fine_tune.json"))
    arguments = parser.parse_args()
    data = shared_panoramas()
    keep_large_buffers()
    rig = arguments.work / "odd.yaml"
    rig.parent.mkdir(parents=True, exist_ok=True)
    write_rig(odd_rig(), rig)
    with one_line_errors(arguments.work):
        config = tuning(data, rig, arguments)
        train(config)
        models = {"released": arguments.checkpoint, "tuned": f"{config.run_name}@last"}
        found = {name: on_the_rig(given, config) for name, given in models.items()}
    about = {**machine(torch.get_num_threads()), "steps": str(arguments.steps)}
    about["lenses"] = f"blur {arguments.blur:g} px, vignetting {arguments.vignetting:g}"
    report(found, {**about, "rig": coverage(odd_rig()).line()}, arguments.out)


if __name__ == "__main__":
    main()
