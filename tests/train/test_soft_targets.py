"""Soft targets in a file: they reach the faces that they are for, and no others."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from mien.data.records import FaceSet
from mien.errors import ModelError, RecipeError
from mien.train.checkpoints import save_tensors
from mien.train.recipe_reading import check_recipe, targets_path
from mien.train.soft_targets import SoftTargets, read_soft_targets, write_soft_targets
from mien.workflows.train import make_trainer


def targets_of(faces: FaceSet) -> SoftTargets:
    train = faces.select("train")
    probs = np.random.default_rng(0).dirichlet(np.ones(3), len(train)).astype(np.float32)
    return SoftTargets(train.rows, probs, faces.label_names, faces.content_hash(), {"folds": 4})


@pytest.fixture
def path(faces: FaceSet, tmp_path: Path) -> Path:
    write_soft_targets(targets_of(faces), tmp_path / "targets.safetensors")
    return tmp_path / "targets.safetensors"


def test_what_is_written_is_read_to_half_precision(faces: FaceSet, path: Path) -> None:
    wanted, got = targets_of(faces), read_soft_targets(path)
    assert np.array_equal(got.rows, wanted.rows)
    np.testing.assert_allclose(got.probs, wanted.probs, atol=1e-3)
    assert (got.labels, got.content_hash, got.made) == (wanted.labels, wanted.content_hash, wanted.made)


def test_faces_find_their_row_in_any_order(faces: FaceSet) -> None:
    targets, train = targets_of(faces), faces.select("train")
    backwards = train.take(np.arange(len(train))[::-1])
    got = targets.logits(backwards, faces.content_hash())
    np.testing.assert_allclose(np.exp(got), targets.probs[::-1], rtol=1e-5)


def test_another_data_set_and_other_emotions_are_refused(faces: FaceSet) -> None:
    targets, train = targets_of(faces), faces.select("train")
    with pytest.raises(RecipeError, match="for another data set"):
        targets.logits(train, "0" * 64)
    with pytest.raises(RecipeError, match="the file names angry, happy, neutral"):
        targets.logits(replace(train, label_names=("a", "b", "c")), faces.content_hash())
    with pytest.raises(RecipeError, match="lacks 60 faces, such as row 120"):
        targets.logits(faces.select("val"), faces.content_hash())


def test_a_file_of_something_else_is_refused(tmp_path: Path, path: Path) -> None:
    other = tmp_path / "other.safetensors"
    save_tensors(other, {"rows": torch.arange(3)}, {})
    with pytest.raises(ModelError, match="holds no soft targets"):
        read_soft_targets(other)
    save_tensors(
        other,
        {"rows": torch.arange(3), "probs": torch.ones(3, 2)},
        {"labels": ["a", "b"], "content_hash": "", "made": {}},
    )
    with pytest.raises(ModelError, match="do not sum to 1"):
        read_soft_targets(other)
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="not a readable checkpoint"):
        read_soft_targets(path)


def test_a_name_that_is_not_shipped_is_told_with_the_command_that_makes_one() -> None:
    with pytest.raises(RecipeError, match=r"no soft targets 'nowhere'.*`mien targets`"):
        targets_path("nowhere")


def test_a_recipe_learns_from_the_file(faces: FaceSet, recipe_table: dict, path: Path) -> None:
    recipe_table["distil"] = {"targets": str(path), "alpha": 0.0, "temperature": 2.0}
    trainer = make_trainer(check_recipe(recipe_table), faces, "cpu")
    taught = trainer.target.taught
    assert taught is not None
    expected = torch.from_numpy(read_soft_targets(path).probs).log().div(2).softmax(1)
    place = [int(np.flatnonzero(targets_of(faces).rows == row)[0]) for row in trainer.train.rows]
    torch.testing.assert_close(taught, expected[place])
