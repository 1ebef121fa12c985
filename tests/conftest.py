"""Where the shared files are, and small things that several tests need."""

import os
import warnings
from pathlib import Path

import pytest

import spidereye  # noqa: F401  before PyTorch, which asks for its settings once

import torch  # isort: skip

# The tests' networks are tiny and run side by side (-n); more threads would only wait for others.
torch.set_num_threads(1)
os.environ["OMP_NUM_THREADS"] = "1"  # what tests start

SHARED = os.environ.get("SPIDEREYE_SHARED")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder named by SPIDEREYE_SHARED; without it the test skips, and says so at the end."""
    if not SHARED:
        pytest.skip("SPIDEREYE_SHARED is not set: this test needs the shared reference files")
    path = Path(SHARED)
    if not path.is_dir():
        pytest.fail(f"SPIDEREYE_SHARED={SHARED} is not a folder")
    return path


def pytest_terminal_summary(terminalreporter) -> None:
    if not SHARED:
        message = "SPIDEREYE_SHARED is not set: golden and real-panorama tests were SKIPPED"
        warnings.warn(message, stacklevel=1)
        terminalreporter.write_sep("!", message, red=True, bold=True)


@pytest.fixture(scope="session")
def tiny_panoramas(tmp_path_factory) -> Path:
    """A folder with train/ (7) and val/ (5) of small smooth panoramas."""
    import numpy as np
    from PIL import Image

    folder = tmp_path_factory.mktemp("panoramas")
    random = np.random.default_rng(0)
    for split, count in (("train", 7), ("val", 5)):
        (folder / split).mkdir()
        for index in range(count):
            coarse = random.integers(0, 255, (4, 8, 3), dtype=np.uint8)
            picture = Image.fromarray(coarse).resize((64, 32), Image.Resampling.BICUBIC)
            picture.save(folder / split / f"{split}_{index}.png")
    return folder


@pytest.fixture
def tiny_overrides(tiny_panoramas, tmp_path) -> list[str]:
    """Overrides that make any named config train in a tenth of a second a step."""
    return tiny_settings(tiny_panoramas, tmp_path / "runs")


def tiny_settings(panoramas: Path, runs: Path) -> list[str]:
    """`tiny_overrides` for fixtures of another scope."""
    return [
        f"dataset.root={panoramas}",
        f"runs_dir={runs}",
        "dataset.type=folder",
        "dataset.im_size=16",
        "ssdd.decoder_image_size=[32,16]",
        "ssdd.decoder=XS",
        "ssdd.encoder_width=32",
        "ssdd.encoder_train=true",
        "ssdd.compile=false",
        "ssdd.ema.start_iter=4",
        "ssdd.fm_sampler.steps=2",
        "dataset.batch_size=2",
        "dataset.parallax_share=0",  # a near scene takes a second
        "dataset.num_workers=0",
        "aux_losses.lpips=false",
        "aux_losses.repa=null",
        "training.mixed_precision=no",
        "training.trackers=[]",
        "training.log_freq=2",
        "show_samples=2",
    ]
