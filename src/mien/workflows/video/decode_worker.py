"""The process that decodes one video for a parent process, and can be ended without losing rows.

It sends lines of JSON on standard output: first what the container says, then, once standard input has said
which frames, a line for every frame and behind it the pixels of those that are wanted; at last ``over`` or
``error``. It ends by itself when a frame takes more computing than it may, and when nobody listens any more.
"""

import json
import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mien.core.bounds import bound, end_after, leave_signals_to_parent
from mien.errors import MienError
from mien.workflows.video.frames import MAX_PIXELS, Frame, Video
from mien.workflows.video.pick import Pick

BYTES_A_PIXEL = 64  # 17 frames that others refer to, of up to 3 bytes; and RGB
SPARE_BYTES = 2**30
"""Of addresses: each thread of a decoder takes some for its stack."""

Send = Callable[..., None]


@dataclass(frozen=True, slots=True)
class VideoLimits:
    """What decoding a video may cost.

    Args:
        max_pixels: Of a frame.
        max_cpu_s: Seconds of computing from one frame to the next; an honest one of `MAX_PIXELS` takes 3.
    """

    max_pixels: int = MAX_PIXELS
    max_cpu_s: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class _ReportingPick(Pick):
    """A pick that tells of each frame that it leaves out, and begins the time of the next."""

    after: int
    limits: VideoLimits
    send: Send

    def wants(self, index: int, time_s: float, before_s: float | None) -> bool:
        end_after(self.limits.max_cpu_s)
        is_wanted = Pick.wants(self, index, time_s, before_s)
        if not is_wanted or index <= self.after:
            self.send({"time_s": time_s})
        return is_wanted


def main() -> None:
    """Decode the video that the arguments name."""
    setup = json.loads(sys.argv[1])
    limits = VideoLimits(**setup["limits"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec may print is no answer
    leave_signals_to_parent()
    bound(BYTES_A_PIXEL * limits.max_pixels + SPARE_BYTES)

    def send(told: dict[str, Any], pixels: Any = b"") -> None:
        answers.write(json.dumps(told).encode() + b"\n")
        answers.write(pixels)
        answers.flush()

    end_after(limits.max_cpu_s)
    with suppress(BrokenPipeError):
        try:
            _decode(setup["source"], limits, send)
        except MienError as error:
            send({"error": [type(error).__name__, str(error)]})
        except MemoryError:
            send({"error": ["VideoError", f"{setup['name']} takes more memory than it may; convert it"]})
        except BrokenPipeError:
            raise
        except Exception:
            send({"error": ["", traceback.format_exc()]})


def _decode(source: str, limits: VideoLimits, send: Send) -> None:
    with Video(source, limits.max_pixels) as video:
        send({"info": asdict(video.info)})
        line = sys.stdin.readline()
        if not line:
            return
        wanted = json.loads(line)
        pick = _ReportingPick(**wanted["pick"], after=wanted["after"], limits=limits, send=send)
        for frame in video.frames(pick, after=wanted["after"]):
            _send_frame(frame, send)
        send({"over": True})


def _send_frame(frame: Frame, send: Send) -> None:
    told = {"index": frame.index, "time_s": frame.time_s, "shape": frame.pixels.shape}
    send(told, np.ascontiguousarray(frame.pixels).data)
