"""The FastAPI application, and what is opened and closed with it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from starlette.middleware import Middleware

from mien import __version__
from mien.core.bounds import give_memory_back
from mien.core.classifier import Classifier
from mien.core.files import temporary_folder
from mien.web.addresses import Heads, Prefixed
from mien.web.assembly import Guarded, assemble
from mien.web.engine import Engine, image_detector
from mien.web.jobs import Jobs
from mien.web.metrics import Meter, Metrics
from mien.web.routes import Service, router
from mien.web.security import Guard
from mien.web.settings import Settings, read_settings

PURGE_S = 5.0
DESCRIPTION = """
Reads the emotions on the faces of images, videos and cameras. The numbers say which **expression people
would see**, with calibrated probabilities; not what a person feels. Not for judging people at work or in
education.

`WS /v1/live` takes JPEG files as binary messages and answers the newest with one JSON object: `frame` (its
number, from 0), `dropped`, `time_s`, `width`, `height` and `faces` (rows as those of a video), or `error`.
Where a token is asked for, offer the sub-protocols `mien-v1` and `bearer.TOKEN`.

Every error has the shape `{"error": {"code": ..., "message": ...}}`.
"""


def make_app(settings: Settings | None = None) -> FastAPI:
    """The service as an ASGI application; its threads and folder begin and end with its lifespan.

    Raises:
        ModelError: the model cannot be found, verified or run.
        MienError: there is no such detector, or the device cannot be used.
    """
    settings = settings or Settings()
    Classifier(settings.model, device=settings.device)  # to fail here, and not when the address is told
    detector = image_detector(settings)
    metrics = Metrics()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        engine = Engine(settings, metrics.count_batch, detector)
        with temporary_folder() as folder:
            jobs = Jobs(settings, engine, folder)
            service = Service(settings, engine, jobs, metrics)
            purging = asyncio.create_task(_purge(jobs))
            try:
                yield {"service": service, "settings": settings, "stop": jobs.stop}
            finally:
                purging.cancel()
                with suppress(asyncio.CancelledError):
                    await purging
                await asyncio.to_thread(jobs.close)
                await asyncio.to_thread(engine.close)

    kind = FastAPI if settings.token is None else Guarded
    app = kind(
        title="mien",
        version=__version__,
        description=DESCRIPTION,
        docs_url=None,  # its page would load scripts from another host
        redoc_url=None,
        lifespan=lifespan,
        middleware=[
            Middleware(Prefixed, prefix=settings.root_path),
            Middleware(Meter, metrics=metrics),
            Middleware(Guard, settings=settings),
            Middleware(Heads),
        ],
    )
    return assemble(app, router)


def served() -> FastAPI:
    """The application for the settings in the environment: what ``mien serve`` names to uvicorn.

    Raises:
        MienError: the settings have mistakes, or there is no such model, detector or device.
    """
    app = make_app(read_settings(Settings))
    give_memory_back()
    return app


async def _purge(jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(PURGE_S)
        jobs.purge()
