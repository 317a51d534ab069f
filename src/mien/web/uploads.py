"""Limits of uploads: time for each request body, and total bytes.

No one keeps a place by sending slowly: places are taken when a body is whole. Until then it costs only its
bytes, and where these run out, the body that has been coming for the longest gives way to the others.
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from starlette.requests import Request
from starlette.types import Message

from mien.web.errors import RefusedError

LEAST_PACE = 16 * 1024
"""Bytes a second that a client must send on average, once the client timeout is used up."""


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What the body of a request may cost.

    Args:
        max_bytes: Its size.
        client_timeout_s: Seconds that it may lag behind `LEAST_PACE`.
        max_s: Seconds until it must be whole, however fast it comes.
        flag: The option that raises ``max_bytes``.
    """

    max_bytes: int
    client_timeout_s: float
    max_s: float
    flag: str

    def too_large(self) -> RefusedError:
        return RefusedError(
            "too_large",
            f"the request has more than {self.max_bytes:,} bytes; send less, or serve with a higher "
            f"{self.flag}",
        )


class UploadGate:
    """All bodies of one kind.

    Args:
        limits: What each may cost.
        most_bytes: Of all together; one alone always fits.
    """

    def __init__(self, limits: BodyLimits, most_bytes: int) -> None:
        self.limits, self.most_bytes, self.n_bytes = limits, max(most_bytes, limits.max_bytes), 0
        self._coming: dict[Body, None] = {}  # the one that has been coming for the longest is first

    @contextmanager
    def body(self, request: Request) -> Iterator["Body"]:
        """The body of a request, whose bytes count until the end of the ``with`` statement.

        Raises:
            RefusedError: it says itself that it is too large.
        """
        length = request.headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.max_bytes:
            raise self.limits.too_large()
        body = Body(request, self)
        self._coming[body] = None
        try:
            yield body
        finally:
            self.settle(body)
            self.n_bytes -= body.n_bytes

    def settle(self, body: "Body") -> None:
        """It is whole, and gives way to none any more."""
        self._coming.pop(body, None)

    def count(self, body: "Body", n_bytes: int) -> None:
        """Make room for more bytes of ``body``, which may have to give way itself."""
        body.n_bytes += n_bytes
        self.n_bytes += n_bytes
        while self.n_bytes > self.most_bytes and self._coming:
            oldest = next(iter(self._coming))
            self.settle(oldest)
            self.n_bytes -= oldest.n_bytes
            oldest.give_way()


class Body:
    """The body of one request, on its way in.

    Attributes:
        n_bytes: How many of its bytes are kept.
        request: The same request, whose body fails as soon as it is too large, too slow or has to give way.
    """

    def __init__(self, request: Request, gate: UploadGate) -> None:
        self.n_bytes, self._n_read, self._gave_way = 0, 0, False
        self._gate, self._receive = gate, request.receive
        self._loop = asyncio.get_running_loop()
        self._start_s = self._loop.time()
        self._timeout: asyncio.Timeout | None = None
        self.request = Request(request.scope, self._receive_in_time)

    def give_way(self) -> None:
        """Fail, at once if the next bytes are waited for."""
        self.n_bytes, self._gave_way = 0, True
        if self._timeout is not None and not self._timeout.expired():
            self._timeout.reschedule(self._loop.time())

    async def _receive_in_time(self) -> Message:
        limits = self._gate.limits
        left_s = min(limits.max_s, limits.client_timeout_s + self._n_read / LEAST_PACE)
        try:
            async with asyncio.timeout_at(self._start_s + left_s) as self._timeout:
                message = await self._receive()
        except TimeoutError:
            self._refuse_if_gave_way()
            raise RefusedError("too_slow", "the request's body arrived too slowly; send it again") from None
        finally:
            self._timeout = None
        self._refuse_if_gave_way()
        n_bytes = len(message.get("body", b""))
        self._n_read += n_bytes
        if self._n_read > limits.max_bytes:
            raise limits.too_large()
        self._gate.count(self, n_bytes)
        self._refuse_if_gave_way()
        if not message.get("more_body", False):
            self._gate.settle(self)
        return message

    def _refuse_if_gave_way(self) -> None:
        if self._gave_way:
            raise RefusedError(
                "busy", "too many uploads at the moment, and this was the slowest; try again later"
            )
