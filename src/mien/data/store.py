"""One HDF5 file per data set: written atomically, and checked when read."""

import json
import os
import shlex
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien import __version__
from mien.core.files import atomic_write
from mien.core.own_files import parse_json, reading, reason
from mien.data.duplicates import NearDuplicates
from mien.data.hdf5_sink import Sink
from mien.data.records import (
    COLUMNS,
    OPTIONAL,
    SPLITS,
    ContentHash,
    FaceSet,
    LabelMap,
    check_codes,
    count_faces,
)
from mien.errors import DataError, needs_extra

FORMAT, READABLE = 2, (1, 2)
"""What is written, raised when an older reader could no longer make sense of it, and what is read."""

MOST_SHRUNK = 1100
"""Bytes that one byte of deflate can hold; mien compresses nothing, but other tools repack its files."""
_CHUNK_BYTES = 2 * 2**20
_MOST_IN_ATTRIBUTE = 60_000
"""Bytes; HDF5 takes 64 KiB with the attribute's name and type."""
_NEAR = ("rows", "nearest", "ncc", "exact")


@dataclass(frozen=True, slots=True)
class StoreInfo:
    """The metadata of a store, without its images.

    Attributes:
        content_hash: ``FaceSet.content_hash()`` of what was written.
        source_sha256: of the file that was imported; empty where the source was a folder or unknown.
        created_by: the version of mien that wrote it.
        shape: of all images together, (N, H, W) or (N, H, W, 3).
        counts: faces per split and label.
        optional: which of the columns that not all data sets have are there.
        label_map: as in ``FaceSet``.
    """

    name: str
    label_names: tuple[str, ...]
    content_hash: str
    source_sha256: str
    created_by: str
    shape: tuple[int, ...]
    counts: tuple[tuple[int, ...], ...]
    optional: tuple[str, ...]
    label_map: LabelMap | None


def write_store(
    faces: FaceSet,
    path: str | os.PathLike[str],
    *,
    source_sha256: str = "",
    near: NearDuplicates | None = None,
) -> None:
    """Write ``faces`` to one HDF5 file, replacing an older one only when complete.

    Args:
        faces: What to write.
        path: The file; its folder must exist.
        source_sha256: Of the file that ``faces`` was read from, hex.
        near: Test and validation faces with a near copy in training, where they were searched.

    Raises:
        MissingExtraError: h5py is not installed.
        DataError: the file cannot be written.
    """
    write_parts([faces], len(faces), path, source_sha256=source_sha256, near=near)


def write_parts(
    parts: Iterable[FaceSet],
    total: int,
    path: str | os.PathLike[str],
    *,
    source_sha256: str = "",
    near: NearDuplicates | None = None,
) -> str:
    """Write a data set that comes in parts, one at a time in memory; otherwise as ``write_store``.

    Args:
        parts: At least one; they have the same columns and names.
        total: Faces in all of them.
        path: The file; its folder must exist.
        source_sha256: Of the file that they were read from, hex.
        near: As in ``write_store``.

    Returns:
        The content hash of the whole.
    """
    h5py = require_h5py()
    path = Path(path)
    try:
        with atomic_write(path) as temporary, Sink(temporary) as sink, h5py.File(sink, "w") as file:
            start = 0
            for part in parts:
                if not start:
                    content = ContentHash((total, *part.images.shape[1:]))
                    _write_names(file, part)
                content.add(part)
                for field, array in part.columns().items():
                    _write_array(file, field, array, start, total)
                start += len(part)
                sink.check()
            file.attrs["format"] = FORMAT
            _write_text(file, "source_sha256", source_sha256)
            _write_text(file, "created_by", __version__)
            _write_text(file, "content_hash", content.hexdigest())
            if near is not None:
                group = file.create_group("near_duplicates")
                group.attrs["floor"] = near.floor
                for field in _NEAR:
                    _write_array(group, field, getattr(near, field), 0, len(near))
    except OSError as e:
        raise DataError(f"{path} cannot be written: {(e.strerror or reason(e)).lower()}") from e
    return content.hexdigest()


def read_store(path: str | os.PathLike[str]) -> FaceSet:
    """The faces of a store, compared with the hash that was stored with them.

    Raises:
        MissingExtraError: h5py is not installed.
        DataError: the file is missing, not a mien data set, of another format, truncated or altered.
    """
    with _opened(path) as file:
        optional = [field for field in OPTIONAL if field in file]
        faces = FaceSet(
            **{field: _column(file, field) for field in (*COLUMNS, *optional)},
            vote_names=_names(file, "vote_names"),
            person_names=_person_names(file),
            source_names=_names(file, "source_names"),
            label_names=_names(file, "label_names") or (),
            label_map=_label_map(file),
            name=_text(file, "name"),
        )
        if faces.content_hash() != _text(file, "content_hash"):
            raise DataError(f"{path} is altered or damaged: content and hash differ; import it again")
    return faces


def read_info(path: str | os.PathLike[str]) -> StoreInfo:
    """What the store says of itself, without reading the images; raises as ``read_store``."""
    with _opened(path) as file:
        text = {k: _text(file, k) for k in ("name", "content_hash", "source_sha256", "created_by")}
        label_names = _names(file, "label_names") or ()
        split, labels = _column(file, "split"), _column(file, "labels")
        check_codes("labels", labels, len(label_names))
        check_codes("split", split, len(SPLITS))
        counts = count_faces(split, labels, len(label_names))
        return StoreInfo(
            **text,
            label_names=label_names,
            shape=tuple(file["images"].shape),
            counts=tuple(map(tuple, counts.tolist())),
            optional=tuple(field for field in OPTIONAL if field in file),
            label_map=_label_map(file),
        )


def read_columns(path: str | os.PathLike[str], *fields: str) -> dict[str, NDArray[Any]]:
    """Some columns of a store, without the images and the hash over all; raises as ``read_store``."""
    with _opened(path) as file:
        return {field: _column(file, field) for field in fields}


def read_near_duplicates(path: str | os.PathLike[str]) -> NearDuplicates | None:
    """The near duplicates of the store, or None where it was not searched; raises as ``read_store``."""
    with _opened(path) as file:
        if "near_duplicates" not in file:
            return None
        group = file["near_duplicates"]
        return NearDuplicates(**{f: _column(group, f) for f in _NEAR}, floor=float(group.attrs["floor"]))


def near_duplicates_for(faces: FaceSet, source: str | os.PathLike[str]) -> NearDuplicates | None:
    """The near duplicates of the store that ``faces`` were made of; raises as ``read_store``.

    None where it was not searched, or faces were left out: the one most like a face may be gone.
    """
    whole = np.array_equal(faces.rows, read_columns(source, "rows")["rows"])
    return read_near_duplicates(source) if whole else None


def clean_mask(path: str | os.PathLike[str], split: str = "test") -> NDArray[np.bool_] | None:
    """Which faces (N,) of a split have no near duplicate in training, in the order of ``select(split)``.

    For FER2013 these are 3,035 of the 3,589 test faces; a score over them owes less to remembered images.

    Returns:
        The mask, or None for the training faces, and where this store was not searched for near duplicates,
        has no training rows to be searched, or every face has some.

    Raises:
        DataError: as ``read_store``, or there is no split of that name.
    """
    if split not in SPLITS:
        raise DataError(f"no split named '{split}' (known: {', '.join(SPLITS)})")
    near = read_near_duplicates(path)
    if near is None or split == "train":
        return None
    columns = read_columns(path, "rows", "split")
    if not _has_training(columns["split"]):
        return None
    mask = near.clean(columns["rows"][columns["split"] == SPLITS.index(split)])
    return None if mask.size and not mask.any() else mask


def why_not_clean(path: str | os.PathLike[str]) -> str:
    """Why `clean_mask` gives none, and what to do where something helps; raises as ``read_store``."""
    if not _has_training(read_columns(path, "split")["split"]):
        return "no training faces to compare with"
    if read_near_duplicates(path) is not None:
        return "every face has a near copy in training"
    return f"run `mien data audit {shlex.quote(os.fspath(path))}`, then this command again"


def _has_training(split: NDArray[Any]) -> bool:
    return bool((split == SPLITS.index("train")).any())


def is_foreign(path: str | os.PathLike[str]) -> bool:
    """Whether a file is surely no store: another kind of file, or a sound HDF5 file that mien did not write.

    Raises:
        MissingExtraError: h5py is not installed.
    """
    h5py = require_h5py()
    if not h5py.is_hdf5(path):
        return True
    try:
        with h5py.File(path, "r", locking=False) as file:
            return "format" not in file.attrs
    except (OSError, RuntimeError, KeyError):  # cut or damaged
        return False


def require_h5py() -> Any:
    """The module h5py; a workflow asks first, so that no time is spent on an import that cannot be kept.

    Raises:
        MissingExtraError: it is not installed.
    """
    with needs_extra("reading and writing data sets", "data", "h5py"):
        import h5py
    return h5py


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[Any]:
    """The open file, its format checked; what goes wrong inside becomes a DataError of one line."""
    h5py = require_h5py()
    if not Path(path).is_file():
        out = shlex.quote(os.fspath(path))
        raise DataError(f"no data set at {path}; make one: mien data import fer2013 fer2013.csv --out {out}")
    with (
        reading(path, "is not a data set or is damaged", advice="import it again"),
        h5py.File(path, "r", locking=False) as file,  # it is replaced as a whole: no one writes into it
    ):
        found = file.attrs.get("format")
        if found is None:
            raise DataError(f"{path} is an HDF5 file, but not a data set that mien wrote")
        if found not in READABLE:
            known = " and ".join(map(str, READABLE))
            raise DataError(f"{path} has format {found}, this version reads {known}; import it again")
        yield file


def _column(group: Any, field: str) -> NDArray[Any]:
    """All of an array, unless it claims more than its file holds."""
    array = group[field]
    if array.external or array.is_virtual:
        raise ValueError(f"'{field}' lies in other files")
    if array.nbytes > array.id.get_storage_size() * (MOST_SHRUNK if array.compression else 1):
        raise ValueError(f"'{field}' claims {array.nbytes:,} bytes and holds fewer")
    whole: NDArray[Any] = array[()]
    return whole


def _write_names(file: Any, faces: FaceSet) -> None:
    _write_text(file, "name", faces.name)
    for field in ("label_names", "vote_names", "source_names", "label_map"):
        _write_text(file, field, json.dumps(getattr(faces, field)))
    if faces.person_names is not None:  # too many for an attribute
        names = np.array([name.encode() for name in faces.person_names], np.bytes_)
        _write_array(file, "person_names", names, 0, len(names))


def _write_text(file: Any, key: str, text: str) -> None:
    """Of fixed length: of one that varies HDF5 believes a damaged length, up to 4 GiB."""
    encoded = np.array([text.encode()], np.bytes_)
    if encoded.nbytes > _MOST_IN_ATTRIBUTE:
        _write_array(file, key, encoded, 0, 1)
    else:
        file.attrs.create(key, encoded[0], dtype=require_h5py().string_dtype("utf-8", encoded.nbytes))


def _write_array(group: Any, field: str, array: np.ndarray[Any, Any], start: int, total: int) -> None:
    """Chunked with a checksum a chunk, so that damage is found where no hash covers it (votes, rows)."""
    if field not in group:
        rows = min(total, 512, max(1, _CHUNK_BYTES // max(1, array[:1].nbytes)))
        chunks = (rows, *array.shape[1:]) if array[:1].size else None
        shape = (total, *array.shape[1:])
        group.create_dataset(field, shape, array.dtype, chunks=chunks, fletcher32=chunks is not None)
    if len(array):
        group[field][start : start + len(array)] = array


def _text(file: Any, key: str, default: str | None = None) -> str:
    """A text of the store, in format 1 of variable length; KeyError where it and a default lack."""
    if key in file:
        value = _column(file, key)[0]
    elif key in file.attrs or default is None:
        value = file.attrs[key]
    else:
        return default
    return value.decode() if isinstance(value, bytes) else str(value)


def _label_map(file: Any) -> LabelMap | None:
    """For each source what became of its labels; ValueError where it is anything else."""
    sources = parse_json(_text(file, "label_map", "null"))
    if sources is None:
        return None
    maps = sources.values() if isinstance(sources, dict) else (None,)
    if not all(
        isinstance(one, dict) and all(isinstance(v, str | None) for v in one.values()) for one in maps
    ):
        raise ValueError("label_map is not a map of labels")
    return sources  # type: ignore[no-any-return]


def _names(file: Any, key: str) -> tuple[str, ...] | None:
    names = parse_json(_text(file, key, "null"))
    return None if names is None else tuple(map(str, names))


def _person_names(file: Any) -> tuple[str, ...] | None:
    if "person_names" not in file:
        return None
    return tuple(name.decode() for name in _column(file, "person_names").tolist())
