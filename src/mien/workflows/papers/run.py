"""Retrain a row of the papers, and score it under one protocol, beside what the paper printed.

To a run folder of `mien train` this adds ``result.json``, ``predictions-test.csv``, ``confusion-val.png``,
``confusion-test.png`` and ``examples-test.png``. The last shows faces of the data: it stays in the folder.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import fit_temperature, softmax
from mien.core.files import write_json
from mien.core.locks import sole
from mien.core.metrics import accuracy_interval
from mien.core.outputs import check_output_folder
from mien.core.own_files import NUMBER, reading
from mien.core.scores import score
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_store
from mien.errors import DataError, MienError, ModelError, RecipeError
from mien.train.checkpoints import load_tensors
from mien.train.devices import commit, pick_device
from mien.train.loop import scored_size
from mien.train.recipe import Recipe
from mien.train.recipe_reading import check_recipe, read_recipe
from mien.train.trained_net import TrainedNet, load_trained, parameter_count
from mien.workflows.figures import confusion_figure, curves_figure, examples_figure
from mien.workflows.papers.claims import Row, read_result
from mien.workflows.run_folder import (
    CHECKPOINT,
    RECIPE,
    count_test_evaluation,
    read_run_json,
    training_alone,
    write_predictions,
)
from mien.workflows.scorer import checked_rows
from mien.workflows.train import TrainProgress, is_finished, make_trainer, train

KEPT = (
    "n",
    "accuracy",
    "accuracy_interval",
    "balanced_accuracy",
    "balanced_accuracy_interval",
    "macro_f1",
    "macro_f1_interval",
    "weighted_f1",
    "cohen_kappa",
    "nll",
    "ece",
    "never_predicted",
    "label_names",
    "confusion",
)
"""What ``result.json`` holds of the scores."""
UNTOLD = {"summary", "data.store", "run.threads", "run.checkpoint_every_s", "distil.teachers"}
"""Keys of a recipe that may differ without a word: they say where things are, not what is done."""


@dataclass(frozen=True)
class PaperSettings:
    """How rows are run.

    Attributes:
        data: Data set file; by default the recipe's.
        runs: Folder of the run folders, each named by its row.
        overrides: Changes to the recipe, such as ``run.epochs=5``; the result says so.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        as_is: Train nothing, and score an unfinished run as far as it is.
        open_test: False leaves PrivateTest closed.
    """

    data: Path | None = None
    runs: Path = Path("runs")
    overrides: tuple[str, ...] = ()
    device: str = "cpu"
    as_is: bool = False
    open_test: bool = True


@dataclass(frozen=True)
class Progress:
    """How far a run is; it is ``finished`` too where it stopped itself before its last epoch."""

    epochs: float
    finished: bool
    seconds: float
    history: list[dict[str, float]]


class TakenError(MienError):
    """Another process, here or on another machine, runs the row."""


def run_row(
    row: Row, settings: PaperSettings, report: Callable[[TrainProgress], None] = lambda _: None
) -> dict[str, Any]:
    """Train the row where that is not done yet, score it, draw its figures, and write ``result.json``.

    PrivateTest is opened once: a finished run that has its result is not scored again.

    Returns:
        What ``result.json`` holds.

    Raises:
        TakenError: another process is at it.
        RecipeError: the row's recipe cannot be run, or the folder holds a run of another.
        ModelError: there is nothing to score.
        DataError: the data are not those that the run learned from.
    """
    recipe, folder = row_recipe(row, settings), settings.runs / row.name
    if found := _scored(folder, settings):
        return found
    faces = read_store(recipe.data.store)
    check_output_folder(settings.runs)
    settings.runs.mkdir(parents=True, exist_ok=True)
    with sole(settings.runs / f"{row.name}.lock") as holder:
        if holder:
            raise TakenError(f"{folder} is being run by {holder}")
        return _scored(folder, settings) or _run(row, recipe, faces, settings, report)


def _scored(folder: Path, settings: PaperSettings) -> dict[str, Any] | None:
    """The result of a run that was trained to its end and scored as asked."""
    found = read_result(folder)
    is_trained = found and (folder / "weights.safetensors").is_file() and found["finished"]
    return found if is_trained and found and (found["test"] or not settings.open_test) else None


def _run(
    row: Row, recipe: Recipe, faces: FaceSet, settings: PaperSettings, report: Callable[[TrainProgress], None]
) -> dict[str, Any]:
    folder = settings.runs / row.name
    if not settings.as_is:
        with training_alone(folder):
            is_trained = is_finished(folder)
        if not is_trained:
            _ask_for_teachers(recipe)
            train(recipe, folder, device=settings.device, report=report)
    ran, net, progress = open_run(folder, faces, settings.device)
    asked = read_recipe(row.recipe, row.set)
    result = {
        "row": row.name,
        "recipe": row.recipe,
        "changes": changes(asked, ran),
        "data": {"name": faces.name, "content_hash": faces.content_hash()},
        "parameters": parameter_count(net.net),
        "epochs": round(progress.epochs, 2),
        "epochs_wanted": asked.run.epochs,
        "finished": progress.finished,
        "seconds": round(progress.seconds, 1),
        "environment": read_run_json(folder, "environment.json", {}),
        "scored_by": commit(),
        **measure(row, net, faces, folder, clean_mask(recipe.data.store), settings.open_test),
    }
    if progress.history:
        curves_figure(progress.history, folder / "curves.png")
    write_json(folder / "result.json", result)
    return result


def row_recipe(row: Row, settings: PaperSettings) -> Recipe:
    """The row's recipe with the row's and the caller's changes; teachers lie in the same folder of runs.

    Raises:
        RecipeError: it has mistakes.
    """
    teachers = [str(settings.runs / Path(run).name) for run in read_recipe(row.recipe).distil.teachers]
    places = [
        *([f"distil.teachers={json.dumps(teachers)}"] if teachers else []),
        *([f"data.store={json.dumps(str(settings.data))}"] if settings.data else []),
    ]
    return read_recipe(row.recipe, [*row.set, *places, *settings.overrides])


def _ask_for_teachers(recipe: Recipe) -> None:
    for teacher in map(Path, recipe.distil.teachers):
        if not (teacher / "weights.safetensors").is_file():
            raise RecipeError(f"{teacher} is not trained yet; first: mien papers run {teacher.name}")


def open_run(folder: Path, faces: FaceSet, device: str) -> tuple[Recipe, TrainedNet, Progress]:
    """What a run folder's recipe was, its network, and how far it is, finished or not.

    Raises:
        ModelError: the folder holds no run.
        DataError: the run learned from other data than ``faces``.
    """
    if (folder / "weights.safetensors").is_file():
        net = load_trained(folder, pick_device(device))
        ran = _recipe_of(folder, faces)
        history = read_run_json(folder, "history.json", {"seconds": NUMBER, "history": [{"epoch": NUMBER}]})
        epochs = history["history"][-1]["epoch"] if history["history"] else 0
        return ran, net, Progress(epochs, True, history["seconds"], history["history"])
    tensors, note = load_tensors(folder / CHECKPOINT)
    ran = _recipe_of(folder, faces)
    taught = ran.distil.model_copy(update={"teachers": []})  # to score it, they need not be there
    trainer = make_trainer(ran.model_copy(update={"distil": taught}), faces, device)
    with reading(folder / CHECKPOINT, "does not fit the run", error=ModelError):
        trainer.restore(tensors, note)
    trainer.net.load_state_dict(trainer.weights())
    net = TrainedNet(
        trainer.net.eval(), faces.label_names, *trainer.mean_std, scored_size(ran), {}, trainer.device
    )
    return ran, net, Progress(trainer.epoch, False, trainer.seconds, trainer.history)


def _recipe_of(folder: Path, faces: FaceSet) -> Recipe:
    found = read_run_json(folder, "recipe.json", RECIPE)
    if found["data"] != faces.content_hash():
        raise DataError(f"{folder} learned from other data; give that file with --data")
    return check_recipe(found["recipe"], str(folder / "recipe.json"))


def changes(asked: Recipe, ran: Recipe) -> list[str]:
    """What a run did otherwise than its row asks, as ``key=value (asked)``; places are no changes."""
    one, other = _flat(asked.model_dump(mode="json")), _flat(ran.model_dump(mode="json"))
    keys = sorted((one.keys() | other.keys()) - UNTOLD)
    return [
        f"{key}={json.dumps(other.get(key))} ({json.dumps(one.get(key))})"
        for key in keys
        if one.get(key) != other.get(key)
    ]


def _flat(table: dict[str, Any], parent: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        found |= _flat(value, f"{parent}{key}.") if isinstance(value, dict) else {parent + key: value}
    return found


def measure(
    row: Row, net: TrainedNet, faces: FaceSet, folder: Path, clean: NDArray[np.bool_] | None, open_test: bool
) -> dict[str, Any]:
    """Scores of PublicTest and, where it is opened, of PrivateTest: all of it, and its ``clean`` part.

    For a row that its paper measured on Training and PrivateTest together, that figure is measured too.
    Figures, predictions and the log of the test evaluations are written to ``folder``.
    """
    val = checked_rows(faces, "val", net.labels)
    logits = net.logits(val.images)
    temperature = fit_temperature(logits, val.labels)
    found: dict[str, Any] = {
        "temperature": temperature,
        "test_evaluations": None,
        "test": None,
        "clean": None,
        "leak": None,
    }
    found["val"] = _score(val, softmax(logits, temperature), folder / "confusion-val.png")
    if not open_test:
        return found
    test = checked_rows(faces, "test", net.labels)
    found["test_evaluations"] = count_test_evaluation(folder)
    probs = softmax(net.logits(test.images), temperature)
    found["test"] = _score(test, probs, folder / "confusion-test.png")
    if clean is not None:
        found["clean"] = _score(test.take(clean), probs[clean])
    if row.leaky:
        found["leak"] = _leak(
            net, faces.select("train"), int((probs.argmax(1) == test.labels).sum()), len(test)
        )
    write_predictions(folder / "predictions-test.csv", test, probs)
    examples_figure(test.images, test.labels, probs, net.labels, folder / "examples-test.png")
    return found


def _score(faces: FaceSet, probs: NDArray[np.floating[Any]], figure: Path | None = None) -> dict[str, Any]:
    """What ``result.json`` keeps of the scores; the confusion matrices are drawn where a figure is named."""
    scores = score(probs, faces.labels, faces.label_names)
    if figure:
        confusion_figure(scores, figure)
    whole = scores.to_dict()
    return {key: whole[key] for key in KEPT}


def _leak(net: TrainedNet, learned: FaceSet, test_right: int, n_test: int) -> dict[str, Any]:
    """The score as the paper took it, over the rows that were learned from and PrivateTest."""
    learned_right = int((net.logits(learned.images).argmax(1) == learned.labels).sum())
    right, n = learned_right + test_right, len(learned) + n_test
    return {
        "n": n,
        "accuracy": right / n,
        "accuracy_interval": accuracy_interval(right, n),
        "learned_n": len(learned),
        "learned_accuracy": learned_right / len(learned),
    }
