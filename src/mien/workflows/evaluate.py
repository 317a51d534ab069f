"""Score a model on one split of a data set: pooled over all rows, with intervals, standard and clean."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import softmax
from mien.core.files import write_json
from mien.core.outputs import check_output_folder
from mien.core.run_names import is_run_folder
from mien.core.scores import Scores, score
from mien.core.tta import Views
from mien.data.leaks import Leak
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_store
from mien.errors import OutputError
from mien.workflows.figures import calibration_figure, confusion_figure
from mien.workflows.run_folder import check_test_log, count_test_evaluation, write_predictions
from mien.workflows.scorer import check_leak, checked_rows, open_scorer, scores_of, temperature_of


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
    test_evaluations: int | None = None
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
            "test_evaluations": self.test_evaluations,
            "leak": self.leak.to_dict() if self.leak is not None else None,
            "scores": self.scores.to_dict(),
            "clean": self.clean.to_dict() if self.clean else None,
            "ece_before_temperature": self.uncalibrated.ece,
        }


@dataclass(frozen=True)
class EvaluateSettings:
    """How to score.

    Attributes:
        split: ``train``, ``val`` or ``test``.
        views: Views of each face to average (see `mien.core.tta`), or ``"auto"`` for a released model; by
            default the card's, or 1 for a run.
        to: Folder for predictions, figures and the scores as JSON; nothing is written without it.
        device: Where the network runs.
        allow_leak: Score even faces of the model's training data; the result says so.
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
        OutputError: ``settings.to`` cannot be written or is another run's folder, or the log of a run whose
            test rows are scored cannot be written.
    """
    settings = settings or EvaluateSettings()
    if settings.to is not None:
        check_output_folder(settings.to)
        _check_folder(settings.to, model)
    split = settings.split
    stored = read_store(data)
    scorer = open_scorer(model, settings.views, settings.device)
    faces = stored.in_label_order(scorer.labels)
    chosen = checked_rows(faces, split, scorer.labels)
    check_test_log(scorer.run, split)
    leak = check_leak(scorer, stored, split, fits=scorer.temperature is None, allowed=settings.allow_leak)
    logits = scorer.logits(chosen.images, scorer.views)
    temperature = temperature_of(scorer, faces, split, logits)
    probs = softmax(logits, temperature)
    scores, clean = scores_of(probs, chosen, clean_mask(data, split))
    result = Evaluation(
        model=scorer.name,
        data=faces.name,
        data_hash=stored.content_hash(),
        split=split,
        views=scorer.views,
        temperature=temperature,
        scores=scores,
        clean=clean,
        uncalibrated=score(softmax(logits), chosen.labels, scorer.labels),
        leak=leak,
        test_evaluations=count_test_evaluation(scorer.run, split),
    )
    if settings.to is not None:
        _write(result, chosen, probs, settings.to)
    return result


def _check_folder(to: Path, model: str) -> None:
    """Refuse the folder of another run, whose own predictions and scores these would replace.

    Raises:
        OutputError: it is one.
    """
    if is_run_folder(to) and os.path.realpath(to) != os.path.realpath(model):
        raise OutputError(to, f"it is the folder of another run than {model}; name another folder")


def _write(result: Evaluation, faces: FaceSet, probs: NDArray[np.floating[Any]], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    write_json(to / f"scores-{result.split}.json", result.to_dict())
    write_predictions(to / f"predictions-{result.split}.csv", faces, probs)
    confusion_figure(result.scores, to / f"confusion-{result.split}.png")
    calibration_figure(
        result.uncalibrated, result.scores, result.temperature, to / f"calibration-{result.split}.png"
    )
