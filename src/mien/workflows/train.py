"""Train by a recipe into a run folder; the same command continues a stopped run.

A run folder holds ``recipe.json``, ``environment.json`` and marks of its training faces, with ``leaks.json``
where other rows repeat them; while the run goes on ``checkpoint.safetensors``; and at its end
``weights.safetensors``, ``history.json``, ``curves.png`` and ``predictions-val.csv``.
"""

import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import softmax
from mien.core.files import sweep, write_json
from mien.core.own_files import reading
from mien.core.run_names import CHECKPOINT, ENVIRONMENT, RECIPE, WEIGHTS, is_run_folder, is_trained
from mien.data.leaks import check_parts, learned
from mien.data.records import FaceSet
from mien.data.splits import split_command
from mien.data.store import read_store
from mien.errors import ModelError, RecipeError
from mien.train.batches import training_rows, votes_hash
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.devices import computed_precision, environment, mixed_precision, pick_device
from mien.train.features import HeadTrainer, learns_from_features
from mien.train.loop import Trainer, scored_size
from mien.train.parallel import ALONE, Workers
from mien.train.recipe import Recipe
from mien.train.recipe_reading import changes, check_recipe, choices_by_validation, targets_path
from mien.train.soft_targets import read_soft_targets
from mien.train.trained_net import ReleasedNet, TrainedNet, load_teacher, teachers_of_batches
from mien.workflows.figures import curves_figure
from mien.workflows.run_folder import (
    AVERAGE_OF,
    held_recipe,
    read_run_json,
    training_alone,
    write_predictions,
    write_run,
)
from mien.workflows.starts import check_scale, input_scale, learned_before, starts


@dataclass(frozen=True)
class TrainProgress:
    """Where a run stands after a step; ``validation`` is the history's new line, if there is one.

    Before the first step ``preparing`` names what is computed for all training faces (``teachers``,
    ``features``), and ``step`` and ``steps`` count faces.
    """

    step: int
    steps: int
    epoch: float
    loss: float
    images_per_s: float
    validation: dict[str, float] | None = None
    preparing: str = ""


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    allow_leak: bool = False,
    workers: Workers = ALONE,
    report: Callable[[TrainProgress], None] = lambda _: None,
) -> Path:
    """Train until the recipe's last step, from the newest checkpoint in ``folder`` if there is one.

    Args:
        recipe: What to do.
        folder: The run folder; made if missing.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        allow_leak: Train although validation or test rows repeat training rows; their scores will say so.
        workers: The processes that train together; each of them calls this function.
        report: Called after every step and while teachers answer or features are computed, in the first
            process.

    Returns:
        The run folder.

    Raises:
        RecipeError: the folder holds a run of another recipe or on other data, the recipe chooses by
            validation rows and there are none, or its start has learned faces of another scale.
        MienError: another process trains in the folder.
        OutputError: the folder or a file in it cannot be written.
        DataError: the data set cannot be read, has no training rows, or repeats them in other parts.
    """
    with training_alone(folder) if workers.leads else nullcontext():
        _train(recipe, folder, device, allow_leak, workers, report)
    return folder


def _train(
    recipe: Recipe,
    folder: Path,
    device: str,
    allow_leak: bool,
    workers: Workers,
    report: Callable[[TrainProgress], None],
) -> None:
    faces = read_store(recipe.data.store)
    content = faces.content_hash() + votes_hash(faces, recipe)
    workers.agree("recipe or data set", recipe.model_dump_json() + content)
    if workers.share(_is_made(folder, recipe, faces) if workers.leads else None):
        return
    if not len(faces.select("val")) and (change := choices_by_validation(recipe)):
        raise RecipeError(
            f"{recipe.data.store} has no validation rows, by which this recipe chooses; make some with "
            f"`{split_command('val', len(faces.select('test')))}`, or set {change}"
        )
    trainer = make_trainer(recipe, faces, device, workers, report)
    begun = workers.share(_begin(folder, trainer, faces, allow_leak) if workers.leads else None)
    checkpoint, val = folder / CHECKPOINT, faces.select("val")
    if begun:
        advice = "delete it to start over"
        with reading(checkpoint, "does not fit the run", advice=advice, error=ModelError):
            trainer.restore(*begun)
    trainer.prepare()
    with _noted_wakings() as wakings:
        _go(trainer, val, checkpoint, report, wakings)
    _finish(trainer, val, folder)


def _is_made(folder: Path, recipe: Recipe, faces: FaceSet) -> bool:
    """Whether the folder's run is finished; asked first, for teachers need not be there then.

    Raises:
        RecipeError: the run is of another recipe or data set.
    """
    if not is_run_folder(folder):
        return False
    check_same_run(folder, recipe, faces)
    return is_finished(folder)


def _begin(folder: Path, trainer: Trainer, faces: FaceSet, allow_leak: bool) -> Any:
    """Make the folder the run's, and return the last checkpoint, or None."""
    checkpoint = folder / CHECKPOINT
    recipe = trainer.recipe
    if not checkpoint.is_file():
        check_scale(recipe)
    models = [*starts(recipe.net), *recipe.distil.teachers]
    known = learned(trainer.train) | learned_before(models, faces.name, faces.content_hash())
    leaks = check_parts(faces, known, recipe.data.store, allowed=allow_leak)
    sweep(folder)
    write_run(folder, {} if is_run_folder(folder) else _told(trainer, faces), known, leaks)
    return load_tensors(checkpoint) if checkpoint.is_file() else None


def is_finished(folder: Path) -> bool:
    """Whether a run is at its end; what one that was killed at its very end left is removed."""
    if not is_trained(folder):
        return False
    (folder / CHECKPOINT).unlink(missing_ok=True)
    return True


def make_trainer(
    recipe: Recipe,
    faces: FaceSet,
    device: str,
    workers: Workers = ALONE,
    report: Callable[[TrainProgress], None] = lambda _: None,
) -> Trainer:
    """A trainer on the training rows of ``faces``; of the head alone where all else is frozen.

    Its `Trainer.prepare` is still to be called.
    """

    def preparing(what: str, done: int, of: int) -> None:
        if workers.leads:
            report(TrainProgress(done, of, 0.0, math.nan, 0.0, preparing=what))

    rows = training_rows(faces, recipe.data)
    scale = input_scale(rows, recipe.data.input)
    distil, logits, ask = recipe.distil, None, None
    teach: Callable[[], NDArray[np.float32]] | None = None
    if distil.teachers:
        teachers = [load_teacher(name, pick_device(device)) for name in distil.teachers]
        check_teachers(distil.teachers, teachers, rows)
        if distil.view == "same":
            ask = teachers_of_batches(_of_runs(teachers, rows.label_names), scale, distil.temperature)
        else:

            def teach() -> NDArray[np.float32]:
                with mixed_precision(pick_device(device), recipe.run.precision):
                    return teacher_logits(teachers, rows, partial(preparing, "teachers"))

    elif distil.targets:
        path = targets_path(distil.targets)
        logits = read_soft_targets(path).logits(rows, faces.content_hash())
    parts = (recipe, rows, scale, pick_device(device), logits, ask, workers, teach)
    if learns_from_features(recipe):
        return HeadTrainer(*parts, report=partial(preparing, "features"))
    return Trainer(*parts)


Teacher = TrainedNet | ReleasedNet


def check_teachers(names: Sequence[str], teachers: list[Teacher], faces: FaceSet) -> None:
    """Raise a RecipeError where a teacher does not name each of the faces' emotions."""
    for name, teacher in zip(names, teachers, strict=True):
        if unknown := [label for label in faces.label_names if label not in teacher.labels]:
            raise RecipeError(
                f"teacher {name} does not know {', '.join(unknown)}; it knows {', '.join(teacher.labels)}"
            )


def _of_runs(teachers: list[Teacher], labels: tuple[str, ...]) -> list[TrainedNet]:
    """Teachers that can see each batch as the network does.

    Raises:
        RecipeError: one is a released model, or orders the emotions otherwise.
    """
    runs = [teacher for teacher in teachers if isinstance(teacher, TrainedNet) and teacher.labels == labels]
    if len(runs) < len(teachers):
        raise RecipeError(
            'distil.view: "same" needs run folders of the same emotions as teachers, because a released '
            'model runs outside torch; set "original"'
        )
    return runs


def teacher_logits(
    teachers: list[Teacher], faces: FaceSet, report: Callable[[int, int], None]
) -> NDArray[np.float32]:
    """Logarithm of the teachers' mean probability (N, C) for each face and its mirror image.

    What a teacher says of emotions that the faces lack is left out.
    """
    parts = []
    places = [[teacher.labels.index(name) for name in faces.label_names] for teacher in teachers]
    for start in range(0, len(faces), TEACHER_PART):
        images = faces.images[start : start + TEACHER_PART]
        probs = [softmax(t.logits(images, 2)[:, place]) for t, place in zip(teachers, places, strict=True)]
        parts.append(np.log(np.mean(probs, axis=0).clip(1e-12)))
        report(start + len(images), len(faces))
    return np.asarray(np.concatenate(parts), np.float32)


TEACHER_PART = 512
"""Faces that teachers answer for between two reports."""


TELL_EVERY_S = 0.2
"""Seconds between reports."""


def _go(
    trainer: Trainer,
    val: FaceSet,
    checkpoint: Path,
    report: Callable[[TrainProgress], None],
    wakings: list[int],
) -> None:
    run, leads = trainer.recipe.run, trainer.workers.leads
    per_validation = run.evaluate_every * trainer.batches.per_epoch
    begun = last = saved = reported = time.monotonic()
    first = trainer.step_count
    try:
        while not trainer.done:
            with _whole_steps():
                loss = trainer.step()
                is_due = trainer.step_count % per_validation == 0 or trainer.done
                validation = trainer.validate(val) if is_due else None
            now = time.monotonic()
            if wakings:  # how long it stood still cannot be told, so this step does not count
                wakings.clear()
                begun, last = begun + now - last, now
            trainer.seconds, last = trainer.seconds + now - last, now
            rate = (trainer.step_count - first) * trainer.batches.batch_size / max(now - begun, 1e-9)
            if leads and now - saved >= run.checkpoint_every_s:
                save_tensors(checkpoint, trainer.tensors(), trainer.note())
                saved = now
            if leads and (validation or now - reported >= TELL_EVERY_S or trainer.step_count == first + 1):
                reported = now  # a report reads the loss, and so waits for a GPU
                at = (trainer.step_count, trainer.batches.steps, trainer.epoch, float(loss), rate, validation)
                report(TrainProgress(*at))
    except KeyboardInterrupt:
        save_tensors(checkpoint, trainer.tensors(), trainer.note())
        raise
    if leads:
        save_tensors(checkpoint, trainer.tensors(), trainer.note())


@contextmanager
def _noted_wakings() -> Iterator[list[int]]:
    """A list that grows when a process that was stopped, as by Ctrl-Z, goes on; on Windows it stays empty."""
    wakings: list[int] = []
    if os.name == "nt" or threading.current_thread() is not threading.main_thread():
        yield wakings
        return
    before = signal.signal(signal.SIGCONT, lambda number, _: wakings.append(number))
    try:
        yield wakings
    finally:
        signal.signal(signal.SIGCONT, before)


@contextmanager
def _whole_steps() -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait for the end of the block, so that no checkpoint holds half a step."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    heard = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    sent: list[int] = []
    listening = [number for number, handler in heard.items() if callable(handler)]
    for number in listening:
        signal.signal(number, lambda number, _: sent.append(number))
    try:
        yield
    finally:
        for number in listening:
            signal.signal(number, heard[number])
    for one in sent[:1]:
        signal.raise_signal(one)


def _told(trainer: Trainer, faces: FaceSet) -> dict[str, Any]:
    """What the files of a new run say of it."""
    recipe, started = trainer.recipe, {"init_from": str(trainer.initial)} if trainer.initial else {}
    several = {"processes": trainer.workers.count} if trainer.workers.count > 1 else {}
    machine = environment() | {"precision": computed_precision(trainer.device, recipe.run.precision)}
    held = {"recipe": recipe.model_dump(mode="json"), "data": faces.content_hash()}
    held["votes"] = votes_hash(faces, recipe)
    return {ENVIRONMENT: machine | several | started, RECIPE: held}


def check_same_run(folder: Path, recipe: Recipe, faces: FaceSet) -> None:
    """Raise where a folder's run is of another recipe, data set or votes; where the file lies does not count.

    Runs of versions that kept no hash of their votes are not compared by them.

    Raises:
        RecipeError: it is.
    """
    found = held_recipe(folder)
    machine = read_run_json(folder, ENVIRONMENT, {}) if (folder / ENVIRONMENT).is_file() else {}
    others = changes(recipe, check_recipe(found["recipe"], str(folder / RECIPE)))
    differs = {
        "kind, the average of several": AVERAGE_OF in machine,
        f"recipe, {', '.join(others[:3])}": bool(others),
        "data set": found["data"] != faces.content_hash(),
        "data set, with other votes of raters": found.get("votes") not in (None, votes_hash(faces, recipe)),
    }
    if what := next((what for what, does in differs.items() if does), ""):
        raise RecipeError(
            f"{folder} holds a run of another {what}; choose another folder with --out, or delete it"
        )


def _finish(trainer: Trainer, val: FaceSet, folder: Path) -> None:
    names = trainer.target.names
    logits = trainer.logits(val.images) if len(val) else np.zeros((0, len(names)), np.float32)
    if not trainer.workers.leads:
        return
    if trainer.target.counts_right and len(val):
        write_predictions(folder / "predictions-val.csv", val, softmax(logits))
    write_json(folder / "history.json", {"seconds": trainer.seconds, "history": trainer.history})
    curves_figure(trainer.history, folder / "curves.png", trainer.recipe.loss.name)
    note = {
        "net": trainer.recipe.net.model_dump(mode="json"),
        "n_votes": len(trainer.train.vote_names or ()) if trainer.recipe.loss.votes_weight else 0,
        "loss": trainer.recipe.loss.name,
        "labels": list(names),
        "mean_std": list(trainer.mean_std),
        "input_size": scored_size(trainer.recipe),
        "channels": trainer.train.channels,
        "data": {"name": trainer.train.name, "content_hash": held_recipe(folder)["data"]},
    }
    save_tensors(folder / WEIGHTS, trainer.weights(), note)
    (folder / CHECKPOINT).unlink(missing_ok=True)
