"""Unpack images in processes of their own: what a file can take is bounded, whatever its decoder does.

A thread cannot be stopped, a process can. It ends itself after so much computing, and is replaced at the next
image.
"""

import asyncio
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict
from threading import Lock, Timer, local

import numpy as np
from numpy.typing import NDArray

from mien.core.bounds import took_too_long, widen
from mien.core.cores import can_start_python
from mien.core.images import ImageLimits, open_image
from mien.errors import ImageError, ImageTooLargeError
from mien.web.decode_worker import HEAD, LENGTH, PIXELS, TOO_LARGE, DecodeLimits
from mien.web.limits import Turns

STUCK_S, STUCK = 60, 20
"""A process counts as stuck after so many seconds on the clock, and so many for each second of computing."""

Pixels = NDArray[np.uint8]


class CostlyError(Exception):
    """Unpacking the image took more computing than it may."""


class Lane:
    """Some processes that unpack images of one kind; each starts with the first image that needs it.

    Args:
        limits: What each image may cost.
        n_processes: How many work at the same time.
        width: How many images are unpacked or in memory after that; clients take turns.
    """

    def __init__(self, limits: DecodeLimits, n_processes: int, width: int) -> None:
        self.limits, self.turn = limits, Turns(width).turn
        self._own = local()  # of each thread, its process
        self.processes: list[_Process] = []
        self._lock = Lock()
        self._threads = ThreadPoolExecutor(n_processes, "mien-decoding")

    async def decode(self, data: bytes) -> Pixels:
        """The upright RGB pixels (H, W, 3) of an image file; to be called within a `turn`.

        Raises:
            ImageError: it cannot be unpacked.
            CostlyError: it takes more computing than it may.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._decode, data)

    def close(self) -> None:
        """End the processes and their threads."""
        with self._lock:
            for process in self.processes:
                process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self.processes:
            process.close()

    def _decode(self, data: bytes) -> Pixels:
        if not can_start_python():  # only sizes are bounded then
            return open_image(data, ImageLimits(self.limits.max_bytes, self.limits.max_pixels))
        process: _Process | None = getattr(self._own, "process", None)
        if process is None or not process.is_well():
            process = self._own.process = self._start(process)
        return process.decode(data)

    def _start(self, old: "_Process | None") -> "_Process":
        with self._lock:
            if old is not None:
                old.close()
                self.processes.remove(old)
            process = _Process(self.limits)
            self.processes.append(process)
            return process


class _Process:
    """One process, used by one thread."""

    def __init__(self, limits: DecodeLimits) -> None:
        self.limits, self._is_broken, self._was_stuck = limits, False, False
        command = [sys.executable, "-P", "-m", "mien.web.decode_worker", json.dumps(asdict(limits))]
        variables = {
            **os.environ,
            "OPENBLAS_NUM_THREADS": "1",
        }  # it computes nothing, and threads take memory
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables)
        widen(self.process.stdin, self.process.stdout)

    def is_well(self) -> bool:
        """Whether it can take an image; the system may have ended it meanwhile."""
        return not self._is_broken and self.process.poll() is None

    def decode(self, data: bytes) -> Pixels:
        """See `Lane.decode`."""
        watchdog = Timer(STUCK_S + STUCK * self.limits.max_cpu_s, self._kill_stuck)
        watchdog.daemon = True
        watchdog.start()
        try:
            return self._talk(data)
        except (EOFError, OSError):
            self.close()
            raise self._reason() from None
        except BaseException as error:
            if not isinstance(error, ImageError):
                self.close()  # no one knows what it would say next
            raise
        finally:
            watchdog.cancel()

    def _talk(self, data: bytes) -> Pixels:
        to, back = self.process.stdin, self.process.stdout
        if to is None or back is None:
            raise EOFError
        to.write(LENGTH.pack(len(data)))
        to.write(data)
        to.flush()
        head = back.read(HEAD.size)
        if len(head) < HEAD.size:
            raise EOFError
        kind, height, width = HEAD.unpack(head)
        if kind != PIXELS:
            text = back.read(height).decode()
            raise ImageTooLargeError(text) if kind == TOO_LARGE else ImageError(text)
        pixels = np.empty((height, width, 3), np.uint8)
        if back.readinto(pixels.reshape(-1).data) < pixels.size:  # type: ignore[attr-defined]
            raise EOFError
        return pixels

    def _reason(self) -> Exception:
        """Why the process has ended."""
        is_costly = self._was_stuck or took_too_long(self.process.returncode)
        return CostlyError() if is_costly else ImageError("bytes made its decoder fail; save the image again")

    def _kill_stuck(self) -> None:
        self._was_stuck = True
        self.kill()

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        """End it, and wait until it has."""
        self._is_broken = True
        self.process.kill()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                with suppress(OSError):  # what could not be written
                    pipe.close()
        self.process.wait()
