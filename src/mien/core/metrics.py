"""Scores of a classifier from pooled predictions: one pass over all rows, never means of batches.

What needs only the predicted classes is a function of the confusion matrix (rows true, columns predicted)
and takes a stack of them, shape (..., C, C): a bootstrap is then one multinomial draw and one call.
A fraction with nothing below it counts as 0, but kappa is NaN.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError

Labels = NDArray[np.integer[Any]]
Probs = NDArray[np.floating[Any]]
Counts = NDArray[np.integer[Any]]
Floats = NDArray[np.float64]
Interval = tuple[float, float]
Metric = Callable[[Counts], Floats]

LEVEL = 0.95
"""Of every interval."""
LEAST_WHOLE = 0.6
"""Share of the resamples of a bootstrap that must hold every class. About 0.63 do where one class has one
face, 0.40 where two have, and 0.65 where three classes have two faces."""


def checked_labels(labels: Labels, n_classes: int, name: str = "labels") -> Labels:
    """``labels`` as an array of shape (N,), N at least 1, of class ids in 0..n_classes-1.

    Raises:
        MienError: another shape, an empty array, another type than integers, or an id out of range.
    """
    ids = np.asarray(labels)
    if ids.ndim != 1 or not ids.size:
        raise MienError(f"{name} must have shape (N,) with at least one row, got {ids.shape}")
    if not np.issubdtype(ids.dtype, np.integer):
        raise MienError(f"{name} must be integer class ids, got {ids.dtype}; map names to integer ids")
    if ids.min() < 0 or ids.max() >= n_classes:
        raise MienError(f"{name} must lie in 0..{n_classes - 1}, got {ids.min()}..{ids.max()}")
    return ids


def checked_pair(probs: Probs, labels: Labels) -> tuple[Floats, Labels]:
    """``probs`` as float64 (N, C) and ``labels`` as ids (N,).

    Raises:
        MienError: ``probs`` holds logits or NaN, lengths differ, no rows, or a label is out of range.
    """
    rows = np.asarray(probs, dtype=np.float64)
    if rows.ndim != 2 or not rows.size:
        raise MienError(f"probs must have shape (N, C) with at least one row, got {rows.shape}")
    if np.isnan(rows).any():
        raise MienError(f"probs hold NaN in {int(np.isnan(rows).any(axis=1).sum())} of {len(rows)} rows")
    # Softmax in half precision leaves sums up to 1e-3 off; logits miss by far more in some row.
    bad = (np.abs(rows.sum(axis=1) - 1) > 2e-3) | (rows < 0).any(axis=1)
    if bad.any():
        row = int(bad.argmax())
        raise MienError(
            f"probs must be at least 0 and sum to 1 in each row; row {row} sums to {rows[row].sum():.4g} "
            f"with minimum {rows[row].min():.4g}; if it holds logits, apply mien.core.calibration.softmax"
        )
    ids = checked_labels(labels, rows.shape[1])
    if len(ids) != len(rows):
        raise MienError(f"probs and labels must have equal length, got {len(rows)} and {len(ids)}")
    return rows, ids


# --- from the confusion matrix ---------------------------------------------------------------------------


def confusion_matrix(labels: Labels, predictions: Labels, n_classes: int) -> NDArray[np.int64]:
    """Counts, shape (C, C): row = true class, column = predicted class.

    Raises:
        MienError: the lengths differ, or an id is not in 0..n_classes-1.
    """
    true, guess = checked_labels(labels, n_classes), checked_labels(predictions, n_classes, "predictions")
    if len(true) != len(guess):
        raise MienError(f"labels and predictions must have equal length, got {len(true)} and {len(guess)}")
    cells = true.astype(np.int64) * n_classes + guess
    return np.bincount(cells, minlength=n_classes**2).astype(np.int64).reshape(n_classes, n_classes)


def _ratio(above: NDArray[Any], below: NDArray[Any]) -> Floats:
    return np.asarray(above / np.maximum(below, np.finfo(np.float64).tiny), dtype=np.float64)[()]


def _hits(confusion: Counts) -> Counts:
    return np.diagonal(confusion, axis1=-2, axis2=-1)


def accuracy(confusion: Counts) -> Floats:
    """Share of rows whose prediction is right; shape (...)."""
    return _ratio(_hits(confusion).sum(-1), confusion.sum((-2, -1)))


def precision(confusion: Counts) -> Floats:
    """For each class, the share of its predictions that are right; shape (..., C)."""
    return _ratio(_hits(confusion), confusion.sum(-2))


def recall(confusion: Counts) -> Floats:
    """For each class, the share of its rows that are found; shape (..., C)."""
    return _ratio(_hits(confusion), confusion.sum(-1))


def f1(confusion: Counts) -> Floats:
    """For each class, the harmonic mean of precision and recall; shape (..., C)."""
    return _ratio(2 * _hits(confusion), confusion.sum(-1) + confusion.sum(-2))


def balanced_accuracy(confusion: Counts) -> Floats:
    """Mean recall of the classes that have true rows; shape (...)."""
    return _ratio(recall(confusion).sum(-1), (confusion.sum(-1) > 0).sum(-1))


def macro(metric: Metric, confusion: Counts) -> Floats:
    """Mean of a per-class ``metric`` over the classes that have true rows; shape (...).

    What is predicted does not change which classes count: two models on the same rows have means over the
    same classes.
    """
    occurs = confusion.sum(-1) > 0
    return _ratio((metric(confusion) * occurs).sum(-1), occurs.sum(-1))


def weighted(metric: Metric, confusion: Counts) -> Floats:
    """Mean of a per-class ``metric``, each class weighted by its true rows; shape (...)."""
    support = confusion.sum(-1)
    return _ratio((metric(confusion) * support).sum(-1), support.sum(-1))


def macro_f1(confusion: Counts) -> Floats:
    """Mean F1 over the classes that have true rows; shape (...)."""
    return macro(f1, confusion)


def cohen_kappa(confusion: Counts) -> Floats:
    """Agreement beyond chance, -1 to 1; NaN where chance alone agrees always. Shape (...).

    Source: Cohen, "A Coefficient of Agreement for Nominal Scales", 1960.
    """
    n = confusion.sum((-2, -1)).astype(np.float64)
    chance = (confusion.sum(-1) * confusion.sum(-2)).sum(-1) / n
    kappa = _ratio(_hits(confusion).sum(-1) - chance, n - chance)
    return np.asarray(np.where(n > chance, kappa, np.nan))[()]


def never_predicted(confusion: Counts) -> tuple[int, ...]:
    """Ids of the classes that no row was given, in ascending order; ``confusion`` has shape (C, C)."""
    return tuple(int(i) for i in np.flatnonzero(confusion.sum(0) == 0))


# --- uncertainty -----------------------------------------------------------------------------------------


def accuracy_interval(n_correct: float, n: float) -> Interval:
    """Wilson's 95 % interval of a share ``n_correct / n``, as fractions.

    Raises:
        MienError: ``n`` is 0, or ``n_correct`` is not in 0..n.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    if not 0 <= n_correct <= n or n == 0:
        raise MienError(f"accuracy interval needs 0 <= n_correct <= n and n > 0, got {n_correct} of {n}")
    z = NormalDist().inv_cdf((1 + LEVEL) / 2)
    share, width = n_correct / n, z * z / n
    middle = (share + width / 2) / (1 + width)
    half = z * math.sqrt(share * (1 - share) / n + width / (4 * n)) / (1 + width)
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_interval(
    metric: Metric, confusion: Counts, rng: np.random.Generator, n: int = 1000
) -> Interval | None:
    """Percentile interval of ``metric`` over ``n`` resamples of the rows.

    Drawing N rows with replacement is a multinomial draw over the cells of the confusion matrix, so the rows
    themselves are not needed. Resamples that lost a class are left out, for a mean over fewer classes is of
    something else. ``None`` where fewer than `LEAST_WHOLE` of them are left, or these are all alike, as where
    every row is right: they do not tell how far off the metric may be.

    Args:
        metric: Maps counts of shape (n, C, C) to values of shape (n,), such as ``macro_f1``.
        confusion: Counts, shape (C, C).
        rng: The source of the resamples.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    total = int(confusion.sum())
    if total == 0:
        raise MienError("bootstrap needs at least one row, got an empty confusion matrix")
    drawn = rng.multinomial(total, confusion.ravel() / total, size=n).reshape(n, *confusion.shape)
    whole = ((drawn.sum(-1) > 0) == (confusion.sum(-1) > 0)).all(-1)
    values = metric(drawn)[whole]
    if whole.mean() < LEAST_WHOLE or values.min() == values.max():
        return None
    return percentile_interval(values)


def mean_interval(values: NDArray[np.floating], rng: np.random.Generator) -> Interval:
    """Percentile bootstrap interval of the mean, 95 %, of 2,000 resamples."""
    means = values[rng.integers(0, len(values), (2000, len(values)))].mean(axis=1)
    return percentile_interval(means)


def percentile_interval(values: NDArray[Any]) -> Interval:
    """Ends of the middle 95 % of the values of a metric, one a resample; undefined ones do not count."""
    low, high = np.nanquantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


@dataclass(frozen=True, slots=True)
class McNemar:
    """Rows that only one of two classifiers got right, and how likely so uneven a split is by chance."""

    only_first: int
    only_second: int
    p_value: float


def mcnemar(labels: Labels, first: Labels, second: Labels) -> McNemar:
    """Exact two-sided test whether two classifiers, scored on the same rows, differ in accuracy.

    Args:
        labels: True class ids, shape (N,).
        first: Classes that the first classifier predicted, shape (N,).
        second: Classes that the second classifier predicted, shape (N,).

    Raises:
        MienError: the three lengths differ.

    Source: McNemar, "Note on the sampling error of the difference between correlated proportions", 1947.
    """
    if not len(labels) == len(first) == len(second):
        lengths = f"{len(labels)}, {len(first)} and {len(second)}"
        raise MienError(f"labels and both predictions must have equal length, got {lengths}")
    right, other = np.equal(labels, first), np.equal(labels, second)
    b, c = int((right & ~other).sum()), int((other & ~right).sum())
    tail = term = 1
    for k in range(1, min(b, c) + 1):  # whole numbers: exact where a float binomial would underflow
        term = term * (b + c - k + 1) // k
        tail += term
    return McNemar(b, c, min(1.0, 2 * tail / 2 ** (b + c)))


# --- from probabilities ----------------------------------------------------------------------------------


def nll(probs: Probs, labels: Labels) -> float:
    """Mean negative log-likelihood in nats; a probability below 2.2e-16 counts as 2.2e-16.

    Raises:
        MienError: ``probs`` holds logits or NaN, or the two lengths differ.
    """
    rows, ids = checked_pair(probs, labels)
    return float(-np.log(np.maximum(rows[np.arange(len(ids)), ids], np.finfo(np.float64).eps)).mean())


def brier(probs: Probs, labels: Labels) -> float:
    """Mean squared distance to the one-hot truth, summed over the classes: 0 to 2.

    Raises:
        MienError: ``probs`` holds logits or NaN, or the two lengths differ.

    Source: Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """
    rows, ids = checked_pair(probs, labels)
    return float(((rows - np.eye(rows.shape[1])[ids]) ** 2).sum(axis=1).mean())


@dataclass(frozen=True, slots=True)
class ReliabilityBin:
    """The rows whose confidence lies in (low, high]: how many, their mean confidence and their accuracy."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


def reliability_bins(probs: Probs, labels: Labels, *, n_bins: int = 15) -> tuple[ReliabilityBin, ...]:
    """The bins of a reliability diagram, of equal width and in ascending order; empty bins are left out.

    Convention: bins are closed on the right; only the top class counts.

    Args:
        probs: Class probabilities, shape (N, C). Each row sums to 1.
        labels: True class ids, shape (N,), in 0..C-1.
        n_bins: How many bins, at least 1.

    Raises:
        MienError: ``probs`` holds logits or NaN, the two lengths differ, or ``n_bins`` is below 1.
    """
    rows, ids = checked_pair(probs, labels)
    if n_bins < 1:
        raise MienError(f"n_bins must be at least 1, got {n_bins}")
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == ids
    edges = np.linspace(0, 1, n_bins + 1)
    place = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(place, minlength=n_bins)
    mean, share = (
        _ratio(np.bincount(place, weights=w, minlength=n_bins), count) for w in (confidence, right)
    )
    return tuple(
        ReliabilityBin(float(edges[i]), float(edges[i + 1]), int(count[i]), float(mean[i]), float(share[i]))
        for i in np.flatnonzero(count)
    )


def calibration_gap(bins: Sequence[ReliabilityBin]) -> float:
    """Mean gap between confidence and accuracy, weighted by bin size: 0 (calibrated) to 1.

    It is the expected calibration error. Source: Guo et al., "On Calibration of Modern Neural Networks", ICML
    2017, section 2.
    """
    return sum(b.count * abs(b.accuracy - b.confidence) for b in bins) / sum(b.count for b in bins)


def gap_if_calibrated(bins: Sequence[ReliabilityBin], rng: np.random.Generator) -> Interval:
    """The range of `calibration_gap` that a calibrated model of these confidences would have by chance.

    A finite test set never shows 0: in each bin the number of right answers is drawn, 1,000 times, from a
    binomial distribution whose mean is the bin's confidence.

    Source: Bröcker and Smith, "Increasing the Reliability of Reliability Diagrams", 2007, section 3
    (consistency resampling), within bins.
    """
    counts = np.array([b.count for b in bins])
    expected = counts * np.array([b.confidence for b in bins])
    right = rng.binomial(counts, np.clip(expected / counts, 0, 1), size=(1000, len(counts)))
    return percentile_interval(np.abs(right - expected).sum(axis=1) / counts.sum())


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """Accuracy of the answers kept when those below a confidence are withheld, by ascending coverage.

    Three arrays of shape (K,), one entry for each distinct confidence: the share of rows kept, the accuracy
    among them, and the least confidence kept.
    """

    coverage: Floats
    accuracy: Floats
    threshold: Floats

    def accuracy_at(self, coverage: float) -> float:
        """Accuracy at the least coverage on the curve that reaches ``coverage`` (0-1)."""
        if not 0 < coverage <= 1:
            raise MienError(f"coverage must lie in (0, 1], got {coverage:g}")
        return float(self.accuracy[np.searchsorted(self.coverage, coverage)])


def risk_coverage(probs: Probs, labels: Labels) -> RiskCoverage:
    """The risk-coverage curve of a classifier that withholds its least confident answers.

    Args:
        probs: Class probabilities, shape (N, C). Each row sums to 1.
        labels: True class ids, shape (N,), in 0..C-1.

    Raises:
        MienError: ``probs`` holds logits or NaN, or the two lengths differ.

    Source: Geifman and El-Yaniv, "Selective Classification for Deep Neural Networks", 2017.
    """
    rows, ids = checked_pair(probs, labels)
    confidence, right = rows.max(axis=1), rows.argmax(axis=1) == ids
    order = np.argsort(-confidence, kind="stable")
    ranked, hits = confidence[order], np.cumsum(right[order])
    kept = np.flatnonzero(np.append(ranked[1:] < ranked[:-1], True)) + 1  # a threshold keeps all its ties
    return RiskCoverage(kept / len(ids), hits[kept - 1] / kept, ranked[kept - 1])
