"""Turn the files that a data set comes in into one store that training and evaluation read."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mien.data.duplicates import NearDuplicates, find_near_duplicates
from mien.data.fer2013 import read_fer2013
from mien.data.ferplus import join_ferplus, read_ferplus
from mien.data.records import FaceSet
from mien.data.store import read_info, require_h5py, write_store
from mien.errors import DataError
from mien.names import look_up

Report = Callable[[str, int, int], None]
"""Called with (step, done, total), now and then."""

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")
_ARCHIVES = {b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip"}


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How to import.

    Attributes:
        ferplus: ``fer2013new.csv``, whose votes are joined by row.
        partial: accept another number of faces than the official one.
        search: search validation and test faces for near copies in training, which the clean score needs.
    """

    ferplus: Path | None = None
    partial: bool = False
    search: bool = False


@dataclass(frozen=True, eq=False, slots=True)
class Imported:
    """What an import wrote.

    Attributes:
        path: the store.
        faces: its content.
        near: the near duplicates, where they were searched.
        notes: what the user should know of this source, one sentence each.
    """

    path: Path
    faces: FaceSet
    near: NearDuplicates | None
    notes: tuple[str, ...]


def import_data(
    kind: str,
    source: str | os.PathLike[str],
    to: str | os.PathLike[str],
    settings: ImportSettings | None = None,
    report: Report | None = None,
) -> Imported:
    """Read a data set and write its store, replacing an older store only when complete.

    Args:
        kind: One of ``KINDS``.
        source: What was downloaded: a CSV, a folder that holds one, or class folders.
        to: The store to write, such as ``fer2013.h5``.
        settings: How to import; the defaults suit the complete data set.
        report: Called as the work goes on.

    Raises:
        DataError: the source is malformed or incomplete, or ``to`` cannot be written.
        MissingExtraError: h5py is not installed.
    """
    importer = look_up(KINDS, kind, "data set", DataError)
    settings = settings or ImportSettings()
    report = report or (lambda step, done, total: None)
    to = Path(to)
    require_h5py()
    _check_target(to)
    source = find_source(Path(source))
    faces = importer(source, settings, report)
    near = None
    if settings.search:
        near = find_near_duplicates(
            faces, progress=lambda done, total: report("comparing faces", done, total)
        )
    write_store(faces, to, source_sha256=_sha256(source), near=near)
    return Imported(to, faces, near, _notes(faces))


def find_source(path: Path) -> Path:
    """The CSV or the class folders that ``path`` is or holds, told by what is there.

    Raises:
        DataError: nothing is there, or it is packed.
    """
    if path.is_dir():
        inside = (path / name for name in CSV_NAMES)
        return next((csv for csv in inside if csv.is_file()), path)
    if not path.is_file():
        raise DataError(f"no file or folder at {path}")
    with path.open("rb") as file:
        start = file.read(4)
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            raise DataError(f"{path} is a {name} archive; unpack it and give the CSV or the folder inside")
    return path


def _import_fer2013(source: Path, settings: ImportSettings, report: Report) -> FaceSet:
    if settings.ferplus and source.is_dir():
        raise DataError(
            "FER+ is joined by the rows of the CSV, which a folder lacks; import fer2013.csv instead"
        )
    votes = read_ferplus(settings.ferplus) if settings.ferplus else None
    faces = read_fer2013(
        source,
        expect_official=not settings.partial,
        progress=lambda done, total: report("reading faces", done, total),
    )
    return join_ferplus(faces, votes) if votes else faces


KINDS: dict[str, Callable[[Path, ImportSettings, Report], FaceSet]] = {"fer2013": _import_fer2013}
"""The data sets that can be imported."""


def _check_target(to: Path) -> None:
    """Refuse before the long work: a slip such as ``--to fer2013.csv`` must not cost the user that file."""
    if not to.parent.is_dir():
        raise DataError(f"no folder {to.parent} to write {to.name} in; create it first")
    if to.exists():
        try:
            read_info(to)
        except DataError as e:
            raise DataError(f"{to} exists and is not a data set of mien; choose another name for --to") from e


def _notes(faces: FaceSet) -> tuple[str, ...]:
    notes = []
    if not len(faces.select("val")):
        notes.append(
            "no validation split: the file names do not tell PublicTest from PrivateTest, so test/ is the "
            "test split whole, and a score on it cannot be compared with published PrivateTest scores"
        )
    if faces.votes is None:
        notes.append("no FER+ votes; add them with --ferplus fer2013new.csv")
    return tuple(notes)


def _sha256(source: Path) -> str:
    if source.is_dir():
        return ""
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
