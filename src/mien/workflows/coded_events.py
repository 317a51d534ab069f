"""Coded events of videos, from the files of mien, BORIS and ELAN."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from mien.core.own_files import reading
from mien.core.paths import path_text
from mien.core.video_names import VIDEO_SUFFIXES
from mien.errors import DataError, MienError
from mien.workflows.coded_tables import ADVICE, Span, UnknownTableError, read_table
from mien.workflows.video.participants import KEY, read_key
from mien.workflows.watched import INDEX, watched_beside

SPREADSHEET = "is a spreadsheet; save it as CSV, or give the .events.csv or .eaf file"
OTHER_ROWS = "holds rows that are not read here; give the .csv or .events.csv file"
READ = (".events.csv", ".eaf", ".csv", ".tsv", ".txt")
NOT_READ = {
    **dict.fromkeys((".xlsx", ".xls", ".ods"), SPREADSHEET),
    **dict.fromkeys((".jsonl", ".ndjson", ".parquet"), OTHER_ROWS),
}
TABLE_ENDS = {".events", ".eaf", ".csv", ".tsv", ".txt", ".boris", *NOT_READ}
MOST_TIERS = 16  # of ELAN, each dividing the one before
NO_EVENTS = {INDEX, KEY}  # lie beside the rows of `mien watch`


@dataclass(frozen=True, slots=True)
class CodedEvent:
    """One emotion of one person, from when to when.

    Attributes:
        person: Who shows it: a number of mien's, a subject of BORIS, a tier of ELAN.
        start_s: Seconds.
        end_s: Seconds.
        emotion: As the file calls it.
    """

    person: str
    start_s: float
    end_s: float
    emotion: str


@dataclass(frozen=True, slots=True)
class CodedVideo:
    """What was coded in one video.

    Attributes:
        participant: Whose video, observation or file it is.
        video: The observation, or the path of the file below the folder that was read; empty for a file of
            several participants, which tells no video.
        events: None where someone looked and coded nothing.
        watched: From when to when mien watched it, seconds; ``None`` where no file of mien tells, and until
            infinity where one only tells that it did.
    """

    participant: str
    video: str
    events: tuple[CodedEvent, ...]
    watched: tuple[float, float] | None = None


class Coded(NamedTuple):
    """What a file or a folder holds: videos, and the files of the folder that are no tables of events."""

    videos: list[CodedVideo]
    not_read: list[str]


def read_coded(path: Path, *, may_be_empty: bool = False) -> Coded:
    """The videos that a file, or the files of a folder, have events of.

    Known are mien's event tables and rows, BORIS's aggregated and tabular events as text, ELAN's ``.eaf`` and
    tab-delimited export. Of files of one name but for its end one is read, mien's events before those of ELAN
    before tables.

    Args:
        path: The file or folder.
        may_be_empty: Whether a video without events tells something.

    Raises:
        DataError: there are no events, or a file is damaged.
    """
    if path.is_dir():
        found = _of_folder(path)
    elif path.exists() and not path.is_file():
        raise DataError(f"{path} is a pipe or a device; save the events as a file")
    else:
        found = Coded(_of_file(path, path.name), [])
    if not may_be_empty and not any(one.events for one in found.videos):
        raise DataError(f"{path} holds no events; {ADVICE}")
    return found


def _of_folder(folder: Path) -> Coded:
    groups: dict[Path, list[Path]] = {}
    for file in sorted(folder.rglob("[!.]*")):
        if file.name not in NO_EVENTS and _rank(file) < len(READ) + len(NOT_READ) and file.is_file():
            groups.setdefault(file.with_name(video_of(file)), []).append(file)
    videos: list[CodedVideo] = []
    refused: dict[str, UnknownTableError] = {}
    for files in groups.values():
        try:
            videos += _first_known(sorted(files, key=_rank), folder)
        except UnknownTableError as error:
            refused[path_text(str(files[0].relative_to(folder)))] = error
    if not groups:
        raise DataError(f"{folder} holds no {', '.join(READ)} file")
    if not videos:
        raise next(iter(refused.values()))
    return Coded(videos, list(refused))


def _rank(file: Path) -> int:
    """How many kinds of file count more."""
    ends = [*READ, *NOT_READ]
    return next((i for i, end in enumerate(ends) if file.name.lower().endswith(end)), len(ends))


def _first_known(files: list[Path], folder: Path) -> list[CodedVideo]:
    file, *others = files
    try:
        return _of_file(file, file.relative_to(folder).as_posix())
    except UnknownTableError:
        if not others:
            raise
        return _first_known(others, folder)


def _of_file(path: Path, place: str) -> list[CodedVideo]:
    is_elan = path.suffix.lower() == ".eaf"
    if why := NOT_READ.get(path.suffix.lower()):
        raise UnknownTableError(f"{path} {why}")
    with reading(path, "cannot be read as events", advice=ADVICE):
        spans = list(_elan(path)) if is_elan else read_table(path)
        for one in spans:
            if not 0 <= one.start_s <= one.end_s < float("inf"):
                raise ValueError(f"an event lasts from {one.start_s:g} to {one.end_s:g} s")
    if _rank(path) <= READ.index(".eaf"):
        spans += _watched(path, spans)
    name = name_of(path)
    whose = [one.participant or name_of(one.video) or name for one in spans]
    tells = is_elan or len(set(whose)) < 2
    groups: dict[tuple[str, str], list[CodedEvent]] = {} if spans else {(plain(name), plain(place)): []}
    watched: dict[tuple[str, str], tuple[float, float]] = {}
    for participant, one in zip(whose, spans, strict=True):
        names = (plain(participant), plain(one.video or (place if tells else "")))
        events = groups.setdefault(names, [])
        if one.watched:
            watched[names] = (one.start_s, one.end_s)
        elif one.label:
            events.append(CodedEvent(_person(one.person), one.start_s, one.end_s, plain(one.label)))
    return [CodedVideo(*names, tuple(events), watched.get(names)) for names, events in groups.items()]


def _watched(path: Path, spans: list[Span]) -> Iterator[Span]:
    """From when to when the video of mien's events was watched, as the files beside them tell.

    That it was watched, but not from when, tells something only where there is no event.
    """
    found = watched_beside(path, video_of(path))
    names = {(one.participant, one.video) for one in spans} or {(found.participant if found else "", "")}
    if found is None or (found.end_s == math.inf and any(one.label for one in spans)):
        return
    if len(names) == 1 and max((one.end_s for one in spans), default=0.0) <= found.end_s + 0.001:
        yield Span(*names.pop(), "", found.start_s, found.end_s, "", watched=True)


def _elan(path: Path) -> Iterator[Span]:
    """The annotations of every tier; those of a tier that divides another's have their share of its times."""
    root = ET.parse(path).getroot()
    spans = _aligned(root)
    parents = {
        one.attrib["ANNOTATION_ID"]: one.attrib["ANNOTATION_REF"] for one in root.iter("REF_ANNOTATION")
    }
    for tier in root.iter("TIER"):
        participant, person = tier.attrib.get("PARTICIPANT", ""), tier.attrib["TIER_ID"]
        yield Span(participant, "", person, 0.0, 0.0, "")  # the tier is there, even without annotations
        divided = Counter(one.attrib["ANNOTATION_REF"] for one in tier.iter("REF_ANNOTATION"))
        before: Counter[str] = Counter()
        for one in (*tier.iter("ALIGNABLE_ANNOTATION"), *tier.iter("REF_ANNOTATION")):
            name = top = one.attrib.get("ANNOTATION_ID", "")
            for _ in range(MOST_TIERS):
                top = parents.get(top, top)
            start_s, end_s = spans[top]
            if (parent := parents.get(name)) is not None:
                share = (end_s - start_s) / divided[parent]
                start_s, end_s = start_s + before[parent] * share, start_s + (before[parent] + 1) * share
                before[parent] += 1
            yield Span(participant, "", person, start_s, end_s, one.findtext("ANNOTATION_VALUE") or "")


def _aligned(root: ET.Element) -> dict[str, tuple[float, float]]:
    """From when to when annotations with own times last; times that are not set lie between others.

    The times are those of the first video, which may begin later in its file than the annotations do.
    """
    videos = (one for one in root.iter("MEDIA_DESCRIPTOR") if "audio" not in one.get("MIME_TYPE", ""))
    origin_s = next((int(one.get("TIME_ORIGIN", 0)) / 1000 for one in videos), 0.0)
    slots = list(root.iter("TIME_SLOT"))
    known = [place for place, slot in enumerate(slots) if "TIME_VALUE" in slot.attrib]
    if not known:
        return {}
    at_s = np.interp(range(len(slots)), known, [int(slots[i].attrib["TIME_VALUE"]) / 1000 for i in known])
    times = {slot.attrib["TIME_SLOT_ID"]: float(at) + origin_s for slot, at in zip(slots, at_s, strict=True)}
    return {
        one.attrib.get("ANNOTATION_ID", ""): (
            times[one.attrib["TIME_SLOT_REF1"]],
            times[one.attrib["TIME_SLOT_REF2"]],
        )
        for one in root.iter("ALIGNABLE_ANNOTATION")
    }


def plain(text: str) -> str:
    """A name as it is compared: accents may be characters of their own, as on a Mac, or not."""
    return unicodedata.normalize("NFC", path_text(text)).strip()


def video_of(path: str | Path) -> str:
    """The name of a video by its path, or by that of a file about it: ``a.mp4`` of ``a.mp4.events.csv``."""
    return _without_ends(path, TABLE_ENDS)


def name_of(path: str | Path) -> str:
    """As `video_of`, without the video's own end: ``talk``."""
    return _without_ends(path, TABLE_ENDS | VIDEO_SUFFIXES)


def _without_ends(path: str | Path, ends: Set[str]) -> str:
    name = Path(path)
    while name.suffix.lower() in ends:
        name = name.with_suffix("")
    return name.name


def _person(name: str) -> str:
    """``person 1`` is person ``1``, and so is ``1.0``, as programs write numbers of a column with gaps."""
    return re.sub(r"^(\d+)\.0$", r"\1", plain(name).removeprefix("person "))


def unblinded(videos: Iterable[CodedVideo], key: Path) -> list[CodedVideo]:
    """Videos with blind names, under the names of the videos and their participants.

    The blind name is that of the file or observation, else the participant; zeros at its beginning do not
    count, since spreadsheets remove them. A video that the key does not name keeps its name, with a remark.

    Raises:
        DataError: the file is no key, or tells of none of them.
    """
    rows = {_blind(row["blind"]): row for row in read_key(key)}
    found = [(one, rows.get(_blind(one.video)) or rows.get(_blind(one.participant))) for one in videos]
    if not any(row for _, row in found):
        raise DataError(f"{key} lists none of the coder's videos")
    return [
        replace(
            one, participant=plain(row["participant"] or name_of(row["video"])), video=plain(row["video"])
        )
        if row
        else replace(one, participant=f"{one.participant} (not in {key.name})")
        for one, row in found
    ]


def _blind(name: str) -> str:
    return name_of(plain(name)).lstrip("0")


def parse_pairs(texts: Iterable[str], option: str, *, none: bool = False) -> dict[str, str]:
    """``{"joy": "happy"}`` of ``joy=happy``.

    Args:
        texts: What is given to the option.
        option: Its name.
        none: Whether ``joy=`` may stand, too.

    Raises:
        MienError: one is no pair, or two contradict each other.
    """
    found: dict[str, str] = {}
    for old, sign, new in (plain(text).partition("=") for text in texts):
        if not (old and sign and (new or none)):
            raise MienError(f"{option} takes THEIRS=OURS, got '{old}{sign}{new}'")
        if found.setdefault(old, new) != new:
            raise MienError(f"{option} gives '{old}' as '{found[old]}' and as '{new}'; give it once")
    return found
