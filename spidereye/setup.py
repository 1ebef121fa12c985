"""What training and evaluation need before they start, each part with its errors."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.tracking import get_available_trackers
from accelerate.utils import ProjectConfiguration
from rich.console import Console

from spidereye.batches import IndexedDataset, PanoramaDataset, Renderer
from spidereye.conditioned_batches import ConditionedDataset, ConditionedRenderer, Variety
from spidereye.conditioning import Conditioner
from spidereye.config import Config
from spidereye.config_checks import coverage_warning
from spidereye.coverage import coverage
from spidereye.distill import DistillationLoss, Teacher
from spidereye.errors import SpiderEyeError
from spidereye.layers import Recomputing
from spidereye.losses import RepaTerm, TrainingLoss
from spidereye.model import SpiderEyeModel
from spidereye.perceptual import LPIPS
from spidereye.picture_cache import PictureCache
from spidereye.render import RenderPlan, quality
from spidereye.repa import DINOv2, RepaHead
from spidereye.rig import Rig
from spidereye.rig_variety import MOST_VIEWS
from spidereye.run_log import no_tracker
from spidereye.sources import Source, open_source
from spidereye.weights import find_checkpoint, load_weights

TrainingData = IndexedDataset | ConditionedDataset


@dataclass(frozen=True)
class Renderers:
    """train: with the configured jitter, and with conditions where the networks take them.
    clean: the rig as it is."""

    train: Renderer | ConditionedRenderer
    clean: Renderer


def build_accelerator(config: Config) -> Accelerator:
    """The accelerator of this process. Raises SpiderEyeError where the batch does not divide, and
    for trackers that are not installed, which Accelerate leaves out without a word."""
    trackers: list[Any] = [*config.training.trackers] if config.task == "train" else []
    missing = set(trackers) - {str(tracker) for tracker in get_available_trackers()}
    if missing:
        raise no_tracker(trackers, f"{' and '.join(sorted(missing))} cannot be imported")
    accelerator = Accelerator(
        mixed_precision=config.training.mixed_precision,
        gradient_accumulation_steps=config.training.grad_accumulate,
        log_with=trackers or None,
        project_config=ProjectConfiguration(
            str(config.run_folder), logging_dir=str(config.run_folder / "tensorboard")
        ),
    )
    if config.dataset.batch_size % accelerator.num_processes:
        raise SpiderEyeError(
            f"dataset.batch_size={config.dataset.batch_size} counts over all processes and is not "
            f"divisible by their number, {accelerator.num_processes}"
        )
    if accelerator.num_processes > 1:
        say(accelerator, f"{accelerator.num_processes} processes")
    if config.training.deterministic:
        torch.use_deterministic_algorithms(True, warn_only=True)
    return accelerator


def say(accelerator: Accelerator, text: str | None) -> None:
    """Print a line on stderr, once for all processes; None: nothing."""
    if text and accelerator.is_main_process:
        Console(stderr=True).print(text, highlight=False, markup=False, soft_wrap=True)


def announce_rig(config: Config, accelerator: Accelerator) -> Rig:
    """The configured rig, after printing what it sees."""
    rig = config.rig()
    seen = coverage(rig)
    say(accelerator, seen.line())
    say(accelerator, coverage_warning(config, seen))
    return rig


def make_dataset(config: Config, source: Source, plan: RenderPlan) -> PanoramaDataset:
    """A source's panoramas at the sizes that the configuration needs, kept where dataset.cache
    says so."""
    return PanoramaDataset(source, config.panorama_size, plan, picture_cache(config))


def picture_cache(config: Config) -> PictureCache | None:
    """What dataset.cache says. Raises SpiderEyeError for what is neither a bool nor a folder."""
    wanted = config.dataset.cache
    if wanted is None or wanted is False:
        return None
    if wanted is not True and not (isinstance(wanted, str) and wanted):
        raise SpiderEyeError(f"dataset.cache must be true, false or a folder, got {wanted!r}")
    return PictureCache(Path(config.runs_dir) / "cache" if wanted is True else wanted)


def datasets(
    config: Config, accelerator: Accelerator
) -> tuple[TrainingData, PanoramaDataset, Renderers]:
    """Training data, validation data and their renderers, after announcing the rig."""
    rig = announce_rig(config, accelerator)
    fast = RenderPlan.for_cameras(rig.cameras, quality(config.dataset.render))
    exact = RenderPlan.for_cameras(rig.cameras, "exact")
    sources = {
        "train": open_source(config.source(), "train"),
        "val": open_source(config.source(), "val"),
    }
    for split, source in sources.items():
        say(accelerator, f"{split}: {len(source)} panorama{'s' * (len(source) != 1)}")
    data, device = config.dataset, accelerator.device
    clean = Renderer(rig, exact, sources["val"].names, device, degradation=data.cameras)
    shown = Renderer(
        rig, fast, sources["train"].names, jitter=config.jitter(), seed=config.seed,
        degradation=data.cameras,
    )  # fmt: skip
    val = make_dataset(config, sources["val"], exact)
    train = make_dataset(config, sources["train"], fast)
    conditioner, (width, height) = config.conditioner(), config.panorama_size
    by_shot = data.parallax_share or data.rig_variety or data.degradation
    if conditioner is None and not by_shot:
        return IndexedDataset(train), val, Renderers(replace(shown, device=device), clean)
    shots = ConditionedDataset(
        train,
        shown,
        conditioner or Conditioner(config.conditioning(), height, width),
        config.parallax(),
        Variety(data.rig_variety, data.degradation),
        data.draws,
        picture_cache(config),
    )
    most = max(MOST_VIEWS, len(rig.cameras)) if data.rig_variety else None
    return shots, val, Renderers(ConditionedRenderer(rig, device, most), clean)


def build_loss(
    config: Config, model: SpiderEyeModel, teacher: Teacher | None = None
) -> TrainingLoss | DistillationLoss:
    """The objective with the networks that its terms need; missing weights are an error.
    teacher: for distilling."""
    lpips = LPIPS.load("vgg") if config.aux_losses.lpips else None
    repa = None
    if config.aux_losses.repa is not None:
        dino = DINOv2.load(config.aux_losses.repa.teacher)
        head = RepaHead(
            config.model().decoder.widths[-1], dino.width, config.aux_losses.repa.n_layers
        )
        repa = RepaTerm(dino, head)
    if teacher is not None:
        sampler = config.ssdd.fm_sampler
        return DistillationLoss(model, teacher, config.losses, sampler, lpips, repa)
    return TrainingLoss(model, config.losses, lpips, repa)


def start_weights(
    config: Config,
    model: SpiderEyeModel,
    accelerator: Accelerator,
    teacher: Teacher | None = None,
) -> None:
    """Fill a fresh model from its teacher, or from ssdd.checkpoint and ssdd.encoder_checkpoint,
    saying what was loaded.

    Raises SpiderEyeError for an encoder that would stay frozen and untrained.
    """
    ssdd = config.ssdd
    if teacher is not None:
        model.load_state_dict(teacher.model.state_dict())
        say(
            accelerator, f"distilling {ssdd.fm_sampler.steps} steps to one; teacher: {teacher.text}"
        )
        return
    weights = "ema" if ssdd.weights == "ema" else "raw"
    if ssdd.checkpoint is not None:
        found = find_checkpoint(ssdd.checkpoint, config.runs_dir)
        origin = load_weights(model, found, weights, to_train=True)
        say(accelerator, f"starting from {origin}")
    if ssdd.encoder_checkpoint is not None:
        found = find_checkpoint(ssdd.encoder_checkpoint, config.runs_dir)
        say(accelerator, f"starting from {load_weights(model, found, weights, only='encoder')}")
    refuse_untrained_encoder(config)


def refuse_untrained_encoder(config: Config) -> None:
    """A frozen encoder needs weights from somewhere."""
    ssdd = config.ssdd
    if not ssdd.encoder_train and ssdd.checkpoint is None and ssdd.encoder_checkpoint is None:
        raise SpiderEyeError(
            "ssdd.encoder_train=false would freeze an encoder that was never trained: set "
            "ssdd.encoder_train=true, or give weights with ssdd.encoder_checkpoint=… or "
            "ssdd.checkpoint=…"
        )


def freeze(config: Config, model: SpiderEyeModel) -> None:
    """What is not trained: the encoder where the configuration says so; of a student all but the
    decoder, so that its latents stay the teacher's."""
    model.encoder.requires_grad_(config.ssdd.encoder_train and not config.distill_teacher)
    model.fusion.requires_grad_(not config.distill_teacher)


def refuse_idle_training(config: Config) -> None:
    """A flow from the stitch itself is learnt at t = 1 only (Conditions.velocity)."""
    ssdd = config.ssdd
    known = ssdd.prior == "stitch" and ssdd.prior_sigma == 0
    if known and config.training.first_step == 0 and not config.distill_teacher:
        raise SpiderEyeError(
            "with ssdd.prior=stitch and ssdd.prior_sigma=0 what the decoder says counts at t = 1 "
            "only: set training.first_step above 0 (SpiderEye360 has 0.7), or ssdd.prior_sigma"
        )


def checkpoint_activations(config: Config, model: SpiderEyeModel) -> None:
    """Let encoder and decoder recompute their blocks where the configuration asks for it."""
    for module in model.modules():
        if isinstance(module, Recomputing):
            module.recompute = config.training.checkpoint_activations


def compile_networks(config: Config, model: SpiderEyeModel) -> None:
    """Compile encoder, fusion and decoder in place where the configuration asks for it."""
    wanted = config.ssdd.compile
    if wanted is True or (wanted == "auto" and torch.cuda.is_available()):
        model.compile_networks()


def compile_warning(config: Config) -> str | None:
    """A line where compiling was asked for and is of no use, by benchmarks/decode.py. In
    train_step.py PyTorch 2.13's code for a CPU crashed once, as in PyTorch's issue 181618."""
    if config.ssdd.compile is not True or torch.cuda.is_available():
        return None
    return (
        "note: ssdd.compile=true without a GPU: making the code takes minutes, it runs 0.8 to 0.9 "
        "times as fast as without, and training by it may crash; ssdd.compile=auto compiles on "
        "GPUs only"
    )
