"""Soft targets: no face is named by a network that saw it or a copy of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")
pytest.importorskip("sklearn", reason="needs the train extra")

from mien.data.records import FaceSet
from mien.data.store import read_store, write_store
from mien.errors import DataError, MienError, RecipeError
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.recipe_reading import check_recipe
from mien.train.soft_targets import read_soft_targets
from mien.workflows import soft_targets
from mien.workflows.soft_targets import FoldSettings, draw_folds, make_soft_targets, scored, stack


def with_copies(faces: FaceSet) -> FaceSet:
    """The second half repeats the first."""
    half = len(faces) // 2
    images = faces.images.copy()
    images[half : 2 * half] = images[:half]
    return replace(faces, images=images)


def test_copies_of_a_face_share_its_fold(noise_faces: Any) -> None:
    faces = with_copies(noise_faces(120))
    fold = draw_folds(faces, 4, seed=1)
    assert np.array_equal(fold[:60], fold[60:])
    assert set(fold.tolist()) == {0, 1, 2, 3}
    assert np.array_equal(fold, draw_folds(faces, 4, seed=1))
    assert not np.array_equal(fold, draw_folds(faces, 4, seed=2))


def test_no_fold_is_empty_and_fewer_images_than_folds_are_refused(noise_faces: Any) -> None:
    assert all(len(set(draw_folds(noise_faces(8), 6, seed).tolist())) == 6 for seed in range(5))
    with pytest.raises(DataError, match="2 different training images are too few for 3 folds"):
        draw_folds(with_copies(noise_faces(4)), 3, 0)


def test_the_regression_that_names_a_face_never_saw_its_fold() -> None:
    rng = np.random.default_rng(0)
    labels, fold = rng.integers(0, 3, 300), np.repeat([0, 1, 2], 100)
    probs, votes = rng.dirichlet(np.ones(3), 300), rng.dirichlet(np.ones(5), 300)
    before = stack([probs], votes, labels, fold)
    changed = labels.copy()
    changed[fold == 1] = 0
    after = stack([probs], votes, changed, fold)
    assert np.array_equal(before[fold == 1], after[fold == 1])
    assert not np.allclose(before[fold != 1], after[fold != 1])


def test_votes_that_tell_the_label_are_used() -> None:
    rng = np.random.default_rng(0)
    labels, fold = rng.integers(0, 3, 300), rng.integers(0, 3, 300)
    said = stack([rng.dirichlet(np.ones(3), 300)], np.eye(4)[labels], labels, fold)
    assert scored("", said, labels).accuracy == 1
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-5)


@pytest.mark.train
def test_targets_replace_no_file_of_another_kind(faces_on_disk: Path, tmp_path: Path) -> None:
    settings = FoldSettings(runs=tmp_path / "runs")
    weights = tmp_path / "weights.safetensors"
    save_tensors(weights, {"rows": torch.zeros(3)}, {"labels": []})
    held = weights.read_bytes()
    for to, says in (
        (faces_on_disk, "a name that ends with .safetensors"),
        (weights, "holds no soft targets"),
    ):
        with pytest.raises(MienError, match=says):
            make_soft_targets({}, faces_on_disk, to, settings)
    assert weights.read_bytes() == held


def test_a_file_for_every_training_face_and_runs_are_not_made_twice(
    faces_on_disk: Path, table: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table["run"]["epochs"] = 2
    recipes = {"a": check_recipe(table), "b": check_recipe(table | {"run": table["run"] | {"seed": 1}})}
    settings = FoldSettings(tmp_path / "runs", n_folds=2)
    seen: list[str] = []
    scores = make_soft_targets(
        recipes, faces_on_disk, tmp_path / "t.safetensors", settings, lambda at: seen.append(at.name)
    )
    assert [one.name for one in scores] == ["a", "b", "mean of the recipes", "with the votes"]
    assert list(dict.fromkeys(seen)) == ["a-fold-0", "a-fold-1", "b-fold-0", "b-fold-1"]
    faces = read_store(faces_on_disk)
    targets = read_soft_targets(tmp_path / "t.safetensors")
    assert np.array_equal(targets.rows, faces.select("train").rows)
    assert targets.content_hash == faces.content_hash()
    assert not list((tmp_path / "runs").glob("*.h5"))
    note = load_tensors(tmp_path / "runs" / "a-fold-0" / "weights.safetensors")[1]
    assert note["data"]["content_hash"] != faces.content_hash()

    monkeypatch.setattr(soft_targets, "train", lambda *_, **__: pytest.fail("trained again"))
    again = make_soft_targets(recipes, faces_on_disk, tmp_path / "u.safetensors", settings)
    assert again == scores
    for other, said in (
        ((recipes, replace(settings, seed=1)), "a-fold-0 holds a run of another data set"),
        (({"a": recipes["b"]}, settings), r"a-fold-0 holds a run of another recipe, run.seed=0 \(1\)"),
    ):
        with pytest.raises(RecipeError, match=said):
            make_soft_targets(other[0], faces_on_disk, tmp_path / "v.safetensors", other[1])


def test_files_beside_the_runs_of_the_folds_are_left_alone(
    faces_on_disk: Path, table: dict[str, Any], tmp_path: Path
) -> None:
    table["run"]["epochs"] = 1
    data, own = faces_on_disk.rename(tmp_path / "fer.h5"), tmp_path / "a-fold-0.h5"
    own.write_bytes(b"my own")
    held = data.read_bytes()
    recipes = {"fer.v2": check_recipe(table), "a": check_recipe(table)}
    make_soft_targets(recipes, data, tmp_path / "t.safetensors", FoldSettings(tmp_path, n_folds=2))
    assert (data.read_bytes(), own.read_bytes()) == (held, b"my own")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == [
        "a-fold-0.h5",
        "fer.h5",
        "t.safetensors",
    ]
    assert not list(tmp_path.glob(".mien-*"))


@pytest.mark.parametrize(("key", "value"), [("keep", "best"), ("stop_after", 3)])
def test_a_recipe_that_chooses_by_the_faces_it_names_is_refused(
    table: dict[str, Any], key: str, value: Any, faces_on_disk: Path, tmp_path: Path
) -> None:
    table["run"][key] = value
    recipes, to = {"a": check_recipe(table)}, tmp_path / "t.safetensors"
    with pytest.raises(RecipeError, match=rf"'a' chooses by its validation rows.*set run\.{key}="):
        make_soft_targets(recipes, faces_on_disk, to, FoldSettings(tmp_path / "runs"))


def test_a_recipe_of_landmarks_is_refused_before_a_fold_is_trained(
    table: dict[str, Any], faces_on_disk: Path, tmp_path: Path
) -> None:
    recipe = check_recipe(table | {"loss": {"name": "wing"}})
    with pytest.raises(RecipeError, match=r"'points' learns landmarks, not emotions \(loss.name=wing\)"):
        make_soft_targets(
            {"points": recipe}, faces_on_disk, tmp_path / "t.safetensors", FoldSettings(tmp_path)
        )


@pytest.fixture
def table(module_at: Any) -> dict[str, Any]:
    return module_at("tests/train/conftest.py").small_table()


@pytest.fixture
def faces_on_disk(module_at: Any, tmp_path: Path) -> Path:
    """Bars under so much noise that no two count as one image."""
    faces = module_at("tests/train/conftest.py").make_faces()
    noise = np.random.default_rng(1).integers(0, 150, faces.images.shape, dtype=np.uint8)
    path = tmp_path / "faces.h5"
    write_store(replace(faces, images=faces.images // 3 + noise), path)
    return path
