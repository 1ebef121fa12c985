"""`spidereye data …`: check, split, measure, pack, make and fetch panoramas."""

from pathlib import Path
from typing import Annotated

import typer

data_app = typer.Typer(no_args_is_help=True, help="Prepare panoramas for training.")


@data_app.command()
def polyhaven(
    n: Annotated[int, typer.Option("--n", help="how many panoramas")] = 100,
    resolution: Annotated[str, typer.Option(help="1k, 2k, 4k, 8k, … or the next lower")] = "1k",
    output: Annotated[Path, typer.Option("-o", "--output")] = Path("data/polyhaven"),
    val: Annotated[float, typer.Option(help="share of the places that goes to val/")] = 0.1,
    seed: Annotated[int, typer.Option(help="of the choice and of the split")] = 0,
    jobs: Annotated[int, typer.Option(help="downloads at a time")] = 4,
    file_format: Annotated[str, typer.Option("--format", help="jpg or png")] = "jpg",
    keep_hdr: Annotated[bool, typer.Option("--keep-hdr", help="keep the downloads")] = False,
    api: Annotated[str | None, typer.Option(help="address of a mirror of the API")] = None,
) -> None:
    """Download CC0 panoramas of Poly Haven, tone mapped, into train/ and val/ by place.

    Example:

        spidereye data polyhaven --n 100 --resolution 1k -o panoramas
    """
    from rich.console import Console

    from spidereye.polyhaven import POLY_HAVEN, Collection, collect

    console = Console(stderr=True)
    wanted = Collection(
        output, n, resolution, val, seed, jobs, file_format, keep_hdr, api or POLY_HAVEN
    )
    collect(wanted, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))


@data_app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="of pictures, videos or shards, in any depth")],
    min_width: Annotated[int, typer.Option(help="pixels a panorama must have", min=0)] = 0,
    decode: Annotated[bool, typer.Option("--decode", help="decode everything too")] = False,
) -> None:
    """List every file that cannot be used. Exit code 0: all good, 1: some are listed, 2: error.

    JPEGs have no checksums: of damage within them --decode finds data that is missing or makes no
    sense, and not other bytes that do make sense.

    Example:

        spidereye data check panoramas
    """
    from spidereye.data_check import check_files

    report = check_files(folder, min_width, decode)
    for complaint in report.bad:
        print(complaint)
    print(report.summary())
    raise typer.Exit(1 if report.bad else 0)


@data_app.command()
def split(
    folder: Annotated[Path, typer.Argument(help="of panoramas or videos")],
    output: Annotated[Path, typer.Option("-o", "--output", help="gets train/ and val/")],
    val: Annotated[float, typer.Option(help="share of the places that goes to val/")] = 0.1,
    seed: Annotated[int, typer.Option(help="another one draws other places", min=0)] = 0,
    places: Annotated[str, typer.Option(help="what shows one place: folder | name | file")] = (
        "folder"
    ),
    link: Annotated[bool, typer.Option("--link/--copy", help="symbolic links, or copies")] = True,
) -> None:
    """Put panoramas into train/ and val/, all those of one place into the same.

    Example:

        spidereye data split pictures -o panoramas
    """
    from spidereye.data_split import assign, unusable, write_split

    assignments = assign(folder, val, seed, places)
    if bad := unusable(assignments):
        typer.echo(
            f"WARNING: {bad} of them cannot be used; `spidereye data check {folder}` lists them",
            err=True,
        )
    new = write_split(assignments, output, link)
    for name in ("train", "val"):
        mine = [item for item in assignments if item.split == name]
        count = len({item.place for item in mine})
        print(f"{output / name}: {len(mine)} files of {count} places, {new[name]} new")


@data_app.command()
def stats(
    folder: Annotated[Path, typer.Argument(help="with train/ and val/, or without")],
    frame_interval: Annotated[int, typer.Option(help="of videos", min=1)] = 24,
    json_file: Annotated[Path | None, typer.Option("--json", help="write the numbers here")] = None,
) -> None:
    """Count panoramas, sizes and formats, and measure their colours.

    Example:

        spidereye data stats panoramas
    """
    import json

    from rich.console import Console

    from spidereye.data_stats import as_table, measure
    from spidereye.whole_files import check_place, write_whole

    if json_file is not None:
        check_place(json_file)
    measured = measure(folder, frame_interval)
    Console().print(as_table(measured))
    if json_file is not None:
        values = {name: one.as_dict() for name, one in measured.items()}
        write_whole(json_file, json.dumps(values, indent=2) + "\n")


@data_app.command()
def shards(
    folder: Annotated[Path, typer.Argument(help="with train/ and val/")],
    output: Annotated[Path, typer.Option("-o", "--output", help="gets train/ and val/ of tars")],
    shard_size: Annotated[str, typer.Option(help="of a tar at most: 500MB, 2GB …")] = "1GB",
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="leave out bad files")] = False,
) -> None:
    """Pack panoramas into WebDataset tars, which dataset.type=shards reads.

    Example:

        spidereye data shards panoramas -o shards
    """
    from spidereye.data_shards import write_shards

    print(f"{write_shards(folder, output, shard_size, skip_bad)} shards in {output}")


@data_app.command()
def synth(
    output: Annotated[Path, typer.Option("-o", "--output", help="folder to be made")],
    n: Annotated[int, typer.Option("--n", help="scenes in train/")] = 100,
    val: Annotated[int, typer.Option(help="scenes in val/")] = 12,
    width: Annotated[int, typer.Option(help="of a panorama, in pixels")] = 1024,
    rig: Annotated[str | None, typer.Option(help="rig file or name: make its views too")] = None,
    baseline: Annotated[
        float | None, typer.Option(help="metres from the centre to each camera, along its axis")
    ] = None,
    view_size: Annotated[
        int | None, typer.Option(help="pixels across square views; default: as in the rig", min=2)
    ] = None,
    depth: Annotated[str, typer.Option(help="npy (metres) or png (millimetres): depth too")] = "",
    seed: Annotated[int, typer.Option(help="other seeds, other scenes")] = 0,
    jobs: Annotated[int, typer.Option(help="processes; the pictures are the same for any")] = 1,
) -> None:
    """Make procedural panoramas in train/ and val/, and a rig's views of them with parallax.

    Example:

        spidereye data synth -o scenes --rig rig.yaml --baseline 0.1
    """
    from spidereye.errors import SpiderEyeError
    from spidereye.rig import off_centre
    from spidereye.rig_files import load_rig
    from spidereye.synth import Synthesis, synthesise

    cameras = None if rig is None else load_rig(rig)
    if cameras is None and (baseline is not None or view_size is not None):
        raise SpiderEyeError("--baseline and --view-size are for views: give a rig with --rig")
    if cameras is not None and view_size is not None:
        cameras = cameras.squared(view_size)
    if cameras is not None and baseline is not None:
        cameras = off_centre(cameras, baseline)
    print(synthesise(Synthesis(output, n, val, width, cameras, seed, depth), jobs))
