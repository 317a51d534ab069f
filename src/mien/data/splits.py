"""Split a data set into training, validation and test: stratified by label, and optionally by person."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError


def divide(
    labels: NDArray[np.int64],
    groups: NDArray[np.int64],
    parts: tuple[float, float, float],
    rng: np.random.Generator,
) -> NDArray[np.uint8]:
    """Assign every face to a split so that no group is torn and every label is shared out as wanted.

    Groups of several faces are placed first, the largest first, each where its labels are filled least;
    single faces, drawn at random within their label, then fill the splits up. Without larger groups every
    label is shared out to within one face. The last groups go where no face is yet, if one shall be there.

    Args:
        labels: Shape (N,), codes from 0.
        groups: Shape (N,), any codes; faces of one code stay together.
        parts: Shares of train, val and test; they sum to 1 and may be 0.
        rng: Draws the faces.

    Returns:
        uint8 (N,), index into ``SPLITS``.

    Raises:
        DataError: ``parts`` are no shares.
    """
    shares = np.array(parts, np.float64)
    if len(shares) != 3 or not (shares >= 0).all() or abs(shares.sum() - 1) > 1e-6:
        given = ", ".join(f"{part:g}" for part in parts)
        raise DataError(f"parts must be three shares (train, val, test) that sum to 1, got {given}")
    n_labels = int(labels.max(initial=-1)) + 1
    wanted = shares[:, None] * np.bincount(labels, minlength=n_labels)
    placed = np.zeros_like(wanted)
    split = np.zeros(len(labels), np.uint8)
    singles, larger = _by_size(groups, rng)
    for n_before, members in enumerate(larger):
        counts = np.bincount(labels[members], minlength=n_labels)
        # how full each split would be in the labels of this group; one that shall stay empty never wins
        filled = np.where(wanted > 0, (placed + counts) / np.maximum(wanted, 1e-9), np.inf)
        empty = wanted.any(axis=1) & ~placed.any(axis=1)
        if empty.any() and len(larger) - n_before + len(singles) <= empty.sum():
            filled[~empty] = np.inf  # few persons would all be training
        shown = counts > 0
        best = int((filled[:, shown] @ counts[shown]).argmin())
        split[members] = best
        placed[best] += counts
    for label in range(n_labels):
        faces = rng.permutation(singles[labels[singles] == label])
        lacking = np.maximum(wanted[:, label] - placed[:, label], 0)
        take = _whole(lacking if lacking.any() else shares, len(faces))
        split[faces] = np.repeat(np.arange(3, dtype=np.uint8), take)
    return split


def split_command(lacking: str, n_test: int) -> str:
    """The command that makes rows of the split ``lacking``, and leaves ``n_test`` test rows as they are."""
    return "mien data split --keep-test" if lacking == "val" and n_test else "mien data split"


def connected(n: int, links: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    """Group codes (N,) such that linked faces share one, directly or through others.

    Args:
        n: Faces.
        links: Each an array of positions that belong together.
    """
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = i = parent[parent[i]]
        return i

    for members in links:
        first = root(int(members[0]))
        for member in members[1:].tolist():
            parent[root(member)] = first
    return np.array([root(i) for i in range(n)], np.int64)


def by_code(codes: NDArray[np.integer]) -> list[NDArray[np.int64]]:
    """The positions of each code from 0 that occurs more than once."""
    order = np.argsort(codes, kind="stable").astype(np.int64)
    known = order[np.searchsorted(codes[order], 0) :]
    cuts = np.flatnonzero(np.diff(codes[known])) + 1
    return [members for members in np.split(known, cuts) if len(members) > 1]


def _by_size(
    groups: NDArray[np.int64], rng: np.random.Generator
) -> tuple[NDArray[np.int64], list[NDArray[np.int64]]]:
    """Positions that stand alone, and groups of several: largest first, equal ones in random order."""
    larger = by_code(np.unique(groups, return_inverse=True)[1])
    alone = np.ones(len(groups), bool)
    for members in larger:
        alone[members] = False
    order = rng.permutation(len(larger))
    return np.flatnonzero(alone), sorted((larger[i] for i in order), key=len, reverse=True)


def _whole(wanted: NDArray[np.float64], total: int) -> NDArray[np.int64]:
    """Whole numbers in the proportion of ``wanted`` that sum to ``total``, by largest remainders."""
    exact = wanted * (total / wanted.sum())
    take: NDArray[np.int64] = np.floor(exact).astype(np.int64)
    rest = np.argsort(-(exact - take), kind="stable")[: total - int(take.sum())]
    take[rest] += 1
    return take
