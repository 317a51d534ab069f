"""The whole data set lies on the device as uint8; a batch is an index into it.

Order, mirror and every random change follow from the seed and the step alone, so a run can stop after any
step and go on as if it had not.
"""

import hashlib
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mien.core.preprocess import resized
from mien.data.audit import blank, no_face_votes
from mien.data.records import FaceSet
from mien.errors import DataError
from mien.train.augment import affine, augment, move_points
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import AugmentSettings, DataSettings, Recipe

CALM = {
    "rotation_deg": 0.0,
    "zoom": 0.0,
    "brightness": 0.0,
    "contrast": 0.0,
    "jitter": (0.0, 0.0, 0.0, 0.0),
    "erase": 0.0,
    "low_resolution": 0.0,
    "noise": 0.0,
    "mixup": 0.0,
    "mask": 0.0,
    "hide": 0.0,
    "shift": 0.04,
}
"""What the last part of a run changes: Khaireddin & Chen 2021 fine-tune on nearly clean faces."""


SKIPS = 2
"""How many times larger stored faces may not be than those of a step, to be sampled as they are."""


@dataclass(frozen=True)
class Batch:
    """What a step learns from.

    Attributes:
        faces: Normalised float32 (N, C, S, S).
        rows: Positions (N,) in the training faces, for what else is known of them.
        partners: Where faces are mixed, the positions (N,) of the faces mixed in; else None.
        share: How much of ``faces`` is the face of ``rows``, 0-1.
        points: Landmarks (N, K, 2) where they are learned, in sides of the face with its middle at 0, moved
            as the faces are; NaN where unknown.
    """

    faces: Tensor
    rows: Tensor
    partners: Tensor | None = None
    share: float = 1.0
    points: Tensor | None = None

    def mix(self, known: Tensor) -> Tensor:
        """What is known of each training face, float (M, ...), mixed as the faces of the batch are."""
        own = known[self.rows]
        return own if self.partners is None else torch.lerp(known[self.partners], own, self.share)


def training_rows(faces: FaceSet, settings: DataSettings) -> FaceSet:
    """The training part, without blank faces and without rows that all raters call no face.

    Raises:
        DataError: nothing is left.
    """
    train = faces.select("train")
    keep = np.ones(len(train), bool)
    if settings.drop_blank:
        keep &= ~blank(train)
    if settings.drop_non_faces:
        keep &= ~_no_faces(train)
    if not keep.any():
        raise DataError(
            f"data set '{faces.name}' has no training faces left; check its split and the recipe's [data]"
        )
    return train.take(np.flatnonzero(keep))


def _no_faces(train: FaceSet) -> NDArray[np.bool_]:
    """Which rows all raters call no face (N,)."""
    if train.votes is None:
        return np.zeros(len(train), bool)
    votes = no_face_votes(train)
    found: NDArray[np.bool_] = (votes > 0) & (votes == train.votes.sum(1))
    return found


def votes_hash(faces: FaceSet, recipe: Recipe) -> str:
    """SHA-256 (hex) of what a run takes from the raters' votes, which `FaceSet.content_hash` leaves out.

    Empty where it takes nothing from them: it learns no votes, and they leave out no training face.
    """
    train, loss = faces.select("train"), recipe.loss
    if train.votes is None:
        return ""
    if loss.votes_weight or loss.name == "soft-votes":
        return hashlib.sha256(repr(train.vote_names).encode() + train.votes.tobytes()).hexdigest()
    if recipe.data.drop_non_faces and (left_out := _no_faces(train)).any():
        return hashlib.sha256(left_out.tobytes()).hexdigest()
    return ""


class TrainingBatches:
    """Batches of augmented training faces for any step of a run."""

    def __init__(
        self, faces: FaceSet, recipe: Recipe, mean_std: tuple[float, float], device: torch.device
    ) -> None:
        self.recipe = recipe
        self.mean_std = mean_std
        self.device = device
        self.images = self._on_device(faces.images)
        self.labels = torch.from_numpy(faces.labels).to(device)
        self.points = None
        if recipe.loss.name in LANDMARK_LOSSES and faces.landmarks is not None:
            self.points = torch.from_numpy(faces.landmarks / faces.images.shape[1] - 0.5).float().to(device)
        self.batch_size = min(recipe.run.batch_size, len(faces))
        self.per_epoch = len(faces) // self.batch_size
        self.rng = torch.Generator(device)
        coins = np.random.default_rng([recipe.run.seed, 1]).random(len(faces)) < 0.5
        self.coins = torch.from_numpy(coins).to(device)
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))
        self._faces = faces
        self._shrunk: tuple[int, Tensor] = (-1, torch.empty(0))

    @property
    def steps(self) -> int:
        """Steps of the whole run. The rows left over by the last batch differ from epoch to epoch."""
        return self.per_epoch * self.recipe.run.epochs

    def size(self, step: int) -> int:
        """Side in pixels of the faces at a step."""
        part = step / self.steps
        return [size for start, size in sorted(self.recipe.run.sizes) if part >= start or not start][-1]

    def at(self, step: int) -> Batch:
        """The batch of a step, 0 <= step < steps."""
        epoch, place = divmod(step, self.per_epoch)
        rows = self._rows(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        self.rng.manual_seed(step_seed(self.recipe.run.seed, step))
        faces = self._images(self.size(step))[rows].float().div_(255)
        flips, settings = self.flips(rows, epoch), self.settings_at(step)
        matrices = affine(flips, settings, self.rng) if self.points is not None else None
        faces = augment(faces, flips, self.size(step), settings, self.rng, matrices)
        faces = faces.sub_(self.mean_std[0]).div_(self.mean_std[1])
        if self.points is not None and matrices is not None:
            return Batch(faces, rows, points=move_points(self.points[rows], flips, matrices))
        alpha = settings.mixup
        if not alpha:
            return Batch(faces, rows)
        share = float(np.random.default_rng([self.recipe.run.seed, 3, step]).beta(alpha, alpha))
        other = torch.randperm(len(rows), generator=self.rng, device=rows.device)
        return Batch(torch.lerp(faces[other], faces, share), rows, rows[other], share)

    def _on_device(self, images: NDArray[np.uint8]) -> Tensor:
        """Faces as uint8 (N, C, S, S)."""
        pixels = torch.from_numpy(images)
        pixels = pixels.movedim(-1, 1).contiguous() if pixels.ndim == 4 else pixels.unsqueeze(1)
        return pixels.to(self.device)

    def _images(self, size: int) -> Tensor:
        """The faces as stored; shrunk to ``size`` first where sampling them would skip pixels."""
        if self.images.shape[-1] < SKIPS * size:
            return self.images
        if self._shrunk[0] != size:
            self._shrunk = (size, self._on_device(resized(self._faces.images, size)))
        return self._shrunk[1]

    def _rows(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            order = self._draw(np.random.default_rng([self.recipe.run.seed, 2, epoch]))
            self._order = (epoch, torch.from_numpy(order).to(self.labels.device))
        return self._order[1]

    def _draw(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """The rows of an epoch, in their order."""
        n, kind = len(self.labels), self.recipe.data.sampling
        if kind == "in-order":
            return np.arange(n)
        if kind == "shuffle":
            return rng.permutation(n)
        labels = self.labels.cpu().numpy()
        chance = 1 / np.bincount(labels)[labels]
        return rng.choice(n, n, p=chance / chance.sum())

    def flips(self, rows: Tensor, epoch: int) -> Tensor:
        """Which of the rows are mirrored in an epoch."""
        kind = self.recipe.augment.flip
        if kind == "random":
            return torch.rand(len(rows), generator=self.rng, device=rows.device) < 0.5
        if kind == "none":
            return torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
        return self.coins[rows] ^ bool(epoch % 2)

    def settings_at(self, step: int) -> AugmentSettings:
        """What may happen to a face at a step."""
        settings, part = self.recipe.augment, step / self.steps
        if part >= settings.calm_from:
            return settings.model_copy(update={k: min(v, getattr(settings, k)) for k, v in CALM.items()})
        return settings if part >= settings.erase_from else settings.model_copy(update={"erase": 0.0})


def step_seed(seed: int, step: int) -> int:
    """One 63-bit seed for a step; mixed, as neighbouring seeds give related streams in some generators."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
