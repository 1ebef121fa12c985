"""`spidereye rig …`: look at, convert, guess and refine rigs."""

from pathlib import Path
from typing import Annotated

import typer

rig_app = typer.Typer(no_args_is_help=True, help="Look at, convert, guess and refine rigs.")


@rig_app.command()
def check(
    rig: Annotated[str, typer.Argument(help="rig file, or spider4, dual190, tri190, cube6")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="map (png); default: beside the rig")
    ] = None,
) -> None:
    """Print what a rig is and sees, and draw the map of its coverage.

    Example:

        spidereye rig check rig.yaml
    """
    from spidereye.rig_report import check_rig

    check_rig(rig, output)


@rig_app.command()
def convert(
    sources: Annotated[
        list[Path], typer.Argument(help="calibration of a rig, or a file for each camera")
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="rig file")],
    form: Annotated[
        str, typer.Option("--format", help="kalibr | opencv | basalt | ocamcalib | auto")
    ] = "auto",
    names: Annotated[str | None, typer.Option(help="of the views: front,right,back,left")] = None,
    yaw: Annotated[str | None, typer.Option(help="degrees, without poses: 0,90,180,-90")] = None,
    pitch: Annotated[str | None, typer.Option(help="degrees, one or one for each view")] = None,
    roll: Annotated[str | None, typer.Option(help="degrees, one or one for each view")] = None,
    circle: Annotated[str, typer.Option(help="image circle: inscribed | diagonal | none")] = "none",
    fov: Annotated[float | None, typer.Option(help="of the image circles, degrees")] = None,
    up: Annotated[str | None, typer.Option(help="x,y,z in the first camera's frame")] = None,
) -> None:
    """Turn calibrations of other programs into a rig file.

    Example:

        spidereye rig convert camchain.yaml -o rig.yaml
    """
    from spidereye.rig_convert import ConvertOptions, convert_files

    said = ConvertOptions(form, names, yaw, pitch, roll, circle, fov, up)
    convert_files(sources, output, said)


@rig_app.command()
def guess(
    pictures: Annotated[
        list[str],
        typer.Argument(help="one name for each file of a shot; several shots: folder or 'pattern'"),
    ],
    output: Annotated[Path, typer.Option("-o", "--output", help="rig file")],
    preset: Annotated[str | None, typer.Option(help="action-cam, dual-fisheye-190 …")] = None,
    family: Annotated[
        str | None, typer.Option(help="equidistant, equisolid, stereographic, perspective …")
    ] = None,
    fov: Annotated[float | None, typer.Option(help="field of view in degrees …")] = None,
    fov_across: Annotated[
        str | None, typer.Option(help="… over circle, diagonal, width, height, or auto")
    ] = None,
    order: Annotated[str | None, typer.Option(help="front,right,back,left")] = None,
    yaw: Annotated[str | None, typer.Option(help="degrees: 0,90,180,-90")] = None,
    pitch: Annotated[str | None, typer.Option(help="degrees, one or one for each view")] = None,
    roll: Annotated[str | None, typer.Option(help="degrees, one or one for each view")] = None,
    circle: Annotated[
        list[str] | None, typer.Option(help="cx,cy,radius in pixels, where finding them fails")
    ] = None,
    up: Annotated[str | None, typer.Option(help="x,y,z in the rig's frame that is up")] = None,
    up_pixel: Annotated[str | None, typer.Option(help="VIEW,u,v: what is seen there is up")] = None,
) -> None:
    """Make a rig file without calibration: find image circles, assume a lens and an order.

    Example:

        spidereye rig guess front.jpg right.jpg back.jpg left.jpg -o rig.yaml --fov 190
    """
    from spidereye.guess_job import GuessOptions, guess_file

    said = GuessOptions(
        preset, family, fov, fov_across, order, yaw, pitch, roll, circle or (), up, up_pixel
    )
    guess_file(pictures, output, said)


@rig_app.command()
def refine(
    shots: Annotated[
        list[str],
        typer.Argument(
            help="folders or 'patterns': 0001/front.jpg, 0001_front.jpg, front/0001.jpg"
        ),
    ],
    rig: Annotated[str, typer.Option(help="rig file or name, whose poses are about right")],
    output: Annotated[Path, typer.Option("-o", "--output", help="rig file")],
    free: Annotated[str, typer.Option(help="what may change: rotation,f,centre")] = "rotation",
    reference_view: Annotated[
        str | None, typer.Option(help="keeps its pose; default: the mean of all does")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="png; default: beside the rig file")] = None,
    limit: Annotated[int, typer.Option(help="at most so many shots, taken evenly", min=1)] = 50,
) -> None:
    """Correct a rig's poses, and lenses if asked, from the overlaps of its shots.

    Example:

        spidereye rig refine shots/ --rig rig.yaml -o refined.yaml
    """
    from spidereye.rig_refine import RefineJob, refine_files

    refine_files(RefineJob(shots, rig, output, free, reference_view, plot, limit))
