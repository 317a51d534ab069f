"""Errors as HTTP answers: one shape, and one table of statuses."""

import errno
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from mien.errors import (
    ImageError,
    ImageTooLargeError,
    MienError,
    MissingExtraError,
    ModelError,
    OutputError,
    VideoError,
    VideoTooLargeError,
)

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

LOG = logging.getLogger(__name__)

CODES: dict[type[MienError], str] = {
    ImageTooLargeError: "too_large",
    ImageError: "not_an_image",
    VideoTooLargeError: "too_large",
    VideoError: "not_a_video",
    ModelError: "model_failed",
    MissingExtraError: "not_installed",
    MienError: "bad_request",
}
"""The code of an error, by the nearest of its classes."""

STATUSES = {
    "bad_request": 400,
    "no_token": 401,
    "cross_site": 403,
    "not_found": 404,
    "not_acceptable": 406,
    "too_slow": 408,
    "too_large": 413,
    "too_many_images": 413,
    "video_too_long": 413,
    "wrong_host": 421,
    "not_an_image": 422,
    "not_a_video": 422,
    "too_costly": 422,
    "too_many_faces": 422,
    "too_many_rows": 422,
    "busy": 429,
    "internal": 500,
    "model_failed": 500,
    "not_installed": 501,
    "no_space": 507,
}
"""The HTTP status of each code."""

BUG = "something went wrong in the service; its log tells what"
FULL = "the service has no room left on its disk; send a smaller video, or try again later"
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
RETRY_S = 2


class RefusedError(MienError):
    """What the service does not do, and why; ``code`` is a key of `STATUSES`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@contextmanager
def storing() -> Iterator[None]:
    """What the disk refuses inside becomes an answer that does not tell where the service keeps its files.

    Raises:
        RefusedError: the disk is full, or refuses the service's own file for another reason.
    """
    try:
        yield
    except OSError as error:
        if error.errno in NO_SPACE:
            LOG.error("%s", error)
            raise RefusedError("no_space", FULL) from error
        if isinstance(error, OutputError):
            LOG.exception("storing a video or its rows")
            raise RefusedError("internal", BUG) from error
        raise


def code_of(error: MienError) -> str:
    """The code of an error."""
    if isinstance(error, RefusedError):
        return error.code
    return next(CODES[kind] for kind in type(error).__mro__ if kind in CODES)


def to_dict(error: MienError) -> dict[str, str]:
    """An error as JSON shows it."""
    return {"code": code_of(error), "message": str(error)}


def answer(error: MienError) -> JSONResponse:
    """The response to a request that met an error."""
    code = code_of(error)
    headers = {"busy": {"Retry-After": str(RETRY_S)}, "no_token": {"WWW-Authenticate": "Bearer"}}
    return JSONResponse({"error": to_dict(error)}, STATUSES[code], headers.get(code))


async def refuse(error: MienError, scope: "Scope", receive: "Receive", send: "Send") -> None:
    """Answer a request, or the opening of a WebSocket, with an error."""
    await answer(error)(scope, receive, send)


async def _mien_error(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, MienError):
        raise error
    if STATUSES[code_of(error)] >= 500:
        LOG.error("%s", error)
    return answer(error)


async def _http_error(_: Request, error: Exception) -> JSONResponse:
    """Starlette's own: no such path, no such method, a broken form."""
    if not isinstance(error, HTTPException):
        raise error
    code = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    body = {"error": {"code": code, "message": str(error.detail).rstrip(".").lower()}}
    return JSONResponse(body, error.status_code, error.headers)


async def _bad_parameter(_: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise error
    mistakes: list[dict[str, Any]] = list(error.errors())
    text = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in mistakes).lower()
    return answer(RefusedError("bad_request", text))


def add_handlers(app: FastAPI) -> None:
    """Make the errors of ``app`` answer in one shape; bugs do so in `Guard`, which has the headers."""
    app.add_exception_handler(MienError, _mien_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _bad_parameter)
