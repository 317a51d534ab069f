"""Access control: token, Host and Origin, and the security headers of every response.

The service usually listens on 127.0.0.1, where any web page that the user visits could reach it. Two checks
keep such pages out: a name that an attacker points to 127.0.0.1 (DNS rebinding) shows in ``Host``, and a
request or WebSocket that another site opens shows in ``Origin``. IP addresses are always accepted as hosts:
to rebind takes a name.
"""

import hmac
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mien.core.addresses import is_ip_address
from mien.web.errors import BUG, RefusedError, refuse
from mien.web.settings import Settings

OPEN = re.compile(r"/(static/[\w.-]+|healthz|openapi\.json)?")
"""What is served without a token: nothing of it tells of images."""

SUBPROTOCOL = "mien-v1"
TOKEN_PREFIX = "bearer."
"""A browser cannot put a header on a WebSocket: it offers ``bearer.TOKEN`` as a second sub-protocol."""

POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
PREFLIGHT = {
    "Access-Control-Allow-Methods": "GET, HEAD, POST, DELETE",
    "Access-Control-Allow-Headers": "Authorization, Content-Type, Accept",
    "Access-Control-Allow-Private-Network": "true",
    "Access-Control-Max-Age": "600",
}


class Guard:
    """Refuses what does not come from a user of this service; an ASGI middleware.

    Args:
        app: What is guarded.
        settings: See there.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.hosts = {"localhost", *settings.hosts}
        self.origins = frozenset(settings.origins)
        self.token = settings.token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return

        allowed, begun = self._allowed_origin(scope), False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "websocket.close" and not begun:  # what Starlette says where no route is
                error = RefusedError("not_found", "there is no WebSocket at this address")
                await refuse(error, scope, receive, send_with_headers)
                return
            begun = True
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                headers = MutableHeaders(scope=message)
                for name, value in (_cross_origin(allowed) if allowed else {}).items():
                    headers[name] = value
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                if self.origins:
                    headers.add_vary_header("Origin")
            await send(message)

        try:
            self._check_place(scope)
            if allowed and _is_preflight(scope):
                await Response(status_code=204, headers=PREFLIGHT)(scope, receive, send_with_headers)
                return
            self._check_token(scope)
        except RefusedError as error:
            await refuse(error, scope, receive, send_with_headers)
            return
        _drop_range(scope)
        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:  # a bug: the server logs its traceback, and the client sees nothing of it
            if not begun:
                await refuse(RefusedError("internal", BUG), scope, receive, send_with_headers)
            raise

    def _allowed_origin(self, scope: Scope) -> str:
        """The other site that asks, where it may; else nothing."""
        origin = Headers(scope=scope).get("origin", "").lower()
        return origin if origin in self.origins else ""

    def _check_place(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if not self._is_known(_name(host)):
            raise RefusedError(
                "wrong_host",
                f"this service is not called {host[:100]!r}; add --allow-host {_name(host)[:100] or 'NAME'}",
            )
        origin = headers.get("origin")
        if origin is not None and origin.lower() not in self.origins and not self._is_own(origin, host):
            raise RefusedError(
                "cross_site",
                f"this request comes from the page of another site, {origin[:100]!r}; open the service's "
                "own, or add --allow-origin to mien serve",
            )

    def _check_token(self, scope: Scope) -> None:
        path = scope["path"].removeprefix(scope.get("root_path", ""))
        if self.token is not None and not OPEN.fullmatch(path):
            given = _given_token(Headers(scope=scope)).encode()
            if not hmac.compare_digest(given, self.token.encode()):
                raise RefusedError(
                    "no_token", "a token is needed; send the header 'Authorization: Bearer TOKEN'"
                )

    def _is_known(self, name: str) -> bool:
        return name in self.hosts or is_ip_address(name)

    def _is_own(self, origin: str, host: str) -> bool:
        """Whether a page of this service asks, itself or behind a proxy that has a known name."""
        try:
            place = urlsplit(origin).netloc.lower()
        except ValueError:  # it is no address at all
            return False
        return place == host.lower() or (_name(place) in self.hosts and _name(place) != "localhost")


def _is_preflight(scope: Scope) -> bool:
    """Whether a browser asks what a page may send; it has no token."""
    is_asked = "access-control-request-method" in Headers(scope=scope)
    return scope["type"] == "http" and scope["method"] == "OPTIONS" and is_asked


def _drop_range(scope: Scope) -> None:
    """Ask for a whole file: those of the page are small, and Starlette refuses parts in another shape.

    In place, as whoever counts this request looks here for its route.
    """
    scope["headers"] = [header for header in scope["headers"] if header[0] != b"range"]


def _cross_origin(origin: str) -> dict[str, str]:
    return {
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Expose-Headers": "Location, Retry-After",
        "Cross-Origin-Resource-Policy": "cross-origin",
    }


def _name(host: str) -> str:
    """A ``Host`` without its port."""
    match = re.fullmatch(r"(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?", host.lower())
    return match[1].strip("[]") if match else ""


def _given_token(headers: Headers) -> str:
    kind, _, token = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return token.strip()
    offered = (name.strip() for name in headers.get("sec-websocket-protocol", "").split(","))
    return next((name.removeprefix(TOKEN_PREFIX) for name in offered if name.startswith(TOKEN_PREFIX)), "")
