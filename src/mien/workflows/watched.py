"""Whose a video is, and from when to when mien watched it, by the rows or the index beside its events."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
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
    """What the rows of `mien watch` beside a file of events tell, else its index; the latter begins at 0.

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
        place = (*path.parent.relative_to(folder).parts, video)
        rows = _cells(folder / INDEX, INDEX_COLUMNS, INDEX_COLUMNS) if (folder / INDEX).is_file() else []
        for row in rows:
            if Path(row["rows"]).name.startswith(f"{video}.") and _ends_in(row["rows"], place):
                yield Watched(row["participant"], 0.0, float(row["seconds"]))


def _ends_in(rows: str, place: Sequence[str]) -> bool:
    return Path(rows).parts[-len(place) : -1] == tuple(place[:-1])


def _cells(path: Path, names: Mapping[str, tuple[str, ...]], needed: Iterable[str]) -> list[dict[str, str]]:
    """The cells of a table, none where it lacks a column."""
    with open_table(path, list(names)) as table:
        columns = find_columns(table.header, names)
        if not set(needed) <= columns.keys():
            return []
        return [cells_of(row, columns) for _, row in table.rows()]
