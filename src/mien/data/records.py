"""FaceSet: the common container for images and labels, from files to training."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError

SPLITS = ("train", "val", "test")
"""Training, PublicTest and PrivateTest in the words of FER2013; ``FaceSet.split`` holds indices into this."""


COLUMNS: dict[str, tuple[type[np.generic], int]] = {
    "images": (np.uint8, 3),
    "labels": (np.int64, 1),
    "split": (np.uint8, 1),
    "rows": (np.int64, 1),
}
"""The arrays that every FaceSet has: type and number of dimensions. Colour images have one more."""

OPTIONAL: dict[str, tuple[type[np.generic], int]] = {
    "votes": (np.uint8, 2),
    "persons": (np.int32, 1),
    "sources": (np.uint8, 1),
    "valence_arousal": (np.float32, 2),
    "landmarks": (np.float32, 3),
    "landmark_score": (np.float32, 1),
    "file_sha256": (np.uint8, 2),
}
"""The arrays that only some data sets have."""

_LAST_AXES = {"images": (3,), "valence_arousal": (2,), "landmarks": (2,), "file_sha256": (32,)}

_TARGETS = ("valence_arousal", "landmarks")

LabelMap = Mapping[str, Mapping[str, str | None]]
"""For each source, which label each of its labels became; None where it was dropped."""


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Face images with one label each; checked when made.

    Attributes:
        images: uint8 (N, H, W) gray, or (N, H, W, 3) RGB.
        labels: int64 (N,), index into ``label_names``.
        split: uint8 (N,), index into ``SPLITS``.
        rows: int64 (N,), the row (from 0) or position in the source; no two alike.
        label_names: the emotions, in the order of the source's codes.
        name: what the data set is called, such as ``"fer2013"``.
        votes: uint8 (N, V), how many raters chose each of ``vote_names``; or None.
        vote_names: what raters could choose; or None.
        persons: int32 (N,), index into ``person_names``, -1 where unknown; or None.
        person_names: who is shown; or None.
        sources: uint8 (N,), index into ``source_names``; None where all faces have one source.
        source_names: the data sets that were joined; or None.
        valence_arousal: float32 (N, 2), each -1..1, NaN where unknown; or None.
        landmarks: float32 (N, K, 2), x and y in pixels of the image, NaN where unknown; or None.
        landmark_score: float32 (N,), confidence of landmarks that a network found, 0-1; or None.
        file_sha256: uint8 (N, 32), of the file each image came from, zeros where unknown; or None.
        label_map: by source, the label that each label of it became; None where labels are the source's own.

    Raises:
        DataError: an array has another type or shape, or a code is out of range.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    rows: NDArray[np.int64]
    label_names: tuple[str, ...]
    name: str
    votes: NDArray[np.uint8] | None = None
    vote_names: tuple[str, ...] | None = None
    persons: NDArray[np.int32] | None = None
    person_names: tuple[str, ...] | None = None
    sources: NDArray[np.uint8] | None = None
    source_names: tuple[str, ...] | None = None
    valence_arousal: NDArray[np.float32] | None = None
    landmarks: NDArray[np.float32] | None = None
    landmark_score: NDArray[np.float32] | None = None
    file_sha256: NDArray[np.uint8] | None = None
    label_map: LabelMap | None = None

    def __post_init__(self) -> None:
        for field, array in self.columns().items():
            self._check_column(field, array)
        check_codes("labels", self.labels, len(self.label_names))
        check_codes("split", self.split, len(SPLITS))
        if len(np.unique(self.rows)) != len(self):
            raise DataError("rows must be unique: each identifies an image of the source")
        for field, names in (
            ("votes", "vote_names"),
            ("persons", "person_names"),
            ("sources", "source_names"),
        ):
            if (getattr(self, field) is None) != (getattr(self, names) is None):
                raise DataError(f"{field} and {names} must be given together")
        if self.votes is not None and self.votes.shape[1] != len(self.vote_names or ()):
            raise DataError(
                f"votes have {self.votes.shape[1]} columns for {len(self.vote_names or ())} names"
            )
        if self.persons is not None:
            check_codes("persons", self.persons, len(self.person_names or ()), lowest=-1)
        if self.sources is not None:
            check_codes("sources", self.sources, len(self.source_names or ()))

    def _check_column(self, field: str, array: NDArray[Any]) -> None:
        dtype, ndim = (COLUMNS | OPTIONAL)[field]
        n_dims = {ndim, 4} if field == "images" else {ndim}
        if array.dtype != dtype or array.ndim not in n_dims or len(array) != len(self.images):
            raise DataError(
                f"{field} must be {np.dtype(dtype).name} with {ndim} dimension(s) and {len(self)} rows, "
                f"got {array.dtype} {array.shape}"
            )
        last = _LAST_AXES.get(field)
        if last and (field != "images" or array.ndim == 4) and array.shape[-1:] != last:
            raise DataError(f"{field} must have a last axis of {last[0]}, got {array.shape}")

    def __len__(self) -> int:
        return len(self.images)

    @property
    def channels(self) -> int:
        """1 for gray faces, 3 for RGB."""
        return 3 if self.images.ndim == 4 else 1

    def columns(self) -> dict[str, NDArray[Any]]:
        """Every array that this data set has, by the name of its field."""
        found = {field: getattr(self, field) for field in (*COLUMNS, *OPTIONAL)}
        return {field: array for field, array in found.items() if array is not None}

    def label_maps(self) -> LabelMap:
        """By source, the map of its labels, for those that have one.

        The map of a data set of one source stays under the name that it had at its import.
        """
        maps = {source: became for source, became in (self.label_map or {}).items() if became}
        if self.source_names is None:
            return dict(zip((self.name,), maps.values(), strict=False))
        return {source: maps[source] for source in self.source_names if source in maps}

    def in_label_order(self, label_names: tuple[str, ...]) -> "FaceSet":
        """The same faces, labels numbered as in ``label_names``; itself where those lack one of its own."""
        if self.label_names == label_names or not set(self.label_names) <= set(label_names):
            return self
        codes = np.array([label_names.index(name) for name in self.label_names], np.int64)
        return replace(self, label_names=label_names, labels=codes[self.labels])

    def select(self, split: str) -> "FaceSet":
        """The faces of one split, in their order; splits are ``train``, ``val`` and ``test``.

        Raises:
            DataError: there is no split of that name.
        """
        if split not in SPLITS:
            raise DataError(f"no split named '{split}' (known: {', '.join(SPLITS)})")
        return self.take(self.split == SPLITS.index(split))

    def take(self, index: NDArray[np.bool_] | NDArray[np.integer]) -> "FaceSet":
        """The faces that ``index``, a mask (N,) or positions, picks."""
        picked: dict[str, Any] = {field: array[index] for field, array in self.columns().items()}
        return replace(self, **picked)

    def counts(self) -> NDArray[np.int64]:
        """Faces per split and label, shape (3, C)."""
        return count_faces(self.split, self.labels, len(self.label_names))

    def content_hash(self) -> str:
        """SHA-256 (hex) over shape, images, labels (little-endian) and split: which data a run has seen.

        Valence, arousal and landmarks follow where there are any; votes never counted.
        """
        content = ContentHash(self.images.shape)
        content.add(self)
        return content.hexdigest()


class ContentHash:
    """``FaceSet.content_hash`` of a data set that comes in parts; ``shape`` is that of all its images."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self._digest = hashlib.sha256(repr(shape).encode())
        self._rest: dict[str, list[bytes]] = {f: [] for f in ("labels", "split", *_TARGETS)}

    def add(self, part: FaceSet) -> None:
        """Count the next part in."""
        self._digest.update(np.ascontiguousarray(part.images).data)
        columns = part.columns()
        for field, blocks in self._rest.items():
            if field in columns:
                array = columns[field]
                blocks.append(array.astype(array.dtype.newbyteorder("<")).tobytes())

    def hexdigest(self) -> str:
        """The hash over all parts, hex."""
        digest = self._digest.copy()
        for blocks in self._rest.values():
            for block in blocks:
                digest.update(block)
        return digest.hexdigest()


def count_faces(split: NDArray[np.uint8], labels: NDArray[np.int64], n_labels: int) -> NDArray[np.int64]:
    """Faces per split and label, shape (3, C)."""
    cells = split.astype(np.int64) * n_labels + labels
    return np.bincount(cells, minlength=len(SPLITS) * n_labels).reshape(len(SPLITS), n_labels)


def check_codes(field: str, codes: NDArray[np.integer], n_known: int, lowest: int = 0) -> None:
    """Raise a DataError where a code does not lie in ``lowest..n_known - 1``."""
    if codes.size and (codes.min() < lowest or codes.max() >= n_known):
        raise DataError(f"{field} must lie in {lowest}..{n_known - 1}, got {codes.min()}..{codes.max()}")
