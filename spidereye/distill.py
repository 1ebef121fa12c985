"""Distillation to one step: a student learns the pictures that its teacher makes in many.

Layer: learning. Teacher and student are the same networks. The frozen teacher encodes the views and
decodes their latent z from x₁ in many steps; the student takes the same z and x₁ at t = 1 and
learns that picture. So only its decoder is trained. x₁ is the teacher's too: noise, or the stitch.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn

from spidereye.checkpoint import Weights, read_config
from spidereye.conditions import Conditions
from spidereye.config import Config, FmSamplerConfig
from spidereye.config_files import config_from_dict
from spidereye.errors import SpiderEyeError
from spidereye.flow import predicted_data
from spidereye.losses import Draws, LossWeights, RepaTerm, diffusion_loss, weighted
from spidereye.model import ModelConfig, SpiderEyeModel
from spidereye.perceptual import LPIPS
from spidereye.weights import digest, find_checkpoint, load_weights


@dataclass(frozen=True)
class Teacher:
    """model: frozen, in evaluation mode.   text: what was loaded, in words.
    record: what a student's checkpoint says of it: path, weights, and a digest of their values."""

    model: SpiderEyeModel
    text: str
    record: dict[str, str]

    @classmethod
    def load(cls, config: Config) -> "Teacher":
        """The teacher that ssdd.checkpoint and ssdd.weights name, of the configured architecture.

        Raises SpiderEyeError where there is none, or of another shape.
        """
        assert config.ssdd.checkpoint is not None, "config_checks sees to that"
        found = find_checkpoint(config.ssdd.checkpoint, config.runs_dir)
        weights: Weights = "ema" if config.ssdd.weights == "ema" else "raw"
        wanted = config.model()
        if found.is_ours:
            _refuse_others(str(found.path), config_from_dict(read_config(found.path), []), config)
        model = SpiderEyeModel(wanted)
        text = load_weights(model, found, weights, whole=True)
        model.eval().requires_grad_(False)
        record = {"path": str(found.path.resolve()), "weights": weights, "sha256": digest(model)}
        return cls(model, text, record)


class DistillationLoss(nn.Module):
    """The student with its objective: mean squared error and LPIPS against the teacher's picture,
    REPA against the panorama itself. Terms whose network is None are not computed."""

    def __init__(
        self,
        model: SpiderEyeModel,
        teacher: Teacher,
        weights: LossWeights,
        sampler: FmSamplerConfig,
        lpips: LPIPS | None = None,
        repa: RepaTerm | None = None,
    ):
        super().__init__()
        self.model, self.teacher, self.record = model, teacher.model, teacher.record
        self.weights, self.sampler = weights, sampler
        self.lpips, self.repa = lpips, repa

    def forward(
        self, given: Conditions, panorama: Float[Tensor, "B 3 H W"], draws: Draws
    ) -> dict[str, Float[Tensor, ""]]:
        """Scalar terms by name, unweighted, and their weighted sum under "total"; the term
        "distillation" has the weight of "diffusion"."""
        start = given.noised(draws.noise)
        with torch.no_grad():
            z = self.teacher.encode(given)
            steps, shift = self.sampler.steps, self.sampler.t_pow_shift
            target = self.teacher.decode(z, given, draws.noise, steps, shift)
        once = torch.ones_like(draws.t)
        velocity, features = self.model.velocity(z, given, start, once)
        terms = {
            "distillation": diffusion_loss(velocity, target, start, self.weights.relative),
        }
        if self.lpips is not None:
            terms["lpips"] = self.lpips(predicted_data(start, velocity, once), target).mean()
        if self.repa is not None:
            terms["repa"] = self.repa(features, panorama)
        return weighted(terms, self.weights)


def check_same_teacher(
    record: dict[str, str] | None, teacher: dict[str, str] | None, run: str
) -> None:
    """Raises SpiderEyeError where a run that is resumed had another teacher than it is to have.
    None: no distillation."""
    if record == teacher:
        return
    if teacher is None:
        raise SpiderEyeError(
            f"{run} is a distillation: add distill_teacher=true to go on with it, or give this "
            "training a run_name of its own"
        )
    if record is None:
        raise SpiderEyeError(
            f"{run} is no distillation: give the student a run_name of its own, or leave out "
            "distill_teacher=true to go on with that run"
        )
    if record["sha256"] != teacher["sha256"]:
        weights = record["weights"]
        again = "that teacher again" if weights == teacher["weights"] else f"ssdd.weights={weights}"
        raise SpiderEyeError(
            f"{run} was distilled from {record['path']} ({weights} weights), which is not what "
            f"{teacher['path']} holds now; give {again}, or another run_name"
        )


def _refuse_others(path: str, theirs: Config, ours: Config) -> None:
    """Raises SpiderEyeError for a teacher of another architecture than the student's, naming the
    keys."""
    if _comparable(theirs.model()) == _comparable(ours.model()):
        return
    one, two = vars(theirs.ssdd), vars(ours.ssdd)
    differing = [
        f"ssdd.{key}: it has {one[key]}, you ask for {two[key]}"
        for key in _SHAPE
        if one[key] != two[key]
    ]
    raise SpiderEyeError(
        f"the teacher {path} has another architecture than the student: "
        f"{', '.join(differing) or 'dataset.rig'}; a student is made like its teacher, so give the "
        "teacher's values"
    )


_SHAPE = (
    "encoder", "encoder_width", "encoder_side", "decoder", "decoder_image_size", "n_views",
    "fusion_type", "fusion_hidden_dim", "fusion_sweep", "use_view_encoding", "view_encoding_type",
    "padding", "condition", "prior", "prior_sigma", "sphere_radii", "refine",
)  # fmt: skip


def _comparable(config: ModelConfig) -> ModelConfig:
    """Without what does not matter to a student: where REPA reads; views' axes unless they are
    encoded; what is shown where nothing is seen."""
    fusion = config.fusion
    if config.conditioning.grid or fusion.view_encoding is None:
        fusion = replace(fusion, axes=[])
    decoder = replace(config.decoder, extract=1)
    conditioning = replace(config.conditioning, expected=False)
    return replace(config, decoder=decoder, fusion=fusion, conditioning=conditioning)
