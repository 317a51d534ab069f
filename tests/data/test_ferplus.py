import csv
from dataclasses import replace

import numpy as np
import pytest

from mien.core.emotions import FERPLUS, FERPLUS_VOTES, emotion
from mien.data.ferplus import (
    COLUMNS,
    SCHEMES,
    answer_classes,
    ferplus_faces,
    join_ferplus,
    read_ferplus,
)
from mien.errors import DataError

HEADER = ["Usage", "Image name", *COLUMNS]
USAGES = ("Training", "PublicTest", "PrivateTest")


def _write(path, rows, header=HEADER):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


def test_votes_are_read_in_the_order_of_the_vote_names(tmp_path):
    rows = [
        ["Training", "fer0000000.png", 4, 0, 0, 1, 3, 2, 0, 0, 0, 0],
        ["PrivateTest", "", 0, 0, 0, 0, 0, 0, 0, 0, 0, 10],
    ]
    found = read_ferplus(_write(tmp_path / "fer2013new.csv", rows))
    assert found.votes.tolist() == [row[2:] for row in rows]
    assert found.split.tolist() == [0, 2]
    assert found.named.tolist() == [True, False]


def test_columns_are_found_by_name(tmp_path):
    order = [1, 0, *range(11, 1, -1)]
    row = ["Training", "a.png", *range(10)]
    path = _write(tmp_path / "a.csv", [[row[i] for i in order]], [HEADER[i] for i in order])
    assert read_ferplus(path).votes.tolist() == [list(range(10))]


def test_the_vote_columns_stand_for_the_vote_names():
    assert tuple(emotion(name) for name in COLUMNS[:8]) == FERPLUS == FERPLUS_VOTES[:8]
    assert len(COLUMNS) == len(FERPLUS_VOTES)


@pytest.mark.parametrize(
    ("row", "text"),
    [
        (["Test", "", *[0] * 10], "Usage must be Training, PublicTest, PrivateTest, got 'Test'"),
        (["Training", "", -1, *[0] * 9], "a vote must be a whole number from 0 to 255, got '-1'"),
        (["Training", "", 256, *[0] * 9], "a vote must be a whole number from 0 to 255, got '256'"),
        (["Training", "", "x", *[0] * 9], "got 'x'"),
        (["Training", "", "٣", *[0] * 9], "got '٣'"),
        (["Training", "", "1\n2", *[0] * 9], r"got '1\\n2'$"),
        (["Training", "", *[0] * 9], "a vote must be a whole number from 0 to 255, got ''"),
    ],
    ids=["usage", "negative", "too many", "no number", "other digits", "two lines", "missing column"],
)
def test_a_malformed_row_is_named_with_its_line(tmp_path, row, text):
    path = _write(tmp_path / "fer2013new.csv", [["Training", "a.png", *[1] * 10], row])
    with pytest.raises(DataError, match=rf"fer2013new\.csv, line [34]: .*{text}"):
        read_ferplus(path)


def test_other_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="no file at"):
        read_ferplus(tmp_path / "none.csv")
    with pytest.raises(DataError, match=r"line 1: needs the columns of .*; missing: Image name, neutral"):
        read_ferplus(_write(tmp_path / "a.csv", [], ["emotion", "pixels", "Usage"]))
    with pytest.raises(DataError, match="holds no votes"):
        read_ferplus(_write(tmp_path / "b.csv", []))
    (tmp_path / "c.csv").write_bytes(b"Usage,Image name," + ",".join(COLUMNS).encode() + b"\n\xff\xfe")
    with pytest.raises(DataError, match="line 2: Usage must be"):
        read_ferplus(tmp_path / "c.csv")


def test_the_join_goes_by_position_not_by_the_number_in_the_name(tmp_path, make_faces):
    faces = make_faces(6)
    rows = [[USAGES[i % 3], f"fer{5 - i:07d}.png", i, *[0] * 9] for i in range(6)]
    joined = join_ferplus(faces, read_ferplus(_write(tmp_path / "a.csv", rows)))
    assert joined.votes[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert joined.vote_names == FERPLUS_VOTES


def test_a_join_of_different_lengths_or_splits_is_refused(tmp_path, make_faces):
    rows = [[USAGES[i % 3], "", *[1] * 10] for i in range(6)]
    votes = read_ferplus(_write(tmp_path / "a.csv", rows))
    with pytest.raises(DataError, match=r"one row for each face .* expected 7 rows, got 6"):
        join_ferplus(make_faces(7), votes)
    rows[4][0] = "PrivateTest"
    votes = read_ferplus(_write(tmp_path / "a.csv", rows))
    with pytest.raises(DataError, match="disagree on 1 splits, first in row 4: test, val"):
        join_ferplus(make_faces(6), votes)


# votes in the order of FERPLUS_VOTES; expected shares worked by hand from the rules, None where dropped
N, H, SU, SA, A, U, NF = 0, 1, 2, 3, 4, 8, 9
CASES = {
    "clear majority": ({N: 8, H: 2}, {"majority": {N: 1}, "probability": {N: 1}, "multi_target": {N: 1}}),
    "votes that stand alone are removed": (
        {N: 4, SA: 1, A: 3, 5: 2},
        {"majority": None, "probability": {N: 4 / 7, A: 3 / 7}, "multi_target": {N: 4 / 7, A: 3 / 7}},
    ),
    "half is no majority": (
        {H: 5, SU: 5},
        {"majority": None, "probability": {H: 0.5, SU: 0.5}, "multi_target": {H: 0.5, SU: 0.5}},
    ),
    "four equal leaders are too many": (
        {N: 2, H: 2, SU: 2, SA: 2},
        {"majority": None, "probability": None, "multi_target": None},
    ),
    "unknown ends the count and is left out": (
        {N: 6, U: 3},
        {"majority": {N: 1}, "probability": {N: 1}, "multi_target": {N: 1}},
    ),
    "unknown as strong as an emotion leaves no majority": (
        {N: 5, U: 5},
        {"majority": None, "probability": None, "multi_target": {N: 1}},
    ),
    "unknown ends the count before a third emotion": (
        {H: 5, U: 3, N: 2},
        {"majority": None, "probability": None, "multi_target": {H: 1}},
    ),
    "three emotions are enough, whatever they hold": (
        {N: 5, H: 4, SU: 3, SA: 2, A: 2, 5: 2},
        {"majority": None, "probability": {N: 5 / 12, H: 4 / 12, SU: 3 / 12}, "multi_target": None},
    ),
    "unknown leads": ({U: 6, N: 4}, {"majority": None, "probability": None, "multi_target": None}),
    "not a face": ({NF: 10}, {"majority": None, "probability": None, "multi_target": None}),
    "only votes that stand alone": (
        dict.fromkeys(range(10), 1),
        {"majority": None, "probability": None, "multi_target": None},
    ),
    "no votes at all": ({}, {"majority": None, "probability": None, "multi_target": None}),
}


@pytest.mark.parametrize("scheme", ["majority", "probability", "multi_target"])
@pytest.mark.parametrize("case", CASES)
def test_each_scheme_leaves_the_shares_that_its_rules_say(make_faces, case, scheme):
    counts, expected = CASES[case]
    faces = replace(make_faces(1, votes=True), votes=np.zeros((1, 10), np.uint8))
    for column, count in counts.items():
        faces.votes[0, column] = count
    left = [votes / votes.sum() for votes in ferplus_faces(faces, scheme).votes]
    shares = expected[scheme]
    wanted = [] if shares is None else [[shares.get(column, 0) for column in range(10)]]
    assert len(left) == len(wanted)
    assert np.allclose(left, wanted)


def test_an_unknown_scheme_and_other_votes_are_refused(make_faces):
    faces = make_faces(1, votes=True)
    with pytest.raises(DataError, match=r"no FER\+ scheme named 'majorty'; did you mean 'majority'\?"):
        ferplus_faces(faces, "majorty")
    other = replace(faces, votes=faces.votes[:, :8], vote_names=FERPLUS)
    with pytest.raises(DataError, match=r"votes must have shape \(N, 10\), got \(1, 8\)"):
        ferplus_faces(other, "majority")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_of_no_faces_nothing_is_left(make_faces, scheme):
    assert len(ferplus_faces(make_faces(0, votes=True), scheme)) == 0


@pytest.mark.parametrize(
    ("scheme", "counts"),
    [
        ("majority", [25060, 3199, 3153]),
        ("probability", [27956, 3505, 3505]),
        ("crossentropy", [27956, 3505, 3505]),
    ],
)
def test_real_votes_keep_as_many_faces_as_the_published_code(real_faces, scheme, counts):
    made = ferplus_faces(replace(real_faces, split=np.zeros_like(real_faces.split)), scheme)
    assert np.bincount(real_faces.split[np.isin(real_faces.rows, made.rows)]).tolist() == counts


FOUR = np.array(
    [
        [6, 4, 0, 0, 0, 0, 0, 0, 0, 0],  # neutral; happy second
        [5, 5, 0, 0, 0, 0, 0, 0, 0, 0],  # a tie
        [0, 9, 0, 0, 0, 0, 0, 0, 1, 0],  # happy
        [0, 0, 0, 0, 0, 0, 0, 0, 0, 10],  # no face
    ],
    np.uint8,
)


@pytest.mark.parametrize(
    ("scheme", "train"),
    [
        ("majority", {0: (0, [6, 0]), 4: (1, [0, 9])}),
        ("crossentropy", {0: (0, [6, 4]), 2: (0, [5, 5]), 4: (1, [0, 9])}),
        ("probability", {0: (0, [6, 4]), 2: (0, [5, 5]), 4: (1, [0, 9])}),
        ("multi_target", {0: (0, [6, 4]), 2: (0, [5, 5]), 4: (1, [0, 9])}),
    ],
)
def test_a_scheme_chooses_the_training_faces_and_majority_the_others(make_faces, scheme, train):
    votes = np.concatenate([FOUR, FOUR])
    split = np.repeat(np.array([0, 2], np.uint8), 4)
    faces = replace(make_faces(8), votes=votes, vote_names=FERPLUS_VOTES, split=split)
    made = ferplus_faces(faces, scheme)
    assert (made.name, made.label_names) == ("ferplus", FERPLUS)
    seen = zip(made.rows.tolist(), made.labels.tolist(), made.votes[:, :2].tolist(), strict=True)
    tested = {8: (0, [6, 0]), 12: (1, [0, 9])}
    assert {row: (label, left) for row, label, left in seen} == {**train, **tested}
    assert not made.votes[:, 2:].any()


def test_faces_without_votes_make_no_ferplus(make_faces):
    with pytest.raises(DataError, match=r"made-up has no votes; give fer2013new\.csv with --ferplus"):
        ferplus_faces(make_faces(), "majority")


@pytest.mark.parametrize(("scheme", "train"), [("majority", 25_060), ("crossentropy", 27_956)])
def test_the_real_ferplus_has_the_official_counts(real_faces, scheme, train):
    made = ferplus_faces(real_faces, scheme)
    assert made.counts().sum(axis=1).tolist() == [train, 3_199, 3_153]
    # neutral, happy, surprise, sad, angry, disgust, fear, contempt in the test split, as published
    assert made.counts()[2].tolist() == [1090, 893, 396, 384, 273, 18, 83, 16]


def test_the_answers_are_ten_classes_and_most_raters_choose(make_faces):
    faces, votes = make_faces(4, votes=True), np.zeros((4, 10), np.uint8)
    votes[0, [7, 2]] = 6, 4  # contempt
    votes[1, [8, 9]] = 5, 5  # a tie: unknown stands first
    votes[2, 9] = 10
    found = answer_classes(replace(faces, votes=votes))
    assert found.label_names == FERPLUS_VOTES
    assert [FERPLUS_VOTES[label] for label in found.labels] == ["contempt", "unknown", "not-a-face"]
    assert found.rows.tolist() == faces.rows[:3].tolist(), "no one voted on the last"


def test_answers_of_other_data_sets_are_refused(make_faces):
    text = "is not FER2013 with the votes of FER.*--ferplus fer2013new.csv"
    for other in (make_faces(2), replace(make_faces(2, votes=True), label_names=FERPLUS)):
        with pytest.raises(DataError, match=text):
            answer_classes(other)


def test_every_real_face_has_an_answer_and_each_answer_its_faces(real_faces):
    found = answer_classes(real_faces)
    counts = np.bincount(found.labels[found.split == 0], minlength=10)
    assert counts.tolist() == [10309, 7528, 3562, 3515, 2467, 191, 652, 165, 170, 150]
    assert counts.sum() == 28709
