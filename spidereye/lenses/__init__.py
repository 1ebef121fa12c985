"""Lenses, one file for each model.

A new model is one class here, in a file of its own, and its entry in `LENSES`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from spidereye.errors import SpiderEyeError
from spidereye.lenses.double_sphere import DoubleSphere
from spidereye.lenses.eucm import EUCM
from spidereye.lenses.kannala_brandt import KannalaBrandt
from spidereye.lenses.lens import Lens, lift, plane_of
from spidereye.lenses.mei import Mei
from spidereye.lenses.ocam import OCam
from spidereye.lenses.ucm import UCM

LENSES: dict[str, type[Lens]] = {
    lens.model: lens for lens in (UCM, EUCM, DoubleSphere, KannalaBrandt, Mei, OCam)
}

__all__ = [
    "EUCM",
    "LENSES",
    "UCM",
    "DoubleSphere",
    "KannalaBrandt",
    "Lens",
    "Mei",
    "OCam",
    "lens_of",
    "lift",
    "plane_of",
]


def lens_of(
    model: str, plane: Mapping[str, Any], parameters: Mapping[str, float | Sequence[float]]
) -> Lens:
    """A lens of the named model from numbers, in float64. plane: see plane_of.

    Raises SpiderEyeError for an unknown model, parameters that are missing, unknown or of the
    wrong length, and values that cannot be.
    """
    if model not in LENSES:
        raise SpiderEyeError(f"unknown lens model {model!r}; known: {', '.join(LENSES)}")
    lens = LENSES[model]
    if set(parameters) != set(lens.parameters):
        raise SpiderEyeError(
            f"a lens of model {model} has the parameters {', '.join(lens.parameters)}, "
            f"got {', '.join(parameters) or 'none'}"
        )
    for name, count in lens.parameters.items():
        value = parameters[name]
        got = len(value) if isinstance(value, Sequence) else 0
        if got != count and not (count is None and got):
            wanted = "a number" if count == 0 else f"{count or 'some'} numbers"
            raise SpiderEyeError(f"{name} of a {model} lens is {wanted}, got {value}")
    tensors = {name: torch.tensor(value, dtype=torch.float64) for name, value in parameters.items()}
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise SpiderEyeError(f"{name} of a {model} lens must be finite, got {tensor.tolist()}")
    fields: dict[str, Any] = {**plane, **tensors}
    return lens(**fields).checked()
