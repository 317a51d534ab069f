import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[train]")

from mien.core.emotions import FER2013, FERPLUS_VOTES
from mien.core.metrics import accuracy_interval
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError
from mien.workflows.quiz.quiz_file import ASKED, TRAINING, Draw, Quiz, make_quiz, open_quiz


@pytest.fixture(scope="module")
def faces():
    """Noise, a third of it in each split; test face 5 is blank, and 8 is no face."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (420, 48, 48), np.uint8)
    images[5] = 0
    votes = rng.integers(0, 4, (420, 10)).astype(np.uint8)
    votes[:, 9] = 0
    votes[8, 9] = 200
    return FaceSet(
        images=images,
        labels=rng.integers(0, 7, 420),
        split=(np.arange(420) % 3).astype(np.uint8),
        rows=np.arange(420) + 1000,
        label_names=FER2013,
        name="made-up",
        votes=votes,
        vote_names=FERPLUS_VOTES,
    )


@pytest.fixture(scope="module")
def store(faces, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "faces.h5"
    write_store(faces, path)
    return path


@pytest.fixture
def quiz(store, tmp_path):
    quiz = open_quiz(tmp_path / "quiz.db", store, Draw(n=5, training=20))
    yield quiz
    quiz.close()


def test_the_file_holds_the_pixels_labels_and_votes_of_the_faces(quiz, faces):
    asked = quiz.faces()
    at = asked.rows - 1000
    np.testing.assert_array_equal(asked.images, faces.images[at])
    np.testing.assert_array_equal(asked.labels, faces.labels[at])
    np.testing.assert_array_equal(asked.votes, faces.votes[at])
    assert set(faces.split[at]) == {2}
    assert (asked.label_names, asked.vote_names) == (FER2013, FERPLUS_VOTES)
    assert quiz.content_hash == faces.content_hash()


def test_the_same_seed_draws_the_same_faces_and_another_others(store, tmp_path):
    def rows(seed, training=20):
        path = tmp_path / f"{seed}-{training}.db"
        make_quiz(store, path, Draw(n=30, training=training, seed=seed))
        quiz = Quiz(path)
        quiz.close()
        return quiz.faces().rows.tolist()

    assert rows(3) == rows(3, training=9) != rows(4)


def test_nobody_is_asked_about_a_blank_image_or_no_face(store, tmp_path):
    quiz = open_quiz(tmp_path / "all.db", store, Draw(n=138))
    rows = set(quiz.faces().rows.tolist())
    quiz.close()
    assert not rows & {1005, 1008}
    with pytest.raises(DataError, match="has 138 test faces to ask, cannot draw 139"):
        make_quiz(store, tmp_path / "more.db", Draw(n=139))


def test_examples_are_training_faces_and_show_every_label_evenly(quiz, faces):
    examples = quiz.faces(TRAINING)
    assert set(faces.split[examples.rows - 1000]) == {0}
    assert set(examples.labels[:7]) == set(examples.labels[7:14]) == set(range(7))


def test_no_face_is_an_example_and_asked(store, tmp_path):
    quiz = open_quiz(tmp_path / "train.db", store, Draw(n=100, training=100, split="train"))
    quiz.close()
    assert not set(quiz.faces().rows) & set(quiz.faces(TRAINING).rows)


def test_a_person_goes_on_where_they_stopped_whatever_the_case_of_the_name(quiz, store):
    quiz.begin("Ada  Byron")
    quiz.answer("Ada Byron", ASKED, 0, 3, 1200)
    other = open_quiz(quiz.path, store, Draw(n=5))
    step = other.begin(" ada byron ")
    other.close()
    assert (step.person, step.place, step.total, step.done) == ("Ada Byron", 1, 5, False)
    (ada,) = quiz.people()
    assert ada.answers.tolist() == [3, -1, -1, -1, -1]
    assert ada.ms.tolist() == [1200, -1, -1, -1, -1]


def test_the_last_answer_is_taken_back_and_no_more_than_there_are(quiz):
    quiz.begin("Ada")
    for place in range(5):
        step = quiz.answer("Ada", ASKED, place, place, 10)
    assert step.done
    assert quiz.undo("Ada").place == 4
    assert not quiz.answer("Ada", ASKED, 4, 6, 10).place < 5
    for _ in range(9):
        step = quiz.undo("Ada")
    assert step.place == 0
    assert quiz.people()[0].answers.tolist() == [-1] * 5


def test_who_began_with_examples_gets_them_first_and_they_do_not_count(quiz):
    step = quiz.begin("Ada", training=2)
    assert (step.part, step.total, step.training) == (TRAINING, 2, 2)
    quiz.answer("Ada", TRAINING, 0, 0, 10)
    assert quiz.undo("Ada").place == 1  # its label has been told
    step = quiz.answer("Ada", TRAINING, 1, 0, 10)
    assert (step.part, step.place, step.total) == (ASKED, 0, 5)
    assert quiz.begin("Ada", training=0).training == 2
    assert quiz.begin("Ben", training=0).part == ASKED
    assert quiz.begin("Cleo", training=999).total == 20
    assert [one.training for one in quiz.people()] == [2, 0, 20]
    assert (quiz.people()[0].answers == -1).all()


def test_without_a_name_everyone_gets_a_new_one(quiz):
    assert [quiz.begin().person for _ in range(2)] == ["person 1", "person 2"]
    quiz.begin("Person 3")
    assert quiz.begin().person == "person 4"
    assert quiz.begin("PERSON 1", known_only=True).person == "person 1"
    with pytest.raises(MienError, match="no participant called 'Eve' exists"):
        quiz.begin("Eve", known_only=True)


@pytest.mark.parametrize(
    ("name", "part", "place", "label", "says"),
    [
        ("Ada", ASKED, 1, 0, "face 2 is not the next of Ada"),
        ("Ada", TRAINING, 0, 0, "face 1 is not the next of Ada"),
        ("Ada", ASKED, 0, 7, r"a label must lie in 0\.\.6, got 7"),
        ("Eve", ASKED, 0, 0, "no participant called 'Eve' exists"),
    ],
    ids=["other face", "other part", "label", "person"],
)
def test_an_answer_that_cannot_be_meant_is_refused(quiz, name, part, place, label, says):
    quiz.begin("Ada")
    with pytest.raises(MienError, match=says):
        quiz.answer(name, part, place, label, 10)
    assert (quiz.people()[0].answers == -1).all()


@pytest.mark.parametrize(
    ("first", "again"),
    [
        ("Émile", "éMILE"),
        ("Émile", "e\u0301mile"),
        ("Ärzu Straße", "ärzu STRASSE"),
        ("علی\u200cرضا", "علیرضا"),
    ],
    ids=["case", "two characters", "sharp s", "joiner"],
)
def test_a_name_counts_as_the_same_in_any_script(quiz, first, again):
    quiz.begin(first)
    quiz.answer(again, ASKED, 0, 3, 10)
    assert (quiz.begin(again).person, quiz.begin(again, known_only=True).place) == (first, 1)
    assert len(quiz.people()) == 1


def test_people_whom_an_older_mien_took_for_two_stay_two(quiz):
    for name in ("Émile", "émile"):
        quiz.database.execute("INSERT INTO people VALUES (?, 0, datetime('now'))", (name,))
    assert [quiz.begin(name).person for name in ("émile", "Émile")] == ["émile", "Émile"]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("x" * 61, "a name has at most 60 letters, got 61"),
        ("a\x1b[2J", r"a name must consist of printable characters, got 'a\\x1b\[2J'"),
    ],
    ids=["long", "escape"],
)
def test_a_name_that_cannot_be_shown_is_refused(quiz, name, says):
    with pytest.raises(MienError, match=says):
        quiz.begin(name)


def test_an_answer_that_was_given_survives_kill_9(quiz):
    code = f"""
import os, signal
from mien.workflows.quiz.quiz_file import Quiz
quiz = Quiz({str(quiz.path)!r})
quiz.begin("Ada")
quiz.answer("Ada", "asked", 0, 4, 10)
quiz.database.execute("BEGIN IMMEDIATE")
quiz.database.execute("DELETE FROM answers")  # half of something: it must not count
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ}, check=False)
    assert done.returncode == -signal.SIGKILL
    assert quiz.begin("Ada").place == 1
    assert quiz.people()[0].answers.tolist() == [4, -1, -1, -1, -1]


def test_a_file_of_other_faces_is_not_taken_for_this_quiz(quiz, store):
    with pytest.raises(DataError, match="asks 5 faces of test by seed 0; leave out --data"):
        open_quiz(quiz.path, store, Draw(n=5, seed=1))
    open_quiz(quiz.path).close()


def test_a_file_of_another_data_set_is_not_taken_for_this_quiz(quiz, faces, tmp_path):
    write_store(replace(faces, images=faces.images[::-1].copy()), tmp_path / "other.h5")
    with pytest.raises(DataError, match="by seed 0 of another data set, 'made-up'; leave out --data"):
        open_quiz(quiz.path, tmp_path / "other.h5", Draw(n=5))


def test_what_is_no_quiz_is_refused(tmp_path, quiz):
    with pytest.raises(
        DataError, match=r"no quiz at .*; make one: mien quiz --data .* --out '.*/my none\.db'$"
    ):
        open_quiz(tmp_path / "my none.db")
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one" * 20)
    with pytest.raises(DataError, match="is not a quiz file or is damaged: file is not a database"):
        Quiz(tmp_path / "text.db")
    sqlite3.connect(tmp_path / "other.db").execute("CREATE TABLE a (b)").connection.close()
    with pytest.raises(DataError, match="an SQLite file, but not a quiz"):
        Quiz(tmp_path / "other.db")
    quiz.database.execute("UPDATE faces SET pixels = x'00' WHERE place = 1")
    with pytest.raises(DataError, match="damaged: cannot reshape"):
        Quiz(quiz.path)
    quiz.database.execute("DELETE FROM faces WHERE place = 1")
    with pytest.raises(DataError, match="20 faces expected, got 19"):
        Quiz(quiz.path)


def test_every_quiz_has_an_id_of_its_own_and_an_old_file_keeps_its_own(quiz, store, tmp_path, faces):
    other = open_quiz(tmp_path / "other.db", store, Draw(n=5, training=20))
    other.close()
    assert len({quiz.id, other.id, Quiz(quiz.path).id}) == 2
    quiz.database.execute("DELETE FROM about WHERE key = 'id'")
    assert Quiz(quiz.path).id == f"{faces.content_hash()[:12]}-test-0"


def test_a_quiz_that_cannot_be_written_leaves_nothing(store, tmp_path):
    with pytest.raises(MienError, match="cannot be written"):
        make_quiz(store, tmp_path / "none" / "quiz.db", Draw(n=5))
    assert not (tmp_path / "none").exists()


def test_an_answerer_of_known_accuracy_gets_it_and_an_interval_that_covers_it(store, tmp_path):
    """200 quizzes of 100 faces; Wilson's 95 % interval should cover the truth in about 190."""
    skill = 0.63
    quiz = open_quiz(tmp_path / "many.db", store, Draw(n=100))
    quiz.database.executescript("PRAGMA synchronous = OFF; PRAGMA journal_mode = MEMORY")  # not 20,000 waits
    rng, labels = np.random.default_rng(7), quiz.faces().labels
    for name in (f"answerer {i}" for i in range(200)):
        quiz.begin(name)
        wrong = (labels + rng.integers(1, 7, 100)) % 7
        for place, label in enumerate(np.where(rng.random(100) < skill, labels, wrong)):
            quiz.answer(name, ASKED, place, int(label), 10)
    right = [int((one.answers == labels).sum()) for one in quiz.people()]
    quiz.close()
    assert np.mean(right) / 100 == pytest.approx(skill, abs=0.01)
    covered = [low <= skill <= high for low, high in (accuracy_interval(n, 100) for n in right)]
    assert np.mean(covered) >= 0.93
