"""SpiderEye: N fisheye views to one 360° panorama.

from spidereye import Stitcher
views = ["front.jpg", "right.jpg", "back.jpg", "left.jpg"]
panorama = Stitcher.load("runs/jobs/mine/best")(views).picture
"""

from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from spidereye.cpu import wait_briefly

wait_briefly()  # before anything of ours imports PyTorch, which asks once

if TYPE_CHECKING:
    from spidereye.stitcher import Stitcher

    __version__: str

__all__ = ["Stitcher", "__version__"]

if not TYPE_CHECKING:  # which would take any name for one of ours

    def __getattr__(name: str) -> Any:
        # Looked up on first use, so that importing the package does not import PyTorch.
        if name == "Stitcher":
            from spidereye.stitcher import Stitcher

            return Stitcher
        if name == "__version__":
            return version("spidereye")
        raise AttributeError(f"module 'spidereye' has no attribute {name!r}")
