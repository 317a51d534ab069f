"""What the people of a quiz answered, beside a model, the raters of FER+ and published figures."""

import os
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.agreement import (
    FEW,
    answer_counts,
    compare_readers,
    fleiss_kappa,
    mean_share_interval,
    pooled_interval,
)
from mien.core.metrics import Interval, McNemar, mcnemar
from mien.core.text import counted
from mien.data.ferplus import with_raters_votes
from mien.data.leaks import find_leak
from mien.data.records import FaceSet
from mien.errors import MienError
from mien.workflows.quiz.quiz_file import Person, Quiz
from mien.workflows.run_folder import count_test_evaluation
from mien.workflows.scorer import Scorer, in_label_order, learned_by, open_scorer

EKMAN = {
    "happy": 0.987,
    "surprise": 0.924,
    "disgust": 0.923,
    "angry": 0.889,
    "sad": 0.892,
    "fear": 0.877,
    "neutral": 0.916,
}
"""How often people name posed photographs as meant, after Ekman.

Source: the table that Chang, Dupont and Zhang, "Facial Expression Recognition", CS231n 2016, quote.
"""
PUBLISHED = (
    ("three authors, 100 faces each, FER2013 (CS231n 2016)", "63.4 %"),
    ("people on FER2013, as Khanzada et al. 2020 quote", "65 ± 5 %"),
    ("one author without training, 100 faces, AffectNet, 11 labels (CS230 2018)", "57.0 % (47.2–66.3)"),
    ("another with training, 100 other faces", "63.0 % (53.2–71.8)"),
)
"""Human figures of the papers; the intervals of the last two are Wilson's."""

Ids = NDArray[np.int64]
Counts = NDArray[np.int64] | NDArray[np.float64]


@dataclass(frozen=True)
class Figures:
    """How one reader of the faces, or several together, did. Shares are fractions, intervals 95 %.

    Attributes:
        name: Who.
        n: Answers that count.
        n_faces: Faces they are about.
        accuracy: Share of answers that are the data set's label; see `pooled_interval`.
        balanced_accuracy: Mean of ``recall`` over the labels that occur; see `mean_share_interval`.
        recall: For each label, the share of its answers that are right; ``None`` where no face has it.
        recall_intervals: Of each ``recall``.
        votes: Mean share of the FER+ votes of a face that name what the reader named, over the faces with
            votes; ``None`` without such a face.
        confusion: Answers, a row for each true label.
        training: Labelled examples that came first; ``None`` for what is no person.
        median_s: Seconds an answer took; ``None`` for what is no person.
        model: Accuracy of the model on the same faces, each counted as often as it was answered; ``None``
            without a model.
        against: McNemar's test against the model; ``only_first`` are faces that this reader alone got right.
    """

    name: str
    n: int
    n_faces: int
    accuracy: float
    accuracy_interval: Interval
    balanced_accuracy: float
    balanced_accuracy_interval: Interval
    recall: tuple[float | None, ...]
    recall_intervals: tuple[Interval | None, ...]
    votes: float | None
    confusion: tuple[tuple[int, ...], ...]
    training: int | None = None
    median_s: float | None = None
    model: float | None = None
    against: McNemar | None = None


@dataclass(frozen=True)
class Raters:
    """A single rater of FER+, drawn from those who voted on each face: how often the data set's label.

    ``n_faces`` is how many faces have votes; what else is said of votes is of these too.
    """

    n_faces: int
    accuracy: float
    accuracy_interval: Interval
    recall: tuple[float | None, ...]
    recall_intervals: tuple[Interval | None, ...]


@dataclass(frozen=True, eq=False)
class QuizReport:
    """Everything about a quiz, its model and raters included, on the faces that somebody answered.

    ``n_drawn`` is how many faces the quiz has; ``kappa`` is Fleiss' over the ``agreeing`` people who answered
    all of them.
    """

    quiz: str
    data: str
    split: str
    n_drawn: int
    faces: FaceSet
    people: tuple[Figures, ...]
    pooled: tuple[Figures, ...]
    model: Figures | None
    learned: int
    raters: Raters | None
    agreeing: int
    kappa: float | None
    sentences: tuple[str, ...]
    answers: NDArray[np.int64]
    """What each person (P, N) answered, -1 for nothing."""
    model_answers: NDArray[np.int64] | None

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict, without the images."""
        names = self.faces.label_names
        return {
            "quiz": self.quiz,
            "data": self.data,
            "split": self.split,
            "n_drawn": self.n_drawn,
            "n_faces": len(self.faces),
            "label_names": list(names),
            "people": [asdict(one) for one in self.people],
            "pooled": [asdict(one) for one in self.pooled],
            "model": asdict(self.model) if self.model else None,
            "model_learned_from": self.learned,
            "ferplus_rater": asdict(self.raters) if self.raters else None,
            "agreement": {"people": self.agreeing, "fleiss_kappa": self.kappa},
            "ekman": {name: EKMAN.get(name) for name in names},
            "sentences": list(self.sentences),
        }


def quiz_report(path: str | os.PathLike[str], model: str = "", device: str = "cpu") -> QuizReport:
    """Score everyone who answered, on the faces that they answered.

    Args:
        path: The quiz file.
        model: A model's name, ``.onnx`` path or run folder, to see the same faces; empty for none.
        device: Where a run's network runs.

    Raises:
        DataError: the file is no quiz, or the model has other labels.
        MienError: no one has answered yet.
        ModelError: there is no such model.
    """
    quiz = Quiz(path)
    try:
        faces, people = (
            with_raters_votes(quiz.faces()),
            [one for one in quiz.people() if (one.answers >= 0).any()],
        )
    finally:
        quiz.close()
    if not people:
        out = shlex.quote(os.fspath(path))
        raise MienError(f"no one has answered in {path} yet; start the page: mien quiz --out {out}")
    answers = np.stack([one.answers for one in people])
    whole, n_drawn = answers[(answers >= 0).all(axis=1)], len(faces)
    seen = np.flatnonzero((answers >= 0).any(axis=0))
    answers, faces = answers[:, seen], faces.take(seen)
    people = [replace(one, answers=one.answers[seen], ms=one.ms[seen]) for one in people]
    scorer = open_scorer(model, None, device) if model else None
    guess = model_answers(scorer, faces) if scorer else None
    kappa = fleiss_kappa(answer_counts(whole, len(quiz.label_names))) if len(whole) > 1 else None
    named = scorer.name if scorer else ""
    figures = tuple(_person(one, faces, guess) for one in people)
    groups = _groups(people)
    pooled = tuple(_figures(name, answers[rows], faces, guess) for name, rows in groups.items())
    return QuizReport(
        quiz=Path(path).name,
        data=quiz.name,
        split=quiz.split,
        n_drawn=n_drawn,
        faces=faces,
        people=figures,
        pooled=pooled,
        model=None if guess is None else _figures(named, guess[None], faces),
        learned=_learned(scorer, quiz, faces) if scorer else 0,
        raters=_raters(faces),
        agreeing=len(whole),
        kappa=kappa,
        sentences=tuple(_sentences(figures, answers, groups, faces, (named, guess))),
        answers=answers,
        model_answers=guess,
    )


def model_answers(scorer: Scorer, faces: FaceSet) -> Ids:
    """What a model names on each face (N,), as index into the faces' labels; raises as `in_label_order`."""
    scorer = in_label_order(scorer, faces.label_names, "{} names {}; the quiz asked {}")
    return np.asarray(scorer.logits(faces.images, scorer.views).argmax(axis=1), np.int64)


def _learned(scorer: Scorer, quiz: Quiz, faces: FaceSet) -> int:
    """How many faces of the quiz the model has learned from, as far as is known; opening test is counted."""
    count_test_evaluation(scorer.run, quiz.split)
    known = learned_by(scorer.run, scorer.learned_data, faces, quiz.content_hash)
    return find_leak(faces, known, faces).pixels if known else 0


def _groups(people: Sequence[Person]) -> dict[str, NDArray[np.bool_]]:
    """Who counts together, as masks (P,): everyone; and, where there are both, who had training or not."""
    trained = np.array([one.training > 0 for one in people])
    groups = {"all people": np.ones(len(people), np.bool_)} if len(people) > 1 else {}
    if trained.any() and not trained.all():
        groups |= {"with training": trained, "without training": ~trained}
    return groups


def _figures(name: str, answers: Ids, faces: FaceSet, guess: Ids | None = None) -> Figures:
    """Figures of the answers (P, N) of some readers, beside what a model names on each face (N,)."""
    n_labels, labels = len(faces.label_names), faces.labels
    given, right = (answers >= 0).sum(axis=0), (answers == labels).sum(axis=0)
    total = np.zeros((n_labels, n_labels), np.int64)
    for row in answers:
        np.add.at(total, (labels[row >= 0], row[row >= 0]), 1)
    recall, intervals = _recall(right, given, faces)
    known = [(share, ends) for share, ends in zip(recall, intervals, strict=True) if share is not None]
    return Figures(
        name=name,
        n=int(given.sum()),
        n_faces=int((given > 0).sum()),
        accuracy=float(right.sum() / given.sum()),
        accuracy_interval=pooled_interval(right, given),
        balanced_accuracy=float(np.mean([share for share, _ in known])),
        balanced_accuracy_interval=mean_share_interval(*zip(*known, strict=True)),
        recall=recall,
        recall_intervals=intervals,
        votes=_votes_shared(answers, faces),
        confusion=tuple(map(tuple, total.tolist())),
        model=None if guess is None else float(np.average(guess == labels, weights=given)),
    )


def _recall(
    right: Counts, given: Counts, faces: FaceSet
) -> tuple[tuple[float | None, ...], tuple[Interval | None, ...]]:
    """For each label, the share of its answers that are right, and the interval of it."""
    shares: list[float | None] = []
    intervals: list[Interval | None] = []
    for label in range(len(faces.label_names)):
        mask = (faces.labels == label) & (given > 0)
        shares.append(float(right[mask].sum() / given[mask].sum()) if mask.any() else None)
        intervals.append(pooled_interval(right[mask], given[mask]) if mask.any() else None)
    return tuple(shares), tuple(intervals)


def _person(person: Person, faces: FaceSet, guess: Ids | None) -> Figures:
    given = person.answers >= 0
    found = _figures(person.name, person.answers[None], faces, guess)
    return replace(
        found,
        training=person.training,
        median_s=float(np.median(person.ms[given])) / 1000,
        against=None if guess is None else mcnemar(faces.labels[given], person.answers[given], guess[given]),
    )


def _vote_shares(faces: FaceSet) -> NDArray[np.float64] | None:
    """For each face (N, C), the share of all its votes that each label got; None where no face has votes."""
    if faces.votes is None or faces.vote_names is None or not set(faces.label_names) <= set(faces.vote_names):
        return None
    if not faces.votes.any():
        return None
    columns = [faces.vote_names.index(name) for name in faces.label_names]
    votes = faces.votes.astype(np.float64)
    return np.asarray(votes[:, columns] / np.maximum(votes.sum(axis=1, keepdims=True), 1))


def _votes_shared(answers: Ids, faces: FaceSet) -> float | None:
    shares = _vote_shares(faces)
    if shares is None or faces.votes is None:
        return None
    person, place = np.nonzero((answers >= 0) & faces.votes.any(axis=1))
    return float(shares[place, answers[person, place]].mean()) if len(place) else None


def _raters(faces: FaceSet) -> Raters | None:
    shares = _vote_shares(faces)
    if shares is None or faces.votes is None:
        return None
    given = faces.votes.sum(axis=1)
    right = shares[np.arange(len(faces)), faces.labels] * given
    recall, intervals = _recall(right, given, faces)
    share = float(right.sum() / given.sum())
    return Raters(int((given > 0).sum()), share, pooled_interval(right, given), recall, intervals)


def _sentences(
    people: Sequence[Figures],
    answers: Ids,
    groups: dict[str, NDArray[np.bool_]],
    faces: FaceSet,
    model: tuple[str, Ids | None],
) -> list[str]:
    """What the comparisons allow to say, as text."""
    name, guess = model
    said = [_comparison(one, name, one.against) for one in people if one.against]
    pairs = []
    if guess is not None and "all people" in groups:
        pairs.append(("all people", answers, name, guess[None]))
    if "with training" in groups:
        mask = groups["with training"]
        pairs.append(("those with training", answers[mask], "other people without", answers[~mask]))
    return said + [_gap(*pair, faces) for pair in pairs]


def _gap(first: str, ours: Ids, second: str, theirs: Ids, faces: FaceSet) -> str:
    """How two groups compare over the faces that both answered."""
    ours, theirs = _tally(ours, faces), _tally(theirs, faces)
    both = (ours[:, 1] > 0) & (theirs[:, 1] > 0)
    if (n := int(both.sum())) < FEW:
        seen = counted(n, "face")
        return f"{seen} cannot tell {first} and {second} apart: over fewer than {FEW} none are compared."
    gap, (low, high) = compare_readers(ours[both], theirs[both])
    can = "cannot tell" if low <= 0 <= high else "tell"
    points = f"{100 * gap:+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}, each face counted once"
    return f"{counted(n, 'face')} {can} {first} and {second} apart: {first} {points}."


def _tally(answers: Ids, faces: FaceSet) -> Ids:
    """For each face (N, 2), how many of its answers (P, N) are right, and how many there are."""
    return np.stack([(answers == faces.labels).sum(axis=0), (answers >= 0).sum(axis=0)], axis=1)


def _comparison(one: Figures, model: str, test: McNemar) -> str:
    alone = f"{test.only_first} only {one.name} got right, {test.only_second} only {model}"
    p = f"McNemar's p = {test.p_value:.2g}"
    if test.p_value > 0.05:
        return f"{counted(one.n, 'face')} cannot tell {one.name} and {model} apart: {alone} ({p})."
    better, worse = (one.name, model) if test.only_first > test.only_second else (model, one.name)
    return f"{better} is right more often than {worse}: {alone} ({p})."
