"""``mien serve``: the page and the service, on this machine by default."""

from typing import Annotated, Any

import typer

from mien.cli import server
from mien.cli.options import AllowHost, Detector, Host, Port, RunsOn, Shipped, Token

app = typer.Typer(add_completion=False)

EXAMPLES = """\b
Examples:
  mien serve
  mien serve --port 9000 --model mine
  MIEN_TOKEN=$(openssl rand -hex 16) mien serve --host 0.0.0.0
  mien serve --root-path /faces --allow-host faces.example   (behind a proxy)
  mien serve --allow-origin https://app.example   (for the pages of that site)
  curl -F image=@photo.jpg http://127.0.0.1:8000/v1/read

The page is at the printed address. /openapi.json describes the API.
"""
Number = int | None
Seconds = float | None


def limit(text: str, default: str) -> Any:
    """A number; the service has the default, and is not imported here."""
    return typer.Option(metavar="N", help=text, show_default=default)


def seconds(text: str, default: str) -> Any:
    """As `limit`, of seconds."""
    return typer.Option(metavar="S", help=text, show_default=default)


@app.command(epilog=EXAMPLES)
def serve(
    host: Host = "127.0.0.1",
    port: Port = 8000,
    model: Shipped = None,
    detector: Detector = None,
    min_face: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="Smallest face side to look for in images, approximately; lower is slower.",
            show_default="40; in large images 1/32 of the longest side",
        ),
    ] = None,
    device: RunsOn = "cpu",
    token: Token = None,
    allow_host: AllowHost = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="SITE", help="Site whose pages may use the API, such as https://app.example."),
    ] = None,
    root_path: Annotated[
        str | None, typer.Option(metavar="PATH", help="Path prefix that a proxy uses.")
    ] = None,
    max_bytes: Annotated[Number, limit("Bytes of an image request.", "32 MiB")] = None,
    max_pixels: Annotated[Number, limit("Pixels of an image.", "50,000,000")] = None,
    max_decode_seconds: Annotated[
        Seconds, seconds("CPU seconds to decode an image or a frame.", "10")
    ] = None,
    max_images: Annotated[Number, limit("Images in a request.", "16")] = None,
    max_faces: Annotated[Number, limit("Faces in an image.", "100")] = None,
    max_requests: Annotated[Number, limit("Image requests at a time, waiting ones included.", "64")] = None,
    max_held_bytes: Annotated[Number, limit("Bytes of all image requests together.", "256 MiB")] = None,
    max_video_bytes: Annotated[Number, limit("Bytes of a video.", "512 MiB")] = None,
    max_seconds: Annotated[Seconds, seconds("Seconds of video.", "600")] = None,
    max_watch_seconds: Annotated[Seconds, seconds("Seconds to read a video.", "3600")] = None,
    max_jobs: Annotated[Number, limit("Videos in the queue, with the current one.", "4")] = None,
    max_live: Annotated[Number, limit("Cameras at a time.", "8")] = None,
    max_sockets: Annotated[Number, limit("Open connections.", "256")] = None,
    upload_timeout: Annotated[
        Seconds, seconds("Seconds to upload images; 10 times as long for a video.", "120")
    ] = None,
    client_timeout: Annotated[Seconds, seconds("Seconds that a client may be silent.", "20")] = None,
    keep_rows: Annotated[
        Seconds, seconds("Seconds to keep the rows of a video after the last request.", "600")
    ] = None,
) -> None:
    """Serve a web page and an HTTP API for images, videos and cameras.

    Images stay in memory and are not kept; a video is in a temporary folder while it is read.
    Without a token, everyone who can reach the address can use it. Ctrl-C stops it.
    """
    options = {
        "model": model,
        "detector": detector,
        "min_face": min_face,
        "device": device,
        "token": token or None,
        "hosts": server.hosts(host, allow_host),
        "origins": allow_origin,
        "root_path": root_path,
        "max_bytes": max_bytes,
        "max_pixels": max_pixels,
        "max_decode_s": max_decode_seconds,
        "max_images": max_images,
        "max_faces": max_faces,
        "max_requests": max_requests,
        "max_held_bytes": max_held_bytes,
        "max_video_bytes": max_video_bytes,
        "max_video_s": max_seconds,
        "max_watch_s": max_watch_seconds,
        "max_jobs": max_jobs,
        "max_live": max_live,
        "max_sockets": max_sockets,
        "upload_timeout_s": upload_timeout,
        "client_timeout_s": client_timeout,
        "keep_rows_s": keep_rows,
    }
    config = server.config({name: value for name, value in options.items() if value is not None})
    with server.listen(host, port) as listener:
        address = server.address(host, listener.getsockname()[1])
        typer.echo(f"mien serves at {address}{f'/#token={token}' if token else ''}   (Ctrl-C ends it)")
        if not token and not server.is_local(host):
            typer.echo(
                "mien: everyone who reaches this machine may use it; set MIEN_TOKEN to ask for a token",
                err=True,
            )
        server.run(config, listener)
