"""How much is taken in: bodies by bytes and pace, work by how much of it goes on at once, faces by number."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from starlette.requests import Request
from starlette.types import Message

from mien.core.mtcnn import Mtcnn
from mien.core.results import Box, Face
from mien.web.errors import RefusedError

LEAST_PACE = 16 * 1024
"""Bytes a second that a client must send on average, once its patience is used up."""

Pixels = NDArray[np.uint8]


class Gate:
    """Lets so many in at once, and refuses the others.

    Args:
        most: How many.
        what: What they are, for the refusal.
    """

    def __init__(self, most: int, what: str) -> None:
        self.most, self.what, self.n_inside = most, what, 0

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Be inside.

        Raises:
            RefusedError: it is full.
        """
        if self.n_inside >= self.most:
            raise RefusedError("busy", f"{self.most} {self.what} are at work already; try again in a moment")
        self.n_inside += 1
        try:
            yield
        finally:
            self.n_inside -= 1


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """What the body of a request may cost.

    Args:
        max_bytes: Its size.
        patience_s: Seconds that it may lag behind `LEAST_PACE`.
        flag: The option that raises ``max_bytes``.
    """

    max_bytes: int
    patience_s: float
    flag: str

    def too_large(self) -> RefusedError:
        return RefusedError(
            "too_large",
            f"the request has more than {self.max_bytes:,} bytes; send less, or serve with a higher "
            f"{self.flag}",
        )


def limited(request: Request, limits: BodyLimits) -> Request:
    """The same request, whose body fails as soon as it is too large or too slow.

    Raises:
        RefusedError: it says itself that it is too large.
    """
    told = request.headers.get("content-length", "0")
    if not told.isdecimal() or int(told) > limits.max_bytes:
        raise limits.too_large()
    clock = asyncio.get_running_loop().time
    start, n_bytes = clock(), 0

    async def receive() -> Message:
        nonlocal n_bytes
        left = start + limits.patience_s + n_bytes / LEAST_PACE - clock()
        try:
            message = await asyncio.wait_for(request.receive(), max(left, 0))
        except TimeoutError:
            raise RefusedError("too_slow", "the request's body came too slowly; send it again") from None
        n_bytes += len(message.get("body", b""))
        if n_bytes > limits.max_bytes:
            raise limits.too_large()
        return message

    return Request(request.scope, receive)


class LimitedFinder:
    """`Mtcnn`, but for pictures that show more faces than may be read."""

    def __init__(self, finder: Mtcnn, max_faces: int) -> None:
        self.finder, self.max_faces = finder, max_faces

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """See `Mtcnn.find`.

        Raises:
            RefusedError: there are too many faces.
        """
        return self._checked(self.finder.find(image))

    def find_many(self, images: Sequence[Pixels]) -> list[tuple[Face, ...]]:
        """See `Mtcnn.find_many`."""
        return [self.find(image) for image in images]

    def find_near(self, image: Pixels, boxes: Sequence[Box]) -> tuple[Face, ...]:
        """See `Mtcnn.find_near`."""
        return self._checked(self.finder.find_near(image, boxes))

    def _checked(self, faces: tuple[Face, ...]) -> tuple[Face, ...]:
        if len(faces) > self.max_faces:
            raise RefusedError(
                "too_many_faces",
                f"the picture shows {len(faces)} faces, more than the limit of {self.max_faces}; "
                "cut it up, or serve with a higher --max-faces",
            )
        return faces
