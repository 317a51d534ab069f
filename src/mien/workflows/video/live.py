"""Live images: always the newest one, so that what is shown never lags behind."""

import threading
from collections.abc import Iterator
from typing import Any

from mien.workflows.video.frames import Frame


class Newest:
    """Frames read on a thread of their own; whoever asks gets the newest, and those before it are dropped.

    Use it in a ``with`` statement, at whose end the thread stops after the frame that it waits for.

    Args:
        frames: Read as fast as they come.

    Attributes:
        n_dropped: Frames that no one asked for in time.
    """

    def __init__(self, frames: Iterator[Frame]) -> None:
        self._frames = frames
        self._ready = threading.Condition()
        self._frame: Frame | None = None
        self._error: BaseException | None = None
        self._ended = self._stopped = False
        self.n_dropped = 0
        self._thread = threading.Thread(target=self._read, name="newest frame", daemon=True)

    def __enter__(self) -> "Newest":
        self._thread.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._stopped = True
        self._thread.join()

    def _read(self) -> None:
        try:
            for frame in self._frames:
                with self._ready:
                    self.n_dropped += self._frame is not None
                    self._frame = frame
                    self._ready.notify()
                if self._stopped:
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
