"""Values that cannot work are refused before any work starts, by an error that names the key;
what works badly is warned of."""

import math
from dataclasses import is_dataclass
from pathlib import Path
from typing import get_args

from spidereye.camera import circle_of
from spidereye.config import Config, RepaConfig
from spidereye.coverage import ENOUGH_COVERAGE, Coverage
from spidereye.encoder import EncoderConfig
from spidereye.errors import SpiderEyeError
from spidereye.fusion import build_fusion
from spidereye.metrics import METRICS
from spidereye.optimizer import OPTIMIZERS
from spidereye.protocols import PROTOCOLS
from spidereye.render import quality
from spidereye.rig import index_of_view
from spidereye.self_calibration import Refinement


def check(config: Config) -> None:
    """Raises SpiderEyeError naming the first key whose value cannot work."""
    _check_finite(config)
    _check_numbers(config)
    _check_sizes(config)
    _check_choices(config)


def coverage_warning(config: Config, seen: Coverage) -> str | None:
    """The numbers and the fix where the rig sees too little, else None."""
    if seen.seen >= ENOUGH_COVERAGE:
        return None
    data = config.dataset
    little = f"WARNING: the views see only {seen.seen:.1%} of the sphere, the rest is guessed"
    if data.rig != "spider4":
        return f"{little}: spidereye rig check {data.rig} shows where"
    size = data.f_pix_size or data.im_size
    fix = "lower dataset.f_pix or raise dataset.xi until the views overlap"
    if data.f_pix_size is None:
        fix = (
            f"dataset.f_pix_size says at which view width f_pix holds: 220 fits 560 pixels (f = "
            f"{data.f_pix * data.im_size / 560:.2f} at {data.im_size}), as in -cn=SpiderEye360"
        )
    lens = f"dataset.f_pix={data.f_pix:g} is too long a lens for {size}-pixel views"
    return f"{little}: {lens}; {fix}"


def _check_choices(config: Config) -> None:
    data, ssdd, training = config.dataset, config.ssdd, config.training
    choices = {
        "task": (config.task, ("train", "eval")),
        "dataset.jitter_target": (data.jitter_target, ("xi", "f", "both")),
        "dataset.on_bad_file": (data.on_bad_file, ("stop", "skip")),
        "ssdd.compile": (ssdd.compile, (True, False, "auto")),
        "ssdd.weights": (ssdd.weights, ("ema", "raw")),
        "training.mixed_precision": (training.mixed_precision, ("bf16", "fp16", "no")),
        "training.optimizer": (training.optimizer, tuple(OPTIMIZERS)),
        "training.save_on_best": (training.save_on_best, tuple(METRICS)),
    }
    choices |= {
        f"evaluation.protocols[{i}]": (name, tuple(PROTOCOLS))
        for i, name in enumerate(config.evaluation.protocols)
    }
    choices |= {
        f"evaluation.refine[{i}]": (name, get_args(Refinement))
        for i, name in enumerate(config.evaluation.refine)
    }
    choices |= {
        f"training.trackers[{i}]": (name, ("tensorboard", "wandb", "trackio"))
        for i, name in enumerate(training.trackers)
    }
    for key, pattern in (
        ("dataset.shards_train", data.shards_train), ("dataset.shards_val", data.shards_val),
    ):  # fmt: skip
        if pattern is not None and not pattern.strip("/. "):
            raise SpiderEyeError(
                f"{key}={pattern!r} names no shard: give a path, a pattern or a URL of .tar files, "
                "or null for all below dataset.root"
            )
    for key, (value, allowed) in choices.items():
        if not any(type(value) is type(choice) and value == choice for choice in allowed):
            names = ", ".join(str(choice).lower() if isinstance(choice, bool) else choice
                              for choice in allowed)  # fmt: skip
            raise SpiderEyeError(f"{key} must be one of {names}, got {value!r}")
    name = config.run_name
    if name is not None and (
        not name.strip("./ ") or "@" in name or {"..", "/"} & set(Path(name).parts)
    ):
        raise SpiderEyeError(
            f"run_name={name} has to be a name below {config.runs_dir}/jobs, without .., / and @"
        )
    circle_of(data.mask_mode, data.im_size, data.im_size)
    build_fusion(config.model().fusion)
    # A shallow decoder is read at half its depth (DecoderConfig.named), so the default always goes.
    deepest = max(config.model().decoder.blocks // 2, RepaConfig.i_extract)
    if config.aux_losses.repa is not None and config.aux_losses.repa.i_extract > deepest:
        raise SpiderEyeError(
            f"aux_losses.repa.i_extract={config.aux_losses.repa.i_extract}: decoder "
            f"{config.ssdd.decoder} takes 1 to {deepest}"
        )
    if not data.return_all_views:
        raise SpiderEyeError(
            "dataset.return_all_views=false is not supported: the panorama is made from all views "
            "of the rig; leave it true"
        )
    if any(PROTOCOLS[name].has_reference for name in config.evaluation.protocols):
        index_of_view(config.rig(), "evaluation.reference_view", config.evaluation.reference_view)
    refine = config.evaluation.refine
    if len(set(refine)) < len(refine):
        raise SpiderEyeError(f"evaluation.refine names one refinement twice: {', '.join(refine)}")
    if config.distill_teacher and config.ssdd.checkpoint is None:
        raise SpiderEyeError(
            "distill_teacher=true needs the teacher: set ssdd.checkpoint to its folder, run name "
            "or hub id"
        )
    if config.distill_teacher and config.task == "train" and config.ssdd.fm_sampler.steps < 2:
        raise SpiderEyeError(
            "distill_teacher=true: the teacher decodes in ssdd.fm_sampler.steps, which has to be 2 "
            f"or more, got {config.ssdd.fm_sampler.steps}"
        )


def _check_finite(node: object, prefix: str = "") -> None:
    """Comparisons let NaN through, and infinity; only sphere_radii may be ∞."""
    for name, value in vars(node).items():
        key = f"{prefix}{name}"
        if is_dataclass(value):
            _check_finite(value, f"{key}.")
        elif key != "ssdd.sphere_radii":
            for number in value if isinstance(value, list) else [value]:
                if isinstance(number, float) and not math.isfinite(number):
                    raise SpiderEyeError(f"{key} must be finite, got {value}")


def _check_numbers(config: Config) -> None:
    data, training = config.dataset, config.training
    config.conditioning()
    positive = {
        "dataset.im_size": data.im_size,
        "dataset.batch_size": data.batch_size,
        "dataset.f_pix": data.f_pix,
        "dataset.f_pix_size": data.f_pix_size,
        "dataset.limit": data.limit,
        "ssdd.fm_sampler.steps": config.ssdd.fm_sampler.steps,
        "ssdd.fm_sampler.t_pow_shift": config.ssdd.fm_sampler.t_pow_shift,
        "training.lr": training.lr,
        "training.grad_clip": training.grad_clip,
        "training.grad_accumulate": training.grad_accumulate,
        "training.epochs": training.epochs,
        "training.max_steps": training.max_steps,
        "training.eval_freq": training.eval_freq,
        "training.eval_steps": training.eval_steps,
        "training.save_freq": training.save_freq,
        "training.log_freq": training.log_freq,
        "evaluation.batch_size": config.evaluation.batch_size,
        "evaluation.parallax_scenes": config.evaluation.parallax_scenes,
        "ssdd.fusion_hidden_dim": config.ssdd.fusion_hidden_dim,
        "ssdd.encoder_side": config.ssdd.encoder_side,
        "dataset.frame_interval": data.frame_interval,
        "dataset.max_frames_per_video": data.max_frames_per_video,
        "dataset.scene_count_train": data.scene_count_train,
        "dataset.scene_count_val": data.scene_count_val,
        "dataset.draws": data.draws,
    }
    if config.aux_losses.repa is not None:
        positive["aux_losses.repa.i_extract"] = config.aux_losses.repa.i_extract
        positive["aux_losses.repa.n_layers"] = config.aux_losses.repa.n_layers
    for key, value in positive.items():
        if value is not None and not value > 0:
            raise SpiderEyeError(f"{key} must be greater than 0, got {value}")
    not_negative = {
        "seed": config.seed,
        "show_samples": config.show_samples,
        "dataset.num_workers": data.num_workers,
        "dataset.xi": data.xi,
        "dataset.rotation_jitter": data.rotation_jitter,
        "dataset.brightness": data.brightness,
        "dataset.cameras.blur": data.cameras.blur,
        "dataset.cameras.read_noise": data.cameras.read_noise,
        "dataset.cameras.shot_noise": data.cameras.shot_noise,
        "ssdd.ema.start_iter": config.ssdd.ema.start_iter,
        "training.warmup": training.warmup,
        "training.cooldown": training.cooldown,
        "training.weight_decay": training.weight_decay,
    }
    not_negative |= {f"losses.{name}": value for name, value in vars(config.losses).items()}
    for key, value in not_negative.items():
        if value < 0:
            raise SpiderEyeError(f"{key} must not be negative, got {value}")
    if config.seed >= 2**63:
        raise SpiderEyeError(f"seed has to be below 2^63, got {config.seed}")
    fractions = {
        "dataset.xi_jitter": data.xi_jitter,
        "dataset.f_jitter": data.f_jitter,
        "dataset.contrast": data.contrast,
        "dataset.color_jitter": data.color_jitter,
        "dataset.cameras.vignetting": data.cameras.vignetting,
        "ssdd.ema.decay": config.ssdd.ema.decay,
    }
    for key, value in fractions.items():
        if not 0 <= value < 1:
            raise SpiderEyeError(f"{key} must lie in [0, 1), got {value}")
    shares = {
        "dataset.jitter_share": data.jitter_share,
        "dataset.missing_view": data.missing_view,
        "dataset.parallax_share": data.parallax_share,
        "dataset.rig_variety": data.rig_variety,
        "dataset.degradation": data.degradation,
        "training.first_step": training.first_step,
    }
    for key, value in shares.items():
        if not 0 <= value <= 1:
            raise SpiderEyeError(f"{key} is a share and must lie in [0, 1], got {value}")
    if data.cameras.jpeg_quality not in (None, *range(1, 101)):
        raise SpiderEyeError(
            "dataset.cameras.jpeg_quality is 1 to 100, or null for files without loss, got "
            f"{data.cameras.jpeg_quality}"
        )
    if len(data.off_centre) != 2 or not 0 <= data.off_centre[0] <= data.off_centre[1]:
        raise SpiderEyeError(
            f"dataset.off_centre is [from, to] in metres from the centre, got {data.off_centre}"
        )
    quality(data.render)
    if training.cooldown and training.optimizer != "adamw":
        raise SpiderEyeError(
            f"training.cooldown={training.cooldown} goes with training.optimizer=adamw: leave it 0 "
            "with a schedule-free one, which needs none"
        )
    if any(steps < 1 for steps in config.evaluation.steps):
        raise SpiderEyeError(f"evaluation.steps are 1 or more, got {config.evaluation.steps}")
    if not config.evaluation.protocols:
        raise SpiderEyeError(f"evaluation.protocols is empty; choose of {', '.join(PROTOCOLS)}")


def _check_sizes(config: Config) -> None:
    size = config.ssdd.decoder_image_size
    if len(size) != 2 or size[0] != 2 * size[1] or size[1] < 1:
        raise SpiderEyeError(
            f"ssdd.decoder_image_size is [W, H] of a 2:1 panorama with W = 2H > 0, got {size}"
        )
    factor = EncoderConfig(config.ssdd.encoder, config.ssdd.encoder_width).factor
    side, height = config.dataset.im_size, size[1]
    if config.dataset.rig_variety and config.ssdd.fusion_type != "spherical":
        raise SpiderEyeError(
            f"dataset.rig_variety={config.dataset.rig_variety:g} needs ssdd.fusion_type=spherical, "
            "the only one that takes rigs of any number of views"
        )
    if config.ssdd.unseen not in ("model", "expected"):
        raise SpiderEyeError(f"ssdd.unseen takes model or expected, got {config.ssdd.unseen!r}")
    if config.ssdd.unseen == "expected" and config.ssdd.prior != "stitch":
        raise SpiderEyeError(
            "ssdd.unseen=expected goes with ssdd.prior=stitch: it is part of what geometry makes"
        )
    if config.ssdd.unseen == "expected" and config.ssdd.prior_sigma >= 1:
        raise SpiderEyeError(
            "ssdd.unseen=expected goes with ssdd.prior_sigma below 1, got "
            f"{config.ssdd.prior_sigma:g}: what starts from noise alone counts as unseen"
        )
    if config.ssdd.encoder_side is not None and config.ssdd.fusion_type != "spherical":
        raise SpiderEyeError(
            "ssdd.encoder_side goes with ssdd.fusion_type=spherical, which takes any latents"
        )
    if (config.ssdd.encoder_side or factor) % factor:
        raise SpiderEyeError(
            f"ssdd.encoder_side={config.ssdd.encoder_side} is not divisible by {factor}, the "
            f"downsampling of encoder {config.ssdd.encoder}"
        )
    if side % factor:
        raise SpiderEyeError(
            f"dataset.im_size={side} is not divisible by {factor}, the downsampling of encoder "
            f"{config.ssdd.encoder}; try {max(1, round(side / factor)) * factor}"
        )
    if height % 8:
        raise SpiderEyeError(
            f"ssdd.decoder_image_size={size}: H must be a multiple of 8, the decoder's downsampling"
        )
    if config.ssdd.fusion_type == "spherical":
        if height % factor:
            raise SpiderEyeError(
                f"ssdd.decoder_image_size={size}: H must be a multiple of {factor}, the "
                f"downsampling of encoder {config.ssdd.encoder}"
            )
    elif height != side:
        raise SpiderEyeError(
            f"ssdd.fusion_type={config.ssdd.fusion_type} makes the panorama's height equal to the "
            f"views' side: dataset.im_size={side} needs ssdd.decoder_image_size=[{2 * side},{side}]"
            f", got [{size[0]},{size[1]}]"
        )
    views = len(config.rig().cameras)
    if config.ssdd.n_views != views:
        raise SpiderEyeError(
            f"ssdd.n_views={config.ssdd.n_views}, but the rig {config.dataset.rig} has "
            f"{views} views; set ssdd.n_views={views}"
        )
