"""The file formats of rows, by suffix; a new one is an entry in `FORMATS`.

Rows reach the disk as lines, in every format: lines can be appended, cut off behind any image, and read after
a kill. A format that is no lines is made of them at the end, in parts of bounded size.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from mien.core.columns import Cell, Row, kind_of, parse_cell
from mien.core.events import Event, events_of
from mien.core.files import atomic_write
from mien.core.outputs import check_output
from mien.core.own_files import parse_json, reading
from mien.errors import MienError, needs_extra
from mien.workflows.rows.event_files import (
    EVENT_COLUMNS,
    Source,
    Write,
    event_rows,
    write_boris,
    write_elan,
    write_subtitles,
    write_whole,
)

ROWS_A_GROUP = 8192
ENDS = "\r\n"
ADVICE = "start over without --resume"

Encode = Callable[[Sequence[str], Iterable[Row]], bytes]
Decode = Callable[[Path], Iterator[dict[str, Cell]]]
Make = Callable[[Path, Path, Sequence[str], Source], None]
Has = Callable[[Path, Sequence[str]], bool]


def csv_bytes(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Lines of CSV (RFC 4180, but for the plain line feed)."""
    lines: list[str] = []
    sink = SimpleNamespace(write=lines.append)  # of whole lines; what may end one in any file is quoted
    csv.writer(sink, lineterminator=ENDS).writerows(rows)
    return "".join(f"{line.removesuffix(ENDS)}\n" for line in lines).encode()


def csv_rows(path: Path) -> Iterator[dict[str, Cell]]:
    """The rows of a CSV file, as `csv_bytes` writes them."""
    with reading(path, advice=ADVICE), path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            yield {name: parse_cell(name, text) for name, text in row.items()}


def csv_has(path: Path, columns: Sequence[str]) -> bool:
    """Whether the first line of a CSV file names these columns."""
    with reading(path, advice=ADVICE), path.open(encoding="utf-8", newline="") as file:
        return next(csv.reader(file), []) == list(columns)


def json_bytes(columns: Sequence[str], rows: Iterable[Row]) -> bytes:
    """Lines of JSON, an object each."""
    return b"".join(json.dumps(dict(zip(columns, row, strict=True))).encode() + b"\n" for row in rows)


def json_rows(path: Path) -> Iterator[dict[str, Cell]]:
    """The rows of JSON lines; a broken last line ends them."""
    with reading(path, advice=ADVICE), path.open(encoding="utf-8", newline="") as file:
        for line in file:
            if line.endswith("\n"):
                yield parse_json(line)


def json_has(path: Path, columns: Sequence[str]) -> bool:
    """Whether the first of JSON lines, if there is one, has these columns."""
    with reading(path, advice=ADVICE):
        return list(next(json_rows(path), columns)) == list(columns)


def parquet_schema(columns: Sequence[str]) -> Any:
    """The types of columns, for pyarrow."""
    import pyarrow as pa

    kinds = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    return pa.schema([(name, kinds[kind_of(name)]) for name in columns])


def make_parquet(lines: Path, path: Path, columns: Sequence[str], source: Source = "") -> None:
    """Write a Parquet file from JSON lines, in row groups of bounded size, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema(columns)
    with atomic_write(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        rows = json_rows(lines)
        while group := list(islice(rows, ROWS_A_GROUP)):
            cells = [[row[name] for row in group] for name in columns]
            writer.write_batch(pa.record_batch(cells, schema=schema))


def parquet_has(path: Path, columns: Sequence[str]) -> bool:
    """Whether a Parquet file has these columns."""
    import pyarrow.parquet as pq

    with reading(path, advice=ADVICE):
        return list(pq.read_schema(path).names) == list(columns)


def parquet_rows(path: Path) -> Iterator[dict[str, Cell]]:
    """The rows of a Parquet file."""
    import pyarrow.parquet as pq

    with reading(path, advice=ADVICE), pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_A_GROUP):
            yield from batch.to_pylist()


def write_event_table(events: Sequence[Event], path: Path, source: Source) -> None:
    """A CSV file of events."""
    path.write_bytes(csv_bytes(EVENT_COLUMNS, [EVENT_COLUMNS, *event_rows(events, source)]))


def of_events(write: Write, has: Has = lambda path, columns: True) -> "RowFormat":
    """A format that holds the events of a timeline, not its rows; they wait as lines until they are whole."""

    def make(lines: Path, path: Path, columns: Sequence[str], source: Source) -> None:
        write_whole(write, events_of(json_rows(lines)), path, source)

    needs = frozenset({"time_s", "track", "label"})
    return RowFormat(json_bytes, json_rows, has, make=make, needs=needs)


def _check_pyarrow() -> None:
    with needs_extra("a Parquet file", "parquet"):
        import pyarrow.parquet  # noqa: F401


@dataclass(frozen=True, slots=True)
class RowFormat:
    """A kind of file.

    Attributes:
        encode: Columns and rows to lines.
        decode: A file of such lines to its rows.
        has: Whether a whole file has these columns, as far as it tells; always, unless given.
        header: Whether the first line names the columns.
        whole: A whole file to its rows, where it is not made of lines and still holds them.
        make: Makes the file of its lines, which lie beside it until then, its columns, and the name of what
            they tell of; ``None`` where the lines are it.
        check: Raises where what the format needs is not installed.
        needs: Columns without which it makes no sense.
    """

    encode: Encode
    decode: Decode
    has: Has = lambda path, columns: True
    header: bool = False
    whole: Decode | None = None
    make: Make | None = None
    check: Callable[[], Any] = lambda: None
    needs: frozenset[str] = frozenset()

    @property
    def reads(self) -> Decode | None:
        """A whole file to its rows; ``None`` where it holds none, but events."""
        return self.whole if self.make else self.decode


CSV = RowFormat(csv_bytes, csv_rows, csv_has, header=True)
JSON_LINES = RowFormat(json_bytes, json_rows, json_has)
PARQUET = RowFormat(
    json_bytes, json_rows, parquet_has, whole=parquet_rows, make=make_parquet, check=_check_pyarrow
)

FORMATS: dict[str, RowFormat] = {
    ".csv": CSV,
    ".jsonl": JSON_LINES,
    ".parquet": PARQUET,
    ".srt": of_events(write_subtitles),
    ".eaf": of_events(write_elan),
    ".events.csv": of_events(write_event_table, lambda path, _: csv_has(path, EVENT_COLUMNS)),
    ".boris.xlsx": of_events(write_boris),
}
ALIASES = {".ndjson": ".jsonl"}


def format_of(path: Path, columns: Sequence[str] | None = None) -> RowFormat:
    """The format of a file, by the longest known end of its name.

    Args:
        path: Where rows go.
        columns: Of the rows, where they are known already.

    Raises:
        MienError: the end of the name tells none that these rows can fill.
        OutputError: the file cannot be written.
        MissingExtraError: a package that it needs is not installed.
    """
    known = FORMATS | {alias: FORMATS[end] for alias, end in ALIASES.items()}
    fitting = {end: one for end, one in known.items() if columns is None or one.needs <= set(columns)}
    ends = [end for end in fitting if path.name.lower().endswith(end)]
    if not ends:
        suffixes = [end for end in fitting if end not in ALIASES]
        raise MienError(
            f"rows go into a {', '.join(suffixes[:-1])} or {suffixes[-1]} file, got '{path.name}'"
        )
    chosen = fitting[max(ends, key=len)]
    check_output(path)
    chosen.check()
    return chosen
