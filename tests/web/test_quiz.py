import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="needs mien[web]")
pytest.importorskip("h5py", reason="needs mien[train]")

from PIL import Image
from starlette.testclient import TestClient
from typer.testing import CliRunner

from mien.cli import server
from mien.cli.main import app as command_line
from mien.core.emotions import FER2013
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError
from mien.web.quiz import MOST_KEPT, MOST_SIDE, QuizSettings, make_app, served
from mien.web.settings import VARIABLE
from mien.workflows.quiz.quiz_file import Draw, open_quiz

ADDRESS = "http://127.0.0.1:8000"


@pytest.fixture
def quiz_file(tmp_path: Path, noise_faces: Callable[..., FaceSet]) -> Path:
    """Three faces of 48 x 40 pixels, and two examples."""
    write_store(noise_faces(12, (48, 40)), tmp_path / "faces.h5")
    open_quiz(tmp_path / "quiz.db", tmp_path / "faces.h5", Draw(n=3, training=2)).close()
    return tmp_path / "quiz.db"


@pytest.fixture
def client(quiz_file):
    clients = []

    def start(**settings):
        app = make_app(QuizSettings(quiz=quiz_file, **settings))
        clients.append(TestClient(app, base_url=ADDRESS, raise_server_exceptions=False).__enter__())
        return clients[-1]

    yield start
    for one in clients:
        one.__exit__(None, None, None)


def test_the_page_is_served_and_says_what_is_asked_and_what_is_not(client):
    service = client()
    page, messages = service.get("/"), service.get("/static/quiz.en.json").json()
    assert 'src="static/quiz.js"' in page.text
    assert messages["what"] == "which expression you see"
    assert "No one asks what the person feels" in messages["say"]
    assert "unsafe" not in page.headers["Content-Security-Policy"]


def test_nothing_tells_the_labels_before_they_are_asked(client):
    service = client(training=2)
    told = service.get("/v1/quiz").json()
    assert told["labels"] == list(FER2013)
    assert (told["totals"], told["training"]) == ({"asked": 3, "training": 2}, 2)
    assert not {"truth", "label", "rows"} & told.keys()
    assert "truth" not in service.post("/v1/begin").json()


def test_examples_are_told_and_answers_that_count_are_not(client, quiz_file):
    service, quiz = client(training=2), open_quiz(quiz_file)
    quiz.close()
    service.post("/v1/begin", params={"person": ""})
    truths = []
    for part, total in (("training", 2), ("asked", 3)):
        for place in range(total):
            asked = {"person": "person 1", "part": part, "place": place, "label": 1, "ms": 5}
            truths.append(service.post("/v1/answer", params=asked).json()["truth"])
    assert truths == [*quiz.faces("training").labels.tolist(), None, None, None]
    assert service.post("/v1/begin", params={"person": "person 1"}).json()["done"]
    assert service.post("/v1/undo", params={"person": "person 1"}).json()["place"] == 2


def test_a_face_is_scaled_by_a_whole_number_smoothly(client, quiz_file):
    service, quiz = client(), open_quiz(quiz_file)
    quiz.close()
    small = Image.open(io.BytesIO(service.get("/v1/faces/asked/1").content))
    np.testing.assert_array_equal(np.asarray(small), quiz.faces().images[1])
    large = np.asarray(Image.open(io.BytesIO(service.get("/v1/faces/asked/1", params={"times": 7}).content)))
    assert large.shape == (7 * 48, 7 * 40)
    blocks = np.asarray(small).repeat(7, 0).repeat(7, 1)
    steps = [np.abs(np.diff(image.astype(int), axis=1)).max() for image in (large, blocks)]
    assert steps[0] < 0.5 * steps[1]


def test_an_enlarged_face_has_at_most_1296_pixels_a_side_and_few_are_kept(client):
    service = client()
    large = service.get("/v1/faces/asked/1", params={"times": 40})
    assert Image.open(io.BytesIO(large.content)).size == (27 * 40, 27 * 48)
    assert MOST_KEPT * MOST_SIDE**2 * 3 <= 100 * 10**6


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/faces/asked/3", 404),
        ("GET", "/v1/faces/../3", 404),
        ("GET", "/v1/faces/asked/0?times=9999", 400),
        ("POST", "/v1/begin?person=Eve", 400),
        ("POST", "/v1/answer?person=Eve&part=asked&place=0&label=0&ms=1", 400),
        ("POST", "/v1/answer?person=Eve", 400),
        ("POST", "/v1/undo?person=Eve", 400),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_shape(client, method, path, status):
    answer = client().request(method, path)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_with_names_a_name_is_asked_for(client):
    service = client(names=True)
    assert service.post("/v1/begin").json()["error"]["message"] == "give a name, to continue later with it"
    assert service.post("/v1/begin", params={"person": "Eve"}).json()["person"] == "Eve"


def test_other_sites_and_strangers_are_kept_out_as_from_the_service(client):
    service = client(token="a-secret-token")
    assert service.get("/").status_code == 200
    assert service.get("/v1/quiz").status_code == 401
    bearer = {"Authorization": "Bearer a-secret-token"}
    assert service.get("/v1/quiz", headers=bearer).status_code == 200
    cross = {**bearer, "Origin": "http://evil.example"}
    assert service.post("/v1/begin", headers=cross).status_code == 403
    assert service.get("/", headers={"Host": "evil.example"}).status_code == 421


def test_more_examples_than_the_file_holds_are_refused_before_anyone_begins(client):
    with pytest.raises(
        DataError, match=r"quiz\.db holds 2 labelled examples, got --training 3; ask for fewer"
    ):
        client(training=3)


def test_settings_come_from_the_environment(monkeypatch, quiz_file, tmp_path):
    monkeypatch.setenv(VARIABLE, f'{{"quiz": "{quiz_file}", "training": 2}}')
    assert served().title == "mien quiz"
    monkeypatch.setenv(VARIABLE, f'{{"quiz": "{tmp_path / "none.db"}"}}')
    with pytest.raises(DataError, match="no quiz at"):
        served()
    monkeypatch.setenv(VARIABLE, "{}")
    with pytest.raises(MienError, match="quiz: field required"):
        served()


def test_the_quiz_may_be_reached_by_another_name_of_the_machine(monkeypatch, quiz_file):
    monkeypatch.setenv(VARIABLE, "")
    monkeypatch.setattr(server, "run", lambda config, listener: None)
    arguments = ["quiz", "--out", str(quiz_file), "--port", "0", "--allow-host", "Faces.example"]
    assert CliRunner().invoke(command_line, arguments).exit_code == 0
    with TestClient(served(), base_url="http://faces.example") as client:
        assert client.get("/v1/quiz").status_code == 200
