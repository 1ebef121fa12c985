"""Four views in, a panorama out, one step: eager, compiled, bf16, ONNX Runtime; and the whole verb.

A SpiderEye360 with random weights, as `spidereye export` takes it. "networks" is from the views and
what geometry says of them to the panorama, "Stitcher" from four pictures to 8 bits: reading,
self-calibration and geometry included. Each is a process of its own; the baseline is eager PyTorch
with the allocator set as our commands set it. ONNX in bf16 needs onnxruntime-openvino, in a folder
before the others so that both stay:

    pip install --no-deps --target openvino onnxruntime-openvino
    PYTHONPATH=openvino python benchmarks/end_to_end.py       10 minutes on two cores
    python benchmarks/end_to_end.py --decoder XXS --encoder-width 16 --side 64
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from cases import given_case, run_case, timed
from machine import machine, show
from speed import COLUMNS, cells, counted, matrix_rates, operations, said

from spidereye.checkpoint import Checkpoint, save_checkpoint
from spidereye.config_files import config_to_dict, load_config
from spidereye.export import export_onnx, sample_shot
from spidereye.model import SpiderEyeModel, parameter_count
from spidereye.pictures import to_uint8
from spidereye.precision import computing_in
from spidereye.stitcher import Stitcher
from spidereye.trained import Trained
from spidereye.whole_files import write_whole

EAGER = "eager"
COUNTED = "operations"
FORMS = (EAGER, "eager bf16", "compiled", "onnx", "onnx bf16")


def make_checkpoint(folder: Path, decoder: str, width: int, side: int) -> int:
    """Write a SpiderEye360 whose every weight says something; returns its parameters."""
    config = load_config(
        "SpiderEye360",
        [f"ssdd.decoder={decoder}", f"ssdd.encoder_width={width}", f"dataset.im_size={side}",
         f"ssdd.decoder_image_size=[{2 * side},{side}]", "aux_losses.repa=null"],
    )  # fmt: skip
    torch.manual_seed(0)
    model = SpiderEyeModel(config.model())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    state = model.state_dict()
    save_checkpoint(folder, Checkpoint(state, state, config_to_dict(config)))
    return parameter_count(model)


@torch.inference_mode()
def measure(case: dict[str, Any]) -> dict[str, Any]:
    """A case's result, in its process."""
    form, *half = case["form"].split()
    path = case["file"] if form == "onnx" else case["folder"]
    precision, compiled = "bf16" if half else "fp32", form == "compiled"
    trained = Trained.load(path, precision=precision)
    given, noise = sample_shot(trained.config)
    if case["what"] == "Stitcher":
        stitcher = Stitcher.load(path, precision=precision, compile=compiled)
        pictures = [_picture(view) for view in given.views[0]]
        return timed(lambda: stitcher(pictures, steps=1), case["runs"])
    device = torch.device("cpu")
    networks = trained.ready(device, precision, compiled)
    if case["what"] == COUNTED:
        return {"operations": operations(lambda: networks.panorama(given, noise, 1))}
    with computing_in(precision, device):
        return timed(lambda: networks.panorama(given, noise, 1), case["runs"])


def _picture(view: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(to_uint8(view).permute(1, 2, 0).numpy())


def main() -> None:
    case = given_case()
    if case is not None:
        print(json.dumps(measure(case)))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--decoder", default="S")
    parser.add_argument("--encoder-width", type=int, default=128)
    parser.add_argument("--side", type=int, default=128, help="of a view, pixels")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS, help="eager as well")
    parser.add_argument("--out", type=Path, default=Path("runs/benchmarks/end_to_end.json"))
    arguments = parser.parse_args()
    found, rates = {}, matrix_rates("cpu")
    with tempfile.TemporaryDirectory() as made:
        folder, file = Path(made) / "checkpoint", Path(made) / "model.onnx"
        size = (arguments.decoder, arguments.encoder_width, arguments.side)
        parameters = make_checkpoint(folder, *size)
        exported = export_onnx(folder, file, steps=1, batch=1)
        print(f"exported: differs by {exported.difference:.1e}", file=sys.stderr, flush=True)
        plain = {"folder": str(folder), "file": str(file), "runs": arguments.runs, "tuned": True}
        work = counted(__file__, {**plain, "what": COUNTED, "form": EAGER})
        for what in ("networks", "Stitcher"):
            for form in dict.fromkeys((EAGER, *arguments.forms)):
                result = run_case(__file__, {**plain, "what": what, "form": form})
                found[what, form] = result
                took = result.get("failed") or result["seconds"]
                print(what, form, took, file=sys.stderr, flush=True)
    about = {
        **machine(len(os.sched_getaffinity(0))), "decoder": arguments.decoder, "batch": "1",
        "parameters": f"{parameters / 1e6:.1f} M", "views": f"{arguments.side} px",
        "ONNX file": f"{exported.megabytes:.1f} MB",
        "largest difference": f"{exported.difference:.1e} of [-1, 1]", **said(rates, "cpu"),
    }  # fmt: skip
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    rows = []
    for (what, form), result in found.items():
        rate = rates["bf16" if form.endswith("bf16") else "fp32"]
        speed = cells(result, 1, work, rate)
        base = found[what, EAGER].get("median")
        compared = base and "median" in result
        rows.append((what, form, *speed, f"{base / result['median']:.2f}×" if compared else "–"))
    show("one panorama, one step", ("what", "form", *COLUMNS, "against eager"), rows)
    listed = [{"what": what, "form": form, **result} for (what, form), result in found.items()]
    write_whole(
        arguments.out, json.dumps({"about": about, "operations": work, "rows": listed}, indent=1)
    )
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
