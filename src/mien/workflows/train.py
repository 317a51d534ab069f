"""Train by a recipe into a run folder; the same command again goes on where a killed one stopped.

A run folder holds ``recipe.json`` and ``environment.json``, while the run goes on ``checkpoint.safetensors``,
and at its end ``weights.safetensors``, ``history.json``, ``predictions-val.csv`` and ``curves.png``.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mien.core.calibration import softmax
from mien.data.records import FaceSet
from mien.data.store import read_store
from mien.errors import RecipeError
from mien.train.batches import training_rows
from mien.train.checkpoints import load_tensors, save_tensors
from mien.train.devices import environment, pick_device
from mien.train.loop import Trainer
from mien.train.recipe import Recipe, check_recipe
from mien.workflows.evaluate import write_json, write_predictions
from mien.workflows.figures import curves_figure


@dataclass(frozen=True)
class TrainProgress:
    """Where a run stands after a step; ``looked`` is the history's new line, where the step brought one."""

    step: int
    steps: int
    epoch: float
    loss: float
    images_per_s: float
    looked: dict[str, float] | None = None


def train(
    recipe: Recipe,
    folder: Path,
    *,
    device: str = "cpu",
    report: Callable[[TrainProgress], None] = lambda _: None,
) -> Path:
    """Train until the recipe's last step, from the newest checkpoint in ``folder`` if there is one.

    Args:
        recipe: What to do.
        folder: The run folder; made if missing.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        report: Called after every step.

    Returns:
        The run folder.

    Raises:
        RecipeError: the folder holds a run of another recipe or on other data.
        DataError: the data set cannot be read or has no training rows.
    """
    faces = read_store(recipe.data.store)
    trainer = make_trainer(recipe, faces, device)
    val = faces.select("val")
    folder.mkdir(parents=True, exist_ok=True)
    _claim(folder, recipe, faces)
    checkpoint = folder / "checkpoint.safetensors"
    if (folder / "weights.safetensors").is_file():
        return folder
    if checkpoint.is_file():
        trainer.restore(*load_tensors(checkpoint))
    seconds = _go(trainer, val, checkpoint, report)
    _finish(trainer, val, folder, seconds)
    return folder


def make_trainer(recipe: Recipe, faces: FaceSet, device: str) -> Trainer:
    """A trainer on the training rows of ``faces``, normalised by their own mean and deviation."""
    rows = training_rows(faces, recipe.data)
    pixels = rows.images.reshape(len(rows), -1)
    mean = float(pixels.mean(dtype=np.float64) / 255)
    std = float(
        np.sqrt(np.mean([np.square(p / 255 - mean).mean() for p in np.array_split(pixels, 64) if len(p)]))
    )
    return Trainer(recipe, rows, (round(mean, 6), round(max(std, 1e-3), 6)), pick_device(device))


def _go(trainer: Trainer, val: FaceSet, checkpoint: Path, report: Callable[[TrainProgress], None]) -> float:
    run = trainer.recipe.run
    per_look = run.evaluate_every * trainer.batches.per_epoch
    begun = saved = time.monotonic()
    first = trainer.step_count
    try:
        while not trainer.done:
            loss = trainer.step()
            at_look = trainer.step_count % per_look == 0 or trainer.done
            looked = trainer.look(val) if at_look else None
            now = time.monotonic()
            rate = (trainer.step_count - first) * trainer.batches.batch_size / max(now - begun, 1e-9)
            if now - saved >= run.checkpoint_every_s:
                save_tensors(checkpoint, trainer.tensors(), trainer.note())
                saved = now
            report(
                TrainProgress(trainer.step_count, trainer.batches.steps, trainer.epoch, loss, rate, looked)
            )
    except KeyboardInterrupt:
        save_tensors(checkpoint, trainer.tensors(), trainer.note())
        raise
    save_tensors(checkpoint, trainer.tensors(), trainer.note())
    return time.monotonic() - begun


def _claim(folder: Path, recipe: Recipe, faces: FaceSet) -> None:
    """Write what the run is, or check that the folder's run is this one."""
    path = folder / "recipe.json"
    if not path.is_file():
        write_json(path, {"recipe": recipe.model_dump(mode="json"), "data": faces.content_hash()})
        write_json(folder / "environment.json", environment())
        return
    found = json.loads(path.read_text(encoding="utf-8"))
    same = {
        "recipe": check_recipe(found["recipe"], str(path)) == recipe,
        "data set": found["data"] == faces.content_hash(),
    }
    for what, unchanged in same.items():
        if not unchanged:
            raise RecipeError(
                f"{folder} holds a run of another {what}; choose another folder with --to, or delete it"
            )


def _finish(trainer: Trainer, val: FaceSet, folder: Path, seconds: float) -> None:
    logits = trainer.logits(val.images) if len(val) else np.zeros((0, len(val.label_names)), np.float32)
    write_predictions(folder / "predictions-val.csv", val, softmax(logits))
    write_json(folder / "history.json", {"seconds_since_last_start": seconds, "history": trainer.history})
    curves_figure(trainer.history, folder / "curves.png")
    note = {
        "net": trainer.recipe.net.model_dump(mode="json"),
        "n_votes": len(trainer.train.vote_names or ()) if trainer.recipe.loss.votes_weight else 0,
        "labels": list(trainer.train.label_names),
        "mean_std": list(trainer.mean_std),
        "input_size": trainer.train.images.shape[1],
        "data": {
            "name": trainer.train.name,
            "content_hash": json.loads((folder / "recipe.json").read_text())["data"],
        },
    }
    save_tensors(folder / "weights.safetensors", trainer.weights(), note)
    (folder / "checkpoint.safetensors").unlink()
