"""Combine the probabilities of several networks: soft, weighted and hard votes."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from mien.errors import MienError

Probs = NDArray[np.floating]


def soft_vote(members: Probs, weights: NDArray[np.floating] | None = None) -> NDArray[np.float64]:
    """Weighted mean (N, C) of the members' probabilities (M, N, C); equal weights unless given.

    Raises:
        MienError: the weights are not M non-negative numbers with a positive sum.
    """
    if weights is None:
        weights = np.ones(len(members))
    if weights.shape != (len(members),) or (weights < 0).any() or not weights.sum() > 0:
        raise MienError(f"weights must be {len(members)} non-negative numbers, got {weights.tolist()}")
    return np.asarray(np.tensordot(weights / weights.sum(), members, 1), np.float64)


def hard_vote(members: Probs) -> NDArray[np.float64]:
    """Share (N, C) of the members (M, N, C) that choose each class; the mean probability breaks ties."""
    n_classes = members.shape[2]
    chosen = np.eye(n_classes)[members.argmax(2)].mean(0)
    leaning = chosen + 1e-6 * members.mean(0)
    return np.asarray(leaning / leaning.sum(1, keepdims=True), np.float64)


def fit_weights(members: Probs, labels: NDArray[np.integer]) -> NDArray[np.float64]:
    """Weights (M,), summing to 1, under which the weighted vote gives the labels (N,) their likeliest values.

    Each of 500 steps of expectation-maximisation raises the likelihood, which has one maximum.

    Source: Dempster, Laird and Rubin 1977, section 4.3 (finite mixtures, components held fixed).
    """
    given = members[:, np.arange(len(labels)), labels].astype(np.float64).clip(1e-12)
    weights = np.full(len(members), 1 / len(members))
    for _ in range(500):
        share = weights[:, None] * given
        weights = (share / share.sum(0)).mean(1)
    return weights


VOTES: dict[str, Callable[[Probs, NDArray[np.floating]], NDArray[np.float64]]] = {
    "soft": lambda members, _: soft_vote(members),
    "weighted": soft_vote,
    "hard": lambda members, _: hard_vote(members),
}
"""One table of probabilities out of the members' (M, N, C) and the fitted weights (M,)."""
