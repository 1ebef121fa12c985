"""Lenses, one file for each model.

A new model is one class here, in a file of its own, and its entry in `LENSES`.
"""

from spidereye.lenses.lens import Lens, lift, plane_of
from spidereye.lenses.ucm import UCM

LENSES: dict[str, type[Lens]] = {lens.model: lens for lens in (UCM,)}

__all__ = ["LENSES", "UCM", "Lens", "lift", "plane_of"]
