"""Text that is safe and tidy on a terminal."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

LINES_EVERY_S = 30.0
"""Seconds between lines of progress where no one watches a terminal."""

EIGHTHS = " ▏▎▍▌▋▊▉█"


def printable(text: str, *, keep_lines: bool = False) -> str:
    """``text`` without the characters that move a cursor, change colours or break a line.

    A file name may hold escape sequences. Control and format characters become ``?``.
    """
    kept = "\n" if keep_lines else ""
    return "".join(c if c.isprintable() or c in kept or _is_stray_byte(c) else "?" for c in text)


def _is_stray_byte(char: str) -> bool:
    """A byte of a file name that is not UTF-8; the stream shows it as a backslash escape."""
    return "\udc80" <= char <= "\udcff"


def bar(fraction: float, cells: int) -> str:
    """``cells`` characters, filled to ``fraction`` (0-1); with ``#`` where the terminal has no blocks."""
    eighths = round(min(max(fraction, 0.0), 1.0) * cells * 8)
    if not _shows_blocks():
        return ("#" * round(eighths / 8)).ljust(cells)
    full, rest = divmod(eighths, 8)
    return (EIGHTHS[8] * full + (EIGHTHS[rest] if rest else "")).ljust(cells)


def _shows_blocks() -> bool:
    try:
        EIGHTHS.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def progress_bar(*columns: "ProgressColumn", quiet: bool = False, rows: bool = False) -> "Progress":
    """A bar on stderr that goes when its work is done; a line every `LINES_EVERY_S` where stderr is a file.

    Nothing at all with ``quiet``.

    What is printed meanwhile appears above it, broken to the terminal's width. With ``rows``, or where
    standard output is a file, it stays as it is.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True, quiet=quiet)
    kind = Progress if console.is_terminal or quiet else _progress_in_lines()
    return kind(
        *columns,
        console=console,
        transient=True,
        redirect_stdout=sys.stdout.isatty() and not rows,
        disable=not console.is_terminal,
    )


def _progress_in_lines() -> "type[Progress]":
    """A bar that draws nothing, but prints where it is as plain lines: for logs and cluster jobs."""
    from rich.progress import Progress

    class ProgressInLines(Progress):
        """Rich's bookkeeping of tasks, without its drawing."""

        printed_at = time.monotonic()

        def update(self, task_id: "TaskID", **changes: Any) -> None:
            super().update(task_id, **changes)
            now = time.monotonic()
            if now - self.printed_at >= LINES_EVERY_S:
                self.printed_at = now
                print(progress_line(self._tasks[task_id]), file=sys.stderr, flush=True)

    return ProgressInLines


def progress_line(task: "Task") -> str:
    """``epoch 3.1  120/4000  522 faces/s  0:12:10 left``, as far as it is known."""
    total = f"/{task.total:,.0f}" if task.total else ""
    fields = [text for text in map(str, task.fields.values()) if text]
    left = f"{timedelta(seconds=round(task.time_remaining))} left" if task.time_remaining else ""
    parts = [printable(task.description), f"{task.completed:,.0f}{total}", *map(printable, fields), left]
    return "  ".join(part for part in parts if part)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on stderr what is being done, with the time it takes so far; only where a person looks."""
    from rich.progress import SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with progress_bar(*columns) as progress:
        progress.add_task(printable(what), total=None)
        yield
