"""A run that was killed ends with the same weights as one that was not."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from mien.cli.main import heed_termination
from mien.data.records import FaceSet
from mien.errors import MienError, RecipeError
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.loop import Trainer
from mien.train.optim import AveragedWeights
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe
from mien.workflows.train import make_trainer, train

CPU = torch.device("cpu")
TRAIN = """
import json, sys
from pathlib import Path
from mien.train.recipe_reading import check_recipe
from mien.workflows.train import train
train(check_recipe(json.loads(sys.argv[1])), Path(sys.argv[2]))
"""


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "weights.safetensors")[0]


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture
def whole(recipe_table: dict[str, Any], stored: Path, tmp_path: Path) -> Path:
    """The folder of a run that nothing stopped."""
    recipe_table["data"]["store"] = str(stored)
    return train(check_recipe(recipe_table), tmp_path / "whole")


@pytest.mark.train
def test_kill_9_and_the_same_command_end_with_the_weights_of_an_uninterrupted_run(
    whole: Path, recipe_table: dict[str, Any], stored: Path, tmp_path: Path
) -> None:
    recipe_table["data"]["store"] = str(stored)
    killed = tmp_path / "killed"
    command = [sys.executable, "-c", TRAIN, json.dumps(recipe_table), str(killed)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, env=env)
    while not (killed / "checkpoint.safetensors").is_file():
        assert process.poll() is None, "the run ended before its first checkpoint"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    step = load_tensors(killed / "checkpoint.safetensors")[1]["step"]
    assert 0 < step < 28, "the run must be killed in the middle"
    subprocess.run(command, env=env, check=True)
    assert same(weights(killed), weights(whole))
    histories = [json.loads((f / "history.json").read_text())["history"] for f in (killed, whole)]
    assert histories[0] == histories[1]


@pytest.mark.train
@pytest.mark.parametrize("background", [False, True], ids=["ctrl-c", "terminated in a shell's background"])
def test_a_signal_in_a_step_is_heard_at_its_end(
    whole: Path,
    recipe_table: dict[str, Any],
    stored: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    background: bool,
) -> None:
    recipe_table["data"]["store"] = str(stored)
    update = AveragedWeights.update

    def interrupted(average: AveragedWeights, net: torch.nn.Module, step: int) -> None:
        if step == 5:
            signal.raise_signal(signal.SIGTERM if background else signal.SIGINT)
        update(average, net, step)

    ctrl_c = signal.SIG_IGN if background else signal.default_int_handler
    heard = signal.signal(signal.SIGINT, ctrl_c), signal.getsignal(signal.SIGTERM)
    try:
        heed_termination()
        with monkeypatch.context() as patch:
            patch.setattr(AveragedWeights, "update", interrupted)
            with pytest.raises(KeyboardInterrupt):
                train(check_recipe(recipe_table), tmp_path / "stopped")
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), heard, strict=True):
            signal.signal(number, handler)
    assert load_tensors(tmp_path / "stopped" / "checkpoint.safetensors")[1]["step"] == 6
    train(check_recipe(recipe_table), tmp_path / "stopped")
    assert same(weights(tmp_path / "stopped"), weights(whole))


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("stop", [1, 7, 13])
def test_a_restored_trainer_goes_on_as_if_never_stopped(
    faces: FaceSet, recipe: Recipe, optimizer: str, stop: int, tmp_path: Path
) -> None:
    recipe = recipe.model_copy(update={"optim": recipe.optim.model_copy(update={"name": optimizer})})
    val = faces.select("val")

    def go(trainer: Trainer, until: int) -> Trainer:
        while trainer.step_count < until:
            trainer.step()
            if trainer.step_count % 7 == 0:
                trainer.validate(val)
        return trainer

    straight = go(make_trainer(recipe, faces, "cpu"), 16)
    first = go(make_trainer(recipe, faces, "cpu"), stop)
    save_tensors(tmp_path / "stopped.safetensors", first.tensors(), first.note())
    tensors, note = load_tensors(tmp_path / "stopped.safetensors")
    second = make_trainer(recipe, faces, "cpu")
    second.restore(tensors, note)
    go(second, 16)
    assert same(straight.net.state_dict(), second.net.state_dict())
    assert same(straight.weights(), second.weights())
    assert straight.history == second.history


def test_looking_at_the_validation_rows_changes_nothing(faces: FaceSet, recipe: Recipe) -> None:
    validated, blind = make_trainer(recipe, faces, "cpu"), make_trainer(recipe, faces, "cpu")
    for _ in range(3):
        validated.step()
        validated.validate(faces.select("val"))
        blind.step()
    assert same(validated.net.state_dict(), blind.net.state_dict())


@pytest.mark.train
def test_the_folder_of_a_run_holds_all_that_it_promises(whole: Path) -> None:
    names = {p.name for p in whole.iterdir()}
    assert names == {
        "recipe.json",
        "environment.json",
        "learned-faces.npz",
        "weights.safetensors",
        "history.json",
        "predictions-val.csv",
        "curves.png",
    }
    history = json.loads((whole / "history.json").read_text())["history"]
    assert [line["epoch"] for line in history] == [1, 2, 3, 4]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    lines = (whole / "predictions-val.csv").read_text().splitlines()
    assert lines[0] == "row,label,predicted,p_angry,p_happy,p_neutral"
    assert len(lines) == 61


@pytest.mark.train
def test_a_folder_with_another_run_is_left_alone(
    whole: Path, recipe_table: dict[str, Any], stored: Path
) -> None:
    recipe_table["data"]["store"] = str(stored)
    recipe_table["run"]["seed"] = 5
    with pytest.raises(
        RecipeError, match=r"whole holds a run of another recipe, run.seed=0 \(5\); choose another"
    ):
        train(check_recipe(recipe_table), whole)


def test_a_missing_device_is_named(faces: FaceSet, recipe: Recipe) -> None:
    with pytest.raises(MienError, match=r"no device 'cuda:77' here .*; use --device cpu"):
        make_trainer(recipe, faces, "cuda:77")
