"""Timeouts of idle connections, which uvicorn's own protocol leaves to a proxy."""

import asyncio
import json
from http import HTTPStatus
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from mien.web.errors import RETRY_S
from mien.web.settings import Settings

HEAD = "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d\r\n"
GRACE = 0.1
"""Share of the client timeout that a connection has to itself, before it may give way to a newer one."""


class TimedProtocol(H11Protocol):
    """HTTP/1.1 with timeouts.

    A connection is cut off when for so long no request of it is complete, or its client takes no byte of an
    answer. When too many are open, the one whose client has been waited for the longest gives way, after its
    `GRACE`; where there is none, the new one is turned away. The settings come with the state of the
    application, and so does what to ``stop`` when the server begins to end: answers without an end.
    """

    _waiting: asyncio.TimerHandle | None = None
    _sending: asyncio.TimerHandle | None = None
    _is_websocket = False
    since_s = 0.0  # when the client's turn began

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        self._settings: Settings = self.app_state["settings"]
        super().connection_made(transport)
        self.since_s = self.loop.time()
        if len(self.connections) > self._settings.max_sockets and not self._make_room():
            self._refuse(503, "busy", "all connections are taken; try again in a moment")
            return
        self._watch()

    def data_received(self, data: bytes) -> None:
        if not self.transport.is_closing():
            super().data_received(data)
            self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self.since_s = self.loop.time()
        self._watch()

    def handle_websocket_upgrade(self, event: Any) -> None:
        super().handle_websocket_upgrade(event)
        self._is_websocket = True

    def shutdown(self) -> None:
        self.app_state.get("stop", lambda: None)()
        super().shutdown()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._waiting)
        _cancel(self._sending)
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._sending = self.loop.call_later(self._settings.client_timeout_s, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._sending)
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Say that what came is no HTTP, in the shape of every error; amid an answer, just close."""
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self._refuse(400, "bad_request", "this is not an HTTP/1.1 request")
        else:
            self.transport.close()

    def _refuse(self, status: int, code: str, message: str) -> None:
        """Answer before there is a request to answer, and close."""
        body = json.dumps({"error": {"code": code, "message": message}})
        head = HEAD % (status, HTTPStatus(status).phrase, len(body))
        if code == "busy":
            head += f"Retry-After: {RETRY_S}\r\n"
        self.transport.write(f"{head}\r\n{body}".encode("ascii"))
        self.transport.close()

    def _make_room(self) -> bool:
        """Cut off the connection whose client has been waited for the longest; whether there is one."""
        before_s = self.loop.time() - GRACE * self._settings.client_timeout_s
        others = (one for one in self.connections if isinstance(one, TimedProtocol) and one is not self)
        waited_for = [one for one in others if one.is_waited_for() and one.since_s < before_s]
        if not waited_for:
            return False
        min(waited_for, key=lambda one: one.since_s).transport.abort()
        return True

    def is_waited_for(self) -> bool:
        """Whether it is the client's turn: to send a request, or the rest of one."""
        is_idle = self.cycle is None or self.cycle.response_complete
        return (
            not self._is_websocket and not self.transport.is_closing() and (is_idle or self.cycle.more_body)
        )

    def _watch(self) -> None:
        """Let the time run while there is no request to answer, and only then."""
        is_idle = self.cycle is None or self.cycle.response_complete
        if not is_idle or self._is_websocket:
            _cancel(self._waiting)
            self._waiting = None
        elif self._waiting is None:
            self._waiting = self.loop.call_later(self._settings.client_timeout_s, self.transport.abort)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
