"""What training refuses before it starts."""

import json
import os
import signal
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="needs the train extra")

import torch

from mien.core.calibration import softmax
from mien.core.files import write_json
from mien.core.locks import sole
from mien.core.model_store import find_model
from mien.core.preprocess import resized, to_input
from mien.core.session import open_session, run
from mien.data.records import FaceSet
from mien.data.store import write_store
from mien.errors import DataError, MienError, RecipeError
from mien.train.devices import computes_bf16
from mien.train.recipe_reading import check_recipe
from mien.workflows import train as workflow
from mien.workflows.report import make_report
from mien.workflows.train import TrainProgress, make_trainer, train

pytestmark = pytest.mark.train


def test_training_refuses_a_split_that_repeats_its_faces(made: dict[str, Any], tmp_path: Path) -> None:
    faces = made["faces"]
    images = faces.images.copy()
    images[faces.split == 2] = images[:100]
    write_store(replace(faces, images=images), tmp_path / "leaky.h5")
    table = made["table"] | {"data": {"store": str(tmp_path / "leaky.h5")}}
    with pytest.raises(DataError, match=r"leaky.h5 test: 100 of 100 faces are faces that"):
        train(check_recipe(table), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("table", "change", "instead"),
    [
        ("run", {"keep": "best", "stop_after": 1}, "run.keep=last, run.stop_after=0"),
        ("optim", {"schedule": "plateau"}, "optim.schedule=cosine"),
    ],
    ids=["run", "optim"],
)
def test_a_recipe_that_chooses_by_validation_rows_needs_some(
    made: dict[str, Any], tmp_path: Path, table: str, change: dict[str, Any], instead: str
) -> None:
    write_store(made["faces"].select("train"), tmp_path / "train.h5")
    recipe = made["table"] | {"data": {"store": str(tmp_path / "train.h5")}}
    with pytest.raises(RecipeError, match=f"has no validation rows, by which .* or set {instead}"):
        train(check_recipe(recipe | {table: recipe[table] | change}), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("takes", ["learns votes", "leaves out", "nothing"])
def test_a_run_on_other_votes_is_another_run_where_it_takes_something_from_them(
    made: dict[str, Any], tmp_path: Path, takes: str
) -> None:
    table, run, faces = made["table"], tmp_path / "run", made["faces"]
    loss = {"name": "soft-votes" if takes == "learns votes" else "cross-entropy"}
    other = faces.votes[:, [1, 0, *range(2, 10)]].copy()
    if takes == "learns votes":
        faces = replace(faces, vote_names=(*faces.label_names, *faces.vote_names[3:]))
    elif takes == "leaves out":
        other[0] = [0] * 9 + [10]
    store = tmp_path / "faces.h5"
    write_store(faces, store)
    recipe = check_recipe(table | {"data": {"store": str(store)}, "loss": loss})
    train(recipe, run)
    write_store(replace(faces, votes=other), store)
    if takes == "nothing":
        train(recipe, run)
        return
    with pytest.raises(RecipeError, match="holds a run of another data set, with other votes of raters; ch"):
        train(recipe, run)
    held = json.loads((run / "recipe.json").read_text())
    del held["votes"]
    write_json(run / "recipe.json", held)  # as versions wrote that knew no hash of votes
    train(recipe, run)


def test_two_do_not_train_in_one_folder(made: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    text = r"another process trains in .*run \(process \d+ on .*\); wait for it, or choose another folder"
    with sole(tmp_path / "run" / "lock"), pytest.raises(MienError, match=text):
        train(check_recipe(made["table"]), tmp_path / "run")


@pytest.mark.parametrize("name", ["recipe.json", "checkpoint.safetensors"])
def test_a_damaged_run_is_told_in_one_line(made: dict[str, Any], tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"

    def stop(_: TrainProgress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(check_recipe(made["table"]), run, report=stop)
    assert sorted(path.name for path in run.iterdir() if path.name == "lock") == []
    (run / name).write_bytes((run / name).read_bytes()[:40])
    with pytest.raises(MienError, match=rf"{name} is ") as raised:
        train(check_recipe(made["table"]), run)
    assert len(str(raised.value).splitlines()) == 1


def test_a_run_tells_the_precision_that_it_was_computed_in(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made["table"] | {"run": made["table"]["run"] | {"precision": "bf16", "epochs": 1}}
    for has, used in ((False, "fp32"), (True, "bf16")):
        monkeypatch.setattr("mien.train.devices.computes_bf16", lambda device, has=has: has)
        run = train(check_recipe(table), tmp_path / used)
        assert json.loads((run / "environment.json").read_text())["precision"] == used


def test_teachers_answer_in_the_precision_of_the_recipe_and_tell_how_far(made: dict[str, Any]) -> None:
    answers, told = {}, []
    for precision in ("fp32", "bf16"):
        table = made["table"] | {"distil": {"teachers": [str(made["run"])]}}
        table["run"] = table["run"] | {"precision": precision}
        trainer = make_trainer(check_recipe(table), made["faces"], "cpu", report=told.append)
        assert len(told) == len(answers)  # no teacher was asked yet
        trainer.prepare()
        answers[precision] = np.exp(trainer.teacher_logits)
    assert [(at.preparing, at.step, at.steps) for at in told] == [("teachers", 200, 200)] * 2
    apart = np.abs(answers["fp32"] - answers["bf16"])
    assert apart.max() < 0.05
    assert bool(apart.max() > 0) is computes_bf16(torch.device("cpu"))


def test_a_finished_run_is_left_before_teachers_answer(made: dict[str, Any], tmp_path: Path) -> None:
    told: list[TrainProgress] = []
    taught = check_recipe(made["table"] | {"distil": {"teachers": [str(made["run"])]}})
    for _ in range(2):
        train(taught, tmp_path / "taught", report=told.append)
    assert sum(at.preparing == "teachers" for at in told) == 1


def test_a_resumed_run_knows_what_its_teachers_said(made: dict[str, Any], tmp_path: Path) -> None:
    recipe = check_recipe(made["table"] | {"distil": {"teachers": [str(made["run"])]}})
    whole = train(recipe, tmp_path / "whole")

    def stop(at: TrainProgress) -> None:
        if not at.preparing:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(recipe, tmp_path / "run", report=stop)
    told: list[TrainProgress] = []
    resumed = train(recipe, tmp_path / "run", report=told.append)
    assert [at.preparing for at in told if at.preparing] == []
    assert (resumed / "weights.safetensors").read_bytes() == (whole / "weights.safetensors").read_bytes()


@pytest.mark.parametrize("mistake", ["gone", "damaged", "other shapes", "a leak", "the checkpoint"])
def test_a_mistake_is_told_before_teachers_answer(
    mistake: str, made: dict[str, Any], run: Path, tmp_path: Path
) -> None:
    table = made["table"] | {"distil": {"teachers": [str(made["run"])]}}
    weights, new = run / "weights.safetensors", tmp_path / "new"
    if mistake == "a leak":
        faces = made["faces"]
        images = faces.images.copy()
        images[faces.split == 2] = images[:100]
        write_store(replace(faces, images=images), tmp_path / "leaky.h5")
        table["data"] = {"store": str(tmp_path / "leaky.h5")}
    elif mistake == "the checkpoint":
        new.mkdir()
        (new / "checkpoint.safetensors").write_bytes(b"no tensors")
    else:
        widths = [8, 24] if mistake == "other shapes" else [8, 16]
        options = table["net"]["options"] | {"widths": widths}
        table["net"] = {"name": "s2d-resnet", "options": options, "init_from": str(run)}
    if mistake == "gone":
        weights.unlink()
    elif mistake == "damaged":
        weights.write_bytes(weights.read_bytes()[:-100])
    told: list[TrainProgress] = []
    with pytest.raises(MienError):
        train(check_recipe(table), new, report=told.append)
    assert told == []


def test_a_released_model_can_be_a_teacher(made: dict[str, Any], tmp_path: Path) -> None:
    """Its answers are those of its file; what it says of emotions that the faces lack is left out."""
    table = made["table"] | {"distil": {"teachers": ["fer2013-nano"]}}
    faces: FaceSet = made["faces"]
    trainer = make_trainer(check_recipe(table, files=True), faces, "cpu")
    trainer.prepare()
    path, card = find_model("fer2013-nano")
    session, views = open_session(path), []
    for images in (faces.select("train").images, faces.select("train").images[:, :, ::-1]):
        views.append(run(session, to_input(resized(images, 48), card.mean, card.std)))
    places = [card.labels.index(name) for name in faces.label_names]
    expected = softmax(np.mean(views, axis=0)[:, places])
    assert len(places) < len(card.labels)
    np.testing.assert_allclose(np.exp(trainer.teacher_logits), expected, atol=1e-5)


def test_what_cannot_teach_is_told(made: dict[str, Any]) -> None:
    def trained(**changes: Any) -> None:
        make_trainer(check_recipe(made["table"] | {"distil": changes}, files=True), made["faces"], "cpu")

    with pytest.raises(RecipeError, match=r"distil.teachers: no model named 'fer2013-nan'; did you mean"):
        trained(teachers=["fer2013-nan"])
    with pytest.raises(RecipeError, match=r"distil.teachers: a name is empty"):
        trained(teachers=[""])
    with pytest.raises(RecipeError, match=r"distil.teachers: no run at runs/none"):
        trained(teachers=["runs/none"])
    with pytest.raises(RecipeError, match=r'distil.view: "same" needs run folders .*; set "original"'):
        trained(teachers=["fer2013-nano"], view="same")
    other = replace(made["faces"], label_names=("angry", "happy", "bored"))
    recipe = check_recipe(made["table"] | {"distil": {"teachers": ["fer2013-nano"]}})
    with pytest.raises(RecipeError, match=r"teacher .* does not know bored; it knows angry, "):
        make_trainer(recipe, other, "cpu")


def test_a_run_killed_at_its_first_file_is_whole_in_the_end(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = made["table"] | {"run": made["table"]["run"] | {"epochs": 1}}

    class Killed(BaseException):
        pass

    def killed(path: Path, content: object) -> None:
        write_json(path, content)
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("mien.workflows.train.write_json", killed)
        with pytest.raises(Killed):
            train(check_recipe(table), tmp_path / "run")
    done = train(check_recipe(table), tmp_path / "run")
    assert {"environment.json", "recipe.json"} <= {path.name for path in done.iterdir()}


@pytest.mark.skipif(os.name == "nt", reason="needs a signal of POSIX")
def test_the_time_that_a_run_stood_stopped_is_not_counted(
    made: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(workflow, "time", SimpleNamespace(monotonic=lambda: clock[0]))

    def stop(at: TrainProgress) -> None:
        clock[0] += 1.0
        if at.step == at.steps // 2:
            clock[0] += 1e6  # as if it had been stopped so long
            signal.raise_signal(signal.SIGCONT)

    train(check_recipe(made["table"]), tmp_path / "run", report=stop)
    history = json.loads((tmp_path / "run" / "history.json").read_text())
    assert 0 < history["seconds"] < 1e3
    assert signal.getsignal(signal.SIGCONT) == signal.SIG_DFL


def test_a_run_without_validation_rows_has_a_report(made: dict[str, Any], tmp_path: Path) -> None:
    faces: FaceSet = made["faces"]
    write_store(faces.select("train"), tmp_path / "train.h5")
    table = made["table"] | {"data": {"store": str(tmp_path / "train.h5")}}
    table["run"] = table["run"] | {"epochs": 1}
    done = train(check_recipe(table), tmp_path / "run")
    assert not (done / "predictions-val.csv").exists()
    assert make_report([done], None, tmp_path)
