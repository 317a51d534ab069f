"""Events that people or programs coded, from the files of mien, BORIS and ELAN."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from xml.etree import ElementTree as ET

from mien.core.emotions import emotion_or
from mien.core.own_files import reading
from mien.core.paths import path_text
from mien.errors import DataError, MienError
from mien.workflows.coded_tables import ADVICE, Span, read_table
from mien.workflows.video.participants import KEY, read_key

MEDIA = re.compile(r"(\.(events|mp4|m4v|mov|mkv|webm|avi|mpe?g|m?ts|3gp|wmv|flv))+$", re.IGNORECASE)
FOLDER_ENDS = (".events.csv", ".eaf", ".tsv", ".txt", ".csv")
SPREADSHEETS = {".xlsx", ".xls", ".ods"}
OTHER_ROWS = {".jsonl", ".ndjson", ".parquet"}
NO_EVENTS = {"index.csv", KEY}  # lie beside the rows of `mien watch`


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
    with reading(path, "cannot be read as events", advice=ADVICE):
        spans = list(_elan(path)) if path.suffix.lower() == ".eaf" else read_table(path)
        for one in spans:
            if not 0 <= one.start_s <= one.end_s < float("inf"):
                raise ValueError(f"an event lasts from {one.start_s:g} to {one.end_s:g} s")
    name = _name_of(path)
    return [
        CodedEvent(
            one.participant or _name_of(Path(one.video)) or name,
            _person(one.person),
            one.start_s,
            one.end_s,
            one.label,
            one.video,
        )
        for one in spans
        if one.label
    ]


def _name_of(path: Path) -> str:
    return MEDIA.sub("", path.stem)


def same_video(one: str, other: str) -> bool:
    """Whether the paths of two videos, or of files about them, may mean one: one may begin further up."""
    parts = [(*path.parent.parts, _name_of(path)) for path in (Path(one), Path(other))]
    n = min(map(len, parts))
    return parts[0][-n:] == parts[1][-n:]


def _elan(path: Path) -> Iterator[Span]:
    root = ET.parse(path).getroot()
    times = {slot.attrib["TIME_SLOT_ID"]: slot.attrib.get("TIME_VALUE") for slot in root.iter("TIME_SLOT")}
    for tier in root.iter("TIER"):
        participant, person = tier.attrib.get("PARTICIPANT", ""), tier.attrib["TIER_ID"]
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            start, end = (times[one.attrib[name]] for name in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"))
            label = (one.findtext("ANNOTATION_VALUE") or "").strip()
            if start is not None and end is not None:
                yield Span(participant, "", person, int(start) / 1000, int(end) / 1000, label)


def _person(name: str) -> str:
    """``person 1`` is person ``1``, and so is ``1.0``, as programs write numbers of a column with gaps."""
    return re.sub(r"^(\d+)\.0$", r"\1", name.strip().removeprefix("person "))


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
