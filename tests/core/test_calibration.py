"""Temperature scaling against known temperatures, scipy's optimiser and exact properties."""

import logging
import re

import numpy as np
import pytest

from mien.core import metrics
from mien.core.calibration import TEMPERATURES, correct_prior, fit_temperature, softmax
from mien.errors import MienError


def miscalibrated(temperature: float, n: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Logits too large by a factor ``temperature``, and labels drawn from the true odds."""
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(n, 7)) * 2
    labels = (softmax(honest).cumsum(1) < rng.random((n, 1))).sum(1)
    return honest * temperature, labels


@pytest.mark.parametrize("temperature", [0.3, 0.8, 1.0, 1.7, 4.0])
def test_a_known_temperature_is_recovered(temperature):
    assert fit_temperature(*miscalibrated(temperature)) == pytest.approx(temperature, rel=0.03)


@pytest.mark.parametrize("temperature", [0.5, 2.5])
def test_the_fit_is_the_minimum_that_scipy_finds(temperature):
    optimize = pytest.importorskip("scipy.optimize")
    logits, labels = miscalibrated(temperature, 500)
    found = optimize.minimize_scalar(
        lambda t: metrics.nll(softmax(logits, t), labels), bounds=(0.1, 10), method="bounded"
    )
    assert fit_temperature(logits, labels) == pytest.approx(found.x, abs=1e-4)


def test_fitting_lowers_the_calibration_error_and_keeps_every_prediction():
    logits, labels = miscalibrated(3.0)
    before, after = softmax(logits), softmax(logits, fit_temperature(logits, labels))
    gaps = [metrics.calibration_gap(metrics.reliability_bins(p, labels)) for p in (before, after)]
    assert gaps[0] > 0.1
    assert gaps[1] < 0.01
    np.testing.assert_array_equal(before.argmax(1), after.argmax(1))


def test_the_fit_is_deterministic_and_blind_to_a_constant_added_to_a_row():
    logits, labels = miscalibrated(2.0, 300)
    once = fit_temperature(logits, labels)
    assert fit_temperature(logits.copy(), labels) == once
    assert fit_temperature(logits + np.arange(300)[:, None], labels) == pytest.approx(once, rel=1e-9)


def test_logarithms_of_probabilities_give_the_temperature_of_the_logits():
    logits, labels = miscalibrated(2.0, 300)
    got = fit_temperature(np.log(softmax(logits)), labels)
    assert got == pytest.approx(fit_temperature(logits, labels), rel=1e-9)


@pytest.mark.parametrize(
    ("scale", "labels", "edge"),
    [(1e-3, [0, 1, 2, 1], TEMPERATURES[0]), (5, [1, 2, 0, 0], TEMPERATURES[1])],
    ids=["far too unsure", "all wrong"],
)
def test_rows_without_an_optimum_give_the_end_of_the_range_and_a_warning(scale, labels, edge, caplog):
    with caplog.at_level(logging.WARNING):
        assert fit_temperature(np.eye(3)[[0, 1, 2, 2]] * scale, np.array(labels)) == edge
    assert f"no best temperature within 0.05..20 for 4 rows; using {edge:g}" in caplog.text


def test_rows_that_are_all_right_leave_the_probabilities_as_they_are(caplog):
    with caplog.at_level(logging.WARNING):
        assert (
            fit_temperature(np.eye(3) * 2, np.arange(3)) == 1.0
        )  # 0.05 would claim a certainty of 1 - 1e-17
    assert "all 3 rows are right, so no temperature fits best; using 1" in caplog.text


def test_softmax_matches_a_value_worked_by_hand():
    np.testing.assert_allclose(softmax(np.log([1.0, 2.0, 5.0])), [0.125, 0.25, 0.625])
    np.testing.assert_allclose(softmax(np.log([1.0, 4.0]), 2.0), [1 / 3, 2 / 3])


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_softmax_survives_huge_logits_in_every_precision(dtype):
    got = softmax(np.array([[60000, 0, -60000], [-60000, -60000, -60000]], dtype=dtype))
    assert got.dtype == max(dtype, np.float32, key=lambda kind: np.dtype(kind).itemsize)
    np.testing.assert_allclose(got, [[1, 0, 0], [1 / 3] * 3], atol=1e-7)


def test_softmax_of_integers_is_float64():
    assert softmax(np.array([1, 2])).dtype == np.float64


def test_softmax_rules_out_a_class_at_minus_infinity():
    np.testing.assert_allclose(softmax(np.array([0.0, 0.0, -np.inf])), [0.5, 0.5, 0.0])


@pytest.mark.parametrize("temperature", [0.0, -1.0, np.nan, np.inf])
def test_softmax_refuses_an_impossible_temperature(temperature):
    with pytest.raises(MienError, match=f"temperature must be a positive number, got {temperature}"):
        softmax(np.zeros(3), temperature)


@pytest.mark.parametrize("bad", [[np.nan, 0.0], [np.inf, 0.0], [-np.inf, -np.inf]])
def test_softmax_refuses_rows_without_a_distribution(bad):
    with pytest.raises(MienError, match="logits must be finite, got NaN or infinity; look at the network"):
        softmax(np.array([bad]))


@pytest.mark.parametrize(
    ("logits", "labels", "text"),
    [
        (np.zeros(3), [0], "logits must have shape (N, C), got (3,)"),
        (np.array([[0.0, -np.inf]]), [0], "clip probabilities before their logarithm"),
        (np.zeros((2, 3)), [0], "logits and labels must have equal length, got 2 and 1"),
        (np.zeros((1, 3)), [3], "labels must lie in 0..2, got 3..3"),
        (np.zeros((0, 3)), [], "labels must have shape (N,) with at least one row, got (0,)"),
    ],
    ids=["shape", "infinite", "lengths", "range", "empty"],
)
def test_rows_that_cannot_be_fitted_are_refused(logits, labels, text):
    with pytest.raises(MienError, match=re.escape(text)):
        fit_temperature(logits, np.array(labels, dtype=np.int64))


def test_the_whole_prior_taken_out_of_a_posterior_leaves_the_likelihoods():
    likelihood, prior = np.array([0.2, 0.5, 0.3]), np.array([0.7, 0.1, 0.2])
    posterior = likelihood * prior / (likelihood * prior).sum()
    np.testing.assert_allclose(softmax(correct_prior(np.log(posterior), prior, 1.0)), likelihood)
    half = likelihood * np.sqrt(prior)
    np.testing.assert_allclose(softmax(correct_prior(np.log(posterior), prior, 0.5)), half / half.sum())


def test_no_power_leaves_logits_as_they_are_and_their_precision_stays():
    logits = np.float32([[1, 2, 3]])
    assert correct_prior(logits, (), 0.0) is logits
    assert correct_prior(logits, (0.2, 0.3, 0.5), 0.5).dtype == np.float32


@pytest.mark.parametrize("prior", [(0.5, 0.5), (0.5, 0.5, 0.0)], ids=["too few", "zero"])
def test_a_prior_that_cannot_be_is_refused(prior):
    with pytest.raises(MienError, match="prior must hold 3 positive shares, one a class, got"):
        correct_prior(np.zeros((1, 3)), prior, 1.0)
