"""The video again with faces marked: H.264, the same times, the sound copied where the file can hold it."""

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mien.core.draw import annotate
from mien.core.files import atomic_write, refusals
from mien.core.outputs import check_output
from mien.core.results import Reading
from mien.core.timeline import Person, TimelineRow
from mien.errors import MienError
from mien.workflows.video.frames import Pixels, Video
from mien.workflows.video.sound import Sound
from mien.workflows.video.watcher import Watched

if TYPE_CHECKING:
    from av.packet import Packet

SUFFIXES = (".mp4", ".mov", ".mkv")
QUALITY = {"preset": "veryfast", "crf": "20"}
CLOCK = Fraction(1, 90_000)
LARGEST_SIDE = 16_384
"""Pixels that x264 takes."""


class AnnotatedVideo:
    """Takes frames with their rows, and packets of sound; a file that appears at the end of the ``with``.

    It appears also where the video ends too early or is stopped, with what there is.

    Args:
        path: An ``.mp4``, ``.mov`` or ``.mkv`` file; one that exists is replaced.
        video: Where frames and sound come from.
        sound: Whether it gets the sound.

    Raises:
        MienError: the suffix or the folder is wrong, it is the video itself, or the sound does not fit.
    """

    def __init__(self, path: Path, video: Video, *, sound: bool = True) -> None:
        if path.suffix.lower() not in SUFFIXES:
            raise MienError(f"an annotated video is an {', '.join(SUFFIXES)} file, got '{path.name}'")
        check_output(path)
        source = video.source.text
        if os.path.exists(path) and os.path.exists(source) and os.path.samefile(path, source):
            raise MienError(f"{path} is the input video; write to another file")
        self.path, self.video = path, video
        self._waiting: list[Packet[Any]] = []
        self._stream: Any = None
        self._sound: Sound | None = None
        self._keeps_sound = sound
        self._last = -1

    def __enter__(self) -> "AnnotatedVideo":
        import av

        self._whole = atomic_write(self.path)
        self._temporary = self._whole.__enter__()
        self._container = av.open(str(self._temporary), "w")
        if self._keeps_sound and self.video.sound is not None:
            try:
                self._sound = Sound(self._container, self.video.sound)
            except BaseException as error:
                self.__exit__(type(error), error, None)
                raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        try:
            with refusals(self.path):
                self._finish()
        except BaseException as failed:
            self._whole.__exit__(type(failed), failed, None)
            raise
        if self._stream is None and kind is None:
            kind, error = MienError, MienError("no frame")  # an empty file must not appear
        self._whole.__exit__(None if self._stream is not None else kind, error, trace)

    def _finish(self) -> None:
        if self._stream is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            for packet in self._sound.rest() if self._sound else ():
                self._container.mux(packet)
        self._container.close()

    def sound(self, packet: "Packet[Any]") -> None:
        """Take a packet of the sound."""
        if self._sound is None:
            return
        if self._stream is None:
            self._waiting.append(packet)
            return
        with refusals(self.path):
            for ready in self._sound.take(packet):
                self._container.mux(ready)

    def write(self, watched: Watched) -> None:
        """Take the next frame; its pixels must have been kept."""
        import av

        if watched.pixels is None:
            return
        first = watched.rows[0]
        pixels = even(draw(watched.pixels, watched.rows))
        if self._stream is None:
            self._check_size(watched.pixels)
            self._start(pixels)
        frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
        clock = self.video.stream.time_base or CLOCK
        frame.time_base, frame.pts = clock, max(round(first.time_s / clock), self._last + 1)
        self._last = frame.pts
        if (frame.width, frame.height) != (self._stream.width, self._stream.height):
            frame = frame.reformat(self._stream.width, self._stream.height)
        with refusals(self.path):
            for packet in self._stream.encode(frame):
                self._container.mux(packet)

    def _check_size(self, pixels: Pixels) -> None:
        height, width = pixels.shape[:2]
        if min(height, width) < 2 or max(height, width) > LARGEST_SIDE:
            raise MienError(
                f"{self.path} cannot be written: H.264 holds frames of 2 to {LARGEST_SIDE:,} pixels a side, "
                f"this video has {width:,} x {height:,}; leave --annotate out, or scale the video first"
            )

    def _start(self, pixels: Pixels) -> None:
        rate = self.video.stream.average_rate or Fraction(25)
        self._stream = self._container.add_stream("libx264", rate=rate, options=QUALITY)
        self._stream.height, self._stream.width = pixels.shape[:2]
        self._stream.pix_fmt = "yuv420p"
        self._stream.codec_context.time_base = self.video.stream.time_base or CLOCK
        for packet in self._waiting:
            self.sound(packet)
        self._waiting = []


def draw(pixels: Pixels, rows: Sequence[TimelineRow]) -> Pixels:
    """A frame's image with a box, a label and smoothed bars for each person."""
    persons = [row.person for row in rows if row.person]
    readings = [Reading(p.reading.face, p.reading.labels, p.smooth_probs) for p in persons]
    return annotate(pixels, readings, [tag(person) for person in persons])


def tag(person: Person) -> str:
    """``2  happy 87%``: the person's number, the label and its smoothed probability."""
    labels = person.reading.labels
    share = f" {person.smooth_probs[labels.index(person.label)]:.0%}" if person.label in labels else ""
    return f"{person.track}  {person.label}{share}"


def even(pixels: Pixels) -> Pixels:
    """Without a last odd row or column, which yuv420p cannot hold."""
    height, width = pixels.shape[:2]
    return pixels[: height // 2 * 2, : width // 2 * 2]
