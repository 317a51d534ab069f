"""Read tables with commas, semicolons, tabs or bars, in UTF-8, UTF-16 or Windows-1252."""

import codecs
import csv
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import BinaryIO

from mien.errors import DataError

SEPARATORS = ",;\t|"
MAX_LINE = 64 * 1024
"""A row of 48x48 pixels needs at most 9.3 KB; a file without line ends must not fill the memory."""

_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
_BLOCK = 2**20
_EXCEL = re.compile(r"sep=(.)\s*", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Table:
    """An open table.

    Attributes:
        line: its first line.
        first: the cells of that line.
        separator: what stands between cells.
        lines: the text lines after the header.
        number: of the first line, from 1.
    """

    line: str
    first: list[str]
    separator: str
    lines: Iterator[str]
    number: int

    @property
    def header(self) -> tuple[str, ...]:
        """The names in the first line, in lower case, without blanks around them."""
        return tuple(map(_name, self.first))

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """The last line and the cells of each row that holds any.

        Raises:
            csv.Error: the quotes of a row are no pairs; read on, it would take in the rows after it.
        """
        reader = csv.reader(self.lines, delimiter=self.separator, skipinitialspace=True, strict=True)
        last = self.number
        try:
            for cells in reader:
                last = self.number + reader.line_num
                if any(cells):
                    yield last, cells
        except csv.Error as e:
            raise csv.Error(f"{e} in the row that begins in line {last + 1}; check its quotes") from e


@contextmanager
def open_table(path: Path, columns: Sequence[str]) -> Iterator[Table]:
    """Open a table whatever its separator and encoding; ``columns`` are names that tell the separator.

    Raises:
        DataError: the file cannot be read, or is no text; also where that shows while the table is read.
    """
    try:
        with path.open("rb") as file:
            encoding = encoding_of(file)
            with io.TextIOWrapper(file, encoding, newline="") as text:
                yield _table(text, columns)
    except OSError as e:
        raise DataError(f"{path} cannot be read: {(e.strerror or '').lower()}") from e
    except (csv.Error, UnicodeError) as e:
        raise DataError(f"{path} is not a text table (CSV): {e}") from e


def encoding_of(file: BinaryIO) -> str:
    """How the text of an open file is encoded; the file stands at its beginning again."""
    if marked := marked_encoding(file):
        return marked
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for block in iter(lambda: file.read(_BLOCK), b""):
            decoder.decode(block)
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return "cp1252"
    finally:
        file.seek(0)
    return "utf-8"


def marked_encoding(file: BinaryIO) -> str | None:
    """The encoding that the first bytes tell, by a mark or zeros; the file stands at its beginning again."""
    start = file.read(4096)
    file.seek(0)
    for mark, name in _MARKS.items():
        if start.startswith(mark):
            return name
    n_zeros = start.count(0)
    for name, first in (("utf-16-le", 1), ("utf-16-be", 0)):  # every second byte of plain English is zero
        if n_zeros > len(start) / 3 and start[first::2].count(0) == n_zeros:
            return name
    return None


def _table(text: io.TextIOWrapper, columns: Sequence[str]) -> Table:
    number, line = 1, text.readline(MAX_LINE)
    if marked := _EXCEL.fullmatch(line):
        number, line = 2, text.readline(MAX_LINE)
    separator = marked[1] if marked else _separator(line, columns)
    first = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    lines = iter(lambda: text.readline(MAX_LINE), "")
    return Table(line, first, separator, lines, number)


def _separator(line: str, columns: Sequence[str]) -> str:
    """The one that cuts out most of the columns; data may hold the others more often.

    Where none cuts out any it is a tab, if there are tabs: text has none between words.
    """
    names = [column.lower() for column in columns]

    def n_known(separator: str) -> int:
        return sum(_name(cell) in names for cell in line.split(separator))

    best = max(SEPARATORS, key=n_known)  # of equals the first, a comma
    return best if n_known(best) or "\t" not in line else "\t"


def _name(cell: str) -> str:
    return cell.strip(' \t\r\n"\ufeff').lower()


def find_columns(header: Sequence[str], wanted: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """Where each wanted column stands, for those that are there under one of their names."""
    found = {}
    for column, names in wanted.items():
        place = next((header.index(name) for name in names if name in header), None)
        if place is not None:
            found[column] = place
    return found


def missing_columns(header: Sequence[str], needed: Sequence[str], missing: Sequence[str]) -> str:
    """What to say of a table without some columns: what is needed, what is there."""
    near = [match for name in missing for match in get_close_matches(name, header, n=1)]
    there = listed(header) or "nothing"
    hint = f"; is {near[0]!r} meant? rename it" if near else f"; the first line has {there}"
    return f"needs the columns {', '.join(needed)}; missing: {', '.join(missing)}{hint}"


def listed(names: Sequence[str]) -> str:
    """The first of some columns, for a line of text."""
    return ", ".join([repr(name[:20]) for name in names[:8]] + ["..."] * (len(names) > 8))


def cells_of(row: Sequence[str], columns: dict[str, int]) -> dict[str, str]:
    """The cells of a row by column; empty where a short line lacks one."""
    return {name: row[i].strip() if i < len(row) else "" for name, i in columns.items()}
