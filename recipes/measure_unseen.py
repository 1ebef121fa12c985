"""How panoramas vary, from which the package tells what is expected where nobody sees: measured on
the training panoramas, CC0 only, and written into spidereye/unseen/.

    python recipes/measure_unseen.py <panoramas>             a folder with train/ and SOURCES.tsv
"""

import argparse
import sys
from pathlib import Path

import torch
from licences import training_rows
from safetensors.torch import save
from torch import Tensor

from spidereye.errors import SpiderEyeError
from spidereye.pictures import read_picture, resize_area, to_float
from spidereye.unseen.covariance import MEASURED, ROWS, Covariance
from spidereye.whole_files import write_whole


def coarse(file: Path) -> Tensor:
    """[3, h, w] in [-1, 1]."""
    return to_float(torch.from_numpy(resize_area(read_picture(file), 2 * ROWS, ROWS))).permute(
        2, 0, 1
    )


def measured(data: Path) -> Covariance:
    """Of every picture in train/."""
    files = {path.name: path for path in (data / "train").rglob("*")}
    names = [Path(row.file).name for row in training_rows(data)]  # some tables have train/ before
    return Covariance.measured(torch.stack([coarse(files[name]) for name in names]))


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("panoramas", type=Path)
    parser.add_argument("-o", "--output", type=Path, default=MEASURED)
    arguments = parser.parse_args()
    try:
        found = measured(arguments.panoramas)
        write_whole(arguments.output, save(found.tensors()))
    except (OSError, ValueError, KeyError, SpiderEyeError) as error:
        sys.exit(f"error: {error}")
    size = arguments.output.stat().st_size / 1e6
    print(f"{arguments.output}: {size:.2f} MB, of panoramas of {2 * ROWS}x{ROWS}")


if __name__ == "__main__":
    main()
