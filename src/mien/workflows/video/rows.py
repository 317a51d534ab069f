"""Rows of a timeline on disk: they come line by line, and a killed run can go on behind the last one.

CSV and JSON lines grow as rows come. A Parquet file cannot: its rows wait in a file of JSON lines beside it,
from which it is made, row group by row group, at the end.
"""

import csv
import io
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from mien.core.files import atomic_write, refusals
from mien.core.outputs import check_output
from mien.core.own_files import parse_json, reading
from mien.core.timeline import FLAGS, TEXT, WHOLE, Cell, TimelineRow, columns
from mien.errors import DataError, MienError, MissingExtraError

CSV, JSON, PARQUET = ".csv", ".jsonl", ".parquet"
FORMATS = {CSV: CSV, JSON: JSON, ".ndjson": JSON, PARQUET: PARQUET}
ROWS_A_GROUP = 8192


def file_format(path: Path) -> str:
    """``.csv``, ``.jsonl`` or ``.parquet``, by the suffix.

    Raises:
        MienError: the suffix tells none of them.
        OutputError: the file cannot be written.
        MissingExtraError: Parquet is wanted and pyarrow is not installed.
    """
    kind = FORMATS.get(path.suffix.lower())
    if kind is None:
        raise MienError(f"rows go into a .csv, .jsonl or .parquet file, got '{path.name}'")
    check_output(path)
    if kind == PARQUET:
        try:
            import pyarrow.parquet  # noqa: F401
        except ImportError as error:
            raise MissingExtraError("a Parquet file", "pyarrow", "parquet") from error
    return kind


class RowFile:
    """A file that takes rows.

    Args:
        path: Its suffix tells the format.
        labels: The model's labels.
        offset: Go on at this many bytes (`n_bytes`); what comes behind is dropped. ``None`` starts again.

    Raises:
        DataError: the file is shorter than ``offset``.
        MienError: see `file_format`.
    """

    def __init__(self, path: Path, labels: Sequence[str], offset: int | None = None) -> None:
        self.path, self.labels = path, tuple(labels)
        self.kind = file_format(path)
        self.lines = path.with_name(f"{path.name}.rows") if self.kind == PARQUET else path
        self._file: BinaryIO
        if offset is None:
            with refusals(self.lines):
                self._file = self.lines.open("wb")
            if self.kind == CSV:
                self._file.write(csv_line(columns(self.labels)))
            return
        if not self.lines.is_file() or self.lines.stat().st_size < offset:
            raise DataError(f"{self.lines} lost rows since the run was stopped; start over without --resume")
        self._file = self.lines.open("r+b")
        self._file.truncate(offset)
        self._file.seek(offset)

    def write(self, rows: Sequence[TimelineRow]) -> None:
        """Add rows, and hand them to the operating system."""
        with refusals(self.lines):
            if self.kind == CSV:
                self._file.write(b"".join(csv_line(row.cells(self.labels)) for row in rows))
            else:
                self._file.write(b"".join(json_line(row.to_dict(self.labels)) for row in rows))
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

    def close(self, *, whole: bool = True) -> None:
        """End the file; with ``whole`` false the run goes on later, and what that needs is kept."""
        if self._file.closed:
            return
        with refusals(self.lines):
            self._file.close()
        if self.kind == PARQUET:
            to_parquet(self.lines, self.path, columns(self.labels))
            if whole:
                os.unlink(self.lines)


def csv_line(cells: Sequence[Cell]) -> bytes:
    """One line of CSV (RFC 4180, but for the plain line feed)."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return line.getvalue().encode()


def json_line(row: dict[str, Any]) -> bytes:
    """One line of JSON."""
    return json.dumps(row).encode() + b"\n"


def read_rows(path: Path) -> Iterator[dict[str, Any]]:
    """The rows that `RowFile` wrote as CSV or JSON lines, column to value; a broken last line ends them.

    Raises:
        DataError: the file is damaged.
    """
    advice = "start over without --resume"
    with reading(path, advice=advice), path.open(encoding="utf-8", newline="") as file:
        if path.suffix.lower() == CSV:
            for row in csv.DictReader(file):
                yield {name: _value(name, cell) for name, cell in row.items()}
            return
        for line in file:
            if line.endswith("\n"):
                yield parse_json(line)


def _value(name: str, cell: str | None) -> Cell:
    if not cell:
        return None
    if name in FLAGS:
        return cell == str(True)
    return cell if name in TEXT else int(cell) if name in WHOLE else float(cell)


def to_parquet(lines: Path, path: Path, names: Sequence[str]) -> None:
    """Make a Parquet file from JSON lines, in row groups of bounded size; it appears whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {name: pa.string() for name in TEXT} | {name: pa.int64() for name in WHOLE}
    kinds |= {name: pa.bool_() for name in FLAGS}
    schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        group: list[dict[str, Any]] = []
        for row in read_rows(lines):
            group.append(row)
            if len(group) == ROWS_A_GROUP:
                writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))
                group = []
        writer.write_batch(pa.RecordBatch.from_pylist(group, schema=schema))
