"""Decode a video in a separate process, so that a crash of the decoder does not end this one.

A decoder that crashes, computes without end or takes all memory becomes a `VideoError` behind the frames
that came until then. While this process looks for faces, the other one decodes the next frame.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import numpy as np

from mien.core.bounds import widen
from mien.core.child import Child, stuck_after
from mien.core.cores import can_start_python
from mien.core.reading_pool import Failure
from mien.errors import VideoError
from mien.workflows.video.decode_worker import VideoLimits, main
from mien.workflows.video.frames import Frame, Video, VideoInfo
from mien.workflows.video.opening import Source
from mien.workflows.video.pick import Pick


class CostlyVideoError(VideoError):
    """Decoding a frame took more computing than it may."""


def can_be_apart(source: str | os.PathLike[str]) -> bool:
    """Whether another process can decode a source: a file yes; streams and cameras stay with their clock."""
    given = Source(source)
    return given.is_file and not given.is_of_this_process and can_start_python()


class VideoProcess(Child):
    """A video that another process decodes; use it in a ``with`` statement, which ends the process.

    Args:
        source: A file.
        limits: What it may cost.

    Raises:
        VideoError: it cannot be opened, or holds no images.
        VideoTooLargeError: its frames have too many pixels.
        MissingExtraError: PyAV is not installed.
    """

    def __init__(self, source: str | os.PathLike[str], limits: VideoLimits | None = None) -> None:
        self.limits, self.name = limits or VideoLimits(), Source(source).name
        setup = {"source": os.fspath(source), "name": self.name, "limits": asdict(self.limits)}
        super().__init__(
            main,
            json.dumps(setup),
            limit_s=stuck_after(self.limits.max_cpu_s),
            variables={"MALLOC_ARENA_MAX": "2"},  # addresses are bounded
        )
        self._last_s: float | None = None
        widen(self.back)
        try:
            self.info = VideoInfo(**self._hear()["info"])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> "VideoProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def frames(
        self,
        pick: Pick | None = None,
        *,
        after: int = -1,
        on_time: Callable[[float], object] = lambda time_s: None,
    ) -> Iterator[Frame]:
        """As `Video.frames`; to be asked for once.

        Args:
            pick: Which ones; all by default.
            after: Only those with a higher number.
            on_time: Gets the time of every frame, those left out included.

        Raises:
            VideoError: also where the decoder fails or gets stuck.
            CostlyVideoError: a frame takes more computing than it may.
        """
        with suppress(OSError):  # what became of it is heard next
            self.to.write(json.dumps({"pick": asdict(pick or Pick()), "after": after}).encode() + b"\n")
            self.to.flush()
        while "over" not in (told := self._hear()):
            self._last_s = told["time_s"]
            on_time(told["time_s"])
            if "shape" in told:
                pixels = np.empty(told["shape"], np.uint8)
                self._read_into(pixels)
                yield Frame(told["index"], told["time_s"], pixels)

    def _hear(self) -> dict[str, Any]:
        with self.limited():
            line = self.back.readline()
        if not line.endswith(b"\n"):
            raise self._reason()
        told: dict[str, Any] = json.loads(line)
        if "error" in told:
            raise Failure(*told["error"]).error()
        return told

    def _read_into(self, pixels: np.ndarray[Any, Any]) -> None:
        with self.limited():
            n_bytes = self.back.readinto(pixels.reshape(-1).data)
        if n_bytes < pixels.size:
            raise self._reason()

    def _reason(self) -> VideoError:
        """Why the process has ended."""
        code = self.process.wait()
        where = "its beginning" if self._last_s is None else f"{self._last_s:.2f} s"
        if self.was_costly:
            return CostlyVideoError(
                f"{self.name} takes more than {self.limits.max_cpu_s:g} s of CPU time for one frame, after "
                f"{where}; convert it to H.264"
            )
        how = _signal_name(-code) if code < 0 else f"exit code {code}"
        if how in ("SIGKILL", "SIGTERM"):
            said = f"{self.name}: its decoder was ended from outside after {where} ({how})"
            return VideoError(f"{said}, as if memory ran out; free some, and watch it again")
        return VideoError(f"{self.name} crashed its decoder after {where} ({how}); convert it to H.264")


def open_video(source: str | os.PathLike[str], *, apart: bool = True) -> Video | VideoProcess:
    """A video, decoded by another process where that can be; ``apart`` false keeps it in this one."""
    return VideoProcess(source) if apart and can_be_apart(source) else Video(source)


def _signal_name(number: int) -> str:
    with suppress(ValueError):
        return signal.Signals(number).name
    return f"signal {number}"
