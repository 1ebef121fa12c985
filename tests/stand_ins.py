"""A folder with small stand-ins for what the pages' commands name: views, videos, shots, panoramas,
calibrations, rigs, and runs that look trained."""

import shutil
from pathlib import Path

import numpy as np
import torch
from calibration_samples import KALIBR, OPENCV_JSON
from made_shots import small_rig, taken, world
from PIL import Image

from spidereye.checkpoint import Checkpoint, save_checkpoint
from spidereye.config_files import config_to_dict, load_config
from spidereye.model import SpiderEyeModel
from spidereye.pictures import to_uint8
from spidereye.rig import NAMED_RIGS, Rig
from spidereye.rig_files import write_rig
from spidereye.scenes.scene import Scene

NAMES = ("front", "right", "back", "left")
# What makes a configuration small enough to train in seconds: its networks, and its work.
SMALL_NETWORKS = [
    "dataset.im_size=32",
    "ssdd.decoder_image_size=[64,32]",
    "ssdd.decoder=XXS",
    "ssdd.encoder_width=16",
    "ssdd.compile=false",
    "aux_losses.lpips=false",
    "aux_losses.repa=null",
]
SHORT_WORK = [
    "dataset.num_workers=0",
    "evaluation.parallax_scenes=1",
    "training.mixed_precision=no",
    "show_samples=1",
]
SHORT_TRAINING = [
    "dataset.batch_size=2",
    "dataset.parallax_share=0",
    "training.max_steps=2",
    "training.trackers=[]",
]
FEW_SCENES = ["dataset.scene_count_train=4", "dataset.scene_count_val=2"]


def make_stand_ins(folder: Path) -> Path:
    """Fill the folder."""
    save(folder / "pano.jpg", Scene.random(2).panorama(128))
    for split, count in (("train", 3), ("val", 2)):
        for number in range(count):
            picture = Scene.random(number + 3 * (split == "val")).panorama(128)
            save(folder / "panoramas" / split / f"place{number}.png", picture)
    for number in range(20):  # enough for a split to have two sides
        save(folder / "pictures" / f"room{number} hall.png", np.full((64, 128, 3), 10 * number))
    for number in range(3):
        for name, view in zip(NAMES, pictures(small_rig(), number), strict=True):
            save(folder / "shots" / f"000{number}" / f"{name}.jpg", view)
    for name in NAMES:
        shutil.copy(folder / "shots" / "0000" / f"{name}.jpg", folder / f"{name}.jpg")
        (folder / f"{name}.yaml").write_text(OPENCV_JSON, encoding="utf-8")
    (folder / "camchain.yaml").write_text(KALIBR, encoding="utf-8")
    write_rig(small_rig(), folder / "rig.yaml")
    three = NAMED_RIGS["tri190"]().squared(96)
    write_rig(three, folder / "three.yaml")
    for name, view in zip("abc", pictures(three), strict=True):
        save(folder / f"{name}.jpg", view)
    save(folder / "dual.jpg", np.hstack(pictures(NAMED_RIGS["dual190"]().squared(192))))
    (folder / "configs").mkdir()
    (folder / "configs" / "car.yaml").write_text(
        "defaults: [SpiderEye360, _self_]\ndataset: {root: panoramas}\n", encoding="utf-8"
    )
    for name in ("mine", "quick"):
        _run(folder / "runs" / "jobs" / name / "best", is_student=name == "quick")
    return folder


def pictures(rig: Rig, seed: int = 0) -> list[np.ndarray]:
    """A rig's views of a made world."""
    views = taken(world(seed), rig, seed=1)
    return [to_uint8(view[0]).permute(1, 2, 0).contiguous().numpy() for view in views]


def save(path: Path, picture: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture.astype(np.uint8)).save(path, quality=95)


def _run(folder: Path, is_student: bool) -> None:
    """A checkpoint as training leaves it, of networks that have learned nothing yet."""
    config = load_config("SpiderEye360", [*SMALL_NETWORKS, "dataset.root=panoramas"])
    if is_student:
        config.distill_teacher, config.ssdd.checkpoint = True, "mine@best"
    torch.manual_seed(0)
    weights = SpiderEyeModel(config.model()).state_dict()
    save_checkpoint(folder, Checkpoint(weights, weights, config_to_dict(config)))
