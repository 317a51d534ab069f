"""What each training face should be read as, and the loss of a batch against it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.core.affect import AFFECT
from mien.data.records import FaceSet
from mien.errors import RecipeError
from mien.names import look_up
from mien.train.batches import Batch
from mien.train.losses import (
    balanced_weights,
    distillation_loss,
    emotion_loss,
    log_prior,
    soften,
    valence_arousal_loss,
)
from mien.train.recipe import Recipe


class Goals:
    """Targets of all training faces, on the device.

    Attributes:
        targets: Shares of the emotions (N, C): one-hot labels, or the raters' shares with ``soft-votes``.
        votes: Shares of the raters' answers (N, V) where an auxiliary head learns them.

    Args:
        faces: The training faces.
        recipe: Loss and distillation.
        device: Where the targets lie.
        teacher_logits: What teachers say of each face, (N, C).
        ask: In place of these: from the faces of a batch, as the network sees them, to the teachers'
            probabilities at the temperature, (N, C).

    Raises:
        RecipeError: the loss needs votes, or valence and arousal, and the data set has none.
    """

    def __init__(
        self,
        faces: FaceSet,
        recipe: Recipe,
        device: torch.device,
        teacher_logits: NDArray[np.float32] | None = None,
        ask: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        def put(array: NDArray[Any]) -> Tensor:
            return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)

        self.recipe, self.ask = recipe, ask
        n_classes = len(faces.label_names)
        soft = recipe.loss.name == "soft-votes"
        self.targets = put(vote_targets(faces) if soft else np.eye(n_classes)[faces.labels])
        self.class_weights = None
        if recipe.loss.class_weights == "balanced":
            self.class_weights = balanced_weights(torch.from_numpy(faces.labels), n_classes).to(device)
        tau = recipe.loss.logit_adjustment
        self.shift = tau * log_prior(torch.from_numpy(faces.labels), n_classes).to(device) if tau else None
        self.votes = None
        if recipe.loss.votes_weight and faces.votes is not None:
            self.votes = put(shares(faces.votes))
        self.taught = None if teacher_logits is None else soften(put(teacher_logits), recipe.distil)
        self.places = None
        if recipe.loss.name == "valence-arousal":
            if faces.valence_arousal is None:
                raise RecipeError(f"loss.name=valence-arousal: '{faces.name}' has no valence and arousal")
            places = [look_up(AFFECT, name, "valence and arousal", RecipeError) for name in faces.label_names]
            self.places = put(np.array(places))
            self.wanted = put(faces.valence_arousal)

    def loss(self, logits: Tensor, batch: Batch) -> Tensor:
        """The mean loss of a batch's logits (N, C)."""
        if self.places is not None:
            return valence_arousal_loss(logits, self.places, self.wanted[batch.rows])
        if self.shift is not None:
            logits = logits + self.shift
        hard = emotion_loss(logits, batch.mix(self.targets), self.recipe.loss, self.class_weights)
        distil = self.recipe.distil
        if self.ask:
            softened = self.ask(batch.faces)
        elif self.taught is not None:
            softened = batch.mix(self.taught)
        else:
            return hard
        soft = distillation_loss(logits, softened, distil)
        return distil.alpha * hard + (1 - distil.alpha) * soft


def shares(votes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Votes (N, V) as parts of their row's sum; a row without votes stays zero."""
    return np.asarray(votes / votes.sum(1, keepdims=True).clip(1), np.float32)


def vote_targets(faces: FaceSet) -> NDArray[np.float32]:
    """The raters' shares of the data set's emotions (N, C); the label where no one chose any of them.

    Raises:
        RecipeError: the data set has no votes, or none for one of its emotions.
    """
    if faces.votes is None or faces.vote_names is None:
        raise RecipeError(f"loss.name=soft-votes: data set '{faces.name}' has no votes")
    missing = set(faces.label_names) - set(faces.vote_names)
    if missing:
        raise RecipeError(f"loss.name=soft-votes: no one could vote for {', '.join(sorted(missing))}")
    columns = [faces.vote_names.index(name) for name in faces.label_names]
    targets: NDArray[np.float32] = shares(faces.votes[:, columns])
    unknown = targets.sum(1) == 0
    targets[unknown] = np.eye(len(faces.label_names), dtype=np.float32)[faces.labels[unknown]]
    return targets
