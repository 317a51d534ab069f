"""The web server of the commands that serve: its address, its settings, and uvicorn."""

import os
import signal
import socket
import sys
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from mien.core.addresses import is_ip_address
from mien.errors import MienError, needs_extra

if TYPE_CHECKING:
    import logging

    import uvicorn

APP, PROTOCOL = "mien.web.app:served", "mien.web.sockets:TimedProtocol"
"""What uvicorn loads: the command line hands the web its settings, and never imports it."""

SETTINGS = "MIEN_SERVE"
MESSAGE_BYTES = 4 * 2**20
"""A larger message ends its WebSocket before it is whole; smaller ones the service refuses with a message."""

REFUSED_SOCKET = "ASGI callable returned without completing handshake."
"""What uvicorn logs as an error of each WebSocket that the service refuses."""

LAST_WORDS_S = 3
"""Seconds that open requests have after Ctrl-C."""


def config(settings: dict[str, Any], application: str = APP) -> "uvicorn.Config":
    """uvicorn with the application loaded, so that mistakes show before it listens."""
    import json
    import logging

    os.environ[SETTINGS] = json.dumps(settings)
    with needs_extra("mien serve", "web"):
        import fastapi  # noqa: F401
        import prometheus_client  # noqa: F401
        import python_multipart  # noqa: F401
        import uvicorn
        import websockets  # noqa: F401
        from uvicorn.importer import import_from_string
    loaded = uvicorn.Config(
        application,
        factory=True,
        http=import_from_string(PROTOCOL),  # older releases do not import it
        ws="websockets-sansio",
        ws_max_size=MESSAGE_BYTES,
        ws_per_message_deflate=False,  # JPEG does not shrink, and what inflates is a risk
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=LAST_WORDS_S,
    )
    loaded.load()
    logging.getLogger("uvicorn.error").addFilter(_is_news)
    return loaded


def _is_news(record: "logging.LogRecord") -> bool:
    """Whether uvicorn should log it: that a WebSocket was refused is no error of the service."""
    return record.getMessage() != REFUSED_SOCKET


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        MienError: it cannot be had.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise MienError(f"cannot listen on {host}, port {port}: {reason}; choose another --port") from error


def run(loaded: "uvicorn.Config", listener: socket.socket) -> None:
    """Serve until Ctrl-C, or until SIGTERM, which ends a service well: the command's exit code is 0 then."""
    import uvicorn

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # uvicorn raises it again when all has ended
    uvicorn.Server(loaded).run(sockets=[listener])


def hosts(host: str, more: list[str] | None) -> list[str]:
    """The names under which it may be reached, besides addresses: what it listens on, and ``more``."""
    return [*(more or []), *([] if is_ip_address(host) else [host])]


def address(host: str, port: int) -> str:
    """What a browser on this machine calls it."""
    name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{name}:{port}"


def is_local(host: str) -> bool:
    """Whether only this machine reaches it."""
    return host == "localhost" or (is_ip_address(host) and ip_address(host).is_loopback)
