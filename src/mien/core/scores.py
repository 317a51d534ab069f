"""The scores of one set of predictions, as a report states them."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from mien.core import metrics
from mien.errors import MienError

COVERAGES = (0.5, 0.8, 0.9)
"""The shares of images at which a report states the accuracy of the most confident answers."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class: fractions, its true rows (``support``) and how often it was ``predicted``."""

    label: str
    precision: float
    recall: float
    f1: float
    support: int
    predicted: int


def class_scores(confusion: metrics.Counts, label_names: Sequence[str]) -> tuple[ClassScore, ...]:
    """The per-class table of a confusion matrix of shape (C, C), in label order.

    Raises:
        MienError: not one name for each class.
    """
    if len(label_names) != len(confusion):
        raise MienError(f"expected {len(confusion)} label names, one a class, got {len(label_names)}")
    columns = (
        metrics.precision(confusion),
        metrics.recall(confusion),
        metrics.f1(confusion),
        confusion.sum(1),
        confusion.sum(0),
    )
    rows = zip(label_names, *(column.tolist() for column in columns), strict=True)
    return tuple(ClassScore(*row) for row in rows)


def shown_share(share: float, support: int, form: str = ".1%") -> str:
    """Precision, recall or F1 of a class as text; a dash where no row is of that class."""
    return format(share, form) if support else "–"


@dataclass(frozen=True, slots=True)
class Scores:
    """Everything a report states about one set of predictions; intervals are 95 %, values fractions.

    ``accuracy_interval`` is Wilson's, the other intervals are bootstraps of 1,000 resamples; they are
    ``None`` where classes are too rare for one, or all resamples are alike.
    ``ece_if_calibrated`` is the range of ``ece`` that calibrated probabilities would show on as many rows.
    ``coverage_accuracy`` holds (coverage, accuracy) pairs, ``reliability`` 15 bins of equal width without the
    empty ones, and ``confusion`` counts with a row for each true class.
    ``cohen_kappa`` is 0 where it is undefined.
    """

    label_names: tuple[str, ...]
    n: int
    accuracy: float
    accuracy_interval: metrics.Interval
    balanced_accuracy: float
    balanced_accuracy_interval: metrics.Interval | None
    macro_f1: float
    macro_f1_interval: metrics.Interval | None
    weighted_f1: float
    cohen_kappa: float
    nll: float
    brier: float
    ece: float
    ece_if_calibrated: metrics.Interval
    coverage_accuracy: tuple[tuple[float, float], ...]
    never_predicted: tuple[str, ...]
    per_class: tuple[ClassScore, ...]
    reliability: tuple[metrics.ReliabilityBin, ...]
    confusion: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict with the fields as keys."""
        return asdict(self)


def score(
    probs: metrics.Probs,
    labels: metrics.Labels,
    label_names: Sequence[str],
    rng: np.random.Generator | int = 0,
) -> Scores:
    """Score pooled predictions.

    Args:
        probs: Class probabilities of all rows, shape (N, C). Each row sums to 1.
        labels: True class ids, shape (N,), in 0..C-1.
        label_names: One name for each class.
        rng: Source of the bootstrap resamples, or the seed of one.

    Raises:
        MienError: ``probs`` holds logits or NaN, lengths differ, no rows, or a label is out of range.
    """
    rows, ids = metrics.checked_pair(probs, labels)
    confusion = metrics.confusion_matrix(ids, rows.argmax(axis=1), rows.shape[1])
    per_class = class_scores(confusion, label_names)
    curve, bins = metrics.risk_coverage(rows, ids), metrics.reliability_bins(rows, ids)
    rng = np.random.default_rng(rng)
    return Scores(
        label_names=tuple(label_names),
        n=len(ids),
        accuracy=float(metrics.accuracy(confusion)),
        accuracy_interval=metrics.accuracy_interval(int(confusion.trace()), len(ids)),
        balanced_accuracy=float(metrics.balanced_accuracy(confusion)),
        balanced_accuracy_interval=metrics.bootstrap_interval(metrics.balanced_accuracy, confusion, rng),
        macro_f1=float(metrics.macro_f1(confusion)),
        macro_f1_interval=metrics.bootstrap_interval(metrics.macro_f1, confusion, rng),
        weighted_f1=float(metrics.weighted(metrics.f1, confusion)),
        cohen_kappa=float(np.nan_to_num(metrics.cohen_kappa(confusion))),
        nll=metrics.nll(rows, ids),
        brier=metrics.brier(rows, ids),
        ece=metrics.calibration_gap(bins),
        ece_if_calibrated=metrics.gap_if_calibrated(bins, rng),
        coverage_accuracy=tuple((c, curve.accuracy_at(c)) for c in COVERAGES),
        never_predicted=tuple(label_names[i] for i in metrics.never_predicted(confusion)),
        per_class=per_class,
        reliability=bins,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
    )
