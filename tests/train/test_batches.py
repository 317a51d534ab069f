"""Which faces a step sees, and how they come."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mien.core.preprocess import resized
from mien.data.records import FaceSet
from mien.errors import DataError
from mien.train.batches import TrainingBatches, step_seed, training_rows
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe

CPU = torch.device("cpu")


def plain(recipe: Recipe, **augment: object) -> Recipe:
    """The recipe without any change of the faces but those named."""
    table = recipe.model_dump()
    table["augment"] = {"flip": "none", **augment}
    table["run"]["sizes"] = [(0.0, 16)]
    return check_recipe(table)


def with_data(recipe: Recipe, **data: object) -> Recipe:
    return recipe.model_copy(update={"data": recipe.data.model_copy(update=data)})


def numbered(faces: FaceSet) -> FaceSet:
    """Faces whose every pixel says which one it is."""
    images = np.broadcast_to(np.arange(len(faces), dtype=np.uint8)[:, None, None], faces.images.shape)
    return replace(faces, images=images.copy())


def test_an_epoch_shows_each_face_at_most_once_and_leaves_out_less_than_a_batch(
    faces: FaceSet, recipe: Recipe
) -> None:
    train = numbered(faces.select("train"))
    batches = TrainingBatches(train, plain(recipe), (0.0, 1 / 255), CPU)
    seen = [batches.at(step).faces[:, 0, 0, 0].round().int().tolist() for step in range(batches.per_epoch)]
    flat = [i for batch in seen for i in batch]
    assert len(set(flat)) == len(flat) == len(train) - len(train) % 16


def test_another_epoch_comes_in_another_order(faces: FaceSet, recipe: Recipe) -> None:
    batches = TrainingBatches(numbered(faces.select("train")), plain(recipe), (0.0, 1.0), CPU)
    assert not torch.equal(batches.at(0).rows, batches.at(batches.per_epoch).rows)


def test_rows_in_order_come_as_in_the_file_in_every_epoch(faces: FaceSet, recipe: Recipe) -> None:
    ordered = with_data(plain(recipe), sampling="in-order")
    batches = TrainingBatches(faces.select("train"), ordered, (0.0, 1.0), CPU)
    for step in (1, 1 + batches.per_epoch):
        assert batches.at(step).rows.tolist() == list(range(16, 32))


def test_balanced_sampling_shows_every_emotion_as_often(faces: FaceSet, recipe: Recipe) -> None:
    train = faces.select("train")
    rare = np.flatnonzero(train.labels == 0)[:6]
    train = train.take(np.concatenate([rare, np.flatnonzero(train.labels != 0)]))
    batches = TrainingBatches(train, with_data(plain(recipe), sampling="balanced"), (0.0, 1.0), CPU)
    drawn = np.concatenate([train.labels[batches.at(step).rows] for step in range(batches.steps)])
    shares = np.bincount(drawn) / len(drawn)
    assert shares == pytest.approx(1 / 3, abs=0.1)


def test_mixed_faces_are_the_faces_of_both_rows_in_the_drawn_share(faces: FaceSet, recipe: Recipe) -> None:
    train = numbered(faces.select("train"))
    batch = TrainingBatches(train, plain(recipe, mixup=1.0), (0.0, 1 / 255), CPU).at(3)
    assert batch.partners is not None
    assert 0 < batch.share < 1
    mixed = batch.share * batch.rows + (1 - batch.share) * batch.partners
    assert torch.allclose(batch.faces[:, 0, 0, 0], mixed, atol=1e-3)
    assert torch.allclose(batch.mix(torch.arange(len(train)).float()), mixed, atol=1e-3)


def test_the_calm_last_part_of_a_run_mixes_no_faces(faces: FaceSet, recipe: Recipe) -> None:
    batches = TrainingBatches(faces.select("train"), plain(recipe, mixup=1.0, calm_from=0.5), (0.0, 1.0), CPU)
    assert batches.at(batches.steps // 2 - 1).partners is not None
    assert batches.at(batches.steps - 1).partners is None


def test_rows_are_those_of_the_faces_of_their_batch(faces: FaceSet, recipe: Recipe) -> None:
    train = numbered(faces.select("train"))
    batch = TrainingBatches(train, plain(recipe), (0.0, 1 / 255), CPU).at(3)
    assert batch.faces[:, 0, 0, 0].round().long().tolist() == batch.rows.tolist()


def test_alternate_flip_mirrors_each_face_in_every_second_epoch(faces: FaceSet, recipe: Recipe) -> None:
    train = numbered(faces.select("train"))
    ramp = np.linspace(0, 100, 16, dtype=np.uint8)
    train = replace(train, images=np.broadcast_to(ramp, train.images.shape).copy())
    batches = TrainingBatches(train, plain(recipe, flip="alternate"), (0.0, 1.0), CPU)
    rows = torch.arange(len(train))
    first, second, third = (batches.flips(rows, epoch) for epoch in range(3))
    assert torch.equal(first, ~second)
    assert torch.equal(first, third)
    assert 0.3 < first.float().mean() < 0.7


def test_normalisation_gives_mean_zero_and_deviation_one(faces: FaceSet, recipe: Recipe) -> None:
    train = faces.select("train")
    mean, std = train.images.mean() / 255, train.images.std() / 255
    batches = TrainingBatches(train, plain(recipe), (mean, std), CPU)
    pixels = torch.cat([batches.at(step).faces for step in range(batches.per_epoch)])
    assert abs(float(pixels.mean())) < 0.02
    assert float(pixels.std()) == pytest.approx(1, abs=0.02)


def test_large_faces_are_shrunk_as_those_that_are_scored(faces: FaceSet, recipe: Recipe) -> None:
    train = faces.select("train")
    noise = np.random.default_rng(0).integers(0, 256, (len(train), 64, 64), dtype=np.uint8)
    large = replace(train, images=noise, landmarks=None)
    batch = TrainingBatches(large, plain(recipe), (0.0, 1 / 255), CPU).at(0)
    scored = resized(noise[batch.rows.numpy()], 16)
    np.testing.assert_allclose(batch.faces[:, 0].numpy(), scored, atol=0.01)


def test_size_grows_and_calm_begins_when_the_recipe_says(faces: FaceSet, recipe: Recipe) -> None:
    batches = TrainingBatches(faces.select("train"), recipe, (0.5, 0.2), CPU)
    half, calm = batches.steps // 2, int(np.ceil(batches.steps * 0.8))
    assert [batches.size(s) for s in (0, half - 1, half, batches.steps - 1)] == [12, 12, 16, 16]
    assert batches.at(0).faces.shape == (16, 1, 12, 12)
    assert batches.settings_at(calm - 1).rotation_deg == 5
    assert batches.settings_at(calm).rotation_deg == 0
    assert batches.settings_at(calm).erase == 0


def test_any_step_gives_the_same_batch_in_a_new_run(faces: FaceSet, recipe: Recipe) -> None:
    train = faces.select("train")
    walked = TrainingBatches(train, recipe, (0.5, 0.2), CPU)
    for step in range(10):
        walked.at(step)
    jumped = TrainingBatches(train, recipe, (0.5, 0.2), CPU)
    assert torch.equal(walked.at(10).faces, jumped.at(10).faces)
    assert len({step_seed(seed, step) for seed in range(20) for step in range(200)}) == 4000


def test_blank_faces_and_unanimous_non_faces_are_left_out_of_training_only(
    faces: FaceSet, recipe: Recipe
) -> None:
    images, votes = faces.images.copy(), faces.votes.copy()
    images[0] = 0
    votes[1] = [0] * 9 + [10]
    votes[2] = [1] + [0] * 8 + [9]
    odd = replace(faces, images=images, votes=votes)
    kept = training_rows(odd, recipe.data).rows.tolist()
    assert kept[:2] == [2, 3]
    assert len(kept) == len(odd.select("train")) - 2
    everything = recipe.data.model_copy(update={"drop_blank": False, "drop_non_faces": False})
    assert len(training_rows(odd, everything)) == len(odd.select("train"))
    other = replace(odd, votes=votes[:, :2], vote_names=("happy", "sad"))
    assert training_rows(other, recipe.data).rows.tolist()[:3] == [1, 2, 3]


def test_a_data_set_without_training_faces_is_named(faces: FaceSet, recipe: Recipe) -> None:
    with pytest.raises(DataError, match="'bars' has no training faces left"):
        training_rows(faces.select("test"), recipe.data)
