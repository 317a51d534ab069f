"""Read the frames of a video one by one, upright and with the times at which a player would show them.

What counts: the container's presentation times (frames may last differently long), its edit lists, and its
display matrix (a phone's video lies on a side in the file). Pixels that are not square become square. Only
frames at hand are in memory.

Safety: a video comes from anywhere. Of a local file only ordinary containers are tried, none of which can
name another file or address; the pixels of a frame are bounded.
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

from mien.core.addresses import URL, shown
from mien.errors import MienError, MissingExtraError, VideoError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.packet import Packet

Pixels = NDArray[np.uint8]

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,nut,wtv,dv,gif,gxf,"
    "h264,hevc,av1,obu,ivf,m4v,mjpeg,mxf,rm,vob,wav,mp3,flac,aac,amr,mpjpeg,swf,yuv4mpegpipe,h261,h263,vc1"
)
"""Demuxers that read one stream of bytes; playlists, which lead elsewhere, are not among them. Sound alone is
opened too, to be told as such."""

LIVE_CONTAINERS = CONTAINERS + ",hls,rtsp,rtp,sdp,dash"
MAX_PIXELS = 89_000_000
TIMEOUT_S = 15.0
TRUNCATED_S = 0.2
"""A video that ends this much before the time its header tells was cut off."""
DURATION = re.compile(r"(\d+):(\d+):(\d+(?:\.\d+)?)")
EVERY = re.compile(r"(\d+(?:\.\d+)?)\s*(s|ms|frames?)")


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
class Pick:
    """Which frames are read.

    Args:
        every_s: The first frame of each such stretch of the clock, seconds; 0 takes all.
        every_frames: Those whose number is a multiple.
        start_s: From this time on, seconds.
        end_s: Before this time; ``None`` goes to the end.
    """

    every_s: float = 0.0
    every_frames: int = 1
    start_s: float | None = None
    end_s: float | None = None

    def __post_init__(self) -> None:
        if self.start_s is not None and self.end_s is not None and self.end_s <= self.start_s:
            raise MienError(f"the end must lie after the start, got {self.start_s} s to {self.end_s} s")

    def wants(self, index: int, time_s: float, before_s: float | None) -> bool:
        """Whether a frame is read, given its number, its time and that of the frame before it."""
        if (self.start_s is not None and time_s < self.start_s) or index % self.every_frames:
            return False
        if not self.every_s or before_s is None or (self.start_s is not None and before_s < self.start_s):
            return True
        return _stretch(time_s, self.every_s) != _stretch(before_s, self.every_s)


def _stretch(time_s: float, every_s: float) -> int:
    return int(np.floor(time_s / every_s + 1e-6))


def parse_every(text: str) -> tuple[float, int]:
    """``every_s`` and ``every_frames`` of a `Pick` from what a person wrote: ``0.2s``, ``40ms``, ``5frames``.

    Raises:
        MienError: it is neither.
    """
    match = EVERY.fullmatch(text.strip().lower())
    number = float(match[1]) if match else 0.0
    if match and number > 0:
        if match[2].startswith("f") and number == int(number):
            return 0.0, int(number)
        if not match[2].startswith("f"):
            return number / (1000 if match[2] == "ms" else 1), 1
    raise MienError(f"--every takes a time or a number of frames, such as 0.2s or 5frames; got '{text}'")


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

    Raises:
        VideoError: it cannot be opened, or holds no images.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        self.source = os.fspath(source)
        self.is_camera = self.source.isdecimal()
        try:
            import av
        except ImportError as error:
            raise MissingExtraError("mien watch", "PyAV", "video") from error
        self._error: type[Exception] = av.FFmpegError
        self._turn_deg: int | None = None  # of the image whose display matrix was read last
        self._display: NDArray[np.int32] | None = None
        self.name = f"camera {self.source}" if self.is_camera else repr(shown(self.source))
        try:
            self.container = self._open()
        except (av.InvalidDataError, av.ArgumentError) as error:
            raise VideoError(f"{self.name} is not a video, or its beginning is damaged or missing") from error
        except (av.FFmpegError, OSError, ValueError) as error:
            raise VideoError(f"{self.name} cannot be opened as a video: {_reason(error)}") from error
        try:
            self.stream = self._images()
            self.reformatter = av.video.reformatter.VideoReformatter()
        except BaseException:
            self.container.close()
            raise

    def _open(self) -> "InputContainer":
        import av

        if self.is_camera:
            name, file = camera(int(self.source))
            return av.open(file, format=name, timeout=TIMEOUT_S)
        if URL.match(self.source):
            options = {"format_whitelist": LIVE_CONTAINERS}
            return av.open(self.source, options=options, timeout=TIMEOUT_S)
        if os.path.isdir(self.source):
            raise IsADirectoryError(0, "it is a folder")
        if os.path.getsize(self.source) == 0 and os.path.isfile(self.source):
            raise ValueError("the file is empty")
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        return av.open(f"file:{self.source}", options=options, metadata_errors="replace")

    def _images(self) -> Any:
        """The stream of images that a player would show; not a cover that belongs to music."""
        from av.stream import Disposition

        streams = [s for s in self.container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            what = "only sound" if self.container.streams.audio else "no images"
            raise VideoError(f"{self.name} holds {what}; give a video")
        best = self.container.streams.best("video")
        stream = best if best in streams else streams[0]
        context = stream.codec_context
        if context is None:
            raise VideoError(f"{self.name} is in a format that this PyAV cannot decode; convert it to H.264")
        if context.width * context.height > MAX_PIXELS:
            raise VideoError(
                f"{self.name} has frames of {context.width} x {context.height}, over {MAX_PIXELS:,} pixels"
            )
        return stream

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
        return VideoInfo(duration, start, float(rate) if rate else None, self.is_camera or duration is None)

    def frames(
        self,
        pick: Pick | None = None,
        *,
        after: int = -1,
        other: "Callable[[Packet[Any]], object] | None" = None,
    ) -> Iterator[Frame]:
        """The frames in the order of presentation.

        Args:
            pick: Which ones; all by default.
            after: Only those with a higher number.
            other: Takes the packets of the first sound stream, in the order of the file.

        Raises:
            VideoError: the video is cut off or damaged; after the last frame that could be read.
        """
        pick = pick or Pick()
        damage = _Damage()
        before_s: float | None = None
        last_s: float | None = None
        zero_s: float | None = None
        index = -1
        with closing(self._decoded(other, damage)) as decoded:
            for image in decoded:
                time_s = self._time(image, last_s)
                if self.is_camera:  # its clock began long ago
                    zero_s = time_s if zero_s is None else zero_s
                    time_s -= zero_s
                index, before_s, last_s = index + 1, last_s, time_s
                if pick.end_s is not None and time_s >= pick.end_s:
                    return
                if pick.wants(index, time_s, before_s) and index > after:
                    yield Frame(index, time_s, self._pixels(image))
        self._refuse_damage(damage, last_s)

    def _decoded(self, other: "Callable[[Packet[Any]], object] | None", damage: "_Damage") -> Generator[Any]:
        """Decoded images; what cannot be decoded is left out and noted."""
        streams = [self.stream, *self.container.streams.audio[: 1 if other else 0]]
        try:
            for packet in self.container.demux(streams):
                if packet.stream is not self.stream:
                    if other and packet.dts is not None:
                        other(packet)
                    continue
                damage.n_packets += packet.dts is not None or packet.size > 0
                damage.n_cut += packet.is_corrupt
                try:
                    yield from packet.decode()
                except self._error as error:
                    damage.n_bad += 1
                    damage.reason = damage.reason or _reason(error)
        except self._error as error:
            damage.reason = _reason(error)
            damage.n_bad += 1

    def _time(self, image: Any, last_s: float | None) -> float:
        """The presentation time; where the container has none, one frame after the last."""
        stamp = image.pts if image.pts is not None else image.dts
        if stamp is not None and image.time_base:
            return float(stamp * image.time_base)
        rate = self.stream.average_rate or self.stream.guessed_rate or Fraction(25)
        return 0.0 if last_s is None else last_s + float(1 / rate)

    def _pixels(self, image: Any) -> Pixels:
        if image.width * image.height > MAX_PIXELS:
            raise VideoError(f"{self.name} has a frame of {image.width} x {image.height} pixels; too large")
        width, height = square_size(image.width, image.height, self.stream.sample_aspect_ratio)
        rgb = np.asarray(self.reformatter.reformat(image, width, height, "rgb24").to_ndarray(), np.uint8)
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

    def _refuse_damage(self, damage: "_Damage", last_s: float | None) -> None:
        """Raise if the end came too early, or something on the way could not be decoded."""
        info = self.info
        if last_s is None:
            raise VideoError(f"no frame of {self.name} can be decoded: {damage.reason or 'it is cut off'}")
        if self.is_camera:
            raise VideoError(f"{self.name} has stopped: {damage.reason or 'it sends no more images'}")
        told_s = info.start_s + (info.duration_s or 0.0)
        late_s = TRUNCATED_S + (1 / info.rate if info.rate else 0.0)
        is_short = told_s - last_s > late_s and not 0 < self.stream.frames <= damage.n_packets
        is_cut = os.path.isfile(self.source) and (damage.n_cut > 0 or is_short)
        if damage.n_bad > 1 or (damage.n_bad and not is_cut):
            raise VideoError(
                f"{self.name} is damaged: {damage.n_bad} packets cannot be decoded ({damage.reason}); "
                "the rest is kept"
            )
        if is_cut:
            of = f" of {told_s:.2f} s" if told_s > last_s else ""
            raise VideoError(f"{self.name} is cut off: it ends at {last_s:.2f} s{of}; the rest is kept")


@dataclass(slots=True)
class _Damage:
    """What went wrong while reading."""

    n_packets: int = 0
    n_bad: int = 0
    n_cut: int = 0
    reason: str = ""


def camera(number: int) -> tuple[str, str]:
    """The name of the demuxer and of the file for a camera, by platform."""
    import sys

    if sys.platform == "darwin":
        return "avfoundation", str(number)
    return ("dshow", f"video={number}") if sys.platform == "win32" else ("v4l2", f"/dev/video{number}")


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


def _reason(error: Exception) -> str:
    """One short line without paths."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"\s+", " ", text).strip().rstrip(".").lower()[:160]
