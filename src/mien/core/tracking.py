"""Track faces over time: each keeps its number while it moves, crosses another, or is briefly hidden.

A track moves on with its last speed. A face belongs to the track whose expected box it overlaps and whose
image it resembles; the pairs are chosen together, so that their total cost is the least there is. Nothing
is random: the same faces give the same numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.arguments import check_kind, check_moment, check_numbers
from mien.core.geometry import overlap
from mien.core.preprocess import luma
from mien.core.results import Box
from mien.core.smoothing import decay
from mien.errors import MienError

Appearance = NDArray[np.float32]
"""A face's image as a vector of mean 0 and length 1, so that a product of two is their correlation."""

LOOK_SIDE = 12
NEVER = 1e6  # the cost of a pair that must not be
DOUBT_S = 0.2  # for so long a doubtful face is remembered, and in any case to the next frame
DOUBT = 10.0  # what a pair with a face without a number costs more, so that known faces come first


@dataclass(frozen=True, slots=True)
class TrackerSettings:
    """When a face counts as one that was seen before.

    Args:
        patience_s: Seconds that a face may be out of sight and keep its number; two steps between frames
            where that is longer, see `Tracker`.
        sure_score: Detection score (0-1) from which a face gets a number at once. Others must be seen twice:
            in two frames in a row, or within 0.2 s. Where frames are more than ``patience_s`` apart, they
            get it at once too.
        min_overlap: Least overlap (IoU, 0-1) with the expected place, both boxes grown.
        growth: By how many times its side a box grows in each second out of sight, up to ``coast_s``.
        min_likeness: Least correlation (0-1) with the face seen last, after a gap of more than
            ``short_gap_s``.
        short_gap_s: Seconds up to which place alone may decide, however much an appearance changes. For as
            long a stranger waits for a number where a face may come back from behind another one.
        speed_s: Time constant of the speed's average, seconds; 0 takes the last speed alone.
        coast_s: Seconds that a hidden face moves on at its speed; then it waits where it is.
        appearance_s: Time constant of the appearance's average, seconds; 0 takes the last one alone.

    Raises:
        MienError: a number makes no sense.
    """

    patience_s: float = 5.0
    sure_score: float = 0.95
    min_overlap: float = 0.1
    growth: float = 3.0
    min_likeness: float = 0.3
    short_gap_s: float = 0.5
    speed_s: float = 0.3
    coast_s: float = 1.0
    appearance_s: float = 1.0

    def __post_init__(self) -> None:
        check_numbers(self, "sure_score", "min_overlap", "min_likeness", most=1)
        check_numbers(self, "growth", finite=True)
        check_numbers(self, "patience_s", "short_gap_s", "speed_s", "coast_s", "appearance_s")


@dataclass(slots=True)
class Track:
    """One face through time; ``number`` is 0 until a doubtful face has been seen twice.

    Attributes:
        number: From 1, in the order of appearance.
        box: x1, y1, x2, y2 where it was seen last, pixels.
        speed: Of the centre, pixels a second.
        since_s: When it was seen first, seconds.
        seen_s: When it was seen last, seconds.
        appearance: Its average appearance.
        last_appearance: Its appearance when it was seen last.
        changed: Whether that appearance was another one all at once, as after a cut.
    """

    number: int
    box: tuple[float, float, float, float]
    since_s: float
    seen_s: float
    appearance: Appearance
    last_appearance: Appearance
    speed: tuple[float, float] = (0.0, 0.0)
    changed: bool = True

    def expected(self, time_s: float, coast_s: float) -> tuple[float, float, float, float]:
        """The box at another time, if the speed stays."""
        gap = min(max(time_s - self.seen_s, 0.0), coast_s)
        dx, dy = self.speed[0] * gap, self.speed[1] * gap
        x1, y1, x2, y2 = self.box
        return x1 + dx, y1 + dy, x2 + dx, y2 + dy


@dataclass(slots=True)
class Tracker:
    """Gives faces their numbers, frame by frame.

    Attributes:
        settings: See there.
        tracks: The faces that may come back.
        n_numbers: How many numbers were given.
        last_s: Time of the last frame, seconds.
        step_s: Seconds from frame to frame, as far as they are known beforehand. Two frames of such a step
            are less than two steps apart.
    """

    settings: TrackerSettings = field(default_factory=TrackerSettings)
    tracks: list[Track] = field(default_factory=list)
    n_numbers: int = 0
    last_s: float | None = None
    step_s: float = 0.0

    def __post_init__(self) -> None:
        check_kind(self.settings, "settings", TrackerSettings)

    def expected(self, time_s: float) -> list[Box]:
        """Where the faces that may still come back should be now, in the order of ``tracks``."""
        return [Box(*track.expected(time_s, self.settings.coast_s)) for track in self.tracks]

    def lost(self, time_s: float) -> bool:
        """Whether a face is out of sight that was there a moment before ``time_s``."""
        return any(track.seen_s < time_s for track in self.tracks)

    def end(self) -> None:
        """End all tracks, as at a cut; every later face gets a new number."""
        self.tracks = []

    def scale(self, across: float, down: float) -> None:
        """Go on in images of another size, by these factors in width and height."""
        for track in self.tracks:
            x1, y1, x2, y2 = track.box
            track.box = (x1 * across, y1 * down, x2 * across, y2 * down)
            track.speed = (track.speed[0] * across, track.speed[1] * down)

    def step(
        self,
        time_s: float,
        boxes: Sequence[Box],
        scores: Sequence[float],
        appearances: Sequence[Appearance],
        *,
        may_be_cut: bool = False,
    ) -> list[Track | None]:
        """Take the faces of one frame in.

        Args:
            time_s: Seconds; not less than at the last call.
            boxes: Of the faces, pixels.
            scores: Detection scores, 0-1.
            appearances: From `mien.appearance_of`.
            may_be_cut: Whether another shot may have begun: who does not look as before is another person,
                and who is not seen now is forgotten.

        Returns:
            The track of each face; ``None`` for a doubtful one that was not seen before.

        Raises:
            MienError: ``time_s`` goes back, or the faces are not as above; the tracker stays as it was.
        """
        self._check(time_s, boxes, scores, appearances)
        last_s, patience = self.last_s, max(self.settings.patience_s, 2 * self.step_s)
        gap_s = self.step_s if last_s is None else time_s - last_s
        is_alone = gap_s > self.settings.patience_s
        self.tracks = [
            t
            for t in self.tracks
            if time_s - t.seen_s <= (patience if t.number or t.seen_s == last_s else DOUBT_S)
        ]
        self.last_s = time_s
        costs = self._costs(time_s, boxes, appearances)
        if may_be_cut:
            costs[self._likeness(appearances) < CUT_LIKENESS] = NEVER
        pairs = dict(assign(costs))
        tracks = [self.tracks[pairs[i]] if i in pairs else None for i in range(len(boxes))]
        if may_be_cut:
            self.tracks = [track for track in tracks if track is not None]
        covered = self._covered(time_s, tracks)
        found: list[Track | None] = []
        for track, box, score, appearance in zip(tracks, boxes, scores, appearances, strict=True):
            is_sure = track is not None or is_alone or score >= self.settings.sure_score
            if track is None:
                track = Track(0, (box.x1, box.y1, box.x2, box.y2), time_s, time_s, appearance, appearance)
                self.tracks.append(track)
            else:
                self._move(track, time_s, box, appearance)
            waits = time_s - track.since_s < self.settings.short_gap_s and any(
                self._shared(one, time_s, box) >= self.settings.min_overlap for one in covered
            )
            if not track.number and is_sure and not waits:
                self.n_numbers += 1
                track.number = self.n_numbers
            found.append(track if track.number else None)
        return found

    def _check(
        self, time_s: object, boxes: Sequence[Box], scores: Sequence[float], looks: Sequence[Appearance]
    ) -> None:
        check_moment(time_s, self.last_s, "; another video needs another Tracker")
        if not len(boxes) == len(scores) == len(looks):
            raise MienError(
                f"expected a score and an appearance for each of {len(boxes)} boxes, "
                f"got {len(scores)} and {len(looks)}"
            )
        for box in boxes:
            if not isinstance(box, Box) or not all(map(math.isfinite, (box.x1, box.y1, box.x2, box.y2))):
                raise MienError(f"boxes must be mien.Box objects of finite numbers, got {box!r:.80}")
        if any(np.shape(look) != (LOOK_SIDE**2,) for look in looks):
            raise MienError("appearances must be what mien.appearance_of gives of each face's crop")

    def _costs(
        self, time_s: float, boxes: Sequence[Box], appearances: Sequence[Appearance]
    ) -> NDArray[np.float64]:
        """Cost (faces, tracks) of each pair: 0 for the same appearance where expected, up to 3 or 13."""
        costs = np.full((len(boxes), len(self.tracks)), NEVER)
        settings = self.settings
        for j, track in enumerate(self.tracks):
            for i, (box, appearance) in enumerate(zip(boxes, appearances, strict=True)):
                shared = self._shared(track, time_s, box)
                like = float(appearance @ track.appearance)
                strange = time_s - track.seen_s > settings.short_gap_s and like < settings.min_likeness
                if shared >= settings.min_overlap and not strange:
                    costs[i, j] = (1 - shared) + (1 - like) + (0.0 if track.number else DOUBT)
        return costs

    def _likeness(self, appearances: Sequence[Appearance]) -> NDArray[np.float64]:
        """Correlation (faces, tracks) of each face with what was seen last of each track."""
        likeness = [[float(one @ track.last_appearance) for track in self.tracks] for one in appearances]
        return np.array(likeness).reshape(len(appearances), len(self.tracks))

    def _covered(self, time_s: float, seen: Sequence[Track | None]) -> list[Track]:
        """Faces out of sight, where one that was seen at ``time_s`` may be in front of them."""
        fronts = [track for track in seen if track is not None and track.number]
        return [
            track
            for track in self.tracks
            if track.number
            and not any(track is front for front in fronts)
            and any(
                self._shared(track, time_s, Box(*front.expected(time_s, self.settings.coast_s)))
                >= self.settings.min_overlap
                for front in fronts
            )
        ]

    def _shared(self, track: Track, time_s: float, box: Box) -> float:
        """Overlap (IoU) of a box with the place where a face should be, both grown with the time since."""
        gap = min(max(time_s - track.seen_s, 0.0), self.settings.coast_s)
        times = 1 + self.settings.growth * gap
        place = _grown(track.expected(time_s, self.settings.coast_s), times)
        return float(overlap(place, _grown((box.x1, box.y1, box.x2, box.y2), times))[0, 0])

    def _move(self, track: Track, time_s: float, box: Box, appearance: Appearance) -> None:
        settings, gap = self.settings, time_s - track.seen_s
        if gap > 0:
            share = 1 - decay(gap, settings.speed_s)
            x1, y1, x2, y2 = track.box
            was, now = ((x1 + x2) / 2, (y1 + y2) / 2), box.center
            track.speed = (
                track.speed[0] + share * ((now[0] - was[0]) / gap - track.speed[0]),
                track.speed[1] + share * ((now[1] - was[1]) / gap - track.speed[1]),
            )
        track.changed = float(appearance @ track.last_appearance) < CUT_LIKENESS
        track.last_appearance = appearance
        share = 1 - decay(gap, settings.appearance_s)
        track.appearance = _unit(track.appearance + np.float32(share) * (appearance - track.appearance))
        track.box, track.seen_s = (box.x1, box.y1, box.x2, box.y2), time_s

    def to_dict(self) -> dict[str, Any]:
        """All that later steps depend on, JSON-ready."""
        tracks = [
            {
                "number": t.number,
                "box": t.box,
                "since_s": t.since_s,
                "seen_s": t.seen_s,
                "speed": t.speed,
                "appearance": t.appearance.tolist(),
                "last_appearance": t.last_appearance.tolist(),
                "changed": t.changed,
            }
            for t in self.tracks
        ]
        return {"tracks": tracks, "n_numbers": self.n_numbers, "last_s": self.last_s}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `to_dict` gave."""
        self.n_numbers = state["n_numbers"]
        self.last_s = state["last_s"]
        self.tracks = [
            Track(
                t["number"],
                tuple(t["box"]),
                t["since_s"],
                t["seen_s"],
                np.array(t["appearance"], np.float32),
                np.array(t["last_appearance"], np.float32),
                tuple(t["speed"]),
                t["changed"],
            )
            for t in state["tracks"]
        ]


CUT_LIKENESS = 0.6
"""Correlation of appearances under which a face is another one at once. Between two frames, at 25 a second,
the same face stayed above 0.79 in 999 of 1,000 frames, and another one below 0.54 in 30 of 31 cuts."""


def appearance_of(crop: NDArray[np.uint8]) -> Appearance:
    """How a face looks, for `Tracker.step`: of the same person, two have a product near 1.

    Args:
        crop: An upright, aligned face, gray (S, S) or RGB (S, S, 3), as `Classifier.crop` cuts it.

    Returns:
        float32 (144,), of mean 0 and length 1; zeros where all pixels are equal.
    """
    small = Image.fromarray(luma(crop)).resize((LOOK_SIDE, LOOK_SIDE), Image.Resampling.BOX)
    cells = np.asarray(small, np.float32)
    return _unit((cells - cells.mean()).ravel())


def assign(costs: NDArray[np.float64]) -> list[tuple[int, int]]:
    """Pairs (row, column) of least total cost, each row and column at most once; none that costs `NEVER`.

    As many pairs as possible are made. Source: Kuhn, "The Hungarian method for the assignment problem", 1955,
    as successive shortest augmenting paths (Jonker and Volgenant, 1987); O(rows^2 columns).
    """
    if costs.shape[0] > costs.shape[1]:
        return sorted((i, j) for j, i in assign(costs.T))
    n_rows, n_columns = costs.shape
    row_price, column_price = np.zeros(n_rows + 1), np.zeros(n_columns + 1)
    owner = np.full(n_columns + 1, n_rows)  # the row that holds a column; the last column is a free start
    for row in range(n_rows):
        owner[n_columns], column = row, n_columns
        least, came_from = np.full(n_columns, np.inf), np.full(n_columns, n_columns)
        done = np.zeros(n_columns + 1, bool)
        while owner[column] != n_rows:
            done[column] = True
            slack = costs[owner[column]] - row_price[owner[column]] - column_price[:-1]
            better = ~done[:-1] & (slack < least)
            least[better], came_from[better] = slack[better], column
            nearest = int(np.where(done[:-1], np.inf, least).argmin())
            step = least[nearest]
            row_price[owner[done]] += step
            column_price[done] -= step
            least[~done[:-1]] -= step
            column = nearest
        while column != n_columns:
            owner[column], column = owner[came_from[column]], int(came_from[column])
    held = [(int(owner[j]), j) for j in range(n_columns) if owner[j] != n_rows]
    return sorted((i, j) for i, j in held if costs[i, j] < NEVER)


def _grown(box: tuple[float, float, float, float], times: float) -> NDArray[np.float32]:
    x1, y1, x2, y2 = box
    dx, dy = (times - 1) * (x2 - x1) / 2, (times - 1) * (y2 - y1) / 2
    return np.array([[x1 - dx, y1 - dy, x2 + dx, y2 + dy]], np.float32)


def _unit(vector: NDArray[np.float32]) -> Appearance:
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / np.float32(length) if length > 0 else vector, np.float32)
