"""Callbacks that report the progress of long work."""

from collections.abc import Callable

Progress = Callable[[int, int], object]
"""Called with (done, total), in any unit."""
Report = Callable[[str, int, int], object]
"""Called with (what, done, total)."""


def silent(*_: object) -> None:
    """A `Progress` and a `Report` that do nothing."""
