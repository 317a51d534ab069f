"""Child processes in Python: this process talks with them through pipes and can end them at any time.

They need no guard in the caller's script, as those of `multiprocessing` do. Their input ends also when this
process is killed.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from math import inf
from threading import Event, RLock, Thread, local
from typing import Generic, Self, TypeVar, cast

from mien.core.bounds import IGNORE_CTRL_C, took_too_long
from mien.core.cores import import_path

TICK_S = 1.0
STUCK_S, STUCK = 60, 20
"""A process counts as stuck after so many seconds of silence, and so many for each second of computing."""


def child_command(function: Callable[[], None], *arguments: str) -> list[str]:
    """How another Python calls a function of a module, with ``arguments`` in ``sys.argv[1:]``."""
    code = (
        f"{IGNORE_CTRL_C}import json, sys; sys.path[:] = json.loads(sys.argv.pop(1)); "
        f"from {function.__module__} import {function.__name__} as run; run()"
    )
    return [sys.executable, "-P", "-c", code, import_path(), *arguments]


def stuck_after(max_cpu_s: float) -> float:
    """The seconds on the clock after which a process is stuck that may compute for ``max_cpu_s``."""
    return STUCK_S + STUCK * max_cpu_s


class Child:
    """Another Python process, used by one thread.

    Args:
        function: The function to run, at the top level of a module.
        arguments: What the function finds in ``sys.argv[1:]``.
        limit_s: Seconds that it may take under `limited`, or up to two more; ``None`` waits without end.
        variables: Of its environment, besides those of this process.

    Attributes:
        to: Its standard input.
        back: Its standard output.
        was_stuck: Whether it was ended because ``limit_s`` had passed.
    """

    def __init__(
        self,
        function: Callable[[], None],
        *arguments: str,
        limit_s: float | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.process = subprocess.Popen(
            child_command(function, *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **(variables or {})},  # more threads take memory
        )
        self.to, self.back = (
            cast(BufferedWriter, self.process.stdin),
            cast(BufferedReader, self.process.stdout),
        )
        self.was_stuck, self._limit_s = False, limit_s
        self._clock_s, self._end_s, self._is_closed = 0.0, inf, Event()
        if limit_s is not None:
            Thread(target=self._end_when_stuck, name="mien-watchdog", daemon=True).start()

    def is_well(self) -> bool:
        """Whether it still runs; the system may have ended it meanwhile."""
        return self.process.poll() is None

    @property
    def was_costly(self) -> bool:
        """Whether it was ended because it took too long, by `limited` or by `mien.core.bounds.end_after`."""
        return self.was_stuck or took_too_long(self.process.returncode)

    @contextmanager
    def limited(self) -> Iterator[None]:
        """Ends the process where the ``with`` block takes longer than the limit."""
        if self._limit_s is not None:
            self._end_s = self._clock_s + self._limit_s + TICK_S  # of which some is over
        try:
            yield
        finally:
            self._end_s = inf

    def close(self) -> int:
        """End it, and wait until it has; returns the exit code, below 0 for a signal."""
        self._is_closed.set()
        self.process.kill()
        code = self.process.wait()
        for pipe in (self.to, self.back):
            with suppress(OSError):  # what could not be written
                pipe.close()
        return code

    def _end_when_stuck(self) -> None:
        """Ticks are counted, and no clock is read: this process may have been stopped too."""
        while not self._is_closed.wait(TICK_S):
            self._clock_s += TICK_S
            if self._clock_s >= self._end_s:
                self.was_stuck = True
                self.process.kill()
                return


C = TypeVar("C", bound=Child)


class ChildPool(Generic[C]):
    """Threads that each talk with a process of their own; a ``with`` statement or `close` ends them.

    Args:
        start: Starts a process.
        n_processes: How many threads; each starts its process when it first needs one.
        name: Of the threads.
    """

    def __init__(self, start: Callable[[], C], n_processes: int, name: str) -> None:
        self.children: list[C] = []
        self._start, self._own, self._lock, self._is_closed = start, local(), RLock(), False
        self._threads = ThreadPoolExecutor(n_processes, name)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.close(wait=kind is not GeneratorExit)

    def close(self, *, wait: bool = True) -> None:
        """End the processes and the threads; what waits for one is not done.

        Without ``wait`` no thread is joined: a generator that was left is closed by the garbage collector at
        any place, as where a thread starts, and Python 3.11 would join another one there without end.
        """
        with self._lock:
            self._is_closed = True
            for child in self.children:
                child.process.kill()
        self._threads.shutdown(wait=wait, cancel_futures=True)
        for child in self.children:
            child.close()

    def _child(self) -> C:
        """The process of the calling thread; one that has ended is replaced.

        Raises:
            EOFError: the pool is closed.
        """
        old: C | None = getattr(self._own, "child", None)
        if old is not None and old.is_well():
            return old
        with self._lock:
            if self._is_closed:
                raise EOFError
            child = self._own.child = self._start()
            self.children.append(child)
            if old is not None:
                old.close()
                self.children.remove(old)
            return child
