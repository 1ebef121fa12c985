"""`spidereye doctor`: what is here and what that turns on and off, a screen for bug reports."""

import os
import platform
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version

import torch

from spidereye.coverage import coverage
from spidereye.cpu import keep_large_buffers, processor_name
from spidereye.errors import SpiderEyeError
from spidereye.precision import has_bfloat16
from spidereye.rig import NAMED_RIGS
from spidereye.weight_files import WEIGHT_FILES, find


@dataclass(frozen=True)
class Extra:
    """packages: of an extra of ours.   serves: what needs them."""

    packages: tuple[str, ...]
    serves: str


EXTRAS = {
    "video": Extra(("av",), "spidereye video, dataset.type=video"),
    "export": Extra(("onnx", "onnxruntime", "onnxscript"), "spidereye export, .onnx files"),
    "web": Extra(("fastapi", "uvicorn", "python-multipart"), "spidereye serve"),
    "repa": Extra(("transformers",), "REPA in training (aux_losses.repa)"),
    "schedulefree": Extra(("schedulefree",), "training.optimizer=radam_schedulefree"),
    "wandb": Extra(("wandb",), "training.trackers=[wandb]"),
    "trackio": Extra(("trackio",), "training.trackers=[trackio]"),
}
_OTHER_BUILDS = {"onnxruntime": ("onnxruntime-gpu", "onnxruntime-openvino")}  # in its place
_LIBRARIES = ("torch", "numpy", "opencv-contrib-python-headless", "pillow", "accelerate")
_WIDTH = 16  # of what a line is about


def print_doctor() -> None:
    """A line for each thing on stdout."""
    for about, text in _lines():
        print(f"{about:<{_WIDTH}}{text}")


def _lines() -> list[tuple[str, str]]:
    return [
        ("spidereye", f"{version('spidereye')}, Python {platform.python_version()}"),
        ("system", platform.platform()),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in _LIBRARIES)),
        ("processor", _processor()),
        ("GPU", _gpus()),
        ("bf16", _bfloat16()),
        ("memory", _memory()),
        *((f"[{name}]", _extra(name, extra)) for name, extra in EXTRAS.items()),
        *(_weights(key) for key in WEIGHT_FILES),
        ("default rig", coverage(NAMED_RIGS["spider4"]()).line()),
    ]


def _processor() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    threads, capability = torch.get_num_threads(), torch.backends.cpu.get_cpu_capability()
    return f"{processor_name()}, {cores} cores, {threads} PyTorch threads, {capability}"


def _gpus() -> str:
    count = torch.cuda.device_count()
    if not count:
        return "none that PyTorch finds: everything runs on the CPU"
    names = (torch.cuda.get_device_name(number) for number in range(count))
    return f"{', '.join(names)} (CUDA {torch.version.cuda}); use --device cuda"


def _bfloat16() -> str:
    there = [kind for kind in ("cpu", "cuda") if _has_bfloat16(kind)]
    return f"on {' and '.join(there)}" if there else "no: --precision bf16 is refused here"


def _has_bfloat16(kind: str) -> bool:
    return (kind == "cpu" or torch.cuda.is_available()) and has_bfloat16(torch.device(kind))


def _memory() -> str:
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kept = "kept for reuse" if keep_large_buffers() else "given back each time, which is slow"
    spin = os.environ.get("OMP_WAIT_POLICY") or f"spin {os.environ.get('GOMP_SPINCOUNT', 'long')}"
    return f"{gigabytes:.1f} GB; large buffers are {kept}; waiting threads: {spin}"


def _extra(name: str, extra: Extra) -> str:
    found, missing = [], []
    for package in extra.packages:
        installed = [*filter(None, map(_installed, (package, *_OTHER_BUILDS.get(package, ()))))]
        found += installed
        if not installed:
            missing.append(package)
    if not missing:
        return ", ".join(found)
    return f"no {', '.join(missing)}; for {extra.serves}: pip install 'spidereye[{name}]'"


def _installed(package: str) -> str | None:
    """With its version; None: it is not."""
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def _weights(key: str) -> tuple[str, str]:
    file = WEIGHT_FILES[key]
    try:
        return key, str(find(key))
    except SpiderEyeError:
        return key, f"no {file.file_name}: {file.without}"
