"""Request bodies: images, kept in memory, or a video, written to a file."""

import asyncio
import binascii
import json
import re
import shutil
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from mien.core.image_formats import HEAD, format_of
from mien.core.images import WATCH_IT
from mien.core.video_names import looks_like_a_video
from mien.errors import MienError
from mien.web.errors import RefusedError, storing
from mien.web.limits import client_of

FORM, JSON = "multipart/form-data", "application/json"
AS_JSON = 'send {"image": TEXT}, where TEXT is an image file in base64 or a data: address, or a list of them'
AS_BODY = "send the file itself as the body or by -F image=@photo.jpg, or JSON as application/json"
TEXTS = ("application/x-www-form-urlencoded", "text/")
URL_SAFE = str.maketrans("-_", "+/")
DATA_ADDRESS = re.compile(r"\s*data:[^,]{0,200};base64,", re.IGNORECASE)
IMAGE_KEYS = ("image", "img")
"""What an image is called in JSON; the second is what DeepFace's service calls it."""
OF_DEEPFACE = {"actions", "detector_backend", "enforce_detection", "align", "anti_spoofing", "max_faces"}
"""What else its clients send, and may send here beside an ``img``."""

MOST_FIELDS, MOST_NAME = 8, 200


@dataclass(frozen=True, slots=True)
class Upload:
    """An image file of a request.

    Attributes:
        name: What the client calls it, for answers and errors only; it never becomes a path.
        client: Whose it is; see `client_of`.
        is_file: Whether the name is one that the client gave.
        error: Why there are no data; whoever reads it raises this, so that it stops no other image.
    """

    name: str
    data: bytes
    client: str = ""
    is_file: bool = False
    error: MienError | None = None

    @contextmanager
    def named(self) -> Iterator[None]:
        """Begin errors with the name, where they begin with what the library calls an image."""
        try:
            yield
        except MienError as error:
            called = repr(self.name) if self.is_file else re.sub("^image$", "the image", self.name)
            said = re.sub(r"^(bytes|the image)(?= )", lambda _: called, str(error))
            error.args = (said.replace(WATCH_IT, "send it to /v1/watch"),)
            raise


class _InMemory(MultiPartParser):
    """Starlette's parser of forms writes what has more than a megabyte to disk; this one nothing."""

    spool_max_size = sys.maxsize
    max_file_size = sys.maxsize  # its name until Starlette 0.45


async def uploads_of(request: Request, max_images: int) -> list[Upload]:
    """The images of a request, in their order.

    Raises:
        RefusedError: there is none, there are too many, or the client has gone.
        HTTPException: the form is broken.
    """
    client = client_of(request)
    with _explained():
        if _is(request, JSON):
            body = await request.body()
            return await asyncio.to_thread(_from_json, body, max_images, client)
        if not is_form(request):
            body = await request.body()
            _check_bare(request, body[:HEAD])
            return [Upload("image", body, client)]
        parser = _InMemory(request.headers, request.stream(), max_files=max_images, max_fields=MOST_FIELDS)
        try:
            form = await parser.parse()
        except MultiPartException as error:
            if "Too many files" in error.message:
                raise _too_many(max_images) from None
            raise HTTPException(400, error.message) from None
    try:
        files = [part for _, part in form.multi_items() if isinstance(part, UploadFile)]
        uploads = [
            Upload(_name(file) or f"image {i}", await file.read(), client, bool(file.filename))
            for i, file in enumerate(files, start=1)
        ]
    finally:
        await form.close()
    if not uploads:
        raise RefusedError(
            "bad_request", "the form holds no file; send images as files, such as -F image=@photo.jpg"
        )
    _refuse_options(_texts(form))
    return uploads


async def save_video(request: Request, path: Path) -> str:
    """Write the video of a request to a file; how to call it in errors.

    Raises:
        RefusedError: there is none, the client has gone, or the disk is full.
        HTTPException: the form is broken.
    """
    with _explained(), storing(), path.open("wb") as file:
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
            _refuse_options(_texts(form))
            await asyncio.to_thread(shutil.copyfileobj, video.file, file, 2**20)
            return repr(_name(video)) if video.filename else "the video"


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except ClientDisconnect:
        gone = "the client disconnected before its request was complete"
        raise RefusedError("bad_request", gone) from None
    except FormParserError as error:  # not all of them are wrapped by Starlette
        raise HTTPException(400, f"the form is broken: {error}") from None
    except UnicodeError:  # of a charset such as "undefined", which Starlette takes
        raise HTTPException(400, "the form has names that do not fit its declared charset") from None


def _name(file: UploadFile) -> str:
    """What the client calls a file."""
    return _writable(file.filename or "")


def _writable(name: str) -> str:
    """A name as UTF-8 can write it: charsets such as UTF-7, and JSON, have half characters."""
    return name[:MOST_NAME].encode(errors="replace").decode()


def _texts(form: FormData) -> list[str]:
    """The names of the parts that are no files."""
    return [name for name, part in form.multi_items() if not isinstance(part, UploadFile)]


def _refuse_options(names: Iterable[str]) -> None:
    """Raise if there is a name: what stands beside the files would be left out in silence."""
    for name in names:
        raise RefusedError(
            "bad_request",
            f"the body has '{_writable(name)}' beside the file; put options into the URL, "
            "such as ?landmarks=true",
        )


def is_form(request: Request) -> bool:
    return _is(request, FORM)


def _is(request: Request, kind: str) -> bool:
    return request.headers.get("content-type", "").lower().startswith(kind)


def _check_bare(request: Request, head: bytes) -> None:
    """Raise where a body of a kind that holds no image begins as none; curl calls any file a form."""
    is_text = any(_is(request, kind) for kind in TEXTS)
    if is_text and head and format_of(head) is None and not looks_like_a_video(head):
        kind = _writable(request.headers["content-type"])
        raise RefusedError("bad_request", f"the body is not an image file, and its type is {kind}; {AS_BODY}")


def _from_json(body: bytes, max_images: int, client: str) -> list[Upload]:
    """The images of ``{"image": BASE64}``, or of a list of such."""
    try:
        held = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError("bad_request", f"the body is not JSON, as its type says; {AS_JSON}") from None
    known = [name for name in IMAGE_KEYS if name in held] if isinstance(held, dict) else []
    given = held[known[0]] if known else []
    if given == []:
        raise RefusedError("bad_request", f"the JSON holds no image; {AS_JSON}")
    _refuse_options(sorted(held.keys() - {known[0]} - (OF_DEEPFACE if known[0] == "img" else set())))
    texts = given if isinstance(given, list) else [given]
    if len(texts) > max_images:
        raise _too_many(max_images)
    if texts is not given:
        return [_unpacked(given, "image", client)]
    return [_unpacked(text, f"image {i}", client) for i, text in enumerate(texts, start=1)]


def _unpacked(text: object, name: str, client: str) -> Upload:
    try:
        return Upload(name, _bytes(text), client)
    except RefusedError as error:
        return Upload(name, b"", client, error=error)


def _bytes(text: object) -> bytes:
    if not isinstance(text, str):
        raise RefusedError("bad_request", f"the image is not text; {AS_JSON}")
    if re.match(r"https?:", text, re.IGNORECASE):
        raise RefusedError(
            "bad_request", "the image is a web address; mien never downloads: send the image itself"
        )
    address = DATA_ADDRESS.match(text)
    packed = "".join(text[address.end() if address else 0 :].split()).translate(URL_SAFE)
    try:
        return binascii.a2b_base64(packed + "=" * (-len(packed) % 4), strict_mode=True)
    except ValueError as error:
        why = str(error).lower()
        raise RefusedError("bad_request", f"the image is not base64 ({why}); {AS_JSON}") from None


def _too_many(max_images: int) -> RefusedError:
    most = f"more than {max_images} images in one request"
    return RefusedError("too_many_images", f"{most}; send the others in further requests")
