"""Rows of a timeline on disk; the formats are those of `mien.workflows.rows.formats`."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from mien.core.columns import Cell
from mien.core.timeline import TimelineRow, columns
from mien.workflows.rows import row_file
from mien.workflows.rows.formats import RowFormat, csv_bytes, format_of, json_bytes


def file_format(path: Path) -> RowFormat:
    """The format of a file for the rows of a timeline; raises as `format_of` does."""
    return format_of(path, columns(()))


class RowFile:
    """A file that takes the rows of frames; see `mien.workflows.rows.row_file.RowFile`.

    Args:
        path: Its suffix tells the format.
        labels: The model's labels.
        offset: Go on at this many bytes, from `n_bytes`; ``None`` starts again.
        source: The video; files of events name it.
        participant: Whose video it is; gets a column of its own, the first.
        landmarks: Whether rows have the columns of 68 landmarks.
    """

    def __init__(
        self,
        path: Path,
        labels: Sequence[str],
        offset: int | None = None,
        *,
        source: str = "",
        participant: str | None = None,
        landmarks: bool = False,
    ) -> None:
        self.labels, self.participant, self.landmarks = tuple(labels), participant, landmarks
        names = named_columns(self.labels, participant, landmarks=landmarks)
        self._file = row_file.RowFile(path, names, offset, source)
        self.path, self.lines = path, self._file.lines

    def begin(self) -> Self:
        """Empty the file, or go on at its offset; call it before the first rows."""
        self._file.begin()
        return self

    def write(self, rows: Sequence[TimelineRow]) -> None:
        """Add rows."""
        landmarks = self.landmarks
        cells = [named_cells(row, self.labels, self.participant, landmarks=landmarks) for row in rows]
        self._file.write(cells)

    @property
    def n_bytes(self) -> int:
        """The size of the file behind the last row."""
        return self._file.n_bytes

    def sync(self) -> None:
        """Wait until all rows are on the disk."""
        self._file.sync()

    def close(self, *, whole: bool = True) -> None:
        """End the file; with ``whole`` false the run goes on later, and what that needs is kept."""
        self._file.close(whole=whole)

    def drop_lines(self) -> None:
        """Remove the lines that the whole file was made of, once no state tells of them."""
        self._file.drop_lines()


def named_columns(
    labels: Sequence[str], participant: str | None, *, landmarks: bool = False
) -> tuple[str, ...]:
    """The columns of a timeline, behind that of the participant where there is one."""
    names = columns(labels, landmarks=landmarks)
    return names if participant is None else ("participant", *names)


def named_cells(
    row: TimelineRow, labels: Sequence[str], participant: str | None, *, landmarks: bool = False
) -> tuple[Cell, ...]:
    """Values under `named_columns`."""
    cells = row.cells(labels, landmarks=landmarks)
    return cells if participant is None else (participant, *cells)


def csv_line(cells: Sequence[Cell]) -> bytes:
    """One line of CSV."""
    return csv_bytes((), [cells])


def json_line(row: dict[str, Any]) -> bytes:
    """One line of JSON."""
    return json_bytes(tuple(row), [tuple(row.values())])


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows of a file of lines, column to value; those of a Parquet file wait in ``.rows`` as JSON."""
    lines = path.with_suffix(".jsonl") if path.suffix == ".rows" else path
    return format_of(lines).decode(path)
