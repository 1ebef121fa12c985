"""Small videos that tests make, whole and damaged, and what PyAV alone decodes from them."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

GROUP = 8  # frames from keyframe to keyframe
RATE = Fraction(1, 10)  # seconds from frame to frame


def frame(number: int, size: tuple[int, int] = (64, 32)) -> np.ndarray:
    """A picture that no other number has."""
    coarse = np.random.default_rng(number).integers(0, 256, (4, 8, 3), dtype=np.uint8)
    return coarse.repeat(size[1] // 4, 0).repeat(size[0] // 8, 1)


def write_video(
    path: Path,
    count: int = 30,
    codec: str = "ffv1",
    pixels: str = "bgr0",
    sizes: tuple[tuple[int, int], ...] = ((64, 32),),
    **options: str,
) -> Path:
    """`count` frames, 10 a second, of each of the sizes one after another."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=10, options=options)
        stream.pix_fmt = pixels
        stream.width, stream.height = sizes[0]
        stream.codec_context.gop_size = GROUP
        for part, size in enumerate(sizes):
            context = stream.codec_context
            if part:  # another encoder's packets in the same stream
                context = av.CodecContext.create(codec, "w")
                context.width, context.height, context.pix_fmt = *size, pixels
                context.time_base = RATE
                context.open()
            for number in range(part * count, (part + 1) * count):
                picture = av.VideoFrame.from_ndarray(frame(number, size), format="rgb24")
                picture.pts, picture.time_base = number, RATE
                mux(container, stream, context.encode(picture))
            mux(container, stream, context.encode(None))
    return path


def mux(container, stream, packets) -> None:
    """Write packets of whatever encoder as the stream's."""
    for packet in packets:
        packet.stream = stream
        container.mux(packet)


def decoded_at_once(path: Path) -> list[np.ndarray]:
    """All frames by one pass of PyAV alone."""
    with av.open(str(path)) as container:
        return [one.to_ndarray(format="rgb24") for one in container.decode(video=0)]


def packets(path: Path) -> list[tuple[int, int]]:
    """Place and size of the packets in the file, bytes."""
    with av.open(str(path)) as container:
        return [(one.pos, one.size) for one in container.demux(video=0) if one.size]


def damage(path: Path, number: int) -> None:
    """Zeros over a packet's bytes, but for its head."""
    place, size = packets(path)[number]
    data = bytearray(path.read_bytes())
    data[place + 20 : place + size] = bytes(size - 20)
    path.write_bytes(data)
