"""What is in the body of a request: pictures, kept in memory, or a video, written to a file."""

import asyncio
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mien.web.errors import RefusedError
from mien.web.limits import client_of

FORM = "multipart/form-data"
MOST_FIELDS, MOST_NAME = 8, 200


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file of a request.

    Attributes:
        name: What the client calls it, for answers and errors only; it never becomes a path.
        client: Whose it is; see `client_of`.
    """

    name: str
    data: bytes
    client: str = ""


class _InMemory(MultiPartParser):
    """Starlette's parser of forms writes what has more than a megabyte to disk; this one nothing."""

    spool_max_size = sys.maxsize
    max_file_size = sys.maxsize  # its name until Starlette 0.45


async def pictures_of(request: Request, max_images: int) -> list[Picture]:
    """The pictures of a request, in their order.

    Raises:
        RefusedError: there is none, there are too many, or the client has gone.
        HTTPException: the form is broken.
    """
    with _explained():
        if not is_form(request):
            return [Picture("picture", await request.body(), client_of(request))]
        parser = _InMemory(request.headers, request.stream(), max_files=max_images, max_fields=MOST_FIELDS)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if "Too many files" in error.message:
                most = f"more than {max_images} pictures in one request"
                raise RefusedError(
                    "too_many_images", f"{most}; send the others in further requests"
                ) from None
            raise HTTPException(400, error.message) from None
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        pictures = [
            Picture((file.filename or f"picture {i}")[:MOST_NAME], await file.read(), client_of(request))
            for i, file in enumerate(files, start=1)
        ]
    finally:
        await form.close()
    if not pictures:
        raise RefusedError(
            "bad_request", "the form holds no file; send pictures as files, such as -F image=@photo.jpg"
        )
    return pictures


async def save_video(request: Request, path: Path) -> str:
    """Write the video of a request to a file; how to call it in errors.

    Raises:
        RefusedError: there is none, or the client has gone.
        HTTPException: the form is broken.
    """
    with _explained(), path.open("wb") as file:
        if not is_form(request):
            async for chunk in request.stream():
                file.write(chunk)
            return "the video"
        async with request.form(max_files=1, max_fields=MOST_FIELDS) as form:
            video = next((part for part in form.values() if isinstance(part, UploadFile)), None)
            if video is None:
                raise RefusedError(
                    "bad_request", "the form holds no file; send one, such as -F video=@clip.mp4"
                )
            await asyncio.to_thread(shutil.copyfileobj, video.file, file, 2**20)
            return repr(video.filename[:MOST_NAME]) if video.filename else "the video"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ClientDisconnect:
        gone = "the client went away before its request was whole"
        raise RefusedError("bad_request", gone) from None


def is_form(request: Request) -> bool:
    return request.headers.get("content-type", "").lower().startswith(FORM)
