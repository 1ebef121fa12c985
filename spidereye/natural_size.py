"""How large a panorama of given pictures should be: as fine as they are."""

from collections.abc import Sequence

from spidereye.coverage import angular_resolution
from spidereye.rig import Rig
from spidereye.shots import calibrated_sizes, files_of


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
