"""What rows are made of: cells, and the kind of value under each column."""

from collections.abc import Sequence

Cell = str | bool | int | float | None
Row = Sequence[Cell]

KINDS: dict[str, type] = {
    **dict.fromkeys(("path", "emotion", "label", "error", "video", "rows", "state", "participant"), str),
    **dict.fromkeys(("image", "face", "frame", "track", "frames", "persons"), int),
    "uncertain": bool,
}
"""The columns of every table that hold no fractions; a name means the same wherever it stands."""


def kind_of(column: str) -> type:
    """``str``, ``int``, ``bool`` or ``float``; any cell may also be ``None``."""
    return KINDS.get(column, float)


def parse_cell(column: str, text: str | None) -> Cell:
    """The cell that a CSV file holds as ``text``; nothing is ``None``."""
    kind = kind_of(column)
    if not text:
        return None
    return text == str(True) if kind is bool else kind(text)
