"""The rows of a timeline in files, with the participant first."""

from collections.abc import Sequence

from mien.core.columns import Cell
from mien.core.timeline import TimelineRow, columns


def named_columns(
    labels: Sequence[str], participant: str | None, *, landmarks: bool = False
) -> tuple[str, ...]:
    """The columns of a timeline, behind that of the participant where there is one."""
    names = columns(labels, landmarks=landmarks)
    return names if participant is None else ("participant", *names)


def named_cells(
    row: TimelineRow, labels: Sequence[str], participant: str | None, *, landmarks: bool = False
) -> tuple[Cell, ...]:
    """Values under `named_columns`."""
    cells = row.cells(labels, landmarks=landmarks)
    return cells if participant is None else (participant, *cells)
