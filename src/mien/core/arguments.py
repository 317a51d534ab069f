"""Checks of what callers give, each with one line that says what was expected."""

import os
from collections.abc import Iterable

from mien.errors import MienError


def check_several(images: object) -> None:
    """Raise unless ``images`` are several.

    Raises:
        MienError: it is a single image.
    """
    is_one = isinstance(images, str | os.PathLike | bytes | bytearray) or hasattr(images, "read")
    if is_one or not isinstance(images, Iterable) or getattr(images, "ndim", 4) < 4:
        raise MienError(f"read_many takes several images, got one {type(images).__name__}; use read")


def check_whole(value: object, name: str) -> None:
    """Raise unless ``value`` is a whole number of at least 1.

    Raises:
        MienError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise MienError(f"{name} must be a whole number of at least 1, got {value!r}")


def check_share(value: object, name: str) -> None:
    """Raise unless ``value`` is a number from 0 to 1.

    Raises:
        MienError: it is not.
    """
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise MienError(f"{name} must lie in 0..1, got {value!r}")
