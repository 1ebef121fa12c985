"""The HTTP API: POST /api/stitch makes a job or a panorama, GET /api/jobs/{id} follows it.

Every error is JSON, {"error": one sentence}, with a status that says whose mistake it is.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, File, Form, Request, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from spidereye.errors import SpiderEyeError
from spidereye.sample_shots import SAMPLES
from spidereye.server.job_queue import DONE, Job, JobQueue
from spidereye.server.limits import Limits, Refused
from spidereye.server.metrics import Metrics
from spidereye.server.middleware import BodyLimit, Observer
from spidereye.server.models import Models
from spidereye.server.samples import sample_view, sample_views
from spidereye.server.stitch_request import FORMATS, Made, StitchRequest, Upload, Wanted

_PAGE = Path(__file__).parent / "page"  # built from web/
_NO_PAGE = (
    "The page is not built into this installation: the API is at /api (see /openapi.json).\n"
    "To build it: cd web && npm ci && npm run build\n"
)
_FIELDS = {"views", "wait", *(field.name for field in fields(Wanted))}  # of POST /api/stitch
_LOOK = 0.05  # seconds between looks at a job that somebody waits for
_ALIVE = 15.0  # seconds after which an event stream says that it is still there


def create_app(models: Models, limits: Limits | None = None) -> FastAPI:
    """The server's application. It starts a thread that stitches, which ends with it."""
    limits = limits or Limits()
    metrics = Metrics()
    queue = JobQueue(limits, metrics.ended, lambda made: made.bytes)
    metrics.waiting.set_function(lambda: len(queue))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_in_threadpool(queue.close)

    app = FastAPI(
        title="SpiderEye",
        summary="N fisheye views to one 360° panorama",
        lifespan=lifespan,
        docs_url=None,  # both pages load scripts from the network
        redoc_url=None,
    )
    app.state.queue = queue
    _explain_errors(app)

    app.add_middleware(BodyLimit, most=int(1e6 * limits.megabytes))
    app.add_middleware(Observer, observe=metrics.answered)

    @app.post("/api/stitch", status_code=202, responses=_ERRORS)
    async def stitch(
        request: Request,
        views: Annotated[list[UploadFile], File(description="the pictures, by name or in order")],
        model: Annotated[str | None, Form(description="of /api/models; default: the first")] = None,
        rig: Annotated[str | None, Form(description="of /api/rigs; default: the model's")] = None,
        rig_file: Annotated[UploadFile | None, File(description="a rig file, in YAML")] = None,
        family: Annotated[str | None, Form(description="of a guessed lens: equidistant …")] = None,
        fov: Annotated[float | None, Form(description="of a guessed lens, in degrees")] = None,
        order: Annotated[str | None, Form(description="of guessed views: front,right,…")] = None,
        size: Annotated[str | None, Form(description="of the panorama: 1024x512")] = None,
        refine: Annotated[str | None, Form(description="gain,rotation | none")] = None,
        steps: Annotated[int | None, Form(description="of the model's sampler")] = None,
        seed: Annotated[int, Form(description="of its noise")] = 0,
        format: Annotated[str, Form(description="jpg | png | webp")] = "jpg",
        wait: Annotated[bool, Form(description="answer with the panorama, not a job")] = False,
    ) -> Response:
        """A job that makes the panorama of one shot, or with wait=true the panorama itself."""
        unknown = sorted(set(await request.form()) - _FIELDS)
        if unknown:
            raise Refused(422, f"unknown field {unknown[0]!r}; known: {', '.join(sorted(_FIELDS))}")
        uploads = [Upload(view.filename or "", await view.read()) for view in views]
        described = None
        if rig_file is not None:
            described = Upload(rig_file.filename or "rig.yaml", await rig_file.read())
        wanted = Wanted(
            model, rig, described, family, fov, order, size, refine, steps, seed, format
        )
        sound = await run_in_threadpool(StitchRequest.checked, models, limits, uploads, wanted)
        job = queue.submit(sound.make, sound.bytes)
        if not wait:
            place = f"/api/jobs/{job.id}"
            return JSONResponse(_state(job, queue), 202, headers={"Location": place})
        while not job.is_finished:
            if await request.is_disconnected():
                queue.cancel(job)
                return Response(status_code=499)
            await asyncio.sleep(_LOOK)
        return _panorama(job)

    @app.get("/api/jobs/{name}", responses=_ERRORS)
    def follow(name: str) -> dict[str, Any]:
        """Where a job is: queued (with its position), running, done, failed or cancelled."""
        return _state(queue.find(name), queue)

    @app.delete("/api/jobs/{name}", responses=_ERRORS)
    def cancel(name: str) -> dict[str, Any]:
        """Take a job out of the queue."""
        job = queue.find(name)
        queue.cancel(job)
        return _state(job, queue)

    @app.get("/api/jobs/{name}/panorama", responses=_ERRORS)
    def panorama(name: str) -> Response:
        """The panorama of a job that is done, with its metadata."""
        return _panorama(queue.find(name))

    @app.get("/api/jobs/{name}/count", responses=_ERRORS)
    def count(name: str) -> Response:
        """How many views see each pixel: a grey PNG of so many levels."""
        return Response(_made(queue.find(name)).count, media_type="image/png")

    @app.get("/api/jobs/{name}/events", responses=_ERRORS)
    async def events(name: str, request: Request) -> StreamingResponse:
        """What /api/jobs/{id} says, as server-sent events, whenever it changes, until it ends."""
        job = queue.find(name)
        return StreamingResponse(_events(job, queue, request), media_type="text/event-stream")

    @app.get("/api/models")
    def known_models() -> dict[str, Any]:
        """The models, and which is taken where none is named."""
        return {"models": models.about(), "default": models.default}

    @app.get("/api/rigs")
    def known_rigs() -> dict[str, Any]:
        """The rigs by name, with their views in order."""
        rigs = {name: list(rig.names) for name, rig in models.rigs.items()}
        return {"rigs": [{"name": name, "views": views} for name, views in rigs.items()]}

    @app.get("/api/samples")
    def known_samples() -> dict[str, Any]:
        """Shots to try it with: their names, rigs and views."""
        pairs = SAMPLES.items()
        listed = [{"name": n, "rig": rig, "views": sample_views(n)} for n, (_, rig) in pairs]
        return {"samples": listed}

    @app.get("/api/samples/{name}/{view}.jpg", responses=_ERRORS)
    def view_of_sample(name: str, view: str) -> Response:
        """A view of a sample."""
        return Response(sample_view(name, view), media_type="image/jpeg")

    @app.get("/healthz")
    def healthz() -> dict[str, Any]:
        """Whether it serves, and how many jobs wait."""
        return {"status": "ok", "waiting": len(queue)}

    @app.get("/metrics", response_class=PlainTextResponse)
    def prometheus() -> Response:
        """For Prometheus."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4")

    if (_PAGE / "index.html").is_file():
        app.mount("/", StaticFiles(directory=_PAGE, html=True), name="page")
    else:
        app.get("/", include_in_schema=False)(lambda: PlainTextResponse(_NO_PAGE))
    return app


_ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": text, "content": {"application/json": {"example": {"error": "…"}}}}
    for status, text in {
        400: "an empty file",
        404: "no such model, rig or job",
        408: "it waited too long",
        409: "not finished, or cancelled",
        413: "too many bytes, pixels or views",
        415: "not a picture, or a damaged one",
        422: "something does not fit: what, and what to do",
        429: "too much waits already",
    }.items()
}


def _explain_errors(app: FastAPI) -> None:
    @app.exception_handler(SpiderEyeError)
    async def refused(request: Request, error: SpiderEyeError) -> JSONResponse:
        status = error.status if isinstance(error, Refused) else 422
        again = {"Retry-After": "2"} if status == 429 else None
        return JSONResponse({"error": str(error)}, status, headers=again)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"][1:])
        missing = first["type"] == "missing"
        said = f"the field `{field}` is missing" if missing else f"{field}: {first['msg']}"
        if "UploadFile" in first["msg"]:
            said = f"the field `{first['loc'][1]}` takes a file, got text"
        return JSONResponse({"error": said}, 422)

    @app.exception_handler(HTTPException)
    async def failed(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"error": str(error.detail)}, error.status_code)

    @app.exception_handler(Exception)
    async def bug(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises it again after the answer, so that the server's log has the trace.
        return JSONResponse({"error": f"internal error: {type(error).__name__}"}, 500)


def _state(job: Job, queue: JobQueue) -> dict[str, Any]:
    said: dict[str, Any] = {"id": job.id, "state": job.state, "position": queue.position(job)}
    if job.error is not None:
        said |= {"error": job.error, "status": job.status}
    if job.state == DONE:
        said |= job.result.about
        said["panorama"] = f"/api/jobs/{job.id}/panorama"
        said["count"] = f"/api/jobs/{job.id}/count"
    if job.started is not None and job.finished is not None:
        said["seconds"] = round(job.finished - job.started, 3)
    return said


def _made(job: Job) -> Made:
    if job.is_finished and job.state != DONE:
        raise Refused(job.status, job.error or "it failed")
    if job.state != DONE:
        raise Refused(409, f"the job is {job.state}")
    return job.result


def _panorama(job: Job) -> Response:
    made = _made(job)
    name = f"panorama.{made.format}"
    headers = {"Content-Disposition": f'inline; filename="{name}"', "X-Job": job.id}
    return Response(made.picture, media_type=FORMATS[made.format], headers=headers)


async def _events(job: Job, queue: JobQueue, request: Request) -> AsyncIterator[str]:
    last, silent = "", 0.0
    while True:
        finished = job.is_finished
        text = json.dumps(_state(job, queue))
        if text != last:
            yield f"data: {text}\n\n"
            last, silent = text, 0.0
        if finished or await request.is_disconnected():
            return
        await asyncio.sleep(_LOOK)
        silent += _LOOK
        if silent > _ALIVE:
            yield ": still here\n\n"
            silent = 0.0
