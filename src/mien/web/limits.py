"""Limits of concurrency: requests at once, clients, and faces of an image."""

import asyncio
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address

from starlette.requests import HTTPConnection

from mien.core.detection import Detector, Pixels, near_finder
from mien.core.results import Face
from mien.web.errors import RefusedError


class Gate:
    """Lets so many in at once, and refuses the others.

    An eighth of the places is for clients that have none, so that no client alone can take them all.

    Args:
        most: How many.
        what: What they are, for the refusal.
    """

    def __init__(self, most: int, what: str) -> None:
        self.most, self.what = most, what
        self._inside: Counter[str] = Counter()

    @property
    def n_inside(self) -> int:
        """How many are inside."""
        return self._inside.total()

    @contextmanager
    def enter(self, client: str = "") -> Iterator[None]:
        """Be inside.

        Raises:
            RefusedError: it is full, or as good as full and the client is inside already.
        """
        n_for_it = self.most - self.most // 8 if self._inside[client] else self.most
        if self.n_inside >= n_for_it:
            raise RefusedError(
                "busy", f"{self.n_inside} {self.what} are already in progress; try again in a moment"
            )
        self._inside[client] += 1
        try:
            yield
        finally:
            self._inside[client] -= 1
            self._inside += Counter()  # forgets whoever has left


class Turns:
    """Lets so many work at once; the others wait, and the clients among them take turns.

    Args:
        width: How many work.
    """

    def __init__(self, width: int) -> None:
        self._n_free = width
        self._lines: dict[str, deque[asyncio.Future[None]]] = {}  # the client whose turn is next is first

    @asynccontextmanager
    async def turn(self, client: str) -> AsyncIterator[None]:
        """Wait until it is this client's turn, and work until the end of the ``with`` statement."""
        if self._n_free:
            self._n_free -= 1
        else:
            await self._wait(client)
        try:
            yield
        finally:
            self._go_on()

    async def _wait(self, client: str) -> None:
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._lines.setdefault(client, deque()).append(place)
        try:
            await place
        except asyncio.CancelledError:
            if not place.cancelled():  # the turn came at the same moment
                self._go_on()
            raise

    def _go_on(self) -> None:
        """Give the turn to the next who still waits for it."""
        while self._lines:
            client = next(iter(self._lines))
            line = self._lines.pop(client)
            place = line.popleft()
            if line:
                self._lines[client] = line  # behind the other clients
            if not place.cancelled():
                place.set_result(None)
                return
        self._n_free += 1


def client_of(connection: HTTPConnection) -> str:
    """Who asks, as far as the address tells: of IPv6 the half that one owner has (RFC 6177)."""
    host = connection.client.host if connection.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return str(address)
    return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))


class LimitedFinder:
    """A detector, but for images that show more faces than may be read.

    Args:
        finder: The detector; where it can look near boxes, so can this.
        max_faces: How many may be read.
    """

    def __init__(self, finder: Detector, max_faces: int) -> None:
        self.finder, self.max_faces = finder, max_faces
        near = near_finder(finder)
        self.find_near = near and (lambda image, boxes: self._checked(near(image, boxes)))

    def find(self, image: Pixels) -> Sequence[Face]:
        """See `Detector.find`.

        Raises:
            RefusedError: there are too many faces.
        """
        return self._checked(self.finder.find(image))

    def _checked(self, faces: Sequence[Face]) -> Sequence[Face]:
        if len(faces) > self.max_faces:
            raise RefusedError(
                "too_many_faces",
                f"the image shows {len(faces)} faces, more than the limit of {self.max_faces}; "
                "cut it up, or serve with a higher --max-faces",
            )
        return faces
