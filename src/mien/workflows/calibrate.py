"""What a release fits on validation rows: the threshold of doubt, and what else makes probabilities true."""

import math
from dataclasses import dataclass
from typing import Any

from mien.core.metrics import Labels, Probs, risk_coverage

COVERAGE = 0.8
"""The share of the validation rows that a model names; it calls the others uncertain."""


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
    share, accuracy = float(curve.coverage[kept]), float(curve.accuracy[kept])
    rest = None if share == 1 else (float(curve.accuracy[-1]) - share * accuracy) / (1 - share)
    return Certainty(threshold, share, accuracy, rest)
