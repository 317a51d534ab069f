"""Progress on stderr: a bar on a terminal, otherwise occasional lines."""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from mien.cli.terminal import printable, text_console

if TYPE_CHECKING:
    from rich.progress import Progress, ProgressColumn, Task, TaskID

LINES_EVERY_S = 30.0
"""Seconds between lines of progress where no one watches a terminal."""
RATE_OVER_S = 300.0
"""Seconds over which the rate behind the time left is taken: a pause for scoring must not double it."""


def progress_bar(*columns: str, quiet: bool = False, rows: bool = False) -> "Progress":
    """A bar on stderr that goes when its work is done; a line every `LINES_EVERY_S` where stderr is a file.

    What is printed meanwhile appears above it, broken to the terminal's width. With ``rows``, or where
    standard output is a file, it stays as it is.

    Args:
        columns: Of ``description``, ``bar``, ``count``, ``percent``, ``left``, ``spinner`` and ``elapsed``;
            any other is a field of the tasks, whose text is shown.
        quiet: Show nothing at all.
        rows: What is printed meanwhile are rows of data.
    """
    from rich.progress import Progress

    console = text_console(stderr=True, quiet=quiet)
    kind = Progress if console.is_terminal or quiet else _progress_in_lines()
    return kind(
        *_columns(columns),
        console=console,
        transient=True,
        speed_estimate_period=RATE_OVER_S,
        redirect_stdout=sys.stdout.isatty() and not rows,
        disable=not console.is_terminal,
    )


def _columns(names: Sequence[str]) -> Iterator["ProgressColumn"]:
    from rich import progress as rich

    made: dict[str, Callable[[], ProgressColumn]] = {
        "description": lambda: rich.TextColumn("{task.description}", markup=False),
        "bar": lambda: rich.BarColumn(bar_width=14),
        "count": rich.MofNCompleteColumn,
        "percent": rich.TaskProgressColumn,
        "left": lambda: rich.TimeRemainingColumn(compact=True),
        "spinner": rich.SpinnerColumn,
        "elapsed": rich.TimeElapsedColumn,
    }
    for name in names:
        yield made[name]() if name in made else rich.TextColumn(f"{{task.fields[{name}]}}", markup=False)


def _progress_in_lines() -> "type[Progress]":
    """A bar that draws nothing, but prints where it is as plain lines: for logs and cluster jobs."""
    from rich.progress import Progress, TimeRemainingColumn

    class ProgressInLines(Progress):
        """Rich's bookkeeping of tasks, without its drawing."""

        printed_at = time.monotonic()

        def update(self, task_id: "TaskID", **changes: Any) -> None:
            super().update(task_id, **changes)
            now = time.monotonic()
            if now - self.printed_at >= LINES_EVERY_S:
                self.printed_at = now
                left = any(isinstance(column, TimeRemainingColumn) for column in self.columns)
                print(progress_line(self._tasks[task_id], left), file=sys.stderr, flush=True)

    return ProgressInLines


def progress_line(task: "Task", with_left: bool = True) -> str:
    """``epoch 3.1  120/4000  522 faces/s  0:12:10 left``, as far as it is known and time left is wanted."""
    total = f"/{task.total:,.0f}" if task.total else ""
    fields = [text for text in map(str, task.fields.values()) if text]
    time_s = task.time_remaining if with_left else None
    left = f"{timedelta(seconds=round(time_s))} left" if time_s else ""
    parts = [printable(task.description), f"{task.completed:,.0f}{total}", *map(printable, fields), left]
    return "  ".join(part for part in parts if part)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Say on stderr what is being done, with the time it takes so far; only where a person looks."""
    with progress_bar("spinner", "description", "elapsed") as progress:
        progress.add_task(printable(what), total=None)
        yield
