"""FER2013 in its three forms: the 2013 CSV, the Kaggle CSV, and the release in class folders.

Source: Goodfellow et al., "Challenges in Representation Learning", 2013 (arXiv 1307.0414).
"""

import os
from pathlib import Path

import numpy as np

from mien.core import emotions
from mien.core.progress import Progress, silent
from mien.data.folders import FolderLayout, read_folders
from mien.data.listing import Problem
from mien.data.pixel_csv import USAGES, PixelLayout, read_pixel_csv
from mien.data.records import SPLITS, FaceSet
from mien.errors import DataError

SIDE = 48
OFFICIAL_COUNTS = (
    (3995, 436, 4097, 7215, 4830, 3171, 4965),
    (467, 56, 496, 895, 653, 415, 607),
    (491, 55, 528, 879, 594, 416, 626),
)
"""Faces per split (train, val, test) and emotion in the complete data set of 35,887."""

CSV = PixelLayout("fer2013", emotions.FER2013, SIDE)


def read_fer2013(
    path: str | os.PathLike[str],
    *,
    expect_official: bool = True,
    progress: Progress = silent,
    skipped: list[tuple[Path, Problem]] | None = None,
) -> FaceSet:
    """Read FER2013 from a CSV such as ``fer2013.csv`` or a folder with ``train/`` and ``test/``.

    In a folder, the names ``Training_*``, ``PublicTest_*`` and ``PrivateTest_*`` give the split; other names
    take the split of their folder: ``test/`` then becomes the test split whole, with no validation split.

    Args:
        path: The CSV file or the folder.
        expect_official: Insist on the official number of faces per split and emotion; otherwise images of a
            folder that cannot be read are left out.
        progress: Called with the bytes or images read and their total.
        skipped: Takes the files of the folder that are left out.

    Raises:
        DataError: a row or image is malformed (the text names the line or file), or the counts differ.
    """
    path = Path(path)
    if not path.exists():
        raise DataError(f"no file or folder at {path}")
    layout = FolderLayout("fer2013", emotions.FER2013, SIDE, _split_of_name)
    if path.is_dir():
        faces = read_folders(path, layout, progress, skipped, partial=not expect_official)
    else:
        faces = read_pixel_csv(path, CSV, progress)
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


def _split_of_name(name: str) -> str | None:
    usage = name.split("_")[0]
    return SPLITS[USAGES.index(usage)] if usage in USAGES else None
