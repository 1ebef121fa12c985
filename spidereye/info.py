"""`spidereye info`: what is installed, how large the networks are, which weights are here."""

import platform
from importlib.metadata import version

import torch
from rich.console import Console
from rich.table import Table

from spidereye.config_files import config_names
from spidereye.decoder import SIZES, DecoderConfig
from spidereye.errors import SpiderEyeError
from spidereye.model import ModelConfig, build_on_meta, parameter_count
from spidereye.weight_files import WEIGHT_FILES, find


def print_info() -> None:
    """Everything on stdout; the counts come from networks that are built, not from a table."""
    console = Console(soft_wrap=True, highlight=False)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU only"
    console.print(
        f"spidereye {version('spidereye')}, Python {platform.python_version()}, "
        f"PyTorch {torch.__version__}, {device}"
    )
    console.print(f"configurations: {', '.join(config_names())}")
    table = Table(title="parameters, millions (encoder f8c4, C = 4)", title_justify="left")
    for column in ("decoder", "levels", "blocks", "heads", "decoder M", "encoder M"):
        table.add_column(column, justify="left" if column == "decoder" else "right")
    for size in SIZES:
        config = DecoderConfig.named(size)
        model = build_on_meta(ModelConfig(decoder=config))
        table.add_row(
            size,
            " ".join(map(str, config.widths)),
            str(config.blocks),
            str(config.heads),
            f"{parameter_count(model.decoder) / 1e6:.2f}",
            f"{parameter_count(model.encoder) / 1e6:.2f}",
        )
    console.print(table)
    for key, file in WEIGHT_FILES.items():
        try:
            state = f"found at {find(key)}"
        except SpiderEyeError as error:
            state = f"missing: {error}"
        console.print(f"{file.file_name}: {state}", markup=False)
