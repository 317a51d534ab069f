import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[train]")

from mien.core.emotions import FER2013, FERPLUS_VOTES
from mien.core.metrics import accuracy_interval
from mien.data.ferplus import ferplus_faces
from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, MienError
from mien.workflows.quiz import quiz_file
from mien.workflows.quiz.page import quiz_page
from mien.workflows.quiz.quiz_file import ASKED, Draw, open_quiz
from mien.workflows.quiz.report import EKMAN, model_answers, quiz_report
from mien.workflows.scorer import Scorer

HAPPY, NEUTRAL = FER2013.index("happy"), FER2013.index("neutral")


@pytest.fixture
def quiz(tmp_path):
    """Twelve faces, half of them happy and half neutral; seven of ten raters name the label."""
    rng = np.random.default_rng(0)
    labels = np.where(np.arange(24) % 2, HAPPY, NEUTRAL)
    votes = np.zeros((24, 10), np.uint8)
    votes[:, FERPLUS_VOTES.index("unknown")] = 1
    votes[:, FERPLUS_VOTES.index("sad")] = 2
    for row, label in zip(votes, labels, strict=True):
        row[FERPLUS_VOTES.index(FER2013[label])] = 7
    faces = FaceSet(
        images=rng.integers(1, 256, (24, 48, 48), np.uint8),
        labels=labels,
        split=np.repeat([0, 2], 12).astype(np.uint8),
        rows=np.arange(24),
        label_names=FER2013,
        name="<made> & up",
        votes=votes,
        vote_names=FERPLUS_VOTES,
    )
    write_store(faces, tmp_path / "faces.h5")
    quiz = open_quiz(tmp_path / "quiz.db", tmp_path / "faces.h5", Draw(n=12))
    yield quiz
    quiz.close()


def take(quiz, name, answers, training=0):
    step = quiz.begin(name, training=training)
    while step.part != ASKED:
        step = quiz.answer(name, step.part, step.place, 0, 1)
    for place, label in enumerate(answers):
        quiz.answer(name, ASKED, place, int(label), 1000 + 100 * place)


def but(labels, n_wrong):
    """The labels, but for the first ``n_wrong``, which are sad."""
    return np.where(np.arange(len(labels)) < n_wrong, FER2013.index("sad"), labels)


def test_the_figures_of_one_person_by_hand(quiz):
    labels = quiz.faces().labels
    take(quiz, "Ada", but(labels, 3))
    (ada,) = quiz_report(quiz.path).people
    assert (ada.n, ada.accuracy, ada.accuracy_interval) == (12, 0.75, accuracy_interval(9, 12))
    wrong = [int((labels[:3] == label).sum()) for label in (HAPPY, NEUTRAL)]
    assert ada.recall[HAPPY] == pytest.approx(1 - wrong[0] / 6)
    assert ada.balanced_accuracy == pytest.approx((2 - sum(wrong) / 6) / 2)
    assert ada.recall[0] is None
    assert ada.votes == pytest.approx((9 * 0.7 + 3 * 0.2) / 12)
    assert ada.median_s == pytest.approx(1.55)
    assert ada.confusion[HAPPY][FER2013.index("sad")] == wrong[0]


def test_a_rater_of_ferplus_is_right_as_often_as_the_votes_say(quiz):
    take(quiz, "Ada", quiz.faces().labels)
    raters = quiz_report(quiz.path).raters
    assert raters.accuracy == pytest.approx(0.7)
    assert raters.recall[HAPPY] == pytest.approx(0.7)
    assert raters.recall[0] is None


def test_faces_without_votes_are_left_out_of_what_is_said_of_votes(quiz, tmp_path):
    faces = read_store(tmp_path / "faces.h5")
    for name, has_votes in (("some", np.arange(24) % 3 > 0), ("none", np.arange(24) < 12)):
        write_store(replace(faces, votes=faces.votes * has_votes[:, None]), tmp_path / f"{name}.h5")
        other = open_quiz(tmp_path / f"{name}.db", tmp_path / f"{name}.h5", Draw(n=12))
        take(other, "Ada", other.faces().labels)
        other.close()
    some = quiz_report(tmp_path / "some.db")
    assert (some.people[0].votes, some.raters.n_faces) == (pytest.approx(0.7), 8)
    assert "8 of these 12 faces have votes: both are of those." in quiz_page(some)
    none = quiz_report(tmp_path / "none.db")  # its training faces alone have votes
    assert (none.people[0].votes, none.raters) == (None, None)


@pytest.mark.parametrize("older", [False, True])
def test_votes_that_a_scheme_left_are_no_answers_of_raters(quiz, tmp_path, monkeypatch, older):
    faces = read_store(tmp_path / "faces.h5")
    write_store(ferplus_faces(faces, "majority"), tmp_path / "majority.h5")
    if older:  # such quizzes lie on people's disks
        monkeypatch.setattr(quiz_file, "with_raters_votes", lambda faces: faces)
    other = open_quiz(tmp_path / "majority.db", tmp_path / "majority.h5", Draw(n=12))
    assert (other.faces().votes is None) != older
    take(other, "Ada", other.faces().labels)
    other.close()
    report = quiz_report(tmp_path / "majority.db")
    assert (report.people[0].votes, report.raters) == (None, None)
    assert "one rater of FER+" not in quiz_page(report)
    open_quiz(tmp_path / "majority.db", tmp_path / "majority.h5", Draw(n=12)).close()  # still of that data


def test_votes_are_told_of_where_few_were_answered_and_none_of_these_has_a_vote_alone(quiz, tmp_path):
    faces, last = read_store(tmp_path / "faces.h5"), quiz.faces().rows[-1]
    votes = np.where(faces.votes == 1, (faces.rows == last)[:, None], faces.votes)
    write_store(replace(faces, votes=votes), tmp_path / "raw.h5")
    other = open_quiz(tmp_path / "raw.db", tmp_path / "raw.h5", Draw(n=12))
    take(other, "Ada", other.faces().labels[:2])
    other.close()
    assert quiz_report(tmp_path / "raw.db").raters.n_faces == 2


def test_only_faces_that_were_answered_count(quiz):
    take(quiz, "Ada", quiz.faces().labels[:4])
    quiz.begin("Ben")
    report = quiz_report(quiz.path)
    assert [one.name for one in report.people] == ["Ada"]
    assert (report.people[0].n, report.people[0].accuracy) == (4, 1)
    assert report.kappa is None
    assert report.pooled == ()


def test_without_an_answer_there_is_no_report(quiz):
    quiz.begin("Ada")
    with pytest.raises(MienError, match=r"no one has answered in .*quiz\.db yet"):
        quiz_report(quiz.path)


def test_people_are_pooled_and_their_agreement_is_fleiss_kappa(quiz):
    labels = quiz.faces().labels
    take(quiz, "Ada", labels)
    take(quiz, "Ben", labels, training=3)
    take(quiz, "Cleo", but(labels, 6)[:9])
    report = quiz_report(quiz.path)
    assert (report.agreeing, report.kappa) == (2, 1)
    pooled = {one.name: one for one in report.pooled}
    assert list(pooled) == ["all people", "with training", "without training"]
    assert (pooled["all people"].n, pooled["all people"].n_faces) == (33, 12)
    assert pooled["all people"].accuracy == pytest.approx(27 / 33)
    assert pooled["with training"].accuracy == 1
    assert pooled["without training"].accuracy == pytest.approx(15 / 21)
    assert report.people[1].training == 3


def test_small_samples_are_said_to_tell_nothing(quiz, tiny_home, monkeypatch):
    """The model ``tiny`` always says happy: it is right on six faces of twelve."""
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    labels = quiz.faces().labels
    take(quiz, "Ada", but(labels, 4))
    take(quiz, "Ben", labels)
    report = quiz_report(quiz.path, "tiny")
    ada, ben = report.people
    happy_wrong = int((labels[:4] == HAPPY).sum())
    assert (ada.against.only_first, ada.against.only_second) == (6 - (4 - happy_wrong), happy_wrong)
    assert report.model.accuracy == 0.5
    assert (ben.against.only_first, ben.against.only_second) == (6, 0)
    assert ben.against.p_value == pytest.approx(2 / 2**6)
    assert report.sentences[0].startswith("12 faces cannot tell Ada and tiny apart: ")
    assert report.sentences[1] == (
        "Ben is right more often than tiny: 6 only Ben got right, 0 only tiny (McNemar's p = 0.031)."
    )
    apart = r"12 faces (cannot )?tell all people and tiny apart: all people \+\d.*, each face counted once\.$"
    assert re.match(apart, report.sentences[2])


def test_training_is_compared_over_the_faces(quiz):
    labels = quiz.faces().labels
    take(quiz, "Ada", labels, training=3)
    take(quiz, "Ben", but(labels, 1))
    (said,) = quiz_report(quiz.path).sentences
    assert said.startswith("12 faces cannot tell those with training and other people without apart: ")
    assert "+8.3 points, 95 % -16.9 to +35.4" in said  # Newcombe's, of 12 and 11 of 12


def of_two(quiz, n_ada, n_ben):
    """The report beside `tiny` of two people who name their first faces rightly."""
    labels = quiz.faces().labels
    take(quiz, "Ada", labels[:n_ada])
    take(quiz, "Ben", labels[:n_ben])
    return quiz_report(quiz.path, "tiny")


def test_two_faces_prove_nothing_however_many_people_name_them(quiz, tiny_home, monkeypatch):
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    report = of_two(quiz, 2, 2)
    assert all(said.startswith("2 faces cannot tell ") for said in report.sentences)
    (pooled,) = report.pooled
    assert pooled.accuracy_interval == report.people[0].accuracy_interval == accuracy_interval(2, 2)
    assert all(high - low > 0.5 for low, high in [pooled.balanced_accuracy_interval])


def test_the_model_is_scored_on_the_faces_that_were_answered(quiz, tiny_home, monkeypatch):
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    report = of_two(quiz, 5, 3)
    ada, ben = report.people
    happy = quiz.faces().labels == HAPPY  # what tiny always says
    assert (report.n_drawn, report.model.n, report.raters.recall[0]) == (12, 5, None)
    assert (ada.model, ben.model) == (happy[:5].mean(), happy[:3].mean())
    assert report.pooled[0].model == (happy[:5].sum() + happy[:3].sum()) / 8
    n_happy = int(happy[:5].sum())
    assert ada.recall_intervals[HAPPY] == accuracy_interval(n_happy, n_happy)
    text = quiz_page(report)
    assert "5 of the faces were answered" in text
    assert "tiny on the same faces" in text
    assert f"happy ({n_happy})" in text


def test_a_model_may_order_its_labels_otherwise_but_not_have_others(quiz):
    faces = quiz.faces()
    order = (*FER2013[1:], FER2013[0])

    def answers(names):
        says = np.tile([float(name == "happy") for name in names], (len(faces), 1))
        return model_answers(Scorer("m", names, lambda *_: says.astype(np.float32), 1, 1.0), faces)

    assert set(answers(order)) == {HAPPY}
    with pytest.raises(DataError, match=r"m names angry, .*; the quiz asked angry, disgust"):
        answers(FER2013[:6])


def test_the_study_has_a_figure_for_every_label_of_fer2013():
    assert set(EKMAN) == set(FER2013)


def test_the_json_holds_no_image_and_every_comparison(quiz):
    take(quiz, "Ada", quiz.faces().labels)
    told = quiz_report(quiz.path).to_dict()
    assert told["n_faces"] == 12
    assert told["ekman"]["happy"] == 0.987
    assert told["people"][0]["accuracy"] == 1
    assert "faces" not in told


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.open, self.images, self.marks = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.marks.append(tag)
        if tag == "img":
            self.images.append(dict(attrs)["src"])
        elif tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.marks.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_escaped_and_loads_nothing(quiz, tiny_home, monkeypatch):
    monkeypatch.setenv("MIEN_HOME", str(tiny_home))
    labels = quiz.faces().labels
    take(quiz, "<b>Ada</b>", labels)
    take(quiz, "Ben", but(labels, 12))
    take(quiz, "Cleo", labels)
    text = quiz_page(quiz_report(quiz.path, "tiny"))
    page = _Page(text)
    assert page.open == []
    assert "<b>Ada" not in text
    assert "&lt;made&gt; &amp; up" in text
    assert "Fleiss" in text
    assert len(page.images) == 6  # the neutral ones, which tiny calls happy and two of three people do not
    assert all(src.startswith("data:image/png;base64,") for src in page.images)
    around = re.sub(r"data:image/png;base64,[\w+/=]+", "", text)
    assert not re.search(r"//|url\(|@import|<script|<link|<iframe", around)
    assert page.marks.count("rect") == 2 * 3 + 7  # happy and neutral by three readers, the study by label
