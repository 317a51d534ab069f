"""What the people of a quiz answered, beside a model, the raters of FER+ and published figures."""

import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.agreement import answer_counts, clustered_interval, fleiss_kappa
from mien.core.metrics import (
    Interval,
    McNemar,
    accuracy,
    accuracy_interval,
    balanced_accuracy,
    mcnemar,
    recall,
)
from mien.data.leaks import LEARNED, find_leak, read_learned
from mien.data.records import FaceSet
from mien.errors import DataError, MienError
from mien.workflows.quiz.quiz_file import Person, Quiz
from mien.workflows.run_folder import count_test_evaluation
from mien.workflows.scorer import Scorer, open_scorer

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


@dataclass(frozen=True)
class Figures:
    """How one reader of the faces, or several together, did. Shares are fractions, intervals 95 %.

    Attributes:
        name: Who.
        n: Answers that count.
        n_faces: Faces they are about.
        accuracy: Share of answers that are the data set's label. Its interval is Wilson's; of several readers
            together, a bootstrap over the faces.
        balanced_accuracy: Mean of ``recall`` over the labels that occur; interval by bootstrap.
        recall: For each label, the share of its answers that are right; ``None`` where no face has it.
        votes: Mean share of the FER+ votes of a face that name what the reader named; ``None`` without votes.
        confusion: Answers, a row for each true label.
        training: Labelled examples that came first; ``None`` for what is no person.
        median_s: Seconds an answer took; ``None`` for what is no person.
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
    votes: float | None
    confusion: tuple[tuple[int, ...], ...]
    training: int | None = None
    median_s: float | None = None
    against: McNemar | None = None


@dataclass(frozen=True)
class Raters:
    """A single rater of FER+, drawn from those who voted on each face: how often the data set's label."""

    accuracy: float
    accuracy_interval: Interval
    recall: tuple[float | None, ...]


@dataclass(frozen=True, eq=False)
class QuizReport:
    """Everything about a quiz; ``kappa`` is Fleiss' over the ``agreeing`` people who answered all faces."""

    quiz: str
    data: str
    split: str
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
        faces, people = quiz.faces(), [one for one in quiz.people() if (one.answers >= 0).any()]
    finally:
        quiz.close()
    if not people:
        raise MienError(f"no one has answered in {path} yet; start the page: mien quiz --out {path}")
    scorer = open_scorer(model, None, device) if model else None
    guess = model_answers(scorer, faces) if scorer else None
    answers = np.stack([one.answers for one in people])
    whole = answers[(answers >= 0).all(axis=1)]
    kappa = fleiss_kappa(answer_counts(whole, len(quiz.label_names))) if len(whole) > 1 else None
    named = scorer.name if scorer else ""
    figures = tuple(_person(one, faces, guess) for one in people)
    groups = _groups(people)
    pooled = tuple(_figures(name, answers[rows], faces) for name, rows in groups.items())
    return QuizReport(
        quiz=Path(path).name,
        data=quiz.name,
        split=quiz.split,
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
    """What a model names on each face (N,), as index into the faces' labels.

    Raises:
        DataError: its labels are not those of the faces; their order may differ.
    """
    if set(scorer.labels) != set(faces.label_names):
        raise DataError(
            f"{scorer.name} names {', '.join(scorer.labels)}; the quiz asked {', '.join(faces.label_names)}"
        )
    place = np.array([faces.label_names.index(name) for name in scorer.labels])
    return np.asarray(place[scorer.logits(faces.images, scorer.views).argmax(axis=1)], np.int64)


def _learned(scorer: Scorer, quiz: Quiz, faces: FaceSet) -> int:
    """How many faces of the quiz the model has learned from, as far as is known; opening test is counted."""
    if scorer.run and quiz.split == "test":
        count_test_evaluation(scorer.run)
    marks = scorer.run / LEARNED if scorer.run else None
    if marks and marks.is_file():
        return find_leak(faces, read_learned(marks), faces.take(np.zeros(0, np.int64))).pixels
    return len(faces) if quiz.split == "train" and scorer.learned_data == quiz.content_hash else 0


def _groups(people: Sequence[Person]) -> dict[str, NDArray[np.bool_]]:
    """Who counts together, as masks (P,): everyone; and, where there are both, who had training or not."""
    trained = np.array([one.training > 0 for one in people])
    groups = {"all people": np.ones(len(people), np.bool_)} if len(people) > 1 else {}
    if trained.any() and not trained.all():
        groups |= {"with training": trained, "without training": ~trained}
    return groups


def _figures(name: str, answers: Ids, faces: FaceSet) -> Figures:
    """Figures of the answers (P, N) of some readers."""
    n_labels, rng = len(faces.label_names), np.random.default_rng(0)
    seen = np.flatnonzero((answers >= 0).any(axis=0))
    answers = answers[:, seen]
    faces = faces.take(seen)
    each = np.zeros((len(faces), n_labels, n_labels), np.int64)
    for row in answers:
        given = np.flatnonzero(row >= 0)
        each[given, faces.labels[given], row[given]] += 1
    total = each.sum(axis=0)
    n, right = int(total.sum()), int(total.trace())
    one = len(answers) == 1
    support = total.sum(axis=1)
    return Figures(
        name=name,
        n=n,
        n_faces=len(faces),
        accuracy=right / n,
        accuracy_interval=accuracy_interval(right, n) if one else clustered_interval(accuracy, each, rng),
        balanced_accuracy=float(balanced_accuracy(total)),
        balanced_accuracy_interval=clustered_interval(balanced_accuracy, each, rng),
        recall=tuple(
            float(r) if s else None for r, s in zip(np.atleast_1d(recall(total)), support, strict=True)
        ),
        votes=_votes_shared(answers, faces),
        confusion=tuple(map(tuple, total.tolist())),
    )


def _person(person: Person, faces: FaceSet, guess: Ids | None) -> Figures:
    given = person.answers >= 0
    found = _figures(person.name, person.answers[None], faces)
    return replace(
        found,
        training=person.training,
        median_s=float(np.median(person.ms[given])) / 1000,
        against=None if guess is None else mcnemar(faces.labels[given], person.answers[given], guess[given]),
    )


def _vote_shares(faces: FaceSet) -> NDArray[np.float64] | None:
    """For each face (N, C), the share of all its votes that each label of the data set got."""
    if faces.votes is None or faces.vote_names is None or not set(faces.label_names) <= set(faces.vote_names):
        return None
    columns = [faces.vote_names.index(name) for name in faces.label_names]
    votes = faces.votes.astype(np.float64)
    return np.asarray(votes[:, columns] / np.maximum(votes.sum(axis=1, keepdims=True), 1))


def _votes_shared(answers: Ids, faces: FaceSet) -> float | None:
    shares = _vote_shares(faces)
    if shares is None:
        return None
    person, place = np.nonzero(answers >= 0)
    return float(shares[place, answers[person, place]].mean())


def _raters(faces: FaceSet) -> Raters | None:
    shares = _vote_shares(faces)
    if shares is None:
        return None
    right = shares[np.arange(len(faces)), faces.labels]
    masks = [faces.labels == label for label in range(len(faces.label_names))]
    return Raters(
        float(right.mean()),
        _mean_interval(right),
        tuple(float(right[mask].mean()) if mask.any() else None for mask in masks),
    )


def _mean_interval(values: NDArray[np.float64]) -> Interval:
    """Of the mean, over 1,000 resamples of the values."""
    rng = np.random.default_rng(0)
    means = rng.choice(values, (1000, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


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
    for first, ours, second, theirs in pairs:
        both = (ours >= 0).any(axis=0) & (theirs >= 0).any(axis=0)
        if not both.any():
            continue
        gap = _right(ours[:, both], faces.labels[both]) - _right(theirs[:, both], faces.labels[both])
        low, high = _mean_interval(gap)
        n = int(both.sum())
        points = f"{100 * gap.mean():+.1f} points, 95 % {100 * low:+.1f} to {100 * high:+.1f}"
        can = "cannot tell" if low <= 0 <= high else "tell"
        said.append(f"{n} faces {can} {first} and {second} apart: {first} {points}.")
    return said


def _right(answers: Ids, labels: Ids) -> NDArray[np.float64]:
    """For each face (N,), the share of its answers (P, N) that are right."""
    return np.asarray((answers == labels).sum(axis=0) / (answers >= 0).sum(axis=0))


def _comparison(one: Figures, model: str, test: McNemar) -> str:
    alone = f"{test.only_first} only {one.name} got right, {test.only_second} only {model}"
    p = f"McNemar's p = {test.p_value:.2g}"
    if test.p_value > 0.05:
        return f"{one.n} faces cannot tell {one.name} and {model} apart: {alone} ({p})."
    better, worse = (one.name, model) if test.only_first > test.only_second else (model, one.name)
    return f"{better} is right more often than {worse}: {alone} ({p})."
