"""Scores against published confusion matrices, scikit-learn, and values worked by hand."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import sklearn.metrics as sk

from mien.core import metrics
from mien.core.calibration import softmax
from mien.core.scores import Scores, class_scores, score
from mien.core.text import with_interval
from mien.errors import MienError

PUBLISHED = json.loads(Path(__file__).with_name("reference_metrics.json").read_text())
NEAR = {"rtol": 0, "atol": 1e-12}


def pairs(confusion: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The label and prediction of each row that a confusion matrix counted."""
    true, guess = np.indices(confusion.shape)
    return np.repeat(true.ravel(), confusion.ravel()), np.repeat(guess.ravel(), confusion.ravel())


def drawn(n: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Probabilities that know something of the labels, and labels of uneven frequency."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(n_classes, n, p=np.arange(1, n_classes + 1) / np.arange(1, n_classes + 1).sum())
    return softmax(rng.normal(size=(n, n_classes)) + 1.5 * np.eye(n_classes)[labels]), labels


@pytest.fixture(params=PUBLISHED.values(), ids=PUBLISHED.keys())
def published(request: pytest.FixtureRequest) -> dict:
    return request.param


def test_pooled_pairs_give_back_each_published_confusion_matrix(published):
    expected = np.array(published["confusion"])
    labels, predictions = pairs(expected)
    got = metrics.confusion_matrix(labels, predictions, len(expected))
    np.testing.assert_array_equal(got, expected)
    assert got.trace() == published["correct"]


def test_every_published_figure_is_reproduced_to_twelve_digits(published):
    c = np.array(published["confusion"])
    got = {
        "accuracy": metrics.accuracy(c),
        "balanced_accuracy": metrics.balanced_accuracy(c),
        "macro_precision": metrics.macro(metrics.precision, c),
        "macro_f1": metrics.macro_f1(c),
        "weighted_precision": metrics.weighted(metrics.precision, c),
        "weighted_f1": metrics.weighted(metrics.f1, c),
        "cohen_kappa": metrics.cohen_kappa(c),
        "precision": metrics.precision(c),
        "recall": metrics.recall(c),
        "f1": metrics.f1(c),
        "support": c.sum(1),
        "n": c.sum(),
        "correct": c.trace(),
    }
    order_dependent = {"mean_of_batch_accuracy_bs32"}  # the published mistake: no matrix can give it
    assert got.keys() == published.keys() - {"confusion"} - order_dependent
    for name, value in got.items():
        np.testing.assert_allclose(value, published[name], **NEAR, err_msg=name)


def test_classes_that_are_never_predicted_are_named():
    base = np.array(PUBLISHED["cs230_base64"]["confusion"])
    assert metrics.never_predicted(base) == (
        5,
        7,
        8,
        9,
    )  # disgust, contempt, none, uncertain: papers say so too


@pytest.mark.parametrize("n_classes", [2, 7, 11])
@pytest.mark.parametrize("seed", range(3))
def test_scores_agree_with_scikit_learn(n_classes, seed):
    probs, labels = drawn(400, n_classes, seed)
    guess = probs.argmax(1)
    c = metrics.confusion_matrix(labels, guess, n_classes)
    np.testing.assert_array_equal(c, sk.confusion_matrix(labels, guess, labels=range(n_classes)))
    for average, mean in (("macro", metrics.macro), ("weighted", metrics.weighted)):
        expected = sk.precision_recall_fscore_support(labels, guess, average=average, zero_division=0)[:3]
        got = [mean(metric, c) for metric in (metrics.precision, metrics.recall, metrics.f1)]
        np.testing.assert_allclose(got, expected, **NEAR)
    assert metrics.balanced_accuracy(c) == pytest.approx(sk.balanced_accuracy_score(labels, guess), abs=1e-12)
    assert metrics.cohen_kappa(c) == pytest.approx(sk.cohen_kappa_score(labels, guess), abs=1e-12)
    assert metrics.nll(probs, labels) == pytest.approx(sk.log_loss(labels, probs), abs=1e-12)
    # scikit-learn halves the sum for two classes only when asked.
    expected = sk.brier_score_loss(labels, probs, labels=range(n_classes), scale_by_half=False)
    assert metrics.brier(probs, labels) == pytest.approx(expected, abs=1e-12)


def test_a_class_without_rows_or_predictions_is_left_out_of_macro_means():
    c = np.array([[3, 1, 0], [1, 5, 0], [0, 0, 0]])
    labels, guess = pairs(c)
    assert metrics.macro_f1(c) == pytest.approx(sk.f1_score(labels, guess, average="macro"), abs=1e-12)
    assert metrics.balanced_accuracy(c) == pytest.approx((3 / 4 + 5 / 6) / 2)


def test_a_class_without_rows_is_left_out_of_macro_means_though_it_was_answered():
    c = np.array([[30, 1, 0], [2, 40, 1], [0, 0, 0]])
    labels, guess = pairs(c)
    expected = sk.f1_score(labels, guess, labels=np.unique(labels), average="macro")
    assert expected > 0.9
    assert metrics.macro_f1(c) == pytest.approx(expected, abs=1e-12)
    precision = sk.precision_score(labels, guess, labels=np.unique(labels), average="macro")
    assert metrics.macro(metrics.precision, c) == pytest.approx(precision, abs=1e-12)


def test_undefined_fractions_count_as_zero_and_an_undefined_kappa_is_nan():
    one_class = np.array([[4, 0], [0, 0]])
    assert np.isnan(metrics.cohen_kappa(one_class))
    assert score(np.eye(2)[[0, 0]], np.zeros(2, int), ("happy", "sad")).cohen_kappa == 0
    assert metrics.precision(one_class).tolist() == [1, 0]
    assert metrics.recall(one_class).tolist() == [1, 0]


def test_a_stack_of_confusion_matrices_scores_as_each_alone():
    stack = np.random.default_rng(0).integers(0, 9, (5, 4, 4))
    for metric in (metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1, metrics.cohen_kappa):
        np.testing.assert_array_equal(metric(stack), [metric(c) for c in stack])


# --- uncertainty


@pytest.mark.parametrize(
    ("right", "n", "low", "high"),
    [
        # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I, method 3
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        # with no hit the formula shrinks to z² / (n + z²) = 3.841459 / 13.841459
        (0, 10, 0.0, 0.277533),
        (10, 10, 0.722467, 1.0),
    ],
)
def test_wilson_interval_matches_published_and_hand_worked_values(right, n, low, high):
    assert metrics.accuracy_interval(right, n) == pytest.approx((low, high), abs=5e-5)


def test_bootstrap_of_accuracy_agrees_with_wilson_on_many_rows():
    c = np.array([[1400, 300], [600, 1289]])
    got = metrics.bootstrap_interval(metrics.accuracy, c, np.random.default_rng(0), n=4000)
    assert got == pytest.approx(metrics.accuracy_interval(2689, 3589), abs=0.002)


def test_bootstrap_over_cells_agrees_with_resampling_the_rows():
    labels, guess = pairs(np.array([[40, 8, 2], [5, 20, 5], [1, 6, 13]]))
    c, rng = metrics.confusion_matrix(labels, guess, 3), np.random.default_rng(1)
    rows = rng.integers(0, len(labels), (3000, len(labels)))
    values = [metrics.macro_f1(metrics.confusion_matrix(labels[r], guess[r], 3)) for r in rows]
    got = metrics.bootstrap_interval(metrics.macro_f1, c, rng, n=3000)
    assert got == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=0.01)


@pytest.mark.parametrize("metric", [metrics.accuracy, metrics.balanced_accuracy, metrics.macro_f1])
def test_bootstrap_interval_holds_the_truth_in_about_95_of_100_simulated_sets(metric):
    rng = np.random.default_rng(7)
    cells = np.array([[0.40, 0.06, 0.04], [0.05, 0.20, 0.05], [0.04, 0.02, 0.14]])
    truth = metric((cells * 1_000_000).round().astype(int))
    sets = rng.multinomial(500, cells.ravel(), size=400).reshape(-1, 3, 3)
    ends = np.array([metrics.bootstrap_interval(metric, c, rng, n=400) for c in sets])
    share = ((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean()
    assert 0.91 <= share <= 0.98  # 0.95 with a standard error of 0.011


def test_a_resample_that_lost_a_rare_class_does_not_count():
    c = np.array([[49, 49], [0, 2]])
    low, high = metrics.bootstrap_interval(metrics.balanced_accuracy, c, np.random.default_rng(0))
    by_common_class = metrics.accuracy_interval(49, 98)  # the rare class is right in every resample
    assert (low, high) == pytest.approx([(1 + end) / 2 for end in by_common_class], abs=0.01)
    assert low > 0.69


def test_classes_that_most_resamples_lose_give_no_interval():
    c = np.diag([97, 1, 1])
    for metric in (metrics.balanced_accuracy, metrics.macro_f1):
        assert metrics.bootstrap_interval(metric, c, np.random.default_rng(0)) is None
    labels = np.repeat([0, 1, 2], [97, 1, 1])
    found = score(np.eye(3)[labels], labels, ("happy", "sad", "angry"))
    assert found.balanced_accuracy_interval is None
    assert with_interval(found.macro_f1, found.macro_f1_interval) == "100.00%"


@pytest.mark.parametrize("c", [np.diag([20, 20]), np.array([[0, 20], [20, 0]]), np.array([[1, 0], [0, 0]])])
def test_resamples_that_are_all_alike_give_no_interval(c):
    for metric in (metrics.balanced_accuracy, metrics.macro_f1):
        assert metrics.bootstrap_interval(metric, c, np.random.default_rng(0)) is None


def test_the_same_seed_gives_the_same_bootstrap_interval():
    c = np.array([[40, 8], [5, 20]])
    one, two = (metrics.bootstrap_interval(metrics.macro_f1, c, np.random.default_rng(3)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize(
    ("only_first", "only_second", "p_value"),
    [(0, 0, 1.0), (5, 5, 1.0), (0, 5, 2 / 32), (2, 8, 2 * (1 + 10 + 45) / 1024), (1, 0, 1.0)],
)
def test_mcnemar_matches_the_binomial_worked_by_hand(only_first, only_second, p_value):
    labels = np.zeros(30, int)
    first, second = labels.copy(), labels.copy()
    second[:only_first] = 1
    first[only_first : only_first + only_second] = 1
    got = metrics.mcnemar(labels, first, second)
    assert (got.only_first, got.only_second) == (only_first, only_second)
    assert got.p_value == pytest.approx(p_value, abs=1e-15)


def test_mcnemar_agrees_with_scipy_on_thousands_of_rows():
    binomtest = pytest.importorskip("scipy.stats").binomtest
    rng = np.random.default_rng(0)
    labels, first, second = rng.integers(0, 3, (3, 5000))
    got = metrics.mcnemar(labels, first, second)
    both = got.only_first + got.only_second
    assert both > 1000
    assert got.p_value == pytest.approx(binomtest(got.only_first, both).pvalue, rel=1e-9)


# --- probabilities


def calibration_error(probs, labels, n_bins=15):
    return metrics.calibration_gap(metrics.reliability_bins(probs, labels, n_bins=n_bins))


def test_expected_calibration_error_matches_a_value_worked_by_hand():
    probs = np.array([[0.9, 0.1], [0.8, 0.2], [0.75, 0.25], [0.4, 0.6]])
    labels = np.array([0, 1, 0, 1])
    # Two bins: (0, .5] is empty, (.5, 1] holds all: |3/4 - (0.9+0.8+0.75+0.6)/4| = |0.75 - 0.7625|
    assert calibration_error(probs, labels, n_bins=2) == pytest.approx(0.0125)
    # Five bins: (.4, .6] 1 row: |1-.6|; (.6, .8] 2 rows: |.5-.775|; (.8, 1] 1 row: |1-.9|
    expected = (0.4 + 2 * 0.275 + 0.1) / 4
    assert calibration_error(probs, labels, n_bins=5) == pytest.approx(expected)


def test_a_confidence_on_an_edge_falls_into_the_bin_below():
    probs = np.array([[0.5, 0.5, 0.0, 0.0], [0.75, 0.25, 0.0, 0.0]])
    bins = metrics.reliability_bins(probs, np.array([0, 0]), n_bins=4)
    assert [(b.low, b.high, b.count) for b in bins] == [(0.25, 0.5, 1), (0.5, 0.75, 1)]


def test_a_certain_and_right_classifier_is_calibrated():
    probs, labels = np.eye(3)[[0, 1, 2, 1]], np.array([0, 1, 2, 1])
    assert calibration_error(probs, labels) == 0
    assert metrics.brier(probs, labels) == 0
    assert metrics.nll(probs, labels) == 0


def test_a_certain_and_wrong_classifier_scores_worst():
    probs, labels = np.eye(2)[[0, 1]], np.array([1, 0])
    assert calibration_error(probs, labels) == 1
    assert metrics.brier(probs, labels) == 2
    assert metrics.nll(probs, labels) == pytest.approx(-np.log(np.finfo(float).eps))


def test_brier_matches_a_value_worked_by_hand():
    probs = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    expected = ((0.25 + 0.09 + 0.04) + (0.01 + 0.64 + 0.81)) / 2
    assert metrics.brier(probs, np.array([0, 2])) == pytest.approx(expected)


def test_labels_drawn_from_the_probabilities_show_little_calibration_error():
    rng = np.random.default_rng(0)
    probs = softmax(rng.normal(size=(40_000, 7)) * 2)
    labels = (probs.cumsum(1) < rng.random((40_000, 1))).sum(1)
    assert calibration_error(probs, labels) < 0.01


def test_the_error_by_chance_is_that_of_labels_drawn_from_the_probabilities():
    rng = np.random.default_rng(0)
    probs = softmax(rng.normal(size=(500, 7)) * 2)
    drawn_errors = [
        calibration_error(probs, (probs.cumsum(1) < rng.random((500, 1))).sum(1).clip(0, 6))
        for _ in range(1000)
    ]
    bins = metrics.reliability_bins(probs, probs.argmax(1))
    got = metrics.gap_if_calibrated(bins, rng)
    assert got == pytest.approx(np.quantile(drawn_errors, [0.025, 0.975]), rel=0.1)


def test_certainty_leaves_nothing_to_chance():
    bins = metrics.reliability_bins(np.eye(3), np.array([0, 1, 0]))
    assert metrics.gap_if_calibrated(bins, np.random.default_rng(0)) == (0, 0)


def test_risk_coverage_matches_a_curve_worked_by_hand():
    top = np.array([0.9, 0.6, 0.8, 0.8, 0.7])
    labels = np.array([0, 1, 0, 1, 0])  # ranked: right, (right, wrong), right, wrong
    curve = metrics.risk_coverage(np.stack([top, 1 - top], 1), labels)
    np.testing.assert_allclose(curve.coverage, [0.2, 0.6, 0.8, 1.0])
    np.testing.assert_allclose(curve.accuracy, [1, 2 / 3, 3 / 4, 3 / 5])
    np.testing.assert_allclose(curve.threshold, [0.9, 0.8, 0.7, 0.6])
    assert curve.accuracy_at(0.3) == pytest.approx(2 / 3)
    assert curve.accuracy_at(0.8) == pytest.approx(3 / 4)
    assert curve.accuracy_at(1.0) == pytest.approx(3 / 5)


# --- all of it


def test_score_gathers_every_number_of_a_report():
    probs, labels = drawn(500, 4, 0)
    names = ("angry", "happy", "sad", "neutral")
    got = score(probs, labels, names, np.random.default_rng(5))
    c = metrics.confusion_matrix(labels, probs.argmax(1), 4)
    assert got.n == 500
    assert got.confusion == tuple(map(tuple, c.tolist()))
    assert got.accuracy == sk.accuracy_score(labels, probs.argmax(1))
    assert got.accuracy_interval == metrics.accuracy_interval(int(c.trace()), 500)
    assert got.balanced_accuracy_interval[0] < got.balanced_accuracy < got.balanced_accuracy_interval[1]
    assert got.macro_f1_interval[0] < got.macro_f1 < got.macro_f1_interval[1]
    assert got.ece == calibration_error(probs, labels)
    assert [row.label for row in got.per_class] == list(names)
    assert [row.support for row in got.per_class] == c.sum(1).tolist()
    assert [row.predicted for row in got.per_class] == c.sum(0).tolist()
    assert got.coverage_accuracy[0] == (0.5, metrics.risk_coverage(probs, labels).accuracy_at(0.5))
    assert sum(b.count for b in got.reliability) == 500


def test_scores_travel_through_json_unchanged():
    got = score(*drawn(60, 3, 0), ("a", "b", "c"))
    back = json.loads(json.dumps(got.to_dict(), allow_nan=False))
    assert back["accuracy"] == got.accuracy
    assert back["per_class"][2]["f1"] == got.per_class[2].f1
    assert set(back) == set(Scores.__dataclass_fields__)


def test_a_seed_and_its_generator_give_equal_scores():
    probs, labels = drawn(60, 3, 0)
    assert score(probs, labels, "abc", 4) == score(probs, labels, "abc", np.random.default_rng(4))


def test_scores_name_the_classes_never_predicted():
    probs = np.array([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]])
    assert score(probs, np.array([0, 2]), ("happy", "sad", "disgust")).never_predicted == ("disgust",)


# --- errors

TWO = np.array([[0.5, 0.5], [0.2, 0.8]])


@pytest.mark.parametrize(
    ("probs", "labels", "text"),
    [
        (
            TWO * 3,
            [0, 1],
            "sum to 1 in each row; row 0 sums to 3 with minimum 1.5; if it holds logits, apply",
        ),
        (np.array([[2.0, -1.0]]), [0], "row 0 sums to 1 with minimum -1; if it holds logits"),
        (np.array([[0.5, 0.5], [np.nan, 1]]), [0, 1], "probs hold NaN in 1 of 2 rows"),
        (TWO[0], [0, 1], "probs must have shape (N, C) with at least one row, got (2,)"),
        (TWO[:0], [], "probs must have shape (N, C) with at least one row, got (0, 2)"),
        (TWO, [0, 1, 1], "probs and labels must have equal length, got 2 and 3"),
        (TWO, [0, 2], "labels must lie in 0..1, got 0..2"),
        (TWO, [-1, 0], "labels must lie in 0..1, got -1..0"),
        (TWO, [0.0, 1.0], "labels must be integer class ids, got float64"),
        (TWO, [[0], [1]], "labels must have shape (N,) with at least one row, got (2, 1)"),
    ],
    ids=["logits", "negative", "nan", "one row", "empty", "lengths", "above", "below", "float", "column"],
)
def test_probabilities_that_cannot_be_scored_are_refused(probs, labels, text):
    for metric in (metrics.nll, metrics.brier, metrics.reliability_bins, metrics.risk_coverage):
        with pytest.raises(MienError, match=re.escape(text)):
            metric(probs, np.array(labels))


@pytest.mark.parametrize(
    ("call", "text"),
    [
        (
            lambda: metrics.confusion_matrix(np.array([0, 1]), np.array([0]), 2),
            "labels and predictions must have equal length, got 2 and 1",
        ),
        (
            lambda: metrics.confusion_matrix(np.array([0]), np.array([2]), 2),
            "predictions must lie in 0..1, got 2..2",
        ),
        (
            lambda: metrics.confusion_matrix(np.array([], int), np.array([], int), 2),
            "labels must have shape (N,) with at least one row, got (0,)",
        ),
        (lambda: metrics.accuracy_interval(3, 2), "needs 0 <= n_correct <= n and n > 0, got 3 of 2"),
        (lambda: metrics.accuracy_interval(0, 0), "needs 0 <= n_correct <= n and n > 0, got 0 of 0"),
        (
            lambda: metrics.bootstrap_interval(
                metrics.accuracy, np.zeros((2, 2), int), np.random.default_rng(0)
            ),
            "bootstrap needs at least one row",
        ),
        (
            lambda: metrics.mcnemar(np.array([0, 1]), np.array([0, 1]), np.array([0])),
            "must have equal length, got 2, 2 and 1",
        ),
        (
            lambda: metrics.reliability_bins(TWO, np.array([0, 1]), n_bins=0),
            "n_bins must be at least 1, got 0",
        ),
        (
            lambda: metrics.risk_coverage(TWO, np.array([0, 1])).accuracy_at(0),
            "coverage must lie in (0, 1], got 0",
        ),
        (lambda: class_scores(np.eye(2, dtype=int), ("a",)), "expected 2 label names, one a class, got 1"),
        (
            lambda: score(TWO, np.array([0, 1]), ("a", "b", "c")),
            "expected 2 label names, one a class, got 3",
        ),
    ],
)
def test_impossible_requests_say_what_was_expected(call, text):
    with pytest.raises(MienError, match=re.escape(text)):
        call()


def test_half_precision_probabilities_are_accepted():
    probs, labels = drawn(200, 7, 0)
    assert metrics.nll(probs.astype(np.float16), labels) == pytest.approx(
        metrics.nll(probs, labels), abs=1e-2
    )


def test_the_interval_of_a_mean_is_the_normal_one_where_there_are_many():
    values = np.random.default_rng(0).normal(0.3, 1, 4000)
    low, high = metrics.mean_interval(values, np.random.default_rng(1))
    half = 1.96 * values.std() / np.sqrt(4000)
    assert (low, high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.003)
