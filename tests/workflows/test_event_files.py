"""Files of events, as the programs that read them demand."""

import csv
import os
from pathlib import Path
from xml.etree import ElementTree as ET
from zipfile import ZipFile

import pytest

from mien.core.events import Event
from mien.core.timeline import columns
from mien.errors import MienError
from mien.workflows.rows.event_files import (
    BORIS_COLUMNS,
    EVENT_COLUMNS,
    write_boris,
    write_elan,
    write_subtitles,
)
from mien.workflows.rows.formats import FORMATS
from mien.workflows.rows.row_file import RowFile, drop_lines
from mien.workflows.rows.spreadsheet import write_xlsx

EVENTS = [
    Event(0.0, 2.5, 1, "happy", 0.81, 0.5, 0.4),
    Event(1.0, 3661.2342, 2, "uncertain", 0.2, 0.0, 0.1),
    Event(2.5, 4.0, 1, "sad", 0.625, -0.6, -0.2),
]


def test_subtitles_do_not_overlap_and_name_everyone_who_is_seen(tmp_path) -> None:
    write_subtitles(EVENTS, tmp_path / "x.srt", "x.mp4")
    assert (tmp_path / "x.srt").read_text().split("\n\n") == [
        "1\n00:00:00,000 --> 00:00:01,000\n1: happy",
        "2\n00:00:01,000 --> 00:00:02,500\n1: happy\n2: uncertain",
        "3\n00:00:02,500 --> 00:00:04,000\n1: sad\n2: uncertain",
        "4\n00:00:04,000 --> 01:01:01,234\n2: uncertain",
        "",
    ]


def test_subtitles_of_one_person_have_no_number_and_a_gap_has_none(tmp_path) -> None:
    write_subtitles([Event(0, 1, 3, "sad", 1, 0, 0), Event(2, 3, 3, "sad", 1, 0, 0)], tmp_path / "x.srt", "")
    assert (tmp_path / "x.srt").read_text() == (
        "1\n00:00:00,000 --> 00:00:01,000\nsad\n\n2\n00:00:02,000 --> 00:00:03,000\nsad\n\n"
    )


ORDER = [
    *("LICENSE", "HEADER", "TIME_ORDER", "TIER", "LINGUISTIC_TYPE", "LOCALE", "LANGUAGE", "CONSTRAINT"),
    *("CONTROLLED_VOCABULARY", "LEXICON_REF", "EXTERNAL_REF"),
]
REQUIRED = {
    "ANNOTATION_DOCUMENT": {"DATE", "AUTHOR", "VERSION"},
    "MEDIA_DESCRIPTOR": {"MEDIA_URL", "MIME_TYPE"},
    "PROPERTY": {"NAME"},
    "TIME_SLOT": {"TIME_SLOT_ID"},
    "TIER": {"TIER_ID", "LINGUISTIC_TYPE_REF"},
    "ALIGNABLE_ANNOTATION": {"ANNOTATION_ID", "TIME_SLOT_REF1", "TIME_SLOT_REF2"},
    "LINGUISTIC_TYPE": {"LINGUISTIC_TYPE_ID"},
}
ALLOWED = {
    "ANNOTATION_DOCUMENT": {"FORMAT", "{http://www.w3.org/2001/XMLSchema-instance}noNamespaceSchemaLocation"},
    "HEADER": {"MEDIA_FILE", "TIME_UNITS"},
    "MEDIA_DESCRIPTOR": {"RELATIVE_MEDIA_URL", "TIME_ORIGIN", "EXTRACTED_FROM"},
    "TIME_SLOT": {"TIME_VALUE"},
    "TIER": {"PARTICIPANT", "ANNOTATOR", "DEFAULT_LOCALE", "PARENT_REF", "EXT_REF", "LANG_REF"},
    "LINGUISTIC_TYPE": {"TIME_ALIGNABLE", "GRAPHIC_REFERENCES", "CONSTRAINTS", "CONTROLLED_VOCABULARY_REF"},
}
CHILDREN = {
    "HEADER": ["MEDIA_DESCRIPTOR", "LINKED_FILE_DESCRIPTOR", "PROPERTY"],
    "TIME_ORDER": ["TIME_SLOT"],
    "TIER": ["ANNOTATION"],
    "ANNOTATION": ["ALIGNABLE_ANNOTATION"],
    "ALIGNABLE_ANNOTATION": ["ANNOTATION_VALUE"],
}
"""What the published schema of ELAN's files says of the elements that are written: attributes that must and
that may be there, and the order of children ("EAF Annotation Format 3.0 and ELAN", and EAFv3.0.xsd)."""


def check_elan(root: ET.Element) -> None:
    """Raise where a file breaks the schema."""
    for element in root.iter():
        order = ORDER if element is root else CHILDREN.get(element.tag, [])
        places = [order.index(child.tag) for child in element]
        assert places == sorted(places), f"{element.tag} has its children in another order"
        given, needed = set(element.attrib), REQUIRED.get(element.tag, set())
        assert needed <= given <= needed | ALLOWED.get(element.tag, set()), element.tag
    slots = [slot.attrib["TIME_SLOT_ID"] for slot in root.iter("TIME_SLOT")]
    annotations = [one.attrib["ANNOTATION_ID"] for one in root.iter("ALIGNABLE_ANNOTATION")]
    ids = [*slots, *annotations]
    assert len(set(ids)) == len(ids)  # xsd:ID: unique in the document
    assert all(not name[0].isdigit() and ":" not in name for name in ids)  # xsd:ID: an NCName
    times = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) for slot in root.iter("TIME_SLOT")}
    assert list(times.values()) == sorted(times.values())
    assert min(times.values(), default=0) >= 0  # xsd:unsignedInt
    kinds = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")}
    for tier in root.iter("TIER"):
        assert tier.attrib["LINGUISTIC_TYPE_REF"] in kinds
        end = 0
        for one in tier.iter("ALIGNABLE_ANNOTATION"):
            start = times[one.attrib["TIME_SLOT_REF1"]]
            assert end <= start < times[one.attrib["TIME_SLOT_REF2"]], "annotations of a tier overlap"
            end = times[one.attrib["TIME_SLOT_REF2"]]


@pytest.mark.parametrize("events", [EVENTS, [], EVENTS[:1]], ids=["three", "none", "one"])
def test_an_elan_file_keeps_to_the_published_schema(events, tmp_path) -> None:
    write_elan(events, tmp_path / "x.eaf", "films/Jörg & Ann.mp4")
    root = ET.parse(tmp_path / "x.eaf").getroot()
    check_elan(root)
    (media,) = root.iter("MEDIA_DESCRIPTOR")
    assert media.attrib["MEDIA_URL"].startswith("file:///")
    assert media.attrib["MEDIA_URL"].endswith("J%C3%B6rg%20%26%20Ann.mp4")
    assert media.attrib["MIME_TYPE"] == "video/mp4"


def test_what_xml_forbids_is_replaced(tmp_path) -> None:
    write_elan(EVENTS, tmp_path / "x.eaf", os.fsdecode(b"a\x01\xe9b.mp4"))
    root = ET.parse(tmp_path / "x.eaf").getroot()
    assert {tier.get("PARTICIPANT") for tier in root.iter("TIER")} == {"a\ufffd\ufffdb"}
    write_xlsx([("a\x01b", 1)], tmp_path / "x.xlsx")
    with ZipFile(tmp_path / "x.xlsx") as file:
        sheet = ET.fromstring(file.read("xl/worksheets/sheet1.xml"))
    assert [text for text in sheet.itertext() if text.strip()] == ["a\ufffdb", "1"]


def test_the_check_of_the_schema_sees_overlap_and_missing_attributes(tmp_path) -> None:
    overlapping = [*EVENTS[:1], Event(2.0, 3.0, 1, "sad", 1, 0, 0)]
    write_elan(overlapping, tmp_path / "x.eaf", "")
    with pytest.raises(AssertionError, match="overlap"):
        check_elan(ET.parse(tmp_path / "x.eaf").getroot())
    write_elan(EVENTS, tmp_path / "x.eaf", "")
    root = ET.parse(tmp_path / "x.eaf").getroot()
    del next(root.iter("TIER")).attrib["TIER_ID"]
    with pytest.raises(AssertionError, match="TIER"):
        check_elan(root)


@pytest.mark.filterwarnings("ignore:Parsing unknown version of ELAN spec")
def test_another_program_reads_one_tier_a_person(tmp_path) -> None:
    elan = pytest.importorskip("pympi.Elan", reason="needs pympi-ling")
    write_elan(EVENTS, tmp_path / "x.eaf", "talk.mp4")
    file = elan.Eaf(str(tmp_path / "x.eaf"))
    assert sorted(file.get_tier_names()) == ["person 1", "person 2"]
    assert sorted(file.get_annotation_data_for_tier("person 1")) == [(0, 2500, "happy"), (2500, 4000, "sad")]
    assert file.get_annotation_data_for_tier("person 2") == [(1000, 3661234, "uncertain")]


def test_boris_finds_its_columns_and_the_start_and_stop_of_each_state(tmp_path) -> None:
    openpyxl = pytest.importorskip("openpyxl", reason="needs openpyxl")
    write_boris(EVENTS, tmp_path / "x.boris.xlsx", "x.mp4")
    head, *rows = openpyxl.load_workbook(tmp_path / "x.boris.xlsx").worksheets[0].iter_rows(values_only=True)
    assert head == BORIS_COLUMNS == ("time", "subject", "code", "modifier", "comment")
    assert [row[:3] for row in rows] == [
        (0, "person 1", "happy"),
        (1, "person 2", "uncertain"),
        (2.5, "person 1", "happy"),
        (2.5, "person 1", "sad"),
        (4, "person 1", "sad"),
        (3661.234, "person 2", "uncertain"),
    ]
    assert [row[4] for row in rows[:3]] == ["mean probability 0.81", "mean probability 0.20", None]


LABELS = ("happy", "sad")


def timeline(path: Path, participant: tuple = (), n: int = 4) -> RowFile:
    names = (*(("participant",) if participant else ()), *columns(LABELS))
    file = RowFile(path, names, source="films/anna.mp4").begin()
    for frame in range(n):
        cells = dict.fromkeys(names)
        cells |= {"time_s": frame / 10, "frame": frame, "track": 1, "label": "happy", "uncertain": False}
        cells |= {"p_smooth_happy": 0.75, "p_smooth_sad": 0.25, "valence": 0.5, "arousal": 0.1}
        file.write([tuple((cells | dict(zip(("participant",), participant, strict=False))).values())])
    return file


@pytest.mark.parametrize(("given", "told"), [((), "anna"), (("P07",), "P07")], ids=["stem", "column"])
def test_an_event_table_names_the_participant_in_every_row(given, told, tmp_path) -> None:
    timeline(tmp_path / "x.events.csv", given).close()
    with (tmp_path / "x.events.csv").open(newline="") as file:
        head, *rows = csv.reader(file)
    assert tuple(head) == EVENT_COLUMNS
    assert rows == [[told, "1", "0.0", "0.4", "happy", "0.75", "0.5", "0.1"]]


@pytest.mark.parametrize("end", sorted(end for end, one in FORMATS.items() if "track" in one.needs))
def test_a_file_of_events_is_there_after_a_stop_and_goes_on(end: str, tmp_path) -> None:
    file = timeline(tmp_path / f"x{end}")
    offset = file.n_bytes
    file.close()
    assert {path.name for path in tmp_path.iterdir()} == {f"x{end}", f"x{end}.rows"}
    again = RowFile(tmp_path / f"x{end}", columns(LABELS), offset, "films/anna.mp4").begin()
    again.close()
    drop_lines(again.path, again.columns)
    assert [path.name for path in tmp_path.iterdir()] == [f"x{end}"]


def test_events_are_made_of_timelines_alone(tmp_path) -> None:
    with pytest.raises(MienError, match=r"rows go into a \.csv, \.jsonl or \.parquet file, got 'x.srt'"):
        RowFile(tmp_path / "x.srt", ("path", "face"))
