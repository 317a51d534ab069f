"""Match the emotions, videos and people of a coder with those of mien, by their names."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from mien.core.emotions import ALIASES, emotion_or
from mien.core.smoothing import UNCERTAIN
from mien.core.video_names import VIDEO_SUFFIXES
from mien.data.listing import label_key
from mien.errors import DataError
from mien.names import nearest
from mien.workflows.coded_events import CodedEvent, CodedVideo, name_of, video_of

Pair = tuple[CodedVideo, CodedVideo]
"""A video by mien and by the coder."""
Events = Sequence[CodedEvent]


def in_words(
    videos: Iterable[CodedVideo], labels: Iterable[str], renames: Mapping[str, str]
) -> tuple[list[CodedVideo], Counter[str]]:
    """The events that name an emotion, by mien's words, and how many there are of each other code.

    A participant without an emotion, in a video where others have some, was not asked for: a tier of words.

    Args:
        videos: Of the coder.
        labels: What mien names in its videos; all emotions of the usual data sets are known, too.
        renames: The coder's words to those of mien.

    Raises:
        DataError: there are codes, and none is an emotion; or what a code is renamed to is a slip.
    """
    known = dict.fromkeys((*ALIASES.values(), UNCERTAIN, *labels))
    for old, new in renames.items():
        if label_key(new) not in map(label_key, known) and (hint := nearest(new, known)):
            raise DataError(f"--rename {old}={new}: no emotion '{new}'{hint}")
    words = {label_key(name): emotion_or(name) for name in (*known, *renames.values())}
    others: Counter[str] = Counter()
    found = []
    for video in videos:
        events = []
        for one in video.events:
            word = words.get(label_key(renames.get(one.emotion, one.emotion)))
            if word is None:
                others[one.emotion] += 1
            else:
                events.append(replace(one, emotion=word))
        found.append(replace(video, events=tuple(events)))
    coded = {one.video for one in found if one.events}
    if others and not coded:
        first = next(iter(others))
        raise DataError(
            f"none of the coder's codes is an emotion of mien: {', '.join([*others][:5])}; "
            f"say which it is, as in --rename '{first}=happy'"
        )
    return [one for one in found if one.events or not one.video or one.video not in coded], others


def merged(videos: Iterable[CodedVideo]) -> list[CodedVideo]:
    """Each video once, with the events of all files about it."""
    groups: dict[tuple[str, str], list[CodedVideo]] = {}
    for one in videos:
        groups.setdefault((one.participant, one.video), []).append(one)
    return [
        replace(
            some[0],
            events=tuple(event for one in some for event in one.events),
            watched=next((one.watched for one in some if one.watched), None),
        )
        for some in groups.values()
    ]


def without_unnamed(ours: Sequence[CodedVideo], theirs: Sequence[CodedVideo]) -> list[CodedVideo]:
    """Mien's videos but for those without a face that no video of the coder's names.

    One that may be a video with a face names no other, so that videos without a face change nothing of it.
    """
    faces = [one for one in ours if one.events]
    if len(faces) == len(ours):
        return faces
    left = [other for other in theirs if not any(_names(other, one) for one in faces)]
    return [one for one in ours if one.events or any(_names(other, one) for other in left)]


def _names(other: CodedVideo, one: CodedVideo) -> bool:
    """Whether a video of the coder's names one of mien's, by the participant or its path."""
    if one.participant.lstrip("0") == other.participant.lstrip("0"):
        return _may_be_one(one, other)
    mine, coded = _parts(one), _parts(other)
    return bool(mine and coded) and _same_tail(mine, coded)


def by_mien(theirs: Sequence[CodedVideo], ours: Sequence[CodedVideo]) -> list[CodedVideo]:
    """The coder's videos under mien's participants, where the coder names none of them.

    Zeros at the beginning of a name do not count where that tells who is meant: spreadsheets remove them. One
    file beside one is the same video, whoever its tiers are of. Others are known by their paths, where one of
    mien's has that path.
    """
    known = {one.participant for one in ours}
    names = _but_for_zeros({one.participant for one in theirs}, known)
    theirs = [replace(one, participant=names.get(one.participant, one.participant)) for one in theirs]
    if len(ours) == 1 and len({one.video for one in theirs}) == 1 and theirs[0].video:
        if not known & {one.participant for one in theirs}:
            theirs = [replace(one, participant=ours[0].participant) for one in theirs]
        return merged(theirs)
    found = []
    for video in theirs:
        same = [one for one in ours if _parts(one) and _same_tail(_parts(one), _parts(video))]
        is_told = video.participant not in known and len(same) == 1
        found.append(replace(video, participant=same[0].participant) if is_told else video)
    return merged(found)


def _but_for_zeros(theirs: Set[str], ours: Set[str]) -> dict[str, str]:
    """The coder's names to mien's, where one of each side differs in zeros at its beginning alone."""
    alike: dict[str, tuple[list[str], list[str]]] = {}
    for side, names in enumerate((theirs, ours)):
        for name in names:
            alike.setdefault(name.lstrip("0"), ([], []))[side].append(name)
    return {one[0]: other[0] for one, other in alike.values() if len(one) == len(other) == 1}


def matched(ours: Sequence[CodedVideo], theirs: Sequence[CodedVideo]) -> list[Pair]:
    """The videos that both have.

    Participants are those of the same name, and so are the videos of each. One participant on either side is
    the same, whatever the names, and so is one video on either side.

    Args:
        ours: Videos by mien, each once.
        theirs: Videos by the coder, each once.

    Raises:
        DataError: no participant is in both, or it cannot be told which video of a participant is which.
    """
    if len(ours) == len(theirs) == 1:
        return [(ours[0], theirs[0])]
    mine, coded = (_by_participant(videos) for videos in (ours, theirs))
    both = [(videos, coded[who]) for who, videos in mine.items() if who in coded]
    if not both and len(mine) == len(coded) == 1:
        both = [([*ours], [*theirs])]
    if not both:
        listed = [", ".join([*some][:5]) for some in (mine, coded)]
        raise DataError(f"no participant is in both: mien has {listed[0]}; the coder has {listed[1]}")
    return [pair for videos in both for pair in _videos(*videos)]


def _by_participant(videos: Iterable[CodedVideo]) -> dict[str, list[CodedVideo]]:
    groups: dict[str, list[CodedVideo]] = {}
    for one in videos:
        groups.setdefault(one.participant, []).append(one)
    return groups


def _videos(ours: Sequence[CodedVideo], theirs: Sequence[CodedVideo]) -> list[Pair]:
    """The videos of one participant that both have; those with a face first where names do not tell."""
    if pairs := _told(ours, theirs):
        return pairs
    faces = [one for one in ours if one.events]
    if len(faces) < len(ours):
        pairs = _videos(faces, theirs) if faces else []
        left = [other for other in theirs if all(other is not taken for _, taken in pairs)]
        return pairs + _told([one for one in ours if not one.events], left)
    listed = [", ".join([one.video or "one without a name" for one in some][:5]) for some in (ours, theirs)]
    raise DataError(
        f"which video of {theirs[0].participant} is which? mien has {listed[0]}; "
        f"the coder has {listed[1]}; name the coder's files as the videos, or compare one video at a time"
    )


def _told(ours: Sequence[CodedVideo], theirs: Sequence[CodedVideo]) -> list[Pair]:
    """The videos that may be one by their names; none where one may be several."""
    pairs = [(one, other) for one in ours for other in theirs if _may_be_one(one, other)]
    return [] if any(len(set(some)) < len(pairs) for some in zip(*pairs, strict=True)) else pairs


def _may_be_one(one: CodedVideo, other: CodedVideo) -> bool:
    """Whether the names of two videos may mean one: the path of one may begin further up, or lack the end.

    A name that only repeats the participant tells nothing, nor does none.
    """
    names = (video_of(one.video), video_of(other.video))
    ends = {Path(name).suffix.lower() for name in names} & VIDEO_SUFFIXES
    return len(ends) < 2 and _same_tail(_path(one), _path(other))


def _same_tail(one: Sequence[str], other: Sequence[str]) -> bool:
    n = min(len(one), len(other))
    return not n or one[-n:] == other[-n:]


def _parts(video: CodedVideo) -> tuple[str, ...]:
    return _parts_of(video.video)


@lru_cache(maxsize=2**16)
def _parts_of(video: str) -> tuple[str, ...]:
    path = Path(video)
    return (*path.parent.parts, name_of(path)) if video else ()


def _path(video: CodedVideo) -> tuple[str, ...]:
    """Nothing where it only repeats the participant."""
    parts = _parts(video)
    return () if parts == (video.participant,) else parts


def name_videos(videos: Iterable[CodedVideo], compared: Iterable[CodedVideo]) -> tuple[str, ...]:
    """What to call videos: by the participant, and the video too where others of the same are compared."""
    participants = {one.participant for one in compared}
    return tuple(
        dict.fromkeys(
            f"{one.participant} in {one.video}" if one.participant in participants else one.participant
            for one in videos
        )
    )


def persons(ours: CodedVideo, theirs: CodedVideo, named: Mapping[str, str]) -> list[tuple[Events, Events]]:
    """The events of each person of the coder's, with those of mien that are of the same person.

    Where the coder has one person, all of mien's numbers are that person, as after cuts; by a number of
    mien's name, those seen while it is are others. Where several are seen at once, the one seen longest over
    the whole video counts.

    Args:
        ours: A video by mien.
        theirs: The same by the coder.
        named: The coder's names of people to mien's, several with commas between them.

    Raises:
        DataError: a person of the coder's may be any of mien's.
    """
    mine = {one.person for one in ours.events}
    coded = list(dict.fromkeys(one.person for one in theirs.events)) or [""]
    if not mine:  # no face was found
        return [([], [one for one in theirs.events if one.person == person]) for person in coded]
    pairs: list[tuple[Events, Events]] = []
    for person in coded:
        numbers = set(named[person].split(",")) if person in named else {person} & mine
        if len(coded) == 1 and person not in named:
            numbers = mine - _seen_beside(person, ours.events)
        if not numbers or not numbers <= mine:
            raise DataError(
                f"who is the coder's '{person}' of {theirs.participant}? mien numbers people "
                f"{', '.join(sorted(mine))}; add --person '{person}=1', or '{person}=' to leave it out"
            )
        pairs.append(
            (
                [one for one in ours.events if one.person in numbers],
                [one for one in theirs.events if one.person == person],
            )
        )
    return pairs


def _seen_beside(person: str, events: Events) -> set[str]:
    """The other numbers of mien's between whose first and last event the person is seen."""
    spans: dict[str, tuple[float, float]] = {}
    for one in events:
        first, last = spans.get(one.person, (one.start_s, one.end_s))
        spans[one.person] = (min(first, one.start_s), max(last, one.end_s))
    first, last = spans.pop(person, (0.0, 0.0))
    return {name for name, (start, end) in spans.items() if start < last and first < end}
