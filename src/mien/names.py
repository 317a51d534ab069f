"""Look a name up in a table, and fail with the nearest match."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from mien.errors import MienError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known name, in upper or lower case, or an empty string."""
    by_letters: dict[str, list[str]] = {}
    for one in known:
        by_letters.setdefault(one.casefold(), []).append(one)
    matches = difflib.get_close_matches(name.casefold(), by_letters, n=1, cutoff=0.6)
    if not matches:
        return ""
    (best,) = difflib.get_close_matches(name, by_letters[matches[0]], n=1, cutoff=0.0)
    return f"; did you mean '{best}'?"


def look_up(table: Mapping[str, T], name: str, what: str, error: type[MienError] = MienError) -> T:
    """Return ``table[name]``.

    Args:
        table: The known things by name.
        name: The name asked for.
        what: What the thing is called in the error text, such as ``"dataset"``.
        error: The class of the error.

    Raises:
        MienError: the name is unknown; the text gives the nearest match and every known name.
    """
    if name in table:
        return table[name]
    known = ", ".join(sorted(table)) or "none"
    raise error(f"no {what} named '{name}'{nearest(name, table)} (known: {known})")
