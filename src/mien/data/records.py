"""FaceSet: the one shape in which pictures and labels travel from files to training."""

import hashlib
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mien.errors import DataError

SPLITS = ("train", "val", "test")
"""Training, PublicTest and PrivateTest in the words of FER2013; ``FaceSet.split`` holds indices into this."""


@dataclass(frozen=True, eq=False)
class FaceSet:
    """Gray face pictures with one label each; checked when made.

    Attributes:
        images: uint8 (N, H, W), gray.
        labels: int64 (N,), index into ``label_names``.
        split: uint8 (N,), index into ``SPLITS``.
        rows: int64 (N,), the row (from 0) or position in the source; no two alike.
        label_names: the emotions, in the order of the source's codes.
        name: what the data set is called, such as ``"fer2013"``.
        votes: uint8 (N, V), how many raters chose each of ``vote_names``; or None.
        vote_names: what raters could choose; or None.

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

    def __post_init__(self) -> None:
        n = len(self.images)
        expected = {
            "images": (np.uint8, 3),
            "labels": (np.int64, 1),
            "split": (np.uint8, 1),
            "rows": (np.int64, 1),
        }
        if self.votes is not None:
            expected["votes"] = (np.uint8, 2)
        for field, (dtype, ndim) in expected.items():
            array = getattr(self, field)
            if array.dtype != dtype or array.ndim != ndim or len(array) != n:
                raise DataError(
                    f"{field} must be {np.dtype(dtype).name} with {ndim} dimension(s) and {n} rows, "
                    f"got {array.dtype} {array.shape}"
                )
        _check_codes("labels", self.labels, len(self.label_names))
        _check_codes("split", self.split, len(SPLITS))
        if len(np.unique(self.rows)) != n:
            raise DataError("rows must differ from each other: they say which picture of the source this is")
        if (self.votes is None) != (self.vote_names is None):
            raise DataError("votes and vote_names must be given together")
        if self.votes is not None and self.votes.shape[1] != len(self.vote_names or ()):
            raise DataError(
                f"votes have {self.votes.shape[1]} columns for {len(self.vote_names or ())} names"
            )

    def __len__(self) -> int:
        return len(self.images)

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
        return replace(
            self,
            images=self.images[index],
            labels=self.labels[index],
            split=self.split[index],
            rows=self.rows[index],
            votes=None if self.votes is None else self.votes[index],
        )

    def counts(self) -> NDArray[np.int64]:
        """Faces per split and label, shape (3, C)."""
        cells = self.split.astype(np.int64) * len(self.label_names) + self.labels
        shape = (len(SPLITS), len(self.label_names))
        return np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)

    def content_hash(self) -> str:
        """SHA-256 (hex) over shape, pictures, labels (little-endian) and split: which data a run has seen."""
        digest = hashlib.sha256(repr(self.images.shape).encode())
        for array in (self.images, self.labels.astype("<i8"), self.split):
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


def _check_codes(field: str, codes: NDArray[np.integer], n_known: int) -> None:
    if codes.size and (codes.min() < 0 or codes.max() >= n_known):
        raise DataError(f"{field} must lie in 0..{n_known - 1}, got {codes.min()}..{codes.max()}")
