"""Open a file, a stream or a camera, and choose what is watched; or say what to do instead.

Safety: a video comes from anywhere. Of a local file only ordinary containers are tried, none of which can
name another file or address.
"""

import os
import re
import sys
from typing import TYPE_CHECKING, Any

from mien.core.addresses import URL, shown
from mien.core.image_formats import HEAD, format_of
from mien.core.paths import local_path
from mien.errors import VideoError, VideoTooLargeError, needs_extra

if TYPE_CHECKING:
    from av.container import InputContainer

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,nut,wtv,dv,gif,apng,"
    "gxf,h264,hevc,av1,obu,ivf,m4v,mjpeg,mxf,rm,vob,wav,mp3,flac,aac,amr,mpjpeg,swf,yuv4mpegpipe,h261,h263,vc1"
)
"""Demuxers that read one stream of bytes; playlists, which lead elsewhere, are not among them. Sound alone is
opened too, to be told as such."""

LIVE_CONTAINERS = CONTAINERS + ",hls,rtsp,rtp,sdp,dash"
IMAGES_IN_A_ROW = (".mjpeg", ".mjpg")
"""A stream of JPEGs, which begins as an image does; a JPEG may hold others too, so only its name tells."""

TIMEOUT_S = 15.0
ANIMATION = 2  # bit of the flags of a WebP (RFC 9649, section 2.7.1)


class Source:
    """What is watched: a file, the URL of a stream, or the number of a camera.

    Attributes:
        text: As PyAV takes it.
        name: As it may be printed.
    """

    def __init__(self, source: str | os.PathLike[str]) -> None:
        text = os.fspath(source)
        self.text = local_path(text)
        self.is_camera = text.isdecimal()
        self.is_remote = not self.is_camera and URL.match(self.text) is not None
        self.name = f"camera {text}" if self.is_camera else repr(shown(text))

    @property
    def is_file(self) -> bool:
        """Whether it is a file that will not grow while it is read."""
        return not self.is_camera and os.path.isfile(self.text)

    @property
    def is_of_this_process(self) -> bool:
        """Whether the path leads elsewhere in another process, as ``/dev/stdin`` does."""
        return os.path.abspath(self.text).startswith(("/dev/std", "/dev/fd/", "/proc/"))

    def open(self) -> "InputContainer":
        """The container.

        Raises:
            VideoError: it cannot be opened.
            MissingExtraError: PyAV is not installed.
        """
        with needs_extra("mien watch", "video", "PyAV"):
            import av
        if not self.is_camera and not self.is_remote:
            self._refuse_others()
        try:
            return self._open()
        except (av.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, av.FFmpegError) and isinstance(
                error, ValueError
            ):  # invalid data or arguments
                raise VideoError(f"{self.name} {self._no_video()}") from error
            raise VideoError(f"{self.name} cannot be opened as a video: {reason(error)}") from error

    def _open(self) -> "InputContainer":
        import av

        if self.is_camera:
            name, file = camera(int(self.text))
            return av.open(file, format=name, timeout=TIMEOUT_S)
        if self.is_remote:
            options = {"format_whitelist": LIVE_CONTAINERS}
            return av.open(self.text, options=options, timeout=TIMEOUT_S, metadata_errors="replace")
        options = {"format_whitelist": CONTAINERS, "protocol_whitelist": "file"}
        return av.open(f"file:{self.text}", options=options, metadata_errors="replace")

    def _no_video(self) -> str:
        """What is wrong with what no demuxer takes. An MP4 has its index at its end, written last."""
        if self.is_file:
            with open(self.text, "rb") as file:
                if file.read(8)[4:] == b"ftyp":
                    return "is cut off or damaged: its index is missing; copy it again, or repair it"
        return "is not a video, or its beginning is damaged or missing"

    def _refuse_others(self) -> None:
        """Raise where a path leads to what another command reads, or to nothing."""
        if self.text == "-":
            raise VideoError("standard input cannot be watched; save the video as a file and give its path")
        if os.path.isdir(self.text):
            raise VideoError(f"{self.name} is a folder; give a video file, or read its images with mien read")
        if os.path.exists(self.text) and not os.path.isfile(self.text):
            return
        try:
            with open(self.text, "rb") as file:
                head = file.read(HEAD)
        except OSError as error:
            raise VideoError(f"{self.name} cannot be opened as a video: {reason(error)}") from error
        if not head:
            raise VideoError(f"{self.name} cannot be opened as a video: the file is empty")
        kind = format_of(head)
        if kind == "WEBP" and head[12:16] == b"VP8X" and head[20] & ANIMATION:
            raise VideoError(
                f"{self.name} is an animated WebP, which mien does not play; save it as MP4 or GIF"
            )
        if kind == "JPEG" and self.text.lower().endswith(IMAGES_IN_A_ROW):
            return
        is_animated = (kind == "PNG" and b"acTL" in head) or (kind == "AVIF" and b"avis" in _brands(head))
        if kind not in (None, "GIF") and not is_animated:
            raise VideoError(f"{self.name} is an image ({kind}), not a video; read it with mien read")


def _brands(head: bytes) -> bytes:
    """What a file of ISO/IEC 14496-12 says that it is, from its beginning: names of four letters."""
    return head[8 : int.from_bytes(head[:4], "big")]


def video_stream(container: "InputContainer", name: str, max_pixels: int) -> Any:
    """The stream of images that a player would show; not a cover that belongs to music.

    Raises:
        VideoError: there is none that can be decoded.
        VideoTooLargeError: its frames have too many pixels.
    """
    from av.stream import Disposition

    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        what = "only sound" if container.streams.audio else "no images"
        raise VideoError(f"{name} holds {what}; give a video")
    best = container.streams.best("video")
    stream = best if best in streams else streams[0]
    context = stream.codec_context
    if context is None:
        raise VideoError(f"{name} is in a format that this PyAV cannot decode; convert it to H.264")
    check_size(context.width, context.height, name, max_pixels)
    context.options = {"max_pixels": str(max_pixels)}  # before a later frame takes its memory
    return stream


def check_size(width: int, height: int, name: str, max_pixels: int) -> None:
    """Raise `VideoTooLargeError` where frames have too many pixels."""
    if width * height > max_pixels:
        raise VideoTooLargeError(
            f"{name} has frames of {width} x {height} pixels, more than the limit of {max_pixels:,}; "
            "make them smaller"
        )


def camera(number: int) -> tuple[str, str]:
    """The name of the demuxer and of the file for a camera, by platform."""
    if sys.platform == "darwin":
        return "avfoundation", str(number)
    return ("dshow", f"video={number}") if sys.platform == "win32" else ("v4l2", f"/dev/video{number}")


def reason(error: Exception) -> str:
    """One short line without paths."""
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return re.sub(r"\s+", " ", text).strip().rstrip(".").lower()[:160]
