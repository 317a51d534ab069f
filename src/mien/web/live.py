"""A camera over a WebSocket: images in, rows out, always of the newest image."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from mien.errors import MienError
from mien.web.decoding import CostlyError
from mien.web.engine import Engine
from mien.web.errors import code_of, to_dict
from mien.web.security import SUBPROTOCOL

POLICY_VIOLATION = 1008


class Newest:
    """Holds one image: a newer image replaces one that was not taken in time, so that nothing lags.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._there = asyncio.Event()
        self._image: tuple[int, float, bytes] | None = None
        self.n_images = 0
        self._wanted_since_s: float | None = None

    def put(self, time_s: float, data: bytes) -> None:
        """Leave an image, in place of the one that waits."""
        self._image = self.n_images, time_s, data
        self.n_images += 1
        self._there.set()

    async def get(self) -> tuple[int, float, bytes]:
        """Number, time and bytes of the newest image that was not taken yet."""
        self._wanted_since_s = self._clock()
        await self._there.wait()
        self._wanted_since_s = None
        self._there.clear()
        image, self._image = self._image, None
        return image or await self.get()

    def waited_s(self) -> float:
        """For how long somebody has been waiting for an image; 0 while no one does."""
        return 0.0 if self._wanted_since_s is None else self._clock() - self._wanted_since_s


async def run_socket(socket: WebSocket, engine: Engine) -> None:
    """Answer a camera until it, or the time that it may be silent, ends."""
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
    client_timeout_s, newest = engine.settings.client_timeout_s, Newest()
    try:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_listen, socket, newest, client_timeout_s)
            tasks.start_soon(_answer, socket, newest, engine)
    except* WebSocketDisconnect:
        pass
    except* CostlyError:
        await socket.close(POLICY_VIOLATION, "an image took too much computing")
    except* TimeoutError:
        await socket.close(
            POLICY_VIOLATION, f"no image came, or no answer was taken, for {client_timeout_s:g} s"
        )


async def _listen(socket: WebSocket, newest: Newest, client_timeout_s: float) -> None:
    clock = asyncio.get_running_loop().time
    start = clock()
    while True:
        try:
            message = await asyncio.wait_for(socket.receive(), client_timeout_s - newest.waited_s())
        except TimeoutError:
            if newest.waited_s() >= client_timeout_s:
                raise
            continue  # this service was the slow one, and its answer may just have gone out
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect
        newest.put(clock() - start, message.get("bytes") or b"")


async def _answer(socket: WebSocket, newest: Newest, engine: Engine) -> None:
    watcher, last = engine.live_watcher(), -1
    while True:
        number, time_s, data = await newest.get()
        answer: dict[str, Any] = {"frame": number, "dropped": number - last - 1, "time_s": round(time_s, 3)}
        last = number
        is_costly = False
        try:
            (width, height), rows = await engine.watch_live(watcher, data, number, time_s)
            faces = [row.to_dict(engine.labels) for row in rows if row.person]
            answer |= {"width": width, "height": height, "faces": faces}
        except MienError as error:
            answer["error"] = to_dict(error)
            is_costly = code_of(error) == "too_costly"
        await asyncio.wait_for(socket.send_json(answer), engine.settings.client_timeout_s)
        if is_costly:  # the other cameras waited for it
            raise CostlyError
