"""One interface to score a trained run or a released model, and the rows that it is scored on."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import fit_temperature
from mien.core.classifier import Classifier
from mien.core.emotions import label_set_within
from mien.core.model_store import is_run
from mien.core.preprocess import network_crops
from mien.core.scores import Scores, score
from mien.core.tta import AUTO, N_VIEWS, Views
from mien.data.leaks import LEARNED, Leak, Learned, find_leak, learned, read_learned, refuse_leak
from mien.data.records import FaceSet
from mien.data.splits import split_command
from mien.errors import DataError, ModelError, needs_extra

Score = Callable[[NDArray[np.uint8], Any], NDArray[np.float32]]
"""From crops (N, S, S) or (N, S, S, 3) and views to logits (N, C); a model keeps its own views."""


@dataclass(frozen=True)
class Scorer:
    """A model of either half behind one function. ``temperature`` is ``None`` until it has been fitted."""

    name: str
    labels: tuple[str, ...]
    logits: Score
    views: Views
    temperature: float | None
    run: Path | None = None
    learned_data: str = ""
    """Content hash of the data set whose training part it learned from; empty where unknown."""


def open_scorer(model: str, views: Views | None, device: str) -> Scorer:
    """The model of a name, ``.onnx`` path or run folder, on a device.

    Raises:
        ModelError: there is no such model.
        MienError: the device is unknown, or cannot be used here.
        MissingExtraError: it is a run folder and torch is not installed.
    """
    folder = Path(model)
    if not is_run(model):
        classifier = Classifier(model, views=views, threads=0, device=device)
        card = classifier.card
        return Scorer(
            card.name,
            classifier.labels,
            lambda crops, _: classifier.logits(network_crops(crops, card.input_size, card.channels)),
            classifier.views,
            classifier.temperature,
            learned_data=str(card.learned_from().get("content_hash", "")),
        )
    with needs_extra("evaluating a run"):
        from mien.train.devices import pick_device
        from mien.train.trained_net import load_trained
    trained = load_trained(folder, pick_device(device))
    if views == AUTO:
        raise ModelError("automatic views need the threshold of a released model; give a run their number")
    if views is not None and views not in N_VIEWS:
        raise ModelError(f"views must be one of {', '.join(map(str, N_VIEWS))}, got {views}")
    known = trained.data.get("content_hash", "")
    return Scorer(folder.name, trained.labels, trained.logits, views or 1, None, folder, known)


def in_label_order(scorer: Scorer, labels: tuple[str, ...], says: str) -> Scorer:
    """The same model with its answers in the order of ``labels``.

    Raises:
        DataError: it names other emotions; ``says`` has ``{}`` for its name, what it names, and ``labels``.
    """
    if set(scorer.labels) != set(labels):
        raise DataError(says.format(scorer.name, ", ".join(scorer.labels), ", ".join(labels)))
    place = [scorer.labels.index(name) for name in labels]
    return replace(scorer, labels=labels, logits=lambda crops, views: scorer.logits(crops, views)[:, place])


def check_leak(scorer: Scorer, faces: FaceSet, split: str, *, fits: bool, allowed: bool) -> Leak | None:
    """How many faces of a split the model has learned from; ``None`` where that is not known.

    Args:
        scorer: The model.
        faces: The data set as it is stored, for by its hash a model knows it.
        split: The rows to score.
        fits: Whether something is fitted to the validation rows: then these must not leak either.
        allowed: Whether there may be a leak.

    Raises:
        DataError: there is a leak, and it is not ``allowed``.
    """
    known = learned_by(scorer.run, scorer.learned_data, faces, faces.content_hash())
    if known is None:
        return None
    train, leaks = faces.select("train"), {}
    for part in (split, "val") if fits else (split,):
        leaks[part] = find_leak(faces.select(part), known, train)
        refuse_leak(leaks[part], f"{scorer.name} on {faces.name} {part}", allowed=allowed)
    return leaks[split]


def learned_by(run: Path | None, learned_data: str, faces: FaceSet, content_hash: str) -> Learned | None:
    """What a network has learned from; ``None`` where that is not known.

    Args:
        run: Its run folder, if it is a run's.
        learned_data: Content hash of the data set whose training part it learned from; empty where unknown.
        faces: The data set to score it on, as it is stored, or some of its faces.
        content_hash: Of that data set.
    """
    marks = run / LEARNED if run else None
    if marks and marks.is_file():
        return read_learned(marks)
    return learned(faces.select("train")) if learned_data == content_hash else None


def checked_rows(faces: FaceSet, split: str, labels: tuple[str, ...]) -> FaceSet:
    """The rows of a split, whose labels must be the model's; see `FaceSet.in_label_order`.

    Raises:
        DataError: the split is empty, or the labels differ.
    """
    if faces.label_names != labels:
        unknown = [name for name in faces.label_names if name not in labels]
        within = label_set_within(labels)
        onto = f"import the data again with --labels {within}, and --map for names that it lacks"
        raise DataError(
            f"labels of '{faces.name}' ({', '.join(faces.label_names)}) are not the model's "
            f"({', '.join(labels)}): it lacks {', '.join(unknown)}; "
            f"{onto if within else 'rename or leave them out in its source, and import it again'}"
        )
    chosen = faces.select(split)
    if not len(chosen):
        command = split_command(split, len(faces.select("test")))
        raise DataError(f"data set '{faces.name}' has no {split} rows; {command} makes some")
    return chosen


def temperature_of(scorer: Scorer, faces: FaceSet, split: str, logits: NDArray[np.float32]) -> float:
    """The model's own temperature, or one by the validation rows; ``logits`` are those of ``split``."""
    if scorer.temperature is not None:
        return scorer.temperature
    val = faces.select("val")
    if not len(val):
        return 1.0
    held_out = logits if split == "val" else scorer.logits(val.images, scorer.views)
    return fit_temperature(held_out, val.labels)


def scores_of(
    probs: NDArray[np.floating[Any]], rows: FaceSet, clean: NDArray[np.bool_] | None
) -> tuple[Scores, Scores | None]:
    """Scores of all rows, and of those without a near copy in training; see `mien.data.store.clean_mask`."""
    names = rows.label_names
    kept = None if clean is None else score(probs[clean], rows.labels[clean], names)
    return score(probs, rows.labels, names), kept
