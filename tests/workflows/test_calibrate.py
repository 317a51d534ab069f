"""What a release fits on validation rows, against counts made by hand."""

import numpy as np
import pytest

from mien.errors import MienError
from mien.workflows.calibrate import fit_certainty


def answers(confidence: list[float]) -> np.ndarray:
    """Two-class probabilities of these confidences; all answers are class 0."""
    return np.array([(p, 1 - p) for p in confidence])


def test_the_threshold_names_four_in_five_rows_and_says_how_many_are_right() -> None:
    confidence = [0.95, 0.9, 0.85, 0.8, 0.75, 0.7, 0.65, 0.6123456, 0.56, 0.55]
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 1, 0])
    found = fit_certainty(answers(confidence), labels)
    assert found.threshold == 0.6123
    assert (found.coverage, found.accuracy) == (0.8, 0.75)
    assert found.accuracy_of_the_rest == pytest.approx(0.5)


def test_ties_at_the_threshold_are_all_named() -> None:
    found = fit_certainty(answers([0.9, 0.7, 0.7, 0.7, 0.6]), np.array([0, 0, 0, 1, 1]), coverage=0.4)
    assert (found.threshold, found.coverage, found.accuracy) == (0.7, 0.8, 0.75)


def test_all_rows_can_be_named() -> None:
    found = fit_certainty(answers([0.9, 0.7]), np.array([0, 1]), coverage=1.0)
    assert found.to_dict() == {"coverage": 1.0, "accuracy": 0.5}


def test_logits_are_refused() -> None:
    with pytest.raises(MienError, match=r"calibration\.softmax"):
        fit_certainty(np.array([[3.0, -1.0]]), np.array([0]))
