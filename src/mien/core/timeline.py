"""What watching a video returns: one row for each face of a frame, and one for a frame without a face."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mien.core.affect import affect
from mien.core.columns import Cell
from mien.core.readings import OCCLUDED, occluded_cell
from mien.core.results import Quality, Reading
from mien.core.smoothing import UNCERTAIN

BEFORE = ("time_s", "frame", "track", "x1", "y1", "x2", "y2", "detection_score")
QUALITY = ("quality", "quality_size", "quality_blur", "quality_pose")
LONGEST_FRAME_S = 1.0
"""A frame counts for no more than this, unless those before it are as slow: a pause tells of no one."""
LONE_FRAME_S = 0.04
"""How long the only frame of a timeline counts."""


@dataclass(frozen=True, slots=True)
class Person:
    """A face of one frame that belongs to a track.

    Attributes:
        track: The person's number in this video, from 1.
        reading: Box, landmarks and the probabilities of this frame alone.
        quality: See there.
        label: The emotion after smoothing, or ``uncertain``.
        smooth_probs: Smoothed probabilities, in the order of the reading's labels; they sum to 1.
    """

    track: int
    reading: Reading
    quality: Quality
    label: str
    smooth_probs: tuple[float, ...]

    @property
    def uncertain(self) -> bool:
        """Whether the smoothed answer is too weak to be named; see `mien.core.results.is_uncertain`.

        Not where it is a class that is called ``uncertain`` itself.
        """
        likeliest = self.reading.labels[self.smooth_probs.index(max(self.smooth_probs))]
        return self.label == UNCERTAIN != likeliest

    @property
    def affect(self) -> tuple[float, float]:
        """Valence and arousal, -1 to 1, derived from the smoothed probabilities."""
        return affect(self.reading.labels, self.smooth_probs)


@dataclass(frozen=True, slots=True)
class TimelineRow:
    """One line of a timeline; without ``person`` the frame shows no face."""

    time_s: float
    frame: int
    person: Person | None = None

    def cells(self, labels: Sequence[str], *, landmarks: bool = False) -> tuple[Cell, ...]:
        """Values under `columns`: hundredths of a pixel, millionths of a probability and of a second."""
        start = (round(self.time_s, 6), self.frame)
        person = self.person
        if person is None:
            return *start, *[None] * (len(columns(labels, landmarks=landmarks)) - len(start))
        box, quality = person.reading.box, person.quality
        valence, arousal = person.affect
        return (
            *start,
            person.track,
            *(round(edge, 2) for edge in (box.x1, box.y1, box.x2, box.y2)),
            round(person.reading.detection_score, 6),
            round(quality.score, 4),
            round(quality.size, 2),
            round(quality.blur, 4),
            None if quality.pose is None else round(quality.pose, 1),
            *((occluded_cell(quality),) if landmarks else ()),
            person.label,
            person.uncertain,
            *(round(prob, 6) for prob in person.reading.probs),
            *(round(prob, 6) for prob in person.smooth_probs),
            round(valence, 4),
            round(arousal, 4),
        )

    def to_dict(self, labels: Sequence[str]) -> dict[str, Any]:
        """A flat, JSON-ready dict: `columns` to `cells`."""
        return dict(zip(columns(labels), self.cells(labels), strict=True))


def columns(labels: Sequence[str], *, landmarks: bool = False) -> tuple[str, ...]:
    """The columns of a timeline for a model's labels, in order."""
    more = (OCCLUDED,) if landmarks else ()
    raw, smooth = (f"p_{label}" for label in labels), (f"p_smooth_{label}" for label in labels)
    return (*BEFORE, *QUALITY, *more, "label", "uncertain", *raw, *smooth, "valence", "arousal")


def frame_seconds(gap_s: float | None, last_s: float) -> float:
    """For how long a frame counts: until the next one, but no more than twice as long as the one before.

    It may always count for `LONGEST_FRAME_S`; the first one counts until the second.

    Args:
        gap_s: Seconds between the two frames; ``None`` for the last, which lasts as the one before.
        last_s: What this was for the frame before; 0 where there is none.
    """
    if gap_s is None:
        return last_s or LONE_FRAME_S
    return min(gap_s, max(LONGEST_FRAME_S, 2 * last_s)) if last_s else gap_s
