"""The files of rows that `mien read` writes, and how a stopped run continues without double rows."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

from mien.core.outputs import check_distinct
from mien.core.paths import path_text
from mien.errors import MienError
from mien.workflows.find import PAUSE, Source
from mien.workflows.read import ImageResult
from mien.workflows.read_outputs import columns, to_rows
from mien.workflows.rows.formats import format_of
from mien.workflows.rows.run_files import RunFiles
from mien.workflows.rows.run_state import check_resume
from mien.workflows.selection import ERROR_COLUMNS

FORMAT = 1
SAVE_EVERY_S = 2.0
"""What a kill may cost: rows behind the last saved state are dropped, and their images read again."""


@dataclass(frozen=True, slots=True)
class RowFiles:
    """Where rows go.

    Args:
        files: All rows, once each.
        errors: Only ``path`` and ``error`` of what could not be read.
        resume: Go on where an earlier run into the same files was stopped.
    """

    files: tuple[Path, ...] = ()
    errors: Path | None = None
    resume: bool = False

    def __post_init__(self) -> None:
        for path in self.files:
            format_of(path, columns(()))
        if self.errors:
            format_of(self.errors, ERROR_COLUMNS)
        check_distinct(path for path in (*self.files, self.errors) if path)
        check_resume(self.files, resume=self.resume)


@dataclass(slots=True)
class Counts:
    """What images amount to, counted from their results or from rows of an earlier run."""

    n_images: int = 0
    n_faces: int = 0
    n_faceless: int = 0
    n_failed: int = 0

    def add(self, result: ImageResult) -> None:
        """Count an image."""
        self.n_images += 1
        self.n_faces += len(result.readings)
        self.n_failed += result.error is not None
        self.n_faceless += not result.readings and result.error is None

    def add_row(self, row: Mapping[str, Any]) -> bool:
        """Count a row; whether it is the first of its image."""
        is_first = row["face"] is None or row["face"] == 1
        self.n_images += is_first
        self.n_faces += row["face"] is not None
        self.n_failed += row["error"] is not None
        self.n_faceless += row["face"] is None and row["error"] is None
        return is_first


class RowRun:
    """The open files of a run; until `begin` they are as an earlier run left them.

    Args:
        outputs: See there.
        labels: The model's labels.
        identity: Settings that must be the same to continue a run, by the names that users know.
        landmarks: Whether rows have the columns of 68 landmarks.

    Attributes:
        earlier: What an earlier run read already.
        files: Where rows go, and the state of the run.

    Raises:
        MienError: a file cannot be written, or there is nothing to resume.
    """

    def __init__(
        self,
        outputs: RowFiles,
        labels: Sequence[str],
        identity: Mapping[str, Any],
        *,
        landmarks: bool = False,
    ) -> None:
        self.outputs, self.labels, self.landmarks = outputs, tuple(labels), landmarks
        self.earlier = Counts()
        self._done: Counter[int] = Counter()  # 8 bytes of a digest for each image of an earlier run
        places = {"rows": [str(path) for path in outputs.files], "errors": str(outputs.errors)}
        run = {"format": FORMAT, **identity, "labels": list(labels), "files": places}
        names = columns(labels, landmarks=landmarks)
        of_files: dict[Path, Sequence[str]] = dict.fromkeys(outputs.files, names)
        if outputs.errors:
            of_files[outputs.errors] = ERROR_COLUMNS
        self.files = RunFiles(of_files, run if outputs.files else None, resume=outputs.resume)

    def begin(self) -> Self:
        """Empty the files, or continue them; call it after all other checks of the run."""
        self.files.begin()
        if self.files.stored:
            self._note(self.files.rows() or ())
        self.files.save()
        return self

    def _note(self, rows: Iterable[Mapping[str, Any]]) -> None:
        for row in rows:
            if self.earlier.add_row(row):
                self._done[_digest(str(row["path"]))] += 1

    def check_done(self, sources: Iterable[Source]) -> None:
        """Raise a MienError where a run that came to its end gave no row to one of the sources."""
        self._note(self.files.rows() or ())
        left = (source for source in self.without_done(sources) if source is not PAUSE)
        if missing := next(left, None):
            raise MienError(
                f"{self.outputs.files[0]} is complete without {path_text(missing.name)}, as after --limit; "
                "name another file for other images, or delete it to read all again"
            )

    def without_done(self, sources: Iterable[Source]) -> Iterator[Source]:
        """The sources that have no rows yet."""
        for source in sources:
            place = _digest(path_text(source.name)) if self._done else 0
            if self._done.get(place):
                self._done[place] -= 1
                continue
            yield source

    def take(self, result: ImageResult) -> None:
        """Write the rows of an image."""
        rows = to_rows(result, self.labels, landmarks=self.landmarks)
        self.files.write(rows, self.outputs.files)
        if result.error is not None and self.outputs.errors:
            self.files.write([(path_text(result.name), result.error)], [self.outputs.errors])
        self.files.save(every_s=SAVE_EVERY_S)


def _digest(path: str) -> int:
    return int.from_bytes(blake2b(path.encode(errors="replace"), digest_size=8).digest(), "big")
