"""Sessions of ONNX Runtime: on which device and in which precision a file is computed.

Layer: verbs. ONNX Runtime comes in builds, which take each other's place; each has other execution
providers beside its own kernels for CPUs.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from spidereye.errors import SpiderEyeError, require_extra


@dataclass(frozen=True)
class _Way:
    """provider: that computes.   package: the build that has it.   otherwise: what else to do."""

    provider: str
    package: str
    otherwise: str
    options: dict[str, str] = field(default_factory=dict)


def open_session(path: Path, device: str, precision: str) -> Any:
    """An onnxruntime.InferenceSession. precision: fp32, or bf16 on CPUs that have it.

    Raises SpiderEyeError for a file that it cannot read, for bf16 on GPUs, and for an ONNX Runtime
    that does not compute there or so.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise require_extra("export", "onnxruntime") from error
    on_gpu, half = device.startswith("cuda"), precision == "bf16"
    if on_gpu and half:
        raise SpiderEyeError(f"{path} on a GPU: precision bf16 goes with a checkpoint folder")
    way = _on_gpu() if on_gpu else _in_bfloat16() if half else _by_its_own_kernels()
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    # Its threads would go on spinning where PyTorch's are to compute.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    session = None
    if way.provider in onnxruntime.get_available_providers():
        model = _for_openvino(path) if half else str(path)
        try:
            session = onnxruntime.InferenceSession(model, settings, [(way.provider, way.options)])
        except Exception as error:  # its exceptions have no common class of their own
            raise _unreadable(path, error) from error
    if session is None or way.provider not in session.get_providers():  # which it only warns of
        raise SpiderEyeError(
            f"{path}: this ONNX Runtime has no {way.provider}; put {way.package} in its place "
            f"(pip uninstall onnxruntime, then pip install {way.package}), or {way.otherwise}"
        )
    return session


def _by_its_own_kernels() -> _Way:
    return _Way("CPUExecutionProvider", "onnxruntime", "take a checkpoint folder")


def _on_gpu() -> _Way:
    return _Way("CUDAExecutionProvider", "onnxruntime-gpu", "take device cpu")


def _in_bfloat16() -> _Way:
    """ONNX Runtime's own kernels for x86 compute in single precision only."""
    cpu = {"INFERENCE_PRECISION_HINT": "bf16", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    options = {"device_type": "CPU", "load_config": json.dumps({"CPU": cpu})}
    package, otherwise = "onnxruntime-openvino", "leave the precision at fp32"
    return _Way("OpenVINOExecutionProvider", package, otherwise, options)


def _for_openvino(path: Path) -> bytes:
    """The file with GridSample's mode by the name that it had in opset 16: OpenVINO 2025.4 knows
    no other, and ONNX Runtime's own kernels not that one."""
    try:
        import onnx
    except ImportError as error:
        raise require_extra("export", "onnx") from error
    try:
        model = onnx.load(str(path))
    except Exception as error:  # protobuf's, which is none of our dependencies
        raise _unreadable(path, error) from error
    samplers = (node for node in model.graph.node if node.op_type == "GridSample")
    for attribute in (attribute for node in samplers for attribute in node.attribute):
        if attribute.name == "mode" and attribute.s == b"linear":
            attribute.s = b"bilinear"
    return model.SerializeToString()


def _unreadable(path: Path, error: Exception) -> SpiderEyeError:
    return SpiderEyeError(f"{path} cannot be read as an ONNX file: {error}")
