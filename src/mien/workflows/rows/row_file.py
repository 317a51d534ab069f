"""A file to which rows are appended, and which a later run can continue after a kill."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Self

from mien.core.columns import Cell, Row
from mien.core.files import refusals
from mien.core.locks import take
from mien.errors import DataError, MienError
from mien.workflows.rows.formats import RowFormat, format_of


class RowFile:
    """Rows on disk; the suffix of the file determines the format.

    The file is locked at once, and stays as it was until `begin`, so that a run can be refused without loss.

    Args:
        path: One that exists is replaced; by a format that is made of lines, when it is closed.
        columns: What the cells are called.
        offset: Go on at this many bytes, from `n_bytes`; what comes behind is dropped. ``None`` or 0 starts
            again.
        source: What the rows tell of, such as the path of a video; some formats name it.

    Raises:
        DataError: the file is shorter than ``offset``.
        OutputError: the file cannot be written.
        MienError: another process writes into it; or see `format_of`.
    """

    def __init__(
        self, path: Path, columns: Sequence[str], offset: int | None = None, source: str = ""
    ) -> None:
        self.path, self.columns, self.source = path, tuple(columns), source
        self.format = format_of(path, columns)
        self.lines = lines_of(path, self.format)
        self._offset = offset or 0
        self._has_begun = False
        self._is_new = not self.lines.is_file()
        if self._offset and (self._is_new or self.lines.stat().st_size < self._offset):
            raise DataError(f"{self.lines} lost rows since the run was stopped; start over without --resume")
        self._file = self._open()

    def begin(self) -> Self:
        """Empty the file, or continue at its offset; call it before the first rows."""
        self._has_begun = True
        with refusals(self.lines):
            self._file.truncate(self._offset)
            self._file.seek(self._offset)
            if self.format.header and not self._offset:
                self._file.write(self.format.encode(self.columns, [self.columns]))
        return self

    def _open(self) -> BinaryIO:
        """The file as it is, from its beginning; no other process may write into it meanwhile."""
        with refusals(self.lines):
            file = os.fdopen(os.open(self.lines, os.O_RDWR | os.O_CREAT, 0o666), "r+b")
        if os.name != "nt":  # where a lock would keep this process too from reading the rows
            try:
                take(file.fileno())
            except BlockingIOError as error:
                file.close()
                said = f"{self.path} is being written by another process; wait for it, or name another file"
                raise MienError(said) from error
            except OSError:  # a file system without locks
                pass
        return file

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows, and hand them to the operating system."""
        with refusals(self.lines):
            self._file.write(self.format.encode(self.columns, rows))
            self._file.flush()

    @property
    def n_bytes(self) -> int:
        """The size of the file behind the last row."""
        return self._file.tell()

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        with refusals(self.lines):
            self._file.flush()
            os.fsync(self._file.fileno())

    def read(self) -> Iterator[dict[str, Cell]]:
        """The rows that were written so far."""
        return self.format.decode(self.lines)

    def close(self) -> None:
        """End the file, and keep the lines that it was made of until `drop_lines`: a run may go on with them.

        One that was not begun is left as it was.
        """
        if self._file.closed:
            return
        if not self._has_begun:
            self._file.close()
            if self._is_new:
                self.lines.unlink()
            return
        self.sync()
        with refusals(self.lines):
            self._file.close()
        if self.format.make:
            self.format.make(self.lines, self.path, self.columns, self.source)


def check_free(path: Path, columns: Sequence[str]) -> None:
    """Raise a MienError where another process writes the file, whose state is its own then."""
    if lines_of(path, format_of(path, columns)).is_file():
        RowFile(path, columns).close()


def check_whole(path: Path, columns: Sequence[str]) -> None:
    """Raise a MienError where a file of a run that came to its end is not what this run would write."""
    if not path.exists():
        raise MienError(f"the run ended without {path}; start over without --resume")
    if not format_of(path, columns).has(path, columns):
        raise MienError(f"{path} has the columns of another run; name another file, or delete it")


def lines_of(path: Path, form: RowFormat) -> Path:
    """Where the rows of a file reach the disk."""
    return path.with_name(f"{path.name}.rows") if form.make else path


def drop_lines(path: Path, columns: Sequence[str]) -> None:
    """Remove the lines that a whole file was made of.

    A run calls this when its state is gone: lines without a state are left over, a state without lines has
    lost rows.
    """
    lines = lines_of(path, format_of(path, columns))
    if lines != path:
        lines.unlink(missing_ok=True)
