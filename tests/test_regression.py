"""Small frozen outputs of our own, made once our networks equalled the golden tensors.

They give the suite a meaning where the shared folder is absent. To make them anew after a change
that is meant to change them: python tests/test_regression.py
"""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from spidereye.conditions import Conditions
from spidereye.decoder import DecoderConfig
from spidereye.encoder import EncoderConfig
from spidereye.fusion import FusionConfig
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.panorama import panorama_rays
from spidereye.render import RenderPlan, render_views
from spidereye.rig import spider4
from spidereye.stitching import stitch

FROZEN = Path(__file__).parent / "frozen" / "outputs.safetensors"


def fill_by_formula(model: torch.nn.Module) -> None:
    """Weights from their own index, so that no generator's version matters."""
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            index = torch.arange(parameter.numel(), dtype=torch.float64) + 1
            values = torch.sin(index * 12.9898 + number * 78.233) * 0.08
            parameter.copy_(values.reshape(parameter.shape))


@torch.no_grad()
def outputs() -> dict[str, torch.Tensor]:
    direction = panorama_rays(32, 64).permute(2, 0, 1)[None]
    rig = spider4(220 * 32 / 560, 0.85, 32)
    plan = RenderPlan.for_cameras(rig.cameras, "exact")
    views, _ = render_views(direction, rig.cameras, plan)
    made = {
        "views": views[:, :, :, ::4, ::4],
        "stitch": stitch(views.unbind(1), rig.cameras, 16, 32).panorama,
    }
    noise = torch.sin(torch.arange(3 * 32 * 64, dtype=torch.float64) * 1.7).reshape(1, 3, 32, 64)
    for fusion in ("concat_conv", "average"):
        model = SpiderEyeModel(
            ModelConfig(
                EncoderConfig("f8c4", 32),
                DecoderConfig((32, 32, 64, 64), heads=4, blocks=2, extract=1),
                FusionConfig(fusion),
            )
        ).double()
        fill_by_formula(model)
        given = Conditions(views)
        z = model.encode(given)
        made[f"{fusion}.z"] = z
        made[f"{fusion}.panorama"] = model.decode(z, given, noise, steps=3)[:, :, ::4, ::4]
    return {name: value.float().contiguous() for name, value in made.items()}


def test_outputs_are_as_frozen():
    frozen, now = load_file(FROZEN), outputs()
    assert frozen.keys() == now.keys()
    for name, value in frozen.items():
        assert torch.allclose(now[name], value, atol=1e-6, rtol=1e-4), name


if __name__ == "__main__":
    FROZEN.parent.mkdir(exist_ok=True)
    save_file(outputs(), FROZEN)
