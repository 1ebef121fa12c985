"""ffmpeg's v360 filter through PyAV, and our plans for the planes of its pixel formats.

Part of benchmarks/stitch.py, which runs and prints it. What v360 (libavfilter 11) does with
dfisheye input, read off ramps sent through it: the left half of the frame looks back, the right
half forward, both upright; angle 95° of a 190° lens lies at radius 511.5 about (511.5, 511.5),
pixel centres at integers; every pixel comes from the lens on its side of the sphere. Its angles are
float32 arc cosines, which are up to 0.1 pixel off near the axes.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction

import av
import av.filter
import numpy as np

from spidereye.camera import Crop
from spidereye.frame_stitching import FramePlan
from spidereye.lenses.families import family
from spidereye.rig import NAMED_RIGS, Rig
from spidereye.view_sampling import Kernel

SIDE, FOV = 1024, 190.0

# Of each pixel format: by how much its planes are smaller than the frame.
PLANES = {"yuv420p": (1, 2, 2), "gbrp": (1, 1, 1)}


def dual_fisheye(radius: float) -> Rig:
    """dual190 in one frame, back and front side by side.   radius: pixels at 95°."""
    lens = family("equidistant", math.radians(FOV / 2), radius, SIDE)
    cameras = [
        replace(camera, lens=lens, crop=Crop(0, left, 0, SIDE, SIDE, 2 * SIDE, SIDE))
        for camera, left in zip(NAMED_RIGS["dual190"]().cameras, (SIDE, 0), strict=True)
    ]
    return Rig(tuple(cameras))


def frame_of(picture: np.ndarray, pixel_format: str) -> av.VideoFrame:
    """A decoded frame [h, w, 3] RGB in another pixel format."""
    frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
    return frame.reformat(format=pixel_format)


def planes_of(frame: av.VideoFrame) -> list[np.ndarray]:
    """The planes [h, w] of a frame, where they are."""
    return [
        np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
        for plane in frame.planes
    ]


def v360(frame: av.VideoFrame, threads: int) -> Callable[[], av.VideoFrame]:
    """One frame through the filter, whose maps are made at the first call."""
    graph = av.filter.Graph()
    graph.threads = threads
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 30)
    )
    size = f"w={2 * SIDE}:h={SIDE}"
    how = f"dfisheye:e:ih_fov={FOV:g}:iv_fov={FOV:g}:interp=line:{size}"
    step, sink = graph.add("v360", how), graph.add("buffersink")
    source.link_to(step)
    step.link_to(sink)
    graph.configure()

    def run() -> av.VideoFrame:
        frame.pts = 0
        graph.push(frame)
        made = graph.pull()
        assert isinstance(made, av.VideoFrame) and made.format.name == frame.format.name
        return made

    return run


def planner(
    rig: Rig, pixel_format: str, kernel: Kernel
) -> Callable[[Sequence[np.ndarray]], list[np.ndarray]]:
    """Ours for the same: planes of a frame to planes of the panorama, unblended."""
    plans = {
        shrink: FramePlan.for_files(
            rig.cameras,
            [0, 0],
            [(2 * SIDE // shrink, SIDE // shrink)],
            SIDE // shrink,
            2 * SIDE // shrink,
            kernel=kernel,
            blend="none",
        )
        for shrink in set(PLANES[pixel_format])
    }

    def run(planes: Sequence[np.ndarray]) -> list[np.ndarray]:
        return [
            plans[shrink]([plane])
            for shrink, plane in zip(PLANES[pixel_format], planes, strict=True)
        ]

    return run


def libavfilter() -> dict[str, str]:
    """PyAV's version and that of the library with the filter."""
    version = ".".join(map(str, av.library_versions["libavfilter"]))
    return {"av": av.__version__, "libavfilter": version}
