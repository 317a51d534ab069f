"""A run that came to its end: whether its rows are those of the video at hand."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from mien.workflows.video.frames import Frame
from mien.workflows.video.watcher import Watcher

MOST_COMPARED = 250
"""Frames until the first person; videos that show none for so long count as the same."""


def are_of(rows: Iterable[Mapping[str, Any]], watcher: Watcher, frames: Iterable[Frame]) -> bool:
    """Whether rows begin as those of a video: it is watched again until the first frame with a person.

    Args:
        rows: Of a file.
        watcher: Has seen nothing yet.
        frames: Those that are to be watched.
    """
    held = list(_beginning(rows))
    first = islice(frames, len({row["frame"] for row in held}))
    watched = [one for ready in watcher.watch(first) for one in ready] + watcher.finish()
    again = [row.to_dict(watcher.labels) for one in watched for row in one.rows]
    exact, near = (
        ("frame", "track"),
        ("time_s", "x1", "y1", "x2", "y2", *(f"p_{one}" for one in watcher.labels)),
    )
    return len(held) == len(again) and all(
        all(old[name] == new[name] for name in exact) and all(_is_near(old[name], new[name]) for name in near)
        for old, new in zip(held, again, strict=True)
    )


def _beginning(rows: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    """The rows up to the first frame with a person."""
    frames: set[int] = set()
    last = None
    for row in rows:
        if row["frame"] not in frames and (last is not None or len(frames) == MOST_COMPARED):
            return
        frames.add(row["frame"])
        last = last or row["track"]
        yield row


def _is_near(old: float | None, new: float | None) -> bool:
    """Whether two cells are alike but for the rounding of another processor."""
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, rel_tol=0.002, abs_tol=0.02)
