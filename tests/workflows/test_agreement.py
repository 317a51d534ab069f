"""Mien's events beside a coder's: files of three programs, and figures worked by hand."""

import os
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest

from mien.cli.agreement import lines
from mien.core.emotions import emotion_or
from mien.core.events import Event
from mien.errors import DataError, MienError
from mien.workflows import watched
from mien.workflows.agreement import AgreementSettings, compare
from mien.workflows.coded_events import CodedEvent, CodedVideo, parse_pairs, read_coded, unblinded
from mien.workflows.coded_tables import OWN_COLUMNS
from mien.workflows.rows.event_files import write_elan
from mien.workflows.rows.formats import write_event_table

WANTED = [("x", "1", 0.0, 2.5, "happy"), ("x", "1", 2.5, 4.0, "sad")]
FILES = {
    "x.events.csv": "participant,track,start_s,end_s,emotion\nx,1,0.0,2.5,happy\nx,1,2.5,4.0,sad\n",
    "aggregated.tsv": "Observation id\tSubject\tBehavior\tBehavior type\tStart (s)\tStop (s)\tDuration (s)\n"
    "x\t1\tHappiness\tSTATE\t0.0\t2.5\t2.5\nx\t1\tsad\tSTATE\t2.5\t4.0\t1.5\n",
    "tabular.csv": '"Observation id","Subject","Behavior","Behavior type","Time","Comment"\n'
    'x,1,happy,START,0.0,\nx,1,happy,STOP,2.5,"a, b"\nx,1,sad,START,2.5,\n'
    "x,1,wink,POINT,3,\nx,1,sad,STOP,4.0,\n",
    "old-tabular.csv": "Time;Subject;Behavior;Status;Observation id\n"
    "0;1;happy;START;x\n2.5;1;happy;STOP;x\n2.5;1;sad;START;x\n4;1;sad;STOP;x\n",
    "x.txt": "person 1\tx\t00:00:00.000\t0.0\t00:00:02.500\t2.5\t00:00:02.500\t2.5\tHAPPY\n"
    "person 1\tx\t00:00:02.500\t2.5\t00:00:04.000\t4.0\t00:00:01.500\t1.5\tsadness\n",
    "milliseconds/x.txt": "1\t\t0\t2500\t2500\thappy\n1\t\t2500\t4000\t1500\tsad\n",
    "head/x.txt": "Tier\tBegin Time - ss.msec\tEnd Time - ss.msec\tAnnotation\n"
    "1\t0.000\t2.500\thappy\n1\t2.500\t4.000\tsad\n",
    "columns.txt": "Begin Time - hh:mm:ss.ms\tBegin Time - msec\tEnd Time - hh:mm:ss.ms\tEnd Time - msec\t"
    "Duration - hh:mm:ss.ms\tDuration - msec\t1\tFile Name\n"
    "00:00:00.000\t0\t00:00:02.500\t2500\t00:00:02.500\t2500\thappy\tx.eaf\n"
    "00:00:02.500\t2500\t00:00:04.000\t4000\t00:00:01.500\t1500\tsad\tx.eaf\n",
    "files.txt": "1\t12\t0\t2500\t2500\thappy\ta smile\tx.eaf\n1\t12\t2500\t4000\t1500\tsad\tx.eaf\n",
    "saved again.csv": '"","participant","time_s","frame","track","label"\n"1","x",0,0.0,1.0,"happy"\n'
    '"2","x",2.5,1.0,1.0,"sad"\n"3","x",4,2.0,NA,NA\n',
    "own.csv": "participant,subject,onset,offset,emotion\nx,1,0,2.5,happy\nx,1,2.5,4,sad\n",
    "offset.tsv": "Observation id\tTime offset (s)\tSubject\tBehavior\tStart (s)\tStop (s)\n"
    "x\t60.100\t1\thappy\t60.100\t62.600\nx\t60.100\t1\tsad\t62.600\t64.100\n",
    "offset-tabular.csv": "Observation id,Time offset (s),Subject,Behavior,Behavior type,Time\n"
    "x,5,1,happy,START,5.0\nx,5,1,happy,STOP,7.5\nx,5,1,sad,START,7.5\nx,5,1,sad,STOP,9.0\n",
    "timeline.csv": "participant,time_s,frame,track,label,p_smooth_happy,p_smooth_sad,valence,arousal\n"
    "x,0.0,0,1,happy,0.8,0.2,0,0\nx,2.5,1,1,sad,0.1,0.9,0,0\nx,4.0,2,,,,,,\n",
}


def events_in(path: Path) -> list[tuple]:
    return [
        (video.participant, one.person, one.start_s, one.end_s, emotion_or(one.emotion))
        for video in read_coded(path).videos
        for one in video.events
    ]


@pytest.mark.parametrize("name", FILES)
def test_the_same_events_come_out_of_the_files_of_every_program(name, tmp_path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(FILES[name])
    assert events_in(path) == WANTED


@pytest.mark.parametrize("name", ["x.events.csv", "aggregated.tsv", "old-tabular.csv", "timeline.csv"])
def test_tables_that_went_through_a_spreadsheet_are_read(name, tmp_path) -> None:
    """Semicolons, a line that tells them, decimal commas, a mark, UTF-16."""
    mark = "\t" if name.endswith("tsv") else ";"
    rows = FILES[name].replace(",", mark).replace(".", ",")
    for encoding in ("utf-8-sig", "utf-16"):
        for head in ("", f"sep={mark}\n"):
            (tmp_path / name).write_text(head + rows, encoding)
            assert events_in(tmp_path / name) == WANTED


def test_of_a_folder_hidden_files_are_left_and_capitals_are_read(tmp_path) -> None:
    (tmp_path / "X.EVENTS.CSV").write_text(FILES["x.events.csv"])
    (tmp_path / "._x.events.csv").write_bytes(b"\0\5\x16\7\x90")
    assert len(events_in(tmp_path)) == 2
    for name in ("rows.jsonl", "rows.parquet"):
        (tmp_path / name).write_bytes(b"PAR1")
        with pytest.raises(DataError, match=f"{name} holds rows that are not read here; give the .csv or"):
            read_coded(tmp_path / name)


def test_what_mien_writes_is_read_back_from_a_folder(tmp_path) -> None:
    events = [Event(start, end, int(who), label, 1, 0, 0) for _, who, start, end, label in WANTED]
    write_elan(events, tmp_path / "x.mp4.eaf", "x.mp4")
    assert events_in(tmp_path) == WANTED
    write_event_table(events[:1], tmp_path / "x.mp4.events.csv", "x.mp4")
    (tmp_path / "index.csv").write_text("video\nx.mp4\n")
    assert len(events_in(tmp_path)) == 1  # a file of mien's own comes first


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "cp1252"])
def test_a_table_is_read_in_the_encoding_that_its_program_chose(encoding, tmp_path) -> None:
    text = "participant,track,start_s,end_s,emotion\nJürg,1,0,2,fröhlich\n"
    (tmp_path / "a.csv").write_text(text, encoding)
    assert events_in(tmp_path / "a.csv") == [("Jürg", "1", 0, 2, "fröhlich")]


@pytest.mark.parametrize("order", [1, -1])
def test_rows_of_several_participants_in_one_table_are_events_of_each(order, tmp_path) -> None:
    rows = [f"{who},{i},{i},1,{label}\n" for who, label in (("a", "sad"), ("b", "happy")) for i in range(3)]
    rows.sort(key=lambda row: order * "ab".index(row[0]))
    (tmp_path / "all.csv").write_text("participant,time_s,frame,track,label\n" + "".join(rows))
    assert sorted(events_in(tmp_path / "all.csv")) == [("a", "1", 0, 3, "sad"), ("b", "1", 0, 3, "happy")]


def test_a_pipe_is_not_waited_for(tmp_path) -> None:
    os.mkfifo(tmp_path / "a.csv")
    with pytest.raises(DataError, match=r"a\.csv is a pipe or a device; save the events as a file"):
        read_coded(tmp_path / "a.csv")


def test_tables_of_a_folder_are_read_whatever_their_ends_and_other_files_are_named(tmp_path) -> None:
    text = FILES["x.events.csv"]
    (tmp_path / "a.tsv").write_text(text.replace("x,", "a,").replace(",", "\t"))
    (tmp_path / "b.csv").write_text(text.replace("x,", "b,"))
    (tmp_path / "b.txt").write_text("coded twice, by anna\n")
    (tmp_path / "c.txt").write_text("x,1,0.0,2.5,happy\n")
    (tmp_path / "d.xlsx").write_text("PK")
    write_elan([Event(0, 1, 1, "sad", 1, 0, 0)], tmp_path / "e.eaf", "e.mp4")
    found = read_coded(tmp_path)
    assert [video.participant for video in found.videos] == ["a", "b", "e"]
    assert found.not_read == ["c.txt", "d.xlsx"]


def test_a_file_that_is_no_text_is_named_and_stops_no_other(tmp_path) -> None:
    (tmp_path / "x.csv").write_text(FILES["x.events.csv"])
    (tmp_path / "notes.txt").write_bytes(b"ang\xe9lique\x81\n")
    assert read_coded(tmp_path).not_read == ["notes.txt"]
    with pytest.raises(DataError, match=r"notes\.txt is not a table of events: it is not text"):
        read_coded(tmp_path / "notes.txt")


ELAN = """<ANNOTATION_DOCUMENT><TIME_ORDER><TIME_SLOT TIME_SLOT_ID="a" TIME_VALUE="1000"/>
<TIME_SLOT TIME_SLOT_ID="b"/><TIME_SLOT TIME_SLOT_ID="c" TIME_VALUE="5000"/></TIME_ORDER>
<TIER TIER_ID="part"><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="1" TIME_SLOT_REF1="a" TIME_SLOT_REF2="b">
<ANNOTATION_VALUE>happy</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION><ANNOTATION>
<ALIGNABLE_ANNOTATION ANNOTATION_ID="2" TIME_SLOT_REF1="b" TIME_SLOT_REF2="c"><ANNOTATION_VALUE>sad
</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER><TIER TIER_ID="face">
<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="3" ANNOTATION_REF="1"><ANNOTATION_VALUE>fear</ANNOTATION_VALUE>
</REF_ANNOTATION></ANNOTATION><ANNOTATION><REF_ANNOTATION ANNOTATION_ID="4" ANNOTATION_REF="1"
PREVIOUS_ANNOTATION="3"><ANNOTATION_VALUE>angry</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION></TIER>
</ANNOTATION_DOCUMENT>"""


def test_tiers_of_elan_that_divide_others_and_times_that_are_not_set_are_read(tmp_path) -> None:
    (tmp_path / "x.eaf").write_text(ELAN)
    assert events_in(tmp_path / "x.eaf") == [
        ("x", "part", 1.0, 3.0, "happy"),
        ("x", "part", 3.0, 5.0, "sad"),
        ("x", "face", 1.0, 2.0, "fear"),
        ("x", "face", 2.0, 3.0, "angry"),
    ]


def test_events_of_elan_have_the_times_of_a_video_that_begins_later_in_its_file(tmp_path) -> None:
    media = '<HEADER><MEDIA_DESCRIPTOR MIME_TYPE="audio/x-wav" TIME_ORIGIN="9"/>'
    media += '<MEDIA_DESCRIPTOR MIME_TYPE="video/mp4" TIME_ORIGIN="1500"/><MEDIA_DESCRIPTOR/></HEADER>'
    (tmp_path / "x.eaf").write_text(ELAN.replace("<TIME_ORDER>", f"{media}<TIME_ORDER>"))
    assert events_in(tmp_path / "x.eaf")[:3] == [
        ("x", "part", 2.5, 4.5, "happy"),
        ("x", "part", 4.5, 6.5, "sad"),
        ("x", "face", 2.5, 3.5, "fear"),
    ]


def test_a_column_of_elan_is_a_tier_whatever_it_is_called(tmp_path) -> None:
    rows = "Begin Time - ss.msec\tEnd Time - ss.msec\temotion\tParticipant\n0.0\t2.0\thappy\tsad\n"
    (tmp_path / "x.txt").write_text(rows)
    assert events_in(tmp_path / "x.txt") == [
        ("x", "emotion", 0, 2, "happy"),
        ("x", "Participant", 0, 2, "sad"),
    ]


def test_files_of_the_coder_are_known_by_the_paths_of_the_videos(tmp_path) -> None:
    ours = [
        *coded((0, 9, "happy"), participant="P01", video="P01/first.mp4.events.csv"),
        *coded((0, 9, "sad"), participant="P02", video="P02/first.mp4.events.csv"),
    ]
    for who in ("P01", "P02"):
        (tmp_path / who).mkdir()
        write_elan([Event(0, 9, 1, "sad", 1, 0, 0)], tmp_path / who / "first.eaf", "first.mp4")
    found = compare(ours, read_coded(tmp_path).videos)
    assert (found.n_participants, found.agreed[0], found.unmatched) == (2, 0.5, ())


def test_one_file_beside_one_is_the_same_video_whoever_its_tiers_are_of() -> None:
    events = (CodedEvent("1", 0, 9, "happy"), CodedEvent("2", 0, 9, "sad"))
    ours = [CodedVideo("talk", "talk.mp4.csv", events)]
    theirs = [
        *coded((0, 9, "happy"), participant="mother", person="face", video="talk.eaf"),
        *coded((0, 9, "sad"), participant="child", person="small", video="talk.eaf"),
    ]
    settings = AgreementSettings(persons={"face": "1", "small": "2"})
    found = compare(ours, theirs, settings)
    assert (found.n_videos, found.agreed[0], found.unmatched) == (1, 1, ())


def test_a_video_without_codes_alone_is_all_gaps(tmp_path) -> None:
    (tmp_path / "a.csv").write_text("start_s,end_s,emotion\n")
    theirs = read_coded(tmp_path / "a.csv", may_be_empty=True).videos
    assert compare(coded((0, 9, "neutral")), theirs, AgreementSettings(gaps="neutral")).agreed[0] == 1


@pytest.mark.parametrize("name", ["head/x.txt", "columns.txt", "files.txt"])
def test_quotes_in_the_text_of_elan_mean_nothing(name, tmp_path) -> None:
    rows = FILES[name].replace("\thappy", '\t"happy" she said').replace("\tsad", '\t"sad')
    (tmp_path / "x.txt").write_text(rows)
    (found,) = read_coded(tmp_path / "x.txt").videos
    assert [one.emotion for one in found.events] == ['"happy" she said', '"sad']
    (tmp_path / "x.txt").write_text(FILES[name].replace("\thappy", '\t"happy"').replace("\tsad", '\t"sad"'))
    assert [one[-1] for one in events_in(tmp_path / "x.txt")] == ["happy", "sad"]


def test_videos_of_one_name_and_two_ends_are_two(tmp_path) -> None:
    for who, ends in (("ours", ("avi.events.csv", "mp4.events.csv")), ("theirs", ("mp4.csv",))):
        (tmp_path / who).mkdir()
        for end in ends:
            emotion = "sad" if "avi" in end else "happy"
            (tmp_path / who / f"talk.{end}").write_text(f"track,start_s,end_s,emotion\n1,0,9,{emotion}\n")
    ours, theirs = (read_coded(tmp_path / who).videos for who in ("ours", "theirs"))
    assert [one.video for one in ours] == ["talk.avi.events.csv", "talk.mp4.events.csv"]
    found = compare(ours, theirs)
    assert (found.n_videos, found.agreed[0]) == (1, 1)


def test_a_file_without_codes_is_a_video_in_which_the_coder_found_nothing(tmp_path) -> None:
    (tmp_path / "b.csv").write_text("start_s,end_s,emotion\n")
    (tmp_path / "3.eaf").write_text('<DOCUMENT><TIER TIER_ID="face" PARTICIPANT="c"/></DOCUMENT>')
    (tmp_path / "a.csv").write_text("start_s,end_s,emotion\n0,4,happy\n")
    theirs = read_coded(tmp_path).videos
    ours = [one for who in "abc" for one in coded((0, 8, "neutral"), participant=who, video="")]
    found = compare(ours, theirs, AgreementSettings(gaps="neutral"))
    assert (found.n_participants, found.confusion.sum(), found.uncoded) == (3, 240, ())
    found = compare(ours, theirs)
    assert (found.n_participants, found.confusion.sum(), found.uncoded) == (1, 40, ("b", "c"))
    assert "not compared, for the coder coded nothing (see --gaps): b, c" in lines(found, 0.1)


def test_rows_of_a_folder_are_read_past_its_index_and_the_key_for_raters(tmp_path) -> None:
    (tmp_path / "x.mp4.csv").write_text(FILES["timeline.csv"])
    (tmp_path / "index.csv").write_text("participant,video,rows\nx,x.mp4,x.mp4.csv\n")
    (tmp_path / "blind-key.csv").write_text("blind,video,participant\n001.mp4,x.mp4,x\n")
    assert events_in(tmp_path) == WANTED


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("a.csv", "", "is not a table of events: its columns are missing; give events of mien"),
        ("a.boris.xlsx", "PK", "is a spreadsheet; save it as CSV"),
        (
            "a.csv",
            "when,what\n1,happy\n",
            "its columns are when, what; .*, or name the columns participant, start_s, end_s, emotion",
        ),
        ("a.csv", "when,start_s,end_s\n1,0,2\n", "its columns are when, start_s, end_s"),
        ("a.csv", "start_s,end_s,emotion\n3,1,happy\n", "an event lasts from 3 to 1 s"),
        ("a.csv", "start_s,end_s,emotion\n0,nan,happy\n", "an event lasts from 0 to nan"),
        ("a.csv", "start_s,end_s,emotion\n", "holds no events"),
        ("a.csv", "start_s,end_s,emotion\n0,soon,happy\n", "expected a time in seconds, got 'soon'"),
        ("a.tsv", "id\tonset\toffset\tcode\nx\t0\t6\thappy\n", "columns are id, onset, offset, code; give"),
        (
            "a.tsv",
            "x\t0\t6\thappy\nx\t6\t30\thappy\n",
            "is not a table of events: its columns are x, 0, 6, happy",
        ),
        (
            "a.tsv",
            "1\t12\t500\t3000\thappy\n",
            "is not a table of events: its columns are 1, 12, 500, 3000, happy",
        ),
        (
            "a.csv",
            "participant,time_s,frame,track,label\nx,0,0,1,sad\nx,9,1,1,sad\nx,0,0,1,sad\n",
            "the time goes back from 9 to 0 s; rows of several videos of one participant need a file each",
        ),
        ("a.csv", "Time,Behavior,Status\n1,happy,STOP\n", "'happy' stops at 1 s and never started"),
        ("a.csv", "Time,Behavior,Status\n1,happy,START\n", "'happy' starts at 1 s and never stops"),
        ("a.csv", "Time,Behavior,Status\n1,happy,START\n1,happy,START\n", "starts at 1 s and again at 1 s"),
        ("a.eaf", "<ANNOTATION_DOCUMENT>", "cannot be read as events"),
        ("a.eaf", "", "cannot be read as events"),
    ],
)
def test_a_file_without_events_is_told_in_one_line(name, text, says, tmp_path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=says) as caught:
        read_coded(tmp_path / name)
    assert str(tmp_path) in str(caught.value)
    assert "\n" not in str(caught.value)


def coded(*events: tuple, participant: str = "x", person: str = "1", video: str = "v") -> list[CodedVideo]:
    return [CodedVideo(participant, video, tuple(CodedEvent(person, *event) for event in events))]


def test_kappa_and_confusion_are_those_worked_by_hand() -> None:
    ours = coded((0, 6, "happy"), (6, 10, "sad"))
    theirs = coded((0, 5, "happy"), (5, 10, "sad"))
    found = compare(ours, theirs, AgreementSettings(step_s=0.5, window_s=2))
    assert found.labels == ("happy", "sad")
    assert found.confusion.tolist() == [[10, 0], [2, 8]]
    # agreed 18 of 20; by chance (10 x 12 + 10 x 8) / 400 = 0.5
    assert found.agreed[0] == pytest.approx(0.9)
    assert found.kappa[0] == pytest.approx((0.9 - 0.5) / (1 - 0.5))
    assert found.kappa[1][0] <= found.kappa[0] <= found.kappa[1][1]
    assert found.n_windows == 5


def test_resamples_of_one_emotion_do_not_count_in_the_interval_of_kappa() -> None:
    same = coded((0, 100, "happy"), (100, 110, "sad"))
    assert compare(same, same).kappa == (1, (1, 1))


def test_zero_has_no_sign() -> None:
    same = compare(coded((0, 20, "sad")), coded((0, 20, "sad")))
    told = list(lines(replace(same, icc={"sad": (-0.0001, (-0.0004, 0.0))}), 0.1))
    assert "  sad            0.000   (0.000 to 0.000)" in told


def test_moments_that_only_one_names_and_uncertain_ones_are_counted_and_left_out() -> None:
    ours = coded((0, 4, "happy"), (4, 6, "uncertain"), (8, 10, "happy"))
    theirs = coded((0, 2, "happy"), (3, 10, "happy"))
    found = compare(ours, theirs, AgreementSettings(1, 5))
    assert (found.confusion.sum(), found.only_ours, found.only_theirs, found.uncertain) == (5, 1, 2, 2)


def test_moments_of_which_the_coder_is_uncertain_are_counted_too() -> None:
    ours = coded((0, 8, "happy"), (8, 10, "uncertain"))
    found = compare(ours, coded((0, 4, "happy"), (4, 9, "Uncertain")), AgreementSettings(1, 5))
    assert (found.confusion.sum(), found.only_ours, found.only_theirs, found.uncertain) == (4, 0, 0, 5)
    assert "          5 of which mien or the coder is uncertain" in lines(found, 1)


def test_of_overlapping_codes_the_one_that_begins_last_counts_whatever_the_order_of_rows() -> None:
    ours = coded((0, 6, "happy"))
    theirs = [(0, 6, "happy"), (2, 4, "surprise"), (5, 6, "happy")]
    for events in (theirs, theirs[::-1]):
        found = compare(ours, coded(*events), AgreementSettings(1, 5, gaps="neutral"))
        assert (found.agreed[0], found.overlapping) == (pytest.approx(4 / 6), 2)
        assert "the coder's codes overlap at 2 moments: the one that begins last counts" in lines(found, 1)
    assert compare(ours, coded(*theirs[:1])).overlapping == 0


def test_codes_that_are_no_emotion_are_counted_and_left_out() -> None:
    ours = coded((0, 4, "happy"), (4, 8, "Boredom"))
    theirs = coded((0, 3, "happy"), (1, 2, "speaks"), (3, 5, "joy"), (5, 8, "boredom"), (6, 8, "speaks"))
    found = compare(ours, theirs, AgreementSettings(1, 4))
    assert (found.labels, found.other_codes) == (("happy", "Boredom"), {"speaks": 2, "joy": 1})
    assert (found.agreed[0], found.only_ours, found.overlapping) == (1, 2, 0)
    assert "no emotions: speaks (2), joy (1); --rename says what is one" in lines(found, 1)
    renamed = compare(ours, theirs, AgreementSettings(1, 4, renames={"joy": "happy", "speaks": "hope"}))
    assert (renamed.labels, renamed.other_codes) == (("happy", "hope", "Boredom"), {})
    with pytest.raises(
        DataError, match="none of the coder's codes is an emotion of mien: hello, you; say which"
    ):
        compare(ours, coded((0, 1, "hello"), (1, 2, "you")))


def test_a_tier_without_emotions_is_nobody_and_a_tier_may_be_left_out() -> None:
    ours = coded((0, 8, "happy"))
    face, words = coded((0, 8, "happy"), person="face"), coded((0, 1, "hello"), person="words")
    assert compare(ours, face + words).confusion.tolist() == [[80]]
    mother = coded((0, 1, "hello"), participant="mother")
    assert compare(ours, face + mother).unmatched == ()
    said = coded((0, 8, "sad"), person="words")
    with pytest.raises(DataError, match="add --person 'face=1', or 'face=' to leave it out"):
        compare(ours, face + said)
    told = AgreementSettings(persons=parse_pairs(["words="], "--person", none=True))
    found = compare(ours, face + said, told)
    assert (found.confusion.tolist(), found.other_codes) == ([[80]], {})
    elsewhere = [coded((0, 8, "sad"), participant="y", person=who, video="w") for who in ("1", "words")]
    told = AgreementSettings(persons=told.persons, gaps="neutral")
    assert compare(ours + elsewhere[0], face + said + elsewhere[1], told).n_participants == 1


def test_gaps_of_the_coder_may_mean_neutral() -> None:
    ours = coded((0, 4, "neutral"), (4, 6, "happy"), (6, 10, "neutral"))
    found = compare(ours, coded((4, 6, "happy")), AgreementSettings(1, 5, gaps="neutral"))
    assert (found.agreed[0], found.confusion.sum()) == (1, 10)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"gaps": "nuetral"}, "no emotion named 'nuetral'; did you mean 'neutral'"),
        ({"persons": {"ana": "1"}}, "no 'ana' is there: the coder names anna"),
        ({"renames": {"joy": "happy"}}, "no 'joy' is there: the coder codes happy"),
        ({"renames": {"happy": "hapy"}}, "--rename happy=hapy: no emotion 'hapy'; did you mean 'happy'"),
    ],
)
def test_a_slip_in_a_name_is_told(settings, says) -> None:
    theirs = coded((0, 9, "happy"), person="anna")
    with pytest.raises(MienError, match=says):
        compare(coded((0, 9, "happy")), theirs, AgreementSettings(**settings))


def test_gaps_go_by_every_name_of_an_emotion() -> None:
    ours = coded((0, 9, "happy"))
    assert compare(ours, coded((2, 3, "sad")), AgreementSettings(gaps="Happiness")).labels == ("sad", "happy")


def test_one_person_of_the_coder_is_everyone_of_mien_and_the_one_seen_longest_counts() -> None:
    ours = coded((0, 4, "sad")) + coded((4, 10, "happy"), person="2") + coded((5, 7, "fear"), person="3")
    found = compare(ours, coded((0, 10, "happy"), person="anna"), AgreementSettings(1, 5))
    assert dict(zip(found.labels, found.confusion[0], strict=True)) == {"happy": 6, "sad": 4, "fear": 0}


def test_one_person_of_the_coder_who_is_called_by_a_number_is_not_lost_at_a_cut() -> None:
    ours = coded((0, 6, "happy")) + coded((6, 10, "sad"), person="2")
    found = compare(ours, coded((0, 10, "happy")), AgreementSettings(1, 5))
    assert (found.confusion.sum(), found.agreed[0]) == (10, 0.6)
    told = compare(ours, coded((0, 10, "happy")), AgreementSettings(1, 5, persons={"1": "1"}))
    assert (told.confusion.sum(), told.only_theirs) == (6, 0)


def test_one_person_of_the_coder_who_is_called_by_a_number_is_not_who_is_seen_beside_it() -> None:
    ours = coded((0, 10, "sad")) + coded((2, 6, "happy"), person="2") + coded((8, 10, "fear"), person="2")
    found = compare(ours, coded((2, 10, "happy"), person="2"), AgreementSettings(1, 5))
    assert dict(zip(found.labels, found.confusion[0], strict=True)) == {"happy": 4, "sad": 0, "fear": 2}


def test_several_persons_are_matched_by_name_or_by_what_is_told() -> None:
    ours = coded((0, 9, "sad")) + coded((0, 9, "happy"), person="2")
    theirs = coded((0, 9, "sad"), person="anna") + coded((0, 9, "happy"), person="bert")
    with pytest.raises(DataError, match=r"who is the coder's 'anna' of x\? mien numbers people 1, 2; add"):
        compare(ours, theirs)
    told = AgreementSettings(persons=parse_pairs(["anna=1", "bert=2"], "--person"))
    assert compare(ours, theirs, told).agreed[0] == 1
    assert compare(ours, ours).agreed[0] == 1


def test_participants_are_compared_each_with_their_own() -> None:
    ours = coded((0, 9, "sad"), participant="a") + coded((0, 9, "happy"), participant="b")
    theirs = coded((0, 9, "happy"), participant="b") + coded((0, 9, "sad"), participant="a")
    found = compare(ours, theirs)
    assert (found.n_participants, found.agreed[0], found.unmatched) == (2, 1, ())
    found = compare(ours, theirs + coded((0, 9, "sad"), participant="A"))
    assert (found.n_participants, found.unmatched) == (2, ("A",))
    assert "not compared, for mien has none of this name: A" in lines(found, 0.1)
    with pytest.raises(DataError, match="no participant is in both: mien has a, b; the coder has c"):
        compare(ours, coded((0, 9, "sad"), participant="c"))


def folder_of(top: Path, **emotions: str) -> list[CodedVideo]:
    """A file of each video, of 9 s and one emotion, all of participant P07."""
    for video, emotion in emotions.items():
        path = top / f"{video.replace('_', '/')}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"participant,track,start_s,end_s,emotion\nP07,1,0,9,{emotion}\n")
    return read_coded(top).videos


def test_videos_of_one_participant_are_compared_each_on_its_own_times(tmp_path) -> None:
    ours = folder_of(tmp_path / "ours", s1="happy", s2="sad")
    theirs = folder_of(tmp_path / "theirs", s1="fear", s2="sad", s3="sad")
    found = compare(ours, theirs)
    assert (found.n_participants, found.n_videos, found.confusion.sum(), found.agreed[0]) == (1, 2, 180, 0.5)
    assert found.unmatched == ("P07 in s3.csv",)
    assert (
        next(lines(found, 0.1)) == "180 moments, one each 0.1 s, of 1 participant in 2 videos, in 2 windows"
    )


def test_videos_of_one_name_are_told_apart_by_their_folders(tmp_path) -> None:
    ours = folder_of(tmp_path / "ours", a_x="happy", b_x="sad")
    assert compare(ours, folder_of(tmp_path / "theirs", a_x="happy", b_x="sad")).agreed[0] == 1
    with pytest.raises(
        DataError, match=r"which video of P07 is which\? mien has a/x\.csv, b/x\.csv; the coder"
    ):
        compare(ours, folder_of(tmp_path / "alone", x="happy"))
    with pytest.raises(DataError, match=r"the coder has y\.csv; name the coder's files as the videos, or"):
        compare(ours, folder_of(tmp_path / "other", y="happy"))


def test_videos_of_other_names_are_not_compared_though_each_side_has_one_of_the_participant(tmp_path) -> None:
    ours = coded((0, 9, "sad"), participant="P07", video="P07/first.mp4.events.csv")
    more = coded((0, 9, "sad"), participant="P08", video="P08/first.mp4.events.csv")
    theirs = coded((0, 9, "sad"), participant="P07", video="P07/second.csv")
    with pytest.raises(
        DataError, match=r"which video of P07 is which\? mien has P07/first\.mp4\.events\.csv;"
    ):
        compare(ours + more, theirs + more)
    assert compare(ours, theirs).n_videos == 1  # a file beside a file
    for repeats in ("P07", "P07.eaf", "", "in/P07/first.mp4"):
        theirs = coded((0, 9, "sad"), participant="P07", video=repeats)
        assert compare(ours + more, theirs + more).n_videos == 2


def test_a_point_in_a_name_does_not_end_it() -> None:
    def videos(*names: str) -> list[CodedVideo]:
        return [one for name in names for one in coded((0, 9, "sad"), participant="x", video=name)]

    ours = videos("in/part 1.5.mxf.events.csv", "in/part 1.6.mp4.eaf")
    assert compare(ours, videos("part 1.6", "part 1.5")).n_videos == 2


def test_names_are_compared_whatever_the_form_of_their_accents(tmp_path) -> None:
    head = "participant,track,start_s,end_s,emotion\n"
    for form in ("NFC", "NFD"):
        rows = "Jürgen,Zoë,0,9,fröhlich\nAnna,Zoë,0,9,fröhlich\n"
        (tmp_path / form).write_text(unicodedata.normalize(form, head + rows))
    ours, theirs = (read_coded(tmp_path / form).videos for form in ("NFD", "NFC"))
    renames, persons = (
        parse_pairs([unicodedata.normalize("NFD", text)], "") for text in ("fröhlich=happy", "Zoë=Zoë")
    )
    found = compare(ours, theirs, AgreementSettings(persons=persons, renames=renames))
    assert (found.n_participants, found.unmatched) == (2, ())


def test_a_key_tells_which_blind_name_is_which_video_of_a_participant(tmp_path) -> None:
    ours = folder_of(tmp_path / "ours", P07_first="happy", P07_second="sad")
    theirs = coded((0, 9, "sad"), participant="001") + coded((0, 9, "happy"), participant="002")
    key = tmp_path / "key.csv"
    key.write_text("blind,video,participant\n001.mp4,in/P07/second.mp4,P07\n002.mp4,in/P07/first.mp4,P07\n")
    found = compare(ours, unblinded(theirs, key))
    assert (found.n_videos, found.agreed[0]) == (2, 1)
    key.write_text("\ufeff" + key.read_text().replace(",", ";"))  # by a spreadsheet
    assert compare(ours, unblinded(theirs, key)).to_dict() == found.to_dict()


@pytest.mark.parametrize("names", [("1", "2", "100"), ("001", "002", "100")])
def test_blind_names_count_without_the_zeros_that_spreadsheets_remove(names, tmp_path) -> None:
    key = tmp_path / "key.csv"
    key.write_text("blind,video,participant\n001.mp4,a.mp4,a\n002.mp4,b.mp4,b\n")
    found = unblinded([one for name in names for one in coded(participant=name, video=name)], key)
    assert [one.participant for one in found] == ["a", "b", "100 (not in key.csv)"]


def test_a_blind_name_is_that_of_the_file_before_the_participant(tmp_path) -> None:
    key = tmp_path / "key.csv"
    key.write_text("blind,video,participant\n001.mp4,a.mp4,a\n002.mp4,b.mp4,b\n")
    theirs = [one for name in ("001", "002") for one in coded(participant="2", video=f"{name}.eaf")]
    assert [one.participant for one in unblinded(theirs, key)] == ["a", "b"]


def test_files_without_a_common_moment_are_told() -> None:
    with pytest.raises(DataError, match="at no time do both have an emotion"):
        compare(coded((0, 1, "sad")), coded((2, 3, "sad")))


def test_the_columns_that_an_error_names_are_read(tmp_path) -> None:
    names = OWN_COLUMNS.removeprefix("or name the columns ").split(", ")
    (tmp_path / "a.csv").write_text(",".join(names) + "\nx,0,2.5,happy\n")
    assert events_in(tmp_path / "a.csv") == [("x", "", 0, 2.5, "happy")]


def test_where_no_moment_counts_it_is_told_which_are_left_out() -> None:
    theirs = coded((0, 10, "sad"))
    says = "at no time do both have an emotion: mien or the coder is uncertain at 90, 0 only mien names, 10"
    with pytest.raises(DataError, match=says):
        compare(coded((0, 5, "uncertain"), (6, 10, "uncertain")), theirs)
    with pytest.raises(DataError, match=r"emotion \(0 only mien names, 80 are without a face\); compare"):
        compare([replace(*coded((8, 9, "sad")), watched=(0, 9))], coded((0, 8, "sad")))


def test_what_the_coder_names_while_mien_watched_and_found_no_face_is_counted() -> None:
    """Mien watched 20 s and found a face from 8 to 14."""
    ours = [replace(*coded((8, 14, "happy")), watched=(0, 20))]
    theirs = coded((0, 10, "happy"), (10, 15, "sad"), (15, 16, "Uncertain"), (18, 30, "sad"))
    found = compare(ours, theirs)
    assert (found.confusion.tolist(), found.n_windows) == ([[20, 0], [40, 0]], 1)
    assert (found.only_ours, found.only_theirs, found.uncertain) == (0, 80 + 10 + 20, 0)
    alone = compare(coded((8, 14, "happy")), theirs)
    assert alone.kappa == found.kappa
    assert alone.only_theirs == 0  # no one tells whether mien watched then
    assert compare(ours, theirs, AgreementSettings(gaps="neutral")).only_theirs == 80 + 60 - 10


def no_face(folder: Path, name: str, how: str, until_s: int = 4) -> Path:
    """Rows of a video that mien watched without finding a face, beside those of x, in which it found one."""
    folder.mkdir(exist_ok=True)
    (folder / "x.mp4.events.csv").write_text(FILES["x.events.csv"])
    (folder / "x.mp4.csv").write_text(FILES["timeline.csv"])
    head = "participant,time_s,frame,track,label\n"
    rows = "".join(f"P9,{time_s},{time_s},,\n" for time_s in range(until_s))
    index = f"P9,in/{name},{folder}/{name}.csv,{until_s},0,{until_s},\n"
    if how != "rows":
        (folder / f"{name}.events.csv").write_text("participant,track,start_s,end_s,emotion\n")
    if how != "index":
        (folder / f"{name}.csv").write_text(head + rows)
    head = "participant,video,rows,frames,persons,seconds,error\n"
    (folder / "index.csv").write_text(head + (index if how == "index" else ""))
    return folder


@pytest.mark.parametrize("how", ["rows", "events and rows", "index"])
def test_a_video_in_which_mien_found_no_face_is_known_and_counted(how, tmp_path) -> None:
    ours = read_coded(no_face(tmp_path / "rows", "first.mp4", how)).videos
    theirs = [*coded((0, 4, "happy"), video=""), *coded((1, 9, "happy"), participant="P9", video="")]
    found = compare(ours, theirs)
    assert (found.unmatched, found.n_participants, found.n_videos) == ((), 1, 1)
    named = 80 if how == "index" else 30  # it does not tell from when, so all that is named counts
    assert (found.confusion.sum(), found.only_theirs) == (40, named)
    theirs += coded((0, 1, "sad"), participant="P9", person="mother", video="")
    assert compare(ours, theirs).only_theirs == named + 10


NO_EVENTS = "participant,track,start_s,end_s,emotion\n"
INDEX_HEAD = "participant,video,rows,frames,persons,seconds,error\n"


def test_the_index_of_a_folder_tells_of_the_videos_below_it(tmp_path) -> None:
    folder = no_face(tmp_path / "rows", "first.mp4", "index") / "day"
    folder.mkdir()
    (folder / "first.mp4.events.csv").write_text(NO_EVENTS)
    (folder / "failed.mp4.events.csv").write_text(NO_EVENTS)
    index = tmp_path / "rows/index.csv"
    rows = "Q7,in/day/first.mp4,rows/day/first.mp4.events.csv,4,0,7.5,\n"
    rows += "Q8,in/day/failed.mp4,rows/day/failed.mp4.events.csv,0,0,0.0,it is cut\n"
    index.write_text(index.read_text() + rows)
    found = {one.video: (one.participant, one.watched) for one in read_coded(tmp_path / "rows").videos}
    assert found["day/first.mp4.events.csv"] == ("Q7", (0, float("inf")))
    assert found["day/failed.mp4.events.csv"] == ("Q8", (0, 0))
    assert found["first.mp4.events.csv"] == ("P9", (0, float("inf")))
    assert found["x.mp4.events.csv"] == ("x", (0, 5.5))  # the last row lasts as long as the one before


@pytest.mark.parametrize("name", ["rows", "moved"])
def test_of_videos_of_one_name_the_index_tells_which_lies_where(name, tmp_path) -> None:
    """The first line is that of a video further below; a folder may have been renamed since."""
    places = {"day/first.mp4": "Q7", "first.mp4": "P9", "day/day/first.mp4": "Q8"}
    lines = [f"{who},in/{place},rows/{place}.csv,4,0,4,\n" for place, who in places.items()]
    for place in places:
        (tmp_path / name / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / f"{place}.events.csv").write_text(NO_EVENTS)
    (tmp_path / name / "index.csv").write_text(INDEX_HEAD + "".join(lines))
    found = read_coded(tmp_path / name, may_be_empty=True).videos
    assert {one.video: one.participant for one in found} == {
        f"{place}.events.csv": who for place, who in places.items()
    }


def test_a_video_that_the_index_does_not_tell_of_is_not_another_of_its_name(tmp_path) -> None:
    folder = tmp_path / "rows"
    folder.mkdir()
    (folder / "first.mp4.events.csv").write_text(NO_EVENTS)
    (folder / "index.csv").write_text(INDEX_HEAD + "Q7,in/day/first.mp4,rows/day/first.mp4.csv,4,0,4,\n")
    (found,) = read_coded(folder, may_be_empty=True).videos
    assert (found.participant, found.watched) == ("first", None)


def test_the_index_does_not_tell_from_when_a_video_with_events_was_watched(tmp_path) -> None:
    """As after ``--from 60 --to 70``: the events begin at 62, and lie within the 70 s of another line."""
    lines = "".join(f"{name},in/{name}.mp4,{name}.mp4.csv,250,1,{s},\n" for name, s in (("a", 10), ("b", 70)))
    (tmp_path / "index.csv").write_text(INDEX_HEAD + lines)
    for name in "ab":
        (tmp_path / f"{name}.mp4.events.csv").write_text(f"{NO_EVENTS}{name},1,62,68,happy\n")
    ours = read_coded(tmp_path).videos
    assert [one.watched for one in ours] == [None, None]
    theirs = [*coded((0, 70, "happy"), participant="a"), *coded((0, 70, "sad"), participant="b")]
    assert compare(ours, [replace(one, video="") for one in theirs]).only_theirs == 0


def test_an_index_is_read_once_and_again_when_it_has_changed(tmp_path, monkeypatch) -> None:
    opened = []
    real = watched.open_table
    monkeypatch.setattr(watched, "open_table", lambda path, names: opened.append(path) or real(path, names))
    index = tmp_path / "day/index.csv"
    index.parent.mkdir()
    (tmp_path / "index.csv").write_text("no,columns\n" * 3)
    index.write_text(INDEX_HEAD + "".join(f"p{n},in/{n}.mp4,day/{n}.mp4.csv,4,0,4,\n" for n in range(9)))
    for n in range(9):
        (index.parent / f"{n}.mp4.events.csv").write_text(NO_EVENTS)
    found = read_coded(tmp_path, may_be_empty=True).videos
    assert sorted(one.participant for one in found) == [f"p{n}" for n in range(9)]
    assert opened == [index]
    index.write_text(index.read_text().replace("p8", "anna"))
    assert "anna" in {one.participant for one in read_coded(tmp_path, may_be_empty=True).videos}


def faceless(participant: str, video: str) -> CodedVideo:
    return CodedVideo(participant, video, (), (0, 9))


def test_a_video_without_a_face_does_not_keep_one_file_from_being_the_other(tmp_path) -> None:
    (tmp_path / "interview.mp4.events.csv").write_text(f"{NO_EVENTS}interview,1,0,10,happy\n")
    (tmp_path / "blank.mp4.events.csv").write_text(NO_EVENTS)
    lines = "".join(f"{name},{name}.mp4,{name}.mp4.csv,99,0,10,\n" for name in ("interview", "blank"))
    (tmp_path / "index.csv").write_text(INDEX_HEAD + lines)
    ours = read_coded(tmp_path).videos
    found = compare(ours, coded((0, 5, "happy"), (5, 10, "sad"), participant="session1", video="boris.csv"))
    assert (found.confusion.sum(), found.agreed[0], found.only_theirs, found.unmatched) == (100, 0.5, 0, ())
    talks = [*coded((0, 9, "sad"), participant="A", video="A/talk.mp4.csv"), faceless("B", "B/talk.mp4.csv")]
    assert compare(talks, coded((0, 9, "sad"), participant="talk", video="talk.eaf")).confusion.sum() == 90
    two = [one for who in ("s1", "s2") for one in coded((0, 5, "sad"), participant=who, video=who)]
    with pytest.raises(
        DataError, match="no participant is in both: mien has interview; the coder has s1, s2"
    ):
        compare(ours, two)


def test_names_that_do_not_tell_are_those_of_videos_with_a_face() -> None:
    ours = [*coded((0, 9, "sad"), participant="p", video="day1.mp4.csv"), faceless("p", "day2.mp4.csv")]
    whole = coded((0, 9, "sad"), participant="p", video="p.events.csv")
    second = coded((0, 4, "sad"), participant="p", video="day2.eaf")
    more = coded((0, 9, "sad"), participant="q")
    for theirs, n_missed in ((whole, 0), ([*whole, *second], 40), ([*second, *whole], 40)):
        for others in ([], more):
            found = compare([*ours, *others], [*theirs, *others])
            assert (found.n_videos, found.confusion.sum()) == (1 + len(others), 90 * (1 + len(others)))
            assert (found.only_theirs, found.unmatched) == (n_missed, ())
    both = [faceless("p", "day1.mp4.csv"), faceless("p", "day2.mp4.csv")]
    assert compare([*both, *more], [*whole, *more]).unmatched == ("p",)  # which of them is not told


def test_a_video_without_a_face_that_the_coder_names_is_no_other() -> None:
    ours = [*coded((0, 9, "sad"), participant="x", video="x.mp4.csv"), faceless("009", "in/blank.mp4.csv")]
    for who, video in (("9", ""), ("009", "blank.eaf"), ("rater", "in/blank.eaf")):
        theirs = coded((0, 9, "happy"), participant=who, video=video)
        with pytest.raises(DataError, match=r"\(0 only mien names, 90 are without a face\)"):
            compare(ours, theirs)
    one = coded((0, 9, "sad"), participant="p", video="day1.mp4.csv")
    with pytest.raises(DataError, match="90 are without a face"):
        compare(
            [*one, faceless("p", "day2.mp4.csv")], coded((0, 9, "sad"), participant="p", video="day2.csv")
        )


def test_zeros_that_spreadsheets_remove_tell_no_participants_apart(tmp_path) -> None:
    names = ("007", "x")
    for ours, theirs in ((names, ("7", "x")), (("7", "x"), names), (("7", "x"), ("07", "x"))):
        mine = [one for who in ours for one in coded((0, 4, "sad"), participant=who, video="")]
        other = [one for who in theirs for one in coded((0, 4, "sad"), participant=who, video="")]
        found = compare(mine, other)
        assert (found.n_participants, found.unmatched) == (2, ())
    mine = [one for who in ("7", "x") for one in coded((0, 4, "sad"), participant=who, video="")]
    other = [one for who in ("07", "007", "x") for one in coded((0, 4, "sad"), participant=who, video="")]
    assert compare(mine, other).unmatched == ("07", "007")


@pytest.mark.parametrize("settings", [{"step_s": 0}, {"step_s": 20}, {"window_s": float("inf")}])
def test_a_grid_that_cannot_be_is_refused(settings) -> None:
    with pytest.raises(MienError, match="expected 0 < step <= window"):
        AgreementSettings(**settings)


def test_a_key_of_other_videos_is_refused(tmp_path) -> None:
    key = tmp_path / "key.csv"
    key.write_text("blind,video,participant\n001.mp4,in/x.mp4,x\n")
    with pytest.raises(DataError, match="lists none of the coder's videos"):
        unblinded(coded((0, 1, "sad")), Path(key))


def test_a_code_cannot_have_two_names() -> None:
    assert parse_pairs(["joy=happy", "joy=happy"], "--rename") == {"joy": "happy"}
    with pytest.raises(MienError, match="--rename gives 'joy' as 'happy' and as 'sad'; give it once"):
        parse_pairs(["joy=happy", "joy=sad"], "--rename")
