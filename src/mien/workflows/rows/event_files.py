"""Files of events, made of the rows of a timeline: subtitles, ELAN, a table, a spreadsheet for BORIS."""

import mimetypes
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePath
from xml.etree import ElementTree as ET

from mien.core.columns import Row
from mien.core.events import Event
from mien.core.files import atomic_write
from mien.core.paths import path_text
from mien.workflows.rows.spreadsheet import write_xlsx
from mien.workflows.rows.xml_text import for_xml

EVENT_COLUMNS = (
    *("participant", "track", "start_s", "end_s", "emotion"),
    *("mean_probability", "valence", "arousal"),
)
BORIS_COLUMNS = ("time", "subject", "code", "modifier", "comment")
"""What the first row of a spreadsheet must hold for BORIS to import it (its user guide, "Import events from a
spreadsheet"); a state has two rows, one where it starts and one where it stops."""

Source = str
"""The path or address of the video that events come from; empty where it is not known."""
Write = Callable[[Sequence[Event], Path, Source], None]


def participant_of(event: Event, source: Source) -> str:
    """Whose video it is: what the rows tell, else the name of the file."""
    return event.participant or path_text(PurePath(source).stem)


def person_name(track: int) -> str:
    """What a person is called where people read it."""
    return f"person {track}"


def event_rows(events: Iterable[Event], source: Source) -> Iterator[Row]:
    """The rows of an event table, under `EVENT_COLUMNS`."""
    for event in events:
        yield (
            participant_of(event, source),
            event.track,
            round(event.start_s, 3),
            round(event.end_s, 3),
            event.emotion,
            round(event.probability, 4),
            round(event.valence, 4),
            round(event.arousal, 4),
        )


def write_subtitles(events: Sequence[Event], path: Path, source: Source) -> None:
    """SubRip subtitles: at each moment the emotion of everyone who is seen, one line a person.

    Cues do not overlap, because many players show only one. In a video of one person the number is left out.
    """
    many = len({event.track for event in events}) > 1
    cues: list[tuple[int, int, str]] = []
    for start, end, active in _stretches(events):
        lines = [f"{event.track}: {event.emotion}" if many else event.emotion for event in active]
        text = "\n".join(lines)
        if cues and cues[-1][1:] == (start, text):
            cues[-1] = (cues[-1][0], end, text)
        else:
            cues.append((start, end, text))
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for number, (start, end, text) in enumerate(cues, 1):
            file.write(f"{number}\n{_srt_time(start)} --> {_srt_time(end)}\n{text}\n\n")


def _stretches(events: Sequence[Event]) -> Iterator[tuple[int, int, list[Event]]]:
    """Milliseconds between two changes, and who is seen then, by number."""
    spans = [(*_milliseconds(event), event) for event in events]
    changes = sorted({time for start, end, _ in spans for time in (start, end)})
    waiting, active = iter(spans), list[tuple[int, int, Event]]()
    ahead = next(waiting, None)
    for start, end in pairwise(changes):
        active = [span for span in active if span[1] > start]
        while ahead is not None and ahead[0] <= start:
            active.append(ahead)
            ahead = next(waiting, None)
        if active:
            yield start, end, sorted((span[2] for span in active), key=lambda event: event.track)


def _milliseconds(event: Event) -> tuple[int, int]:
    start = max(round(event.start_s * 1000), 0)
    return start, max(round(event.end_s * 1000), start + 1)


def _srt_time(milliseconds: int) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d},{milliseconds:03d}"


def write_elan(events: Sequence[Event], path: Path, source: Source) -> None:
    """An annotation file of ELAN, format 3.0, one tier a person; the video is linked, not copied.

    Source: "EAF Annotation Format 3.0 and ELAN", Max Planck Institute for Psycholinguistics, and its schema
    EAFv3.0.xsd.
    """
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": "mien",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": "http://www.mpi.nl/tools/elan/EAFv3.0.xsd",
        },
    )
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    if source:
        ET.SubElement(header, "MEDIA_DESCRIPTOR", _media(source))
    ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId").text = str(len(events))
    order = ET.SubElement(root, "TIME_ORDER")
    times = sorted({time for event in events for time in _milliseconds(event)})
    slots = {time: f"ts{number}" for number, time in enumerate(times, 1)}
    for time, slot in slots.items():
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    tiers: dict[int, ET.Element] = {}
    for track, event in sorted({event.track: event for event in events}.items()):
        names = {"TIER_ID": person_name(track), "PARTICIPANT": for_xml(participant_of(event, source))}
        tiers[track] = ET.SubElement(root, "TIER", names, ANNOTATOR="mien", LINGUISTIC_TYPE_REF="emotion")
    for number, event in enumerate(events, 1):
        start, end = _milliseconds(event)
        place = {"TIME_SLOT_REF1": slots[start], "TIME_SLOT_REF2": slots[end]}
        annotation = ET.SubElement(tiers[event.track], "ANNOTATION")
        inner = ET.SubElement(annotation, "ALIGNABLE_ANNOTATION", place, ANNOTATION_ID=f"a{number}")
        ET.SubElement(inner, "ANNOTATION_VALUE").text = for_xml(event.emotion)
    ET.SubElement(
        root,
        "LINGUISTIC_TYPE",
        LINGUISTIC_TYPE_ID="emotion",
        TIME_ALIGNABLE="true",
        GRAPHIC_REFERENCES="false",
    )
    ET.indent(root)
    ET.ElementTree(root).write(path, encoding="UTF-8", xml_declaration=True)


def _media(source: Source) -> dict[str, str]:
    kind = mimetypes.guess_type(source)[0] or "unknown"
    if "://" in source:
        return {"MEDIA_URL": source, "MIME_TYPE": kind}
    return {"MEDIA_URL": Path(source).absolute().as_uri(), "MIME_TYPE": kind}


def boris_rows(events: Iterable[Event]) -> list[Row]:
    """The rows that BORIS imports, under `BORIS_COLUMNS`: where each event starts, and where it stops."""
    rows: list[Row] = []
    for event in events:
        comment = f"mean probability {event.probability:.2f}"
        subject = person_name(event.track)
        rows.append((round(event.start_s, 3), subject, event.emotion, None, comment))
        rows.append((round(event.end_s, 3), subject, event.emotion, None, None))
    return sorted(rows, key=lambda row: float(row[0] or 0))


def write_boris(events: Sequence[Event], path: Path, source: Source) -> None:
    """A spreadsheet that BORIS imports into an observation."""
    write_xlsx([BORIS_COLUMNS, *boris_rows(events)], path)


def write_whole(write: Write, events: Sequence[Event], path: Path, source: Source) -> None:
    """Write a file of events atomically."""
    with atomic_write(path) as temporary:
        write(events, temporary, source)
