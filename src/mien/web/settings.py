"""Settings of the service: model, access, and limits."""

import json
import os
import re
from collections.abc import Iterable
from typing import Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from mien.core.addresses import is_ip_address
from mien.core.detection import DEFAULT_DETECTOR
from mien.core.model_store import DEFAULT_MODEL
from mien.errors import MienError

VARIABLE = "MIEN_SERVE"
"""Environment variable that hands `Settings` to the process that serves, as JSON."""

TOKEN = re.compile(r"[A-Za-z0-9._~-]{8,256}")
"""What a token may look like: it must also fit into the name of a WebSocket's sub-protocol (RFC 6455)."""

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[a-z0-9._-]+(:\d{1,5})?|[a-z]+://\[[0-9a-f:]+\](:\d{1,5})?")
HOST = re.compile(r"[a-z0-9._-]+")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}
"""What browsers leave out of an origin."""

PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
OWN = {"/v1", "/static", "/healthz", "/metrics", "/openapi.json"}

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
AnySettings = TypeVar("AnySettings", bound="Settings")


def _token(token: str | None) -> str | None:
    if token is not None and not TOKEN.fullmatch(token):
        raise ValueError("must be 8 to 256 letters, digits or any of . _ ~ -")
    return token


def _prefix(root_path: str) -> str:
    path = root_path.rstrip("/")
    if path and (not PREFIX.fullmatch(path) or path.startswith(("/v1/", "/static/")) or path in OWN):
        raise ValueError("must be a path such as /faces, and none of the service's own")
    return path


def _origins(origins: tuple[str, ...]) -> tuple[str, ...]:
    lower = _in_lower_case(origin.rstrip("/") for origin in origins)
    if not all(map(ORIGIN.fullmatch, lower)):
        raise ValueError("must be scheme and host of a site, such as https://app.example")
    return tuple(name.removesuffix(DEFAULT_PORTS.get(name.partition("://")[0], "")) for name in lower)


def _hosts(hosts: tuple[str, ...]) -> tuple[str, ...]:
    lower = _in_lower_case(hosts)
    if not all(HOST.fullmatch(host) or is_ip_address(host) for host in lower):
        raise ValueError("must be names without scheme and port, such as faces.example")
    return lower


def _in_lower_case(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(name.lower() for name in names)


class Settings(BaseModel):
    """How the service is run; see docs/how-to/serve.md for what each limit protects.

    Attributes:
        model: A model's name or the path of its ``.onnx`` file.
        detector: A detector's name, or your own as ``package.module:Class``.
        min_face: Side in pixels of the faces that are looked for on images; see `Analyzer`.
        device: What the networks run on; see `mien.core.providers`.
        token: What every request but those for the page itself must bear; ``None`` asks for none.
        root_path: What a proxy puts before the service's addresses, such as ``/faces``.
        origins: Other sites whose pages may use the service, such as ``https://app.example``.
        hosts: Names under which the service may be reached, besides ``localhost`` and IP addresses.
        max_bytes: Of the body of a request with images.
        max_pixels: Of an image, or of a frame of a video.
        max_decode_s: CPU seconds that decoding an image, or a frame of a video, may take.
        max_images: Images in one request.
        max_faces: Faces on an image or a frame.
        max_requests: Requests with images at work at the same time, waiting ones included; each takes its
            place when its body is whole.
        max_held_bytes: Of the bodies of all requests with images together, those on their way included.
        max_video_bytes: Of a video.
        max_video_s: Length of a video, seconds.
        max_watch_s: Seconds that a video may be watched, however short it is; the next one waits meanwhile.
        max_jobs: Videos that wait or are watched; one is watched at a time.
        max_live: Open live sockets.
        max_sockets: Open connections of all kinds.
        upload_timeout_s: Seconds until the body of a request with images must be whole; a video may take ten
            times as long.
        client_timeout_s: Seconds that a client may take to send a request's head, to begin its body, to take
            an answer, between two live images.
        keep_rows_s: Seconds that the rows of a video are kept after the last request for them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = DEFAULT_MODEL
    detector: str = DEFAULT_DETECTOR
    min_face: Annotated[float | None, Field(ge=0, allow_inf_nan=False)] = None
    device: str = "cpu"
    token: Annotated[str | None, AfterValidator(_token)] = None
    root_path: Annotated[str, AfterValidator(_prefix)] = ""
    origins: Annotated[tuple[str, ...], AfterValidator(_origins)] = ()
    hosts: Annotated[tuple[str, ...], AfterValidator(_hosts)] = ()
    max_bytes: Count = 32 * 2**20
    max_pixels: Count = 50_000_000
    max_decode_s: Seconds = 10
    max_images: Count = 16
    max_faces: Count = 100
    max_requests: Count = 64
    max_held_bytes: Count = 256 * 2**20
    max_video_bytes: Count = 512 * 2**20
    max_video_s: Seconds = 600
    max_watch_s: Seconds = 3600
    max_jobs: Count = 4
    max_live: Count = 8
    max_sockets: Count = 256
    upload_timeout_s: Seconds = 120
    client_timeout_s: Seconds = 20
    keep_rows_s: Seconds = 600


def read_settings(kind: type[AnySettings]) -> AnySettings:
    """The settings that the environment variable `VARIABLE` holds; the defaults where it is not set.

    Raises:
        MienError: they are not JSON, or have mistakes; all are listed, without the values.
    """
    try:
        return kind.model_validate(json.loads(os.environ.get(VARIABLE, "{}")))
    except ValidationError as error:
        mistakes = (f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors())
        raise MienError(
            f"invalid settings of the service: {'; '.join(mistakes).lower().replace('value error, ', '')}"
        ) from None
    except ValueError as error:
        raise MienError(f"{VARIABLE} must hold settings as JSON, got something else") from error
