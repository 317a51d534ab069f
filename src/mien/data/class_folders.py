"""Trees of class folders in common forms: split folders above or below them or none, wrapped in others."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.core.emotions import ALIASES
from mien.core.image_names import is_image_file
from mien.data.listing import SPLIT_NAMES, Problem
from mien.errors import DataError

LITTER = frozenset({"__macosx", "thumbs.db", "desktop.ini", "@eadir", "$recycle.bin"})
"""What systems leave in folders, in lower case; as with hidden files, it is no part of a data set."""

IsClass = Callable[[str], bool]
"""Whether a folder's name is surely one of a class."""


@dataclass(frozen=True, slots=True)
class ClassFile:
    """A file of the tree: its class folder's name (empty where none), its split, and why it is no image."""

    path: Path
    label: str
    split: str
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class ClassTree:
    """What was found.

    Attributes:
        files: all visible files below the folder with the classes, in the order of their paths in each part.
        has_splits: whether folders tell the split.
        notes: what the user should know, one sentence each.
    """

    files: tuple[ClassFile, ...]
    has_splits: bool
    notes: tuple[str, ...]


def is_emotion(name: str) -> bool:
    """Whether mien knows the emotion that a folder is named for."""
    return name.strip().lower() in ALIASES


def read_tree(path: Path, is_class: IsClass = is_emotion) -> ClassTree:
    """Every file of the tree with the names of its class folder and split; wrapping folders are entered.

    Raises:
        DataError: there is no such folder, one cannot be listed, or several hold a data set each.
    """
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    root = find_root(path, is_class)
    deeper = len(root.relative_to(path).parts)
    notes = [f"the classes lie {deeper} folders deeper; what lies beside is not looked at"] if deeper else []
    parts = _splits(folders_in(root))
    if not any(parts.values()):
        is_split, doubts = _split_below(list(parts))
        found = _part(root, "" if is_split else "train", is_class)
        return ClassTree(tuple(found), is_split, (*notes, *doubts))
    by_word = [
        f"{shown(part.name)} is read as {split}"
        for part, split in parts.items()
        if split and not split_of(part.name)
    ]
    notes += [", ".join(by_word)] if by_word else []
    files: list[ClassFile] = []
    for part, split in parts.items():
        if split:
            files += _part(part, split, is_class)
        else:
            beside = Problem("unknown split", f"{part.name} lies beside the split folders")
            files += (ClassFile(file, "", "train", problem or beside) for file, problem in files_below(part))
    files += _loose(root, "train")
    return ClassTree(tuple(files), True, tuple(notes))


def split_of(name: str) -> str:
    """The split that a folder's name means; empty if none."""
    return SPLIT_NAMES.get(name.lower(), "")


def _splits(folders: list[Path]) -> dict[Path, str]:
    """The split that each folder's name tells, or a word in each, as in ``Train_Aligned_Faces``; or empty."""
    words = [
        {split_of(word) for word in re.findall("[a-z]+", folder.name.lower())} - {""} for folder in folders
    ]
    told = [splits.pop() if len(splits) == 1 else "" for splits in words]
    if len(set(told)) > 1 and all(told):
        return dict(zip(folders, told, strict=True))
    return {folder: split_of(folder.name) for folder in folders}


def _split_below(classes: list[Path]) -> tuple[bool, list[str]]:
    """Whether all classes that have images hold split folders, and what to say where only some do."""
    divided = [folder for folder in classes if splits_in(folder)]
    if not divided:
        return False, []
    for folder in classes:
        if folder not in divided and any(problem is None for _, problem in files_below(folder)):
            some, other = shown(divided[0].name), shown(folder.name)
            return False, [f"{some} holds split folders and {other} none, so they count for nothing"]
    return True, []


def splits_in(folder: Path) -> list[Path]:
    """The folders directly in a folder that are named for a split; raises as `visible`."""
    return [inner for inner in folders_in(folder) if split_of(inner.name)]


DEEPEST = 16
"""Levels below a folder in which its class folders are looked for."""


def find_root(path: Path, is_class: IsClass, depth: int = 0, entered: set[str] | None = None) -> Path:
    """The folder whose folders are splits or classes: ``path``, or one of the `DEEPEST` levels below it.

    Args:
        path: Where to look.
        is_class: Whether the name of a folder is that of a class.
        depth: How many levels below the first folder it lies.
        entered: Those that were looked through, so that a folder of many links is looked through once.

    Raises:
        DataError: several folders hold classes, or one cannot be listed.
    """
    real = os.path.realpath(path)
    folders = folders_in(path)
    entered = set() if entered is None else entered
    is_known = real in entered or depth > DEEPEST or _leads_up(path, real)
    if is_known or _is_root(folders, is_class):
        return path
    entered.add(real)
    found = [find_root(folder, is_class, depth + 1, entered) for folder in folders]
    roots = [root for root in found if _is_root(folders_in(root), is_class)]
    if len(roots) > 1:
        names = ", ".join(shown(root.relative_to(path)) for root in roots[:5])
        raise DataError(
            f"{shown(path)} holds several folders of classes ({names}); give one, or a CSV of all images"
        )
    if roots:
        return roots[0]
    return found[0] if len(folders) == 1 and _is_wrapper(found[0]) else path


def _is_wrapper(folder: Path) -> bool:
    """Whether a folder that lies alone holds folders only: names of classes that mien does not know."""
    entries = visible(folder)
    return len(entries) > 1 and all(entry.is_dir() for entry in entries)


def _is_root(folders: list[Path], is_class: IsClass) -> bool:
    """Whether folders that lie together are splits, or classes: by their names, or split folders in all."""
    if any(_splits(folders).values()) or any(is_class(folder.name) for folder in folders):
        return True
    splits = [splits_in(folder) for folder in folders]
    return len(splits) > 1 and all(splits) and not any(folders_in(one) for inner in splits for one in inner)


def _part(part: Path, split: str, is_class: IsClass) -> Iterator[ClassFile]:
    """The files of a split; where that is empty, folders in those of the classes tell it."""
    part = find_root(part, is_class)
    for folder in folders_in(part):
        for file, problem in sorted(files_below(folder), key=lambda one: one[0]):
            told = split or next(map(split_of, file.relative_to(folder).parent.parts), "")
            beside = None if told else Problem("unknown split", f"beside the split folders of {folder.name}")
            yield ClassFile(file, folder.name, told or "train", problem or beside)
    yield from _loose(part, split or "train")


def _loose(folder: Path, split: str) -> Iterator[ClassFile]:
    """Images that lie beside the folders which could tell their label."""
    no_label = Problem("no label", "in no class folder")
    for file in visible(folder):
        if not file.is_dir() and is_image_file(str(file)):
            yield ClassFile(file, "", split, no_label)


def files_below(folder: Path) -> Iterator[tuple[Path, Problem | None]]:
    """Every visible file, through links too, and what is wrong with those that are no images by their name.

    A folder that several links lead to is entered once.

    Raises:
        DataError: a folder cannot be listed.
    """
    entered: set[str] = set()
    waiting: list[tuple[Path, frozenset[str]]] = [(folder, frozenset())]
    while waiting:
        here, above = waiting.pop()
        real = os.path.realpath(here)
        if real in above or _leads_up(here, real):
            yield here, Problem("link in a circle", f"it leads to {real}")
            continue
        if real in entered:
            yield here, Problem("link to a folder that is read", f"it leads to {real}")
            continue
        entered.add(real)
        for path in visible(here):
            if path.is_dir():
                waiting.append((path, above | {real}))
            elif path.is_symlink() and not path.exists():
                yield path, Problem("missing file", "a link that leads nowhere")
            else:
                yield path, None if is_image_file(str(path)) else Problem("not an image", "by its name")


def _leads_up(folder: Path, real: str) -> bool:
    """Whether a link leads to a folder that it lies in."""
    return folder.is_symlink() and Path(os.path.realpath(folder.parent)).is_relative_to(real)


def shown(path: Path | str) -> str:
    """A path or name on one line, whatever its name holds."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(path))


def is_litter(path: Path, below: Path) -> bool:
    """Whether a file or folder is hidden or litter, or lies in such a folder ``below`` another."""
    return any(name.startswith(".") or name.lower() in LITTER for name in path.relative_to(below).parts)


def folders_in(path: Path) -> list[Path]:
    """The visible folders; raises as `visible`."""
    return [entry for entry in visible(path) if entry.is_dir()]


def visible(path: Path) -> list[Path]:
    """What a folder holds but for hidden files and litter, in the order of the names.

    Raises:
        DataError: it cannot be listed.
    """
    try:
        return sorted(entry for entry in path.iterdir() if not is_litter(entry, path))
    except OSError as e:
        reason = (e.strerror or "unknown reason").lower()
        raise DataError(
            f"{shown(path)} cannot be listed ({reason}); check its permissions, or move it away"
        ) from e
