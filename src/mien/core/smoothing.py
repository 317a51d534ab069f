"""Smooth a person's emotion probabilities over time, and give a label that does not flicker.

The smoothed logarithm of the probabilities is a weighted mean of those around, with the weight
``exp(-|time between| / time constant)``: the exponential filter with the real distances in time, so that
frames may come at any rate. With a look ahead it is the same on both sides and does not lag behind; live,
where there is no future, it is the usual one-sided filter. A cut ends one mean and starts another.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.arguments import check_moment, check_numbers, checked_settings, is_number
from mien.core.calibration import softmax
from mien.core.results import is_uncertain
from mien.errors import MienError

UNCERTAIN = "uncertain"
LONGEST_S = 60.0
LEAST_PROB = 1e-4
"""Probabilities count as at least this, so that one overconfident frame cannot rule an emotion out."""

ABOVE_ALL_PROBS = 1.001
"""Rounding leaves some a little above 1."""


@dataclass(frozen=True, slots=True)
class SmoothingSettings:
    """How calm the label is.

    Args:
        time_s: Time constant, seconds; 0 leaves the probabilities as they are.
        ahead_s: Seconds of the future that count; 0 for live images. Rows come this much later.
        margin: An emotion takes over when its probability is higher by this, 0-1.
        threshold: Below this probability (0-1) of every emotion the label is ``uncertain``; ``None`` takes
            the model card's.

    Raises:
        MienError: a number makes no sense.
    """

    time_s: float = 0.3
    ahead_s: float = 0.6
    margin: float = 0.1
    threshold: float | None = None

    def __post_init__(self) -> None:
        for what, seconds in (("time constant", self.time_s), ("look ahead", self.ahead_s)):
            if not is_number(seconds) or not 0 <= seconds <= LONGEST_S:
                raise MienError(f"the {what} of smoothing must lie in 0..{LONGEST_S:g} s, got {seconds}")
        check_numbers(self, "time_s", "ahead_s")  # plain from here on
        check_numbers(self, "margin", "threshold", most=1)


@dataclass(slots=True)
class _Person:
    """The mean so far, the moments not yet answered, and the label."""

    total: NDArray[np.float64]
    weight: float = 0.0
    time_s: float = -math.inf
    label: str | None = None
    waiting: deque[tuple[float, NDArray[np.float64], bool]] = field(default_factory=deque)


class Smoother:
    """Smooths several persons at once: `add` what is seen, in order, and ask for each moment's `answer`.

    Args:
        labels: Emotions in the order of the probabilities.
        settings: See there.
        threshold: Of the model card; counts where ``settings`` has none.

    Raises:
        MienError: ``settings`` are something else.
    """

    def __init__(
        self, labels: Sequence[str], settings: SmoothingSettings | None = None, threshold: float = 0.3
    ) -> None:
        self.labels = tuple(labels)
        self.settings = checked_settings(settings, SmoothingSettings)
        self.threshold = threshold if self.settings.threshold is None else self.settings.threshold
        self._persons: dict[int, _Person] = {}

    def add(self, track: int, time_s: float, probs: Sequence[float], *, again: bool = False) -> None:
        """Take one moment in: calibrated probabilities; ``again`` where what came before must not count.

        Raises:
            MienError: ``probs`` has not one probability for each label, or ``time_s`` is no finite number, or
                lies before that of the person's last moment.
        """
        row = np.asarray(probs, np.float64)
        if row.shape != (len(self.labels),) or not ((row >= 0) & (row < ABOVE_ALL_PROBS)).all():
            raise MienError(f"probs must be {len(self.labels)} numbers in 0..1, got {probs!r:.80}")
        person = self._persons.get(track) or _Person(np.zeros(len(self.labels)))
        last_s = person.waiting[-1][0] if person.waiting else person.time_s
        check_moment(time_s, last_s, f" for person {track}; another video needs another Smoother")
        logs = np.log(np.maximum(row, LEAST_PROB))
        self._persons[track] = person
        person.waiting.append((time_s, logs, again))

    def answer(self, track: int) -> tuple[str, tuple[float, ...]]:
        """The label and the smoothed probabilities of the person's oldest moment that has none yet.

        Raises:
            MienError: there is no such moment.
        """
        person = self._persons.get(track)
        if person is None or not person.waiting:
            raise MienError(f"no moment of person {track} waits for an answer; add one first")
        time_s, logs, again = person.waiting.popleft()
        if again:
            person.total, person.weight, person.label = np.zeros(len(self.labels)), 0.0, None
        fade = decay(time_s - person.time_s, self.settings.time_s)
        person.total = person.total * fade + logs
        person.weight, person.time_s = person.weight * fade + 1, time_s
        total, weight = person.total.copy(), person.weight
        for later_s, later_logs, is_cut in person.waiting:
            if is_cut or later_s > time_s + self.settings.ahead_s:
                break
            share = decay(later_s - time_s, self.settings.time_s)
            total += share * later_logs
            weight += share
        probs = softmax(total / weight)
        person.label = self.next_label(person.label, probs)
        return person.label, tuple(probs.tolist())

    def forget(self, tracks: Sequence[int]) -> None:
        """Drop all persons but ``tracks`` and those with moments left."""
        self._persons = {n: p for n, p in self._persons.items() if n in tracks or p.waiting}

    def next_label(self, last: str | None, probs: NDArray[np.floating[Any]]) -> str:
        """Hysteresis: the last label stays until another is clearly better, or none is good enough.

        ``uncertain`` is held like any other label where the model has such a class.
        """
        threshold, margin = self.threshold, self.settings.margin
        best = int(probs.argmax())
        top = float(probs[best])
        if last == UNCERTAIN and UNCERTAIN not in self.labels:
            return UNCERTAIN if is_uncertain(top, threshold + margin / 2) else self.labels[best]
        if last is not None:
            held = float(probs[self.labels.index(last)])
            if not is_uncertain(held, threshold - margin / 2) and top - held < margin:
                return last
        return UNCERTAIN if is_uncertain(top, threshold) else self.labels[best]

    def to_dict(self) -> dict[str, Any]:
        """The state that later results depend on, JSON-ready."""
        return {
            str(track): {
                "total": p.total.tolist(),
                "weight": p.weight,
                "time_s": p.time_s if p.weight else None,
                "label": p.label,
                "waiting": [(time_s, logs.tolist(), again) for time_s, logs, again in p.waiting],
            }
            for track, p in self._persons.items()
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `to_dict` gave."""
        self._persons = {
            int(track): _Person(
                np.array(p["total"]),
                p["weight"],
                -math.inf if p["time_s"] is None else p["time_s"],
                p["label"],
                deque((time_s, np.array(logs), again) for time_s, logs, again in p["waiting"]),
            )
            for track, p in state.items()
        }


def decay(gap_s: float, time_s: float) -> float:
    """What a value of ``gap_s`` seconds ago still counts, 0-1; none where the time constant is 0."""
    return math.exp(-max(gap_s, 0.0) / time_s) if time_s > 0 else 0.0
