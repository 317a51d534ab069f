"""How far mien's events of videos agree with those of a human coder, moment by moment."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.agreement import blocks, clustered_interval, intraclass_correlation
from mien.core.emotions import emotion, emotion_or
from mien.core.metrics import Interval, accuracy, cohen_kappa, percentile_interval
from mien.core.smoothing import UNCERTAIN
from mien.errors import DataError, MienError
from mien.workflows.coded_events import CodedEvent, check_names, same_video

Codes = NDArray[np.int64]
Pair = tuple[list[CodedEvent], list[CodedEvent]]
"""Events of mien and of the coder about the same."""
NOTHING = -1
MOST_MOMENTS = 20_000_000


@dataclass(frozen=True, slots=True)
class AgreementSettings:
    """What is compared.

    Args:
        step_s: Seconds between two moments.
        window_s: Seconds of a window: the target of the ICC, and what the intervals resample.
        persons: The coder's names of people to mien's, several with commas between them.
        gaps: What the coder means where nothing is coded, such as ``neutral``; ``None`` leaves it out.
    """

    step_s: float = 0.1
    window_s: float = 10.0
    persons: Mapping[str, str] = field(default_factory=dict)
    gaps: str | None = None

    def __post_init__(self) -> None:
        if not 0 < self.step_s <= self.window_s < float("inf"):
            raise MienError(
                f"expected 0 < step <= window in seconds, got {self.step_s:g} and {self.window_s:g}"
            )
        if self.gaps:
            object.__setattr__(self, "gaps", emotion_or(self.gaps))


@dataclass(frozen=True, slots=True)
class _Grid:
    """What each says at every moment (N,), the window of the moment, and at how many the coder says more."""

    ours: Codes
    theirs: Codes
    windows: Codes
    overlapping: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two coders agree.

    Attributes:
        labels: Emotions that either names.
        confusion: Moments, the coder's emotion by mien's.
        n_participants: Compared.
        n_videos: Compared, each on its own times.
        unmatched: The coder's participants and videos that mien has not, which are left out.
        n_windows: With a moment that both name.
        only_ours: Moments that mien names and the coder does not.
        only_theirs: Moments that the coder names, without a face for mien.
        uncertain: Moments that the coder names, and of which mien is uncertain.
        overlapping: Moments that the coder gives several emotions, of which the one that begins last counts.
        kappa: Cohen's kappa, and its interval over windows; ``None`` where both name one emotion alone.
        agreed: Share of moments with the same emotion, and its interval.
        icc: Of each emotion, ICC(2,1) of its share of the windows, and its interval; ``None`` where it never
            varies.
    """

    labels: tuple[str, ...]
    confusion: Codes
    n_participants: int
    n_videos: int
    unmatched: tuple[str, ...]
    n_windows: int
    only_ours: int
    only_theirs: int
    uncertain: int
    overlapping: int
    kappa: tuple[float, Interval] | None
    agreed: tuple[float, Interval]
    icc: dict[str, tuple[float, Interval] | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""

        def plain(value: tuple[float, Interval] | None) -> dict[str, Any] | None:
            return value and {"value": value[0], "interval": list(value[1])}

        return {
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "moments": int(self.confusion.sum()),
            "participants": self.n_participants,
            "videos": self.n_videos,
            "unmatched": list(self.unmatched),
            "windows": self.n_windows,
            "only_ours": self.only_ours,
            "only_theirs": self.only_theirs,
            "uncertain": self.uncertain,
            "overlapping": self.overlapping,
            "kappa": plain(self.kappa),
            "agreed": plain(self.agreed),
            "icc": {label: plain(value) for label, value in self.icc.items()},
        }


def compare(
    ours: Sequence[CodedEvent],
    theirs: Sequence[CodedEvent],
    settings: AgreementSettings | None = None,
    seed: int = 0,
) -> Agreement:
    """Compare the events of mien with those of a human coder, on a grid of moments.

    Args:
        ours: Of mien.
        theirs: Of the coder.
        settings: See there.
        seed: Of the resamples for the intervals.

    Raises:
        DataError: they have no participant, person or moment in common, or several videos of a participant
            that cannot be told apart.
        MienError: what gaps mean is no emotion.
    """
    settings = settings or AgreementSettings()
    labels = tuple(dict.fromkeys(one.emotion for one in (*theirs, *ours) if one.emotion != UNCERTAIN))
    if settings.gaps and settings.gaps not in labels:
        labels += (emotion(settings.gaps),)
    codes = {label: number for number, label in enumerate(labels)} | {UNCERTAIN: len(labels)}
    grids: list[_Grid] = []
    videos = [video for pair in _participants(ours, theirs) for video in _videos(*pair)]
    check_names(settings.persons, {one.person for one in theirs}, "the coder names")
    for mine, coded in videos:
        grids += [_grid(*pair, codes, settings) for pair in _persons(mine, coded, settings.persons)]
    counts = np.concatenate([_counts(grid, len(labels)) for grid in grids])
    counts = counts[counts.sum((1, 2)) > 0]
    if not len(counts):
        raise DataError("there is no moment at which both name an emotion; compare the times of both files")
    our_codes = np.concatenate([grid.ours for grid in grids])
    their_codes = np.concatenate([grid.theirs for grid in grids])
    named = their_codes >= 0
    rng = np.random.default_rng(seed)
    whole = counts.sum(0)
    kappa = float(cohen_kappa(whole))
    return Agreement(
        labels,
        whole,
        len({mine[0].participant for mine, _ in videos}),
        len(videos),
        _unmatched(theirs, videos),
        len(counts),
        only_ours=int(((our_codes >= 0) & (our_codes < len(labels)) & ~named).sum()),
        only_theirs=int((named & (our_codes == NOTHING)).sum()),
        uncertain=int((named & (our_codes == len(labels))).sum()),
        overlapping=sum(grid.overlapping for grid in grids),
        kappa=None if np.isnan(kappa) else (kappa, clustered_interval(cohen_kappa, counts, rng)),
        agreed=(float(accuracy(whole)), clustered_interval(accuracy, counts, rng)),
        icc={label: _icc(counts, number, rng) for number, label in enumerate(labels)},
    )


def _participants(ours: Sequence[CodedEvent], theirs: Sequence[CodedEvent]) -> list[Pair]:
    """The events of each participant that both have; with one on either side, the two are the same."""
    mine, coded = (_grouped(events, "participant") for events in (ours, theirs))
    pairs = [(mine[name], coded[name]) for name in mine if name in coded]
    if not pairs and len(mine) == len(coded) == 1:
        pairs = [(list(ours), list(theirs))]
    if not pairs:
        listed = [", ".join([*some][:5]) for some in (mine, coded)]
        raise DataError(f"no participant is in both: mien has {listed[0]}; the coder has {listed[1]}")
    return pairs


def _videos(ours: Sequence[CodedEvent], theirs: Sequence[CodedEvent]) -> list[Pair]:
    """The events of each video of a participant that both have; with one on either side, it is the same."""
    mine, coded = (_grouped(events, "video") for events in (ours, theirs))
    if len(mine) == len(coded) == 1:
        return [(list(ours), list(theirs))]
    pairs = [(one, other) for one in mine for other in coded if same_video(one, other)]
    if not pairs or any(len(set(names)) < len(pairs) for names in zip(*pairs, strict=True)):
        listed = [", ".join([*some][:5]) for some in (mine, coded)]
        raise DataError(
            f"which video of {theirs[0].participant} is which? mien has {listed[0]}; "
            f"the coder has {listed[1]}; name the coder's files as the videos, or compare one video at a time"
        )
    return [(mine[one], coded[other]) for one, other in pairs]


def _grouped(events: Sequence[CodedEvent], by: str) -> dict[str, list[CodedEvent]]:
    groups: dict[str, list[CodedEvent]] = {}
    for one in events:
        groups.setdefault(getattr(one, by), []).append(one)
    return groups


def _unmatched(theirs: Sequence[CodedEvent], compared: Sequence[Pair]) -> tuple[str, ...]:
    """Participants of the coder's of whom nothing is compared, and other videos of those compared."""
    participants = {one.participant for _, coded in compared for one in coded}
    videos = {(one.participant, one.video) for _, coded in compared for one in coded}
    left = (one for one in theirs if (one.participant, one.video) not in videos)
    named = (
        f"{one.participant} in {one.video}" if one.participant in participants else one.participant
        for one in left
    )
    return tuple(dict.fromkeys(named))


def _persons(
    ours: list[CodedEvent], theirs: list[CodedEvent], named: Mapping[str, str]
) -> list[tuple[list[CodedEvent], list[CodedEvent]]]:
    """The events of each person of the coder's, with those of mien that are of the same person.

    Where the coder has one person, all of mien's numbers are that person, as after cuts; by a number of
    mien's name, those seen while it is are others. Where several are seen at once, the one seen longest over
    the whole video counts.
    """
    mine = {one.person for one in ours}
    coded = list(dict.fromkeys(one.person for one in theirs))
    pairs = []
    for person in coded:
        numbers = set(named[person].split(",")) if person in named else {person} & mine
        if len(coded) == 1 and person not in named:
            numbers = mine - _seen_beside(person, ours)
        if not numbers or not numbers <= mine:
            raise DataError(
                f"who is the coder's '{person}' of {theirs[0].participant}? mien numbers people "
                f"{', '.join(sorted(mine))}; add --person '{person}=1'"
            )
        pairs.append(
            ([one for one in ours if one.person in numbers], [one for one in theirs if one.person == person])
        )
    return pairs


def _seen_beside(person: str, ours: Sequence[CodedEvent]) -> set[str]:
    """The other numbers of mien's between whose first and last event the person is seen."""
    spans = {
        name: (min(one.start_s for one in events), max(one.end_s for one in events))
        for name, events in _grouped(ours, "person").items()
    }
    first, last = spans.pop(person, (0.0, 0.0))
    return {name for name, (start, end) in spans.items() if start < last and first < end}


def _grid(
    ours: list[CodedEvent],
    theirs: list[CodedEvent],
    codes: Mapping[str, int],
    settings: AgreementSettings,
) -> _Grid:
    """The moments of the time that both coded."""
    start_s = max(min(one.start_s for one in events) for events in (ours, theirs))
    end_s = min(max(one.end_s for one in events) for events in (ours, theirs))
    if settings.gaps:  # what is not coded means something, so the time is that of mien
        start_s, end_s = min(one.start_s for one in ours), max(one.end_s for one in ours)
    n = max(int((end_s - start_s) / settings.step_s + 1e-6), 0)
    if n > MOST_MOMENTS:
        raise MienError(f"{n:,} moments are too many; take a larger --step")
    (mine, _), (coded, overlapping) = (
        _painted(_by_time(events), codes, np.full(n, NOTHING), (start_s, settings.step_s))
        for events in (ours, theirs)
    )
    if settings.gaps:
        coded[coded == NOTHING] = codes[settings.gaps]
    windows = ((np.arange(n) + 0.5) * settings.step_s / settings.window_s).astype(np.int64)
    return _Grid(mine, coded, windows, overlapping)


def _painted(
    events: Sequence[CodedEvent], codes: Mapping[str, int], moments: Codes, times: tuple[float, float]
) -> tuple[Codes, int]:
    """The moments, each with the last event that has it, and how many have events of several emotions."""
    start_s, step_s = times
    several = np.zeros(len(moments), np.bool_)
    for one in events:
        first, last = ((at - start_s) / step_s - 0.5 for at in (one.start_s, one.end_s))
        span = slice(max(int(np.ceil(first - 1e-6)), 0), max(int(np.ceil(last - 1e-6)), 0))
        several[span] |= (moments[span] != NOTHING) & (moments[span] != codes[one.emotion])
        moments[span] = codes[one.emotion]
    return moments, int(several.sum())


def _by_time(events: Sequence[CodedEvent]) -> list[CodedEvent]:
    """Events in an order in which the later of two at once counts, whatever the order in the file.

    Those of the person seen longest come last, then those that begin last, then the shortest.
    """
    seen: dict[str, float] = {}
    for one in events:
        seen[one.person] = seen.get(one.person, 0.0) + one.end_s - one.start_s
    return sorted(
        events, key=lambda one: (seen[one.person], one.person, one.start_s, -one.end_s, one.emotion)
    )


def _counts(grid: _Grid, n_labels: int) -> Codes:
    """Confusion of each window, shape (N, C, C)."""
    ours, theirs, windows = grid.ours, grid.theirs, grid.windows
    both = (theirs >= 0) & (theirs < n_labels) & (ours >= 0) & (ours < n_labels)
    counts = np.zeros((int(windows[-1]) + 1 if len(windows) else 0, n_labels, n_labels), np.int64)
    np.add.at(counts, (windows[both], theirs[both], ours[both]), 1)
    return counts


def _icc(counts: Codes, number: int, rng: np.random.Generator) -> tuple[float, Interval] | None:
    shares = np.stack([counts.sum(2)[:, number], counts.sum(1)[:, number]], -1) / counts.sum((1, 2))[:, None]
    value = float(intraclass_correlation(shares))
    if np.isnan(value):
        return None
    n = len(shares)
    parts = [intraclass_correlation(shares[rng.integers(0, n, (size, n))]) for size in blocks(1000, n)]
    return value, percentile_interval(np.concatenate(parts), 0.95)
