"""What training refuses before it starts."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("onnxscript", reason="needs the train extra")

from mien.data.store import write_store
from mien.errors import DataError
from mien.train.recipe_reading import check_recipe
from mien.workflows.train import train

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
