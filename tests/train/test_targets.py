"""What the faces of a batch are compared with, and that every setting reaches the loss."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from mien.data.records import FaceSet
from mien.errors import RecipeError
from mien.train.batches import Batch
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe
from mien.train.targets import Target, make_target, vote_targets

CPU = torch.device("cpu")
ROWS = torch.tensor([3, 0, 7, 9])
LOGITS = torch.tensor([[2.0, 0.0, -1.0], [0.3, 0.2, 0.1], [-1.0, 1.0, 4.0], [0.0, 0.0, 3.0]])


def target_of(faces: FaceSet, recipe: Recipe, teacher: np.ndarray | None = None, **tables: dict) -> Target:
    table = recipe.model_dump() | {"loss": {}} | tables
    return make_target(faces, check_recipe(table), CPU, teacher)


def batch(partners: torch.Tensor | None = None, share: float = 1.0) -> Batch:
    return Batch(torch.zeros(4, 1, 16, 16), ROWS, partners, share)


def test_class_weights_reach_the_loss(faces: FaceSet, recipe: Recipe) -> None:
    labels = torch.from_numpy(faces.labels)
    weights = len(labels) / (3 * torch.bincount(labels))
    got = target_of(faces, recipe, loss={"class_weights": "balanced"}).loss(LOGITS, batch())
    assert torch.allclose(got, F.cross_entropy(LOGITS, labels[ROWS], weight=weights))
    assert not torch.allclose(got, target_of(faces, recipe).loss(LOGITS, batch()))


def test_mixed_faces_have_mixed_targets(faces: FaceSet, recipe: Recipe) -> None:
    labels, other = torch.from_numpy(faces.labels), ROWS.flip(0)
    got = target_of(faces, recipe).loss(LOGITS, batch(other, 0.25))
    parts = [F.cross_entropy(LOGITS, labels[rows]) for rows in (ROWS, other)]
    assert torch.allclose(got, 0.25 * parts[0] + 0.75 * parts[1])


def test_alpha_weighs_labels_against_the_teacher(faces: FaceSet, recipe: Recipe) -> None:
    teacher = np.random.default_rng(0).normal(size=(len(faces), 3)).astype(np.float32)
    hard = F.cross_entropy(LOGITS, torch.from_numpy(faces.labels)[ROWS])
    q = F.softmax(torch.from_numpy(teacher)[ROWS], 1)
    soft = (q * (q.log() - F.log_softmax(LOGITS, 1))).sum(1).mean()
    got = target_of(faces, recipe, teacher, distil={"alpha": 0.3}).loss(LOGITS, batch())
    assert torch.allclose(got, 0.3 * hard + 0.7 * soft)


def voted(faces: FaceSet) -> FaceSet:
    votes = np.zeros((len(faces), 4), np.uint8)
    votes[:, :3] = [[1, 3, 0]]
    votes[1] = [0, 0, 0, 10]
    return replace(faces, votes=votes, vote_names=("happy", "angry", "neutral", "unknown"))


def test_votes_become_shares_of_the_emotions_and_the_label_stands_in(faces: FaceSet) -> None:
    targets = vote_targets(voted(faces))
    assert targets[0].tolist() == [0.75, 0.25, 0]
    assert targets[1].tolist() == np.eye(3)[faces.labels[1]].tolist()


def test_soft_votes_need_votes_for_every_emotion(faces: FaceSet, recipe: Recipe) -> None:
    with pytest.raises(RecipeError, match="no one could vote for angry, happy, neutral"):
        target_of(faces, recipe, loss={"name": "soft-votes"})
    with pytest.raises(RecipeError, match="'bars' has no votes"):
        target_of(replace(faces, votes=None, vote_names=None), recipe, loss={"name": "soft-votes"})


def test_valence_and_arousal_are_learned_where_the_data_has_them(faces: FaceSet, recipe: Recipe) -> None:
    loss = {"name": "valence-arousal"}
    with pytest.raises(RecipeError, match="'bars' has no valence and arousal"):
        target_of(faces, recipe, loss=loss)
    at_neutral = replace(faces, valence_arousal=np.zeros((len(faces), 2), np.float32))
    surely_neutral = torch.tensor([[-99.0, -99.0, 99.0]]).repeat(4, 1)
    assert float(target_of(at_neutral, recipe, loss=loss).loss(surely_neutral, batch())) == pytest.approx(0)
    assert float(target_of(at_neutral, recipe, loss=loss).loss(LOGITS, batch())) > 0.01
