"""Every address of the service."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response, WebSocket
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.responses import FileResponse, StreamingResponse

from mien import __version__
from mien.core.cards import read_card
from mien.core.store import find_model, list_models
from mien.errors import ModelError
from mien.web import schemas
from mien.web.errors import STATUSES, RefusedError, answer
from mien.web.jobs import Job, Jobs
from mien.web.limits import BodyLimits, Gate, limited
from mien.web.live import talk
from mien.web.metrics import CONTENT_TYPE, Metrics
from mien.web.reading import FORMATS, Engine
from mien.web.settings import Settings
from mien.workflows.video_frames import Pick, parse_every

STATIC = Path(__file__).parent / "static"
JSON, NDJSON, FORM = "application/json", "application/x-ndjson", "multipart/form-data"
PAGE_BYTES = 256 * 1024
READ_ERRORS = (
    "not_acceptable",
    "too_slow",
    "too_large",
    "too_many_images",
    "not_a_picture",
    "too_many_faces",
    "busy",
)
NEW_ROWS_S = 0.1
"""Seconds between two looks for new rows while they are streamed."""

router = APIRouter()


@dataclass(slots=True)
class Service:
    """What all requests share."""

    settings: Settings
    engine: Engine
    jobs: Jobs
    metrics: Metrics
    reads: Gate = field(init=False)
    lives: Gate = field(init=False)

    def __post_init__(self) -> None:
        self.reads = Gate(self.settings.max_requests, "requests")
        self.lives = Gate(self.settings.max_live, "cameras")
        gauge = self.metrics.gauge
        gauge("mien_requests_active", "Requests with pictures at work.", lambda: self.reads.n_inside)
        gauge("mien_live_sockets", "Open live sockets.", lambda: self.lives.n_inside)
        gauge("mien_videos_waiting", "Videos that wait.", lambda: self.jobs.count("waiting"))
        gauge("mien_videos_running", "Videos that are watched.", lambda: self.jobs.count("running"))


def _service(connection: HTTPConnection) -> Service:
    service: Service = connection.state.service
    return service


def _job(number: str, service: Annotated[Service, Depends(_service)]) -> Job:
    return service.jobs.get(number)


AService = Annotated[Service, Depends(_service)]
AJob = Annotated[Job, Depends(_job)]


def _errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """The error answers of an address, for its description."""
    by_status: dict[int, list[str]] = {}
    for code in ("no_token", *codes):
        by_status.setdefault(STATUSES[code], []).append(code)
    return {
        status: {"model": schemas.ErrorAnswer, "description": ", ".join(names)}
        for status, names in by_status.items()
    }


def _body(field_name: str, kinds: tuple[str, ...], *, many: bool) -> dict[str, Any]:
    """The body of a request, for its description: one file as it is, or a form with files."""
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file} if many else file
    form = {"schema": {"type": "object", "properties": {field_name: files}, "required": [field_name]}}
    content = {kind: {"schema": file} for kind in kinds} | {FORM: form}
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/read",
    summary="Read the faces on pictures",
    response_model=schemas.ReadAnswer,
    responses=_errors(*READ_ERRORS)
    | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in FORMATS}}},
    openapi_extra=_body("image", ("image/jpeg", "image/png", "application/octet-stream"), many=True),
)
async def read(
    request: Request,
    service: AService,
    picture: Annotated[
        Literal["jpeg", "png"] | None,
        Query(alias="as", description="The picture with its faces marked, instead of JSON; so does Accept."),
    ] = None,
) -> Response:
    """One picture as the body, or one or many as files of a form. A picture may be JPEG, PNG, WebP, GIF, BMP,
    TIFF or PPM. Of one picture, an error is the answer's status; of many, each bears its own."""
    with service.reads.enter():
        kind = f"image/{picture}" if picture else _preferred(request, (JSON, *FORMATS))
        files = await _files(request, service.settings)
        if kind != JSON:
            if len(files) > 1:
                raise RefusedError(
                    "not_acceptable", f"only JSON can answer {len(files)} pictures; send one at a time"
                )
            return Response(await service.engine.draw(files[0][1], kind), media_type=kind)
        if len(files) == 1:
            images = [await service.engine.read(*files[0])]
        else:
            images = await asyncio.gather(*(service.engine.read_or_tell(*file) for file in files))
    body = schemas.ReadAnswer(model=service.engine.model, images=images)
    return Response(body.model_dump_json(), media_type=JSON)


@router.post(
    "/v1/watch",
    summary="Take in a video",
    status_code=202,
    response_model=schemas.JobAnswer,
    responses=_errors(
        "bad_request", "too_slow", "too_large", "video_too_long", "not_a_video", "busy", "not_installed"
    ),
    openapi_extra=_body("video", ("video/mp4", "application/octet-stream"), many=False),
)
async def watch(
    request: Request,
    service: AService,
    every: Annotated[
        str | None, Query(description="Frames to read: `0.2s` or `5frames`; all by default.", max_length=40)
    ] = None,
) -> Response:
    """One video as the body, or as a file of a form. It is watched as soon as those before it are done; ask
    at `Location` how far it is. The video is deleted when it has been watched."""
    jobs, settings = service.jobs, service.settings
    pick = Pick(*parse_every(every)) if every else Pick()
    job = jobs.take_in()
    try:
        limits = BodyLimits(settings.max_video_bytes, settings.patience_s, "--max-video-bytes")
        await _keep(limited(request, limits), job.video)
        await asyncio.to_thread(jobs.check, job)
    except BaseException:  # the client may be gone: nothing of it stays
        jobs.remove(job)
        raise
    jobs.start(job, pick)
    location = {"Location": f"/v1/watch/{job.id}"}
    return Response(job.answer().model_dump_json(), 202, location, media_type=JSON)


@router.get("/v1/watch/{number}", summary="How far a video is", responses=_errors("not_found"))
async def progress(job: AJob) -> schemas.JobAnswer:
    """The state of a video, and who was seen in it so far."""
    return job.answer()


@router.delete(
    "/v1/watch/{number}", summary="Stop and forget a video", status_code=204, responses=_errors("not_found")
)
async def forget(job: AJob, service: AService) -> None:
    """Stop it if it is watched, and delete the video and its rows."""
    service.jobs.remove(job)


@router.get(
    "/v1/watch/{number}/rows",
    summary="The rows of a video",
    response_model=schemas.RowsAnswer,
    responses=_errors("bad_request", "not_acceptable", "not_found")
    | {200: {"content": {NDJSON: {"schema": {"type": "string"}}}}},
)
async def rows(
    request: Request,
    job: AJob,
    service: AService,
    after: Annotated[int, Query(ge=0, description="`next` of the last answer; 0 begins.")] = 0,
) -> Response:
    """A page of the rows that are there; with `Accept: application/x-ndjson` all of them, as they come."""
    if _preferred(request, (JSON, NDJSON)) == NDJSON:
        job.lines(after, 1)  # refuses a wrong place while there is still a status to tell it
        return StreamingResponse(_stream(job, service.jobs, after), media_type=NDJSON)
    is_over = job.is_over
    lines = job.lines(after, PAGE_BYTES)
    end = is_over and after + len(lines) == job.n_bytes
    place = b'"next": %d, "end": %s' % (after + len(lines), b"true" if end else b"false")
    return Response(b'{"rows": [%s], %s}' % (b", ".join(lines.splitlines()), place), media_type=JSON)


@router.websocket("/v1/live")
async def live(socket: WebSocket, service: AService) -> None:
    try:
        with service.lives.enter():
            await talk(socket, service.engine)
    except RefusedError as error:
        await socket.send_denial_response(answer(error))


@router.get("/v1/models", summary="The models on this machine", responses=_errors())
async def models(service: AService) -> schemas.ModelsAnswer:
    """Each model's card in short: what it names, how well it was measured to do, on what terms."""
    served = find_model(service.settings.model)[1]
    cards = {served.name: served}
    for path in list_models().values():
        with suppress(ModelError):  # somebody's broken file is no reason to hide the others
            card = read_card(path)
            cards.setdefault(card.name, card)
    return schemas.ModelsAnswer(
        models=[
            schemas.Model(
                name=card.name,
                served=card is served,
                summary=card.summary,
                labels=list(card.labels),
                licence=card.licence,
                intended_use=card.intended_use,
                unfit_use=card.unfit_use,
                limits=card.limits,
                uncertain_below=card.uncertain_below,
                calibrated_on=card.calibrated_on,
                scores=card.scores,
            )
            for card in cards.values()
        ]
    )


@router.get("/healthz", summary="Whether the service answers")
async def health() -> schemas.Health:
    """Needs no token."""
    return schemas.Health(version=__version__)


@router.get("/metrics", summary="Figures for Prometheus", response_class=Response, responses=_errors())
async def figures(service: AService) -> Response:
    """Requests, faces, batches, time, memory."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


def _preferred(request: Request, kinds: tuple[str, ...]) -> str:
    """The media type of ``kinds`` that the client likes best; the first where it does not care.

    Raises:
        RefusedError: it takes none of them.
    """
    wishes = []
    for wish in request.headers.get("accept", "*/*").split(","):
        kind, *parameters = (part.strip().lower() for part in wish.split(";"))
        weight = next((p[2:] for p in parameters if p.startswith("q=")), "1")
        wishes.append((float(weight) if weight.replace(".", "", 1).isdecimal() else 0.0, kind))
    for liking, wish in sorted(wishes, key=lambda one: -one[0]):
        start = wish.removesuffix("*") if wish.endswith("/*") else None
        for kind in kinds:
            if liking and (wish in (kind, "*/*") or (start and kind.startswith(start))):
                return kind
    raise RefusedError("not_acceptable", f"this address answers with {', '.join(kinds)}; accept one of them")


async def _files(request: Request, settings: Settings) -> list[tuple[str, bytes]]:
    """Name and bytes of each picture of a request."""
    limits = BodyLimits(settings.max_bytes, settings.patience_s, "--max-bytes")
    body = limited(request, limits)
    try:
        if not _is_form(request):
            return [("picture", await body.body())]
        async with body.form(max_files=settings.max_images, max_fields=8) as form:
            files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
            pictures = [(_name(file, i), await file.read()) for i, file in enumerate(files, start=1)]
    except ClientDisconnect:
        raise _gone() from None
    except HTTPException as error:
        if "Too many files" in error.detail:
            most = f"more than {settings.max_images} pictures in one request"
            raise RefusedError("too_many_images", f"{most}; send the others in further requests") from None
        raise
    if not pictures:
        raise RefusedError(
            "bad_request", "the form holds no file; send pictures as files, such as -F image=@photo.jpg"
        )
    return pictures


async def _keep(request: Request, path: Path) -> None:
    """Write the video of a request to a file."""
    try:
        with path.open("wb") as file:
            if not _is_form(request):
                async for chunk in request.stream():
                    file.write(chunk)
                return
            async with request.form(max_files=1, max_fields=8) as form:
                video = next((part for part in form.values() if isinstance(part, UploadFile)), None)
                if video is None:
                    raise RefusedError(
                        "bad_request", "the form holds no file; send one, such as -F video=@clip.mp4"
                    )
                await asyncio.to_thread(shutil.copyfileobj, video.file, file, 2**20)
    except ClientDisconnect:
        raise _gone() from None


async def _stream(job: Job, jobs: Jobs, after: int) -> AsyncIterator[bytes]:
    """The rows of a video as lines, until it is over or forgotten."""
    while not job.stop.is_set():
        is_over = job.is_over
        lines = job.lines(after, PAGE_BYTES)
        if lines:
            after += len(lines)
            yield lines
        elif is_over:
            return
        else:
            await asyncio.sleep(NEW_ROWS_S)
        job.looked_s = jobs.clock()


def _is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)


def _name(file: UploadFile, number: int) -> str:
    """The name that the client gave, for the answer only; it never becomes a path."""
    return (file.filename or f"picture {number}")[:200]


def _gone() -> RefusedError:
    return RefusedError("bad_request", "the client went away before its request was whole")
