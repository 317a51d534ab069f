"""The whole data set lies on the device as uint8; a batch is an index into it.

Order, mirror and every random change follow from the seed and the step alone, so a run can stop after any
step and go on as if it had not.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from mien.data.records import FaceSet
from mien.errors import DataError
from mien.train.augment import augment
from mien.train.recipe import AugmentSettings, DataSettings, Recipe

CALM = {"rotation_deg": 0.0, "zoom": 0.0, "brightness": 0.0, "contrast": 0.0, "erase": 0.0, "shift": 0.04}
"""What the last part of a run changes: Khaireddin & Chen 2021 fine-tune on nearly clean faces."""


@dataclass(frozen=True)
class Batch:
    """Normalised float32 faces (N, C, S, S); labels (N,); vote shares (N, V), zeros where nobody voted."""

    faces: Tensor
    labels: Tensor
    votes: Tensor | None


def training_rows(faces: FaceSet, settings: DataSettings) -> FaceSet:
    """The training part, without blank faces and without rows that all raters call no face.

    Raises:
        DataError: nothing is left.
    """
    train = faces.select("train")
    keep = np.ones(len(train), bool)
    if settings.drop_blank:
        keep &= train.images.min((1, 2)) != train.images.max((1, 2))
    if settings.drop_non_faces and train.votes is not None and train.vote_names is not None:
        not_a_face = train.votes[:, train.vote_names.index("not-a-face")]
        keep &= (not_a_face == 0) | (not_a_face < train.votes.sum(1))
    if not keep.any():
        raise DataError(
            f"data set '{faces.name}' has no training faces left; check its split and the recipe's [data]"
        )
    return train.take(np.flatnonzero(keep))


class TrainingBatches:
    """Batches of augmented training faces for any step of a run."""

    def __init__(
        self, faces: FaceSet, recipe: Recipe, mean_std: tuple[float, float], device: torch.device
    ) -> None:
        self.recipe = recipe
        self.mean_std = mean_std
        self.images = torch.from_numpy(faces.images).unsqueeze(1).to(device)
        self.labels = torch.from_numpy(faces.labels).to(device)
        self.votes = None
        if faces.votes is not None and recipe.loss.votes_weight:
            votes = torch.from_numpy(faces.votes).float()
            self.votes = (votes / votes.sum(1, keepdim=True).clamp(min=1)).to(device)
        self.batch_size = min(recipe.run.batch_size, len(faces))
        self.per_epoch = len(faces) // self.batch_size
        self.rng = torch.Generator(device)
        self.coins = np.random.default_rng([recipe.run.seed, 1]).random(len(faces)) < 0.5
        self._order: tuple[int, Tensor] = (-1, torch.empty(0))

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
        faces = self.images[rows].float().div_(255)
        faces = augment(faces, self._flips(rows, epoch), self.size(step), self._settings(step), self.rng)
        faces = faces.sub_(self.mean_std[0]).div_(self.mean_std[1])
        return Batch(faces, self.labels[rows], self.votes[rows] if self.votes is not None else None)

    def _rows(self, epoch: int) -> Tensor:
        if self._order[0] != epoch:
            rng = np.random.default_rng([self.recipe.run.seed, 2, epoch])
            order = torch.from_numpy(rng.permutation(len(self.labels))).to(self.labels.device)
            self._order = (epoch, order)
        return self._order[1]

    def _flips(self, rows: Tensor, epoch: int) -> Tensor:
        kind = self.recipe.augment.flip
        if kind == "random":
            return torch.rand(len(rows), generator=self.rng, device=rows.device) < 0.5
        coins = self.coins[rows.cpu().numpy()] ^ bool(epoch % 2)
        return torch.from_numpy(coins & (kind == "alternate")).to(rows.device)

    def _settings(self, step: int) -> AugmentSettings:
        settings, part = self.recipe.augment, step / self.steps
        if part >= settings.calm_from:
            return settings.model_copy(update={k: min(v, getattr(settings, k)) for k, v in CALM.items()})
        return settings if part >= settings.erase_from else settings.model_copy(update={"erase": 0.0})


def step_seed(seed: int, step: int) -> int:
    """One 63-bit seed for a step; mixed, as neighbouring seeds give related streams in some generators."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1, np.uint64)[0] >> np.uint64(1))
