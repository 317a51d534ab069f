"""What the applications of the service and of the quiz have in common: routes, errors, static files."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, FastAPI
from starlette.requests import HTTPConnection
from starlette.staticfiles import StaticFiles

from mien.errors import MienError
from mien.names import nearest
from mien.web import schemas
from mien.web.errors import add_handlers

STATIC = Path(__file__).parent / "static"
ANY_ERROR: dict[int | str, dict[str, Any]] = {
    "default": {"model": schemas.ErrorAnswer, "description": "Any other error, in the same shape."}
}
"""In the description of each address; without it, FastAPI puts a 422 of its own shape there."""


class Guarded(FastAPI):
    """An application whose OpenAPI description includes the token that `mien.web.security.Guard` requires."""

    def openapi(self) -> dict[str, Any]:
        """The description, for programs that make a client of it."""
        described = super().openapi()
        described["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
        described["security"] = [{"token": []}]
        return described


def assemble(app: FastAPI, router: APIRouter) -> FastAPI:
    """The same application with routes, the answers to errors, and the files of its page."""
    add_handlers(app)
    app.include_router(router, dependencies=[Depends(refuse_unknown_parameters)], responses=ANY_ERROR)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    return app


def refuse_unknown_parameters(connection: HTTPConnection) -> None:
    """A misspelt parameter of the API is an error, since its default would be used in silence.

    Raises:
        MienError: the address has no parameter of this name.
    """
    route = connection.scope.get("route")
    if not connection.url.path.startswith(f"{connection.scope.get('root_path', '')}/v1/") or route is None:
        return
    known = [field.alias for field in route.dependant.query_params]
    for name in connection.query_params:
        if name not in known:
            has = f"it has {', '.join(known)}" if known else "it has none"
            raise MienError(f"no query parameter named '{name[:40]}'{nearest(name[:40], known)} ({has})")
