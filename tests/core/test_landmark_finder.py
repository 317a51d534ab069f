"""The shipped landmark network on a photograph, and what is asked for of it."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mien
from mien.core import landmark_finder
from mien.core.detection import DetectorSettings
from mien.core.geometry import warp
from mien.core.landmark_finder import NAME, WEIGHTS, LandmarkFinder
from mien.core.landmarks import FRAME_SIZE, MIRRORED, N_POINTS
from mien.core.model_store import SHIPPED, list_models
from mien.core.mtcnn import Mtcnn
from mien.core.one_stage import OneStage
from mien.errors import ModelError
from mien.workflows.landmarks import FacePoints


@pytest.fixture(scope="module")
def found(astronaut):
    faces = Mtcnn().find(astronaut)[:1]
    return faces[0], LandmarkFinder().find(astronaut, faces)[0]


def test_the_points_agree_with_the_five_of_the_detector(found):
    face, points = found
    eye_distance = np.linalg.norm(points[36] - points[45])
    ours = [points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]]
    errors = np.linalg.norm(np.array(ours) - np.array(face.landmarks.points), axis=1)
    assert errors.max() < 0.15 * eye_distance


def test_the_points_are_in_order(found):
    _, points = found
    assert points[8, 1] > points[57, 1] > points[51, 1] > points[30, 1] > points[27, 1] > points[19, 1]
    assert (np.diff(points[[0, 36, 39, 42, 45, 16], 0]) > 0).all()


def test_the_mirror_image_has_the_mirrored_points(astronaut):
    mirrored = np.ascontiguousarray(astronaut[:, ::-1])
    a, b = (LandmarkFinder().find(image, Mtcnn().find(image)[:1])[0] for image in (astronaut, mirrored))
    back = b[list(MIRRORED[N_POINTS])] * np.array([-1, 1]) + np.array([astronaut.shape[1], 0])
    assert np.linalg.norm(a - back, axis=1).mean() < 0.05 * np.linalg.norm(a[36] - a[45])


def test_a_face_of_48_pixels_is_enough(astronaut, found):
    face, points = found
    scale = 48 / face.box.height
    size = round(astronaut.shape[1] * scale), round(astronaut.shape[0] * scale)
    small = warp(astronaut, np.array([[scale, 0, 0], [0, scale, 0.0]]), size)
    again = Mtcnn(DetectorSettings(min_face=20)).find(small)[:1]
    got = LandmarkFinder().find(small, again)[0] / scale
    assert np.linalg.norm(got - points, axis=1).mean() < 0.06 * np.linalg.norm(points[36] - points[45])


def test_readings_hold_them_where_asked_for(astronaut):
    (reading, *_) = mien.read(astronaut, landmarks=True)
    assert len(reading.landmarks68) == N_POINTS
    assert abs(reading.pose.yaw) < 30
    value = json.loads(json.dumps(reading.to_dict()))
    assert len(value["landmarks68"]) == N_POINTS
    assert value["pose"].keys() == {"roll", "yaw", "pitch"}
    (plain, *_) = mien.read(astronaut)
    assert plain.landmarks68 is plain.pose is None
    assert "landmarks68" not in plain.to_dict()


def test_no_face_needs_no_network(monkeypatch):
    monkeypatch.setattr(landmark_finder, "landmark_session", None)
    assert LandmarkFinder().find(np.zeros((9, 9, 3), np.uint8), []).shape == (0, N_POINTS, 2)


def test_it_is_small_has_a_card_and_is_no_model_of_emotions():
    assert (SHIPPED / WEIGHTS).stat().st_size <= 1_500_000
    card = json.loads((SHIPPED / f"{NAME}.json").read_text("utf-8"))
    assert {"licence", "data", "limits", "intended_use", "scores", "sha256"} <= card.keys()
    assert NAME not in list_models()


def test_a_damaged_file_is_one_line(tmp_path, monkeypatch):
    for file in (WEIGHTS, f"{NAME}.json"):
        (tmp_path / file).write_bytes((SHIPPED / file).read_bytes())
    (tmp_path / WEIGHTS).write_bytes(b"damaged")
    monkeypatch.setattr(landmark_finder, "SHIPPED", tmp_path)
    landmark_finder.landmark_session.cache_clear()
    with pytest.raises(ModelError, match="sha256 differs"):
        LandmarkFinder().on_crops(np.zeros((1, FRAME_SIZE, FRAME_SIZE), np.uint8))
    landmark_finder.landmark_session.cache_clear()


def test_the_command_prints_draws_and_reports(tmp_path, astronaut, monkeypatch):
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut).save("astronaut.png")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    runner = CliRunner()
    done = runner.invoke(app, ["landmarks", "astronaut.png", "--annotate", "drawn"])
    assert done.exit_code == 0, done.output
    assert "yaw" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    drawn = np.asarray(Image.open("drawn/astronaut.png"))
    assert drawn.shape == astronaut.shape
    assert (drawn != astronaut).any(axis=2).mean() > 0.001
    runner.invoke(app, ["landmarks", "astronaut.png", "--annotate", "drawn"])
    assert (tmp_path / "drawn" / "astronaut-2.png").exists()
    done = runner.invoke(app, ["landmarks", "broken.png", "astronaut.png", "--json"])
    assert done.exit_code == 1
    first, second = map(json.loads, done.stdout.splitlines())
    assert 0 <= second["faces"][0]["occluded"] < 0.5
    assert first["error"].startswith("'broken.png'")
    assert len(second["faces"][0]["landmarks68"]) == N_POINTS
    pixels = (tmp_path / "astronaut.png").read_bytes()
    piped = runner.invoke(app, ["landmarks", "-", "--json", "--annotate", "drawn"], input=pixels)
    assert json.loads(piped.stdout) == {**second, "image": "-"}
    assert (tmp_path / "drawn" / "standard-input.png").exists()
    empty = runner.invoke(app, ["landmarks", "-"], input=b"")
    assert (empty.exit_code, "mien: standard input: " in empty.stderr) == (1, True)


def test_the_command_keeps_folders_tells_what_it_passes_over_and_refuses_nothing(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.chdir(tmp_path)
    for name in ("photos/a/x.jpg", "photos/b/x.jpg", "photos/x.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20)).save(name)
    Path("photos/x.jxl").touch()
    done = CliRunner().invoke(app, ["landmarks", "photos", "--annotate", "drawn"])
    assert "mien: passed over 1 file not named like an image (.jxl 1)" in done.stderr
    drawn = sorted(path.relative_to("drawn").as_posix() for path in Path("drawn").rglob("*.*"))
    assert (done.exit_code, drawn) == (0, ["a/x.jpg", "b/x.jpg", "x.png"])
    Path("empty").mkdir()
    for nothing in ("empty", "missing.jpg"):
        done = CliRunner().invoke(app, ["landmarks", nothing, "--annotate", "new"])
        assert (done.exit_code, done.stderr.startswith("mien: nothing to read: ")) == (2, True)
    assert not Path("new").exists()


def test_landmarks_are_told_in_hundredths_of_a_pixel():
    face = mien.Face(mien.Box(0, 0, 9, 9), 0.9)
    points = np.linspace(108.584, 2000.0, 2 * N_POINTS, dtype=np.float32).reshape(1, N_POINTS, 2)
    told = np.array(FacePoints("a.png", (face,), points).to_dict()["faces"][0]["landmarks68"])
    assert told[0, 0] == 108.58
    assert (told == np.round(told, 2)).all()


OWN = """
from mien import Box, Face

class Left:
    def __init__(self, settings):
        pass

    def find(self, image):
        return [Face(Box(170.0, 50.0, 280.0, 185.0), 0.75)]

class Nonsense(Left):
    def find(self, image):
        return [1]
"""


def test_the_command_takes_a_detector_by_name_or_of_ones_own(tmp_path, astronaut, monkeypatch):
    from typer.testing import CliRunner

    from mien.cli.main import app

    monkeypatch.chdir(tmp_path)
    Image.fromarray(astronaut).save("astronaut.png")
    (tmp_path / "own.py").write_text(OWN)

    def run(detector, *more):
        return CliRunner().invoke(app, ["landmarks", "astronaut.png", "--detector", detector, *more])

    (box,) = (face["box"] for face in json.loads(run("one-stage", "--json").stdout)["faces"])
    assert box == OneStage().find(astronaut)[0].box.to_dict()
    (face,) = json.loads(run("own.py:Left", "--json").stdout)["faces"]
    assert face["box"] == {"x1": 170.0, "y1": 50.0, "x2": 280.0, "y2": 185.0}
    assert len(face["landmarks68"]) == N_POINTS
    nonsense = run("own.py:Nonsense")
    assert (nonsense.exit_code, nonsense.stdout) == (2, "")
    assert "mien: detector Nonsense must return mien.Face objects, got int" in nonsense.stderr
    wrong = run("one-stag", "--annotate", "drawn")
    assert (wrong.exit_code, wrong.stdout) == (2, "")
    assert "mien: no detector named 'one-stag'; did you mean 'one-stage'?" in wrong.stderr
    assert not (tmp_path / "drawn").exists()
