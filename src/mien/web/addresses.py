"""URL paths of clients: below the prefix of a proxy, and HEAD where there is GET."""

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Prefixed:
    """Serves below a prefix, whether or not the proxy takes it off; an ASGI middleware.

    Args:
        app: What is served.
        prefix: Such as ``/faces``; empty for none.
    """

    def __init__(self, app: ASGIApp, prefix: str) -> None:
        self.app, self.prefix = app, prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.prefix and scope["type"] in ("http", "websocket"):
            path, prefix = scope["path"], self.prefix
            if path == prefix and scope["type"] == "http":  # the page's own addresses begin at its last slash
                await RedirectResponse(f"{prefix}/")(scope, receive, send)
                return
            scope = {**scope, "root_path": prefix}
            scope["path"] = path if path.startswith(f"{prefix}/") else f"{prefix}{path}"
        await self.app(scope, receive, send)


class Heads:
    """Answers HEAD as GET without a body; an ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self.app(scope, receive, send)
            return
        is_over = False

        async def send_head(message: Message) -> None:
            nonlocal is_over
            if is_over:
                return
            await send(message)
            if message["type"] == "http.response.start":
                is_over = True
                await send({"type": "http.response.body", "body": b""})

        async def receive_until_over() -> Message:
            return {"type": "http.disconnect"} if is_over else await receive()  # what streams shall stop

        scope["method"] = "GET"  # in place: whoever counts this request looks here for its route
        try:
            await self.app(scope, receive_until_over, send_head)
        finally:
            scope["method"] = "HEAD"
