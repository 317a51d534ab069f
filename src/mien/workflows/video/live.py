"""Live images: always the newest one, so that what is shown never lags behind."""

import threading
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any

from mien.workflows.video.frames import Frame


class Newest:
    """Frames read on a thread of their own; whoever asks gets the newest, and those before it are dropped.

    Use it in a ``with`` statement, at whose end the thread stops after the frame that it waits for.

    Args:
        frames: Read as fast as they come.
        at_own_pace: Whether each is held back until its time, as a player does, because they are of a file.
    """

    def __init__(self, frames: Iterator[Frame], *, at_own_pace: bool = False) -> None:
        self._stopped = threading.Event()
        self._frames = paced(frames, self._stopped.wait) if at_own_pace else frames
        self._ready = threading.Condition()
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._read, name="newest frame", daemon=True)

    def __enter__(self) -> "Newest":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped.set()
        self._thread.join()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._ready:
                    self._frame = frame
                    self._ready.notify()
                if self._stopped.is_set():
                    break
        except Exception as error:  # handed over to whoever asks
            self._error = error
        finally:
            with self._ready:
                self._ended = True
                self._ready.notify()

    def __iter__(self) -> Iterator[Frame]:
        while True:
            with self._ready:
                while self._frame is None and not self._ended:
                    self._ready.wait(0.2)  # with a limit, so that Ctrl-C is heeded
                frame, self._frame = self._frame, None
            if frame is not None:
                yield frame
            elif self._error is not None:
                raise self._error
            else:
                return


def paced(
    frames: Iterator[Frame], wait: Callable[[float], object], now: Callable[[], float] = monotonic
) -> Iterator[Frame]:
    """Frames of a file, none before its time; the first at once.

    Args:
        frames: In the order of time.
        wait: Takes seconds.
        now: A clock, seconds.
    """
    zero_s: float | None = None
    for frame in frames:
        if zero_s is None:
            zero_s = now() - frame.time_s
        early_s = zero_s + frame.time_s - now()
        if early_s > 0:
            wait(min(early_s, threading.TIMEOUT_MAX))
        yield frame
