"""Images in class folders: ``train/<emotion>/*.png``, ``test/<emotion>/*.jpg``, and optionally ``val/``.

``read_folders`` insists on the layout and labels of a known data set; ``list_folders`` takes any tree.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.emotions import emotion
from mien.core.paths import path_text
from mien.core.progress import Progress, silent
from mien.data.class_folders import ClassFile, is_emotion, read_tree, shown
from mien.data.image_loading import SMALL, open_file
from mien.data.listing import Entry, Listing, Problem, label_key, spelled_once
from mien.data.records import SPLITS, FaceSet
from mien.errors import DataError, MienError

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


def read_folders(
    path: Path,
    layout: FolderLayout,
    progress: Progress = silent,
    skipped: list[tuple[Path, Problem]] | None = None,
    *,
    partial: bool = False,
) -> FaceSet:
    """Read every image of the tree, in the order of the sorted paths; ``rows`` are positions in that order.

    Args:
        path: The folder with the split folders, or one above it.
        layout: What it must hold.
        progress: Called as images are read.
        skipped: Takes what is not named like an image, or cannot be read where that may be left out.
        partial: Whether images that cannot be read may be left out.

    Raises:
        DataError: a folder is no split or emotion, or an image cannot be read or has another size.
    """
    skipped = [] if skipped is None else skipped
    found = list(_images(path, layout, skipped))
    images = np.empty((len(found), layout.side, layout.side), np.uint8)
    is_read = np.ones(len(found), np.bool_)
    for i, (file, _, _) in enumerate(found):
        opened = open_file(file, SMALL)
        if not isinstance(opened, Problem):
            images[i] = _gray(file, opened[0], layout.side)
        elif partial:
            skipped.append((file, opened))
            is_read[i] = False
        else:
            raise DataError(
                f"{shown(file)}: cannot be read as an image; replace it, or leave it out with --partial"
            )
        if i % _EVERY == 0:
            progress(i, len(found))
    progress(len(found), len(found))
    faces = FaceSet(
        images=images,
        labels=np.array([label for _, label, _ in found], np.int64),
        split=np.array([split for _, _, split in found], np.uint8),
        rows=np.arange(len(found), dtype=np.int64),
        label_names=layout.label_names,
        name=layout.name,
    )
    return faces if is_read.all() else faces.take(is_read)


def list_folders(path: Path) -> Listing:
    """Any tree of class folders, split folders above or in them or none; labels are the folders' names.

    Names of emotions become mien's; of names that differ in case alone, the first stays. Images may lie
    deeper than their class folder, and all of it in other folders. Without split folders everything is
    training; ``mien data split`` divides it.

    Raises:
        DataError: there are no class folders with images, or a folder cannot be listed.
    """
    tree = read_tree(path)
    label_names = tuple(sorted(spelled_once(file.label for file in tree.files if file.problem is None)))
    if not label_names:
        raise DataError(f"{path} holds no class folders with images; expected <label>/<image>")
    codes = {label_key(name): code for code, name in enumerate(label_names)}
    entries = tuple(_entry(file, codes.get(label_key(file.label))) for file in tree.files)
    notes = (*tree.notes, *_doubts(label_names))
    return Listing(
        path_text(path.resolve().name), label_names, lambda: iter(entries), len(entries), notes=notes
    )


def list_numbered(path: Path, name: str, label_names: tuple[str, ...], first: int) -> Listing | None:
    """A known data set in class folders named by its codes or emotions; None where there are no such folders.

    Args:
        path: The folder, or one above it.
        name: of the data set.
        label_names: its emotions, in the order of their codes.
        first: the first code.
    """
    codes = {str(code): i for i, code in enumerate(range(first, first + len(label_names)))}
    codes |= {label_key(label): i for i, label in enumerate(label_names)}

    def code(folder: str) -> int | None:
        text = label_key(folder)
        return codes.get(text.lstrip("0") or "0" if text.isdecimal() else text)

    tree = read_tree(path, lambda folder: code(folder) is not None)
    if all(file.problem or code(file.label) is None for file in tree.files):
        return None
    entries = tuple(_entry(file, code(file.label)) for file in tree.files)
    return Listing(name, label_names, lambda: iter(entries), len(entries), notes=tree.notes)


def _entry(file: ClassFile, label: int | None) -> Entry:
    problem = file.problem
    if problem is None and label is None:
        problem = Problem("label out of range", f"no label of this data set is called {file.label[:20]!r}")
    return Entry(file.path, None if problem else label, file.split, problem=problem)


def _doubts(label_names: tuple[str, ...]) -> Iterator[str]:
    """What may be wrong with the labels that the names of folders gave."""
    if len(label_names) == 1 and not is_emotion(label_names[0]):
        yield f"the only label is '{shown(label_names[0])}'; expected one folder a label, as in happy/1.jpg"
    if all(name.isdecimal() for name in label_names):
        yield (
            "labels are numbers; mien data import rafdb or affectnet knows theirs, and --labels fer2013 "
            f"--map {label_names[0]}=angry names others"
        )


def _images(
    path: Path, layout: FolderLayout, skipped: list[tuple[Path, Problem]]
) -> Iterator[tuple[Path, int, int]]:
    """File, label and split of every image."""
    tree = read_tree(path)
    if not tree.has_splits:
        raise DataError(f"{path} holds no folder train, val or test; expected train/<emotion>/<image>")
    for file in tree.files:
        if file.problem:
            skipped.append((file.path, file.problem))
        else:
            label = _label(file.path, file.label, layout.label_names)
            split = layout.split_of_name(file.path.name) or file.split
            yield file.path, label, SPLITS.index(split)


def _label(file: Path, name: str, label_names: tuple[str, ...]) -> int:
    try:
        return label_names.index(emotion(name))
    except MienError as e:
        raise DataError(f"{shown(file.parent)}: {shown(str(e))}") from e
    except ValueError as e:
        known = ", ".join(label_names)
        raise DataError(
            f"{shown(file.parent)}: '{shown(name)}' is not an emotion of this data set (known: {known})"
        ) from e


def _gray(file: Path, pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    height, width = pixels.shape[:2]
    if (width, height) != (side, side):
        raise DataError(f"{shown(file)}: expected an image of {side}x{side} pixels, got {width}x{height}")
    return np.asarray(Image.fromarray(pixels).convert("L"))
