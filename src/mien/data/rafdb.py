"""RAF-DB: ``list_patition_label.txt`` (its own spelling) with lines such as ``train_00001.jpg 5``.

Source: Li et al., "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in
the Wild", 2017.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mien.core.emotions import RAFDB
from mien.data.class_folders import is_litter
from mien.data.folders import list_numbered
from mien.data.listing import SPLIT_NAMES, Entry, Listing, Problem, is_there
from mien.errors import DataError

LIST = "list_patition_label.txt"
_CODES = {str(code): code - 1 for code in range(1, len(RAFDB) + 1)}


def list_rafdb(path: Path) -> Listing:
    """The basic emotions of RAF-DB, from the list and the folder ``aligned``, wherever below they are.

    Without the list, from folders named 1 to 7, or by the emotion, in ``train`` and ``test``.

    Raises:
        DataError: there is neither.
    """
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    file = next((found for found in sorted(path.rglob(LIST)) if not is_litter(found, path)), None)
    if file is None:
        if listing := list_numbered(path, "rafdb", RAFDB, first=1):
            return listing
        raise DataError(f"{path} is no RAF-DB: expected {LIST} in it, or folders such as train/1 to train/7")
    folders = (found for found in sorted(path.rglob("aligned")) if found.is_dir())
    folder = next((found for found in folders if not is_litter(found, path)), file.parent)
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    return Listing("rafdb", RAFDB, partial(_entries, rows, folder), len(rows))


def _entries(rows: list[list[str]], folder: Path) -> Iterator[Entry]:
    for name, *rest in rows:
        text = rest[0] if rest else ""
        split = SPLIT_NAMES.get(name.split("_")[0].lower())
        label = _CODES.get(text)
        problem = None
        if split is None:
            problem = Problem("unknown split", f"{name[:40]} begins with neither train nor test")
        elif label is None:
            shown = f"expected 1 to {len(RAFDB)}, got {text[:20]!r}"
            problem = Problem("label out of range", shown) if text else Problem("no label")
        yield Entry(_image(folder, name), label, split or "train", problem=problem)


def _image(folder: Path, name: str) -> Path:
    """The list says ``train_00001.jpg`` and the aligned image is ``train_00001_aligned.jpg``."""
    stem, _, suffix = name.rpartition(".")
    aligned = folder / f"{stem}_aligned.{suffix}"
    return aligned if is_there(aligned) else folder / name
