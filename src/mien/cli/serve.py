"""``mien serve``: the page and the service, on this machine unless told otherwise."""

import os
import socket
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mien.errors import MienError, MissingExtraError

if TYPE_CHECKING:
    import uvicorn

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien serve
  mien serve --port 9000 --model mine
  MIEN_TOKEN=$(openssl rand -hex 16) mien serve --host 0.0.0.0
  curl -F image=@photo.jpg http://127.0.0.1:8000/v1/read

The page is at the address it prints; the service is described at /openapi.json.
"""
APP, PROTOCOL = "mien.web.app:served", "mien.web.sockets:TimedProtocol"
"""What uvicorn loads: the command line hands the web its settings, and never imports it."""

SETTINGS = "MIEN_SERVE"
LAST_WORDS_S = 3
"""Seconds that open requests have after Ctrl-C."""


@app.command(epilog=EXAMPLES)
def serve(
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 is every one.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8000,
    model: Annotated[
        str | None, typer.Option(metavar="NAME", help="A model's name (see `mien models`) or .onnx file.")
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="MIEN_TOKEN", help="Ask for this token; better set than typed.", show_default=False
        ),
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="A name that clients may call this machine by.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="N", help="Bytes of a request with pictures.")
    ] = None,
    max_pixels: Annotated[int | None, typer.Option(metavar="N", help="Pixels of a picture.")] = None,
    max_images: Annotated[int | None, typer.Option(metavar="N", help="Pictures in a request.")] = None,
    max_faces: Annotated[int | None, typer.Option(metavar="N", help="Faces on a picture.")] = None,
    max_requests: Annotated[int | None, typer.Option(metavar="N", help="Requests read at a time.")] = None,
    max_video_bytes: Annotated[int | None, typer.Option(metavar="N", help="Bytes of a video.")] = None,
    max_seconds: Annotated[float | None, typer.Option(metavar="S", help="Length of a video.")] = None,
    max_jobs: Annotated[
        int | None, typer.Option(metavar="N", help="Videos that wait or are watched.")
    ] = None,
    max_live: Annotated[int | None, typer.Option(metavar="N", help="Cameras at a time.")] = None,
    max_sockets: Annotated[int | None, typer.Option(metavar="N", help="Open connections.")] = None,
    patience: Annotated[float | None, typer.Option(metavar="S", help="Seconds a client may dawdle.")] = None,
    keep: Annotated[
        float | None, typer.Option(metavar="S", help="Seconds that the rows of a video are kept.")
    ] = None,
) -> None:
    """Serve a page and a service that read pictures, videos and cameras.

    Pictures stay in memory and are forgotten at once; a video lies in a temporary folder while it is
    watched. Without a token everyone who reaches the address may use it. Ctrl-C ends it.
    """
    told = {
        "model": model,
        "token": token or None,
        "hosts": [*(allow_host or []), *([] if _is_address(host) else [host])],
        "max_bytes": max_bytes,
        "max_pixels": max_pixels,
        "max_images": max_images,
        "max_faces": max_faces,
        "max_requests": max_requests,
        "max_video_bytes": max_video_bytes,
        "max_video_s": max_seconds,
        "max_jobs": max_jobs,
        "max_live": max_live,
        "max_sockets": max_sockets,
        "patience_s": patience,
        "keep_s": keep,
    }
    config = _config({name: value for name, value in told.items() if value is not None})
    with _listen(host, port) as listener:
        address = _address(host, listener.getsockname()[1])
        typer.echo(f"mien serves at {address}{f'/#token={token}' if token else ''}   (Ctrl-C ends it)")
        if not token and not _is_local(host):
            typer.echo(
                "mien: everyone who reaches this machine may use it; set MIEN_TOKEN to ask for a token",
                err=True,
            )
        _run(config, listener)


def _config(told: dict[str, Any], application: str = APP) -> "uvicorn.Config":
    """uvicorn with the application loaded, so that mistakes show before it listens."""
    import json

    os.environ[SETTINGS] = json.dumps(told)
    try:
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("mien serve", str(error.name), "web") from error
    config = uvicorn.Config(
        application,
        factory=True,
        http=PROTOCOL,
        ws="websockets-sansio",
        ws_per_message_deflate=False,  # JPEG does not shrink, and what inflates is a risk
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_WORDS_S,
    )
    config.load()
    return config


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MienError(f"cannot listen on {host}, port {port}: {reason}; choose another --port") from error


def _run(config: "uvicorn.Config", listener: socket.socket) -> None:
    import uvicorn

    uvicorn.Server(config).run(sockets=[listener])


def _address(host: str, port: int) -> str:
    """What a browser on this machine calls it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _is_local(host: str) -> bool:
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)
