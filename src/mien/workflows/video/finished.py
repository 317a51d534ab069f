"""A finished run: whether its rows belong to the given video."""

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from mien.workflows.video.frames import Frame
from mien.workflows.video.watcher import Watcher

MOST_COMPARED = 250
"""Frames; videos that show no person for so long count as the same."""


def are_of(rows: Iterable[Mapping[str, Any]], watcher: Watcher, frames: Iterable[Frame]) -> bool:
    """Whether rows begin as those of a video: it is watched again until its first person can be smoothed.

    Args:
        rows: Of a file.
        watcher: Has seen nothing yet.
        frames: Those that are to be watched.
    """
    ahead_s = watcher.settings.smoothing.ahead_s
    held = list(_beginning(rows, ahead_s))
    first = islice(frames, len({row["frame"] for row in held}))
    watched = [one for ready in watcher.watch(first) for one in ready] + watcher.finish()
    again = [row.to_dict(watcher.labels) for one in watched for row in one.rows]
    exact = ("frame", "track")
    near = ("time_s", "x1", "y1", "x2", "y2", *(f"p_{one}" for one in watcher.labels))
    smooth = tuple(f"p_smooth_{one}" for one in watcher.labels)
    return len(held) == len(again) and all(
        all(old[name] == new[name] for name in exact)
        and all(_is_near(old[name], new[name]) for name in near)
        and (
            held[-1]["time_s"] < old["time_s"] + ahead_s  # its future was not watched again
            or all(_is_near(old[name], new[name]) for name in smooth)
        )
        for old, new in zip(held, again, strict=True)
    )


def _beginning(rows: Iterable[Mapping[str, Any]], ahead_s: float) -> Iterator[Mapping[str, Any]]:
    """The rows up to the first frame with a person, those that smoothing looks ahead to, one more."""
    frames: set[int] = set()
    last_s, enough_s = -math.inf, math.inf
    for row in rows:
        if row["frame"] not in frames and (last_s > enough_s or len(frames) == MOST_COMPARED):
            return
        frames.add(row["frame"])
        last_s = row["time_s"]
        if row["track"] is not None:
            enough_s = min(enough_s, last_s + ahead_s)
        yield row


def _is_near(old: float | None, new: float | None) -> bool:
    """Whether two cells are alike but for the rounding of another processor."""
    if old is None or new is None:
        return old is new
    return math.isclose(old, new, rel_tol=0.002, abs_tol=0.02)
