import json
import re

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[train]")

from mien.core.files import write_json
from mien.data.store import write_store
from mien.workflows.quiz.quiz_file import ASKED, Draw, open_quiz
from mien.workflows.run_folder import write_predictions


@pytest.fixture
def faces(noise_faces):
    return noise_faces(20)


@pytest.fixture
def quiz_file(tmp_path, faces):
    """Two people answered: one always right, one always wrong."""
    write_store(faces, tmp_path / "faces.h5")
    quiz = open_quiz(tmp_path / "quiz.db", tmp_path / "faces.h5", Draw(n=10))
    for name, shift in (("Ada", 0), ("Ben", 1)):
        quiz.begin(name)
        for place, label in enumerate(quiz.faces().labels):
            quiz.answer(name, ASKED, place, int(label + shift) % 7, 2000)
    quiz.close()
    return tmp_path / "quiz.db"


def test_the_report_of_a_quiz_is_a_table_and_sentences(mien, quiz_file):
    result = mien("quiz", "report", "quiz.db", "--model", "tiny", "--out", "page.html")
    assert result.exit_code == 0, result.output
    assert re.search(r"Ada +│ 10 │ 100.0% \(72.2%-100.0%\)", result.output)
    assert "Fleiss' kappa -" in result.output
    assert max(map(len, result.output.splitlines())) <= 80
    assert (quiz_file.parent / "page.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_the_report_of_a_quiz_as_json(mien, quiz_file):
    told = json.loads(mien("quiz", "report", "quiz.db", "--json").output)
    assert [one["accuracy"] for one in told["people"]] == [1, 0]
    assert told["model"] is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--out", "none.db"], "no quiz at none.db; make one: mien quiz --data fer2013.h5 --out none.db"),
        (["--out", "quiz.db", "--data", "faces.h5", "--n", "3"], "quiz.db asks 10 faces of test by seed 0"),
        (["--out", "quiz.db", "--n", "5", "--seed", "1"], "--n, --seed: only a new quiz is drawn; give its"),
        (["--out", "new.db", "--data", "faces.h5"], "'made-up' has 10 test faces to ask, cannot draw 100"),
        (
            ["report", "quiz.db", "--out", "none/page.html"],
            "page.html cannot be written: there is no folder",
        ),
        (["report", "quiz.db", "--out", "page.md"], "give it a name that ends with .html or .htm"),
        (["report", "quiz.db", "--model", "tinny"], "no model named 'tinny'; did you mean 'tiny'"),
    ],
    ids=["no file", "other faces", "no data", "too few", "no folder", "no page", "no model"],
)
def test_a_mistake_about_a_quiz_is_one_line(mien, quiz_file, arguments, says):
    result = mien("quiz", *arguments)
    assert result.exit_code == 2
    assert says in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_report_of_a_run_is_written_where_it_says(mien, tmp_path, faces):
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "recipe.json", {"recipe": {}, "data": "c0ffee"})
    write_predictions(tmp_path / "run" / "predictions-val.csv", faces, np.full((20, 7), 1 / 7))
    result = mien("report", "run", "--out", "page.html")
    assert (result.exit_code, result.output) == (0, "wrote page.html\n")
    assert (tmp_path / "page.html").is_file()
    assert mien("report", "nowhere").exit_code == 2
