"""Retrain a row of the papers, and score it under one protocol, beside what the paper printed.

To a run folder of `mien train` this adds ``result.json``, ``predictions-test.csv``, ``confusion-val.png``,
``confusion-test.png`` and ``examples-test.png``. The last shows faces of the data: it stays in the folder.
"""

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mien.core.files import write_json
from mien.core.locks import sole
from mien.core.outputs import check_output_folder
from mien.core.own_files import NUMBER, reading
from mien.core.run_names import CHECKPOINT, ENVIRONMENT, RECIPE, is_trained
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_info, read_store
from mien.errors import DataError, MienError, ModelError, RecipeError
from mien.train.checkpoints import load_tensors
from mien.train.devices import commit, environment, pick_device
from mien.train.loop import scored_size
from mien.train.losses import LANDMARK_LOSSES
from mien.train.recipe import Recipe
from mien.train.recipe_reading import changes, check_recipe, read_recipe
from mien.train.trained_net import TrainedNet, load_trained, parameter_count
from mien.workflows.evaluate import EvaluateSettings
from mien.workflows.figures import curves_figure
from mien.workflows.papers.claims import Row, read_result, rows
from mien.workflows.papers.derived import derive
from mien.workflows.papers.measure import measure, measure_points
from mien.workflows.papers.votes import by_views, vote
from mien.workflows.run_folder import held_recipe, read_run_json, training_alone
from mien.workflows.train import TrainProgress, is_finished, make_trainer, train

RUNS = {"distil.teachers"}
"""Keys of a recipe that lie in the folder of runs; what lies there is not told as a change."""


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
        RecipeError: the row's recipe cannot be run, the folder holds a run of another, or a member of a vote
            did not learn with the changes that are asked for.
        ModelError: there is nothing to score.
        DataError: the data are not those that the run learned from.
    """
    members = [rows()[name] for name in row.members]
    store = Path(row_recipe(members[0] if members else row, settings).data.store)
    folder = settings.runs / row.name
    if members and settings.overrides:
        _refuse_others(members, settings)
    if found := _scored(row, store, settings):
        return found
    read_info(store)
    check_output_folder(settings.runs)
    settings.runs.mkdir(parents=True, exist_ok=True)
    with sole(settings.runs / f"{row.name}.lock") as holder:
        if holder:
            raise TakenError(f"{folder} is being run by {holder}")
        if found := _scored(row, store, settings):
            return found
        if members:
            return _vote(row, members, store, settings)
        if row.derived:
            store = derive(row.derived, store, settings.runs / f"{row.name}.h5", report)
        return _run(row, store, settings, report)


def _scored(row: Row, store: Path, settings: PaperSettings) -> dict[str, Any] | None:
    """The result of a run that was trained to its end and scored as asked."""
    folder = settings.runs / row.name
    found = read_result(folder)
    is_done = bool(row.members) or is_trained(folder)
    if not (found and is_done and found["finished"] and (found["test"] or not settings.open_test)):
        return None
    _refuse_another(row, found, store, settings)
    return found


def _refuse_another(row: Row, found: dict[str, Any], store: Path, settings: PaperSettings) -> None:
    """A result that is there answers for the recipe and the data that it was made with alone."""
    folder = settings.runs / row.name
    if row.members:
        return
    if settings.overrides and (others := changes(row_recipe(row, settings), _recipe_of(folder), RUNS)):
        raise RecipeError(
            f"{folder} was run with other settings: {', '.join(others)}; choose another folder with --out, "
            "or delete it"
        )
    is_asked = settings.data is not None and not row.derived and store.is_file()
    if is_asked and read_info(store).content_hash != found["data"]["content_hash"]:
        raise DataError(f"{folder} was trained on other data than {store}; give that file with --data")


def _vote(row: Row, members: list[Row], store: Path, settings: PaperSettings) -> dict[str, Any]:
    folder, runs = settings.runs / row.name, [settings.runs / one.name for one in members]
    _ask_for(runs)
    data = read_info(store)
    if row.views > 1:
        several = EvaluateSettings(views=row.views, to=folder, device=settings.device)
        scores = by_views(runs[0], store, several, settings.open_test)
    else:
        scores = vote(runs, store, folder, settings.device, settings.open_test)
    result = {
        "row": row.name,
        "recipe": "",
        "changes": [
            f"{one.name} {change}"
            for one, run in zip(members, runs, strict=True)
            for change in changes(read_recipe(one.recipe, one.set), _recipe_of(run), RUNS)
        ],
        "data": {"name": data.name, "content_hash": data.content_hash},
        "epochs": 0,
        "epochs_wanted": 0,
        "finished": True,
        "environment": environment(),
        "scored_by": commit(),
        **scores,
    }
    write_json(folder / "result.json", result)
    return result


def _refuse_others(members: list[Row], settings: PaperSettings) -> None:
    """A vote has no recipe of its own: what ``--set`` asks for, its members must have learned with."""
    runs = [settings.runs / one.name for one in members]
    _ask_for(runs)
    for one, run in zip(members, runs, strict=True):
        if others := changes(row_recipe(one, settings), _recipe_of(run), RUNS):
            raise RecipeError(
                f"a vote has no recipe for --set to change, and {run} was trained without: "
                f"{', '.join(others)}; run the members with the same --set under another "
                "--out first, or leave --set out"
            )


def _run(
    row: Row, store: Path, settings: PaperSettings, report: Callable[[TrainProgress], None]
) -> dict[str, Any]:
    recipe = row_recipe(row, replace(settings, data=store))
    folder, faces = settings.runs / row.name, read_store(store)
    if not settings.as_is:
        with training_alone(folder):
            is_done = is_finished(folder)
        if not is_done:
            _ask_for(map(Path, recipe.distil.teachers))
            train(recipe, folder, device=settings.device, report=report)
    ran, net, progress = open_run(folder, faces, settings.device)
    asked = read_recipe(row.recipe, row.set)
    result = {
        "row": row.name,
        "recipe": row.recipe,
        "changes": changes(asked, ran, RUNS),
        "data": {"name": faces.name, "content_hash": faces.content_hash()},
        "parameters": parameter_count(net.net),
        "epochs": round(progress.epochs, 2),
        "epochs_wanted": asked.run.epochs,
        "finished": progress.finished,
        "seconds": round(progress.seconds, 1),
        "environment": read_run_json(folder, ENVIRONMENT, {}),
        "scored_by": commit(),
        **(
            measure_points(net, faces, folder, settings.open_test)
            if recipe.loss.name in LANDMARK_LOSSES
            else measure(row, net, faces, folder, clean_mask(store), settings.open_test)
        ),
    }
    if progress.history:
        curves_figure(progress.history, folder / "curves.png", ran.loss.name)
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


def _ask_for(runs: Iterable[Path]) -> None:
    """Refuse where runs of teachers or members are still to be trained."""
    missing = [run for run in runs if not is_trained(run)]
    if missing:
        names = " ".join(run.name for run in missing)
        raise RecipeError(f"{missing[0]} is not trained yet; first: mien papers run {names}")


def open_run(folder: Path, faces: FaceSet, device: str) -> tuple[Recipe, TrainedNet, Progress]:
    """What a run folder's recipe was, its network, and how far it is, finished or not.

    Raises:
        ModelError: the folder holds no run.
        DataError: the run was trained on other data than ``faces``.
    """
    if is_trained(folder):
        net = load_trained(folder, pick_device(device), landmarks=True)
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
        trainer.net.eval(), trainer.target.names, *trainer.mean_std, scored_size(ran), {}, trainer.device
    )
    return ran, net, Progress(trainer.epoch, False, trainer.seconds, trainer.history)


def _recipe_of(folder: Path, faces: FaceSet | None = None) -> Recipe:
    """The recipe of a run folder, which must have learned from ``faces`` where they are given."""
    found = held_recipe(folder)
    if faces is not None and found["data"] != faces.content_hash():
        raise DataError(f"{folder} was trained on other data; give that file with --data")
    return check_recipe(found["recipe"], str(folder / RECIPE))
