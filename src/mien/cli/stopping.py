"""Ctrl-C ends a long run behind the work at hand, so that its files fit together; so does SIGTERM."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GOES_ON = "--resume goes on"
GOES_ON_PLAIN = "the same command with --resume and without --annotate goes on"
INTERRUPTED = 130  # 128 + SIGINT, what a shell expects


class Stop:
    """True once the run was asked to stop."""

    def __init__(self) -> None:
        self.wanted = False

    def __call__(self) -> bool:
        return self.wanted


@contextmanager
def stop_on_ctrl_c(stop: Stop | None = None) -> Iterator[Stop]:
    """A `Stop`, by default a new one, that the first Ctrl-C sets; the second one interrupts."""
    stop = stop or Stop()

    def on_sigint(number: int, frame: Any) -> None:
        if stop.wanted:
            raise KeyboardInterrupt
        stop.wanted = True

    before = signal.getsignal(signal.SIGINT)
    if before is not signal.default_int_handler:  # someone else listens, or the shell asked not to
        yield stop
        return
    signal.signal(signal.SIGINT, on_sigint)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
