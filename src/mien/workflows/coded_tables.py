"""Tables of coded events, read by the names in their first line; ELAN's text without names by its form."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from mien.core.events import events_of
from mien.data.tables import Table, cells_of, find_columns, open_table
from mien.errors import DataError
from mien.workflows.watched import watched

ELAN_UNITS = ("ss.msec", "hh:mm:ss.ms", "msec")
COLUMNS = {
    "participant": ("observation id", "participant"),
    "video": ("observation id", "file name"),
    "person": ("track", "subject", "tier"),
    "start": ("start_s", "onset", "start (s)", *(f"begin time - {unit}" for unit in ELAN_UNITS)),
    "end": ("end_s", "offset", "stop (s)", *(f"end time - {unit}" for unit in ELAN_UNITS)),
    "time": ("time_s", "time"),
    "shift": ("time offset (s)",),
    "frame": ("frame",),
    "kind": ("behavior type", "status"),
    "label": ("behavior", "emotion", "label", "annotation"),
}
"""What a column holds, and its names in tables of mien and others, BORIS and ELAN."""
NO_TIERS = ("begin time", "end time", "duration", "file ")
"""How the columns begin that are no tiers, where ELAN writes a column for each tier."""
ELAN_LAYOUTS = [(first, n) for first in (2, 1, 0) for n in (3, 2, 1)]
"""Of ELAN's text without names: the cells before the times, and the formats in which each time stands."""
CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:[.,]\d+)?)")
QUOTED = re.compile(r'^"([^"]*)"$')
NO_VALUE = {"", "NA", "NaN", "nan"}
ADVICE = "give events of mien, a BORIS export, or an ELAN file"
OWN_COLUMNS = "or name the columns participant, start_s, end_s, emotion"


class UnknownTableError(DataError):
    """A file is no table of events, or one of a kind that is not read."""


class Span(NamedTuple):
    """A label of someone, from when to when, as a file has it; what the file does not tell is empty.

    ``watched`` is of no label, but tells from when to when mien watched the video.
    """

    participant: str
    video: str
    person: str
    start_s: float
    end_s: float
    label: str
    watched: bool = False


def read_table(path: Path) -> list[Span]:
    """What a table holds: events or rows of mien, BORIS's events as text, or ELAN's tab-delimited text.

    Raises:
        UnknownTableError: it has other columns.
        DataError: it cannot be read, or is no text.
        ValueError: a cell does not hold what its column should.
    """
    with _not_text(path), open_table(path, [name for names in COLUMNS.values() for name in names]) as table:
        columns = find_columns(table.header, COLUMNS)
        is_elan = {"start", "end"} <= columns.keys() and table.header[columns["start"]].startswith(NO_TIERS)
        is_text = is_elan and table.separator == "\t"  # not saved again by a spreadsheet
        rows = _unquoted(table.lines) if is_text else (row for _, row in table.rows())
        if is_elan and table.header[0].startswith(NO_TIERS):  # no tier, no participant before the times
            return list(_elan_columns(rows, table, columns))
        cells = (cells_of(row, columns) for row in rows)
        if {"start", "end", "label"} <= columns.keys():
            return [_span(one, _unit_s(table, columns)) for one in cells]
        if {"time", "frame", "person", "label"} <= columns.keys():
            return list(_timeline(cells))
        if {"time", "kind", "label"} <= columns.keys():
            return list(_states(cells))
        spans = _elan_text(table) if table.separator == "\t" else []
        if not spans:
            there = ", ".join(name[:20] for name in table.header[:8]) or "missing"
            said = f"its columns are {there}; {ADVICE}, {OWN_COLUMNS}"
            raise UnknownTableError(f"{path} is not a table of events: {said}")
        return spans


@contextmanager
def _not_text(path: Path) -> Iterator[None]:
    """Say of a file that is no text at all that it is no table of events."""
    try:
        yield
    except DataError as e:
        if isinstance(e.__cause__, UnicodeError):
            raise UnknownTableError(f"{path} is not a table of events: it is not text; {ADVICE}") from e
        raise


def _unit_s(table: Table, columns: Mapping[str, int]) -> float:
    return 0.001 if table.header[columns["start"]].endswith("- msec") else 1.0


def _span(cells: Mapping[str, str], unit_s: float = 1.0) -> Span:
    start_s, end_s = (_media_s(cells, name, unit_s) for name in ("start", "end"))
    return _of(cells, start_s, end_s)


def _media_s(cells: Mapping[str, str], name: str, unit_s: float = 1.0) -> float:
    """A time of the video; BORIS adds the time offset of an observation to all of its times."""
    time_s, shift = seconds(cells[name]) * unit_s, cells.get("shift", "")
    return time_s if shift in NO_VALUE else round(time_s - seconds(shift), 3)


def _of(cells: Mapping[str, str], start_s: float, end_s: float) -> Span:
    participant, video, person = (cells.get(name, "") for name in ("participant", "video", "person"))
    return Span(participant, video, person, start_s, end_s, cells["label"])


def seconds(text: str) -> float:
    """Seconds of ``2.5``, ``2,5`` or ``00:00:02.500``.

    Raises:
        ValueError: it is no time.
    """
    number = text.replace(",", ".")
    if clock := CLOCK.fullmatch(number):
        return 3600 * int(clock[1]) + 60 * int(clock[2]) + float(clock[3])
    try:
        return float(number)
    except ValueError:
        raise ValueError(f"expected a time in seconds, got '{text}'") from None


def _timeline(rows: Iterator[Mapping[str, str]]) -> Iterator[Span]:
    """The events of a row for each face of a frame; whose they are tells which frames follow each other."""
    frames: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        seen = row["person"] not in NO_VALUE
        frames.setdefault(row.get("participant", ""), []).append(
            {
                "time_s": seconds(row["time"]),
                "frame": int(float(row["frame"])),
                "track": int(float(row["person"])) if seen else None,
                "label": row["label"],
                **dict.fromkeys(("valence", "arousal"), 0.0),  # means that no one asks for here
            }
        )
    for participant, timeline in frames.items():
        for before, after in pairwise(timeline):
            if after["time_s"] < before["time_s"]:
                raise ValueError(
                    f"the time goes back from {before['time_s']:g} to {after['time_s']:g} s; "
                    "rows of several videos of one participant need a file each"
                )
        for one in events_of(timeline):
            yield Span(participant, "", str(one.track), one.start_s, one.end_s, one.emotion)
        _, start_s, end_s = watched(participant, (row["time_s"] for row in timeline))
        yield Span(participant, "", "", start_s, end_s, "", watched=True)


def _states(rows: Iterator[Mapping[str, str]]) -> Iterator[Span]:
    """The events of a row for each start and each stop, as BORIS exports tabular events."""
    begun: dict[tuple[str, str, str], float] = {}
    for row in rows:
        label, time_s = row["label"], _media_s(row, "time")
        key = (row.get("participant", ""), row.get("person", ""), label)
        if row["kind"].upper() == "START":
            if key in begun:
                raise ValueError(f"'{label}' starts at {begun[key]:g} s and again at {time_s:g} s")
            begun[key] = time_s
        elif row["kind"].upper() == "STOP":
            if key not in begun:
                raise ValueError(f"'{label}' stops at {time_s:g} s and never started")
            yield _of(row, begun.pop(key), time_s)
    for (_, _, label), time_s in begun.items():
        raise ValueError(f"'{label}' starts at {time_s:g} s and never stops")


def _unquoted(lines: Iterable[str]) -> Iterator[list[str]]:
    """The rows of ELAN's text, in which quotes mean nothing but around a whole cell, as R writes it."""
    rows = (line.rstrip("\r\n").split("\t") for line in lines)
    return ([QUOTED.sub(r"\1", cell) for cell in cells] for cells in rows if any(cells))


def _elan_columns(rows: Iterable[Sequence[str]], table: Table, columns: Mapping[str, int]) -> Iterator[Span]:
    """ELAN's text with a column for each tier, and a row for each begin and end."""
    tiers = {
        name.strip(): place
        for place, name in enumerate(table.first)
        if not name.strip().lower().startswith(NO_TIERS)
    }
    known = {name: columns[name] for name in ("start", "end", "video") if name in columns}
    for row in rows:
        cells = cells_of(row, known)
        for tier, label in cells_of(row, tiers).items():
            yield _span({**cells, "person": tier, "label": label}, _unit_s(table, columns))


def _elan_text(table: Table) -> list[Span]:
    """ELAN's text without names: tier, participant, begins, ends, durations, annotation, file.

    Tier and participant may lack, and the times stand in one format or several. None where no layout has, in
    every row, a duration that is what lies between begin and end: numbers in other tables mean other things.
    """
    rows = list(_unquoted([table.line, *table.lines]))
    for first, n in ELAN_LAYOUTS:
        if rows and all(_fits(row[first:], n) for row in rows):
            return [_elan_span(row, first, n) for row in rows]
    return []


def _fits(cells: list[str], n: int) -> bool:
    times = [time_s for cell in cells[: 3 * n] if (time_s := _elan_seconds(cell)) is not None]
    spans = zip(times[:n], times[n : 2 * n], times[2 * n :], strict=False)
    return len(cells) > 3 * n == len(times) and all(
        abs(end - begin - lasts) < 0.0015 for begin, end, lasts in spans
    )


def _elan_span(row: list[str], first: int, n: int) -> Span:
    start_s, end_s = (_elan_seconds(row[place]) or 0.0 for place in (first, first + n))
    label, *more = row[first + 3 * n :]
    video = next((cell for cell in more if cell.lower().endswith(".eaf")), "")
    return Span("", video, row[0] if first else "", start_s, end_s, label)


def _elan_seconds(cell: str) -> float | None:
    """Of a clock, of seconds, which have a point there, or of milliseconds."""
    if re.fullmatch(r"\d+", cell):
        return int(cell) / 1000
    return seconds(cell) if CLOCK.fullmatch(cell) or re.fullmatch(r"\d+[.,]\d+", cell) else None
