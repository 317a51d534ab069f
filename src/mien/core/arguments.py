"""Checks of arguments, each with a one-line error that says what was expected."""

import math
import os
from collections.abc import Iterable
from numbers import Integral, Real
from types import NoneType
from typing import TypeGuard, TypeVar, get_args, get_type_hints

from mien.errors import MienError

MOST_THREADS = 1024
Kind = TypeVar("Kind")


def check_several(images: object) -> None:
    """Raise unless ``images`` are several.

    Raises:
        MienError: it is a single image.
    """
    is_one = isinstance(images, str | os.PathLike | bytes | bytearray) or hasattr(images, "read")
    if is_one or not isinstance(images, Iterable) or is_one_array(images):
        raise MienError(f"read_many takes several images, got one {type(images).__name__}; use read")


def is_one_array(images: object) -> bool:
    """Whether it is an array that can be one image at most; a column of paths or of images is several."""
    n_axes = getattr(images, "ndim", 4)
    is_column = n_axes == 1 and getattr(getattr(images, "dtype", None), "kind", "") in ("O", "U", "S", "T")
    return bool(n_axes < 4 and not is_column)


def is_whole(value: object) -> TypeGuard[int]:
    """Whether it is a whole number, of NumPy too, and not a truth value."""
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is a real number, of NumPy too, and not a truth value."""
    return isinstance(value, Real) and not isinstance(value, bool)


def check_whole(value: object, name: str) -> int:
    """``value`` as an `int`.

    Raises:
        MienError: it is no whole number of at least 1.
    """
    if not is_whole(value) or value < 1:
        raise MienError(f"{name} must be a whole number of at least 1, got {value!r}")
    return int(value)


def check_share(value: object, name: str) -> float:
    """``value`` as a `float`.

    Raises:
        MienError: it is no number from 0 to 1.
    """
    if not is_number(value) or not 0 <= value <= 1:
        raise MienError(f"{name} must lie in 0..1, got {value!r}")
    return float(value)


def check_moment(time_s: object, last_s: float | None, otherwise: str) -> None:
    """Raise unless a time is a finite number, and not before the last one, where there is one.

    Args:
        time_s: The time.
        last_s: That of the moment before.
        otherwise: The end of the text for one that goes back, with what to do.

    Raises:
        MienError: it is none.
    """
    if not is_number(time_s) or not math.isfinite(time_s):
        raise MienError(f"time_s must be a finite number, got {time_s!r}")
    if last_s is not None and time_s < last_s:
        raise MienError(f"time_s must not go back, got {time_s:g} after {last_s:g}{otherwise}")


def check_kind(value: object, name: str, kind: type) -> None:
    """Raise unless ``value`` is an object of a class.

    Raises:
        MienError: it is none.
    """
    if not isinstance(value, kind):
        raise MienError(f"{name} must be a {kind.__name__}, got {value!r:.80}")


def checked_settings(value: Kind | None, kind: type[Kind]) -> Kind:
    """What a caller gave as ``settings``; the default ones of the class for ``None``.

    Raises:
        MienError: it is something else, such as a dict.
    """
    if value is None:
        return kind()
    check_kind(value, "settings", kind)
    return value


def check_numbers(
    settings: object, *names: str, least: float = 0.0, most: float = math.inf, finite: bool = False
) -> None:
    """Turn fields of a dataclass, which may be frozen, into plain numbers; ``None`` stays if the type has it.

    Raises:
        MienError: a field is no number, less than ``least``, more than ``most``, or, where it must be
            ``finite``, is not.
    """
    types = get_type_hints(type(settings))
    for name in names:
        value = getattr(settings, name)
        if value is None and NoneType in get_args(types[name]):
            continue
        if not is_number(value) or not least <= value <= most or (finite and value == math.inf):
            kind = "finite number" if finite else "number"
            at_least = f" of at least {least:g}" if least > -math.inf else ""
            at_most = f" and at most {most:g}" if most < math.inf else ""
            raise MienError(f"{name} must be a {kind}{at_least}{at_most}, got {value!r}")
        object.__setattr__(settings, name, int(value) if is_whole(value) else float(value))


def check_threads(value: object) -> int:
    """A number of threads as an `int`; 0 leaves the choice to ONNX Runtime.

    Raises:
        MienError: it is no whole number from 0 to `MOST_THREADS`; ONNX Runtime starts as many as it is told.
    """
    if not is_whole(value) or not 0 <= value <= MOST_THREADS:
        raise MienError(f"threads must be a whole number, 0 to {MOST_THREADS}, got {value!r}")
    return int(value)
