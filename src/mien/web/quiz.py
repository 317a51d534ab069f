"""The quiz's page and its endpoints: begin, show a face, answer, take back."""

import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from PIL import Image
from starlette.middleware import Middleware
from starlette.responses import FileResponse

from mien.errors import DataError
from mien.web.addresses import Heads
from mien.web.assembly import STATIC, Guarded, assemble
from mien.web.errors import RefusedError
from mien.web.security import Guard
from mien.web.settings import Settings, read_settings
from mien.workflows.quiz.quiz_file import TRAINING, Quiz, Step

MOST_TIMES = 40
"""How many screen pixels a pixel of a face may become."""

MOST_SIDE = 1296
"""Screen pixels of an enlarged face: the page's 432, on a screen that has three for each of CSS."""
MOST_KEPT = 16
"""Enlarged faces in memory, of at most five megabytes each."""


class QuizSettings(Settings):
    """What the quiz's server can be configured, besides token and hosts.

    Attributes:
        quiz: The quiz file.
        training: How many labelled examples those get first who begin at this server.
        names: People give their names; else the page calls them ``person 1``, ``person 2`` and so on.
    """

    quiz: Path
    training: int = 0
    names: bool = False


def _quiz(request: Request) -> Quiz:
    quiz: Quiz = request.state.quiz
    return quiz


def _settings(request: Request) -> QuizSettings:
    settings: QuizSettings = request.state.settings
    return settings


AQuiz = Annotated[Quiz, Depends(_quiz)]
TheSettings = Annotated[QuizSettings, Depends(_settings)]
router = APIRouter()


@router.get("/", include_in_schema=False)
async def page() -> FileResponse:
    """The page."""
    return FileResponse(STATIC / "quiz.html")


@router.get("/v1/quiz")
def about(quiz: AQuiz, settings: TheSettings) -> dict[str, Any]:
    """What is asked, and the answers that there are."""
    height, width = quiz.faces().images.shape[1:3]
    return {
        "id": quiz.id,
        "labels": quiz.label_names,
        "totals": quiz.totals,
        "training": settings.training,
        "names": settings.names,
        "width": width,
        "height": height,
    }


@router.get("/v1/faces/{part}/{place}")
def face(
    part: str, place: int, quiz: AQuiz, times: Annotated[int, Query(ge=1, le=MOST_TIMES)] = 1
) -> Response:
    """A face as PNG, each of its pixels ``times`` as wide and high, smoothly; less where `MOST_SIDE` ends."""
    if part not in quiz.totals or not 0 <= place < quiz.totals[part]:
        raise RefusedError("not_found", f"the quiz has no {part} face {place}")
    side = max(quiz.faces(part).images.shape[1:3])
    times = max(1, min(times, MOST_SIDE // side))
    return Response(_png(quiz, part, place, times), media_type="image/png")


@lru_cache(maxsize=MOST_KEPT)
def _png(quiz: Quiz, part: str, place: int, times: int) -> bytes:
    image = Image.fromarray(quiz.faces(part).images[place])
    size = image.width * times, image.height * times
    file = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(file, "PNG", compress_level=1)
    return file.getvalue()


@router.post("/v1/begin")
def begin(quiz: AQuiz, settings: TheSettings, person: str = "") -> dict[str, Any]:
    """Begin or continue; the server makes up a name if none is given or required."""
    if settings.names and not person.strip():
        raise RefusedError("bad_request", "give a name, to continue later with it")
    return asdict(quiz.begin(person, training=settings.training, known_only=not settings.names))


@router.post("/v1/answer")
def answer(person: str, part: str, place: int, label: int, ms: int, quiz: AQuiz) -> dict[str, Any]:
    """Save an answer; to an example, the data set's own label comes back as ``truth``."""
    step: Step = quiz.answer(person, part, place, label, ms)
    truth = int(quiz.faces(TRAINING).labels[place]) if part == TRAINING else None
    return {**asdict(step), "truth": truth}


@router.post("/v1/undo")
def undo(person: str, quiz: AQuiz) -> dict[str, Any]:
    """Take the last answer back."""
    return asdict(quiz.undo(person))


def make_app(settings: QuizSettings) -> FastAPI:
    """The quiz as an ASGI application.

    Raises:
        DataError: the quiz file cannot be read, or holds fewer examples than are to be given.
    """
    quiz = Quiz(settings.quiz)  # to fail here, and not while the server starts
    quiz.close()
    if settings.training > quiz.totals[TRAINING]:
        raise DataError(
            f"{settings.quiz.name} holds {quiz.totals[TRAINING]} labelled examples, got --training "
            f"{settings.training}; ask for fewer, or draw another file with --data and --out"
        )

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        quiz = Quiz(settings.quiz)
        try:
            yield {"quiz": quiz, "settings": settings}
        finally:
            quiz.close()

    doors = [Middleware(Guard, settings=settings), Middleware(Heads)]
    kind = FastAPI if settings.token is None else Guarded
    app = kind(title="mien quiz", docs_url=None, redoc_url=None, lifespan=lifespan, middleware=doors)
    return assemble(app, router)


def served() -> FastAPI:
    """The application for the settings in the environment: what ``mien quiz`` names to uvicorn.

    Raises:
        MienError: the settings have mistakes, or the quiz file cannot be read.
    """
    return make_app(read_settings(QuizSettings))
