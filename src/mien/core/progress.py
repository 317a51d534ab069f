"""What work calls, now and then, to tell how far it is."""

from collections.abc import Callable

Progress = Callable[[int, int], object]
"""Called with (done, total), in any unit."""
Report = Callable[[str, int, int], object]
"""Called with (what, done, total)."""


def silent(*_: object) -> None:
    """A `Progress` and a `Report` to no one."""
