"""Faithfulness: curves and verdicts on networks whose answer is known."""

import numpy as np
import pytest

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("matplotlib", reason="needs the train extra")

from mien.workflows.explain import faithfulness
from mien.workflows.explain.faithfulness import cell_ranks, curves, measure, random_beaten
from mien.workflows.explain.subject import MapSettings, Subject

CENTRE = np.zeros((24, 24), np.float32)
CENTRE[8:16, 8:16] = 1


def by_centre(faces: np.ndarray) -> np.ndarray:
    """Logits of a network that says class 1 by the brightness of the middle third alone."""
    value = 4 * (faces[:, 0] * CENTRE).sum((1, 2)) / CENTRE.sum() - 2
    return np.stack([np.zeros_like(value), value], axis=1)


SUBJECT = Subject("centre", ("no", "yes"), 24, 1.0, 0.5, 0.25, 1.0, by_centre)
FACES = np.ones((6, 1, 24, 24), np.float32)
YES = np.ones(6, np.int64)


def test_deletion_ends_in_the_blank_face_and_insertion_in_the_face() -> None:
    rank = faithfulness.random_ranks(6, np.random.default_rng(0))
    deletion = curves(SUBJECT.probs, FACES, YES, rank, "deletion")
    insertion = curves(SUBJECT.probs, FACES, YES, rank, "insertion")
    whole, blank = 1 / (1 + np.exp(-2)), 1 / (1 + np.exp(2))
    assert deletion.shape == (6, faithfulness.STEPS + 1)
    assert deletion[:, 0] == pytest.approx(whole)
    assert deletion[:, -1] == pytest.approx(blank)
    assert insertion[:, -1] == pytest.approx(whole)


def test_the_cells_that_count_go_first() -> None:
    """Sixteen of 144 cells: taken away after two of twelve steps, of which the first takes twelve."""
    found = curves(SUBJECT.probs, FACES[:1], YES[:1], cell_ranks(CENTRE[None]), "deletion")[0]
    logit = 4 * (16 - 12) / 16 - 2
    assert found[1] == pytest.approx(1 / (1 + np.exp(-logit)))
    assert found[2:] == pytest.approx(1 / (1 + np.exp(2)))


def test_cells_are_ranked_by_their_mean_where_they_differ_in_size() -> None:
    values = np.zeros((1, 26, 26), np.float32)
    values[0, faithfulness.cell_of_pixel(26) == 77] = 2
    values[0, faithfulness.cell_of_pixel(26) == 0] = 1.5  # a larger cell, and a larger sum
    ranks = cell_ranks(values)[0]
    assert (ranks[77], ranks[0]) == (0, 1)
    assert sorted(ranks) == list(range(144))


def measured(monkeypatch: pytest.MonkeyPatch, values: np.ndarray) -> faithfulness.MethodScore:
    maps = {"occlusion": np.repeat(values[None], 6, 0).astype(np.float32)}
    monkeypatch.setattr(faithfulness, "make_maps", lambda *_: maps)
    return measure(SUBJECT, FACES, MapSettings()).scores[0]


def test_a_map_of_what_counts_beats_random_with_an_interval_clear_of_zero(monkeypatch) -> None:
    score = measured(monkeypatch, CENTRE)
    assert score.deletion_interval[0] > 0.2
    assert score.deletion_interval[0] <= score.deletion_gain <= score.deletion_interval[1]
    assert score.verdict.startswith("beats random in deletion")


def test_a_map_of_what_does_not_count_is_said_to_be_no_better_than_random(monkeypatch) -> None:
    score = measured(monkeypatch, -CENTRE)
    assert score.deletion_interval[1] < 0
    assert score.verdict == "no better than random"


def test_one_map_is_held_against_19_random_orders_of_the_same_face() -> None:
    maps = {"right": np.repeat(CENTRE[None], 6, 0), "wrong": np.repeat(-CENTRE[None], 6, 0)}
    found = random_beaten(SUBJECT, FACES, YES, maps)
    assert {method: n.tolist() for method, n in found.items()} == {"right": [19] * 6, "wrong": [0] * 6}


def test_maps_that_survive_the_shuffling_of_weights_are_named() -> None:
    ends = (0.1, 0.2)
    score = faithfulness.MethodScore("gradcam", 0.3, 0.15, ends, 0.6, 0.15, ends, 0.8, (0.7, 0.9))
    assert score.verdict == "beats random in deletion and insertion; hardly changes with the weights"


def test_rank_correlation_is_spearman_s() -> None:
    stats = pytest.importorskip("scipy.stats", reason="needs scipy as the reference")
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 9, (12, 12)), rng.normal(size=(12, 12))
    wanted = stats.spearmanr(a.ravel(), a.ravel() + b.ravel()).statistic
    assert faithfulness.rank_correlation(a, a + b) == pytest.approx(wanted)
    assert faithfulness.rank_correlation(a, np.ones((12, 12))) == 0


def test_a_blur_keeps_an_even_face_even() -> None:
    assert faithfulness.blurred(FACES) == pytest.approx(FACES, abs=1e-5)
