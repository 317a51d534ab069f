"""FER2013 as people have it: the 2013 CSV, the Kaggle CSV, and the release in class folders.

Source: Goodfellow et al., "Challenges in Representation Learning", 2013 (arXiv 1307.0414).
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from mien.core import emotions
from mien.data.folders import FolderLayout, Progress, read_folders
from mien.data.records import SPLITS, FaceSet
from mien.errors import DataError

SIDE = 48
USAGES = ("Training", "PublicTest", "PrivateTest")
"""The names of the splits in the files, in the order of ``SPLITS``."""

OFFICIAL_COUNTS = (
    (3995, 436, 4097, 7215, 4830, 3171, 4965),
    (467, 56, 496, 895, 653, 415, 607),
    (491, 55, 528, 879, 594, 416, 626),
)
"""Faces per split (train, val, test) and emotion in the complete data set of 35,887."""

_N_PIXELS = SIDE * SIDE
_VALUES = {str(value).encode(): value for value in range(256)}
_LABELS = {str(code).encode(): code for code in range(len(emotions.FER2013))}
_SPLIT_OF = {usage.encode(): code for code, usage in enumerate(USAGES)}
_COLUMNS = (b"emotion", b"pixels", b"usage")
_MAX_LINE = (
    64 * 1024
)  # a row of 48x48 needs at most 9.3 KB; a file without line ends must not fill the memory
_EVERY = 512


def read_fer2013(
    path: str | os.PathLike[str], *, expect_official: bool = True, progress: Progress | None = None
) -> FaceSet:
    """Read FER2013 from ``fer2013.csv``, ``icml_face_data.csv`` or a folder with ``train/`` and ``test/``.

    In a folder, the names ``Training_*``, ``PublicTest_*`` and ``PrivateTest_*`` give the split; other names
    take the split of their folder: ``test/`` then becomes the test split whole, with no validation split.

    Args:
        path: The CSV file or the folder.
        expect_official: Insist on the official number of faces per split and emotion.
        progress: Called with the bytes or images read and their total.

    Raises:
        DataError: a row or image is malformed (the text names the line or file), or the counts differ.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no file or folder at {path}")
    faces = _read_folder(path, progress) if path.is_dir() else _read_csv(path, progress)
    if not len(faces):
        raise DataError(f"{path} holds no faces")
    if expect_official:
        check_official(faces, str(path))
    return faces


def check_official(faces: FaceSet, source: str) -> None:
    """Compare the faces per split and emotion with the complete data set.

    Where no face is in the validation split (a folder need not tell PublicTest from PrivateTest), the two are
    counted together.

    Raises:
        DataError: the counts differ.
    """
    official, found = np.array(OFFICIAL_COUNTS), faces.counts()
    if not found[SPLITS.index("val")].any():
        official, found = (np.stack([counts[0], counts[1] + counts[2]]) for counts in (official, found))
    if np.array_equal(official, found):
        return
    expected, got = (" / ".join(f"{n:,}" for n in counts.sum(axis=1)) for counts in (official, found))
    what = f"expected {expected} faces, got {got}"
    if expected == got:
        split, label = np.argwhere(official != found)[0]
        name = faces.label_names[label]
        what = f"expected {official[split, label]:,} '{name}' faces in a split, got {found[split, label]:,}"
    raise DataError(f"{source} is not the complete FER2013: {what}; import it as it is with --partial")


def _read_csv(path: Path, progress: Progress | None) -> FaceSet:
    total = path.stat().st_size
    pixels, labels, splits = bytearray(), bytearray(), bytearray()
    with path.open("rb") as file:
        columns = _columns(file, path)
        done = file.tell()
        for number, line in enumerate(_lines(file), start=2):
            done += len(line)
            if not line.strip():
                continue
            try:
                label, row_pixels, split = _row(line, columns)
            except DataError as e:
                raise DataError(f"{path}, line {number}: {e}") from None
            labels.append(label)
            splits.append(split)
            pixels += row_pixels
            if progress and len(labels) % _EVERY == 0:
                progress(done, total)
    if progress:
        progress(total, total)
    n = len(labels)
    return FaceSet(
        images=np.frombuffer(pixels, np.uint8).reshape(n, SIDE, SIDE),
        labels=np.frombuffer(labels, np.uint8).astype(np.int64),
        split=np.frombuffer(splits, np.uint8),
        rows=np.arange(n, dtype=np.int64),
        label_names=emotions.FER2013,
        name="fer2013",
    )


def _lines(file: BinaryIO) -> Iterator[bytes]:
    return iter(lambda: file.readline(_MAX_LINE), b"")


def _fields(line: bytes) -> list[bytes]:
    return [field.strip(b' \t\r\n"') for field in line.split(b",")]


def _columns(file: BinaryIO, path: Path) -> tuple[int, int, int]:
    """Where emotion, pixels and Usage stand in a row, from the header."""
    header = [name.lower() for name in _fields(file.readline(_MAX_LINE).removeprefix(b"\xef\xbb\xbf"))]
    missing = [name.decode() for name in _COLUMNS if name not in header]
    if missing:
        raise DataError(
            f"{path}, line 1: needs the columns emotion, pixels, Usage; missing: {', '.join(missing)}"
        )
    emotion, pixels, usage = (header.index(name) for name in _COLUMNS)
    return emotion, pixels, usage


def _row(line: bytes, columns: tuple[int, int, int]) -> tuple[int, bytes, int]:
    """Label, pixels and split of one line; one table look-up a pixel is both fast and strict."""
    found = _fields(line)
    if len(found) <= max(columns):
        raise DataError(f"expected {max(columns) + 1} columns, got {len(found)}")
    emotion, text, usage = (found[column] for column in columns)
    try:
        label, split = _LABELS[emotion], _SPLIT_OF[usage]
    except KeyError as e:
        if emotion not in _LABELS:
            raise DataError(f"emotion must be 0 to {len(_LABELS) - 1}, got '{_shown(emotion)}'") from e
        raise DataError(f"Usage must be {', '.join(USAGES)}, got '{_shown(usage)}'") from e
    try:
        pixels = bytes(map(_VALUES.__getitem__, text.split()))
    except KeyError as e:
        raise DataError(f"a pixel must be a whole number from 0 to 255, got '{_shown(e.args[0])}'") from None
    if len(pixels) != _N_PIXELS:
        raise DataError(f"expected {_N_PIXELS} pixels, got {len(pixels)}")
    return label, pixels, split


def _shown(field: bytes) -> str:
    return repr(field[:20])[2:-1]  # control characters must not reach the terminal


def _read_folder(path: Path, progress: Progress | None) -> FaceSet:
    return read_folders(path, FolderLayout("fer2013", emotions.FER2013, SIDE, _split_of_name), progress)


def _split_of_name(name: str) -> str | None:
    usage = name.split("_")[0]
    return SPLITS[USAGES.index(usage)] if usage in USAGES else None
