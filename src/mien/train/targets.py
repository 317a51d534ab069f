"""The training target of each face: its emotion, its valence and arousal, or its landmarks.

A `Target` says what the network gives for a face, the loss of a batch, and how validation faces are scored;
which one a run has follows from ``loss.name``. To add one: a class here, its name in `TARGETS` and in the
recipe's ``loss.name``.
"""

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from mien.core.affect import AFFECT
from mien.core.landmarks import FAILED, OUTER_EYES, point_errors
from mien.data.records import FaceSet
from mien.errors import RecipeError
from mien.names import look_up
from mien.train.batches import Batch
from mien.train.losses import (
    LANDMARK_LOSSES,
    balanced_weights,
    distillation_loss,
    emotion_loss,
    log_prior,
    soften,
    valence_arousal_loss,
)
from mien.train.recipe import Recipe


class Target(Protocol):
    """What a network learns.

    Attributes:
        names: What each number that the network gives for a face means (C,).
        votes: Shares of the raters' answers (N, V) where an auxiliary head learns them.
        counts_right: Whether an output can be right or wrong, so that `right` has a meaning.
    """

    names: tuple[str, ...]
    votes: Tensor | None
    counts_right: bool

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        """The mean loss of a batch's outputs (N, C)."""
        ...

    def right(self, outputs: Tensor, batch: Batch) -> Tensor:
        """How many faces of a batch are read right."""
        ...

    def scores(self, outputs: NDArray[np.float32], faces: FaceSet) -> dict[str, float]:
        """What the history says of faces by the network's outputs (N, C); ``val_loss`` is among it."""
        ...


class Emotions:
    """The labels, or the raters' shares, and what teachers say; see `Target`.

    Attributes:
        targets: Shares of the emotions (N, C): one-hot labels, or the raters' shares with ``soft-votes``.

    Args:
        faces: The training faces.
        recipe: Loss and distillation.
        device: Where the targets lie.
        teacher_logits: What teachers say of each face, (N, C).
        ask: In place of these: from the faces of a batch, as the network sees them, to the teachers'
            probabilities at the temperature, (N, C).

    Raises:
        RecipeError: the loss needs votes, and the data set has none.
    """

    counts_right = True

    def __init__(
        self,
        faces: FaceSet,
        recipe: Recipe,
        device: torch.device,
        teacher_logits: NDArray[np.float32] | None = None,
        ask: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.names = faces.label_names
        self.recipe, self.device, self.ask = recipe, device, ask
        n_classes = len(self.names)
        self.labels = torch.from_numpy(faces.labels).to(device)
        soft = recipe.loss.name == "soft-votes"
        self.targets = self.put(vote_targets(faces) if soft else np.eye(n_classes)[faces.labels])
        self.class_weights = None
        if recipe.loss.class_weights == "balanced":
            self.class_weights = balanced_weights(torch.from_numpy(faces.labels), n_classes).to(device)
        tau = recipe.loss.logit_adjustment
        self.shift = tau * log_prior(torch.from_numpy(faces.labels), n_classes).to(device) if tau else None
        self.votes = None
        if recipe.loss.votes_weight and faces.votes is not None:
            self.votes = self.put(shares(faces.votes))
        self.taught = None if teacher_logits is None else soften(self.put(teacher_logits), recipe.distil)

    def put(self, array: NDArray[Any]) -> Tensor:
        """An array as float32 on the device."""
        return put(array, self.device)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        logits = outputs if self.shift is None else outputs + self.shift
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

    def right(self, outputs: Tensor, batch: Batch) -> Tensor:
        return (outputs.argmax(1) == self.labels[batch.rows]).sum()

    def scores(self, outputs: NDArray[np.float32], faces: FaceSet) -> dict[str, float]:
        logits, labels = torch.from_numpy(outputs), torch.from_numpy(faces.labels)
        return {
            "val_loss": float(F.cross_entropy(logits, labels)),
            "val_accuracy": float((logits.argmax(1) == labels).float().mean()),
        }


class ValenceArousal(Emotions):
    """Emotions whose expected valence and arousal are those of the face.

    Raises:
        RecipeError: the data set has no valence and arousal, or an emotion has no place among them.
    """

    def __init__(self, faces: FaceSet, recipe: Recipe, device: torch.device, *_: Any) -> None:
        super().__init__(faces, recipe, device)
        if faces.valence_arousal is None:
            raise RecipeError(f"loss.name=valence-arousal: '{faces.name}' has no valence and arousal")
        places = [look_up(AFFECT, name, "valence and arousal", RecipeError) for name in faces.label_names]
        self.places = self.put(np.array(places))
        self.wanted = self.put(faces.valence_arousal)

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return valence_arousal_loss(outputs, self.places, self.wanted[batch.rows])


class Landmarks:
    """Points of the face, in sides of the image with its middle at 0: x and y of the first, and so on.

    Raises:
        RecipeError: the data set has no landmarks of a known kind.
    """

    votes: Tensor | None = None
    counts_right = False

    def __init__(self, faces: FaceSet, recipe: Recipe, device: torch.device, *_: Any) -> None:
        if faces.landmarks is None or faces.landmarks.shape[1] not in OUTER_EYES:
            kinds = " or ".join(map(str, OUTER_EYES))
            raise RecipeError(f"loss.name={recipe.loss.name}: '{faces.name}' has no {kinds} landmarks a face")
        self.error = LANDMARK_LOSSES[recipe.loss.name]
        self.names = tuple(f"{axis}{i}" for i in range(faces.landmarks.shape[1]) for axis in "xy")

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        if batch.points is None:
            raise RecipeError("a batch of landmarks has no points")
        known = ~batch.points.isnan()
        errors = self.error(outputs.reshape(len(outputs), -1, 2) - torch.nan_to_num(batch.points))
        return (errors * known).sum() / known.sum().clamp(min=1)

    def right(self, outputs: Tensor, batch: Batch) -> Tensor:
        return outputs.new_zeros(())

    def scores(self, outputs: NDArray[np.float32], faces: FaceSet) -> dict[str, float]:
        errors = point_errors(points_of(outputs, faces.images.shape[1]), _known(faces))
        return {"val_loss": float(np.nanmean(errors)), "val_failures": float(np.nanmean(errors > FAILED))}


def points_of(outputs: NDArray[np.float32], side: int) -> NDArray[np.float32]:
    """Points (N, K, 2) in pixels of an image of ``side`` pixels, from a network's outputs (N, 2 K)."""
    points: NDArray[np.float32] = (outputs.reshape(len(outputs), -1, 2) + np.float32(0.5)) * np.float32(side)
    return points


def _known(faces: FaceSet) -> NDArray[np.float32]:
    if faces.landmarks is None:
        raise RecipeError(f"'{faces.name}' has no landmarks")
    return faces.landmarks


TARGETS: dict[str, Callable[..., Target]] = {
    "valence-arousal": ValenceArousal,
    **dict.fromkeys(LANDMARK_LOSSES, Landmarks),
}
"""What is learned, by ``loss.name``; every other loss learns `Emotions`."""


def make_target(faces: FaceSet, recipe: Recipe, device: torch.device, *taught: Any) -> Target:
    """What a run learns from its training faces; ``taught`` as in `Emotions`."""
    return TARGETS.get(recipe.loss.name, Emotions)(faces, recipe, device, *taught)


def put(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array as float32 on a device."""
    return torch.from_numpy(np.ascontiguousarray(array, np.float32)).to(device)


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
