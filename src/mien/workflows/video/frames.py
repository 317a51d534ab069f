"""Read the frames of a video one by one, upright and with the times at which a player would show them.

What counts: the container's presentation times (frames may last differently long), its edit lists, and its
display matrix (a phone's video lies on a side in the file). Pixels that are not square become square. Only
frames at hand are in memory.

Its clock is that of `mien.workflows.video.clock`. The pixels of a frame are bounded.
"""

import os
import re
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import VideoError
from mien.workflows.video.clock import FAR_S, Clock, arrival_clock
from mien.workflows.video.damage import TRUNCATED_S, Damage
from mien.workflows.video.opening import Source, check_size, reason, video_stream
from mien.workflows.video.pick import Pick

if TYPE_CHECKING:
    from av.packet import Packet

Pixels = NDArray[np.uint8]

MAX_PIXELS = 89_000_000
DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")


@dataclass(frozen=True, slots=True)
class Frame:
    """One image of a video.

    Attributes:
        index: Its number in the order of presentation, from 0, also where others were left out.
        time_s: When it is shown, in seconds of the container's clock.
        pixels: Upright RGB, uint8 (H, W, 3).
    """

    index: int
    time_s: float
    pixels: Pixels


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """What a container says of itself; ``None`` where it does not know."""

    duration_s: float | None
    start_s: float
    rate: float | None
    is_live: bool


class Video:
    """An open video; use it in a ``with`` statement.

    Args:
        source: A file, the URL of a stream, or the number of a camera.
        max_pixels: Of a frame, with square pixels; checked before it is decoded, however late it comes.

    Raises:
        VideoError: it cannot be opened, or holds no images.
        VideoTooLargeError: its frames have too many pixels.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, source: str | os.PathLike[str], max_pixels: int = MAX_PIXELS) -> None:
        self.source, self.max_pixels = Source(source), max_pixels
        self.name = self.source.name
        self._turn_deg: int | None = None  # of the image whose display matrix was read last
        self._display: NDArray[np.int32] | None = None
        self.container = self.source.open()
        try:
            import av

            self._error: type[Exception] = av.FFmpegError
            self.stream = video_stream(self.container, self.name, max_pixels)
            self.sound = self.container.streams.best("audio", self.stream)
            self.clock = Clock(
                self.stream,
                starts_now=self.source.is_camera,
                arrival=arrival_clock(self.container, self.source.is_remote),
            )
            self.reformatter = av.video.reformatter.VideoReformatter()
        except BaseException:
            self.container.close()
            raise

    def __enter__(self) -> "Video":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def info(self) -> VideoInfo:
        """What the container says."""
        stream, rate = self.stream, self.stream.average_rate
        start = float(stream.start_time * stream.time_base) if stream.start_time is not None else 0.0
        duration: float | None = None
        if stream.duration is not None:
            duration = float(stream.duration * stream.time_base)
        elif match := DURATION.match(stream.metadata.get("DURATION", "")):  # of Matroska
            hours, minutes, seconds = map(float, match.groups())
            duration = 3600 * hours + 60 * minutes + seconds - start
        elif self.container.duration:
            duration = self.container.duration / 1e6
        if duration and start >= FAR_S and duration >= start:  # NUT and ASF count from 0
            duration -= start
        return VideoInfo(
            duration,
            start + self.clock.shift_s,
            float(rate) if rate else None,
            self.source.is_camera or duration is None,
        )

    @property
    def shows_once(self) -> bool:
        """Whether what it showed before will not come again."""
        return not self.source.is_file and self.info.is_live

    def frames(
        self,
        pick: Pick | None = None,
        *,
        after: int = -1,
        other: "Callable[[Packet[Any]], object] | None" = None,
    ) -> Iterator[Frame]:
        """The frames in the order of presentation; to be asked for once.

        Args:
            pick: Which ones; all by default.
            after: Only those with a higher number.
            other: Takes the packets of the sound, in the order of the file, with times of the same clock.

        Raises:
            VideoError: the video is cut off or damaged, after the last frame that could be read; or it has no
                frame such as was asked for; or it is live, and what came until ``after`` will not come again.
            VideoTooLargeError: a frame has too many pixels.
        """
        if after >= 0 and self.shows_once:
            raise VideoError(
                f"{self.name} is live and cannot be gone on with: what was watched is complete; "
                "name another file for what it shows now"
            )
        pick = pick or Pick()
        damage = Damage()
        before_s: float | None = None
        last_s: float | None = None
        index, n_wanted, is_over = -1, 0, False
        with closing(self._decoded(pick, other, damage)) as decoded:
            for image in decoded:
                time_s = self.clock.time(image)
                index, before_s, last_s = index + 1, last_s, time_s
                is_over = pick.end_s is not None and time_s >= pick.end_s
                if is_over:
                    break
                if pick.wants(index, time_s, before_s):
                    n_wanted += 1
                    if index > after:
                        yield Frame(index, time_s, self._pixels(image))
        if not is_over:
            self._refuse_damage(damage, last_s)
        if not n_wanted:
            raise VideoError(
                f"{self.name} has no frame {pick}: its frame {index + 1:,}"
                f"{'' if is_over else ', the last,'} is at {last_s:.2f} s"
            )

    def _decoded(
        self, pick: Pick, other: "Callable[[Packet[Any]], object] | None", damage: Damage
    ) -> Generator[Any]:
        """Decoded images; what cannot be decoded is left out and noted."""
        try:
            for packet in self.container.demux():
                begins = self.clock.take(packet)
                if packet.stream is not self.stream:
                    if other and packet.stream is self.sound and pick.covers(_time_of(packet)):
                        other(packet)
                    continue
                if not packet.size and packet.dts is not None:  # the last frame stays; nothing to decode
                    continue
                damage.take(packet, begins=begins)
                try:
                    yield from packet.decode()
                except self._error as error:
                    self._refuse_growth()
                    self.clock.lose(packet)
                    damage.lose(reason(error))
        except self._error as error:
            damage.stopped = reason(error)

    def _refuse_growth(self) -> None:
        """Raise where a frame could not be decoded because it has more pixels than those before."""
        context = self.stream.codec_context
        check_size(
            max(context.width, context.coded_width),
            max(context.height, context.coded_height),
            self.name,
            self.max_pixels,
        )

    def _pixels(self, image: Any) -> Pixels:
        width, height = square_size(image.width, image.height, self.stream.sample_aspect_ratio)
        check_size(width, height, self.name, self.max_pixels)
        try:
            rgb = np.asarray(self.reformatter.reformat(image, width, height, "rgb24").to_ndarray(), np.uint8)
        except (self._error, ValueError, MemoryError) as error:
            raise VideoError(f"{self.name} has a frame that cannot be decoded: {reason(error)}") from error
        matrix = self.display_matrix(image)
        return rgb if matrix is None else upright(rgb, matrix)

    def display_matrix(self, image: Any) -> NDArray[np.int32] | None:
        """The display matrix in force, if any.

        It is read again only when its turn changes: an image whose side data was asked for refers to itself,
        and waits in memory for the garbage collector, which may let hundreds of images gather.
        """
        if self._turn_deg != image.rotation:
            self._turn_deg = image.rotation
            data = image.side_data.get("DISPLAYMATRIX")
            self._display = None if data is None else np.frombuffer(memoryview(data)[:36], np.int32).copy()
        return self._display

    def _refuse_damage(self, damage: Damage, last_s: float | None) -> None:
        """Raise if the end came too early, or something on the way could not be decoded."""
        info, clock, ends_s = self.info, self.clock, self.clock.ends_s
        is_counted = self.stream.frames > 0  # else the header tells of the file, and sound may outlast images
        end_s = ends_s.get(self.stream.index, 0.0) if is_counted else max(ends_s.values(), default=0.0)
        header_end_s = info.start_s + (info.duration_s or 0.0)
        is_short = header_end_s - (end_s + clock.shift_s) > TRUNCATED_S + (
            0.0 if is_counted else clock.longest_s
        )
        is_short = is_short and not 0 < self.stream.frames <= damage.n_packets
        if self.source.is_camera:
            damage.stopped = damage.stopped or "it sends no more images"
        is_live = not self.source.is_file
        damage.refuse(self.name, last_s, header_end_s, is_short=is_short, is_live=is_live)


def _time_of(packet: "Packet[Any]") -> float:
    """When a packet is decoded; NaN, which no stretch covers, where it does not say."""
    return float("nan") if packet.dts is None else float(packet.dts * packet.time_base)


def square_size(width: int, height: int, aspect: Fraction | None) -> tuple[int, int]:
    """Width and height in square pixels, the longer in width; an absurd pixel aspect counts as square."""
    if not aspect or aspect == 1 or not Fraction(1, 3) <= aspect <= 3:
        return width, height
    return max(1, round(width * aspect)), height


def upright(pixels: Pixels, matrix: NDArray[np.int32]) -> Pixels:
    """An image turned and mirrored as a display matrix of nine numbers says, to the nearest quarter turn.

    The matrix is that of ISO/IEC 14496-12, section 6.2.2: (x, y) is shown at (ax + cy, bx + dy).
    """
    a, b, _, c, d = (int(value) for value in matrix[:5])
    if abs(a) + abs(d) < abs(b) + abs(c):
        pixels, across, down = pixels.swapaxes(0, 1), c, b
    else:
        across, down = a, d
    if across < 0:
        pixels = pixels[:, ::-1]
    if down < 0:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
