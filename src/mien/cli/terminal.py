"""Text that is safe and tidy on a terminal."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from contextlib import suppress
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TextIO, TypeVar

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

T = TypeVar("T")
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


def row_stream() -> TextIO:
    """Standard output for rows: UTF-8, as in files, where it is no terminal; on Windows it mostly is not."""
    stream = sys.stdout
    if isinstance(stream, TextIOWrapper) and not stream.isatty():
        stream.reconfigure(encoding="utf-8", errors=stream.errors)
    return stream


def drop_output() -> None:
    """Let vanish what is still printed: whatever read standard output, such as `head`, has seen enough."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def until_closed(show: Callable[[T], object]) -> Callable[[T], None]:
    """``show`` as long as standard output is read; files are written to the end without it."""
    is_closed = False

    def take(value: T) -> None:
        nonlocal is_closed
        if is_closed:
            return
        try:
            show(value)
        except BrokenPipeError:
            is_closed = True
            drop_output()
            typer.echo("mien: standard output was closed; the files are written to the end", err=True)

    return take


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


def text_console(*, stderr: bool = False, quiet: bool = False) -> "Console":
    """A console on standard output, or error, for tables and lines that show names and labels of others.

    All text is shown as it is: square brackets and colons mean nothing, and characters that move a cursor
    become ``?``. A reader that has seen enough, such as `head`, ends the command as it ends all others.
    """
    from rich.console import Console
    from rich.text import Text

    class TextConsole(Console):
        """Rich's console without its markup."""

        def render_str(self, text: str, **how: Any) -> Text:
            return super().render_str(printable(text, keep_lines=True), **how)

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    return TextConsole(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def text_table(title: str, headings: Iterable[str], *, ruled: bool = True) -> "Table":
    """A table with a column for each heading, to the right, or to the left where the heading is empty."""
    from rich.box import HEAVY_HEAD, SIMPLE
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=HEAVY_HEAD if ruled else SIMPLE)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left")
    return table


class HasDict(Protocol):
    """A result that can be printed as JSON."""

    def to_dict(self) -> dict[str, Any]: ...


Result = TypeVar("Result", bound=HasDict)


def print_result(result: Result, show: Callable[[Result], None], out: Path | None, *, as_json: bool) -> None:
    """Print a result as JSON alone, or by ``show`` and with the place that it was written to."""
    if as_json:
        typer.echo(json.dumps(result.to_dict(), indent=1))
        return
    show(result)
    if out:
        typer.echo(f"wrote {printable(str(out))}")
