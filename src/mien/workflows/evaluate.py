"""Score a model on one split of a data set: pooled over all rows, with intervals, standard and clean."""

import csv
import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import fit_temperature, softmax
from mien.core.classifier import Classifier
from mien.core.files import whole_file
from mien.core.preprocess import resized
from mien.core.scores import Scores, score
from mien.core.views import AUTO, N_VIEWS, Views
from mien.data.leaks import LEARNED, Leak, find_leak, learned, read_learned, refuse_leak
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_store
from mien.errors import DataError, ModelError, needs_extra
from mien.workflows.figures import calibration_figure, confusion_figure

Score = Callable[[NDArray[np.uint8], Any], NDArray[np.float32]]
"""From crops (N, S, S) or (N, S, S, 3) and views to logits (N, C); a model's own views are not asked anew."""


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` measured. ``clean`` leaves out faces with a near copy in training."""

    model: str
    data: str
    data_hash: str
    split: str
    views: Views
    temperature: float
    scores: Scores
    clean: Scores | None
    uncalibrated: Scores
    leak: Leak | None = None
    """Faces that the model learned from; ``None`` where what it learned from is not known."""
    look: int | None = None
    """How many times this run has now been scored on its test rows; ``None`` for other splits and models."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "model": self.model,
            "data": self.data,
            "data_hash": self.data_hash,
            "split": self.split,
            "views": self.views,
            "temperature": self.temperature,
            "look": self.look,
            "leak": {**asdict(self.leak), "leaks": bool(self.leak)} if self.leak else None,
            "scores": self.scores.to_dict(),
            "clean": self.clean.to_dict() if self.clean else None,
            "ece_before_temperature": self.uncalibrated.ece,
        }


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


@dataclass(frozen=True)
class EvaluateSettings:
    """How to score.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        views: Views of each face to average (see `mien.core.views`), or ``"auto"`` for a released model; by
            default the card's, or 1 for a run.
        to: Folder for predictions, figures and the scores as JSON; nothing is written without it.
        device: Where a run's network is evaluated.
        allow_leak: Score even faces that the model learned from; the result says so.
    """

    split: str = "test"
    views: Views | None = None
    to: Path | None = None
    device: str = "cpu"
    allow_leak: bool = False


def evaluate(model: str, data: Path, settings: EvaluateSettings | None = None) -> Evaluation:
    """Score a released model or a run folder.

    A run has no temperature yet, so one is fitted on the validation rows; a released model brings its own.

    Args:
        model: A model's name, an ``.onnx`` path, or a run folder.
        data: HDF5 file of `mien data import`.
        settings: How to score; by default the test rows, writing nothing.

    Raises:
        DataError: the split is empty, its labels are not the model's, or the model learned from its faces.
        ModelError: there is no such model.
    """
    settings = settings or EvaluateSettings()
    split = settings.split
    faces = read_store(data)
    scorer = open_scorer(model, settings.views, settings.device)
    chosen = checked_rows(faces, split, scorer.labels)
    leak = leak_of(scorer, faces, chosen)
    if leak:
        refuse_leak(leak, f"{scorer.name} on {faces.name} {split}", allowed=settings.allow_leak)
    logits = scorer.logits(chosen.images, scorer.views)
    temperature = scorer.temperature
    if temperature is None:
        temperature = fitted_temperature(scorer, faces, split, logits)
    probs = softmax(logits, temperature)
    clean = clean_mask(data, split) if split != "train" else None
    result = Evaluation(
        model=scorer.name,
        data=faces.name,
        data_hash=faces.content_hash(),
        split=split,
        views=scorer.views,
        temperature=temperature,
        scores=score(probs, chosen.labels, scorer.labels),
        clean=score(probs[clean], chosen.labels[clean], scorer.labels) if clean is not None else None,
        uncalibrated=score(softmax(logits), chosen.labels, scorer.labels),
        leak=leak,
        look=count_look(scorer.run) if scorer.run and split == "test" else None,
    )
    if settings.to is not None:
        _write(result, chosen, probs, settings.to)
    return result


def open_scorer(model: str, views: Views | None, device: str) -> Scorer:
    """The model of a name, ``.onnx`` path or run folder.

    Raises:
        ModelError: there is no such model.
        MissingExtraError: it is a run folder and torch is not installed.
    """
    folder = Path(model)
    if not folder.is_dir():
        classifier = Classifier(model, views=views, threads=0)
        return Scorer(
            classifier.card.name,
            classifier.labels,
            lambda crops, _: classifier.logits(resized(crops, classifier.card.input_size)),
            classifier.views,
            classifier.temperature,
            learned_data=str(classifier.card.training.get("data", {}).get("content_hash", "")),
        )
    with needs_extra("evaluating a run"):
        from mien.train.devices import pick_device
        from mien.train.trained import load_trained
    trained = load_trained(folder, pick_device(device))
    if views == AUTO:
        raise ModelError("automatic views need the threshold of a released model; give a run their number")
    if views is not None and views not in N_VIEWS:
        raise ModelError(f"views must be one of {', '.join(map(str, N_VIEWS))}, got {views}")
    known = trained.data.get("content_hash", "")
    return Scorer(folder.name, trained.labels, trained.logits, views or 1, None, folder, known)


def leak_of(scorer: Scorer, faces: FaceSet, chosen: FaceSet) -> Leak | None:
    """How many of the chosen faces of a data set the model has learned from, where that is known."""
    training = faces.select("train")
    marks = scorer.run / LEARNED if scorer.run else None
    if marks and marks.is_file():
        return find_leak(chosen, read_learned(marks), training)
    if scorer.learned_data == faces.content_hash():
        return find_leak(chosen, learned(training), training)
    return None


def checked_rows(faces: FaceSet, split: str, labels: tuple[str, ...]) -> FaceSet:
    """The rows of a split, whose labels must be the model's.

    Raises:
        DataError: the split is empty, or the labels differ.
    """
    if faces.label_names != labels:
        raise DataError(
            f"labels of '{faces.name}' ({', '.join(faces.label_names)}) "
            f"are not the model's ({', '.join(labels)})"
        )
    chosen = faces.select(split)
    if not len(chosen):
        raise DataError(f"data set '{faces.name}' has no {split} rows")
    return chosen


def fitted_temperature(scorer: Scorer, faces: FaceSet, split: str, logits: NDArray[np.float32]) -> float:
    """The temperature by the validation rows; ``logits`` are those of ``split``."""
    val = faces.select("val")
    if not len(val):
        return 1.0
    held_out = logits if split == "val" else scorer.logits(val.images, scorer.views)
    return fit_temperature(held_out, val.labels)


def count_look(run: Path) -> int:
    """Log that the test rows of a run were opened; return how often they have been."""
    log = run / "test-looks.log"
    with log.open("a", encoding="utf-8") as file:
        file.write(time.strftime("%Y-%m-%d %H:%M:%S %z") + "\n")
        file.flush()
        os.fsync(file.fileno())
    return len(log.read_text(encoding="utf-8").splitlines())


def _write(result: Evaluation, faces: FaceSet, probs: NDArray[np.floating[Any]], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    write_json(to / f"scores-{result.split}.json", result.to_dict())
    write_predictions(to / f"predictions-{result.split}.csv", faces, probs)
    confusion_figure(result.scores, to / f"confusion-{result.split}.png")
    calibration_figure(
        result.uncalibrated, result.scores, result.temperature, to / f"calibration-{result.split}.png"
    )


def write_predictions(path: Path, faces: FaceSet, probs: NDArray[np.floating[Any]]) -> None:
    """One CSV line a face: source row, true label, predicted label, probability of each label."""
    names = faces.label_names
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["row", "label", "predicted", *(f"p_{name}" for name in names)])
        for row, label, p in zip(faces.rows, faces.labels, probs, strict=True):
            writer.writerow([row, names[label], names[int(p.argmax())], *(f"{x:.6f}" for x in p)])


def write_json(path: Path, value: object) -> None:
    """Readable JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
