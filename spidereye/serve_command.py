"""`spidereye serve`: the HTTP API, and the page where it is built, on this machine's port."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from spidereye.errors import SpiderEyeError, require_extra


def serve(
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(
            help="folder, run_name[@best|@last] or .onnx file; NAME=… names it; repeatable",
        ),
    ] = None,
    rig: Annotated[
        list[str] | None,
        typer.Option(help="a rig file to offer, by its stem or as NAME=file; repeatable"),
    ] = None,
    host: Annotated[
        str, typer.Option(help="0.0.0.0 lets other machines in; there is no password")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free")] = 8000,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    megabytes: Annotated[float, typer.Option(help="of one request, at most", min=0.001)] = 64.0,
    queue: Annotated[int, typer.Option(help="jobs that wait, at most", min=1)] = 64,
) -> None:
    """Serve stitching over HTTP: the page at /, the API below /api. Ctrl-C stops.

    Example:

        spidereye serve --checkpoint mine@best --rig rig.yaml
    """
    try:
        import uvicorn

        from spidereye.released import RELEASED, released
        from spidereye.rig import NAMED_RIGS
        from spidereye.server.app import create_app
        from spidereye.server.limits import Limits
        from spidereye.server.models import Models
    except ImportError as error:
        raise require_extra("web", error.name or "fastapi") from error
    own = {RELEASED: RELEASED} if RELEASED in released() else {}
    models = Models.load(
        _by_name("checkpoint", [_named(one, "model") for one in checkpoint or ()], own) | own,
        _by_name("rig", [_named(one, Path(one).stem) for one in rig or ()], NAMED_RIGS),
        device,
    )
    app = create_app(models, Limits(megabytes=megabytes, queue=queue))
    with _listening(host, port) as listener:
        named = f"[{host}]" if ":" in host else host  # as addresses of IPv6 stand in URLs
        address = f"http://{named}:{listener.getsockname()[1]}"
        print(f"SpiderEye on {address} with {', '.join(models.trained) or 'no model'}", flush=True)

        class Server(uvicorn.Server):
            async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
                # First, or whoever follows a job would keep it until every job is done.
                app.state.queue.stop()
                await super().shutdown(sockets)

        Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listener])


def _named(text: str, default: str) -> tuple[str, str]:
    """(name, the rest) of NAME=rest, unless a file is called so; a run's name where it is one."""
    name, equals, rest = text.partition("=")
    if equals and "/" not in name and not Path(text).exists():
        return name, rest
    run = text.partition("@")[0]
    return (run if run and "/" not in run and default == "model" else default), text


def _by_name(
    option: str, pairs: Sequence[tuple[str, str]], own: Mapping[str, object]
) -> dict[str, str]:
    """SpiderEyeError for names of which one would hide another. own: what is there anyhow."""
    found: dict[str, str] = {}
    for name, rest in pairs:
        if found.get(name, rest) != rest or own.get(name, rest) != rest:
            other = found.get(name, "what comes with the package")
            raise SpiderEyeError(
                f"--{option} {rest}: {other} is called {name!r} too; give it a name of its own, "
                f"--{option} NAME={rest}"
            )
        found[name] = rest
    return found


def _listening(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen()  # who reads the address may ask at once, and waits
    except OSError as error:
        listener.close()
        raise SpiderEyeError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port or --host"
        ) from error
    return listener
