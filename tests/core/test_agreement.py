import numpy as np
import pytest

from mien.core import agreement
from mien.core.agreement import (
    answer_counts,
    clustered_interval,
    compare_readers,
    fleiss_kappa,
    intraclass_correlation,
    mean_share_interval,
    pooled_interval,
)
from mien.core.metrics import accuracy, accuracy_interval, balanced_accuracy, bootstrap_interval
from mien.errors import MienError

# Ten images, fourteen raters, five classes: the worked example of the encyclopaedias.
WORKED = [
    [0, 0, 0, 0, 14],
    [0, 2, 6, 4, 2],
    [0, 0, 3, 5, 6],
    [0, 3, 9, 2, 0],
    [2, 2, 8, 1, 1],
    [7, 7, 0, 0, 0],
    [3, 2, 6, 3, 0],
    [2, 5, 3, 2, 2],
    [6, 5, 2, 1, 0],
    [0, 2, 2, 3, 7],
]


def test_kappa_of_the_worked_example():
    assert fleiss_kappa(np.array(WORKED)) == pytest.approx(0.2099, abs=5e-5)


def test_kappa_of_two_raters_by_hand():
    # Answers 00, 01, 11, 11: agreement 3/4; classes 3/8 and 5/8, so chance 34/64; (48 - 34) / (64 - 34).
    counts = answer_counts(np.array([[0, 0, 1, 1], [0, 1, 1, 1]]), 2)
    np.testing.assert_array_equal(counts, [[2, 0], [1, 1], [0, 2], [0, 2]])
    assert fleiss_kappa(counts) == pytest.approx(7 / 15)


def test_those_who_always_agree_have_one_and_those_who_never_do_have_minus_one():
    assert fleiss_kappa(np.array([[3, 0], [0, 3]])) == 1
    assert fleiss_kappa(np.array([[1, 1], [1, 1]])) == -1


def test_random_answers_agree_as_chance_does():
    answers = np.random.default_rng(0).integers(0, 7, (5, 4000))
    assert fleiss_kappa(answer_counts(answers, 7)) == pytest.approx(0, abs=0.01)


def test_one_class_alone_has_no_kappa():
    assert fleiss_kappa(np.array([[3, 0], [3, 0]])) is None


@pytest.mark.parametrize(
    "counts",
    [np.array([[1, 0]]), np.array([[2, 0], [1, 2]]), np.zeros((0, 3), int), np.array([2, 0])],
    ids=["one rater", "different numbers", "no image", "one dimension"],
)
def test_kappa_needs_as_many_raters_for_each_image(counts):
    with pytest.raises(MienError, match="at least two raters, as many for each image"):
        fleiss_kappa(counts)


@pytest.mark.parametrize(
    ("answers", "says"),
    [
        (np.array([0, 1]), r"shape \(people, images\) .*got \(2,\)"),
        (np.array([[0, -1]]), r"in 0\.\.6, got -1\.\.0"),
        (np.array([[0, 7]]), r"in 0\.\.6, got 0\.\.7"),
    ],
    ids=["one dimension", "missing", "unknown"],
)
def test_answers_are_checked(answers, says):
    with pytest.raises(MienError, match=says):
        answer_counts(answers, 7)


def _images(labels, guesses, n_classes=3):
    each = np.zeros((len(labels), n_classes, n_classes), np.int64)
    each[np.arange(len(labels)), labels, guesses] = 1
    return each


@pytest.mark.parametrize("metric", [accuracy, balanced_accuracy])
def test_with_one_answer_an_image_the_interval_is_the_usual_bootstrap(metric):
    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 3, (2, 200))
    each = _images(labels, np.where(rng.random(200) < 0.6, labels, guesses))
    found = clustered_interval(metric, each, np.random.default_rng(1))
    usual = bootstrap_interval(metric, each.sum(0), np.random.default_rng(2), n=5000)
    assert found == pytest.approx(usual, abs=0.015)


def test_three_people_who_answer_alike_are_as_sure_as_one():
    rng = np.random.default_rng(0)
    each = _images(labels := rng.integers(0, 3, 100), np.where(rng.random(100) < 0.6, labels, 0))
    one = clustered_interval(accuracy, each, np.random.default_rng(1))
    assert clustered_interval(accuracy, 3 * each, np.random.default_rng(1)) == pytest.approx(one)
    assert bootstrap_interval(accuracy, 3 * each.sum(0), rng)[0] > one[0] + 0.02


def test_an_interval_needs_an_image():
    with pytest.raises(MienError, match="at least one image"):
        clustered_interval(accuracy, np.zeros((0, 3, 3), int), np.random.default_rng(0))


SHROUT_FLEISS = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]


def test_the_intraclass_correlation_is_that_of_the_paper() -> None:
    assert float(intraclass_correlation(np.array(SHROUT_FLEISS))) == pytest.approx(0.29, abs=0.005)


def test_raters_that_agree_have_one_and_a_shift_between_them_counts() -> None:
    same = np.array([[1, 1], [2, 2], [4, 4]])
    assert float(intraclass_correlation(same)) == 1
    assert float(intraclass_correlation(same + np.array([0, 2]))) < 0.6
    assert np.isnan(intraclass_correlation(np.ones((3, 2))))
    assert np.isnan(intraclass_correlation(np.ones((1, 2))))
    assert intraclass_correlation(np.stack([same, same])).tolist() == [1, 1]


def test_resampling_in_blocks_gives_the_same_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = np.random.default_rng(0).integers(0, 5, (40, 3, 3))
    found = []
    for block in (2**22, 100, 1):
        monkeypatch.setattr(agreement, "BLOCK", block)
        found.append(clustered_interval(accuracy, counts, np.random.default_rng(1)))
    assert found[0] == found[1] == found[2]
    assert list(agreement.blocks(5, 10)) == [1] * 5


def test_one_answer_an_image_or_answers_that_are_all_alike_have_wilsons_interval_of_the_images():
    right, once, thrice = np.array([1] * 9 + [0] * 3), np.ones(12, int), np.full(12, 3)
    assert pooled_interval(right, once) == pytest.approx(accuracy_interval(9, 12))
    assert pooled_interval(3 * right, thrice) == pytest.approx(accuracy_interval(9 * 11 / 12, 11))  # n - 1
    assert pooled_interval(thrice, thrice) == accuracy_interval(12, 12)
    assert pooled_interval(np.array([2, 2]), np.array([2, 2])) == accuracy_interval(2, 2)
    with pytest.raises(MienError, match="n > 0"):
        pooled_interval(np.zeros(2), np.zeros(2))


def test_answers_that_are_not_alike_count_each():
    right = np.random.default_rng(0).binomial(4, 0.7, 500)
    expected = accuracy_interval(int(right.sum()), 2000)
    assert pooled_interval(right, np.full(500, 4)) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("n_images", "alike"), [(4, 0.4), (12, 0.4), (40, 0.05), (40, 0.95)])
def test_the_pooled_interval_covers_the_truth(n_images, alike):
    rng, skill = np.random.default_rng(5), 0.8
    spread = 1 / alike - 1
    easy = rng.beta(skill * spread, (1 - skill) * spread, (600, n_images))
    ends = [pooled_interval(row, np.full(n_images, 3)) for row in rng.binomial(3, easy)]
    assert np.mean([low <= skill <= high for low, high in ends]) >= 0.92


def test_the_interval_of_a_mean_is_that_of_one_share_and_narrower_of_four():
    ends = accuracy_interval(10, 10)
    assert mean_share_interval([1.0], [ends]) == pytest.approx(ends)
    assert mean_share_interval([1.0] * 4, [ends] * 4) == pytest.approx((1 - (1 - ends[0]) / 2, 1))


def test_two_readers_are_compared_as_newcombe_does():
    """His formula for 20 images that both get right, 7 and 2 that one does, 5 that neither does."""
    pairs = np.repeat([[1, 1], [1, 0], [0, 1], [0, 0]], [20, 7, 2, 5], axis=0)
    first, second = (np.stack([column, np.ones(34, int)], axis=1) for column in pairs.T)
    gap, (low, high) = compare_readers(first, second)
    (l1, u1), (l2, u2) = accuracy_interval(27, 34), accuracy_interval(22, 34)
    phi = (20 * 5 - 7 * 2) / np.sqrt(27 * 7 * 22 * 12)
    a, b = 27 / 34 - l1, u2 - 22 / 34
    c, d = u1 - 27 / 34, 22 / 34 - l2
    assert gap == pytest.approx(5 / 34)
    assert low == pytest.approx(gap - np.sqrt(a * a - 2 * phi * a * b + b * b))
    assert high == pytest.approx(gap + np.sqrt(c * c - 2 * phi * c * d + d * d))


def test_ten_people_and_a_model_of_the_same_skill_are_seldom_told_apart():
    """The percentile bootstrap tells them apart in a third of these cases: the model is often all right."""
    rng, told = np.random.default_rng(3), 0
    for _ in range(400):
        people = np.stack([rng.binomial(10, 0.9, 10), np.full(10, 10)], axis=1)
        model = np.stack([rng.binomial(1, 0.9, 10), np.ones(10, int)], axis=1)
        low, high = compare_readers(people, model)[1]
        told += not low <= 0 <= high
    assert told / 400 <= 0.1
