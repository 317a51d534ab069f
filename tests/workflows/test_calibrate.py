"""What a release fits on validation rows, against counts made by hand."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from mien.core.calibration import softmax
from mien.core.metrics import nll
from mien.errors import DataError, MienError, ModelError
from mien.workflows.calibrate import (
    MAX_LOSS,
    POWERS,
    calibrate,
    check_prior_power,
    choose_prior_power,
    class_shares,
    fit_certainty,
)


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


PRIOR = (0.8, 0.15, 0.05)


def drawn(n: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Honest logits of three classes as common as `PRIOR` says, and their labels."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=PRIOR)
    seen = np.eye(3)[labels] * 1.5 + rng.normal(size=(n, 3))  # log-likelihood ratios are 1.5 of these
    return (1.5 * seen + np.log(PRIOR)).astype(np.float32), labels


def accuracies(answers: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    recalls = [(answers[labels == c] == c).mean() for c in range(3)]
    return float((answers == labels).mean()), float(np.mean(recalls))


def test_the_power_of_the_prior_is_the_best_balanced_one_that_costs_little_accuracy() -> None:
    logits, labels = drawn()
    choice = choose_prior_power(logits, labels, PRIOR)
    found = {p: accuracies((logits - p * np.log(PRIOR)).argmax(1), labels) for p in POWERS}
    for power, pair in found.items():
        assert choice.tried[power] == pytest.approx(pair)
    allowed = {p: balanced for p, (whole, balanced) in found.items() if whole >= found[0.0][0] - MAX_LOSS}
    assert choice.power == max(allowed, key=allowed.get)
    assert 0 < choice.power < 1, "the whole prior costs more than half a point here"
    assert choice.to_dict()["why"].startswith(f"{choice.power:g} gains ")
    assert set(choice.to_dict()) == {"why", *(f"{p:g}" for p in POWERS)}


def test_no_power_is_chosen_where_none_helps() -> None:
    logits = np.float32(np.eye(3) * 9)
    choice = choose_prior_power(logits, np.arange(3), PRIOR)
    assert choice.power == 0
    assert choice.why == "0: none gains balanced accuracy; at most 0.5 may be lost"


def test_class_shares_are_those_of_the_training_rows(noise_faces: Callable[..., Any]) -> None:
    faces = noise_faces(140)
    counts = np.bincount(faces.labels[:70], minlength=7)
    assert class_shares(faces) == pytest.approx(counts / 70)
    with pytest.raises(DataError, match="no training row of 'made-up' is disgust, so it has no prior"):
        class_shares(replace(faces, labels=np.where(faces.labels == 1, 0, faces.labels)))


def test_temperatures_are_fitted_after_the_prior_is_taken_out() -> None:
    logits, labels = drawn()
    fitted = calibrate({1: logits, 5: logits}, labels, 1, PRIOR, 0.5)
    corrected = logits - 0.5 * np.log(PRIOR)
    best = min(np.arange(0.5, 2, 0.01), key=lambda t: nll(softmax(corrected, t), labels))
    assert fitted.temperatures["1"] == pytest.approx(best, abs=0.02)
    assert (fitted.prior, fitted.prior_power) == (PRIOR, 0.5)


def test_automatic_views_have_a_temperature_and_scores_of_their_own() -> None:
    one, labels = drawn()
    five = (2 * one).astype(np.float32)
    fitted = calibrate({1: one, 2: one, 5: five}, labels, "auto")
    doubtful = softmax(one, fitted.temperatures["1"]).max(1) < fitted.auto.below
    mixed = np.where(doubtful[:, None], five, one)
    best = min(np.arange(0.5, 3, 0.01), key=lambda t: nll(softmax(mixed, t), labels))
    assert fitted.temperatures["auto"] == pytest.approx(best, abs=0.02)
    assert fitted.scores["val_share_in_many_views"] == pytest.approx(doubtful.mean())
    assert doubtful.mean() == pytest.approx(1 / 3, abs=0.001)
    assert set(fitted.scores["val_accuracy_by_views"]) == {"1", "2", "5", "auto"}
    named = softmax(mixed, fitted.temperatures["auto"]).max(1) >= fitted.certainty.threshold
    assert named.mean() == pytest.approx(0.8, abs=0.001)


@pytest.mark.parametrize(
    "recipe",
    [
        {"data": {"sampling": "balanced"}},
        {"loss": {"class_weights": "balanced"}},
        {"loss": {"logit_adjustment": 1.0}},
    ],
)
def test_no_prior_is_taken_out_that_was_never_learned(recipe: dict[str, Any]) -> None:
    for power in (0, None, "auto"):
        check_prior_power(recipe, power)
    with pytest.raises(ModelError, match=r"prior power of 0.5 would count rare emotions twice; set it to 0"):
        check_prior_power(recipe, 0.5)
    check_prior_power({"data": {"sampling": "shuffle"}, "loss": {"logit_adjustment": 0.0}}, 0.5)
