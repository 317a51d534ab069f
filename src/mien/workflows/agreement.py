"""How far mien's events of videos agree with those of a human coder, moment by moment."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.agreement import blocks, clustered_interval, intraclass_correlation
from mien.core.emotions import emotion, emotion_or
from mien.core.metrics import Interval, Metric, accuracy, cohen_kappa, percentile_interval
from mien.core.smoothing import UNCERTAIN
from mien.errors import DataError, MienError
from mien.workflows.coded_events import CodedVideo
from mien.workflows.coded_matching import (
    Events,
    Pair,
    by_mien,
    in_words,
    matched,
    merged,
    name_videos,
    persons,
    without_unnamed,
)

Codes = NDArray[np.int64]
Figure = tuple[float, Interval | None]
NOTHING = -1
MOST_MOMENTS = 20_000_000


@dataclass(frozen=True, slots=True)
class AgreementSettings:
    """What is compared.

    Args:
        step_s: Seconds between two moments.
        window_s: Seconds of a window: the target of the ICC, and what the intervals resample.
        persons: The coder's names of people to mien's, several with commas between them; empty for a tier
            or subject that is left out.
        renames: The coder's words to those of mien, such as joy, happy.
        gaps: What the coder means where nothing is coded, such as ``neutral``; ``None`` leaves it out.
    """

    step_s: float = 0.1
    window_s: float = 10.0
    persons: Mapping[str, str] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
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
    """What each says at every moment (N,), and the window of the moment.

    Attributes:
        overlapping: At how many the coder says more.
        unseen: How many further moments the coder names before mien's first event and after its last.
    """

    ours: Codes
    theirs: Codes
    windows: Codes
    overlapping: int
    unseen: int


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two coders agree.

    Attributes:
        labels: Emotions that either names.
        confusion: Moments, the coder's emotion by mien's.
        n_participants: Compared, so that mien found a face.
        n_videos: Compared, each on its own times.
        unmatched: The coder's participants and videos that mien has not, which are left out.
        uncoded: Participants and videos in which the coder coded nothing, which are left out unless gaps mean
            something.
        n_windows: With a moment that both name.
        other_codes: Number of the coder's events for each code that is not an emotion; these are left out.
        only_ours: Moments for which mien has an emotion and the coder has none.
        only_theirs: Moments that the coder names, without a face for mien, while mien watched.
        uncertain: Moments that both code, and of which mien or the coder is uncertain.
        overlapping: Moments that the coder gives several emotions, of which the one that begins last counts.
        kappa: Cohen's kappa, and its interval over windows; ``None`` where both name one emotion alone.
        agreed: Share of moments with the same emotion, and its interval.
        icc: Of each emotion, ICC(2,1) of its share of the windows, and its interval; ``None`` where it never
            varies. One window has no ICC, and gives no interval.
    """

    labels: tuple[str, ...]
    confusion: Codes
    n_participants: int
    n_videos: int
    unmatched: tuple[str, ...]
    uncoded: tuple[str, ...]
    n_windows: int
    other_codes: dict[str, int]
    only_ours: int
    only_theirs: int
    uncertain: int
    overlapping: int
    kappa: Figure | None
    agreed: Figure
    icc: dict[str, Figure | None]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""

        def plain(figure: Figure | None) -> dict[str, Any] | None:
            return figure and {"value": figure[0], "interval": figure[1] and list(figure[1])}

        return {
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "moments": int(self.confusion.sum()),
            "participants": self.n_participants,
            "videos": self.n_videos,
            "unmatched": list(self.unmatched),
            "uncoded": list(self.uncoded),
            "windows": self.n_windows,
            "other_codes": self.other_codes,
            "only_ours": self.only_ours,
            "only_theirs": self.only_theirs,
            "uncertain": self.uncertain,
            "overlapping": self.overlapping,
            "kappa": plain(self.kappa),
            "agreed": plain(self.agreed),
            "icc": {label: plain(value) for label, value in self.icc.items()},
        }


def compare(
    ours: Iterable[CodedVideo],
    theirs: Iterable[CodedVideo],
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
        DataError: they have no participant, person or moment in common, several videos of a participant
            cannot be told apart, or the coder has none of a name in the settings.
        MienError: what gaps mean is no emotion.
    """
    settings = settings or AgreementSettings()
    coded = merged(theirs)
    _check_names(settings, coded)
    mine = [one for one in merged(ours) if one.events or one.watched]
    named = {one.emotion for video in mine for one in video.events}
    mine, _ = in_words(mine, named, {})
    asked = [one for video in coded if (one := _without(video, settings.persons)).events or not video.events]
    coded, other_codes = in_words(asked, named, settings.renames)
    mine = without_unnamed(mine, coded)
    coded = by_mien(coded, mine)
    pairs = matched(mine, coded)
    compared = [(one, other) for one, other in pairs if other.events or settings.gaps]
    labels = _labels([*coded, *mine], settings.gaps)
    codes = {label: number for number, label in enumerate(labels)} | {UNCERTAIN: len(labels)}
    grid = _joined(
        [
            _grid(*events, pair[0].watched, codes, settings)
            for pair in compared
            for events in persons(*pair, settings.persons)
        ]
    )
    counts = _counts(grid, len(labels))
    only_ours, only_theirs, uncertain = alone = _named_alone(grid, len(labels))
    if not len(counts):
        raise DataError(f"at no time do both have an emotion{_why(*alone)}")
    rng = np.random.default_rng(seed)
    kappa = _figure(cohen_kappa, counts, rng)
    seen = [one.participant for one, _ in compared if one.events]
    return Agreement(
        labels,
        counts.sum(0),
        len(set(seen)),
        len(seen),
        *_left_out(coded, pairs, compared),
        len(counts),
        dict(other_codes),
        only_ours=only_ours,
        only_theirs=only_theirs,
        uncertain=uncertain,
        overlapping=grid.overlapping,
        kappa=None if np.isnan(kappa[0]) else kappa,
        agreed=_figure(accuracy, counts, rng),
        icc={label: _icc(counts, number, rng) for number, label in enumerate(labels)},
    )


def _named_alone(grid: _Grid, n_labels: int) -> tuple[int, int, int]:
    """How many moments only mien names, only the coder names, and both code with one of them uncertain."""
    we_name, they_name = ((who >= 0) & (who < n_labels) for who in (grid.ours, grid.theirs))
    uncertain = (grid.ours == n_labels) | (grid.theirs == n_labels)
    return (
        int((we_name & (grid.theirs == NOTHING)).sum()),
        int((they_name & (grid.ours == NOTHING)).sum()) + grid.unseen,
        int((uncertain & (grid.ours != NOTHING) & (grid.theirs != NOTHING)).sum()),
    )


def _why(only_ours: int, only_theirs: int, uncertain: int) -> str:
    """What is there instead of moments that both name."""
    if not uncertain:
        told = f" ({only_ours:,} only mien names, {only_theirs:,} are without a face)"
        return (told if only_ours or only_theirs else "") + "; compare the times of both files"
    return (
        f": mien or the coder is uncertain at {uncertain:,}, {only_ours:,} only mien names, "
        f"{only_theirs:,} are without a face"
    )


def _check_names(settings: AgreementSettings, theirs: Sequence[CodedVideo]) -> None:
    """Raise a `DataError` where a name is told that the coder has not: a slip would change no figure."""
    events = [one for video in theirs for one in video.events]
    for told, known, what in (
        (settings.persons, {one.person for one in events}, "names"),
        (settings.renames, {one.emotion for one in events}, "codes"),
    ):
        for name in told:
            if name not in known:
                raise DataError(f"no '{name}' is there: the coder {what} {', '.join(sorted(known))}")


def _without(video: CodedVideo, people: Mapping[str, str]) -> CodedVideo:
    """The video without people who are nobody of mien's."""
    return replace(video, events=tuple(one for one in video.events if people.get(one.person) != ""))


def _labels(videos: Iterable[CodedVideo], gaps: str | None) -> tuple[str, ...]:
    """The emotions that anyone names, in that order."""
    labels = dict.fromkeys(one.emotion for video in videos for one in video.events)
    if gaps and gaps not in labels:
        labels[emotion(gaps)] = None
    return tuple(label for label in labels if label != UNCERTAIN)


def _left_out(
    theirs: Iterable[CodedVideo], pairs: Iterable[Pair], compared: Sequence[Pair]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What of the coder's mien has not, and in what the coder coded nothing."""
    taken, used = ([coded for _, coded in some] for some in (pairs, compared))
    return (
        name_videos([one for one in theirs if one not in taken], taken),
        name_videos([one for one in taken if one not in used], used),
    )


def _joined(grids: Sequence[_Grid]) -> _Grid:
    """All moments; each grid has windows of its own."""
    sizes = [int(grid.windows[-1]) + 1 if len(grid.windows) else 0 for grid in grids]
    windows = [grid.windows + sum(sizes[:place]) for place, grid in enumerate(grids)]
    none = np.zeros(0, np.int64)
    return _Grid(
        np.concatenate([none, *(grid.ours for grid in grids)]),
        np.concatenate([none, *(grid.theirs for grid in grids)]),
        np.concatenate([none, *windows]),
        sum(grid.overlapping for grid in grids),
        sum(grid.unseen for grid in grids),
    )


def _grid(
    ours: Events,
    theirs: Events,
    watched: tuple[float, float] | None,
    codes: Mapping[str, int],
    settings: AgreementSettings,
) -> _Grid:
    """The moments of the time that both coded; where gaps mean something, of the time of mien."""
    both = [ours] if settings.gaps else [ours, theirs]
    firsts, lasts = zip(*map(_ends, both), strict=True)
    span = max(firsts), min(lasts)
    mine, _ = _painted(_by_time(ours), codes, span, settings)
    coded, overlapping = _coded(theirs, codes, span, settings)
    windows = ((np.arange(len(mine)) + 0.5) * settings.step_s / settings.window_s).astype(np.int64)
    unseen = 0
    if watched:
        watched = watched if watched[1] < np.inf else _ends(theirs)
        first_s, last_s = _ends(ours) if ours else (watched[1], watched[1])
        for outside in ((watched[0], first_s), (last_s, watched[1])):
            moments, _ = _coded(theirs, codes, outside, settings)
            unseen += int(((moments >= 0) & (moments < codes[UNCERTAIN])).sum())
    return _Grid(mine, coded, windows, overlapping, unseen)


def _ends(events: Events) -> tuple[float, float]:
    """From when to when there are events, seconds; zeros where there are none."""
    return min((one.start_s for one in events), default=0.0), max((one.end_s for one in events), default=0.0)


def _coded(
    theirs: Events, codes: Mapping[str, int], span: tuple[float, float], settings: AgreementSettings
) -> tuple[Codes, int]:
    """As `_painted`, with what gaps mean."""
    moments, overlapping = _painted(_by_time(theirs), codes, span, settings)
    if settings.gaps:
        moments[moments == NOTHING] = codes[settings.gaps]
    return moments, overlapping


def _painted(
    events: Events, codes: Mapping[str, int], span: tuple[float, float], settings: AgreementSettings
) -> tuple[Codes, int]:
    """The moments of a span, each with the last event that has it; and how many have several emotions."""
    start_s, end_s = span
    n = max(int((end_s - start_s) / settings.step_s + 1e-6), 0)
    if n > MOST_MOMENTS:
        raise MienError(f"{n:,} moments are too many; take a larger --step")
    moments, several = np.full(n, NOTHING), np.zeros(n, np.bool_)
    for one in events:
        first, last = ((at - start_s) / settings.step_s - 0.5 for at in (one.start_s, one.end_s))
        place = slice(max(int(np.ceil(first - 1e-6)), 0), max(int(np.ceil(last - 1e-6)), 0))
        several[place] |= (moments[place] != NOTHING) & (moments[place] != codes[one.emotion])
        moments[place] = codes[one.emotion]
    return moments, int(several.sum())


def _by_time(events: Events) -> Events:
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
    """Confusion of each window with a moment that both name, shape (N, C, C)."""
    ours, theirs, windows = grid.ours, grid.theirs, grid.windows
    both = (theirs >= 0) & (theirs < n_labels) & (ours >= 0) & (ours < n_labels)
    counts = np.zeros((int(windows[-1]) + 1 if len(windows) else 0, n_labels, n_labels), np.int64)
    np.add.at(counts, (windows[both], theirs[both], ours[both]), 1)
    found: Codes = counts[counts.sum((1, 2)) > 0]
    return found


def _figure(metric: Metric, counts: Codes, rng: np.random.Generator) -> Figure:
    """Of all moments, and the interval; resamples of one window are that window, and tell nothing."""
    value = float(metric(counts.sum(0)))
    return value, None if len(counts) < 2 or np.isnan(value) else clustered_interval(metric, counts, rng)


def _icc(counts: Codes, number: int, rng: np.random.Generator) -> Figure | None:
    shares = np.stack([counts.sum(2)[:, number], counts.sum(1)[:, number]], -1) / counts.sum((1, 2))[:, None]
    value = float(intraclass_correlation(shares))
    if np.isnan(value):
        return None
    n = len(shares)
    parts = [intraclass_correlation(shares[rng.integers(0, n, (size, n))]) for size in blocks(1000, n)]
    return value, percentile_interval(np.concatenate(parts))
