"""Votes, by hand and against a search over all weights."""

import re

import numpy as np
import pytest

from mien.core.voting import VOTES, fit_weights, hard_vote, soft_vote
from mien.errors import MienError

MEMBERS = np.array([[[0.6, 0.4]], [[0.2, 0.8]], [[0.55, 0.45]]])


def test_a_soft_vote_is_the_mean_and_weights_shift_it() -> None:
    np.testing.assert_allclose(soft_vote(MEMBERS), [[0.45, 0.55]])
    np.testing.assert_allclose(soft_vote(MEMBERS, np.array([2.0, 0.0, 2.0])), [[0.575, 0.425]])


def test_a_hard_vote_counts_heads_where_the_mean_says_otherwise() -> None:
    assert hard_vote(MEMBERS).argmax(1).tolist() == [0]
    np.testing.assert_allclose(hard_vote(MEMBERS), [[2 / 3, 1 / 3]], atol=1e-5)


def test_the_mean_breaks_a_tie_of_heads() -> None:
    assert hard_vote(MEMBERS[:2]).argmax(1).tolist() == [1]


def test_fitted_weights_are_the_likeliest_of_all() -> None:
    rng = np.random.default_rng(0)
    members = rng.dirichlet([1, 1, 1], (2, 300))
    labels = rng.integers(0, 3, 300)
    members[0, np.arange(300), labels] += 0.4
    members /= members.sum(2, keepdims=True)
    weight = fit_weights(members, labels)
    grid = np.linspace(0, 1, 1001)
    given = members[:, np.arange(300), labels]
    likelihood = [np.log(w * given[0] + (1 - w) * given[1]).sum() for w in grid]
    assert weight[0] == pytest.approx(grid[int(np.argmax(likelihood))], abs=2e-3)
    assert weight.sum() == pytest.approx(1)


@pytest.mark.parametrize("kind", VOTES)
def test_every_vote_gives_probabilities(kind: str) -> None:
    members = np.random.default_rng(1).dirichlet([1] * 7, (3, 20))
    voted = VOTES[kind](members, np.array([0.2, 0.3, 0.5]))
    np.testing.assert_allclose(voted.sum(1), 1)


def test_only_the_weighted_vote_hears_the_weights() -> None:
    last = np.array([0.0, 0.0, 1.0])
    np.testing.assert_allclose(VOTES["weighted"](MEMBERS, last), MEMBERS[2])
    np.testing.assert_allclose(VOTES["soft"](MEMBERS, last), soft_vote(MEMBERS))
    np.testing.assert_allclose(VOTES["hard"](MEMBERS, last), hard_vote(MEMBERS))


@pytest.mark.parametrize("weights", [[1.0, -1.0, 0.0], [2.0, -1.0, 0.0], [0.0, 0.0, 0.0], [1.0, 1.0]])
def test_weights_that_weigh_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(MienError, match=re.escape(f"weights must be 3 non-negative numbers, got {weights}")):
        soft_vote(MEMBERS, np.array(weights))
