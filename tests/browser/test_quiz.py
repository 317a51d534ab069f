"""The quiz in a real Chromium, by keyboard alone, and its server killed in the middle."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("h5py", reason="needs mien[train]")
pytest.importorskip("playwright", reason="needs playwright")

from playwright.sync_api import expect

from mien.core.emotions import FER2013
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.workflows.quiz.page import quiz_page
from mien.workflows.quiz.quiz_file import Draw, open_quiz
from mien.workflows.quiz.report import quiz_report

pytestmark = pytest.mark.browser

one_look = pytest.mark.parametrize("look", ["light"], indirect=True)
N, EXAMPLES = 6, 2


@pytest.fixture
def quiz_file(tmp_path, astronaut):
    """Faces of different brightness, so that no two look alike."""
    face = np.asarray(astronaut[20:212:4, 124:316:4].mean(axis=2))
    images = np.stack([face * (0.3 + 0.03 * i) for i in range(20)]).astype(np.uint8)
    faces = FaceSet(
        images=images,
        labels=np.arange(20) % 7,
        split=np.repeat([0, 2], 10).astype(np.uint8),
        rows=np.arange(20),
        label_names=FER2013,
        name="made-up",
    )
    write_store(faces, tmp_path / "faces.h5")
    open_quiz(tmp_path / "quiz.db", tmp_path / "faces.h5", Draw(n=N, training=EXAMPLES)).close()
    return tmp_path / "quiz.db"


@pytest.fixture
def start(quiz_file):
    """``start("--names")`` serves the quiz from a process of its own: (process, address)."""
    processes = []

    def serve(*arguments, port="0"):
        arguments = ("--port", port, *arguments)
        command = [sys.executable, "-W", "error", "-m", "mien", "quiz", "--out", str(quiz_file), *arguments]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2] / "src")}
        process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
        )
        processes.append(process)
        assert process.stdout.readline() == f"{N} test faces of made-up, in {quiz_file}\n"
        return process, re.search(r"http://127[\d.:]+", process.stdout.readline())[0]

    yield serve
    for process in processes:
        process.kill()
        process.communicate()


def sees(page, place, total=N):
    expect(page.locator("#face")).to_have_attribute("alt", f"Face {place} of {total}")


def answers_of(quiz_file):
    quiz = open_quiz(quiz_file)
    found = {one.name: one.answers.tolist() for one in quiz.people()}
    quiz.close()
    return found


@one_look
def test_a_quiz_by_keyboard_is_killed_resumed_finished_and_reported(page, start, quiz_file, keep):
    process, address = start()
    page.goto(address)
    expect(page.locator("#go")).to_be_focused()
    keep("quiz-start")
    page.keyboard.press("Enter")
    for place, key in enumerate("4173", 1):
        sees(page, place)
        page.keyboard.press(key)
    sees(page, 5)
    page.keyboard.press("Backspace")
    sees(page, 4)
    page.keyboard.press("7")
    sees(page, 5)
    process.send_signal(signal.SIGKILL)
    process.wait()
    page.keyboard.press("1")
    expect(page.get_by_role("alert")).to_have_text("The server cannot be reached: nothing is lost; try again")
    assert answers_of(quiz_file) == {"person 1": [3, 0, 6, 6, -1, -1]}
    _, address = start(port=address.rpartition(":")[2])
    page.keyboard.press("5")  # the same tab goes on
    sees(page, 6)
    page.goto("about:blank")
    page.goto(address)  # and so does a new one
    expect(page.locator("#person")).to_have_value("person 1")
    page.keyboard.press("Enter")
    sees(page, 6)
    keep("quiz-face")
    page.keyboard.press("2")
    expect(page.locator("#saved")).to_have_text(
        f"All {N} answers of person 1 are saved. You can close this page."
    )
    assert answers_of(quiz_file) == {"person 1": [3, 0, 6, 6, 4, 1]}
    report = quiz_report(quiz_file)
    labels = report.faces.labels
    assert report.people[0].accuracy == np.mean(np.array([3, 0, 6, 6, 4, 1]) == labels)
    assert f"{N} faces of made-up" in quiz_page(report)


def test_a_language_chosen_while_the_page_still_loads_stays(page, start) -> None:
    _, address = start()
    held = []
    page.route("**/quiz.en.json", lambda route: held.append(route))
    with page.expect_request("**/quiz.en.json"):
        page.goto(address)
    page.locator("#languages").select_option("de")
    held[0].continue_()
    expect(page.locator("#go")).to_have_text("Beginnen")


def test_the_quiz_speaks_the_language_that_is_chosen_and_saves_the_same_answers(page, start, quiz_file, keep):
    _, address = start()
    page.goto(address)
    for language, go in (("de", "Beginnen"), ("zh", "开始"), ("fr", "Commencer")):
        page.locator("#languages").select_option(language)
        expect(page.locator("#go")).to_have_text(go)
        expect(page.locator("html")).to_have_attribute("lang", language)
        keep(f"quiz-{language}")
    page.reload()  # it is remembered
    expect(page.locator("#go")).to_have_text("Commencer")
    page.locator("#go").click()
    expect(page.locator("#question")).to_have_text("Quelle expression voyez-vous ?")
    expect(page.locator("#face")).to_have_attribute("alt", f"Visage 1 sur {N}")
    page.get_by_role("button", name="joie").click()
    expect(page.locator("#face")).to_have_attribute("alt", f"Visage 2 sur {N}")
    assert answers_of(quiz_file) == {"person 1": [3, -1, -1, -1, -1, -1]}


def test_examples_come_first_and_their_label_is_told(page, start, quiz_file, keep):
    quiz = open_quiz(quiz_file)
    quiz.close()
    first, second = quiz.faces("training").labels.tolist()
    _, address = start("--training", str(EXAMPLES), "--names")
    page.goto(address)
    page.locator("#person").fill("Ada")
    page.keyboard.press("Enter")
    sees(page, 1, EXAMPLES)
    page.get_by_role("button", name=FER2013[first], exact=False).click()
    expect(page.locator("#told")).to_have_text(f"✓ The data set says {FER2013[first]} too.")
    page.keyboard.press("Enter")
    sees(page, 2, EXAMPLES)
    wrong = (second + 1) % 7
    page.keyboard.press(str(wrong + 1))
    said = f"✗ You said {FER2013[wrong]}; the data set says {FER2013[second]}."
    expect(page.locator("#told")).to_have_text(said)
    page.keyboard.press("3")  # it is too late to answer again
    expect(page.locator("#told")).to_have_text(said)
    keep("quiz-example")
    page.keyboard.press("Enter")
    sees(page, 1)
    expect(page.locator("#undo")).to_be_disabled()
    assert answers_of(quiz_file) == {"Ada": [-1] * N}
    face = page.locator("#face").bounding_box()
    ratio = page.evaluate("devicePixelRatio")
    assert face["width"] == face["height"]
    assert face["width"] * ratio % 48 == 0
    assert face["width"] >= 288
    last = page.get_by_role("button", name="neutral").bounding_box()
    assert last["y"] + last["height"] <= page.viewport_size["height"]
    assert last["height"] >= 44
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#person")).to_have_value("Ada")


@one_look
def test_a_token_is_asked_for_and_kept_out_of_the_address(page, start, monkeypatch):
    monkeypatch.setenv("MIEN_TOKEN", "a-secret-token")
    _, address = start()
    page.goto(address)
    page.get_by_label("This server asks for a token").fill("a-secret-token")
    page.keyboard.press("Enter")
    expect(page.locator("#go")).to_be_focused()
    page.keyboard.press("Enter")
    sees(page, 1)


@one_look
def test_the_quiz_works_where_site_data_are_blocked(page, start, no_site_data):
    _, address = start()
    page.goto(address)
    page.locator("#languages").select_option("de")
    expect(page.locator("#go")).to_have_text("Beginnen")
    page.locator("#go").click()
    expect(page.locator("#face")).to_be_visible()


@one_look
def test_another_of_the_same_name_does_not_go_on_in_the_answers_of_the_first(page, start, quiz_file):
    _, address = start("--names")
    first = [3, 0, -1, -1, -1, -1]
    quiz = open_quiz(quiz_file)
    quiz.begin("Anna")
    for place, label in enumerate(first[:2]):
        quiz.answer("Anna", "asked", place, label, 1000)
    quiz.close()
    page.goto(address)
    page.locator("#person").fill("anna")
    page.keyboard.press("Enter")
    expect(page.locator("#who")).to_have_text(
        f"Anna has answered 2 of {N}: go on as Anna? If you are someone else, add a letter to the name."
    )
    page.locator("#languages").select_option("de")
    expect(page.locator("#who")).to_contain_text(f"Anna hat 2 von {N} beantwortet")
    page.locator("#languages").select_option("en")
    page.locator("#person").press("Backspace")  # takes a letter, not an answer
    expect(page.locator("#same")).to_be_hidden()
    page.locator("#person").fill("Anna B")
    page.keyboard.press("Enter")
    sees(page, 1)
    page.keyboard.press("7")
    sees(page, 2)
    assert answers_of(quiz_file) == {"Anna": first, "Anna B": [6, -1, -1, -1, -1, -1]}
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#go")).to_be_focused()
    page.keyboard.press("Enter")  # this browser knows Anna B, and does not ask
    sees(page, 2)
    page.goto("about:blank")
    page.goto(address)
    expect(page.locator("#go")).to_be_focused()
    page.locator("#person").fill("Anna")
    page.keyboard.press("Enter")
    page.locator("#same-go").click()
    sees(page, 3)
