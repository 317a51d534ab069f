"""Limits of a process that decodes: CPU time for each task, memory, and no core dump."""

import ctypes
import os
import signal
import sys
from contextlib import suppress
from typing import IO, Any

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
LARGE_BYTES = 2**20
PIPE_BYTES = 2**20
F_SETPIPE_SZ = 1031  # fcntl.h of Linux; the module `fcntl` has it too where it knows it


def end_after(cpu_s: float) -> None:
    """End this process after so many seconds of computing from now on; 0 never does."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_PROF, cpu_s)


def took_too_long(exit_code: int | None) -> bool:
    """Whether a process was ended by `end_after`."""
    return exit_code == -getattr(signal, "SIGPROF", 0)


IGNORE_CTRL_C = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); "
"""How the code of such a process begins: Ctrl-C while it imports would leave a traceback on the screen."""


def leave_signals_to_parent() -> None:
    """Go on after Ctrl-C and SIGTERM, which may reach a whole group: the parent ends this process."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def bound(more_bytes: int, niceness: int = 0) -> None:
    """Let this process take so much more memory than now, where the system can bound it.

    A dump is never written: it would hold somebody's image.
    """
    try:
        import resource
    except ImportError:
        return
    os.nice(niceness)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with suppress(OSError, ValueError), open("/proc/self/statm", "rb") as file:
        now = int(file.read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, now + more_bytes))


def give_memory_back() -> None:
    """Make the C library return large blocks to the system at once, where it is glibc.

    Images are such blocks. Left alone, glibc raises its threshold with the first of them and keeps the next
    in the arena of each thread: twice the memory under load, growing for minutes (benchmarks/serve.py).
    """
    with suppress(OSError, AttributeError, TypeError):
        libc = ctypes.CDLL(None)
        for option in (M_MMAP_THRESHOLD, M_TRIM_THRESHOLD):
            libc.mallopt(option, LARGE_BYTES)


def widen(*pipes: IO[Any] | None) -> None:
    """Make pipes hold a photograph, where the system can: less going to and fro."""
    with suppress(ImportError, OSError):
        import fcntl

        if sys.platform == "linux":
            for pipe in pipes:
                if pipe is not None:
                    fcntl.fcntl(pipe, F_SETPIPE_SZ, PIPE_BYTES)
