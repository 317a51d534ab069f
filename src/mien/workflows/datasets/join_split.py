"""Join several stores into one, or split one again."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.core.progress import Progress, silent
from mien.data.duplicates import same_images
from mien.data.join import join_faces
from mien.data.label_maps import map_labels
from mien.data.records import SPLITS, FaceSet
from mien.data.splits import by_code, connected, divide
from mien.data.store import StoreInfo, read_info, read_store, write_store
from mien.errors import DataError
from mien.workflows.datasets.import_data import check_target

PARTS = (0.8, 0.1, 0.1)
DIVIDED = "-split"


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """How to divide.

    Attributes:
        by: ``label`` shares every label out; ``person`` also keeps the faces of a person on one side.
        parts: shares of train, val and test.
        seed: of the draw.
        keep_copies_together: identical faces, near copies and faces of one file stay on one side too.
        keep_test: divide the training faces alone, into train and val; the others stay where they are.
    """

    by: str = "label"
    parts: tuple[float, float, float] = PARTS
    seed: int = 0
    keep_copies_together: bool = False
    keep_test: bool = False


def join_data(stores: Sequence[Path], to: Path, labels: str | None = None) -> tuple[StoreInfo, int]:
    """Write the faces of several stores as one; rows tell their source, and the label map is stored.

    Args:
        stores: At least two.
        to: The store to write.
        labels: The label set that all are brought to; without it they must have the same labels.

    Returns:
        What the new store says of itself, and how many faces had no label in ``labels``.

    Raises:
        DataError: the stores do not fit together, or ``to`` cannot be written.
    """
    if len(stores) < 2:
        raise DataError(f"joining needs at least two data sets, got {len(stores)}")
    check_target(to, stores)
    real = [os.path.realpath(path) for path in stores]
    for i, path in enumerate(stores):
        if real[i] in real[:i]:
            raise DataError(f"{path} is there twice; name each data set once")
    sets = [read_store(path) for path in stores]
    n = sum(map(len, sets))
    if labels:
        sets = [map_labels(faces, labels) for faces in sets]
    joined = join_faces(sets)
    write_store(joined, to)
    return read_info(to), n - len(joined)


def split_data(store: Path, to: Path, settings: SplitSettings, progress: Progress = silent) -> StoreInfo:
    """Write a store split again into train, val and test; the same seed gives the same division.

    Raises:
        DataError: no persons where they are asked for, parts are no shares, test faces shall be kept where
            there are none or get a share too, or ``to`` cannot be written.
    """
    check_target(to, [store])
    faces = read_store(store)
    moved = _moved(faces, settings)
    own = faces.take(moved)
    groups = connected(len(own), _links(own, settings, progress))
    split = faces.split.copy()
    split[moved] = divide(own.labels, groups, settings.parts, np.random.default_rng(settings.seed))
    name = faces.name.removesuffix(DIVIDED) + DIVIDED  # its splits are no longer its publisher's
    divided = replace(faces, split=split, name=name)
    write_store(divided, to, source_sha256=read_info(store).source_sha256)
    return read_info(to)


def _moved(faces: FaceSet, settings: SplitSettings) -> NDArray[np.bool_]:
    """Which faces (N,) are divided."""
    if not settings.keep_test:
        return np.ones(len(faces), bool)
    if not len(faces.select("test")):
        raise DataError(f"{faces.name} has no test faces to keep; leave --keep-test out")
    if settings.parts[-1]:
        raise DataError(
            f"--keep-test divides the training faces into train and val, such as --parts 0.9,0.1,0; "
            f"got a share of {settings.parts[-1]:g} for test"
        )
    return np.asarray(faces.split == SPLITS.index("train"))


def _links(faces: FaceSet, settings: SplitSettings, progress: Progress) -> Iterator[NDArray[np.int64]]:
    """Faces that must stay together."""
    if settings.by not in ("label", "person"):
        raise DataError(f"data can be divided by label or person, got '{settings.by}'")
    if settings.by == "person":
        if faces.persons is None or not (faces.persons >= 0).any():
            raise DataError(f"{faces.name} names no persons; divide it by label")
        yield from by_code(faces.persons)
    if settings.keep_copies_together:
        yield from by_code(_file_codes(faces))
        yield from same_images(faces, progress=progress)


def _file_codes(faces: FaceSet) -> NDArray[np.int64]:
    """A code for each file that faces (N,) were cut from, -1 where it is unknown."""
    codes = np.full(len(faces), -1, np.int64)
    if faces.file_sha256 is not None:
        known = faces.file_sha256.any(axis=1)
        codes[known] = np.unique(faces.file_sha256[known], axis=0, return_inverse=True)[1].reshape(-1)
    return codes
