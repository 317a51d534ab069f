"""FER+: ten crowd votes for every FER2013 face, and the four ways to make targets of them.

Source: Barsoum et al., "Training Deep Networks for Facial Expression Recognition with Crowd-Sourced Label
Distribution", 2016 (arXiv 1608.01041), section 3, and the rules of its published reader, which decide ties.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.core.emotions import FER2013, FERPLUS, FERPLUS_VOTES
from mien.data.pixel_csv import USAGES
from mien.data.records import SPLITS, FaceSet
from mien.data.tables import cells_of, find_columns, open_table
from mien.errors import DataError
from mien.names import look_up

COLUMNS = (
    "neutral",
    "happiness",
    "surprise",
    "sadness",
    "anger",
    "disgust",
    "fear",
    "contempt",
    "unknown",
    "NF",
)
"""The vote columns of ``fer2013new.csv``; ``FERPLUS_VOTES`` has mien's names for them, in the same order."""

_N_EMOTIONS = len(FERPLUS)


@dataclass(frozen=True, eq=False)
class FerPlus:
    """The rows of ``fer2013new.csv``.

    Attributes:
        split: uint8 (N,), index into ``SPLITS``.
        votes: uint8 (N, 10), in the order of ``FERPLUS_VOTES``.
        named: bool (N,), whether FER+ gives the face an image name; it withholds it from what is no face.
    """

    split: NDArray[np.uint8]
    votes: NDArray[np.uint8]
    named: NDArray[np.bool_]


def read_ferplus(path: str | os.PathLike[str]) -> FerPlus:
    """Read ``fer2013new.csv``.

    Raises:
        DataError: a column is missing or a row malformed; the text names the line.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"no file at {path}")
    split, votes, named = [], [], []
    needed = {name: (name.lower(),) for name in ("Usage", "Image name", *COLUMNS)}
    with open_table(path, tuple(needed)) as table:
        columns = find_columns(table.header, needed)
        if missing := [name for name in needed if name not in columns]:
            where = f"{path}, line {table.number}"
            raise DataError(f"{where}: needs the columns of fer2013new.csv; missing: {', '.join(missing)}")
        for number, cells in table.rows():
            row = cells_of(cells, columns)
            try:
                if row["Usage"] not in USAGES:
                    raise DataError(f"Usage must be {', '.join(USAGES)}, got {_shown(row['Usage'])}")
                votes.append([_count(row[name]) for name in COLUMNS])
            except DataError as e:
                raise DataError(f"{path}, line {number}: {e}") from None
            split.append(USAGES.index(row["Usage"]))
            named.append(bool(row["Image name"]))
    if not votes:
        raise DataError(f"{path} holds no votes")
    return FerPlus(np.array(split, np.uint8), np.array(votes, np.uint8), np.array(named))


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 3 or int(text) > 255:
        raise DataError(f"a vote must be a whole number from 0 to 255, got {_shown(text)}")
    return int(text)


def _shown(text: str) -> str:
    return repr(text[:20])  # a quoted field may hold line ends


def join_ferplus(faces: FaceSet, ferplus: FerPlus) -> FaceSet:
    """``faces`` with the votes of the same rows.

    The join is by row position. The number in an image name such as ``fer0000059.png`` is not the row: 173
    rows carry no name and the numbering has gaps, so it is wrong for nearly all rows from 60 on.

    Raises:
        DataError: the two have different lengths, or disagree on the split of a row.
    """
    if len(faces) != len(ferplus.votes):
        raise DataError(
            f"FER+ must have one row for each face in the order of the CSV: expected {len(faces):,} rows, "
            f"got {len(ferplus.votes):,}"
        )
    differs = np.flatnonzero(faces.split != ferplus.split)
    if differs.size:
        row = int(differs[0])
        ours, theirs = SPLITS[faces.split[row]], SPLITS[ferplus.split[row]]
        raise DataError(
            f"FER+ and the faces disagree on {differs.size:,} splits, first in row {row}: {theirs}, {ours}; "
            "give the fer2013.csv and fer2013new.csv of one release"
        )
    return replace(faces, votes=ferplus.votes, vote_names=FERPLUS_VOTES)


def ferplus_faces(faces: FaceSet, scheme: str) -> FaceSet:
    """FER+ as a data set of its own: the faces a scheme keeps, their leading emotion, and the soft targets.

    Every scheme first removes votes that stand alone (an emotion that one rater chose). Then

    - ``majority``: the emotion with more than half of the votes;
    - ``probability``, ``crossentropy``: the leading emotions until they hold 75 % of the votes or are three
      (``probability`` draws one label from this distribution in each epoch, ``crossentropy`` trains on it);
    - ``multi_target``: every emotion with at least 30 % of the votes.

    A face is dropped where what is left holds no majority of the votes, or "unknown" or "not a face" leads.
    The published protocol: ``scheme`` chooses and weighs the training faces; validation and test faces are
    those of ``majority``. What is left of the votes of a face becomes its votes, so their shares are its
    targets; a tie for the label goes to the emotion that stands first in ``FERPLUS``.

    Args:
        faces: FER2013 with the votes of FER+, from ``join_ferplus``.
        scheme: One of ``SCHEMES``.

    Raises:
        DataError: no scheme of that name, or ``faces`` have no such votes.
    """
    if faces.votes is None:
        raise DataError(f"{faces.name} has no votes; give fer2013new.csv with --ferplus")
    weights, kept = _weights(faces.votes, scheme)
    measured = faces.split != SPLITS.index("train")
    weights[measured], kept[measured] = _weights(faces.votes[measured], "majority")
    votes = np.zeros_like(faces.votes)
    votes[:, :_N_EMOTIONS] = weights
    return replace(
        faces.take(kept),
        labels=weights[kept].argmax(axis=1).astype(np.int64),
        label_names=FERPLUS,
        name="ferplus",
        votes=votes[kept],
    )


def left_by_scheme(faces: FaceSet) -> bool:
    """Whether the votes are those that a scheme left, so that they tell not how many raters said what.

    `ferplus_faces` leaves no vote that stands alone, and none for "unknown" or "not a face".
    """
    if faces.votes is None or faces.vote_names != FERPLUS_VOTES:
        return False
    return not ((faces.votes == 1).any() or faces.votes[:, _N_EMOTIONS:].any())


def with_raters_votes(faces: FaceSet) -> FaceSet:
    """``faces``, without votes where a scheme left them."""
    return replace(faces, votes=None, vote_names=None) if left_by_scheme(faces) else faces


def answer_classes(faces: FaceSet) -> FaceSet:
    """FER2013 with the answers of FER+ as classes: eight emotions, ``unknown`` and ``not-a-face``.

    The label of a face is the answer that most raters gave; a tie goes to the one that stands first in
    ``FERPLUS_VOTES``. A face without votes is left out.

    Args:
        faces: FER2013 with the votes of FER+, from ``join_ferplus``.

    Raises:
        DataError: ``faces`` are another data set, or have no such votes.
    """
    if faces.votes is None or faces.vote_names != FERPLUS_VOTES or faces.label_names != FER2013:
        how = "mien data import fer2013 fer2013.csv --ferplus fer2013new.csv"
        raise DataError(f"{faces.name} is not FER2013 with the votes of FER+; make it: {how}")
    voted = np.flatnonzero(faces.votes.any(axis=1))
    return replace(
        faces.take(voted),
        labels=faces.votes[voted].argmax(axis=1).astype(np.int64),
        label_names=FERPLUS_VOTES,
        name="ferplus-answers",
    )


def _weights(votes: NDArray[np.uint8], scheme: str) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Votes that a scheme leaves each emotion (N, 8), zeros where it drops the face, and which it keeps."""
    rule = look_up(SCHEMES, scheme, "FER+ scheme", DataError)
    if votes.ndim != 2 or votes.shape[1] != len(FERPLUS_VOTES):
        raise DataError(f"FER+ votes must have shape (N, {len(FERPLUS_VOTES)}), got {votes.shape}")
    weights = rule(np.where(votes > 1, votes, 0).astype(np.int64))
    # argmax over all ten columns: where an emotion and "unknown" tie, the emotion stands first and wins
    kept = weights.any(axis=1) & (weights.argmax(axis=1) < _N_EMOTIONS)
    return np.where(kept[:, None], weights[:, :_N_EMOTIONS], 0), kept


def _majority(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.where(2 * counts > counts.sum(axis=1, keepdims=True), counts, 0)


def _multi_target(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    total = counts.sum(axis=1, keepdims=True)
    strong = np.where(10 * counts >= 3 * total, counts, 0)
    return np.where(2 * strong.sum(axis=1, keepdims=True) > total, strong, 0)


def _leading(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """One row at a time, but each histogram once: of 35,887 faces, only some thousand histograms differ."""
    histograms, which = np.unique(counts, axis=0, return_inverse=True)
    return np.array([_leading_row(row.tolist()) for row in histograms], np.int64).reshape(
        -1, counts.shape[1]
    )[which]


def _leading_row(counts: list[int]) -> list[int]:
    """Take levels of equal votes from the top; a level that meets "unknown" or "not a face" is the last."""
    total, taken, chosen = sum(counts), 0, [0] * len(counts)
    for level in sorted({c for c in counts if c}, reverse=True):
        if 4 * taken >= 3 * total or sum(map(bool, chosen)) >= 3:
            break
        tied = [i for i, count in enumerate(counts) if count == level]
        no_emotion = next((i for i in tied if i >= _N_EMOTIONS), None)
        for i in tied:
            if i < _N_EMOTIONS:
                chosen[i] = level
        taken = sum(chosen)
        if no_emotion is not None:
            if not taken:
                chosen[no_emotion] = level
            break
    many = sum(map(bool, chosen)) > 3
    return [0] * len(counts) if many or 2 * sum(chosen) <= total else chosen


SCHEMES: dict[str, Callable[[NDArray[np.int64]], NDArray[np.int64]]] = {
    "majority": _majority,
    "probability": _leading,
    "crossentropy": _leading,
    "multi_target": _multi_target,
}
"""How votes become targets, by the name that the published code gives it."""
