"""`spidereye export`: a checkpoint's networks as one ONNX file, checked against PyTorch.

The file holds encoder, fusion, decoder and the sampler's steps. Noise is an input, and so is what
geometry makes of the views (conditions.py), which stays outside: self-calibration and stitching are
no networks. `Stitcher.load("model.onnx")` does both.
"""

import logging
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.checkpoint import Weights
from spidereye.conditions import Conditions, flattened, restored
from spidereye.config import Config
from spidereye.errors import SpiderEyeError, require_extra
from spidereye.model import SpiderEyeModel
from spidereye.onnx_networks import GRID, NOISE, PANORAMA, SEEN, OnnxNetworks, described
from spidereye.pictures import to_float, to_uint8
from spidereye.randomness import normal
from spidereye.render import render_each
from spidereye.scenes.scene import Scene
from spidereye.trained import Trained
from spidereye.whole_files import check_place, write_whole

Grids = Literal["inputs", "baked"]
_MOST_BATCH = 1024


@dataclass(frozen=True)
class Exported:
    """What was written. inputs: name to shape, "batch" where any number goes.   steps: in it.
    difference: the largest between ONNX Runtime's and PyTorch's panorama of one shot, [-1, 1]."""

    path: Path
    inputs: dict[str, list[int | str]]
    steps: int
    difference: float
    megabytes: float


def export_onnx(
    checkpoint: str | Path,
    output: Path,
    steps: int | None = None,
    batch: int | None = 1,
    grids: Grids = "inputs",
    weights: Weights = "ema",
    runs_dir: str = "runs",
) -> Exported:
    """Write a checkpoint of ours as `output`, an .onnx file that appears whole or not at all.

    steps: of the sampler; None: the one step of a distilled student.   batch: how many shots at a
    time; None: any number.   grids: where the views look (only networks that ask for it): inputs of
    each shot, or baked in as the checkpoint's rig has it, all but what a shot's views see of it.
    Raises SpiderEyeError where no steps are said for networks that were not distilled, where a
    baked grid would be wrong, and where ONNX Runtime does not agree with PyTorch.
    """
    if output.suffix != ".onnx":
        raise SpiderEyeError(f"{output}: an ONNX file ends in .onnx")
    check_place(output)
    trained = Trained.load(checkpoint, weights, runs_dir)
    config, model = trained.config, trained.networks
    if not isinstance(model, SpiderEyeModel):
        raise SpiderEyeError(f"{checkpoint} is an ONNX file already")
    steps = _steps(config, steps, str(checkpoint))
    _refuse_wrong_grid(config, grids)
    given, noise = sample_shot(config)
    parts = flattened(given)
    network = _Network(model.eval(), steps, config.ssdd.fm_sampler.t_pow_shift)
    if grids == "baked":
        network.grid = {n: t for n, t in parts.items() if n.startswith(GRID) and n != SEEN}
    inputs = {n: t for n, t in parts.items() if n not in network.grid}
    with torch.inference_mode():
        # Before the export, which would leave tensors without values where tables are kept.
        expected = network(inputs, noise)
    program = _program(network, inputs, noise, batch)
    program.model.metadata_props.update(described(trained, steps))
    shapes = {name: list(tensor.shape) for name, tensor in {**inputs, NOISE: noise}.items()}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / output.name
        program.save(file, external_data=False)
        made = OnnxNetworks.load(file).panorama(given, noise, steps)
        difference = _difference(made, expected)
        write_whole(output, file.read_bytes())
    first: int | str = "batch" if batch is None else batch
    return Exported(
        output,
        {name: [first, *shape[1:]] for name, shape in shapes.items()},
        steps,
        difference,
        output.stat().st_size / 1e6,
    )


class _Network(nn.Module):
    """From tensors by name to a panorama. grid: what is baked in."""

    def __init__(self, model: SpiderEyeModel, steps: int, t_pow_shift: float):
        super().__init__()
        self.model, self.steps, self.shift = model, steps, t_pow_shift
        self.grid: dict[str, Tensor] = {}

    def forward(
        self, inputs: Mapping[str, Tensor], noise: Float[Tensor, "B 3 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        given = restored({**inputs, **self.grid})
        return self.model.panorama(given, noise, self.steps, self.shift)


def sample_shot(config: Config) -> tuple[Conditions, Float[Tensor, "1 3 H W"]]:
    """The conditions of a procedural scene as the configured rig sees it, and noise."""
    picture = torch.from_numpy(Scene.random(0).panorama(4 * config.dataset.im_size))
    cameras = config.rig().cameras
    views = [
        to_float(to_uint8(view))
        for view, _ in render_each(to_float(picture.permute(2, 0, 1))[None], cameras)
    ]
    width, height = config.panorama_size
    noise = normal(0, "export noise", [(0,)], (3, height, width))
    conditioner = config.conditioner()
    if conditioner is None:
        return Conditions(torch.stack(views, dim=1)), noise
    return conditioner(views, cameras, conditioner.calibrated(views, cameras)), noise


def _steps(config: Config, steps: int | None, name: str) -> int:
    if steps is not None:
        return steps
    if config.sampler_steps == 1:
        return 1
    raise SpiderEyeError(
        f"{name} was not distilled and takes {config.sampler_steps} steps: say --steps 1 for a "
        f"file that takes one, --steps {config.sampler_steps} for all of them, or distil it first "
        "(spidereye distill)"
    )


def _refuse_wrong_grid(config: Config, grids: Grids) -> None:
    if grids == "inputs":
        return
    if not config.conditioning().grid:
        raise SpiderEyeError(
            f"--grids baked: these networks (ssdd.fusion_type={config.ssdd.fusion_type}) ask for "
            "no grid; leave it out"
        )
    if "rotation" in config.ssdd.refine:
        raise SpiderEyeError(
            "--grids baked: these networks get rotations that are refined for each shot "
            "(ssdd.refine), so that each has a grid of its own; leave --grids inputs"
        )


def _program(network: _Network, inputs: dict[str, Tensor], noise: Tensor, batch: int | None) -> Any:
    """The ONNX program of a batch of any size (None) or of this."""
    try:
        import onnxscript  # noqa: F401  what torch.onnx needs
    except ImportError as error:
        raise require_extra("export", "onnxscript") from error
    # Dimensions of 1 would be taken for constants.
    count = 2 if batch is None else batch
    several = {name: tensor.expand(count, *tensor.shape[1:]) for name, tensor in inputs.items()}
    dynamic = None
    if batch is None:
        any_number = {0: torch.export.Dim("batch", min=1, max=_MOST_BATCH)}
        dynamic = ({name: any_number for name in inputs}, any_number)
    with _quiet():
        return torch.onnx.export(
            network,
            (several, noise.expand(count, *noise.shape[1:])),
            dynamo=True,
            dynamic_shapes=dynamic,
            input_names=[*inputs, NOISE],
            output_names=[PANORAMA],
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on packages and on its own code."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)


def _difference(made: Float[Tensor, "1 3 H W"], expected: Float[Tensor, "1 3 H W"]) -> float:
    """Between ONNX Runtime and PyTorch. Raises SpiderEyeError where a picture would show it."""
    difference = float((made - expected).abs().max())
    if not difference < _TOLERATED:
        raise SpiderEyeError(
            f"ONNX Runtime's panorama differs from PyTorch's by up to {difference:.2g} of [-1, 1], "
            f"more than {_TOLERATED:g}: nothing was written; versions of onnxruntime and torch may "
            "not fit each other"
        )
    return difference


_TOLERATED = 2 / 255  # a level of 8 bits


def export_file(
    checkpoint: str, output: Path, steps: int | None, batch: int | None, grids: str, weights: str
) -> str:
    """The command: `export_onnx` of what was typed; returns what to say."""
    choices = {"grids": (grids, ("inputs", "baked")), "weights": (weights, ("ema", "raw"))}
    for name, (value, allowed) in choices.items():
        if value not in allowed:
            raise SpiderEyeError(f"--{name} takes {' or '.join(allowed)}, got {value!r}")
    made = export_onnx(
        checkpoint,
        output,
        steps,
        batch,
        "baked" if grids == "baked" else "inputs",
        "raw" if weights == "raw" else "ema",
    )
    inputs = "\n".join(f"  {name} {shape}" for name, shape in made.inputs.items())
    return (
        f"{made.path}: {made.megabytes:.1f} MB, {made.steps} step{'s' * (made.steps > 1)}\n"
        f"inputs:\n{inputs}\noutput:\n  {PANORAMA} in [-1, 1]\n"
        f"ONNX Runtime and PyTorch differ by {made.difference:.1e} of [-1, 1] at most"
    )
