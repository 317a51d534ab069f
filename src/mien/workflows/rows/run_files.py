"""The files of rows that a run writes, and the state from which a stopped run continues."""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from time import monotonic
from typing import Any

from mien.core.columns import Cell, Row
from mien.workflows.rows.formats import format_of
from mien.workflows.rows.row_file import RowFile, check_free, check_whole, drop_lines
from mien.workflows.rows.run_state import RunState

Identity = Mapping[str, Any]
"""Settings that must be the same to continue a run, by the names that users know."""


class RunFiles:
    """The files and the state; until `begin`, files are as an earlier run left them.

    Args:
        columns: Of each file; the state lies beside the first one.
        identity: See there; ``None`` for a run that keeps no state.
        resume: Go on where an earlier run into the same files was stopped.
        source: What the rows tell of; see `RowFile`.

    Attributes:
        is_done: Whether an earlier run came to its end, so that there is nothing to do, and no file is open.
        files: The open ones.
        has_begun: Whether `begin` was called.
        stored: What the last `save` kept of the run to go on with; empty for a new run.

    Raises:
        MienError: a file cannot be written, or the run cannot go on, or not without ``resume``.
    """

    def __init__(
        self,
        columns: Mapping[Path, Sequence[str]],
        identity: Identity | None,
        *,
        resume: bool,
        source: str = "",
    ) -> None:
        self.files: list[RowFile] = []
        self.has_begun, self._saved_at = False, -math.inf
        self._columns = columns
        for path, names in columns.items():
            check_free(path, names)
        self._state = None if identity is None else RunState(next(iter(columns)), identity, resume=resume)
        self.is_done = self._state is not None and self._state.is_done
        self.stored: dict[str, Any] = (self._state and self._state.stored) or {}
        if self.is_done:
            for path, names in columns.items():
                check_whole(path, names)
            self.end(whole=True)
        else:
            self._open(source)

    def _open(self, source: str) -> None:
        offsets = self.stored.get("offsets") or {}
        with ExitStack() as opened:  # all of them, before one loses its rows
            opened.callback(self.end, whole=False)
            for path, names in self._columns.items():
                self.files.append(RowFile(path, names, offsets.get(str(path)), source))
            opened.pop_all()

    def begin(self) -> None:
        """Empty the files, or continue at their offsets; call it after all other checks of the run."""
        self.has_begun = True
        if self._state:
            self._state.begin(self.files, {"offsets": {}})
        else:
            for file in self.files:
                file.begin()

    def rows(self) -> Iterator[dict[str, Cell]] | None:
        """The rows of the earlier run; ``None`` where its files hold events alone."""
        if self.files:
            return self.files[0].read()
        reads = ((path, format_of(path, names).reads) for path, names in self._columns.items())
        return next((read(path) for path, read in reads if read), None)

    def write(self, rows: Sequence[Row], paths: Collection[Path]) -> None:
        """Add rows to some of the files."""
        for file in self.files:
            if file.path in paths:
                file.write(rows)

    def save(self, more: Mapping[str, Any] | None = None, *, every_s: float = 0.0) -> None:
        """Rows first, then the state that follows them: whenever the power goes, the two fit together.

        Args:
            more: What the state keeps besides the sizes of the files, JSON-ready.
            every_s: Do nothing where the last time was fewer seconds ago.
        """
        if monotonic() - self._saved_at < every_s:
            return
        if self.has_begun:
            for file in self.files:
                file.sync()
        if self._state:
            offsets = {str(file.path): file.n_bytes for file in self.files}
            self._state.save({"offsets": offsets, **(more or {})})
        self._saved_at = monotonic()

    def end(self, *, whole: bool) -> None:
        """Close the files behind the last row; with ``whole`` false a run goes on behind the last `save`."""
        with ExitStack() as each:  # the others too, where one cannot be
            for file in reversed(self.files):
                each.callback(file.close)
        if whole:
            if self._state:
                self._state.end()
            for path, names in self._columns.items():
                drop_lines(path, names)
