"""Label sets of the public emotion data sets, and the maps between them.

The order of a *model's* labels lives in its card; these tuples are the orders of the data sets.
"""

from collections.abc import Iterable

from mien.errors import MienError
from mien.names import look_up

FER2013 = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
"""Goodfellow et al., "Challenges in Representation Learning", 2013."""

FERPLUS = ("neutral", "happy", "surprise", "sad", "angry", "disgust", "fear", "contempt")
"""Barsoum et al., 2016: the eight emotions of FER+, in the order of its columns."""

FERPLUS_VOTES = (*FERPLUS, "unknown", "not-a-face")
"""All ten columns of ``fer2013new.csv`` that raters could choose."""

AFFECTNET8 = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "angry", "contempt")
AFFECTNET11 = (*AFFECTNET8, "none", "uncertain", "not-a-face")
"""Mollahosseini et al., 2017: the manual annotation codes 0-10 of AffectNet."""

AFFECTNET7 = AFFECTNET8[:7]
"""Without contempt, as many papers score AffectNet."""

RAFDB = ("surprise", "fear", "disgust", "happy", "sad", "angry", "neutral")
"""Li et al., "Reliable Crowdsourcing", 2017: the basic emotions of RAF-DB, codes 1-7."""

CKPLUS = ("neutral", "angry", "contempt", "disgust", "fear", "happy", "sad", "surprise")
"""Lucey et al., "The Extended Cohn-Kanade Dataset", 2010: codes 0-7."""

CKEXTENDED = (*FER2013, "contempt")
"""ckextended.csv, faces of CK+ of 48x48 pixels with FER2013's codes, and 7."""

JAFFE = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise")
"""Lyons et al., 1998: AN, DI, FE, HA, NE, SA, SU in the names of the files."""

LABEL_SETS = {
    "fer2013": FER2013,
    "ferplus": FERPLUS,
    "affectnet7": AFFECTNET7,
    "affectnet8": AFFECTNET8,
    "affectnet11": AFFECTNET11,
    "rafdb": RAFDB,
    "ckplus": CKPLUS,
    "jaffe": JAFFE,
}
"""Label sets by the name that ``--labels`` takes."""

ALIASES = {
    "anger": "angry",
    "angry": "angry",
    "disgust": "disgust",
    "disgusted": "disgust",
    "fear": "fear",
    "fearful": "fear",
    "happiness": "happy",
    "happy": "happy",
    "sadness": "sad",
    "sad": "sad",
    "surprise": "surprise",
    "surprised": "surprise",
    "neutral": "neutral",
    "contempt": "contempt",
    "contemptuous": "contempt",
}
"""Names that files use for an emotion, in lower case, and the one name that mien uses."""


def emotion(name: str) -> str:
    """The one name that mien uses for an emotion that a file calls ``name``.

    Raises:
        MienError: no emotion is called so.
    """
    return look_up(ALIASES, name.strip().lower(), "emotion")


def emotion_or(name: str) -> str:
    """As ``emotion``; a name that is none, such as ``boredom``, comes back as it is."""
    return ALIASES.get(name.strip().lower(), name)


def label_map(source: tuple[str, ...], target: tuple[str, ...]) -> tuple[int | None, ...]:
    """For each label of ``source``, its index in ``target``; ``None`` where the target lacks it.

    Raises:
        MienError: the two sets have no label in common.
    """
    mapped = tuple(target.index(name) if name in target else None for name in source)
    if all(index is None for index in mapped):
        raise MienError(f"label sets have nothing in common: {', '.join(source)} and {', '.join(target)}")
    return mapped


def label_set_within(labels: Iterable[str]) -> str:
    """The name of the largest label set that has no label but these; empty where there is none."""
    fits = [name for name, known in LABEL_SETS.items() if set(known) <= set(labels)]
    return max(fits, key=lambda name: len(LABEL_SETS[name]), default="")


def in_no_label_set(labels: Iterable[str]) -> list[str]:
    """Those of the labels that no label set has, each once."""
    known = {name for names in LABEL_SETS.values() for name in names}
    return [label for label in dict.fromkeys(labels) if label not in known]
