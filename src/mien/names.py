"""Look a name up in a table, and fail with the nearest match."""

import difflib
from collections.abc import Iterable, Mapping
from typing import TypeVar

from mien.errors import MienError

T = TypeVar("T")


def nearest(name: str, known: Iterable[str]) -> str:
    """``"; did you mean 'x'?"`` for the closest known name, or an empty string."""
    matches = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean '{matches[0]}'?" if matches else ""


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
