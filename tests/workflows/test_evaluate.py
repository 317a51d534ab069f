"""Evaluating a finished run on generated faces: looks, near copies, leaks, and what is written."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.cli.main import app
from mien.core.calibration import softmax
from mien.core.emotions import FER2013
from mien.core.scores import score
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, ModelError, OutputError
from mien.train.initialise import is_released
from mien.train.trained_net import load_trained
from mien.workflows.ensemble import ensemble
from mien.workflows.evaluate import EvaluateSettings, evaluate
from mien.workflows.explain.job import Job
from mien.workflows.explain.run import explain
from mien.workflows.explain.subject import MapSettings, open_subject
from mien.workflows.run_folder import count_test_evaluation, read_predictions, write_predictions
from mien.workflows.scorer import checked_rows, open_scorer

pytestmark = pytest.mark.train
COMMANDS = CliRunner()


def test_each_look_at_the_test_rows_of_a_run_is_counted(made: dict[str, Any], run: Path) -> None:
    assert evaluate(str(run), made["store"], EvaluateSettings("val")).test_evaluations is None
    assert [evaluate(str(run), made["store"]).test_evaluations for _ in range(2)] == [1, 2]
    job = Job(str(run), made["store"], run.parent / "maps.npz", maps=MapSettings(("gradient",)), n=2)
    explain(replace(job, split="val"))
    assert count_test_evaluation(run) == 3
    explain(replace(job, split="test"))
    assert count_test_evaluation(run) == 5


def test_the_clean_score_leaves_out_the_near_copies(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    from mien.data.duplicates import find_near_duplicates

    faces: FaceSet = made["faces"]
    copied = faces.images.copy()
    copied[-5:] = copied[:5]
    twins = replace(faces, images=copied, labels=np.r_[faces.labels[:-5], faces.labels[:5]])
    near = find_near_duplicates(twins)
    write_store(twins, tmp_path / "twins.h5", near=near)
    result = evaluate(str(run), tmp_path / "twins.h5", EvaluateSettings(allow_leak=True))
    assert result.clean is not None
    assert result.scores.n - result.clean.n >= 5


def test_predictions_figures_and_scores_are_written(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    evaluate(str(run), made["store"], EvaluateSettings("val", to=tmp_path / "out"))
    names = {p.name for p in (tmp_path / "out").iterdir()}
    assert names == {"scores-val.json", "predictions-val.csv", "confusion-val.png", "calibration-val.png"}
    lines = (tmp_path / "out" / "predictions-val.csv").read_text().splitlines()
    assert [int(line.split(",")[0]) for line in lines[1:]] == made["faces"].select("val").rows.tolist()


@pytest.mark.parametrize("model", ["fer2013-nano", "{}/../another"])
def test_scores_of_another_model_are_not_written_into_the_folder_of_a_run(
    made: dict[str, Any], run: Path, model: str
) -> None:
    shutil.copytree(run, run.parent / "another")
    before = {p.name: p.read_bytes() for p in run.iterdir()}
    with pytest.raises(
        OutputError, match=r"it is the folder of another run than .*(fer2013-nano|another); name"
    ):
        evaluate(model.format(run), made["store"], EvaluateSettings("val", to=run))
    assert {p.name: p.read_bytes() for p in run.iterdir()} == before
    evaluate(f"{run}/../{run.name}", made["store"], EvaluateSettings("val", to=run))
    assert (run / "scores-val.json").is_file()


def test_labels_of_another_order_are_put_into_the_models(
    made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    """Folders come in the order of the alphabet; a model keeps that of its training data."""
    faces: FaceSet = made["faces"]
    shuffled = replace(faces, label_names=("neutral", "angry", "happy"), labels=(faces.labels + 1) % 3)
    write_store(shuffled, tmp_path / "o.h5")
    expected, found = evaluate(str(run), made["store"]), evaluate(str(run), tmp_path / "o.h5")
    assert found.scores == expected.scores
    assert found.temperature == expected.temperature
    assert found.data_hash == shuffled.content_hash() != expected.data_hash


def test_a_data_set_may_lack_emotions_of_the_model(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    """Macro figures are means over the emotions that have faces; what the model answers is not restricted."""
    faces: FaceSet = made["faces"]
    some = faces.take(faces.labels != faces.label_names.index("happy"))
    names = ("neutral", "angry")
    codes = np.array([names.index(faces.label_names[label]) for label in some.labels])
    write_store(replace(some, label_names=names, labels=codes), tmp_path / "two.h5")
    done = COMMANDS.invoke(app, ["evaluate", str(run), str(tmp_path / "two.h5"), "--json"])
    assert done.exit_code == 0, done.stderr
    scores = json.loads(done.stdout)["scores"]
    test = some.select("test")
    logits = load_trained(run, torch.device("cpu")).logits(test.images, 1)
    right = logits.argmax(1) == test.labels
    assert scores["label_names"] == list(faces.label_names)
    assert scores["accuracy"] == pytest.approx(right.mean())
    recalls = [right[test.labels == i].mean() for i in np.unique(test.labels)]
    assert scores["balanced_accuracy"] == pytest.approx(np.mean(recalls))
    text = COMMANDS.invoke(app, ["evaluate", str(run), str(tmp_path / "two.h5")]).stdout
    row = next(line for line in text.splitlines() if "happy" in line)
    assert row.replace("│", " ").split() == ["happy", "0", "–", "–", "–"]


def test_splits_have_the_names_of_fer2013_too(made: dict[str, Any], run: Path) -> None:
    store = str(made["store"])
    for command in (["evaluate", str(run), store], ["ensemble", str(run), str(made["run"]), "--data", store]):
        done = COMMANDS.invoke(app, [*command, "--split", "PublicTest", "--json"])
        assert done.exit_code == 0, done.output
        assert json.loads(done.stdout)["split"] == "val"


def test_where_no_face_is_clean_there_is_no_clean_score(
    made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    from mien.data.duplicates import find_near_duplicates

    faces: FaceSet = made["faces"]
    copies = faces.images.copy()
    copies[200:300] = copies[300:] = copies[:100] + 1
    near = replace(faces, images=copies)
    write_store(near, tmp_path / "near.h5", near=find_near_duplicates(near))
    found = evaluate(str(run), tmp_path / "near.h5")
    assert (found.scores.n, found.clean) == (100, None)


def test_predictions_score_as_the_run_did(made: dict[str, Any], tmp_path: Path) -> None:
    """Six decimals made a true class of 1e-7 cost 36 nats in a report."""
    faces = made["faces"].select("val")
    logits = np.random.default_rng(0).normal(scale=30, size=(len(faces), 3)).astype(np.float32)
    write_predictions(tmp_path / "p.csv", faces, softmax(logits))
    found = read_predictions(tmp_path / "p.csv")
    expected = score(softmax(logits), faces.labels, faces.label_names)
    assert score(found.probs, found.labels, found.names).nll == pytest.approx(expected.nll, rel=1e-6)


def test_other_labels_are_refused(made: dict[str, Any], run: Path, tmp_path: Path) -> None:
    for names in (("glad", "angry", "neutral"), ("angry", "happy", "neutral", "sad")):
        write_store(replace(made["faces"], label_names=names), tmp_path / "o.h5")
        with pytest.raises(
            DataError, match=rf"labels of 'bars' \({', '.join(names)}\) are not the model's"
        ) as raised:
            evaluate(str(run), tmp_path / "o.h5")
        unknown = "glad" if "glad" in names else "sad"
        advice = "rename or leave them out in its source, and import it again"
        assert f"it lacks {unknown}; {advice}" in str(raised.value)
    other = replace(made["faces"], label_names=("joy", "happy", "neutral"))
    with pytest.raises(DataError, match="lacks joy; import the data again with --labels fer2013, and --map"):
        checked_rows(other, "test", FER2013)


def test_a_log_that_cannot_be_written_is_told_before_the_test_rows_are_scored(
    made: dict[str, Any], run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (run / "test-evaluations.log").unlink(missing_ok=True)
    (run / "test-evaluations.log").mkdir()
    monkeypatch.setattr("mien.train.trained_net.predict", None)
    with pytest.raises(OutputError, match=r"test-evaluations\.log cannot be written: it is a folder"):
        evaluate(str(run), made["store"])
    with pytest.raises(OutputError, match=r"test-evaluations\.log cannot be written: it is a folder"):
        ensemble([str(run), str(made["run"])], made["store"])


def test_a_device_that_is_not_there_is_told_for_an_onnx_file_too(tiny_with: Any) -> None:
    with pytest.raises(MienError, match="'banana'"):
        open_scorer(tiny_with(), None, "banana")


@pytest.mark.parametrize("training", [{"data": "FER2013"}, {"data": None}, {}])
def test_a_card_that_names_no_data_set_in_its_training_is_opened(training: dict, tiny_with: Any) -> None:
    assert open_scorer(tiny_with(training=training), None, "cpu").learned_data == ""


def test_a_folder_that_holds_no_run_hides_no_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nano", "fer2013-nano", "other"):
        (tmp_path / name).mkdir()
    for name in ("nano", "fer2013-nano"):
        assert open_scorer(name, None, "cpu").name == "fer2013-nano"
        assert open_subject(name).name == "fer2013-nano"
        assert is_released(name)
    (tmp_path / "nano" / "recipe.json").write_text("{}")
    for name in ("other", "nano"):
        with pytest.raises(ModelError, match=f"{name} holds "):
            open_scorer(name, None, "cpu")
        assert not is_released(name)


def test_rows_that_a_temperature_is_fitted_to_must_be_new_too(
    made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    faces: FaceSet = made["faces"]
    images = faces.images.copy()
    images[200:300] = images[:100]
    write_store(replace(faces, images=images, name="other"), tmp_path / "other.h5")
    with pytest.raises(DataError, match="bars on other val: 100 of 100 faces are faces that the network"):
        evaluate(str(run), tmp_path / "other.h5")
    with pytest.raises(DataError, match="bars on other val: 100 of 100 faces are faces that the network"):
        ensemble([str(run), str(made["run"])], tmp_path / "other.h5")


def test_rows_that_the_run_learned_from_are_refused_and_marked(made: dict[str, Any], run: Path) -> None:
    arguments = ["evaluate", str(run), str(made["store"]), "--split", "train"]
    refused = COMMANDS.invoke(app, arguments)
    assert refused.exit_code == 2
    assert "200 of 200 faces are faces that the network learned from" in refused.stderr
    allowed = COMMANDS.invoke(app, [*arguments, "--allow-leak"])
    assert allowed.exit_code == 0
    assert "LEAK: 200 of 200 faces" in allowed.stdout
    models = [str(run), str(made["run"])]
    together = ["ensemble", *models, "--data", str(made["store"]), "--split", "train", "--allow-leak"]
    shown = COMMANDS.invoke(app, together)
    assert shown.stdout.count("LEAK: bars: 200 of 200 faces") == 2
    found = json.loads(COMMANDS.invoke(app, [*together, "--json"]).stdout)
    assert [member["leak"]["leaks"] for member in found["members"]] == [True, True]
