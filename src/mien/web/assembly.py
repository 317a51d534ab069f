"""What the applications of the service and of the quiz have in common: routes, errors, static files."""

from pathlib import Path

from fastapi import APIRouter, FastAPI
from starlette.staticfiles import StaticFiles

from mien.web.errors import add_handlers

STATIC = Path(__file__).parent / "static"


def assemble(app: FastAPI, router: APIRouter) -> FastAPI:
    """The same application with routes, the answers to errors, and the files of its page."""
    add_handlers(app)
    app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app
