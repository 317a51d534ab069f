"""The features of a frozen network, computed once into a folder; a linear SVM on them as a run of its own."""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.outputs import check_output_folder
from mien.core.run_names import ENVIRONMENT, RECIPE, WEIGHTS, is_run_folder
from mien.data.leaks import Leak, Learned, check_parts, learned, refuse_leak
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.errors import DataError, MissingExtraError, RecipeError
from mien.train.batches import training_rows
from mien.train.checkpoints import save_tensors
from mien.train.devices import environment, pick_device
from mien.train.features import FeatureCache, Features, feature_folder, frozen_net, mirrored, set_head
from mien.train.recipe import DataSettings, NetSettings
from mien.train.transfer import RUN, Transferred
from mien.workflows.run_folder import read_run_json, training_alone, write_run
from mien.workflows.starts import input_scale, learned_before, start_scale, starts

C_GRID = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""What `fit_svm` tries for the weight of the errors against that of a wide margin."""

Say = Callable[[str, int, int], None]
"""Called with the name of a split, its faces that are done, and all of them."""


@dataclass(frozen=True)
class Backbone:
    """Which network gives the features; see `mien.train.transfer.Transfer`.

    Attributes:
        name: A backbone, or the folder of a finished run.
        size: Side to which faces are resized; 0 is 224, or that of the run.
        pool: ``avg`` or ``flatten``.
        init_from: A local checkpoint.
        pretrained: ImageNet weights by the library's own download.
    """

    name: str
    size: int = 0
    pool: str = "avg"
    init_from: str = ""
    pretrained: bool = False

    def settings(self) -> NetSettings:
        """The backbone, all of it frozen, under a single linear layer."""
        name = f"{RUN}{self.name}" if Path(self.name).is_dir() else self.name
        options: dict[str, Any] = {"backbone": name, "size": self.size, "pool": self.pool, "freeze": "all"}
        options["pretrained"] = self.pretrained
        table = {"name": "transferred", "options": options, "init_from": self.init_from}
        return NetSettings.model_validate(table)


@dataclass(frozen=True)
class FrozenFeatures:
    """Features, float32 (N, F), of the rows of each split, and the network that gave them.

    ``known`` is what it and a classifier on its training features have learned from, ``leaks`` how much of
    that lies in the validation and the test rows.
    """

    net: Transferred
    settings: NetSettings
    mean_std: tuple[float, float]
    rows: dict[str, FaceSet]
    features: dict[str, Features]
    mirrored: Features
    folder: Path
    data_hash: str
    known: Learned
    leaks: dict[str, Leak]


def compute_features(
    backbone: Backbone,
    data: Path,
    *,
    folder: Path | None = None,
    with_mirrored: bool = False,
    device: str = "cpu",
    say: Say = lambda *_: None,
) -> FrozenFeatures:
    """The features of a data set, computed only where the folder does not hold them yet.

    Faces are normalised as those of the run or the model that gives the weights, or by their own mean and
    deviation where other weights are taken.

    Args:
        backbone: What gives them; its weights are drawn with seed 0 where none are loaded.
        data: HDF5 file of `mien data import`; its blank and faceless training rows are left out.
        folder: Where they are kept; by default beside the data set.
        with_mirrored: Also those of the mirrored training faces.
        device: Where the network runs.
        say: Called as parts are finished.

    Raises:
        DataError: the data set cannot be read or has no training rows.
        RecipeError: there is no such backbone.
        ModelError: the weights cannot be loaded, or do not fit.
    """
    if folder:
        check_output_folder(folder)
    faces = read_store(data)
    train = training_rows(faces, DataSettings.model_validate({}))
    rows = {"train": train, "val": faces.select("val")}
    settings, place = backbone.settings(), pick_device(device)
    net = frozen_net(settings, len(faces.label_names), place)
    mean_std = start_scale(settings) or input_scale(train, "standard")
    cache = FeatureCache(net, mean_std, place, folder or feature_folder(data))

    def make(name: str, images: NDArray[np.uint8]) -> Features:
        cache.report = lambda done, n: say(name, done, n)
        return cache.features(images)

    none = np.empty((0, net.n_features), np.float32)
    content = faces.content_hash()
    known = learned(train) | learned_before(starts(settings), faces.name, content)
    return FrozenFeatures(
        net=net,
        settings=settings,
        mean_std=mean_std,
        rows=rows,
        features={name: make(name, chosen.images) for name, chosen in rows.items()},
        mirrored=make("mirrored train", mirrored(train.images)) if with_mirrored else none,
        folder=cache.folder,
        data_hash=content,
        known=known,
        leaks=check_parts(faces, known, str(data), allowed=True),
    )


@dataclass(frozen=True)
class SvmFit:
    """One linear classifier: accuracy on the validation rows, logits ``features @ weight.T + bias``."""

    c: float
    val_accuracy: float
    converged: bool
    weight: Features
    bias: NDArray[np.float32]


def fit_svm(
    frozen: FrozenFeatures, grid: Sequence[float] = C_GRID, *, allow_leak: bool = False
) -> list[SvmFit]:
    """A linear SVM, one emotion against the rest, for each weight of the errors until the accuracy falls.

    Features are centred and scaled by the training rows; the classifier takes that in, so that it works on
    raw features. Squared hinge loss, as Tang 2013.

    Returns:
        A fit for each value of the grid, in its order; a larger C costs more time, so the first that scores
        lower on the validation rows than the one before is the last.

    Raises:
        DataError: an emotion has no training rows, there are no validation rows, or rows that choose or are
            scored were learned from, and that is not allowed.
        MissingExtraError: scikit-learn is not installed.
    """
    try:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.svm import LinearSVC
    except ImportError as e:
        raise MissingExtraError("a linear SVM", "scikit-learn", "train") from e
    train, val = frozen.rows["train"], frozen.rows["val"]
    for split, leak in frozen.leaks.items():
        refuse_leak(leak, f"'{train.name}' {split}", allowed=allow_leak)
    if len(train.label_names) < 2:
        raise DataError(f"'{train.name}' has one label, '{train.label_names[0]}'; an SVM needs two or more")
    absent = [n for i, n in enumerate(train.label_names) if not (train.labels == i).any()]
    if absent or not len(val):
        what = f"training rows of {', '.join(absent)}" if absent else "validation rows"
        raise DataError(f"'{train.name}' has no {what}; an SVM and its choice of C need both")
    x, y = frozen.features["train"], train.labels
    if len(frozen.mirrored):
        x, y = np.concatenate([x, frozen.mirrored]), np.concatenate([y, y])
    mean, std = x.mean(0, dtype=np.float64), np.maximum(x.std(0, dtype=np.float64), 1e-6)
    x = ((x - mean) / std).astype(np.float32)
    fits = []
    for c in grid:
        svm = LinearSVC(C=c, dual=False, tol=1e-2, random_state=0)  # 1e-4 is slower, not better
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            svm.fit(x, y)
        margins = svm.coef_ if len(svm.coef_) > 1 else np.concatenate([-svm.coef_, svm.coef_])
        starts = svm.intercept_ if len(svm.coef_) > 1 else np.array([-1, 1]) * svm.intercept_
        weight = (margins / std).astype(np.float32)
        bias = (starts - (margins / std) @ mean).astype(np.float32)
        right = (frozen.features["val"] @ weight.T + bias).argmax(1) == val.labels
        fits.append(SvmFit(c, float(right.mean()), not caught, weight, bias))
        if len(fits) > 1 and fits[-1].val_accuracy < fits[-2].val_accuracy:
            break
    return fits


def write_svm_run(frozen: FrozenFeatures, fits: Sequence[SvmFit], folder: Path, data: Path) -> SvmFit:
    """Keep the fit with the best validation accuracy as a run folder, for `mien evaluate` and `mien release`.

    Of equals, the smallest C, which has the widest margin.

    Raises:
        RecipeError: the folder holds a run of another kind, network or data set.
        MienError: another process trains there.
    """
    best = max(fits, key=lambda fit: (fit.val_accuracy, -fit.c))
    set_head(frozen.net, best.weight, best.bias)
    train, net = frozen.rows["train"], frozen.settings.model_dump(mode="json")
    tried = [{"c": f.c, "val_accuracy": f.val_accuracy, "converged": f.converged} for f in fits]
    recipe = {"data": {"store": str(data)}, "net": net, "svm": {"c": best.c, "tried": tried}}
    note = {
        "net": net,
        "n_votes": 0,
        "labels": list(train.label_names),
        "mean_std": list(frozen.mean_std),
        "input_size": train.images.shape[1],
        "channels": train.channels,
        "data": {"name": train.name, "content_hash": frozen.data_hash},
    }
    with training_alone(folder):
        _refuse_another(folder, net, frozen.data_hash)
        held = {"recipe": recipe, "data": frozen.data_hash}
        write_run(folder, {ENVIRONMENT: environment(), RECIPE: held}, frozen.known, frozen.leaks)
        save_tensors(folder / WEIGHTS, frozen.net.state_dict(), note)
    return best


def _refuse_another(folder: Path, net: dict[str, Any], data_hash: str) -> None:
    if not is_run_folder(folder):
        return
    found = read_run_json(folder, RECIPE, {"recipe": {}, "data": str})
    if "svm" not in found["recipe"] or found["recipe"].get("net") != net or found["data"] != data_hash:
        raise RecipeError(f"{folder} holds another run; choose another folder with --out, or delete it")
