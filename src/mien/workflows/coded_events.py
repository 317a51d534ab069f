"""Events that people or programs coded, from the files of mien, BORIS and ELAN."""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path
from xml.etree import ElementTree as ET

from mien.core.columns import parse_cell
from mien.core.emotions import emotion_or
from mien.core.events import events_of
from mien.core.own_files import reading
from mien.core.paths import path_text
from mien.data.tables import encoding_of
from mien.errors import DataError, MienError
from mien.workflows.video.participants import KEY, read_key

MEDIA = re.compile(r"(\.(events|mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|3gp|wmv|flv))+$", re.IGNORECASE)
CLOCK = re.compile(r"(\d+):(\d+):(\d+(?:[.,]\d+)?)")
SECONDS = re.compile(r"\d+[.,]\d+")
MILLISECONDS = re.compile(r"\d+")
FOLDER_ENDS = (".events.csv", ".eaf", ".tsv", ".txt", ".csv")
SPREADSHEETS = {".xlsx", ".xls", ".ods"}
OTHER_ROWS = {".jsonl", ".ndjson", ".parquet"}
NO_EVENTS = {"index.csv", KEY}  # lie beside the rows of `mien watch`
ADVICE = "give events of mien, a BORIS export, or an ELAN file"


@dataclass(frozen=True, slots=True)
class CodedEvent:
    """One emotion of one person, from when to when.

    Attributes:
        participant: Whose video, observation or file it is in.
        person: Who shows it there: a number of mien's, a subject of BORIS, a tier of ELAN.
        start_s: Seconds.
        end_s: Seconds.
        emotion: By the one name that mien uses, where it has one.
        video: What it was coded in: an observation, or the path of the file below the folder that was read.
    """

    participant: str
    person: str
    start_s: float
    end_s: float
    emotion: str
    video: str = ""


def read_events(path: Path, renames: Mapping[str, str] | None = None) -> list[CodedEvent]:
    """The events of a file, or of all files of a folder.

    Known are mien's event tables and rows, BORIS's aggregated and tabular events as text, ELAN's ``.eaf`` and
    tab-delimited export. In a folder the files of mien count, else those of ELAN, else tables.

    Args:
        path: The file or folder.
        renames: Names in the file to those by which mien knows them, such as joy, happy.

    Raises:
        DataError: the file holds no events, none of a name in ``renames``, or is damaged.
    """
    renames = renames or {}
    top = path if path.is_dir() else path.parent
    events = [
        replace(event, video=event.video or path_text(str(file.relative_to(top))))
        for file in _files(path)
        for event in _of_file(file)
    ]
    if not events:
        raise DataError(f"{path} holds no events; {ADVICE}")
    check_names(renames, {one.emotion for one in events}, f"{path} codes")
    return [replace(one, emotion=emotion_or(renames.get(one.emotion, one.emotion))) for one in events]


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is a pipe or a device; save the events as a file")
        if path.suffix.lower() in SPREADSHEETS:
            raise DataError(f"{path} is a spreadsheet; save it as CSV, or give the .events.csv or .eaf file")
        if path.suffix.lower() in OTHER_ROWS:
            raise DataError(f"{path} holds rows that are not read here; give the .csv or .events.csv file")
        return [path]
    files = [file for file in path.rglob("[!.]*") if file.name not in NO_EVENTS and file.is_file()]
    for end in FOLDER_ENDS:
        found = sorted(file for file in files if file.name.lower().endswith(end))
        if found:
            return found
    raise DataError(f"{path} holds no {', '.join(FOLDER_ENDS)} file")


def _of_file(path: Path) -> list[CodedEvent]:
    with reading(path, "holds no events", advice=ADVICE):
        events = list(_elan(path) if path.suffix.lower() == ".eaf" else _table(path))
        for event in events:
            if not 0 <= event.start_s <= event.end_s < float("inf"):
                raise ValueError(f"an event lasts from {event.start_s} to {event.end_s}")
        return events


def _name_of(path: Path) -> str:
    return MEDIA.sub("", path.stem)


def same_video(one: str, other: str) -> bool:
    """Whether the paths of two videos, or of files about them, may mean one: one may begin further up."""
    parts = [(*path.parent.parts, _name_of(path)) for path in (Path(one), Path(other))]
    n = min(map(len, parts))
    return parts[0][-n:] == parts[1][-n:]


def _elan(path: Path) -> Iterator[CodedEvent]:
    root = ET.parse(path).getroot()
    times = {slot.attrib["TIME_SLOT_ID"]: slot.attrib.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        participant = tier.attrib.get("PARTICIPANT") or _name_of(path)
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = (times[one.attrib[name]] for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"))
            label = (one.findtext("ANNOTATION_VALUE") or "").strip()
            if label and start is not None and end is not None:
                person = _person(tier.attrib["TIER_ID"])
                yield CodedEvent(participant, person, int(start) / 1000, int(end) / 1000, label)


def _table(path: Path) -> Iterable[CodedEvent]:
    with path.open("rb") as file:
        encoding = encoding_of(file)
    with path.open(encoding=encoding, newline="") as file:
        first = file.readline()
        mark = max("\t;,", key=first.count)
        file.seek(0)
        rows = [row for row in csv.reader(file, delimiter=mark) if any(row)]
    if rows and re.fullmatch(r"sep=.?", "".join(rows[0]).strip().lower()):
        rows = rows[1:]  # a line that tells Excel the separator
    names = [name.strip().lower() for name in rows[0]] if rows else []
    table = [dict(zip(names, row, strict=False)) for row in rows[1:]]
    if {"time_s", "frame", "track", "label"} <= set(names):
        return _timeline(rows, path)
    if {"start_s", "end_s", "emotion"} <= set(names):
        return _aggregated(table, path, ("participant", "track", "start_s", "end_s", "emotion"))
    if {"start (s)", "stop (s)", "behavior"} <= set(names):
        return _aggregated(table, path, ("observation id", "subject", "start (s)", "stop (s)", "behavior"))
    if {"time", "behavior"} <= set(names):
        return _states(table, path)
    if mark == "\t":
        return _elan_rows(rows, path)
    raise ValueError(f"its columns are {', '.join(names) or 'missing'}")


def _timeline(rows: Sequence[Sequence[str]], path: Path) -> Iterator[CodedEvent]:
    names = rows[0]
    table = (zip_longest(names, row[: len(names)]) for row in rows[1:])
    for one in events_of({name: parse_cell(name, text) for name, text in row} for row in table):
        participant = one.participant or _name_of(path)
        yield CodedEvent(participant, str(one.track), one.start_s, one.end_s, one.emotion)


def _aggregated(
    table: Sequence[Mapping[str, str]], path: Path, names: tuple[str, str, str, str, str]
) -> Iterator[CodedEvent]:
    whose, who, start, end, label = names
    for row in table:
        participant, person = row.get(whose) or _name_of(path), _person(row.get(who, ""))
        video = row.get("observation id", "")
        yield CodedEvent(participant, person, _seconds(row[start]), _seconds(row[end]), row[label], video)


def _seconds(text: str) -> float:
    return float(text.replace(",", "."))


def _states(table: Sequence[Mapping[str, str]], path: Path) -> Iterator[CodedEvent]:
    """Events of a table with a row for each start and each stop, as BORIS exports tabular events."""
    begun: dict[tuple[str, str, str], float] = {}
    for row in table:
        kind = (row.get("behavior type") or row.get("status") or "").strip().upper()
        key = (row.get("observation id") or _name_of(path), _person(row.get("subject", "")), row["behavior"])
        time_s = _seconds(row["time"])
        if kind == "START":
            if key in begun:
                raise ValueError(f"'{row['behavior']}' starts at {begun[key]:g} s and again at {time_s:g} s")
            begun[key] = time_s
        elif kind == "STOP":
            if key not in begun:
                raise ValueError(f"'{row['behavior']}' stops at {time_s:g} s and never started")
            video = row.get("observation id", "")
            yield CodedEvent(*key[:2], begun.pop(key), time_s, key[2], video)
    for (_, _, label), time_s in begun.items():
        raise ValueError(f"'{label}' starts at {time_s:g} s and never stops")


def _elan_rows(rows: Sequence[Sequence[str]], path: Path) -> Iterator[CodedEvent]:
    """ELAN's tab-delimited export, with headers or without: tier, ..., begin, end, ..., annotation."""
    for row in rows:
        times = _times(row)
        if len(times) >= 2:
            yield CodedEvent(_name_of(path), _person(row[0]), times[0], times[1], row[-1].strip())


def _times(row: Sequence[str]) -> list[float]:
    """Begin, end and perhaps duration, in the first format of time that a row has two of."""
    cells = [cell.strip() for cell in row[1:-1]]
    clocks = [match for match in map(CLOCK.fullmatch, cells) if match]
    if len(clocks) >= 2:
        return [3600 * int(m[1]) + 60 * int(m[2]) + float(m[3].replace(",", ".")) for m in clocks]
    seconds = [float(cell.replace(",", ".")) for cell in cells if SECONDS.fullmatch(cell)]
    return seconds if len(seconds) >= 2 else [int(c) / 1000 for c in cells if MILLISECONDS.fullmatch(c)]


def _person(name: str) -> str:
    """``person 1`` is person ``1``."""
    return name.strip().removeprefix("person ")


def unblinded(events: Iterable[CodedEvent], key: Path) -> list[CodedEvent]:
    """Events of videos with blind names, under the names of the videos and their participants.

    Raises:
        DataError: the file is no key, or tells of none of them.
    """
    rows = {_name_of(Path(row["blind"])): row for row in read_key(key)}
    found = [
        replace(one, participant=row["participant"] or _name_of(Path(row["video"])), video=row["video"])
        for one in events
        if (row := rows.get(_name_of(Path(one.participant))))
    ]
    if not found:
        raise DataError(f"{key} tells of none of the coder's videos")
    return found


def check_names(told: Iterable[str], known: set[str], what: str) -> None:
    """Raise a `DataError` where a name is told that nothing has: a slip would change no figure, and not show.

    Args:
        told: By the caller.
        known: What there is.
        what: Begins the sentence that lists ``known``.
    """
    for name in told:
        if name not in known:
            raise DataError(f"no '{name}' is there: {what} {', '.join(sorted(known))}")


def parse_pairs(texts: Iterable[str], option: str) -> dict[str, str]:
    """``{"joy": "happy"}`` of ``joy=happy``.

    Raises:
        MienError: one is no pair.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (old, sign, new) in zip(texts, pairs, strict=True):
        if not (old and sign and new):
            raise MienError(f"{option} takes THEIRS=OURS, got '{text}'")
    return {old: new for old, _, new in pairs}
