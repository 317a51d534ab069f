import numpy as np
import pytest

from mien.core import agreement
from mien.core.agreement import answer_counts, clustered_interval, fleiss_kappa, intraclass_correlation
from mien.core.metrics import accuracy, balanced_accuracy, bootstrap_interval
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
