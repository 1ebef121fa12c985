"""The commands that make panoramas of views: every one a few lines over a verb."""

from pathlib import Path
from typing import Annotated

import typer

Checkpoint = Annotated[str | None, typer.Option(help="folder, run_name[@best|@last] or .onnx file")]
Method = Annotated[str, typer.Option(help="model | geometric")]
Steps = Annotated[int | None, typer.Option(help="model: sampler steps", min=1)]
Seed = Annotated[int, typer.Option(help="model: of the sampler's noise", min=0)]
RigName = Annotated[
    str | None,
    typer.Option(help="file or name; default: the checkpoint's, or spider4"),
]
Size = Annotated[
    str | None,
    typer.Option(help="of the panorama, as 1024x512; default: as fine as the views, or as trained"),
]
FPix = Annotated[float, typer.Option(help="spider4: focal length in pixels …")]
FPixSize = Annotated[int, typer.Option(help="spider4: … of a view this wide")]
Xi = Annotated[float, typer.Option(help="spider4: UCM ξ")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")]
Precision = Annotated[str, typer.Option(help="model: fp32 | bf16")]
Compile = Annotated[
    bool, typer.Option("--compile", help="model: by torch.compile, for GPUs; takes minutes first")
]
Refine = Annotated[
    str | None,
    typer.Option(
        help="from the overlaps: gain | rotation | gain,rotation | none; default: as trained",
        metavar="WHAT",
    ),
]
ReferenceView = Annotated[
    str | None,
    typer.Option(help="with --refine: this view's exposure and pose stay", metavar="NAME"),
]
KernelName = Annotated[str, typer.Option(help="geometric: lanczos | bicubic | bilinear")]


def stitch(
    images: Annotated[
        list[Path],
        typer.Argument(
            help="the views by name (`*_front.*`) or in the rig's order; - for one missing"
        ),
    ],
    output: Annotated[
        Path, typer.Option("-o", "--output", help="panorama file; with --batch: folder")
    ],
    checkpoint: Checkpoint = None,
    method: Method = "model",
    weights: Annotated[str, typer.Option(help="ema | raw")] = "ema",
    steps: Steps = None,
    seed: Seed = 0,
    rig: RigName = None,
    size: Size = None,
    f_pix: FPix = 220.0,
    f_pix_size: FPixSize = 560,
    xi: Xi = 0.85,
    device: Device = "cpu",
    precision: Precision = "fp32",
    compile: Compile = False,
    refine: Refine = None,
    reference_view: ReferenceView = None,
    blend: Annotated[str, typer.Option(help="geometric: feather | multiband | none")] = "feather",
    kernel: KernelName = "lanczos",
    mask: Annotated[
        Path | None, typer.Option(help="PNG to write: 255 seen, 0 filled", metavar="PATH")
    ] = None,
    batch: Annotated[
        bool, typer.Option("--batch", help="every shot in folders or patterns, to a folder")
    ] = False,
    suffix: Annotated[
        str | None, typer.Option("--format", help="with --batch: jpg (default) | png | webp | tif")
    ] = None,
) -> None:
    """The views of one shot to one panorama file, or with --batch of many shots to a folder.

    Examples:

        spidereye stitch front.jpg right.jpg back.jpg left.jpg -o pano.jpg --method geometric

        spidereye stitch shots/ -o panoramas/ --batch --rig rig.yaml --checkpoint mine@best
    """
    from spidereye.errors import SpiderEyeError
    from spidereye.stitch_files import stitch_files
    from spidereye.stitch_job import StitchJob, size_from
    from spidereye.stitch_many import stitch_shots

    job = StitchJob(
        images, output, method, checkpoint, weights, steps, seed, rig,
        None if size is None else size_from(size), f_pix, f_pix_size, xi, device, precision,
        compile, refine, reference_view, blend, kernel, mask, batch,
    )  # fmt: skip
    if batch:
        stitch_shots(job, f".{(suffix or 'jpg').lstrip('.')}")
    elif suffix is not None:
        raise SpiderEyeError("--format goes with --batch: one panorama is what -o ends in")
    else:
        stitch_files(job)


def video(
    videos: Annotated[
        list[Path], typer.Argument(help="the views by name (`*_front.*`) or in the rig's order")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="an .mp4 file")],
    checkpoint: Checkpoint = None,
    method: Method = "model",
    rig: RigName = None,
    size: Size = None,
    offset: Annotated[
        list[str] | None,
        typer.Option(help="seconds to add to a view's times; repeatable", metavar="VIEW=SECONDS"),
    ] = None,
    audio: Annotated[
        str | None,
        typer.Option(help="the view whose sound is kept, or none; default: the first with any"),
    ] = None,
    start: Annotated[float, typer.Option(help="seconds after the videos' first moment")] = 0.0,
    seconds: Annotated[float | None, typer.Option(help="how long; default: to the end")] = None,
    codec: Annotated[str, typer.Option(help="h264 | hevc | av1")] = "h264",
    crf: Annotated[
        int, typer.Option(help="the encoder's quality: 0 (av1: 1) best … 51 worst")
    ] = 18,
    refine: Refine = None,
    reference_view: ReferenceView = None,
    kernel: KernelName = "lanczos",
    f_pix: FPix = 220.0,
    f_pix_size: FPixSize = 560,
    xi: Xi = 0.85,
    steps: Steps = None,
    seed: Seed = 0,
    smooth: Annotated[
        bool, typer.Option(help="model: even out the noise of what does not change")
    ] = True,
    device: Device = "cpu",
    precision: Precision = "fp32",
    compile: Compile = False,
) -> None:
    """The videos of a rig's views to one 360° video. Ctrl-C leaves what was done, playable;
    the same command goes on.

    Example:

        spidereye video front.mp4 right.mp4 back.mp4 left.mp4 -o pano.mp4 --method geometric
    """
    from spidereye.stitch_job import StitchJob, size_from
    from spidereye.video_job import VideoJob, stitch_videos

    job = StitchJob(
        videos, output, method, checkpoint, steps=steps, seed=seed, rig=rig,
        size=None if size is None else size_from(size), f_pix=f_pix, f_pix_size=f_pix_size, xi=xi,
        device=device, precision=precision, compile=compile, refine=refine,
        reference_view=reference_view, kernel=kernel,
    )  # fmt: skip
    stitch_videos(VideoJob(job, offset or [], audio, codec, crf, start, seconds, smooth))
