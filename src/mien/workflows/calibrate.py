"""What a release fits on validation rows: prior, temperatures, automatic views, uncertainty threshold."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.calibration import correct_prior, fit_temperature, softmax
from mien.core.metrics import Labels, Probs, accuracy, balanced_accuracy, confusion_matrix, risk_coverage
from mien.core.tta import AUTO, AutoViews, Views, auto_logits
from mien.data.records import FaceSet
from mien.errors import DataError, ModelError
from mien.train.recipe_keys import balanced_by

Logits = NDArray[np.float32]

COVERAGE = 0.8
"""The share of the validation rows that a model names; it calls the others uncertain."""

CALIBRATED_VIEWS = (1, 2, 5, 10)
"""Numbers of views for which every released model has a temperature."""

FEW, MANY = 1, 5
"""Automatic views of a new release; what they cost and gain against others is in EXPERIMENTS.md."""
IN_DOUBT = 1 / 3
"""The share of the validation rows that automatic views see in many: a face costs 2.3 views in the mean,
however sure a network is."""

POWERS = (0.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0)
MAX_LOSS = 0.005
"""Powers of the prior that are tried, and how much accuracy the chosen one may cost."""


@dataclass(frozen=True)
class Certainty:
    """A threshold of confidence, and what it gives on the rows that it was chosen on.

    Attributes:
        threshold: Least confidence, 0-1, of an answer that is not uncertain.
        coverage: The share of the rows at or above it.
        accuracy: Theirs.
        accuracy_of_the_rest: Of the rows below it; ``None`` where there are none.
    """

    threshold: float
    coverage: float
    accuracy: float
    accuracy_of_the_rest: float | None

    def to_dict(self) -> dict[str, Any]:
        """As a card states it among its scores; the threshold has a field of its own there."""
        table = {"coverage": self.coverage, "accuracy": self.accuracy}
        rest = self.accuracy_of_the_rest
        return table if rest is None else {**table, "accuracy_of_the_rest": rest}


def fit_certainty(probs: Probs, labels: Labels, coverage: float = COVERAGE) -> Certainty:
    """The highest threshold that still names ``coverage`` of the rows, rounded down to four digits.

    Args:
        probs: Calibrated probabilities, shape (N, C).
        labels: True class ids, shape (N,).
        coverage: The share, in (0, 1].

    Raises:
        MienError: ``probs`` are none, or the two lengths differ.
    """
    curve = risk_coverage(probs, labels)
    exact = float(curve.threshold[(curve.coverage < coverage).sum()])
    threshold = math.floor(exact * 1e4) / 1e4  # another machine's last bits must not turn a row
    kept = int((curve.threshold >= threshold).sum()) - 1
    share, right = float(curve.coverage[kept]), float(curve.accuracy[kept])
    rest = None if share == 1 else (float(curve.accuracy[-1]) - share * right) / (1 - share)
    return Certainty(threshold, share, right, rest)


def fit_auto_views(logits: Logits, temperature: float) -> AutoViews:
    """Automatic views that see the least sure `IN_DOUBT` of these faces in many views.

    Args:
        logits: By `FEW` views, shape (N, C).
        temperature: Theirs.
    """
    confidence = softmax(logits, temperature).max(axis=1)
    below = math.floor(float(np.quantile(confidence, IN_DOUBT)) * 1e4) / 1e4
    return AutoViews(FEW, MANY, below, temperature)


def check_prior_power(recipe: Mapping[str, Any], power: float | str | None) -> None:
    """Raise where a power takes out a prior that the network never learned; validation rows may choose it.

    Args:
        recipe: The tables of the recipe that the network learned by, as far as they are known.
        power: A number, or what lets the validation rows choose.

    Raises:
        ModelError: rare emotions would count twice.
    """
    if isinstance(power, int | float) and power and (balanced := balanced_by(recipe)):
        raise ModelError(
            f"the network was trained with {' and '.join(balanced)}, so a prior power of {power:g} would "
            "count rare emotions twice; set it to 0, or to auto, which measures on validation rows"
        )


def class_shares(faces: FaceSet) -> tuple[float, ...]:
    """The share of each class among the training rows.

    Raises:
        DataError: a class has none.
    """
    counts = np.bincount(faces.select("train").labels, minlength=len(faces.label_names))
    if not counts.all():
        empty = ", ".join(np.array(faces.label_names)[counts == 0])
        raise DataError(f"no training row of '{faces.name}' is {empty}, so it has no prior to correct")
    return tuple((counts / counts.sum()).tolist())


@dataclass(frozen=True)
class PriorChoice:
    """How much of the prior is taken out, and what each power that was tried gives on the same rows."""

    power: float
    why: str
    tried: dict[float, tuple[float, float]]

    def to_dict(self) -> dict[str, Any]:
        """As a card states it among its scores."""
        figures = {
            f"{power:g}": {"accuracy": whole, "balanced_accuracy": balanced}
            for power, (whole, balanced) in self.tried.items()
        }
        return {"why": self.why, **figures}


def choose_prior_power(logits: Logits, labels: Labels, prior: Sequence[float]) -> PriorChoice:
    """The power of `POWERS` with the best balanced accuracy among those that cost little accuracy.

    Args:
        logits: As the network gives them, shape (N, C).
        labels: True class ids, shape (N,).
        prior: Share of each class in the training data.
    """
    tried = {power: _accuracies(correct_prior(logits, prior, power), labels) for power in POWERS}
    whole, balanced = tried[0.0]
    allowed = [power for power in POWERS if tried[power][0] >= whole - MAX_LOSS - 1e-9]
    power = max(allowed, key=lambda p: (tried[p][1], -p))
    gain, cost = 100 * (tried[power][1] - balanced), 100 * (whole - tried[power][0])
    if power:
        why = f"{power:g} gains {gain:.2f} points of balanced accuracy and costs {cost:.2f} of accuracy"
    else:
        why = "0: none gains balanced accuracy"
    return PriorChoice(power, f"{why}; at most {100 * MAX_LOSS:g} may be lost", tried)


def _accuracies(logits: Logits, labels: Labels) -> tuple[float, float]:
    confusion = confusion_matrix(labels, logits.argmax(axis=1), logits.shape[1])
    return float(accuracy(confusion)), float(balanced_accuracy(confusion))


@dataclass(frozen=True)
class Calibration:
    """The calibration from logits to probabilities, and the measurements behind it.

    Attributes:
        temperatures: By number of views, as a string, and of ``auto``.
        auto: Automatic views.
        certainty: The threshold of doubt for the views that the model takes by default.
        prior: Share of each class in the training data.
        prior_power: How much of it is taken out.
        scores: Figures for the card.
    """

    temperatures: dict[str, float]
    auto: AutoViews
    certainty: Certainty
    prior: tuple[float, ...] = ()
    prior_power: float = 0.0
    scores: dict[str, Any] = field(default_factory=dict)


def calibrate(
    raw: Mapping[int, Logits],
    labels: Labels,
    views: Views,
    prior: tuple[float, ...] = (),
    prior_power: float | str = 0.0,
    auto: AutoViews | None = None,
) -> Calibration:
    """Fit everything on validation rows: the prior's power first, then temperatures, then the threshold.

    Args:
        raw: The network's logits (N, C) by number of views, among them those of `CALIBRATED_VIEWS` and
            of ``auto``.
        labels: True class ids, shape (N,).
        views: What the model takes by default.
        prior: Share of each class in the training data.
        prior_power: How much of it to take out; ``"auto"`` lets `choose_prior_power` choose.
        auto: Automatic views to keep; by default they are fitted too.
    """
    scores: dict[str, Any] = {}
    if isinstance(prior_power, str):
        choice = choose_prior_power(raw[MANY if views == AUTO else int(views)], labels, prior)
        prior_power, scores["val_by_prior_power"] = choice.power, choice.to_dict()
    logits: dict[Views, Logits] = {n: correct_prior(x, prior, prior_power) for n, x in raw.items()}
    temperatures = {str(n): fit_temperature(x, labels) for n, x in logits.items()}
    auto = auto or fit_auto_views(logits[FEW], temperatures[str(FEW)])
    few = partial(softmax, temperature=auto.temperature)
    logits[AUTO], doubtful = auto_logits(
        lambda rows, n, _: logits[n][rows], np.arange(len(labels)), auto, few
    )
    temperatures[AUTO] = fit_temperature(logits[AUTO], labels)
    scores["val_accuracy_by_views"] = {
        str(n): float((x.argmax(axis=1) == labels).mean()) for n, x in logits.items()
    }
    scores["val_share_in_many_views"] = float(doubtful.mean())
    certainty = fit_certainty(softmax(logits[views], temperatures[str(views)]), labels)
    scores["val_certain"] = certainty.to_dict()
    return Calibration(temperatures, auto, certainty, prior, prior_power, scores)
