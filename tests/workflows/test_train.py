"""What training refuses before it starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnxscript", reason="needs the train extra")

import torch

from mien.core.locks import sole
from mien.data.store import write_store
from mien.errors import DataError, MienError
from mien.train.devices import computes_bf16
from mien.train.recipe_reading import check_recipe
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


def test_teachers_answer_in_the_precision_of_the_recipe_and_tell_how_far(made: dict[str, Any]) -> None:
    answers, told = {}, []
    for precision in ("fp32", "bf16"):
        table = made["table"] | {"distil": {"teachers": [str(made["run"])]}}
        table["run"] = table["run"] | {"precision": precision}
        trainer = make_trainer(check_recipe(table), made["faces"], "cpu", report=told.append)
        answers[precision] = np.exp(trainer.teacher_logits)
    assert [(at.preparing, at.step, at.steps) for at in told] == [("teachers", 200, 200)] * 2
    apart = np.abs(answers["fp32"] - answers["bf16"])
    assert apart.max() < 0.05
    assert bool(apart.max() > 0) is computes_bf16(torch.device("cpu"))
