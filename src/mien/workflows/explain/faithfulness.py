"""Faithfulness of a map: remove the pixels that it ranks first, and compare with random order.

Faces are taken apart in cells, an array of 12 x 12, in the order of each map and in random orders of the same
cells: pixels scattered at random would make noise that no face has, and beat any smooth map by that alone.

Sources: Petsiuk et al., "RISE", BMVC 2018, section 4.1 (deletion, insertion); Samek et al., "Evaluating the
Visualization", 2017 (regions instead of pixels); Adebayo et al., "Sanity Checks for Saliency Maps", 2018.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.metrics import Interval, mean_interval
from mien.errors import MienError
from mien.workflows.explain.subject import (
    Classes,
    Faces,
    Maps,
    MapSettings,
    Report,
    Subject,
    make_maps,
    shuffled_subject,
    silent,
)

CELLS = 12
STEPS = 12
RANDOM_RANKINGS = 3
SHUFFLED = 32
"""Faces whose maps are made again with shuffled weights."""
SINGLE_RANKINGS = 19
"""Against which a single map is held; to beat them all by chance has a probability of 1 in 20."""
CHUNK = 16
CHANGED_BELOW = 0.5
"""Maps of the shuffled network must correlate less than this with those of the network."""

Floats = NDArray[np.float64]
Probs = Callable[[Faces], NDArray[np.floating[Any]]]


@dataclass(frozen=True, slots=True)
class MethodScore:
    """How one method compares with random rankings, over faces; intervals are paired bootstrap, 95 %.

    Attributes:
        method: Its name.
        deletion: Mean area under the deletion curve; lower is better.
        deletion_gain: By how much random rankings lie above it.
        insertion: Mean area under the insertion curve; higher is better.
        insertion_gain: By how much it lies above random rankings.
        shuffled: Mean rank correlation of maps before and after the weights were shuffled; ``None`` where
            the weights are out of reach.
    """

    method: str
    deletion: float
    deletion_gain: float
    deletion_interval: Interval
    insertion: float
    insertion_gain: float
    insertion_interval: Interval
    shuffled: float | None = None
    shuffled_interval: Interval | None = None

    @property
    def verdict(self) -> str:
        """As text; a gain counts where its interval is clear of zero."""
        gains = {"deletion": self.deletion_interval, "insertion": self.insertion_interval}
        beats = [name for name, (low, _) in gains.items() if low > 0]
        text = f"beats random in {' and '.join(beats)}" if beats else "no better than random"
        if self.shuffled_interval and self.shuffled_interval[1] >= CHANGED_BELOW:
            text += "; hardly changes with the weights"
        return text


@dataclass(frozen=True)
class Faithfulness:
    """What `measure` found: the random rankings' areas, a score a method, and the mean curves."""

    n: int
    random_deletion: float
    random_insertion: float
    scores: tuple[MethodScore, ...]
    curves: dict[str, dict[str, list[float]]]
    """``deletion`` and ``insertion``: by method and ``random``, the mean probability after each step."""

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dict."""
        scores = [{**asdict(score), "verdict": score.verdict} for score in self.scores]
        return {**asdict(self), "scores": scores, "cells": [CELLS, CELLS], "steps": STEPS}


def measure(
    subject: Subject,
    faces: Faces,
    settings: MapSettings,
    *,
    seed: int = 0,
    report: Report = silent,
) -> Faithfulness:
    """Score every method on the class that the model names on each face.

    Args:
        subject: The model.
        faces: Normalised faces (N, channels, S, S), at least two.
        settings: Which methods, and how.
        seed: Of the random rankings, the bootstrap and the shuffling.
        report: Called with how far it is.

    Raises:
        MienError: fewer than two faces.
    """
    if len(faces) < 2:
        raise MienError(f"faithfulness is measured over at least 2 faces, got {len(faces)}; raise --n")
    rng = np.random.default_rng(seed)
    settings = replace(settings, exact=False)  # the order of the pixels settles long before their sum
    classes = subject.predict(faces).argmax(1)
    maps = make_maps(subject, faces, classes, settings, report)
    ranks = {method: cell_ranks(found) for method, found in maps.items()}
    for i in range(RANDOM_RANKINGS):
        ranks[f"random {i + 1}"] = random_ranks(len(faces), rng)
    found = {}
    for kind in ("deletion", "insertion"):
        each = {}
        for name, rank in ranks.items():
            report(f"{kind}, {name}", 0, len(faces))
            each[name] = curves(subject.probs, faces, classes, rank, kind)
        chance = np.mean([each.pop(f"random {i + 1}") for i in range(RANDOM_RANKINGS)], axis=0)
        found[kind] = {**each, "random": chance}
    correlations = _after_shuffling(subject, faces[:SHUFFLED], classes, maps, settings, report)
    return Faithfulness(
        n=len(faces),
        random_deletion=float(area(found["deletion"]["random"]).mean()),
        random_insertion=float(area(found["insertion"]["random"]).mean()),
        scores=tuple(_score(method, found, correlations.get(method), rng) for method in maps),
        curves={kind: {name: c.mean(0).tolist() for name, c in each.items()} for kind, each in found.items()},
    )


def _score(
    method: str, found: dict[str, dict[str, Floats]], correlation: Floats | None, rng: np.random.Generator
) -> MethodScore:
    deletion, insertion = area(found["deletion"][method]), area(found["insertion"][method])
    deletion_gain = area(found["deletion"]["random"]) - deletion
    insertion_gain = insertion - area(found["insertion"]["random"])
    return MethodScore(
        method,
        float(deletion.mean()),
        float(deletion_gain.mean()),
        mean_interval(deletion_gain, rng),
        float(insertion.mean()),
        float(insertion_gain.mean()),
        mean_interval(insertion_gain, rng),
        None if correlation is None else float(correlation.mean()),
        None if correlation is None else mean_interval(correlation, rng),
    )


def _after_shuffling(
    subject: Subject, faces: Faces, classes: Classes, maps: Maps, settings: MapSettings, report: Report
) -> dict[str, Floats]:
    """For each method, the rank correlation of each face's map with that of the shuffled network."""
    if subject.net is None:
        return {}

    def tell(method: str, done: int, total: int) -> None:
        report(f"{method}, weights shuffled", done, total)

    other = make_maps(shuffled_subject(subject), faces, classes[: len(faces)], settings, tell)
    return {
        method: np.array([rank_correlation(a, b) for a, b in zip(maps[method], found, strict=False)])
        for method, found in other.items()
    }


def random_beaten(
    subject: Subject, faces: Faces, classes: Classes, maps: Maps
) -> dict[str, NDArray[np.int64]]:
    """How many of 19 random rankings of the same face each map's deletion area lies below, (N,)."""
    rng = np.random.default_rng(0)
    chance = [
        area(curves(subject.probs, faces, classes, random_ranks(len(faces), rng), "deletion"))
        for _ in range(SINGLE_RANKINGS)
    ]
    own = {
        method: area(curves(subject.probs, faces, classes, cell_ranks(found), "deletion"))
        for method, found in maps.items()
    }
    return {method: (np.array(chance) > areas).sum(axis=0) for method, areas in own.items()}


def cell_of_pixel(size: int) -> NDArray[np.intp]:
    """The number of the cell, row by row, that each pixel (size, size) belongs to."""
    along = np.arange(size) * CELLS // size
    return np.asarray(along[:, None] * CELLS + along)


def cell_ranks(maps: NDArray[np.float32]) -> NDArray[np.intp]:
    """The place of each cell, (N, 144), when cells are ordered by the mean of the map, the highest first."""
    cells = cell_of_pixel(maps.shape[-1]).ravel()
    sizes = np.bincount(cells, minlength=CELLS**2)
    sums = [np.bincount(cells, one.ravel(), CELLS**2) for one in maps.astype(np.float64)]
    return np.argsort(np.argsort(-np.array(sums) / sizes, axis=1, kind="stable"), axis=1)


def random_ranks(n: int, rng: np.random.Generator) -> NDArray[np.intp]:
    """A random order of the cells for each of ``n`` faces, (n, 144)."""
    return np.argsort(rng.random((n, CELLS**2)), axis=1)


def curves(probs: Probs, faces: Faces, classes: Classes, ranks: NDArray[np.intp], kind: str) -> Floats:
    """Probability of each face's class while cells are replaced in the order of ``ranks``, (N, STEPS + 1).

    ``deletion`` puts mean gray in place of the face; ``insertion`` the face in place of its blurred self.
    """
    pixel_ranks = ranks[:, cell_of_pixel(faces.shape[-1])]
    shares = np.arange(STEPS + 1) * CELLS**2 // STEPS
    parts = []
    for start in range(0, len(faces), CHUNK):
        some, wanted = faces[start : start + CHUNK], classes[start : start + CHUNK]
        before, after = (some, np.zeros_like(some)) if kind == "deletion" else (blurred(some), some)
        replaced = pixel_ranks[start : start + CHUNK, None] < shares[:, None, None]
        steps = np.where(replaced[:, :, None], after[:, None], before[:, None])
        answers = probs(steps.reshape(-1, *faces.shape[1:])).reshape(len(some), STEPS + 1, -1)
        parts.append(answers[np.arange(len(some)), :, wanted])
    return np.concatenate(parts).astype(np.float64)


def blurred(faces: Faces) -> Faces:
    """Faces under a Gaussian blur of a tenth of their side; beyond the edge nothing counts."""
    size = faces.shape[-1]
    apart = np.arange(size)[:, None] - np.arange(size)
    kernel = np.exp(-0.5 * (apart / (0.1 * size)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdims=True)).astype(np.float32)
    return np.asarray(kernel @ faces @ kernel.T, np.float32)


def area(curve: Floats) -> Floats:
    """The area under each curve (N, K + 1) over 0-1, by trapezoids."""
    return np.asarray((curve[:, 1:] + curve[:, :-1]).mean(axis=1) / 2)


def rank_correlation(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Spearman's correlation; 0 where one of the two is constant."""
    x, y = _ranks(a), _ranks(b)
    x, y = x - x.mean(), y - y.mean()
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size else 0.0


def _ranks(values: NDArray[np.floating[Any]]) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, which, counts = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(counts) - (counts - 1) / 2)[which.ravel()], np.float64)
