"""Ctrl-C and SIGTERM end a long run after the current unit of work, so that its files are consistent."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

GOES_ON = "continue with --resume"
GOES_ON_PLAIN = "to continue, use the same command with --resume and without --annotate"
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

    def on_signal(number: int, frame: Any) -> None:
        if stop.wanted:
            raise KeyboardInterrupt
        stop.wanted = True

    number = heeded_signal()
    if number is None:
        yield stop
        return
    before = signal.signal(number, on_signal)
    try:
        yield stop
    finally:
        signal.signal(number, before)


def heeded_signal() -> int | None:
    """The signal to listen to: that of Ctrl-C, which SIGTERM is handed on to; none where others listen to it.

    A shell's background and `nohup` ignore Ctrl-C; there it is SIGTERM itself, where `mien` heeds it.
    """
    heard = signal.getsignal(signal.SIGINT)
    if heard is signal.default_int_handler:
        return signal.SIGINT
    is_ours = callable(signal.getsignal(signal.SIGTERM))
    return signal.SIGTERM if heard is signal.SIG_IGN and is_ours else None
