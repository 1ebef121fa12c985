"""How fast the decoder is, at which size, against the published form of its attention.

Baselines in the same run: the same network with a dense N x N bias, rebuilt in every block as
published, and cached, with the same layout and allocator settings on both sides; and once the
published form as its user gets it, with the C library's defaults. Each case is a process of
its own. XS, S, M at 256x128, batch 1 and 8, 1 and 12 steps: eager, compiled, ONNX Runtime, and
bfloat16 where the device computes in it; S up to 2048x1024, and the exponents of time and memory
against pixels.

    python benchmarks/decode.py                             20 to 30 minutes on two cores
    python benchmarks/decode.py --parts attention dense     some of it
    python benchmarks/decode.py --device cuda               [GPU]

On GPUs S, B, M, L decode batches in bfloat16 at 128x128, beside the paper's pictures a second, at
256x128 and at 1024x512, eager and compiled, and S at every size; none of this has been run on one.
"""

import argparse
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from cases import given_case, run_case, timed
from decode_tables import WIDTHS, Measured, cells_of, report
from dense_attention import FORMS, DenseAttention, make_dense, make_published
from machine import machine
from speed import matrix_rates, said
from torch import Tensor

from spidereye.attention import LocalAttention, prepare_compiling
from spidereye.decoder import DecoderConfig, UViT
from spidereye.model import as_used
from spidereye.precision import computing_in, has_bfloat16
from spidereye.sampler import euler
from spidereye.whole_files import write_whole

SIZES = {True: ("XS", "S", "M"), False: ("S", "B", "M", "L")}  # on a CPU; on a GPU
PARTS = ("attention", "dense", "sizes", "scaling", "throughput")
ON_CPUS, ON_GPUS = PARTS[:4], PARTS[3:]  # unless asked for
FULL = ((128, 128), (256, 128), (1024, 512))  # (W, H) of the part "throughput"
AT_ONCE = {True: 2**15, False: 2**20}  # pixels of its batches, on a CPU and on a GPU
ONCE = {"runs": 1, "warm_up": 0}  # of cases that take a minute


def decoder_of(case: dict[str, Any]) -> UViT:
    """The network of a case; no weight is zero, and its bias says something."""
    torch.manual_seed(0)
    decoder = UViT(DecoderConfig.named(case["size"])).eval().requires_grad_(False)
    for parameter in decoder.parameters():
        parameter.add_(0.02 * torch.randn_like(parameter))
    if case["form"] == "published":
        make_published(decoder)
    elif case["form"] in FORMS:
        make_dense(decoder, case["form"] == "cached")
    return (as_used(decoder) if case["tuned"] else decoder).to(case["device"])


def inputs_of(case: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
    """x_t, 1000·t, z."""
    batch, height, width = case["batch"], case["height"], case["width"]
    made = (
        torch.randn(batch, 3, height, width),
        torch.full((batch,), 1000.0),
        torch.randn(batch, 4, height // 8, width // 8),
    )
    x, t, z = (one.to(case["device"]) for one in made)
    return x, t, z


@torch.inference_mode()
def measure(case: dict[str, Any]) -> dict[str, Any]:
    """A case's result, in its process."""
    if case["what"] == "attention":
        return measure_attention(case)
    decoder, (x, t, z) = decoder_of(case), inputs_of(case)
    if case["form"] == "onnx":
        run = onnx_run(decoder, x, t, z)
    else:
        if case["form"] == "compiled":
            prepare_compiling()
            decoder.compile()

        def run(x: Tensor, t: Tensor) -> Tensor:
            return decoder(x, 1000 * t, z).velocity

    with computing_in(case["precision"], torch.device(case["device"])):
        return timed(lambda: euler(run, x, case["steps"]), case["runs"], case["warm_up"])


def measure_attention(case: dict[str, Any]) -> dict[str, Any]:
    """One attention layer of the decoder's middle, ours and dense with its bias kept, in turns."""
    decoder = decoder_of(case)
    layer = next(m for m in decoder.modules() if isinstance(m, LocalAttention))
    dense = DenseAttention(layer, cached=True)
    cells = case["height"] // 8, case["width"] // 8
    x = torch.randn(1, *cells, layer.to_q.in_features)
    difference = float((layer(x) - dense(x)).abs().max())
    found: dict[str, list[float]] = {"ours": [], "dense": []}
    for _ in range(case["runs"]):
        found["ours"] += timed(lambda: layer(x), 1, 0)["seconds"]
        found["dense"] += timed(lambda: dense(x), 1, 0)["seconds"]
    return {"difference": difference, **found}


def onnx_run(decoder: UViT, x: Tensor, t: Tensor, z: Tensor) -> Any:
    """The decoder in ONNX Runtime, as velocity(x, t)."""
    import onnxruntime

    class Velocity(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(self, x: Tensor, t1000: Tensor, z: Tensor) -> Tensor:
            return self.decoder(x, t1000, z).velocity

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "decoder.onnx"
        with torch.inference_mode(False):
            plain = tuple(one.clone() for one in (x, t, z))
            names = ["x", "t", "z"]
            program = torch.onnx.export(
                Velocity(), plain, dynamo=True, input_names=names, verbose=False
            )
        assert program is not None
        program.save(file)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(str(file), options)
    told = z.numpy()

    def run(x: Tensor, t: Tensor) -> Tensor:
        fed = {"x": x.numpy(), "t": (1000 * t).numpy(), "z": told}
        return torch.from_numpy(session.run(None, fed)[0])

    return run


def cases(parts: Sequence[str], device: str, sizes: Sequence[str] = ()) -> Iterator[dict[str, Any]]:
    """All that is to be measured, in order. sizes: of the parts "sizes" and "throughput"."""
    plain = {
        "what": "decoder", "size": "S", "width": 1024, "height": 512, "batch": 1, "steps": 1,
        "form": "eager", "precision": "fp32", "tuned": True, "runs": 3, "warm_up": 1,
        "device": device,
    }  # fmt: skip
    on_cpu = device == "cpu"
    half = [{"precision": "bf16"}] if has_bfloat16(torch.device(device)) else []
    best = (half or [{}])[0]
    if "attention" in parts:
        yield plain | {"what": "attention", "runs": 5}
    if "dense" in parts:
        for precision in ({}, *half):
            yield plain | precision
            yield plain | precision | {"form": "cached"}
        yield plain | {"form": "rebuilt", **ONCE}
        default = plain | {"tuned": False, **ONCE}
        yield default
        yield default | {"form": "published"}
    if "sizes" in parts:
        for size in sizes or SIZES[on_cpu]:
            small = plain | {"size": size, "width": 256, "height": 128}
            if size == "M" and on_cpu:
                yield small | {"tuned": False}
                yield small | {"tuned": False, "form": "published"}
            yield small
            yield small | {"form": "compiled"}
            for precision in half:
                yield small | precision
            if on_cpu:
                yield small | {"form": "onnx"}
            yield small | {"steps": 12, **ONCE}
            yield small | {"batch": 8, "runs": 1}
    if "scaling" in parts:
        for width in WIDTHS:
            runs = 1 if width >= 2048 else 3
            scaled = {"width": width, "height": width // 2, "runs": runs}
            yield plain | scaled | ({} if on_cpu else best)
    if "throughput" in parts:
        for size in sizes or SIZES[on_cpu]:
            for width, height in FULL:
                batch = max(1, AT_ONCE[on_cpu] // (width * height))
                full = plain | {"size": size, "width": width, "height": height, "batch": batch}
                for form in ("eager", "compiled"):
                    yield full | {"form": form, "runs": 10, "warm_up": 3} | best


def main() -> None:
    case = given_case()
    if case is not None:
        print(json.dumps(measure(case)))
        return
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS)
    parser.add_argument("--sizes", nargs="+", choices=(*SIZES[True], *SIZES[False]), default=())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="on GPUs benchmarks/results/decode_<GPU>.json")
    arguments = parser.parse_args()
    device = arguments.device
    parts = arguments.parts or (ON_CPUS if device == "cpu" else ON_GPUS)
    before = matrix_rates(device)
    found = []
    wanted = {}  # what two parts ask for is measured once
    for case in cases(parts, device, arguments.sizes):
        wanted.setdefault((case["what"], Measured.of(case)), case)
    for case in wanted.values():
        result = run_case(__file__, case)
        found.append({"case": case, "result": result})
        took = result.get("failed") or result.get("median") or result.get("ours")
        print(*cells_of(case), took, file=sys.stderr, flush=True)
    after = matrix_rates(device)
    rates = {name: (rate + after[name]) / 2 for name, rate in before.items()}
    about = {**machine(len(os.sched_getaffinity(0))), **said(rates, device)}
    print(", ".join(f"{key} {value}" for key, value in about.items()))
    ratios = report(found, rates)
    out = arguments.out or place(device, about["gpu"])
    write_whole(out, json.dumps({"about": about, "ratios": ratios, "cases": found}, indent=1))
    print(f"written: {out}")


def place(device: str, gpu: str) -> Path:
    """Where results go unless said: what GPUs do stays with the project, by their name."""
    if device == "cpu":
        return Path("runs/benchmarks/decode.json")
    name = re.sub(r"\W+", "_", gpu).lower()
    return Path(__file__).with_name("results") / f"decode_{name}.json"


if __name__ == "__main__":
    main()
