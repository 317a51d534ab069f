"""All endpoints of the service."""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from fastapi import APIRouter, Depends, Query, Request, Response, WebSocket
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, StreamingResponse

from mien import __version__
from mien.core.model_store import find_model, list_models, listed_card
from mien.errors import ModelError
from mien.web import schemas
from mien.web.assembly import STATIC
from mien.web.bodies import FORM, Upload, save_video, uploads_of
from mien.web.engine import FORMATS, Engine
from mien.web.errors import STATUSES, RefusedError, answer
from mien.web.jobs import Job, Jobs
from mien.web.limits import Gate, client_of
from mien.web.live import run_socket
from mien.web.metrics import CONTENT_TYPE, Metrics
from mien.web.settings import Settings
from mien.web.uploads import BodyLimits, UploadGate
from mien.workflows.video.pick import Pick, parse_every

JSON, NDJSON = "application/json", "application/x-ndjson"
PAGE_BYTES = 256 * 1024
READ_ERRORS = (
    "bad_request",
    "not_acceptable",
    "too_slow",
    "too_large",
    "too_many_images",
    "not_an_image",
    "too_costly",
    "too_many_faces",
    "busy",
)
VIDEO_UPLOADS = 10
"""How many times as long as images a video may come."""

NEW_ROWS_S = 0.1
"""Seconds between two looks for new rows while they are streamed."""

T = TypeVar("T")
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
    uploads: UploadGate = field(init=False)
    videos: UploadGate = field(init=False)

    def __post_init__(self) -> None:
        settings = self.settings
        self.reads = Gate(settings.max_requests, "requests")
        self.lives = Gate(settings.max_live, "cameras")
        limits = BodyLimits(
            settings.max_bytes, settings.client_timeout_s, settings.upload_timeout_s, "--max-bytes"
        )
        self.uploads = UploadGate(limits, settings.max_held_bytes)
        limits = BodyLimits(
            settings.max_video_bytes,
            settings.client_timeout_s,
            VIDEO_UPLOADS * settings.upload_timeout_s,
            "--max-video-bytes",
        )
        self.videos = UploadGate(limits, settings.max_jobs * settings.max_video_bytes)
        gauge = self.metrics.gauge
        gauge("mien_held_bytes", "Bytes of requests with images.", lambda: self.uploads.n_bytes)
        gauge("mien_requests_active", "Requests with images at work.", lambda: self.reads.n_inside)
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


TEXT = {"type": "string", "description": "An image file in base64, or a `data:` address."}
AS_JSON = {
    JSON: {
        "schema": {
            "type": "object",
            "properties": {"image": {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}},
            "required": ["image"],
            "additionalProperties": False,
        }
    }
}


def _body(field_name: str, kinds: tuple[str, ...], *, many: bool) -> dict[str, Any]:
    """The body of a request, for its description: one file as it is, or a form with files."""
    file = {"type": "string", "format": "binary"}
    files = {"type": "array", "items": file} if many else file
    form = {"schema": {"type": "object", "properties": {field_name: files}, "required": [field_name]}}
    content = {kind: {"schema": file} for kind in kinds} | {FORM: form} | (AS_JSON if many else {})
    return {"requestBody": {"required": True, "content": content}}


@router.post(
    "/v1/read",
    summary="Read the faces on images",
    response_model=schemas.ReadAnswer,
    responses=_errors(*READ_ERRORS)
    | {200: {"content": {kind: {"schema": {"type": "string", "format": "binary"}} for kind in FORMATS}}},
    openapi_extra=_body("image", ("image/jpeg", "image/png", "application/octet-stream"), many=True),
)
async def read(
    request: Request,
    service: AService,
    upload: Annotated[
        Literal["jpeg", "png"] | None,
        Query(alias="as", description="The image with its faces marked, instead of JSON; so does Accept."),
    ] = None,
    landmarks: Annotated[
        bool,
        Query(description="Of each face also 68 landmarks, pose, and whether a part is hidden; JSON alone."),
    ] = False,
) -> Response:
    """One image as the body, or one or many as files of a form, or as base64 in JSON. An image may be
    JPEG, PNG, WebP, GIF, BMP, TIFF, PPM or AVIF. Of one image, an error is the answer's status; of many,
    each has its own."""
    kind = f"image/{upload}" if upload else _preferred(request, (JSON, *FORMATS))
    with service.uploads.body(request) as body:
        uploads = await uploads_of(body.request, service.settings.max_images)
        with service.reads.enter(client_of(request)):
            return await unless_gone(request, _read(service.engine, uploads, kind, landmarks=landmarks))


@router.post(
    "/v1/watch",
    summary="Take in a video",
    status_code=202,
    response_model=schemas.JobAnswer,
    responses=_errors(
        "bad_request",
        "too_slow",
        "too_large",
        "video_too_long",
        "not_a_video",
        "busy",
        "not_installed",
        "no_space",
    ),
    openapi_extra=_body("video", ("video/mp4", "application/octet-stream"), many=False),
)
async def watch(
    request: Request,
    service: AService,
    every: Annotated[
        str | None, Query(description="Frames to read: `0.2s` or `5frames`; all by default.", max_length=40)
    ] = None,
    landmarks: Annotated[bool, Query(description="Rows have `quality_occluded`; takes longer.")] = False,
) -> Response:
    """One video as the body, or as a file of a form. It is watched as soon as those before it are done; ask
    at `Location` how far it is. The video is deleted when it has been watched."""
    jobs = service.jobs
    pick = Pick(*parse_every(every)) if every else Pick()
    jobs.check_room()  # before half a gigabyte is sent for nothing
    job = jobs.new()
    try:
        with service.videos.body(request) as body:
            job.name = await save_video(body.request, job.video)
            jobs.enqueue(job)
        await asyncio.to_thread(jobs.check, job)
    except BaseException:  # the client may be gone: nothing of it stays
        jobs.remove(job)
        raise
    jobs.start(job, pick, landmarks=landmarks)
    location = {"Location": f"{request.scope.get('root_path', '')}/v1/watch/{job.id}"}
    return Response(job.answer().model_dump_json(), 202, location, media_type=JSON)


@router.get("/v1/watch/{number}", summary="How far a video is", responses=_errors("bad_request", "not_found"))
async def progress(job: AJob) -> schemas.JobAnswer:
    """The state of a video, and who was seen in it so far."""
    return job.answer()


@router.delete(
    "/v1/watch/{number}",
    summary="Stop and forget a video",
    status_code=204,
    responses=_errors("bad_request", "not_found"),
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
        with service.lives.enter(client_of(socket)):
            await run_socket(socket, service.engine)
    except RefusedError as error:
        await socket.send_denial_response(answer(error))


@router.get("/v1/models", summary="The models on this machine", responses=_errors("bad_request"))
async def models(service: AService) -> schemas.ModelsAnswer:
    """Each model: what it names, how well it was measured to do, on what terms."""
    weights, served = find_model(service.settings.model)
    cards = [served]
    for path in list_models().values():
        with suppress(ModelError):  # somebody's broken file is no reason to hide the others
            if path != weights.with_suffix(".json").absolute():
                cards.append(listed_card(path))
    answers = [schemas.Model(**asdict(card), served=card is served) for card in cards]
    return schemas.ModelsAnswer(models=answers)


@router.get("/healthz", summary="Whether the service answers", openapi_extra={"security": []})
async def health() -> schemas.Health:
    """Needs no token."""
    return schemas.Health(version=__version__)


@router.get(
    "/metrics",
    summary="Figures for Prometheus",
    response_class=Response,
    responses=_errors() | {200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def figures(service: AService) -> Response:
    """Requests, faces, batches, time, memory."""
    return Response(service.metrics.text(), media_type=CONTENT_TYPE)


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    return FileResponse(STATIC / "index.html")


async def _read(engine: Engine, uploads: Sequence[Upload], kind: str, *, landmarks: bool) -> Response:
    """The answer for some images, of the media type ``kind``."""
    if kind != JSON:
        if len(uploads) > 1:
            raise RefusedError(
                "not_acceptable", f"only JSON can answer {len(uploads)} images; send one at a time"
            )
        return Response(await engine.draw(uploads[0], kind), media_type=kind)
    if len(uploads) == 1:
        images = [await engine.read(uploads[0], landmarks=landmarks)]
    else:
        read = partial(engine.read_or_tell, landmarks=landmarks)
        images = await asyncio.gather(*map(read, uploads))
    answer = schemas.ReadAnswer(model=engine.model, images=images)
    return Response(answer.model_dump_json(exclude_unset=True), media_type=JSON)


async def unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do something for a client, and stop if it goes away meanwhile: others wait for its turn."""

    async def leave() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    leaving, working = asyncio.ensure_future(leave()), asyncio.ensure_future(work)
    try:
        await asyncio.wait({leaving, working}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise RefusedError("bad_request", "the client disconnected before its answer was ready")
        return working.result()
    finally:
        leaving.cancel()
        working.cancel()


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
        job.read_s = jobs.clock()
