"""One clock for all videos: when each frame is shown, in seconds that only grow.

What containers and streams do with time, and what the clock makes of it:

==============================================  =========================================================
in the source                                   on the clock
==============================================  =========================================================
presentation times (MP4, MKV, TS, FLV, ...)     as they are, however unevenly spaced
decoding times alone (AVI, ASF, some MKV)       the n-th frame shown has the n-th decoding time
none (raw H.264, Y4M, a saved MJPEG stream)     frame after frame at the rate that the stream states
none, over a network (HTTP-MJPEG cameras)       when the frame arrived, from the first one on
a camera, which began to count long ago         from its first frame on
MPEG-TS, MPEG-PS, whose clocks begin anywhere   from its beginning on, as players count
any other that begins at 60 s or later          from its beginning on, as players count
a time that jumps back (joined TS, MPEG, VOB)   the next part goes on where all streams of the last ended
a single frame no later than the one before     a small step after it
more of them                                    frame after frame at the stated rate
==============================================  =========================================================

Packets are taken in the order of the file and their times are corrected in place, so that a copied sound
stays with its frames.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from av.packet import Packet

FAR_S = 60.0
"""A clock that begins here or later does not count from the video's beginning."""
BACK_S = 0.5
"""A decoding time that falls back by more begins another part; by less it is taken for jitter."""
MOST_WAITING = 64  # decoding times without a frame yet; a codec reorders 16 frames at most
RATES = (0.01, 240.0)  # frames a second that are believed
USUAL_RATE = 25.0
UNTIMED = frozenset(
    (
        "av1",
        "dirac",
        "dnxhd",
        "h261",
        "h263",
        "h264",
        "hevc",
        "m4v",
        "mjpeg",
        "mpegvideo",
        "mpjpeg",
        "obu",
        "vc1",
    )
)
"""Formats of libavformat without any time in them."""
UNZEROED = frozenset(("mpegts", "mpeg"))
"""Formats whose clock has no zero: it begins where the encoder's stood, often a second before the frames."""
UNORDERED = frozenset(("avi", "asf"))
"""Formats that hold no presentation times; those that libavformat gives are made up from the others."""
LARGEST_STAMP = 2**62


@dataclass(slots=True)
class _Place:
    """Where a stream is: which part, and its last decoding time there, as the file states it."""

    part: int = 0
    last_s: float = float("-inf")


class Clock:
    """Corrects the times of packets, and tells when each decoded frame is shown.

    Args:
        stream: The video stream, of PyAV.
        starts_now: The first frame is at 0 whatever the container says, as for a camera.
        arrival: A clock to be read when a packet arrives, where the stream has none; ``None`` for a file.

    Attributes:
        ends_s: When each stream's last frame or sound ends, by the stream's number, as the file states it.
        longest_s: The longest time between two frames.
    """

    def __init__(
        self, stream: Any, *, starts_now: bool = False, arrival: Callable[[], float] | None = None
    ) -> None:
        container = stream.container
        name = container.format.name
        rate = float(stream.average_rate or stream.guessed_rate or 0)
        self.step_s = 1 / (rate if RATES[0] <= rate <= RATES[1] else USUAL_RATE)
        self.ends_s: dict[int, float] = {}
        self.longest_s = self.step_s
        self._stream = stream
        self._starts_now, self._arrival = starts_now, arrival if name in UNTIMED else None
        self._is_unzeroed = name in UNZEROED
        self._in_order = name in UNORDERED or self._arrival is not None
        self._start_s = None if container.start_time is None else container.start_time / 1e6
        self._shifts_s: list[float] = []  # of each part
        self._places: dict[int, _Place] = {}
        self._end_s = float("-inf")  # of all parts so far
        self._waiting: deque[float] = deque(maxlen=MOST_WAITING)
        self._zero_s: float | None = None
        self._last_s: float | None = None
        self._n_late = 0

    @property
    def shift_s(self) -> float:
        """What is added to the times of the first part."""
        if self._start_s is None or self._starts_now:
            return 0.0
        return -self._start_s if self._is_unzeroed or self._start_s >= FAR_S else 0.0

    def take(self, packet: "Packet[Any]") -> bool:
        """Take the next packet of any stream, and correct its times; true where it begins another part."""
        if self._arrival is not None:
            if packet.size and packet.stream is self._stream:
                self._waiting.append(self._arrival())
            return False
        is_unordered = packet.dts is not None and (self._in_order or packet.pts is None)
        stamp = packet.dts if is_unordered else packet.pts
        if stamp is None or not packet.time_base:
            return False
        place = self._places.setdefault(packet.stream.index, _Place())
        dts_s = None if packet.dts is None else float(packet.dts * packet.time_base)
        begins = dts_s is not None and dts_s < place.last_s - BACK_S
        place.part += begins
        if dts_s is not None:
            place.last_s = dts_s
        shown_s = float(stamp * packet.time_base)
        if self._start_s is None:
            self._start_s = shown_s
        if place.part == len(self._shifts_s):
            self._shifts_s.append(self._end_s - shown_s if self._shifts_s else self.shift_s)
        self._note_end(packet, shown_s, self._shifts_s[place.part])
        _move(packet, self._shifts_s[place.part])
        if is_unordered and packet.stream is self._stream and packet.size and packet.dts is not None:
            self._waiting.append(float(packet.dts * packet.time_base))
        return begins

    def _note_end(self, packet: "Packet[Any]", shown_s: float, shift_s: float) -> None:
        lasts_s = float((packet.duration or 0) * packet.time_base)
        if not lasts_s and packet.stream is self._stream:
            lasts_s = self.step_s
        end_s, number = shown_s + lasts_s, packet.stream.index
        self.ends_s[number] = max(end_s, self.ends_s.get(number, end_s))
        self._end_s = max(self._end_s, end_s + shift_s)

    def lose(self, packet: "Packet[Any]") -> None:
        """Forget the packet that was taken last: it could not be decoded."""
        if self._waiting and packet.stream is self._stream and packet.size:
            self._waiting.pop()

    def time(self, decoded: Any) -> float:
        """When the next decoded frame is shown; later than the one before it."""
        time_s = self._stated(decoded)
        if self._starts_now or self._arrival is not None:
            self._zero_s = time_s if self._zero_s is None else self._zero_s
            time_s = None if time_s is None or self._zero_s is None else time_s - self._zero_s
        if self._last_s is None:
            time_s = 0.0 if time_s is None else time_s
        elif time_s is None:
            time_s = self._last_s + self.step_s
        elif time_s <= self._last_s:
            self._n_late += 1
            time_s = self._last_s + self.step_s / (8 if self._n_late == 1 else 1)
        else:
            self._n_late = 0
            self.longest_s = max(self.longest_s, time_s - self._last_s)
        self._last_s = time_s
        return time_s

    def _stated(self, decoded: Any) -> float | None:
        if (self._in_order or decoded.pts is None) and self._waiting:
            return self._waiting.popleft()
        if self._in_order or decoded.pts is None or not decoded.time_base:
            return None
        time_s = float(decoded.pts * decoded.time_base)
        while self._waiting and self._waiting[0] <= time_s:
            self._waiting.popleft()
        return time_s


def arrival_clock(container: Any, is_remote: bool) -> Callable[[], float] | None:
    """The clock on the wall where frames come over a network as they are made, not from a file over there."""
    return time.monotonic if is_remote and not container.size > 0 else None


def _move(packet: "Packet[Any]", by_s: float) -> None:
    shift = round(by_s / packet.time_base) if by_s else 0
    if shift:
        packet.pts, packet.dts = (
            None if stamp is None else max(-LARGEST_STAMP, min(stamp + shift, LARGEST_STAMP))
            for stamp in (packet.pts, packet.dts)
        )
