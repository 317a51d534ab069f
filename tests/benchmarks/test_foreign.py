"""What the benchmark of foreign images counts, on a set whose every answer is known."""

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mien.errors import DataError, MienError

HAPPY = (0.05, 0.0625, 0.075, 0.5, 0.1, 0.0875, 0.125)
SAD = (0.05, 0.0625, 0.075, 0.1, 0.5, 0.0875, 0.125)


@pytest.fixture(scope="module")
def foreign(module_at: Callable[[str], ModuleType]) -> ModuleType:
    return module_at("benchmarks/foreign.py")


@pytest.fixture(scope="module")
def models(
    module_at: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Two models that answer every face alike: one happy, one sad."""
    maker, folder = module_at("tests/fixtures_model.py"), tmp_path_factory.mktemp("models")
    paths = {}
    for name, maker.PROBS in (("happy", HAPPY), ("sad", SAD)):
        paths[name] = str(maker.write_tiny_model(folder, name))
    return paths


@pytest.fixture
def faces(tmp_path: Path, astronaut: Any) -> Path:
    """Four images with one face, as happy, happy, sad and joyful; two without, as fear and sad."""
    folder, face = tmp_path / "faces", Image.fromarray(astronaut[:256, 96:352])
    blank = Image.new("RGB", (120, 120), "gray")
    images = {"happiness": [face, face], "sad": [face, blank], "fear": [blank], "joy": [face]}
    for label, found in images.items():
        (folder / label).mkdir(parents=True)
        for i, image in enumerate(found):
            image.save(folder / label / f"{i}.png")
    return folder


@pytest.fixture
def measured(foreign: ModuleType, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str) -> dict[str, Any]:
        foreign.main([*arguments, "--json"])
        return json.loads(capsys.readouterr().out)

    return run


def test_an_image_without_a_face_is_counted_and_wrong_among_all_images_only(measured, models, faces):
    result = measured(models["happy"], str(faces), "--map", "joy=")
    (told,), ((scored,),) = result["sets"], [model["sets"] for model in result["models"]]
    assert told == {
        "name": "faces",
        "images": 5,
        "no_face": 2,
        "unreadable": 0,
        "left_out": {"joy": 1},
    }
    assert scored["scores"]["n"] == 3
    assert scored["scores"]["accuracy"] == pytest.approx(2 / 3)
    assert scored["right_of_all"][0] == pytest.approx(2 / 5)
    assert scored["scores"]["balanced_accuracy"] == pytest.approx((1 + 0) / 2)
    assert {name: recall[0] for name, recall in scored["recalls"].items()} == {"happy": 1.0, "sad": 0.0}
    assert scored["scores"]["ece"] == pytest.approx(2 / 3 - 0.5, abs=1e-6)


def test_with_crops_the_whole_image_is_the_face_where_none_is_found(measured, models, faces):
    result = measured(models["sad"], str(faces), "--map", "joy=happy", "--crops")
    scored = result["models"][0]["sets"][0]
    assert result["sets"][0]["no_face"] == 2
    assert result["sets"][0]["left_out"] == {}
    assert scored["scores"]["n"] == 6
    assert scored["scores"]["accuracy"] == pytest.approx(2 / 6)
    assert scored["right_of_all"][0] == pytest.approx(2 / 6)


def test_gloomy_counts_only_faces_that_show_something_else(measured, models, faces):
    sad = measured(models["sad"], str(faces), "--map", "joy=")["models"][0]["sets"][0]
    assert sad["gloomy"] == [1.0, pytest.approx([0.342, 1.0], abs=1e-3)]  # Wilson's of 2 of 2
    happy = measured(models["happy"], str(faces), "--map", "joy=")["models"][0]["sets"][0]
    assert happy["gloomy"][0] == 0.0


def test_gloomy_is_a_share_of_the_rows_that_are_not_so(foreign):
    counts = np.array([[5, 0, 0, 0], [1, 2, 0, 1], [0, 0, 3, 9], [0, 3, 1, 0]])
    names = ("angry", "happy", "neutral", "surprise")
    assert foreign.gloomy(counts, names) == pytest.approx((1 + 1) / (4 + 4))
    assert foreign.gloomy(np.stack([counts, counts]), names).shape == (2,)


def test_a_share_without_an_interval_stands_alone(foreign):
    assert foreign.shown((0.5, None)) == "50.0%"
    assert foreign.shown((0.5, (0.25, 0.75))) == "50.0% (25-75)"


def test_the_mean_gives_every_set_one_vote(foreign):
    small, large = np.array([[1, 1], [0, 2]]), np.array([[900, 0], [0, 100]])
    value, (low, high) = foreign.mean_share(foreign.metrics.accuracy, [small, large])
    assert value == pytest.approx((0.75 + 1) / 2)
    assert 0.5 < low < value < high <= 1


def test_two_models_are_compared_image_by_image(measured, models, faces):
    result = measured(models["happy"], str(faces), str(faces), "--map", "joy=", "--also", models["sad"])
    names = {"first": models["happy"], "other": models["sad"]}
    one = {"set": "faces", **names, "lost": 2, "won": 1, "p_value": 1.0}
    both = {"set": "all", **names, "lost": 4, "won": 2, "p_value": pytest.approx(0.6875)}
    assert result["pairs"] == [one, one, both]
    accuracies = [model["mean"]["accuracy"][0] for model in result["models"]]
    assert accuracies == pytest.approx([2 / 3, 1 / 3])


def test_a_csv_of_paths_and_labels_serves_as_well(measured, models, faces):
    table = faces / "list.csv"
    table.write_text("path,label\nhappiness/0.png,happy\nsad/0.png,sadness\nsad/none.png,sad\n")
    result = measured(models["happy"], str(table))
    assert result["sets"][0] == {
        "name": "list",
        "images": 2,
        "no_face": 0,
        "unreadable": 1,
        "left_out": {},
    }
    assert result["models"][0]["sets"][0]["scores"]["accuracy"] == 0.5


def test_a_label_that_no_model_answers_must_be_mapped(foreign, models, faces):
    with pytest.raises(DataError, match=r"no model answers joy .*--map joy=EMOTION"):
        foreign.main([models["happy"], str(faces)])


def test_a_set_without_any_face_says_how_to_read_crops(foreign, models, faces):
    for image in (faces / "happiness").iterdir():
        image.unlink()
    (faces / "sad" / "0.png").unlink()
    with pytest.raises(MienError, match=r"no face was read in 'faces'.*--crops"):
        foreign.main([models["happy"], str(faces), "--map", "joy="])


def test_the_tables_name_every_set_model_and_pair(foreign, models, faces, capsys):
    foreign.main([models["happy"], str(faces), str(faces), "--map", "joy=", "--also", models["sad"]])
    text = capsys.readouterr().out
    assert "| faces | 5 | 2 | 0 | 1 joy |" in text
    assert "| faces | 3 | 66.7% (21-94) | 40.0% (12-77) |" in text
    assert f"| {models['happy']} / {models['sad']} | all | 4 | 2 | 0.688 |" in text
    assert "| mean | |" in text
