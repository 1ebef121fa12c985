"""Third-party weight files: which there are, where they are looked for, how they are read.

Layer: below networks. These are the only pickled files SpiderEye ever reads, always with
weights_only=True. Nothing is downloaded here: a missing file is an error that says from where, to
which folder, and how to do without it.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from torch import Tensor

from spidereye.errors import SpiderEyeError


@dataclass(frozen=True)
class WeightFile:
    """One third-party file.

    name: what the file holds, for messages
    file_name: its name on disk
    url: where it comes from
    used_for: the loss term or metric that needs it
    without: how to run without it
    other_names: names under which other tools keep the same bytes
    """

    name: str
    file_name: str
    url: str
    used_for: str
    without: str
    other_names: tuple[str, ...] = ()


WEIGHT_FILES: Final[dict[str, WeightFile]] = {
    "vgg16": WeightFile(
        name="VGG16",
        file_name="vgg16-397923af.pth",
        url="https://download.pytorch.org/models/vgg16-397923af.pth",
        used_for="the LPIPS training loss",
        without="or turn this loss off with aux_losses.lpips=false",
    ),
    "alexnet": WeightFile(
        name="AlexNet",
        file_name="alexnet-owt-7be5be79.pth",
        url="https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
        used_for="the metric LPIPS",
        without="without it the table's LPIPS row has no number",
    ),
    "inception": WeightFile(
        name="Inception v3 of 2015",
        file_name="pt_inception-2015-12-05-6726825d.pth",
        url="https://github.com/mseitzer/pytorch-fid/releases/download/fid_weights/"
        "pt_inception-2015-12-05-6726825d.pth",
        used_for="the metric FID",
        without="without it the table's FID row has no number",
        # torch-fidelity's name: the same file, by the hash that both names carry.
        other_names=("weights-inception-2015-12-05-6726825d.pth",),
    ),
}


def weight_folders() -> list[Path]:
    """The folders that are searched, first match wins.

    $SPIDEREYE_WEIGHTS where set, ~/.cache/spidereye/weights, torch hub's checkpoints folder.
    Raises SpiderEyeError where $SPIDEREYE_WEIGHTS is no folder.
    """
    folders = [
        Path.home() / ".cache" / "spidereye" / "weights",
        Path(torch.hub.get_dir()) / "checkpoints",
    ]
    chosen = os.environ.get("SPIDEREYE_WEIGHTS")
    if chosen:
        if not Path(chosen).is_dir():
            raise SpiderEyeError(
                f"SPIDEREYE_WEIGHTS={chosen} is not a folder; set it to the folder that holds "
                f"{', '.join(file.file_name for file in WEIGHT_FILES.values())}, or unset it"
            )
        folders.insert(0, Path(chosen))
    return folders


def find(name: str) -> Path:
    """The path of a file of WEIGHT_FILES, by its key there.

    Raises SpiderEyeError naming the file, its address, the folders looked at and the way without.
    """
    file = WEIGHT_FILES[name]
    folders = weight_folders()
    for folder in folders:
        for file_name in (file.file_name, *file.other_names):
            if (folder / file_name).is_file():
                return folder / file_name
    raise SpiderEyeError(
        f"{file.used_for} needs {file.file_name} ({file.name}), found in none of "
        f"{', '.join(map(str, folders))}; download {file.url} into one of these folders, "
        f"{file.without}"
    )


def load_state(name: str) -> dict[str, Tensor]:
    """The tensors of a file of WEIGHT_FILES, on the CPU. Raises SpiderEyeError like `find`, and
    for a damaged file."""
    return read_tensors(find(name), f"download {WEIGHT_FILES[name].url} again")


def read_tensors(path: Path, remedy: str) -> dict[str, Tensor]:
    """A `.pth` file's dict of tensors, on the CPU.

    remedy: what to do about a damaged file, for the message. Raises SpiderEyeError.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler meets damaged bytes with nearly any exception
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise SpiderEyeError(f"{path} cannot be read ({reason}); {remedy}") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise SpiderEyeError(
            f"{path} should hold named tensors and nothing else, found {type(state).__name__} "
            f"with other things; {remedy}"
        )
    return {key: value.detach() for key, value in state.items()}
