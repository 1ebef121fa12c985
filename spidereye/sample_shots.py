"""Shots to try stitching with: procedural scenes as a named rig sees them, made when asked for."""

import io
from collections.abc import Mapping
from functools import lru_cache

import torch

from spidereye.picture_writing import save_picture
from spidereye.pictures import to_float, to_uint8
from spidereye.render import render_each
from spidereye.rig import NAMED_RIGS
from spidereye.scenes.scene import Scene

# Name: (seed of the scene, rig).
SAMPLES = {"scene 1": (3, "spider4"), "scene 2": (8, "spider4"), "scene 3": (21, "tri190")}
_WIDTH = 1024  # of the panorama that the views are rendered from


@lru_cache(maxsize=len(SAMPLES))
def sample_shot(name: str) -> Mapping[str, bytes]:
    """The views of a sample by their names, as JPEG."""
    seed, rig_name = SAMPLES[name]
    scene = torch.from_numpy(Scene.random(seed).panorama(_WIDTH)).permute(2, 0, 1)
    rig, made = NAMED_RIGS[rig_name](), {}
    rendered = render_each(to_float(scene)[None], rig.cameras)
    for view, (picture, _) in zip(rig.names, rendered, strict=True):
        file = io.BytesIO()
        save_picture(file, ".jpg", to_uint8(picture[0]).permute(1, 2, 0).contiguous().numpy())
        made[view] = file.getvalue()
    return made
