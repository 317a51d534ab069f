"""Data sets with pixels in a CSV: ``emotion``, ``pixels`` and mostly ``Usage``, one face per line.

Known ones: fer2013.csv, icml_face_data.csv, ckextended.csv, and train.csv of the challenge, without Usage.
"""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mien.core.progress import Progress, silent
from mien.data.listing import SPLIT_NAMES
from mien.data.records import SPLITS, FaceSet
from mien.data.tables import MAX_LINE, SEPARATORS, marked_encoding, missing_columns
from mien.errors import DataError

USAGES = ("Training", "PublicTest", "PrivateTest")
"""The names of the splits in the files, in the order of ``SPLITS``."""

_VALUES = {str(value).encode(): value for value in range(256)}
_SPLIT_OF = {usage.encode(): code for code, usage in enumerate(USAGES)}
_COLUMNS = (b"emotion", b"pixels", b"usage")
_EVERY = 512


@dataclass(frozen=True, slots=True)
class PixelLayout:
    """What a CSV of pixels holds: the data set's name, its labels in the order of their codes, the side."""

    name: str
    label_names: tuple[str, ...]
    side: int


@dataclass(frozen=True, slots=True)
class _Columns:
    """Where the columns stand in a row; ``split`` is that of all rows where no column tells it."""

    emotion: int
    pixels: int
    usage: int | None
    split: int
    separator: bytes

    @property
    def n(self) -> int:
        return max(self.emotion, self.pixels, self.usage or 0) + 1


def read_pixel_csv(path: Path, layout: PixelLayout, progress: Progress = silent) -> FaceSet:
    """Every face of the CSV, in the order of its rows.

    The table may be separated by commas, semicolons, tabs or bars, and be in UTF-8 or UTF-16. Without the
    column ``Usage`` the name of the file tells the split of all rows, such as validation.csv; other names are
    training.

    Raises:
        DataError: a column is missing or a row malformed; the text names the line.
    """
    try:
        return _read(path, layout, progress)
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e
    except UnicodeError as e:
        raise DataError(f"{path} is not a text table (CSV): {e}") from e


def _read(path: Path, layout: PixelLayout, progress: Progress) -> FaceSet:
    total = path.stat().st_size
    pixels, labels, splits = bytearray(), bytearray(), bytearray()
    codes = {str(code).encode(): code for code in range(len(layout.label_names))}
    with path.open("rb") as file:
        lines, done = enumerate(_lines(file), start=1), 0
        number, header = next(lines, (1, b""))
        if header.lower().startswith(b"sep="):  # Excel's, which says how cells are separated
            number, header = next(lines, (2, b""))
        columns = _columns(header, f"{path}, line {number}", path.stem)
        for number, line in lines:
            done += len(line)
            if not line.strip():
                continue
            try:
                label, row_pixels, split = _row(line, columns, codes, layout.side**2)
            except DataError as e:
                raise DataError(f"{path}, line {number}: {e}") from None
            labels.append(label)
            splits.append(split)
            pixels += row_pixels
            if len(labels) % _EVERY == 0:
                progress(min(done, total), total)
    progress(total, total)
    n = len(labels)
    return FaceSet(
        images=np.frombuffer(pixels, np.uint8).reshape(n, layout.side, layout.side),
        labels=np.frombuffer(labels, np.uint8).astype(np.int64),
        split=np.frombuffer(splits, np.uint8),
        rows=np.arange(n, dtype=np.int64),
        label_names=layout.label_names,
        name=layout.name,
    )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    """Lines as bytes, whatever the encoding: digits and column names need no more than ASCII."""
    encoding = marked_encoding(file)
    if encoding and encoding != "utf-8-sig":
        with io.TextIOWrapper(file, encoding, newline="\n") as text:
            yield from (line.encode() for line in iter(lambda: text.readline(MAX_LINE), ""))
    else:
        yield from iter(lambda: file.readline(MAX_LINE), b"")


def _fields(line: bytes, separator: bytes) -> list[bytes]:
    return [field.strip(b' \t\r\n"') for field in line.split(separator)]


def _columns(line: bytes, where: str, stem: str) -> _Columns:
    """From the header; the separator is that which cuts out most of the columns."""
    line = line.removeprefix(b"\xef\xbb\xbf").lower()
    headers = {separator: _fields(line, separator) for separator in map(str.encode, SEPARATORS)}
    separator = max(headers, key=lambda one: sum(name in headers[one] for name in _COLUMNS))
    header = headers[separator]
    if missing := [name.decode() for name in _COLUMNS[:2] if name not in header]:
        raise DataError(f"{where}: {_advice([_shown(name) for name in header], missing)}")
    emotion, pixels = (header.index(name) for name in _COLUMNS[:2])
    usage = header.index(_COLUMNS[2]) if _COLUMNS[2] in header else None
    split = SPLITS.index(SPLIT_NAMES.get(stem.lower(), "train"))
    return _Columns(emotion, pixels, usage, split, separator)


def _advice(header: list[str], missing: list[str]) -> str:
    """What to do with a CSV that has no faces with labels."""
    if {"neutral", "happiness", "contempt"} <= set(header):
        return "these are votes without faces; import fer2013.csv and give this file with --ferplus"
    if missing == ["emotion"]:
        return (
            "these faces have no labels, as in Kaggle's test.csv; import train.csv, or icml_face_data.csv, "
            "which has the labels of both"
        )
    if {"path", "label"} <= set(header) or {"image", "label"} <= set(header):
        return "this is a list of paths; import it: mien data import csv"
    return missing_columns(header, ("emotion", "pixels", "Usage"), missing)


def _row(line: bytes, columns: _Columns, codes: dict[bytes, int], n_pixels: int) -> tuple[int, bytes, int]:
    """Label, pixels and split of one line; one table look-up a pixel is both fast and strict."""
    found = _fields(line, columns.separator)
    if len(found) < columns.n:
        raise DataError(f"expected {columns.n} columns, got {len(found)}")
    emotion, text = found[columns.emotion], found[columns.pixels]
    split = columns.split
    try:
        label = codes[emotion]
        if columns.usage is not None:
            split = _SPLIT_OF[found[columns.usage]]
    except KeyError as e:
        if emotion not in codes:
            hint = "; is this ckextended.csv? then: mien data import ckextended" if emotion == b"7" else ""
            raise DataError(f"emotion must be 0 to {len(codes) - 1}, got '{_shown(emotion)}'{hint}") from e
        raise DataError(f"Usage must be {', '.join(USAGES)}, got '{_shown(e.args[0])}'") from e
    try:
        pixels = bytes(map(_VALUES.__getitem__, text.split()))
    except KeyError as e:
        raise DataError(f"a pixel must be a whole number from 0 to 255, got '{_shown(e.args[0])}'") from None
    if len(pixels) != n_pixels:
        raise DataError(f"expected {n_pixels} pixels, got {len(pixels)}")
    return label, pixels, split


def _shown(field: bytes) -> str:
    return repr(field[:20])[2:-1]  # control characters must not reach the terminal
