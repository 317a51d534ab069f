"""Score several models together: equal, weighted and hard votes, beside their members alone."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import softmax
from mien.core.files import write_json
from mien.core.metrics import McNemar, mcnemar
from mien.core.model_store import card_file, is_run
from mien.core.outputs import check_output_folder
from mien.core.run_names import is_run_folder
from mien.core.scores import Scores, score
from mien.core.voting import VOTES, fit_weights
from mien.data.leaks import Leak
from mien.data.records import FaceSet
from mien.data.store import clean_mask, read_store
from mien.errors import DataError
from mien.workflows.evaluate import EvaluateSettings
from mien.workflows.figures import confusion_figure
from mien.workflows.run_folder import check_test_log, count_test_evaluation, store_of_run, write_predictions
from mien.workflows.scorer import (
    Scorer,
    check_leak,
    checked_rows,
    in_label_order,
    open_scorer,
    scores_of,
    temperature_of,
)

OTHER_LABELS = "models that vote together must name the same emotions; {} names {}, the first {}"


@dataclass(frozen=True)
class EnsembleScores:
    """What `ensemble` measured.

    Attributes:
        members: Names of the models, in the order given.
        weights: Of the weighted vote, by the validation rows; they sum to 1.
        alone: Scores of each member.
        votes: Scores of each kind of vote.
        clean: Scores of each kind of vote without faces that have a near copy in training, where searched.
        best: The member that was best on the validation rows.
        against_best: McNemar's test of the soft vote against it; ``only_first`` are faces that the vote alone
            got right.
        leaks: Faces that each member learned from; ``None`` where what it learned from is not known.
    """

    data: str
    split: str
    members: tuple[str, ...]
    weights: tuple[float, ...]
    alone: tuple[Scores, ...]
    votes: dict[str, Scores]
    clean: dict[str, Scores]
    best: str
    against_best: McNemar
    leaks: tuple[Leak | None, ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        return {
            "data": self.data,
            "split": self.split,
            "members": [
                {
                    "name": name,
                    "weight": weight,
                    "leak": leak.to_dict() if leak is not None else None,
                    "scores": scores.to_dict(),
                }
                for name, weight, leak, scores in zip(
                    self.members, self.weights, self.leaks, self.alone, strict=True
                )
            ],
            "votes": {kind: scores.to_dict() for kind, scores in self.votes.items()},
            "clean": {kind: scores.to_dict() for kind, scores in self.clean.items()},
            "against_best": {"member": self.best, **asdict(self.against_best)},
        }


def ensemble(
    models: list[str],
    data: Path,
    settings: EvaluateSettings | None = None,
    known: Mapping[str, NDArray[np.floating[Any]]] | None = None,
) -> EnsembleScores:
    """Score models by their votes. All of them are used: choosing members by test rows would be peeking.

    Args:
        models: Two or more names, ``.onnx`` paths or run folders.
        data: HDF5 file of `mien data import`.
        settings: As of `mien.workflows.evaluate.evaluate`.
        known: Calibrated probabilities (N, C) of the rows to score, by model, where an earlier command left
            them; such a model is not asked again, and no look at its test rows is counted.

    Raises:
        DataError: fewer than two models, no validation rows, or a model learned from the rows to score.
        ModelError: there is no such model.
    """
    settings = settings or EvaluateSettings()
    if settings.to is not None:
        check_output_folder(settings.to)
    places = {os.path.realpath(one if is_run(one) else card_file(one)) for one in models}
    if len(models) < 2 or len(places) < len(models):
        raise DataError(f"an ensemble needs two or more different models, got {', '.join(models) or 'none'}")
    stored = read_store(data)
    if not len(stored.select("val")):
        raise DataError(f"data set '{stored.name}' has no validation rows to weigh the models by")
    split, known = settings.split, known or {}
    scorers = [open_scorer(model, settings.views, settings.device) for model in models]
    names = scorers[0].labels
    scorers[1:] = [in_label_order(scorer, names, OTHER_LABELS) for scorer in scorers[1:]]
    faces = stored.in_label_order(names)
    val, chosen = faces.select("val"), checked_rows(faces, split, names)
    opened = [scorer.run for scorer, model in zip(scorers, models, strict=True) if model not in known]
    for run in opened:
        check_test_log(run, split)
    leaks = [check_leak(one, stored, split, fits=True, allowed=settings.allow_leak) for one in scorers]
    tables = [
        _probs(scorer, faces, split, known.get(model)) for scorer, model in zip(scorers, models, strict=True)
    ]
    on_val, members = (np.stack(part) for part in zip(*tables, strict=True))
    weights = fit_weights(on_val, val.labels)
    voted = {kind: vote(members, weights) for kind, vote in VOTES.items()}
    for run in opened:
        count_test_evaluation(run, split)
    best = int((on_val.argmax(2) == val.labels).mean(1).argmax())
    clean = clean_mask(data, split)
    scores = {kind: scores_of(probs, chosen, clean) for kind, probs in voted.items()}
    result = EnsembleScores(
        data=faces.name,
        split=split,
        members=tuple(scorer.name for scorer in scorers),
        weights=tuple(weights.tolist()),
        alone=tuple(score(probs, chosen.labels, names) for probs in members),
        votes={kind: whole for kind, (whole, _) in scores.items()},
        clean={kind: kept for kind, (_, kept) in scores.items() if kept},
        best=scorers[best].name,
        against_best=mcnemar(chosen.labels, voted["soft"].argmax(1), members[best].argmax(1)),
        leaks=tuple(leaks),
    )
    if settings.to:
        _write(result, chosen, voted, settings.to)
    return result


def usual_data(models: Sequence[str]) -> Path:
    """The data set file of the first run among models, or where there is none, ``fer2013.h5``.

    Raises:
        DataError: the recipe of that run is damaged.
    """
    runs = (Path(model) for model in models if is_run_folder(model))
    return next(map(store_of_run, runs), Path("fer2013.h5"))


def _probs(
    scorer: Scorer, faces: FaceSet, split: str, answer: NDArray[np.floating[Any]] | None
) -> tuple[NDArray[np.float32], NDArray[np.floating[Any]]]:
    """Calibrated probabilities of the validation rows and of a split, where no ``answer`` is known."""
    val = faces.select("val")
    on_val = scorer.logits(val.images, scorer.views)
    temperature = temperature_of(scorer, faces, "val", on_val)
    by_val = softmax(on_val, temperature)
    if answer is not None:
        return by_val, answer
    if split == "val":
        return by_val, by_val
    return by_val, softmax(scorer.logits(faces.select(split).images, scorer.views), temperature)


def _write(result: EnsembleScores, chosen: FaceSet, voted: dict[str, NDArray[np.float64]], to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    write_json(to / f"ensemble-{result.split}.json", result.to_dict())
    for kind, probs in voted.items():
        write_predictions(to / f"predictions-{result.split}-{kind}.csv", chosen, probs)
    confusion_figure(result.votes["soft"], to / f"confusion-{result.split}.png")
