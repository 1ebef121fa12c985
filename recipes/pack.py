"""A trained checkpoint to the folder that comes with the package: EMA weights in half precision and
the configuration that tells what they are, without any path of the machine.

    python recipes/pack.py runs/jobs/NAME/last -o spidereye/released/NAME
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from spidereye.checkpoint import read_config, read_weights, save_for_use
from spidereye.config import DatasetConfig
from spidereye.errors import SpiderEyeError

LARGEST = 20 * 2**20  # bytes


def without_paths(config: dict[str, Any]) -> dict[str, Any]:
    """The configuration as it describes the networks, not the run that made them."""
    dataset = config["dataset"] | {"imagenet_root": DatasetConfig.imagenet_root}
    dataset |= {"root": None, "cache": False, "draws": None, "limit": None}
    dataset |= dict.fromkeys(("video_root", "shards_train", "shards_val", "shard_cache"))
    ssdd = config["ssdd"] | {"checkpoint": None, "encoder_checkpoint": None}
    # A student takes one step, wherever its teacher is; without a teacher it cannot say so.
    if config["distill_teacher"]:
        ssdd["fm_sampler"] = config["ssdd"]["fm_sampler"] | {"steps": 1}
    changed = {"run_name": None, "runs_dir": "runs", "task": "train", "distill_teacher": False}
    return config | changed | {"dataset": dataset, "ssdd": ssdd}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    arguments = parser.parse_args()
    try:
        weights = read_weights(arguments.checkpoint, "ema")
        config = without_paths(read_config(arguments.checkpoint))
        save_for_use(arguments.output, weights, config)
    except SpiderEyeError as error:
        sys.exit(f"error: {error}")
    size = (arguments.output / "ema.safetensors").stat().st_size
    if size > LARGEST:
        sys.exit(f"error: {size / 2**20:.1f} MB are too large to come with the package")
    count = sum(part.numel() for part in weights.values())
    print(f"{arguments.output}: {count / 1e6:.2f} M parameters, {size / 2**20:.2f} MB")


if __name__ == "__main__":
    main()
