"""The command line. Every command is a few lines over a verb; errors become one line and exit 2."""

import errno
import os
import shlex
import sys
from collections.abc import Callable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import Annotated

import typer

from spidereye.cpu import collect_rarely, keep_large_buffers
from spidereye.data_commands import data_app
from spidereye.errors import SpiderEyeError
from spidereye.rig_commands import rig_app
from spidereye.serve_command import serve
from spidereye.stitch_commands import stitch, video

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    help="N fisheye views to one 360° panorama. `spidereye quickstart` shows all of it.",
)
app.add_typer(rig_app, name="rig")
app.add_typer(data_app, name="data")
app.command()(stitch)
app.command()(video)
app.command()(serve)

ConfigName = Annotated[
    str, typer.Option("-cn", "--config-name", help="SpiderEye360, SpiderEye, quickstart, or yours")
]
ConfigDir = Annotated[
    str | None, typer.Option("-cd", "--config-dir", help="folder of your own YAML configs")
]
Overrides = Annotated[
    list[str] | None, typer.Argument(help="configuration overrides: key=value", metavar="KEY=VALUE")
]


@app.command()
def train(
    overrides: Overrides = None,
    config_name: ConfigName = "SpiderEye360",
    config_dir: ConfigDir = None,
) -> None:
    """Train a model, or resume the run of that name.

    Example:

        spidereye train dataset.root=panoramas run_name=mine
    """
    from spidereye.jobs import run_job

    run_job(config_name, overrides or [], config_dir, shlex.join(["spidereye", *sys.argv[1:]]))


@app.command(name="eval")
def evaluate(
    checkpoint: Annotated[
        str | None,
        typer.Argument(help="folder, run_name[@best|@last] or hub id; or the word stitch"),
    ] = None,
    overrides: Overrides = None,
    config_name: Annotated[
        str | None,
        typer.Option("-cn", "--config-name", help="of eval stitch only; default: SpiderEye360"),
    ] = None,
    config_dir: ConfigDir = None,
) -> None:
    """Evaluate a checkpoint beside the geometric stitch, with the data it was trained for.

    `spidereye eval stitch KEY=VALUE …` evaluates the geometric stitches alone, without weights. The
    word is reserved: a run of that name is ./runs/jobs/stitch/last.

    Examples:

        spidereye eval mine@best

        spidereye eval stitch dataset.root=panoramas evaluation.protocols=[clean,jitter]
    """
    from spidereye.jobs import evaluate_checkpoint, evaluate_stitch

    given = [checkpoint] if checkpoint else []
    given += overrides or []
    if not given or ("=" in given[0] and not Path(given[0]).exists()):
        raise SpiderEyeError(
            "spidereye eval needs a checkpoint before the overrides: a folder, "
            "run_name[@best|@last] or a Hugging Face id; or the word stitch, for the geometric "
            "stitches alone"
        )
    if given[0] == "stitch":
        evaluate_stitch(config_name or "SpiderEye360", given[1:], config_dir)
    elif config_name or config_dir:
        raise SpiderEyeError(
            "-cn and -cd go with `spidereye eval stitch`; a checkpoint has its own configuration, "
            "which overrides change"
        )
    else:
        evaluate_checkpoint(given[0], given[1:])


@app.command()
def distill(
    teacher: Annotated[str, typer.Argument(help="folder, run_name[@best|@last]")],
    overrides: Overrides = None,
) -> None:
    """Teach a student in one step what its teacher makes in all of its own: training with
    distill_teacher=true and the teacher's configuration, which overrides change.

    Example:

        spidereye distill mine@best run_name=quick training.max_steps=20000
    """
    from spidereye.jobs import distill_checkpoint

    command = shlex.join(["spidereye", *sys.argv[1:]])
    distill_checkpoint(teacher, overrides or [], command)


@app.command()
def export(
    checkpoint: Annotated[str, typer.Argument(help="folder, run_name[@best|@last]")],
    output: Annotated[Path, typer.Option("-o", "--output", help=".onnx file")],
    steps: Annotated[
        int | None,
        typer.Option(help="of the sampler, in the file; default: a student's one", min=1),
    ] = None,
    batch: Annotated[
        int, typer.Option(help="shots at a time; 0: any number, which takes minutes", min=0)
    ] = 1,
    grids: Annotated[str, typer.Option(help="inputs | baked: where the views look")] = "inputs",
    weights: Annotated[str, typer.Option(help="ema | raw")] = "ema",
) -> None:
    """A checkpoint's networks as an ONNX file, checked in ONNX Runtime against PyTorch.

    Example:

        spidereye export quick@best -o quick.onnx
    """
    from spidereye.export import export_file

    print(export_file(checkpoint, output, steps, batch or None, grids, weights))


@app.command()
def views(
    panoramas: Annotated[list[str], typer.Argument(help="panorama files, folders or patterns")],
    output: Annotated[Path, typer.Option("-o", "--output", help="folder for the views")],
    rig: Annotated[str, typer.Option(help="rig file or name: spider4, dual190, …")] = "spider4",
    size: Annotated[
        int | None, typer.Option(help="square views of so many pixels; default: the rig's", min=2)
    ] = None,
    quality: Annotated[str, typer.Option(help="exact | training (faster)")] = "exact",
    suffix: Annotated[str, typer.Option("--format", help="png | jpg")] = "png",
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Render what a rig's cameras would see of panoramas, with masks.

    Example:

        spidereye views panoramas/ --rig rig.yaml -o views/
    """
    from spidereye.rig_files import load_rig
    from spidereye.view_files import render_files

    loaded = load_rig(rig) if size is None else load_rig(rig).squared(size)
    done = render_files(panoramas, loaded, output, quality, f".{suffix.lstrip('.')}", device)
    print(done.line())


@app.command()
def info() -> None:
    """Versions, parameter counts of the built networks, and which third-party weights are here."""
    from spidereye.info import print_info

    print_info()


@app.command()
def doctor() -> None:
    """What is installed here and what that turns on or off: one screen for a bug report."""
    from spidereye.doctor import print_doctor

    print_doctor()


@app.command()
def quickstart(
    data: Annotated[
        Path | None, typer.Option(help="folder with train/ and val/; default: built-in scenes")
    ] = None,
    overrides: Overrides = None,
) -> None:
    """Train a small model, evaluate it, and write a report with pictures.

    Examples:

        spidereye quickstart

        spidereye quickstart --data panoramas
    """
    from spidereye.quickstart import run_quickstart

    run_quickstart(data, overrides or [])


def launch(arguments: list[str]) -> None:
    """The documented launcher: `-cn=NAME key=value …`, for training and for task=eval."""
    launcher = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

    @launcher.command()
    def main(
        overrides: Overrides = None,
        config_name: ConfigName = "SpiderEye",
        config_dir: ConfigDir = None,
    ) -> None:
        from spidereye.jobs import run_job

        script = "accelerate launch ssdd/main_multiview.py"
        run_job(config_name, overrides or [], config_dir, f"{script} {shlex.join(arguments)}")

    _run(lambda: launcher(arguments))


def main() -> None:
    """Entry point of `spidereye`."""
    _run(app)


def _run(command: Callable[[], object]) -> None:
    """Run a command; a user's mistake, or what the system refuses, is one line and exit code 2,
    Ctrl-C is exit code 130."""
    from spidereye.interrupt import Interrupt

    collect_rarely()
    keep_large_buffers()
    if isinstance(sys.stdout, TextIOWrapper):  # names of files need not be UTF-8, terminals neither
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        try:
            command()
        except SystemExit:  # how commands end
            _flush()
            raise
    except SpiderEyeError as error:
        _fail(str(error), 2)
    except Interrupt as stop:
        _fail(str(stop), 130)
    except OSError as error:
        if error.errno is None:  # a library's own, which the system has not refused
            raise
        if error.errno == errno.EPIPE:  # whoever read has gone, and wants to hear no more
            sys.exit(1)
        file = f": {error.filename}" if error.filename else ""
        _fail(f"{error.strerror or error}{file}", 2)


def _fail(text: str, code: int) -> None:
    with suppress(OSError):  # what is said last is why
        _flush()
    print(f"spidereye: {text}", file=sys.stderr, flush=True)
    sys.exit(code)


def _flush() -> None:
    """Write what was printed and is held back. Where that fails, nothing is left of it: else the
    interpreter would try again at its end, with a stack trace."""
    if sys.stdout is None:  # it was closed before we began
        return
    try:
        sys.stdout.flush()
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise OSError(error.errno, f"cannot print: {error.strerror}") from error
