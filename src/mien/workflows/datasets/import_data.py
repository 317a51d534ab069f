"""Turn the files that a data set comes in into one store that training and evaluation read."""

import math
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from mien.core.emotions import CKEXTENDED
from mien.core.model_store import sha256
from mien.core.outputs import check_apart, check_output
from mien.core.progress import Report, silent
from mien.data.affectnet import list_affectnet
from mien.data.ckplus import list_ckplus
from mien.data.class_folders import visible
from mien.data.csv_list import list_paths
from mien.data.duplicates import find_near_duplicates
from mien.data.fer2013 import SIDE, read_fer2013
from mien.data.ferplus import SCHEMES, ferplus_faces, join_ferplus, read_ferplus
from mien.data.folders import list_folders
from mien.data.image_loading import ImageSettings
from mien.data.ingest import ingest_images, skipped_list, write_skipped
from mien.data.jaffe import list_jaffe
from mien.data.join import resized
from mien.data.label_maps import label_target, map_labels
from mien.data.leaks import is_official
from mien.data.listing import Listing, Problem
from mien.data.pixel_csv import PixelLayout, read_pixel_csv
from mien.data.rafdb import list_rafdb
from mien.data.records import SPLITS, FaceSet
from mien.data.store import (
    StoreInfo,
    is_foreign,
    read_info,
    read_store,
    require_h5py,
    write_parts,
    write_store,
)
from mien.errors import DataError
from mien.names import look_up

Skipped = list[tuple[Path, Problem]]
"""Takes the files that are left out."""

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv", "train.csv")
CSV_INSIDE = {"fer2013": CSV_NAMES, "ferplus": CSV_NAMES, "ckextended": ("ckextended.csv",)}
"""The files that a folder may hold, the first choice first."""

_PART_BYTES = 64 * 2**20
_ARCHIVES = {b"PK\x03\x04": "ZIP", b"\x1f\x8b": "gzip"}


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How to import.

    Attributes:
        ferplus: ``fer2013new.csv``, whose votes are joined by row.
        partial: accept another number of faces than the official one, and leave out damaged images.
        search: search validation and test faces for near copies in training, which the clean score needs.
        images: size and colour of the images.
        labels: the label set that labels are brought to, one of ``LABEL_SETS``; None keeps them.
        renames: labels of the source, and what the label set calls them.
        scheme: how votes become targets where FER+ is imported, one of ``SCHEMES``.
        peaks: frames of a CK+ sequence, from the last one back, that carry its label.
        root: the folder that the paths of a CSV are relative to; None for the folder of the CSV.
    """

    ferplus: Path | None = None
    partial: bool = False
    search: bool = False
    images: ImageSettings = field(default_factory=ImageSettings)
    labels: str | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    scheme: str = "majority"
    peaks: int = 1
    root: Path | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Imported:
    """What an import wrote.

    Attributes:
        path: the store.
        info: what the store says of itself.
        skipped: how many images were left out, by reason.
        skipped_list: the CSV that names each of them; None where there are none.
        notes: what the user should know of this source, one sentence each.
    """

    path: Path
    info: StoreInfo
    skipped: Counter[str]
    skipped_list: Path | None
    notes: tuple[str, ...]


def import_data(
    kind: str,
    source: str | os.PathLike[str],
    to: str | os.PathLike[str],
    settings: ImportSettings | None = None,
    report: Report = silent,
) -> Imported:
    """Read a data set and write its store, replacing an older store only when complete.

    Images in files are opened on all cores; those that cannot be used are left out, counted and listed by
    the store. Such an import that was killed goes on when it is called again.

    Args:
        kind: One of ``KINDS``.
        source: What was downloaded: a CSV, or a folder.
        to: The store to write, such as ``fer2013.h5``.
        settings: How to import; the defaults suit the complete data set.
        report: Called with (step, done, total) as the work goes on.

    Raises:
        DataError: a setting belongs to another kind, the source is malformed or incomplete, or ``to`` cannot
            be written.
        OutputError: the list of what is left out would replace the source.
        MissingExtraError: h5py is not installed.
    """
    look_up(dict.fromkeys(KINDS), kind, "data set", DataError)
    settings = settings or ImportSettings()
    to = Path(to)
    require_h5py()
    check_target(to)
    _check_options(kind, settings)
    if settings.renames and not settings.labels:
        raise DataError("--map names labels of a label set; say which one with --labels")
    source = find_source(Path(source), CSV_INSIDE.get(kind, ()))
    check_apart(skipped_list(to), [source, *filter(None, [settings.ferplus])])
    if kind in FACE_SETS:
        skipped, notes = _take_faces(kind, source, to, settings, report)
    else:
        listing = LISTINGS[kind](source, settings)
        if is_official(listing.name):  # the name of a folder proves no publisher's splits
            listing = replace(listing, name=f"{listing.name}-{kind}")
        skipped = _take_in(listing, source, to, settings, report)
        notes = listing.notes
    if settings.search:
        _search(to, report)
    return Imported(to, read_info(to), skipped, skipped_list(to) if skipped else None, notes)


def _check_options(kind: str, settings: ImportSettings) -> None:
    defaults = ImportSettings()
    for option, kinds in OPTIONS_OF.items():
        if kind not in kinds and getattr(settings, option) != getattr(defaults, option):
            raise DataError(f"--{option} belongs to {' and '.join(kinds)}, not to {kind}; leave it out")


def _take_faces(
    kind: str, source: Path, to: Path, settings: ImportSettings, report: Report
) -> tuple[Counter[str], tuple[str, ...]]:
    """Write the store of one of ``FACE_SETS``; what was left out, by reason, and the notes."""
    no_images: Skipped = []
    faces = FACE_SETS[kind](source, settings, report, no_images)
    notes = _notes(faces, source)
    left_out = [["", str(path), problem.reason, problem.detail] for path, problem in no_images]
    if settings.labels:
        mapped = map_labels(faces, settings.labels, settings.renames)
        for i in np.flatnonzero(~np.isin(faces.rows, mapped.rows)):
            label = faces.label_names[faces.labels[i]]
            left_out.append([str(faces.rows[i]), str(source), "label without counterpart", label])
        faces = mapped
    parts = (resized(part, settings.images) for part in _parts(faces, settings.images))
    write_parts(parts, len(faces), to, source_sha256=_source_sha256(source))
    write_skipped(left_out, to)
    return Counter(reason for _, _, reason, _ in left_out), notes


def _parts(faces: FaceSet, images: ImageSettings) -> Iterator[FaceSet]:
    """``faces`` in parts that are small once they are resized, at least one."""
    n = max(1, _PART_BYTES // math.prod(images.shape))
    return (faces.take(np.arange(i, min(i + n, len(faces)))) for i in range(0, max(1, len(faces)), n))


def _take_in(
    listing: Listing, source: Path, to: Path, settings: ImportSettings, report: Report
) -> Counter[str]:
    target = None
    if settings.labels:
        target = label_target(listing.name, listing.label_names, settings.labels, settings.renames)
    return ingest_images(
        listing,
        to,
        settings.images,
        target=target,
        source_sha256=_source_sha256(source),
        progress=lambda done, total: report("reading images", done, total),
    )


def _search(to: Path, report: Report) -> None:
    faces = read_store(to)
    near = find_near_duplicates(faces, progress=lambda done, total: report("comparing faces", done, total))
    write_store(faces, to, source_sha256=read_info(to).source_sha256, near=near)


def find_source(path: Path, csv_names: tuple[str, ...] = CSV_NAMES) -> Path:
    """The CSV or the folder that ``path`` is or holds, recognised by what is there.

    Raises:
        DataError: nothing is there, or it is packed.
    """
    if path.is_dir():
        inside = {entry.name.lower(): entry for entry in visible(path)}
        return next((inside[name] for name in csv_names if name in inside and inside[name].is_file()), path)
    if not path.is_file():
        raise DataError(f"no file or folder at {path}")
    with path.open("rb") as file:
        start = file.read(4)
    for magic, name in _ARCHIVES.items():
        if start.startswith(magic):
            raise DataError(f"{path} is a {name} archive; unpack it and give the CSV or the folder inside")
    return path


def _import_fer2013(source: Path, settings: ImportSettings, report: Report, skipped: Skipped) -> FaceSet:
    if settings.ferplus and source.is_dir():
        raise DataError(
            "FER+ is joined by the rows of the CSV, which a folder lacks; import fer2013.csv instead"
        )
    votes = read_ferplus(settings.ferplus) if settings.ferplus else None
    faces = read_fer2013(
        source,
        expect_official=not settings.partial,
        progress=lambda done, total: report("reading faces", done, total),
        skipped=skipped,
    )
    return join_ferplus(faces, votes) if votes else faces


def _import_ferplus(source: Path, settings: ImportSettings, report: Report, skipped: Skipped) -> FaceSet:
    look_up(SCHEMES, settings.scheme, "FER+ scheme", DataError)
    if settings.ferplus is None:
        raise DataError("FER+ needs its votes; give --ferplus fer2013new.csv")
    return ferplus_faces(_import_fer2013(source, settings, report, skipped), settings.scheme)


def _import_ckextended(source: Path, _: ImportSettings, report: Report, __: Skipped) -> FaceSet:
    layout = PixelLayout("ckextended", CKEXTENDED, SIDE)
    faces = read_pixel_csv(source, layout, lambda done, total: report("reading faces", done, total))
    if not len(faces):
        raise DataError(f"{source} holds no faces")
    return faces


FACE_SETS: dict[str, Callable[[Path, ImportSettings, Report, Skipped], FaceSet]] = {
    "fer2013": _import_fer2013,
    "ferplus": _import_ferplus,
    "ckextended": _import_ckextended,
}
"""Data sets whose faces come as pixels of one size."""

LISTINGS: dict[str, Callable[[Path, ImportSettings], Listing]] = {
    "affectnet": lambda path, _: list_affectnet(path),
    "rafdb": lambda path, _: list_rafdb(path),
    "ckplus": lambda path, settings: list_ckplus(path, settings.peaks),
    "jaffe": lambda path, _: list_jaffe(path),
    "folders": lambda path, _: list_folders(path),
    "csv": lambda path, settings: list_paths(path, settings.root),
}
"""Images in files, of which those that can be used are taken."""

KINDS = (*FACE_SETS, *LISTINGS)
"""The data sets that can be imported."""


OPTIONS_OF = {
    "ferplus": ("fer2013", "ferplus"),
    "partial": ("fer2013", "ferplus"),
    "scheme": ("ferplus",),
    "peaks": ("ckplus",),
    "root": ("csv",),
}
"""The settings that only some kinds read, and those kinds."""


def check_target(to: Path, sources: Sequence[Path] = ()) -> None:
    """Refuse before the long work: a slip such as ``--out fer2013.csv`` must not cost the user that file.

    A data set that is damaged, or of another format, may be replaced.

    Args:
        to: The data set to write.
        sources: Data sets that it is made of.

    Raises:
        DataError: it is a file of something else.
        OutputError: it is one of ``sources``, or cannot be written.
    """
    check_apart(to, sources)
    check_output(to)
    if to.exists() and is_foreign(to):
        raise DataError(f"{to} exists and is not a data set of mien; choose another name for --out")


def _notes(faces: FaceSet, source: Path) -> tuple[str, ...]:
    if faces.name == "ckextended":
        return ("the CSV names no persons, so one person's faces may be in training and test",)
    notes = []
    if len(set(faces.split.tolist())) == 1:
        split = SPLITS[faces.split[0]]
        notes.append(f"all faces are {split}; mien data split divides them")
        if (test := source.with_name("test.csv")).is_file() and test != source:
            notes.append(f"{test} is not read: it has no labels; those are in icml_face_data.csv")
    elif not len(faces.select("val")):
        notes.append(
            "no validation split: the file names do not tell PublicTest from PrivateTest, so test/ is the "
            "test split whole, and a score on it cannot be compared with published PrivateTest scores"
        )
    if faces.votes is None:
        notes.append("no FER+ votes; add them with --ferplus fer2013new.csv")
    return tuple(notes)


def _source_sha256(source: Path) -> str:
    return "" if source.is_dir() else sha256(source)
