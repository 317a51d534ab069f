"""The process that unpacks images for the service, so that one can be ended without the service.

Files come on standard input, each after its length (`LENGTH`). What became of each goes to standard output:
`HEAD` and the pixels, or the text of the error. The process ends by itself when an image takes more
computing than it may, with `signal.SIGPROF`, and when the service is gone.
"""

import ctypes
import json
import os
import signal
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from mien.core.images import ImageLimits, open_image
from mien.errors import ImageError, ImageTooLargeError

LENGTH = struct.Struct("<Q")
HEAD = struct.Struct("<cQQ")
"""A kind, and height and width, or the length of a text and 0."""

PIXELS, TOO_LARGE, UNREADABLE = b"P", b"L", b"E"
BYTES_A_PIXEL = 24  # `mien.core.images` peaks at 17
SPARE_BYTES = 256 * 2**20
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """What unpacking an image may cost.

    Args:
        max_bytes: Of the file.
        max_pixels: Of the image.
        max_cpu_s: Seconds of computing.
        niceness: How far the process stands back behind others.
    """

    max_bytes: int
    max_pixels: int
    max_cpu_s: float
    niceness: int = 0


def give_memory_back() -> None:
    """Make the C library return large blocks to the system at once, where it is glibc.

    Images are such blocks. Left alone, glibc raises its threshold with the first of them and keeps the next
    in the arena of each thread: twice the memory under load, growing for minutes (benchmarks/serve.py).
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(option, LARGE_BYTES)


def main() -> None:
    """Serve until standard input ends."""
    limits = DecodeLimits(**json.loads(sys.argv[1]))
    files, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec may print is no answer
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the service, which then ends this
    give_memory_back()
    _bound(limits)
    with suppress(BrokenPipeError):
        while len(told := files.read(LENGTH.size)) == LENGTH.size:
            data = files.read(*LENGTH.unpack(told))
            _answer(data, limits, answers)
            answers.flush()


def _answer(data: bytes, limits: DecodeLimits, answers: BinaryIO) -> None:
    _time(limits.max_cpu_s)
    try:
        pixels = open_image(data, ImageLimits(limits.max_bytes, limits.max_pixels))
    except ImageError as error:
        kind = TOO_LARGE if isinstance(error, ImageTooLargeError) else UNREADABLE
        text = str(error).encode()
        answers.write(HEAD.pack(kind, len(text), 0) + text)
    else:
        answers.write(HEAD.pack(PIXELS, *pixels.shape[:2]))
        answers.write(pixels.data)
    finally:
        _time(0)


def _time(cpu_s: float) -> None:
    """End this process after so many seconds of computing; 0 never does."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, cpu_s)


def _bound(limits: DecodeLimits) -> None:
    """Set bounds of memory and priority, where the system knows them."""
    try:
        import resource
    except ImportError:
        return
    os.nice(limits.niceness)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump would hold somebody's image
    with suppress(OSError, ValueError), open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
        most = now + BYTES_A_PIXEL * limits.max_pixels + 3 * limits.max_bytes + SPARE_BYTES
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


if __name__ == "__main__":
    main()
