"""The process that decodes images for the service, so that it can be ended without the service.

Files come on standard input, each after its length (`LENGTH`). What became of each goes to standard output:
`HEAD` and the pixels, or the text of the error. The process ends by itself when an image takes more
computing than it may, with `signal.SIGPROF`, and when the service is gone.
"""

import json
import os
import struct
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

from mien.core.bounds import bound, end_after, give_memory_back, leave_signals_to_parent
from mien.core.images import ImageLimits, open_image
from mien.errors import ImageError, ImageTooLargeError

LENGTH = struct.Struct("<Q")
HEAD = struct.Struct("<cQQ")
"""A kind, and height and width, or the length of a text and 0."""

PIXELS, TOO_LARGE, UNREADABLE = b"P", b"L", b"E"
BYTES_A_PIXEL = 24  # `mien.core.images` peaks at 17
SPARE_BYTES = 256 * 2**20


@dataclass(frozen=True, slots=True)
class DecodeLimits:
    """Limits on decoding an image.

    Args:
        max_bytes: Of the file.
        max_pixels: Of the image.
        max_cpu_s: CPU seconds.
        niceness: The niceness of the process.
    """

    max_bytes: int
    max_pixels: int
    max_cpu_s: float
    niceness: int = 0


def main() -> None:
    """Serve until standard input ends."""
    limits = DecodeLimits(**json.loads(sys.argv[1]))
    files, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a codec may print is no answer
    leave_signals_to_parent()
    give_memory_back()
    bound(BYTES_A_PIXEL * limits.max_pixels + 3 * limits.max_bytes + SPARE_BYTES, limits.niceness)
    with suppress(BrokenPipeError):
        while len(told := files.read(LENGTH.size)) == LENGTH.size:
            data = files.read(*LENGTH.unpack(told))
            _answer(data, limits, answers)
            answers.flush()


def _answer(data: bytes, limits: DecodeLimits, answers: BinaryIO) -> None:
    end_after(limits.max_cpu_s)
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
        end_after(0)
