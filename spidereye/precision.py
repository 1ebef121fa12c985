"""Devices by their names, and half precision on them: bfloat16 where the device computes in it.

Layer: foundation. A device that only emulates it would be slower than in single precision.
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext

import torch

from spidereye.errors import SpiderEyeError

PRECISIONS = ("fp32", "bf16")


def device_named(name: str | torch.device) -> torch.device:
    """The device, by the name PyTorch has for it. Raises SpiderEyeError where there is none, and
    for those of other kinds than cpu and cuda."""
    wrong = SpiderEyeError(f"device is cpu, cuda, cuda:1 …, got {str(name)!r}")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise wrong from error
    if device.type not in ("cpu", "cuda"):
        raise wrong
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise SpiderEyeError(f"device {name}: PyTorch finds {count} GPUs here; use another or cpu")
    return device


def has_bfloat16(device: torch.device) -> bool:
    """Whether the device multiplies matrices of bfloat16 numbers itself."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device.type == "cpu":
        can = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
        return bool(can.get("avx512_bf16") or can.get("amx_bf16") or can.get("bf16"))
    return False


def check_precision(precision: str, device: torch.device) -> None:
    """Raises SpiderEyeError for what is none of PRECISIONS, and where the device has it not."""
    if precision not in PRECISIONS:
        raise SpiderEyeError(f"precision takes {' or '.join(PRECISIONS)}, got {precision!r}")
    if precision == "bf16" and not has_bfloat16(device):
        raise SpiderEyeError(
            f"precision bf16: {device.type} here does not compute in bfloat16 (CPUs with AVX-512 "
            "BF16 or AMX do, and GPUs since Ampere); leave it at fp32, which is faster here"
        )


@contextmanager
def as_ever(device: torch.device) -> Iterator[None]:
    """In which everything computes in the precision that it asks for, whatever autocast the caller
    is in. device: of the networks; what they are told is made on the CPU."""
    with ExitStack() as off:
        for kind in {"cpu", device.type}:
            off.enter_context(torch.autocast(kind, enabled=False))
        yield


def computing_in(precision: str, device: torch.device) -> AbstractContextManager:
    """In which networks compute in that precision."""
    if precision == "fp32":
        return nullcontext()
    return torch.autocast(device.type, torch.bfloat16)
