"""The participant of a video and the period that mien watched, from the rows or the index beside it."""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mien.core.timeline import frame_seconds
from mien.data.tables import cells_of, find_columns, open_table
from mien.errors import DataError

INDEX = "index.csv"
ROW_COLUMNS = {name: (name,) for name in ("participant", "time_s", "frame", "track", "label")}
INDEX_COLUMNS = {name: (name,) for name in ("participant", "rows", "seconds")}


class Watched(NamedTuple):
    """A video that mien watched, from when to when in seconds; ``participant`` may be empty."""

    participant: str
    start_s: float
    end_s: float


def watched(participant: str, times_s: Iterable[float]) -> Watched:
    """A video with rows at these times, at least one, which grow; see `frame_seconds` of the last frame."""
    first, *others = dict.fromkeys(times_s)
    last, span_s = first, 0.0
    for before, last in pairwise((first, *others)):
        span_s = frame_seconds(last - before, span_s)
    return Watched(participant, first, last + frame_seconds(None, span_s))


def watched_beside(events: Path, video: str) -> Watched | None:
    """What the rows of `mien watch` beside a file of events tell, else its index.

    The index does not tell from when a video was watched: this is from 0 to infinity then, and from 0 to 0
    where no frame was.

    Args:
        events: The file.
        video: Its name without the ends that tell its kind.
    """
    with suppress(DataError, ValueError):  # another's table
        return next(_of_rows(events.with_name(f"{video}.csv")), None) or next(_of_index(events, video), None)
    return None


def _of_rows(path: Path) -> Iterator[Watched]:
    rows = _cells(path, ROW_COLUMNS, ROW_COLUMNS.keys() - {"participant"}) if path.is_file() else []
    if len(whose := {row.get("participant", "") for row in rows}) == 1:
        yield watched(whose.pop(), (float(row["time_s"]) for row in rows))


def _of_index(events: Path, video: str) -> Iterator[Watched]:
    """Of the folders above, too; the rows of a video lie below its folder."""
    path = events.absolute()
    for folder in path.parents:
        index = folder / INDEX
        if index.is_file():
            was = index.stat()
            row = _lines(index, was.st_size, was.st_mtime_ns).get(
                (*path.parent.relative_to(folder).parts, video)
            )
            if row:
                yield Watched(row["participant"], 0.0, math.inf if float(row["seconds"]) else 0.0)


@lru_cache(maxsize=64)
def _lines(index: Path, n_bytes: int, changed_ns: int) -> dict[tuple[str, ...], dict[str, str]]:
    """The lines of an index as it is now, by where below its folder the rows lie; none of another's table.

    The last name is the beginning of that of the rows, up to any of its dots.
    """
    found: dict[tuple[str, ...], dict[str, str]] = {}
    with suppress(DataError):
        rows = [(Path(row["rows"]).parts, row) for row in _cells(index, INDEX_COLUMNS, INDEX_COLUMNS)]
        for parts, row in sorted(rows, key=lambda one: len(one[0])):
            for place in _below(parts, index.parent.name):
                for end in (at for at, sign in enumerate(place[-1]) if sign == "."):
                    found.setdefault((*place[:-1], place[-1][:end]), row)
    return found


def _below(parts: tuple[str, ...], folder: str) -> list[tuple[str, ...]]:
    """The part of a path below a folder of this name; where it has another name now, all that may be."""
    named = [n for n, name in enumerate(parts[:-1], 1) if name == folder]
    return [parts[n:] for n in named or range(len(parts))]


def _cells(path: Path, names: Mapping[str, tuple[str, ...]], needed: Iterable[str]) -> list[dict[str, str]]:
    """The cells of a table, none where it lacks a column."""
    with open_table(path, list(names)) as table:
        columns = find_columns(table.header, names)
        if not set(needed) <= columns.keys():
            return []
        return [cells_of(row, columns) for _, row in table.rows()]
