"""Average the weights of finished runs into one network, which is as fast as one of them.

Source: Wortsman et al., "Model soups: averaging weights of multiple fine-tuned models improves accuracy
without increasing inference time", ICML 2022, arXiv 2203.05482; the uniform average.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import softmax
from mien.core.run_names import ENVIRONMENT, RECIPE, WEIGHTS, is_run_folder
from mien.data.leaks import LEARNED, Leak, check_parts, read_learned
from mien.data.records import FaceSet
from mien.errors import DataError, ModelError
from mien.train.averaging import estimate_norms, mean_weights
from mien.train.batches import training_rows
from mien.train.checkpoints import load_note, save_tensors
from mien.train.devices import environment, pick_device
from mien.train.recipe_reading import check_recipe
from mien.train.trained_net import TrainedNet, load_trained
from mien.workflows.run_folder import (
    AVERAGE_OF,
    data_of_run,
    held_recipe,
    store_of_run,
    training_alone,
    write_predictions,
    write_run,
)

SAME = ("labels", "mean_std", "input_size", "channels", "n_votes", "loss", "data")
"""What the notes of runs that are averaged must share, beside the network."""


@dataclass(frozen=True)
class Averaged:
    """Where the average lies, and the validation accuracy, in one view, of each run and of the average.

    ``leak`` tells how many of the validation faces the runs have learned from.
    """

    folder: Path
    alone: dict[str, float]
    accuracy: float
    leak: Leak


def average(runs: Sequence[Path], folder: Path, data: Path | None = None, device: str = "cpu") -> Averaged:
    """Write the mean of the weights of runs, which began at the same weights, as a run folder of its own.

    Batch normalisations get the statistics of training faces, for the mean of the runs' is not theirs; frozen
    ones keep their own. No test row is opened.

    Args:
        runs: Finished run folders, two or more, of one network and one data set.
        folder: Of the new run.
        data: The data set file; by default the one that the first run's recipe names.
        device: ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        ModelError: a run is not finished, or of another network or data set than the first.
        DataError: the data set is not the runs', or has no validation rows; or ``folder`` holds a run.
    """
    if len(runs) < 2 or len({os.path.realpath(run) for run in runs}) < len(runs):
        raise ModelError(
            f"an average needs two or more different runs, got {', '.join(map(str, runs)) or 'none'}"
        )
    on = pick_device(device)
    trained = [load_trained(run, on) for run in runs]
    notes = [load_note(run / WEIGHTS) for run in runs]
    for run, note in zip(runs[1:], notes[1:], strict=True):
        _check_alike(note, notes[0], f"{run} cannot be averaged with {runs[0]}")
    kept = held_recipe(runs[0])
    recipe = check_recipe(kept["recipe"], str(runs[0] / RECIPE))
    faces = _faces(data or store_of_run(runs[0]), trained[0], runs[0])
    known = reduce(or_, [read_learned(run / LEARNED) for run in runs])
    leaks = check_parts(faces, known, "the average on", allowed=True)
    alone = {str(run): _accuracy(one, faces)[0] for run, one in zip(runs, trained, strict=True)}
    mean = mean_weights([one.net.state_dict() for one in trained])
    made = trained[0]
    made.net.load_state_dict(mean)
    with training_alone(folder):
        if is_run_folder(folder):
            raise DataError(f"{folder} holds a run already; choose another folder with --out, or delete it")
        estimate_norms(made, training_rows(faces, recipe.data))
        accuracy, logits = _accuracy(made, faces)
        write_predictions(folder / "predictions-val.csv", faces.select("val"), softmax(logits))
        made_of = environment() | {AVERAGE_OF: [run.name for run in runs]}
        write_run(folder, {ENVIRONMENT: made_of, RECIPE: kept}, known, leaks)
        save_tensors(folder / WEIGHTS, made.net.state_dict(), notes[0])
    return Averaged(folder, alone, accuracy, leaks["val"])


def _check_alike(note: dict[str, Any], first: dict[str, Any], what: str) -> None:
    nets = [{key: one["net"].get(key) for key in ("name", "options")} for one in (note, first)]
    if nets[0] != nets[1]:
        raise ModelError(f"{what}: its network is another")
    if other := [key for key in SAME if note.get(key) != first.get(key)]:
        raise ModelError(f"{what}: its {other[0]} are others ({note.get(other[0])}, {first.get(other[0])})")


def _faces(path: Path, trained: TrainedNet, run: Path) -> FaceSet:
    faces = data_of_run(path, run, trained.data.get("content_hash", ""))
    if not len(faces.select("val")):
        raise DataError(f"data set '{faces.name}' has no validation rows to compare the average on")
    return faces


def _accuracy(trained: TrainedNet, faces: FaceSet) -> tuple[float, NDArray[np.float32]]:
    val = faces.select("val")
    logits = trained.logits(val.images)
    return float((logits.argmax(axis=1) == val.labels).mean()), logits
