"""The documented configuration as dataclasses; `Config()` is the documented `SpiderEye`.

Other named configs are YAML files in spidereye/configs that say only what differs.
"""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spidereye.conditioned_batches import Parallax
from spidereye.conditioning import Conditioner
from spidereye.conditions import SHOT, ConditioningConfig
from spidereye.decoder import DecoderConfig
from spidereye.degradation import Degradation
from spidereye.ema import EmaConfig
from spidereye.encoder import EncoderConfig
from spidereye.fusion import FusionConfig
from spidereye.jitter import JitterConfig
from spidereye.losses import LossWeights
from spidereye.model import ModelConfig
from spidereye.rig import NAMED_RIGS, Rig, spider4
from spidereye.rig_files import load_rig
from spidereye.sources import SourceConfig


@dataclass
class DatasetConfig:
    """Data, views and jitter. Sizes in pixels, angles in degrees."""

    imagenet_root: str = "/data/360SP-data"  # folder that holds train/ and val/ (or eval/)
    root: str | None = None  # the same under a better name; wins where set
    type: str = "folder"  # folder | video | shards | scenes
    im_size: int = 128  # side of a fisheye view
    batch_size: int = 12  # samples per batch over all processes
    limit: int | None = None  # first n samples of each split only; None: all
    num_workers: int = 20  # per process; more than the machine's cores is lowered, saying so
    return_all_views: bool = True
    f_pix: float = 220.0  # Mei focal length
    f_pix_size: int | None = None  # view width at which f_pix holds; None: im_size
    xi: float = 0.85
    rig: str = "spider4"  # of f_pix and xi below; or another named rig, or a rig file, as it is
    mask_mode: str = "inscribed"  # inscribed | diagonal | none
    xi_jitter: float = 0.4  # xi·U(1-j, 1+j), training only
    f_jitter: float = 0.1  # f/U(1-j, 1+j), training only
    jitter_target: str = "both"  # xi | f | both
    rotation_jitter: float = 3.0  # yaw, pitch, roll of each view, ± degrees, training only
    brightness: float = 0.2  # added to [0, 1] values, ±, per view, training only
    contrast: float = 0.2  # factor 1 ±, per view, training only
    color_jitter: float = 0.1  # factor 1 ±, per view and channel, training only
    jitter_share: float = 1.0  # of training samples whose poses and colours vary
    yaw_augment: bool = False  # turn the whole panorama at random, training only
    missing_view: float = 0.0  # share of training samples that lack views
    parallax_share: float = 0.0  # of training samples: near scenes, cameras off the centre
    rig_variety: float = 0.0  # share of training samples seen by another rig, drawn at random
    degradation: float = 0.0  # share of training samples: vignetting, blur, noise, JPEG
    cameras: Degradation = field(default_factory=Degradation)  # what yours do to every view
    off_centre: list[float] = field(default_factory=lambda: [0.05, 0.15])  # metres, from and to
    draws: int | None = None  # different shots of a panorama; None: a new one each epoch
    render: str = "training"  # quality of training views: training | exact
    on_bad_file: str = "stop"  # stop | skip
    cache: Any = False  # keep decoded panoramas in this folder; true: in <runs_dir>/cache
    video_root: str | None = None  # type=video: as root, which it wins over where set
    frame_interval: int = 24  # type=video: every so many-th frame is a panorama
    max_frames_per_video: int | None = None  # type=video: the first so many of those; None: all
    shards_train: str | None = None  # type=shards: path, pattern or URL; None: all in root/train
    shards_val: str | None = None
    shard_cache: str | None = None  # type=shards: folder for what URLs give; None: below ~/.cache
    scene_count_train: int = 96  # type=scenes: how many
    scene_count_val: int = 12


@dataclass
class FmSamplerConfig:
    """steps: Euler steps.   t_pow_shift: t = linspace(1, 0, steps + 1)^shift."""

    steps: int = 12
    t_pow_shift: float = 2.0


@dataclass
class SsddConfig:
    """The networks and where their weights come from."""

    compile: Any = True  # true | false | auto (on GPUs only)
    checkpoint: str | None = None  # path | run_name[@best|@last] | hub id
    weights: str = "ema"  # ema | raw: which weights of `checkpoint` to load
    encoder: str = "f8c4"  # f<downsampling>c<channels>
    encoder_width: int = 128  # channels of the encoder's first level
    encoder_side: int | None = None  # the encoder gets larger views at so many pixels; None: any
    encoder_checkpoint: str | None = None
    encoder_train: bool = False
    decoder: str = "M"  # XXS XS S B M L XL H
    decoder_image_size: list[int] = field(default_factory=lambda: [256, 128])  # panorama W, H
    n_views: int = 4
    fusion_type: str = "concat_conv"  # concat_conv | average | spherical
    fusion_hidden_dim: int | None = None  # None: 2C; spherical: 64
    fusion_sweep: bool = True  # spherical looks at all of sphere_radii; false: at the first
    use_view_encoding: bool = True
    view_encoding_type: str = "sinusoidal"  # sinusoidal | learnable | directional
    padding: str = "zeros"  # zeros | sphere: what lies beyond the panorama's edges
    condition: str = "latent"  # latent | latent+warp: what the decoder is given
    prior: str = "noise"  # noise | stitch: what the flow starts from
    prior_sigma: float = 0.0  # of the noise on the stitch
    unseen: str = "model"  # model | expected: what is drawn where nothing is seen
    sphere_radii: list[float] = field(default_factory=lambda: [math.inf])  # metres
    refine: list[str] = field(default_factory=list)  # self-calibrate shots: gain, rotation
    fm_sampler: FmSamplerConfig = field(default_factory=FmSamplerConfig)
    ema: EmaConfig = field(default_factory=EmaConfig)


@dataclass
class RepaConfig:
    """i_extract: decoder block, from 1 to half of them, whose features are aligned (up to 4 may be
    asked of fewer).   n_layers: of the MLP.   teacher: DINOv2 model, a hub id or a folder."""

    i_extract: int = 4
    n_layers: int = 2
    teacher: str = "facebook/dinov2-base"


@dataclass
class AuxLossesConfig:
    """repa None: off.   lpips: whether LPIPS (VGG16) is part of the objective."""

    repa: RepaConfig | None = field(default_factory=RepaConfig)
    lpips: bool = True


@dataclass
class TrainingConfig:
    """The loop."""

    mixed_precision: str = "bf16"  # bf16 | fp16 | no
    first_step: float = 0.0  # share of samples trained at t = 1, where sampling starts
    optimizer: str = "adamw"  # adamw | radam_schedulefree
    lr: float = 1.0e-4
    warmup: int = 100  # steps of linear warm-up
    cooldown: int = 0  # the run's last steps, over which the rate falls to 0
    weight_decay: float = 1.0e-2  # on matrices only
    grad_accumulate: int = 1  # batches per optimizer step
    grad_clip: float = 0.1  # norm
    epochs: int = 300  # the run's length, or max_steps where that is less
    max_steps: int | None = None  # optimizer steps at most; None: epochs decide
    eval_freq: int = 1  # epochs between evaluations
    eval_steps: int | None = None  # optimizer steps between evaluations; None: eval_freq decides
    save_freq: int | None = None  # steps between checkpoints; None: after evaluations only
    save_on_best: str = "FID"  # any metric; PSNR, saying so, where FID cannot be computed
    log_freq: int = 200  # steps
    checkpoint_activations: bool = False  # keep less for the backward pass, compute it again there
    deterministic: bool = False  # ask PyTorch for deterministic kernels on GPUs too
    trackers: list[str] = field(default_factory=lambda: ["tensorboard"])  # + wandb, trackio


@dataclass
class EvaluationConfig:
    """Of `task=eval`; training evaluates under clean, beside the plain stitch."""

    protocols: list[str] = field(default_factory=lambda: ["clean", "jitter"])  # see protocols.py
    batch_size: int = 4  # per process
    steps: list[int] = field(default_factory=list)  # a row for each; none: sampler_steps
    refine: list[str] = field(default_factory=lambda: ["gain", "rotation"])  # stitch, + each of it
    reference_view: str = "front"  # protocol jitter_reference: the view that gets no jitter
    parallax_scenes: int = 12  # protocol parallax: how many


@dataclass
class Config:
    """Everything. The defaults are the documented configuration."""

    seed: int = 0
    task: str = "train"  # train | eval
    run_name: str | None = None  # runs/jobs/<run_name>/; None: <date>/<time>
    runs_dir: str = "runs"
    dataset: DatasetConfig = field(default_factory=DatasetConfig)
    distill_teacher: bool = False  # learn the pictures of the teacher ssdd.checkpoint in one step
    ssdd: SsddConfig = field(default_factory=SsddConfig)
    aux_losses: AuxLossesConfig = field(default_factory=AuxLossesConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    losses: LossWeights = field(default_factory=LossWeights)
    show_samples: int = 8

    @property
    def run_folder(self) -> Path:
        """runs/jobs/<run_name>."""
        return Path(self.runs_dir) / "jobs" / str(self.run_name)

    @property
    def sampler_steps(self) -> int:
        """Of the sampler where nothing else is asked: one for what was distilled."""
        return 1 if self.distill_teacher else self.ssdd.fm_sampler.steps

    @property
    def panorama_size(self) -> tuple[int, int]:
        """(W, H) in pixels."""
        width, height = self.ssdd.decoder_image_size
        return width, height

    def rig(self) -> Rig:
        """The rig of the configured views; f_pix is rescaled from f_pix_size to im_size. Raises
        SpiderEyeError where dataset.rig is neither a named rig nor a file of one."""
        data = self.dataset
        if data.rig != "spider4":
            return load_rig(data.rig).squared(data.im_size)
        scale = data.im_size / (data.f_pix_size or data.im_size)
        return spider4(data.f_pix * scale, data.xi, data.im_size, data.mask_mode)

    def rig_of_file(self) -> Rig | None:
        """The rig as its file describes it, or None where dataset.rig is a named rig."""
        return None if self.dataset.rig in NAMED_RIGS else load_rig(self.dataset.rig)

    def source(self) -> SourceConfig:
        """What sources.open_source needs."""
        data = self.dataset
        return SourceConfig(
            type=data.type,
            root=(data.type == "video" and data.video_root) or data.root or data.imagenet_root,
            limit=data.limit,
            on_bad_file=data.on_bad_file,
            min_width=self.panorama_size[0],
            frame_interval=data.frame_interval,
            max_frames_per_video=data.max_frames_per_video,
            shards_train=data.shards_train,
            shards_val=data.shards_val,
            shard_cache=data.shard_cache,
            seed=self.seed,
            scene_count_train=data.scene_count_train,
            scene_count_val=data.scene_count_val,
        )

    def jitter(self) -> JitterConfig:
        """Training's jitter."""
        data = self.dataset
        return JitterConfig(
            xi=data.xi_jitter if data.jitter_target in ("xi", "both") else 0.0,
            f=data.f_jitter if data.jitter_target in ("f", "both") else 0.0,
            rotation=data.rotation_jitter,
            contrast=data.contrast,
            brightness=data.brightness,
            color=data.color_jitter,
            yaw=data.yaw_augment,
            share=data.jitter_share,
            missing=data.missing_view,
        )

    def parallax(self) -> Parallax:
        """Training's near scenes."""
        low, high = self.dataset.off_centre
        return Parallax(self.dataset.parallax_share, (low, high))

    def conditioning(self) -> ConditioningConfig:
        """What the networks are told beside the views."""
        ssdd = self.ssdd
        return ConditioningConfig(
            grid=ssdd.fusion_type == "spherical",
            condition=ssdd.condition,
            prior=ssdd.prior,
            sigma=ssdd.prior_sigma,
            radii=tuple(ssdd.sphere_radii),
            refine=tuple(ssdd.refine),
            factor=EncoderConfig(ssdd.encoder, ssdd.encoder_width).factor,
            encoded=ssdd.encoder_side,
            sweep=ssdd.fusion_sweep,
            expected=ssdd.unseen == "expected",
        )

    def conditioner(self) -> Conditioner | None:
        """Makes what the networks are told, or None where they are given the views alone."""
        conditioning, (width, height) = self.conditioning(), self.panorama_size
        return Conditioner(conditioning, height, width) if conditioning.needed else None

    def model(self) -> ModelConfig:
        """The networks' architecture."""
        ssdd = self.ssdd
        encoder = EncoderConfig(ssdd.encoder, ssdd.encoder_width)
        extract = (self.aux_losses.repa or RepaConfig).i_extract
        conditioning = self.conditioning()
        return ModelConfig(
            encoder,
            DecoderConfig.named(
                ssdd.decoder,
                encoder.channels,
                extract,
                padding=ssdd.padding,
                extra_channels=conditioning.channels,
                residual=conditioning.prior == "stitch",
                shot_numbers=len(SHOT) if conditioning.warp else 0,
            ),
            FusionConfig(
                type=ssdd.fusion_type,
                channels=encoder.channels,
                axes=[[round(x, 9) for x in c.axis.tolist()] for c in self.rig().cameras],
                hidden=ssdd.fusion_hidden_dim,
                view_encoding=ssdd.view_encoding_type if ssdd.use_view_encoding else None,
                padding=ssdd.padding,
            ),
            conditioning,
            self.panorama_size,
        )
