"""Damage met while a video is decoded, and the error that reports it at the end."""

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from mien.errors import VideoError

if TYPE_CHECKING:
    from av.packet import Packet

TRUNCATED_S = 0.2
"""A video that ends this much before the time its header tells was cut off."""
LAST = 3


@dataclass(slots=True)
class Damage:
    """Counts of packets, and the first reason why one could not be decoded.

    Attributes:
        n_packets: Of the video stream.
        n_bad: That cannot be decoded.
        n_torn: Of which a part is missing; not where two files were joined.
        last: Which of the last packets are torn; the reader may notice the end of a file a packet too early.
        stopped: Why reading ended before the end of the file.
    """

    n_packets: int = 0
    n_bad: int = 0
    n_torn: int = 0
    last: deque[bool] = field(default_factory=lambda: deque(maxlen=LAST))
    reason: str = ""
    stopped: str = ""

    def take(self, packet: "Packet[Any]", *, begins: bool) -> None:
        """Count a packet of the video stream; ``begins`` where another part begins with it."""
        if not packet.size:
            return
        self.n_packets += 1
        if begins:
            self.n_torn -= sum(self.last)
            self.last.clear()
        self.last.append(packet.is_corrupt and not begins)
        self.n_torn += self.last[-1]

    def lose(self, reason: str) -> None:
        """Count a packet that cannot be decoded."""
        self.n_bad += 1
        self.reason = self.reason or reason

    def refuse(
        self, name: str, last_s: float | None, header_end_s: float, *, is_short: bool, is_live: bool
    ) -> None:
        """Raise if the end came too early, or something on the way could not be decoded.

        Args:
            name: Of the video.
            last_s: Time of the last frame; ``None`` without one.
            header_end_s: When the video ends by its header; 0 where that says nothing.
            is_short: Whether it ends before.
            is_live: It has no known end, and a broken connection is no damage.

        Raises:
            VideoError: as above.
        """
        if last_s is None:
            raise VideoError(
                f"no frame of {name} can be decoded: {self.reason or self.stopped or 'it is cut off'}"
            )
        if is_live and self.stopped:
            raise VideoError(f"{name} has stopped at {last_s:.2f} s: {self.stopped}; the rest is kept")
        is_cut = not is_live and (any(self.last) or is_short)
        n_bad = self.n_bad + bool(self.stopped) + self.n_torn - sum(self.last)
        if n_bad > 1 or (n_bad and not is_cut):
            why = self.reason or self.stopped or "parts of them are missing"
            raise VideoError(
                f"{name} is damaged: {n_bad} packets cannot be decoded ({why}); the rest is kept"
            )
        if is_cut:
            of = f" of {header_end_s:.2f} s" if header_end_s > last_s else ""
            raise VideoError(f"{name} is cut off: it ends at {last_s:.2f} s{of}; the rest is kept")
