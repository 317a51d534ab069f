"""The HTML pages show what data sets and people call things as text, whatever it is."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs mien[data]")
pytest.importorskip("matplotlib", reason="needs mien[data]")

from mien.core.files import write_json
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.workflows.datasets.audit import audit_data
from mien.workflows.quiz.page import quiz_page
from mien.workflows.quiz.quiz_file import ASKED, Draw, open_quiz
from mien.workflows.quiz.report import quiz_report
from mien.workflows.report_page import write_report
from mien.workflows.run_folder import write_predictions

HOSTILE = ("<script>alert(1)</script>", "{{7*7}}", "'\"><img src=x onerror=alert(1)>", "{% raw %}", "a & b")
SHOWN = HOSTILE[:3]  # the audit shows few faces


def faces(names, title):
    """Thirty faces, six of each label; the first is blank, the second is the eighth again."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (30, 48, 48), np.uint8)
    images[0], images[1] = 0, images[7]
    split = np.full(30, 2, np.uint8)
    split[:2] = 0
    return FaceSet(images, np.arange(30) % len(names), split, np.arange(30), names, title)


def audit_html(folder, names, title):
    write_store(faces(names, title), folder / "audited.h5")
    audit_data(folder / "audited.h5", folder / "audit.html")
    return (folder / "audit.html").read_text(encoding="utf-8")


def quiz_html(folder, names, title):
    write_store(faces(names, title), folder / "asked.h5")
    quiz = open_quiz(folder / "quiz.db", folder / "asked.h5", Draw(n=20))
    for person in (names[0], "Ben"):
        quiz.begin(person)
        for place, label in enumerate(quiz.faces().labels):
            quiz.answer(person, ASKED, place, int(label) if place % 4 else 1, 1000)
    quiz.close()
    return quiz_page(quiz_report(folder / "quiz.db"))


def report_html(folder, names, title):
    run = folder / "run"
    run.mkdir()
    recipe = {
        "summary": title,
        "data": {"store": f"{names[0]}.h5"},
        "run": {"epochs": 3},
        "net": {"name": "n"},
    }
    write_json(run / "recipe.json", {"recipe": recipe, "data": "c0ffee"})
    write_json(run / "environment.json", {"mien": "0.1.0", "machine": title, "threads": 2, "gpu": None})
    history = [{"epoch": 1.0 * i, "train_loss": 1.0 / i, "val_accuracy": 0.2 * i} for i in (1, 2, 3)]
    write_json(run / "history.json", {"seconds": 1234.5, "history": history})
    probs = np.random.default_rng(1).dirichlet(np.ones(len(names)), 30)
    write_predictions(run / "predictions-val.csv", faces(names, title), probs)
    write_report([run], folder / "report.html")
    return (folder / "report.html").read_text(encoding="utf-8")


PAGES = {"audit": audit_html, "quiz": quiz_html, "report": report_html}


class Shown(HTMLParser):
    """The text of a page, and the elements and attributes that it has."""

    def __init__(self, text):
        super().__init__()
        self.text, self.elements, self.attributes = "", set(), set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data):
        self.text += data + " "


@pytest.mark.parametrize("make", PAGES.values(), ids=PAGES)
def test_a_label_that_is_markup_is_shown_as_text(make, tmp_path):
    shown = Shown(make(tmp_path, HOSTILE, "<b>made</b> {{7*7}}"))
    for name in (*SHOWN, "<b>made</b> {{7*7}}"):
        assert name in shown.text
    assert not re.search(r"\b49\b", shown.text)
    assert shown.elements.isdisjoint({"script"})
    assert "onerror" not in shown.attributes
