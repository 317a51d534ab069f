"""Events of a timeline: who shows which emotion, from when to when."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from mien.core.timeline import frame_seconds

BRIDGED_S = 0.5
"""A person who is not found for no longer than this goes on with the event, where the emotion is the same."""


@dataclass(frozen=True, slots=True)
class Event:
    """A person shows one emotion for some time.

    Attributes:
        start_s: Time of the first frame, seconds.
        end_s: Time at which another frame takes over from the last one, seconds.
        track: The person's number.
        emotion: The emotion after smoothing, or ``uncertain``.
        probability: Mean smoothed probability of the emotion; of an uncertain event, of the likeliest one.
        valence: Mean, -1 to 1.
        arousal: Mean, -1 to 1.
        participant: Whose video it is, where rows tell.
    """

    start_s: float
    end_s: float
    track: int
    emotion: str
    probability: float
    valence: float
    arousal: float
    participant: str | None = None


@dataclass(slots=True)
class _Run:
    """An event that may go on."""

    track: int
    emotion: str
    participant: str | None
    start_s: float
    end_s: float
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    n_rows: int = 0

    def add(self, row: Mapping[str, Any], time_s: float) -> None:
        smooth = [value for name, value in row.items() if name.startswith("p_smooth_")]
        probability = row.get(f"p_smooth_{self.emotion}", max(smooth, default=0.0))
        for place, value in enumerate((probability, row["valence"], row["arousal"])):
            self.sums[place] += value
        self.n_rows += 1
        self.end_s = time_s

    def event(self) -> Event:
        probability, valence, arousal = (total / self.n_rows for total in self.sums)
        return Event(
            self.start_s,
            self.end_s,
            self.track,
            self.emotion,
            probability,
            valence,
            arousal,
            self.participant,
        )


def events_of(rows: Iterable[Mapping[str, Any]]) -> list[Event]:
    """The events of a timeline, in the order in which they start.

    A frame counts as `frame_seconds` says. A hard cut ends all events, because it ends the tracks.

    Args:
        rows: The columns of a timeline to their cells, frame by frame; see `mien.core.timeline.columns`.
    """
    builder = _Builder()
    for row in rows:
        builder.add(row)
    return builder.finish()


class _Builder:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self._open: dict[int, _Run] = {}
        self._now: dict[int, _Run] = {}
        self._frame: int | None = None
        self._time_s = self._span_s = 0.0

    def add(self, row: Mapping[str, Any]) -> None:
        if row["frame"] != self._frame:
            self._begin_frame(row["frame"], row["time_s"])
        if row["track"] is None:
            return
        run = self._open.get(row["track"])
        if run is None or run.emotion != row["label"]:
            self._close(run)
            run = _Run(row["track"], row["label"], row.get("participant"), self._time_s, self._time_s)
            self._open[run.track] = run
        run.add(row, self._time_s)
        self._now[run.track] = run

    def _begin_frame(self, frame: int, time_s: float) -> None:
        if self._frame is not None:
            self._span_s = frame_seconds(time_s - self._time_s, self._span_s)
        self._end_frame()
        self._frame, self._time_s = frame, time_s
        for run in [run for run in self._open.values() if time_s - run.end_s > BRIDGED_S]:
            self._close(run)

    def _end_frame(self) -> None:
        for run in self._now.values():
            run.end_s = self._time_s + self._span_s
        self._now = {}

    def _close(self, run: _Run | None) -> None:
        if run is not None:
            self.events.append(run.event())
            del self._open[run.track]

    def finish(self) -> list[Event]:
        self._span_s = frame_seconds(None, self._span_s)
        self._end_frame()
        for run in list(self._open.values()):
            self._close(run)
        return sorted(self.events, key=lambda event: (event.start_s, event.track))
