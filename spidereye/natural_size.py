"""How large a panorama of given pictures should be: as fine as they are."""

from collections.abc import Sequence
from numbers import Integral

from spidereye.coverage import angular_resolution
from spidereye.errors import SpiderEyeError
from spidereye.rig import Rig
from spidereye.shots import calibrated_sizes, files_of

WIDEST = 16384  # pixels of a panorama: wider ones do not fit into the memory of most machines


def checked_size(size: object, twice: bool = True) -> tuple[int, int]:
    """(W, H) as it is. Raises SpiderEyeError for what is no size of a panorama.

    twice: whether W has to be 2H; else that is for others to say."""
    if isinstance(size, Sequence) and len(size) == 2:
        width, height = size
        if isinstance(width, Integral) and isinstance(height, Integral):
            width, height = int(width), int(height)
            if width <= WIDEST and (not twice or width == 2 * height > 0):
                return width, height
    raise SpiderEyeError(
        "the size of a panorama is (W, H) in pixels with W = 2H, as (1024, 512), and at most "
        f"{WIDEST} wide, got {size!r}"
    )


def natural_width(rig: Rig, file_widths: Sequence[int | None]) -> int:
    """A panorama as fine as the views are on average over what they see, in whole 64s. None for the
    width of a file that is missing."""
    finest = 0.0
    calibrated = [width for width, _ in calibrated_sizes(rig)]
    for camera, file in zip(rig.cameras, files_of(rig), strict=True):
        # With too few files read_shot explains it; the width is of no matter then.
        given = file_widths[file] if file < len(file_widths) else None
        if given is not None:
            finest = max(finest, angular_resolution(camera).mean * given / calibrated[file])
    return max(64, 64 * round(360 * finest / 64))
