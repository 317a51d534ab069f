"""Images in class folders: ``train/<emotion>/*.png``, ``test/<emotion>/*.jpg``, and optionally ``val/``.

``read_folders`` insists on the layout and labels of a known data set; ``list_folders`` takes any tree.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from mien.core.emotions import emotion, emotion_or
from mien.data.listing import SPLIT_NAMES, Entry, Listing
from mien.data.records import SPLITS, FaceSet
from mien.errors import DataError, MienError

Progress = Callable[[int, int], None]
"""Called with (done, total), in any unit, now and then."""

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".pgm", ".ppm")
_EVERY = 512


@dataclass(frozen=True, slots=True)
class FolderLayout:
    """What a tree of class folders must hold.

    Attributes:
        name: of the data set.
        label_names: its emotions, in the order of their codes.
        side: width and height of every image, pixels.
        split_of_name: the split that a file's name tells, which wins over its folder's; None where none.
    """

    name: str
    label_names: tuple[str, ...]
    side: int
    split_of_name: Callable[[str], str | None] = lambda _: None


def read_folders(path: Path, layout: FolderLayout, progress: Progress | None = None) -> FaceSet:
    """Read every image of the tree, in the order of the sorted paths; ``rows`` are positions in that order.

    Raises:
        DataError: a folder is no split or emotion, or an image cannot be read or has another size.
    """
    found = list(_images(path, layout))
    images = np.empty((len(found), layout.side, layout.side), np.uint8)
    for i, (file, _, _) in enumerate(found):
        images[i] = _gray(file, layout.side)
        if progress and i % _EVERY == 0:
            progress(i, len(found))
    if progress:
        progress(len(found), len(found))
    return FaceSet(
        images=images,
        labels=np.array([label for _, label, _ in found], np.int64),
        split=np.array([split for _, _, split in found], np.uint8),
        rows=np.arange(len(found), dtype=np.int64),
        label_names=layout.label_names,
        name=layout.name,
    )


def list_folders(path: Path) -> Listing:
    """Any tree of class folders, with or without split folders above them; labels are the folders' names.

    Names of emotions become mien's. Images may lie deeper than their class folder. Without split folders
    everything is training; ``mien data split`` divides it.

    Raises:
        DataError: there are no class folders with images.
    """
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    splits = {folder: SPLIT_NAMES.get(folder.name.lower(), "") for folder in _folders(path)}
    parts = [part for part in splits.items() if part[1]] or [(path, "train")]
    found = [
        (file, emotion_or(folder.name), split)
        for part, split in parts
        for folder in _folders(part)
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in SUFFIXES and not file.name.startswith(".")
    ]
    if not found:
        raise DataError(f"{path} holds no class folders with images; expected <label>/<image>")
    label_names = tuple(sorted({label for _, label, _ in found}))
    return Listing(
        name=path.resolve().name,
        label_names=label_names,
        entries=lambda: (Entry(file, label_names.index(label), split) for file, label, split in found),
        total=len(found),
    )


def _images(path: Path, layout: FolderLayout) -> Iterator[tuple[Path, int, int]]:
    """File, label and split of every image."""
    parts = {folder: SPLIT_NAMES.get(folder.name.lower()) for folder in _folders(path)}
    if not any(parts.values()):
        raise DataError(f"{path} holds no folder train, val or test; expected train/<emotion>/<image>")
    for part, split in parts.items():
        for folder in _folders(part) if split else ():
            label = _label(folder, layout.label_names)
            for file in sorted(folder.iterdir()):
                if file.suffix.lower() in SUFFIXES and not file.name.startswith("."):
                    yield file, label, SPLITS.index(layout.split_of_name(file.name) or split or "")


def _folders(path: Path) -> list[Path]:
    return sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _label(folder: Path, label_names: tuple[str, ...]) -> int:
    try:
        return label_names.index(emotion(folder.name))
    except MienError as e:
        raise DataError(f"{folder}: {e}") from e
    except ValueError as e:
        known = ", ".join(label_names)
        raise DataError(f"{folder}: '{folder.name}' is no emotion of this data set (known: {known})") from e


def _gray(file: Path, side: int) -> NDArray[np.uint8]:
    try:
        with Image.open(file) as image:
            if image.size != (side, side):
                width, height = image.size
                raise DataError(f"{file}: expected an image of {side}x{side} pixels, got {width}x{height}")
            return np.asarray(image.convert("L"))
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError, SyntaxError, ValueError) as e:
        raise DataError(f"{file}: cannot be read as an image; replace or remove it") from e
