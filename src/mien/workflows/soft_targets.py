"""Soft targets of training faces: predictions of recipes trained on the other folds, or of trained models.

Out of fold, a face's own label never reaches the networks that name it, nor do its copies: a fold holds
whole clusters of faces that show one image. The votes of FER+, which say more of a face than its label, are
joined to what the networks say by a regression that is fitted on the other folds too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import softmax
from mien.core.files import temporary_folder
from mien.core.outputs import check_output, check_output_folder
from mien.data.duplicates import same_images
from mien.data.leaks import check_parts
from mien.data.records import FaceSet
from mien.data.splits import connected
from mien.data.store import read_store, write_store
from mien.errors import DataError, MienError, RecipeError, needs_extra
from mien.train.devices import pick_device
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import Recipe
from mien.train.recipe_reading import choices_by_validation
from mien.train.soft_targets import SoftTargets, read_soft_targets, write_soft_targets
from mien.train.targets import shares
from mien.train.trained_net import load_teacher, load_trained
from mien.workflows.starts import learned_before
from mien.workflows.train import (
    TrainProgress,
    check_same_run,
    check_teachers,
    is_finished,
    teacher_logits,
    train,
)

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class FoldProgress:
    """Which run of how many is going on, by its name, and where it is."""

    run: int
    runs: int
    name: str
    at: TrainProgress | None = None


@dataclass(frozen=True)
class FoldSettings:
    """How the training faces are divided, and where the runs go.

    Attributes:
        runs: Folder for the runs ``NAME-fold-I``; each fold's data set file has a temporary name there.
        n_folds: Parts of the training faces.
        seed: Of the draw of the folds.
        device: Where to train.
    """

    runs: Path
    n_folds: int = 4
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class TeacherScore:
    """How a teacher names the training faces: accuracy, 0-1; mean negative log likelihood."""

    name: str
    accuracy: float
    nll: float


def make_soft_targets(
    recipes: dict[str, Recipe],
    data: Path,
    to: Path,
    settings: FoldSettings,
    report: Callable[[FoldProgress], None] = lambda _: None,
) -> list[TeacherScore]:
    """Train every recipe on all folds but one, each in turn, and write what they say of the one left out.

    Interrupted, the same call goes on: finished runs are not trained again.

    Args:
        recipes: By name.
        data: Data set file; its training faces get targets.
        to: The file to write.
        settings: Folds and runs.
        report: Called after every step.

    Returns:
        The scores of each recipe, of their mean, and with the votes where the data set has them.

    Raises:
        RecipeError: the folder holds runs of another recipe or of other folds, or a recipe learns landmarks,
            or chooses by its validation rows, which are the faces that the run is to name.
        DataError: too few faces for the folds.
    """
    for name, recipe in recipes.items():
        _check_teacher(name, recipe)
    _check_file(to)
    check_output_folder(settings.runs)
    faces = read_store(data)
    train_faces = faces.select("train")
    fold = draw_folds(train_faces, settings.n_folds, settings.seed)
    settings.runs.mkdir(parents=True, exist_ok=True)
    probs = _ask_all(recipes, train_faces, fold, settings, report)
    scores = [scored(name, said, train_faces.labels) for name, said in probs.items()]
    mean = np.mean(list(probs.values()), axis=0)
    if len(probs) > 1:
        scores.append(scored("mean of the recipes", mean, train_faces.labels))
    final = mean
    if train_faces.votes is not None:
        final = stack(list(probs.values()), shares(train_faces.votes), train_faces.labels, fold)
        scores.append(scored("with the votes", final, train_faces.labels))
    plain = {name: recipe.model_dump(mode="json", exclude={"data"}) for name, recipe in recipes.items()}
    made = {
        "recipes": plain,
        "folds": settings.n_folds,
        "seed": settings.seed,
        "votes": train_faces.votes is not None,
        "scores": [vars(one) for one in scores],
    }
    targets = SoftTargets(train_faces.rows, final, faces.label_names, faces.content_hash(), made)
    write_soft_targets(targets, to)
    return scores


def predict_soft_targets(
    models: Sequence[str],
    data: Path,
    to: Path,
    device: str = "cpu",
    report: Callable[[int, int], None] = lambda *_: None,
) -> list[TeacherScore]:
    """Write the mean prediction of trained models for each training face and its mirror image.

    They are the answers of ``distil.teachers``: a student learns the same, and needs no models.

    Args:
        models: Run folders and released models, by name or ``.onnx`` file.
        data: Data set file; its training faces get targets.
        to: The file to write.
        device: Where the networks of run folders predict.
        report: Called with how many predictions are made, of how many.

    Returns:
        The scores of each model and of their mean, on faces that they may have learned from.

    Raises:
        RecipeError: a model lacks one of the data set's emotions.
        DataError: a model has learned from validation or test rows of the data set.
    """
    _check_file(to)
    faces = read_store(data)
    train_faces, content = faces.select("train"), faces.content_hash()
    teachers = [load_teacher(name, pick_device(device)) for name in models]
    check_teachers(models, teachers, train_faces)
    known = learned_before(models, faces.name, content)
    for split, leak in check_parts(faces, known, str(data), allowed=True).items():
        if leak:
            raise DataError(f"{data} {split}: {leak}; take teachers that have not learned from them")
    probs: list[Floats] = []

    def tell(done: int, n: int) -> None:
        report(len(probs) * n + done, len(models) * n)

    for teacher in teachers:
        probs.append(softmax(teacher_logits([teacher], train_faces, tell)))
    mean = np.mean(probs, axis=0)
    scores = [scored(name, one, train_faces.labels) for name, one in zip(models, probs, strict=True)]
    if len(probs) > 1:
        scores.append(scored("mean of the models", mean, train_faces.labels))
    made = {"models": [Path(name).name for name in models], "scores": [vars(one) for one in scores]}
    write_soft_targets(SoftTargets(train_faces.rows, mean, faces.label_names, content, made), to)
    return scores


def _check_file(to: Path) -> None:
    """Raise a MienError unless soft targets may be written there; they replace nothing else."""
    check_output(to, ends=[".safetensors"])
    if to.exists():  # a network's weights end alike
        try:
            read_soft_targets(to)
        except MienError as e:
            raise MienError(f"{to} exists and holds no soft targets; choose another name for --out") from e


def _check_teacher(name: str, recipe: Recipe) -> None:
    if recipe.loss.name in LANDMARK_LOSSES:
        raise RecipeError(
            f"recipe '{name}' learns landmarks, not emotions (loss.name={recipe.loss.name}); "
            "take one that learns emotions"
        )
    if said := choices_by_validation(recipe):
        raise RecipeError(
            f"recipe '{name}' chooses by its validation rows, which are the faces that a fold's run names, "
            f"and so by their own labels; set {said}"
        )


def _ask_all(
    recipes: dict[str, Recipe],
    faces: FaceSet,
    fold: NDArray[np.int64],
    settings: FoldSettings,
    report: Callable[[FoldProgress], None],
) -> dict[str, Floats]:
    """What each recipe says (N, C) of the training faces, out of fold."""
    probs: dict[str, Floats] = {}
    for number, (name, recipe) in enumerate(recipes.items()):
        said = np.zeros((len(faces), len(faces.label_names)), np.float32)
        for i in range(settings.n_folds):
            run = f"{name}-fold-{i}"
            place = FoldProgress(number * settings.n_folds + i + 1, len(recipes) * settings.n_folds, run)
            folder, held_out = settings.runs / run, fold == i

            def report_fold(at: TrainProgress, place: FoldProgress = place) -> None:
                report(replace(place, at=at))

            train_fold(recipe, faces, held_out, folder, settings.device, report_fold)
            net = load_trained(folder, pick_device(settings.device))
            said[held_out] = softmax(net.logits(faces.images[held_out], 2))
        probs[name] = said
    return probs


def draw_folds(faces: FaceSet, n_folds: int, seed: int) -> NDArray[np.int64]:
    """The fold (N,) of each face; faces that show one image share theirs.

    Raises:
        DataError: there are fewer different images than folds.
    """
    codes = connected(len(faces), same_images(faces))
    first, cluster = np.unique(codes, return_index=True, return_inverse=True)[1:]
    if len(first) < n_folds:
        raise DataError(f"{len(first)} different training images are too few for {n_folds} folds")
    in_order = np.argsort(np.argsort(first))  # clusters are numbered by their first face
    drawn = np.random.default_rng(seed).permutation(len(first)) % n_folds
    return np.asarray(drawn[in_order[cluster]], np.int64)


def train_fold(
    recipe: Recipe,
    faces: FaceSet,
    held_out: NDArray[np.bool_],
    folder: Path,
    device: str,
    report: Callable[[TrainProgress], None],
) -> Path:
    """A finished run that learned from all of ``faces`` but those held out, which validate it.

    Raises:
        RecipeError: the folder holds a run of another recipe, or that learned from other faces.
    """
    folded = replace(faces, split=held_out.astype(np.uint8))
    if is_finished(folder):
        check_same_run(folder, recipe, folded)
        return folder
    with temporary_folder(folder.parent) as temporary:  # a name of its own, for files of users lie here too
        store = str(temporary / "fold.h5")
        write_store(folded, Path(store))
        folds = recipe.model_copy(update={"data": recipe.data.model_copy(update={"store": store})})
        train(folds, folder, device=device, report=report)
    return folder


def stack(
    probs: Sequence[Floats], votes: Floats, labels: NDArray[np.int64], fold: NDArray[np.int64]
) -> Floats:
    """Probabilities (N, C) by a regression on what recipes say and the shares of the votes, out of fold.

    Args:
        probs: Of each recipe, (N, C).
        votes: Shares of the raters' answers (N, V).
        labels: (N,).
        fold: The fold of each face (N,); the regression that names a face never saw its fold's labels.
    """
    regression = _regression()
    logs = [np.log(p.clip(1e-4)) for p in probs]
    inputs = np.concatenate([*logs, votes, np.log(votes + 0.05), np.sqrt(votes)], axis=1)
    out = np.zeros((len(labels), probs[0].shape[1]), np.float32)
    for i in np.unique(fold):
        here = fold == i
        regression.fit(inputs[~here], labels[~here])
        out[np.ix_(here, regression.classes_)] = regression.predict_proba(inputs[here])
    return out


def scored(name: str, probs: Floats, labels: NDArray[np.int64]) -> TeacherScore:
    """Accuracy and mean negative log likelihood of probabilities (N, C)."""
    own = probs[np.arange(len(labels)), labels]
    nll = float(-np.log(own.clip(1e-6)).mean())
    return TeacherScore(name, float((probs.argmax(1) == labels).mean()), nll)


def _regression() -> Any:
    """Multinomial logistic regression on standardised inputs."""
    with needs_extra("stacking with votes", "train", "scikit-learn"):
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.3, max_iter=2000))
