"""The output of a data set's reader: one entry per image, from file names and text alone."""

import math
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.core.emotions import emotion_or

SPLIT_NAMES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "development": "val",
    "publictest": "val",
    "test": "test",
    "testing": "test",
    "privatetest": "test",
}
"""What files and folders call a split, in lower case, and the split."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Why an image is left out: a reason that is counted, and what exactly is wrong."""

    reason: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One image of a data set, not opened yet.

    Attributes:
        path: the file.
        label: index into the listing's ``label_names``; None where there is a problem.
        split: one of ``SPLITS``.
        person: who is shown; empty where unknown.
        box: the face, x1 y1 x2 y2 in pixels of the upright image; None for the whole image.
        valence: -1..1; NaN where unknown.
        arousal: -1..1; NaN where unknown.
        landmarks: float32 (K, 2) in pixels of the upright image; None where unknown.
        problem: why the image cannot be used, as far as the text tells.
    """

    path: Path
    label: int | None
    split: str = "train"
    person: str = ""
    box: tuple[float, float, float, float] | None = None
    valence: float = math.nan
    arousal: float = math.nan
    landmarks: NDArray[np.float32] | None = None
    problem: Problem | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A data set before its images are opened.

    Attributes:
        name: of the data set.
        label_names: its labels, in the order of their codes.
        entries: gives all entries again, in the same order each time.
        total: how many entries there are, for the time left.
        persons: whether the entries name persons.
        valence_arousal: whether they have valence and arousal.
        n_landmarks: how many landmarks they have.
        notes: what the user should know, one sentence each.
    """

    name: str
    label_names: tuple[str, ...]
    entries: Callable[[], Iterator[Entry]]
    total: int
    persons: bool = False
    valence_arousal: bool = False
    n_landmarks: int = 0
    notes: tuple[str, ...] = ()


def label_key(name: str) -> str:
    """What the names of one label share, whatever their case and the form of their accents."""
    return unicodedata.normalize("NFC", emotion_or(name)).strip().casefold()


def spelled_once(names: Iterable[str]) -> list[str]:
    """The labels that ``names`` give, each in the spelling that comes first; emotions in mien's words."""
    first: dict[str, str] = {}
    for name in names:
        if (key := label_key(name)) not in first:
            first[key] = unicodedata.normalize("NFC", emotion_or(name)).strip()
    return list(first.values())


def label_problem(text: str, n_labels: int) -> Problem:
    """What is wrong with a label that is no code from 0 to ``n_labels - 1``."""
    shown = text.strip()[:20]
    if not shown:
        return Problem("no label")
    return Problem("label out of range", f"expected 0 to {n_labels - 1}, got {shown!r}")


def is_there(file: Path) -> bool:
    """Whether a file that a list names exists; a list may hold names that no system takes."""
    try:
        return file.is_file()
    except (OSError, ValueError):  # a name too long, or with a zero byte
        return False


def affect(text: str) -> float:
    """Valence or arousal, -1..1; nothing, or the -2 by which AffectNet says so, is NaN.

    Raises:
        ValueError: no number, or out of range.
    """
    value = float(text) if text.strip() else math.nan
    if value == -2:
        return math.nan
    if abs(value) > 1:
        raise ValueError(f"valence and arousal must lie in -1..1, got {value:g}")
    return value
