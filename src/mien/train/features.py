"""A frozen backbone runs once: the features of all faces are kept on disk to train the head."""

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from mien.core.files import atomic_write
from mien.core.own_files import reading
from mien.core.preprocess import resized, to_input
from mien.core.progress import Progress, silent
from mien.data.records import FaceSet
from mien.errors import DataError, ModelError, RecipeError
from mien.train.batches import Batch, TrainingBatches, step_seed
from mien.train.inference import predict
from mien.train.initialise import load_initial
from mien.train.loop import Trainer, scored_size
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import AugmentSettings, NetSettings, Recipe
from mien.train.transfer import TRANSFERRED, Transferred
from mien.train.zoo import build

Features = NDArray[np.float32]

PART = 1024
"""Faces a file: what a stopped run has to do again at most."""
BATCH = 64


def feature_folder(store: str | Path) -> Path:
    """Where the features of a data set lie, by default: beside it."""
    return Path(store).with_suffix(".features")


def frozen_net(settings: NetSettings, n_classes: int, device: torch.device) -> Transferred:
    """A frozen backbone under its head; what is not loaded is drawn with seed 0.

    Raises:
        RecipeError: the network has no head to remove.
        ModelError: the weights cannot be loaded, or do not fit.
    """
    torch.manual_seed(0)
    net = build(settings, n_classes)
    if not isinstance(net, Transferred):
        raise RecipeError(f"'{settings.name}' has no head to remove")
    if settings.init_from:
        load_initial(net, settings.init_from)
    return net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def set_head(net: Transferred, weight: Features, bias: Features) -> None:
    """Give the single linear layer of a head its weight (C, F) and bias (C,)."""
    layer: Any = net.head[0]
    layer.weight.data = torch.from_numpy(weight).to(layer.weight.device)
    layer.bias.data = torch.from_numpy(bias).to(layer.bias.device)


class FeatureCache:
    """The features of faces by one frozen network.

    Files are named by a SHA-256 of everything that decides them: the backbone's layers and weights, how it is
    fed, and the faces. So an altered network or data set never meets old features. Several processes may fill
    the same folder; files appear whole.

    Args:
        net: Its features must not change: `Transferred.frozen`.
        mean_std: How faces are normalised.
        device: Where the network runs.
        folder: Made when something is written.
        report: Called with the faces that are done, and all, after every part that had to be computed.

    Raises:
        ModelError: the network is not frozen.
    """

    def __init__(
        self,
        net: nn.Module,
        mean_std: tuple[float, float],
        device: torch.device,
        folder: Path,
        report: Progress = silent,
    ) -> None:
        if not isinstance(net, Transferred) or not net.frozen:
            raise ModelError(
                "features can be kept only of a frozen backbone; "
                "set net.options.freeze='all' and net.options.batch_norm='frozen'"
            )
        self.net, self.mean_std, self.device, self.folder, self.report = net, mean_std, device, folder, report
        settings = net.settings
        self._decides = hashlib.sha256(
            repr((net.backbone, net.size, settings.channels, settings.pool, mean_std)).encode()
        )
        for name, tensor in net.backbone.state_dict().items():
            self._decides.update(name.encode())
            self._decides.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        self._last: tuple[str, Features] = ("", np.empty((0, 0), np.float32))

    def key(self, images: NDArray[np.uint8]) -> str:
        """What names the features of these faces, in hexadecimal."""
        digest = self._decides.copy()
        digest.update(repr(images.shape).encode())
        digest.update(images.tobytes())
        return digest.hexdigest()

    def features(self, images: NDArray[np.uint8]) -> Features:
        """float32 (N, F) of faces (N, S, S) or (N, S, S, 3), computed where the folder does not hold them."""
        key = self.key(images)
        if self._last[0] != key:
            self._last = (key, self._read_or_make(images, self.folder / key[:32]))
        return self._last[1]

    def _read_or_make(self, images: NDArray[np.uint8], folder: Path) -> Features:
        parts = []
        for start in range(0, len(images), PART):
            faces = images[start : start + PART]
            path = folder / f"{start:08d}.npy"
            part = _read(path, (len(faces), self.net.n_features))
            if part is None:
                part = self._make(to_input(faces, *self.mean_std))
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_write(path) as temporary:
                    np.save(temporary, part)
                self.report(start + len(faces), len(images))
            parts.append(part)
        return np.concatenate(parts) if parts else np.empty((0, self.net.n_features), np.float32)

    def _make(self, faces: NDArray[np.float32]) -> Features:
        """Few faces at once: at 200 px a map of the first layers takes 10 MB a face."""
        body = _Body(self.net)
        few = (faces[start : start + BATCH] for start in range(0, len(faces), BATCH))
        return np.concatenate([predict(body, batch, self.device) for batch in few])


class _Body(nn.Module):
    """A `Transferred` without its head, in the shape of a network."""

    def __init__(self, net: Transferred) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net.features(x)


def _read(path: Path, shape: tuple[int, int]) -> Features | None:
    """Features of a file; None where it is missing or damaged, and must be made again."""
    try:
        with reading(path):
            part: Features = np.load(path, allow_pickle=False)
    except DataError:
        return None
    return part if part.shape == shape and part.dtype == np.float32 else None


def mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Faces (N, S, S) or (N, S, S, 3), left and right exchanged."""
    return images[:, :, ::-1]


def learns_from_features(recipe: Recipe) -> bool:
    """Whether a run can learn from stored features: only the head learns, and faces are mirrored at most.

    Then `HeadTrainer` reaches what `Trainer` would, without running the backbone in every epoch.
    """
    preset = TRANSFERRED.get(recipe.net.name)
    if preset is None or recipe.distil.view == "same" or recipe.loss.name in LANDMARK_LOSSES:
        return False  # teachers and points need the faces themselves
    options: dict[str, Any] = dict(recipe.net.options)
    only_mirrored = recipe.augment == AugmentSettings.model_validate({"flip": recipe.augment.flip})
    return replace(preset, **options).frozen and only_mirrored and len(recipe.run.sizes) == 1


class FeatureBatches(TrainingBatches):
    """Batches of features, (N, F, 1, 1), in the order and with the mirrors of the faces' batches."""

    def __init__(
        self, faces: FaceSet, recipe: Recipe, mean_std: tuple[float, float], cache: FeatureCache
    ) -> None:
        super().__init__(faces, recipe, mean_std, cache.device)
        faces = replace(faces, images=resized(faces.images, self.size(0)))
        self.features = _rows(cache, faces.images)
        self.mirrored = self.features
        if recipe.augment.flip != "none":
            self.mirrored = _rows(cache, mirrored(faces.images))

    def at(self, step: int) -> Batch:
        """The batch of a step, 0 <= step < steps."""
        epoch, place = divmod(step, self.per_epoch)
        rows = self._rows(epoch)[place * self.batch_size : (place + 1) * self.batch_size]
        self.rng.manual_seed(step_seed(self.recipe.run.seed, step))
        flips = self.flips(rows, epoch)[:, None, None, None]
        features = torch.where(flips, self.mirrored[rows], self.features[rows])
        return Batch(features, rows)


@dataclass
class HeadTrainer(Trainer):
    """A `Trainer` of the head of a frozen network.

    Args:
        folder: Where the features lie; beside the data set, if not given.
        report: Called while features are computed.
    """

    folder: Path | None = None
    report: Progress = silent

    @cached_property
    def cache(self) -> FeatureCache:
        """The features of the backbone as it is at the first use."""
        folder = self.folder or feature_folder(self.recipe.data.store)
        return FeatureCache(self.net, self.mean_std, self.device, folder, self.report)

    def prepare(self) -> None:
        """Compute what the steps need of all training faces, once: what teachers say, and features."""
        super().prepare()
        if not isinstance(self.batches, FeatureBatches):
            self.batches = FeatureBatches(self.train, self.recipe, self.mean_std, self.cache)

    def inputs(self, images: NDArray[np.uint8]) -> Features:
        """The stored features (N, F, 1, 1) of faces (N, H, W)."""
        return self.cache.features(resized(images, scored_size(self.recipe)))[..., None, None]


def _rows(cache: FeatureCache, images: NDArray[np.uint8]) -> torch.Tensor:
    return torch.from_numpy(cache.features(images)[..., None, None]).to(cache.device)
