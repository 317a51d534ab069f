"""What training refuses before it starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.core.locks import sole
from mien.data.store import write_store
from mien.errors import DataError, MienError
from mien.train.recipe_reading import check_recipe
from mien.workflows.train import TrainProgress, train

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
