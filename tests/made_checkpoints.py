"""Checkpoints of tiny networks with random weights, as training writes them."""

from pathlib import Path

import torch

from spidereye.checkpoint import Checkpoint, save_checkpoint
from spidereye.config import Config
from spidereye.config_files import config_to_dict
from spidereye.model import SpiderEyeModel


def tiny_config(fusion: str = "spherical") -> Config:
    """Views of 32 pixels to 64x32, one step. spherical: with all that geometry tells; else the
    documented networks, given the views alone."""
    config = Config()
    config.dataset.im_size, config.dataset.f_pix_size = 32, 560
    config.aux_losses.repa = None
    ssdd = config.ssdd
    ssdd.decoder_image_size, ssdd.decoder, ssdd.encoder_width = [64, 32], "XXS", 16
    ssdd.fusion_type, ssdd.compile, ssdd.fm_sampler.steps = fusion, False, 1
    if fusion == "spherical":
        ssdd.padding, ssdd.condition, ssdd.prior = "sphere", "latent+warp", "stitch"
        ssdd.refine = ["gain"]
    return config


def tiny_checkpoint(folder: Path, fusion: str = "spherical", spread: float = 0.02) -> Path:
    """Writes one; `raw` and `ema` are different networks. No weight is zero, as some are at the
    start of training, so that each has a say.

    spread: of what is added to each weight; 0 leaves spherical ones at what their flow starts from,
    the sharpened stitch."""
    config, made = tiny_config(fusion), []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = SpiderEyeModel(config.model())
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                # What leads straight to the velocity counts eightfold.
                own = spread / 8 if "straight" in name else spread
                parameter += own * torch.randn_like(parameter)
        made.append(model.state_dict())
    save_checkpoint(folder, Checkpoint(made[0], made[1], config_to_dict(config)))
    return folder
