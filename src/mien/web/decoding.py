"""Decode images in separate processes, which limits the time and memory of each file.

A thread cannot be stopped, a process can. It ends itself after so much computing, and is replaced at the next
image.
"""

import asyncio
import json
from dataclasses import asdict

import numpy as np
from numpy.typing import NDArray

from mien.core.bounds import widen
from mien.core.child import Child, ChildPool, stuck_after
from mien.core.cores import can_start_python
from mien.core.images import ImageLimits, open_image
from mien.errors import ImageError, ImageTooLargeError
from mien.web.decode_worker import HEAD, LENGTH, PIXELS, TOO_LARGE, DecodeLimits, main
from mien.web.limits import Turns

Pixels = NDArray[np.uint8]


class CostlyError(Exception):
    """Unpacking the image took more computing than it may."""


class Lane(ChildPool["_Child"]):
    """Some processes that decode images of one kind; each starts with the first image that needs it.

    Args:
        limits: What each image may cost.
        n_processes: How many work at the same time.
        width: How many images are decoded or in memory after that; clients take turns.
    """

    def __init__(self, limits: DecodeLimits, n_processes: int, width: int) -> None:
        super().__init__(lambda: _Child(limits), n_processes, "mien-decoding")
        self.limits, self.turn = limits, Turns(width).turn

    async def decode(self, data: bytes) -> Pixels:
        """The upright RGB pixels (H, W, 3) of an image file; to be called within a `turn`.

        Raises:
            ImageError: it cannot be decoded.
            CostlyError: it takes more computing than it may.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, data)

    def _decode(self, data: bytes) -> Pixels:
        if not can_start_python():  # only sizes are bounded then
            return open_image(data, ImageLimits(self.limits.max_bytes, self.limits.max_pixels))
        return self._child().decode(data)


class _Child(Child):
    def __init__(self, limits: DecodeLimits) -> None:
        super().__init__(main, json.dumps(asdict(limits)), limit_s=stuck_after(limits.max_cpu_s))
        widen(self.to, self.back)

    def decode(self, data: bytes) -> Pixels:
        """See `Lane.decode`."""
        try:
            with self.limited():
                return self._talk(data)
        except (EOFError, OSError):
            self.close()
            if self.was_costly:
                raise CostlyError from None
            raise ImageError("bytes crashed the decoder; save the image again") from None
        except BaseException as error:
            if not isinstance(error, ImageError):
                self.close()  # no one knows what it would say next
            raise

    def _talk(self, data: bytes) -> Pixels:
        self.to.write(LENGTH.pack(len(data)))
        self.to.write(data)
        self.to.flush()
        head = self.back.read(HEAD.size)
        if len(head) < HEAD.size:
            raise EOFError
        kind, height, width = HEAD.unpack(head)
        if kind != PIXELS:
            text = self.back.read(height).decode()
            raise ImageTooLargeError(text) if kind == TOO_LARGE else ImageError(text)
        pixels = np.empty((height, width, 3), np.uint8)
        if self.back.readinto(pixels.reshape(-1).data) < pixels.size:
            raise EOFError
        return pixels
