"""Summary of a whole video, person by person, in memory that does not grow with its length."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.timeline import TimelineRow, frame_seconds

N_BINS = 600
FIRST_BIN_S = 0.04


@dataclass(slots=True)
class PersonSummary:
    """One person.

    Attributes:
        track: The number.
        first_s: Seen first, seconds.
        last_s: Seen last, seconds.
        seconds: Time seen; see `frame_seconds`.
        by_label: Seconds under each label.
        unrest: Sum over time of the probability of everything but neutral, seconds.
        bins: Bin of time to the sum of the smoothed probabilities and, last, their number.
    """

    track: int
    first_s: float
    last_s: float
    seconds: float = 0.0
    by_label: dict[str, float] = field(default_factory=dict)
    unrest: float = 0.0
    bins: dict[int, NDArray[np.float64]] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, float]:
        """Share of the time seen under each label, largest first."""
        total = self.seconds or 1.0
        order = sorted(self.by_label.items(), key=lambda item: -item[1])
        return {label: seconds / total for label, seconds in order}

    @property
    def expressiveness(self) -> float:
        """Mean probability, 0-1, of any emotion but neutral."""
        return self.unrest / self.seconds if self.seconds else 0.0

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, without the bins."""
        return {
            "track": self.track,
            "first_s": round(self.first_s, 3),
            "last_s": round(self.last_s, 3),
            "seconds": round(self.seconds, 3),
            "expressiveness": round(self.expressiveness, 4),
            "shares": {label: round(share, 4) for label, share in self.shares.items()},
        }


class Summary:
    """Takes rows and keeps sums; `finish` counts the last frame.

    Args:
        labels: The model's labels.
    """

    def __init__(self, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self.persons: dict[int, PersonSummary] = {}
        self.n_frames = self.n_faceless = 0
        self.first_s = self.last_s = 0.0
        self.bin_s = FIRST_BIN_S
        self._frame: int | None = None
        self._span_s = 0.0
        self._now: list[tuple[PersonSummary, str, Sequence[float]]] = []  # of the last frame

    @property
    def seconds(self) -> float:
        """From the first frame to the end of the last one."""
        return self.last_s - self.first_s + frame_seconds(None, self._span_s) if self.n_frames else 0.0

    def finish(self) -> None:
        """Count the last frame for as long as the one before it."""
        self._count(frame_seconds(None, self._span_s))

    def add(self, row: TimelineRow) -> None:
        """Add a row."""
        person = row.person
        if person is None:
            self._add(row.time_s, row.frame, None, "", ())
        else:
            self._add(row.time_s, row.frame, person.track, person.label, person.smooth_probs)

    def add_cells(self, cells: Mapping[str, Any]) -> None:
        """Add a row that was read back from a file."""
        probs = [cells[f"p_smooth_{label}"] for label in self.labels] if cells["track"] else ()
        self._add(cells["time_s"], cells["frame"], cells["track"], cells["label"] or "", probs)

    def _add(self, time_s: float, frame: int, track: int | None, label: str, probs: Sequence[float]) -> None:
        if self._frame is None:
            self.first_s = time_s
        elif frame != self._frame:
            self._span_s = frame_seconds(max(time_s - self.last_s, 0.0), self._span_s)
            self._count(self._span_s)
        if frame != self._frame:
            self._frame, self.last_s = frame, time_s
            self.n_frames += 1
            self.n_faceless += track is None
        if track is not None:
            person = self.persons.setdefault(track, PersonSummary(track, time_s, time_s))
            person.last_s = time_s
            self._now.append((person, label, probs))

    def _count(self, span_s: float) -> None:
        """Add the persons of the last frame, which lasts so long."""
        since_s = self.last_s - self.first_s
        while (since_s + span_s) / self.bin_s > N_BINS:
            self._merge()
        first = int(since_s / self.bin_s)
        bins = range(first, max(first + 1, math.ceil((since_s + span_s) / self.bin_s - 1e-6)))
        for person, label, probs in self._now:
            person.seconds += span_s
            person.by_label[label] = person.by_label.get(label, 0.0) + span_s
            calm = probs[self.labels.index("neutral")] if "neutral" in self.labels else 0.0
            person.unrest += span_s * (1 - calm)
            sums = np.array([*probs, 1.0])
            for place in bins:
                person.bins[place] = person.bins[place] + sums if place in person.bins else sums
        self._now = []

    def _merge(self) -> None:
        """Make the bins twice as long."""
        self.bin_s *= 2
        for person in self.persons.values():
            merged: dict[int, NDArray[np.float64]] = {}
            for place, sums in person.bins.items():
                merged[place // 2] = merged[place // 2] + sums if place // 2 in merged else sums
            person.bins = merged

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "seconds": round(self.seconds, 3),
            "frames": self.n_frames,
            "frames_without_a_face": self.n_faceless,
            "persons": [person.to_dict() for person in self.persons.values()],
        }
