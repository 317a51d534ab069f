"""Rows of a timeline, and the affect that probabilities amount to."""

from dataclasses import replace
from itertools import pairwise

import pytest

from mien.core.affect import AFFECT, affect
from mien.core.emotions import FER2013, FERPLUS
from mien.core.results import Box, Face, Quality, Reading
from mien.core.smoothing import UNCERTAIN
from mien.core.timeline import Person, TimelineRow, columns, frame_seconds

LABELS = ("happy", "sad")
FACE = Face(Box(10, 20, 40.126, 60), 0.9876543)
PERSON = Person(
    3, Reading(FACE, LABELS, (0.75, 0.25)), Quality(34.7, 0.3, None, 1.0, 0.875), "happy", (0.5, 0.5)
)


def test_the_columns_are_those_that_the_manual_lists() -> None:
    assert columns(LABELS) == (
        *("time_s", "frame", "track", "x1", "y1", "x2", "y2", "detection_score"),
        *("quality", "quality_size", "quality_blur", "quality_pose", "label", "uncertain"),
        *("p_happy", "p_sad", "p_smooth_happy", "p_smooth_sad", "valence", "arousal"),
    )


def test_a_frame_counts_until_the_next_one_but_a_pause_counts_for_a_second_at_most() -> None:
    times, spans = [0, 0.04, 0.08, 10, 10.04, 15, 20, 25, 25.5], [0.0]
    for before, after in pairwise(times):
        spans.append(frame_seconds(after - before, spans[-1]))
    assert spans[1:] == pytest.approx([0.04, 0.04, 1, 0.04, 1, 2, 4, 0.5])
    assert frame_seconds(None, spans[-1]) == spans[-1]
    assert frame_seconds(10, 0.0) == 10  # nothing tells yet whether all are so slow


def test_a_row_with_a_person_fills_every_column() -> None:
    assert TimelineRow(1.2345678, 7, PERSON).cells(LABELS) == (
        *(
            1.234568,
            7,
            3,
            10,
            20,
            40.13,
            60,
            0.987654,
            0.875,
            34.7,
            0.3,
            None,
            "happy",
            False,
            0.75,
            0.25,
            0.5,
            0.5,
        ),
        *(0.09, 0.12),  # (0.81 - 0.63) / 2 and (0.51 - 0.27) / 2
    )


@pytest.mark.parametrize(("probs", "is_weak"), [((0.2, 0.8), False), ((0.55, 0.45), True)])
def test_a_class_called_uncertain_is_not_an_answer_too_weak_to_be_named(probs, is_weak) -> None:
    reading = Reading(FACE, ("happy", UNCERTAIN), probs)
    assert replace(PERSON, reading=reading, label=UNCERTAIN, smooth_probs=probs).uncertain == is_weak


def test_where_landmarks_were_placed_a_column_tells_of_hidden_parts() -> None:
    names = columns(LABELS, landmarks=True)
    assert names.index("quality_occluded") == names.index("quality_pose") + 1
    assert [name for name in names if name != "quality_occluded"] == list(columns(LABELS))
    hidden = replace(PERSON, quality=replace(PERSON.quality, occluded=0.123456))
    for person, cell in ((hidden, 0.1235), (PERSON, None), (None, None)):
        cells = TimelineRow(0, 0, person).cells(LABELS, landmarks=True)
        assert dict(zip(names, cells, strict=True))["quality_occluded"] == cell


def test_a_row_is_uncertain_where_its_label_is() -> None:
    doubtful = replace(PERSON, label=UNCERTAIN)
    assert TimelineRow(0, 0, doubtful).to_dict(LABELS)["uncertain"] is True
    assert TimelineRow(0, 0, PERSON).to_dict(LABELS)["uncertain"] is False


def test_a_row_without_a_person_has_its_time_and_frame_alone() -> None:
    row = TimelineRow(0.5, 12).to_dict(LABELS)
    assert {name for name, cell in row.items() if cell is not None} == {"time_s", "frame"}
    assert tuple(row) == columns(LABELS)


@pytest.mark.parametrize("name", FER2013)
def test_a_sure_emotion_lies_at_its_own_place(name: str) -> None:
    assert affect(FER2013, [float(label == name) for label in FER2013]) == pytest.approx(AFFECT[name])


def test_an_emotion_without_a_place_leaves_the_others_their_weights() -> None:
    probs = [0.25 if label in ("happy", "contempt") else 0.5 * (label == "neutral") for label in FERPLUS]
    assert affect(FERPLUS, probs) == pytest.approx((0.81 / 3, 0.51 / 3))
    assert affect(("contempt",), (1.0,)) == (0.0, 0.0)
