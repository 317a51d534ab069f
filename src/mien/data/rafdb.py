"""RAF-DB: ``list_patition_label.txt`` (its own spelling) with lines such as ``train_00001.jpg 5``.

Source: Li et al., "Reliable Crowdsourcing and Deep Locality-Preserving Learning for Expression Recognition in
the Wild", 2017.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path

from mien.core.emotions import RAFDB
from mien.data.class_folders import files_below
from mien.data.folders import list_numbered
from mien.data.listing import SPLIT_NAMES, Entry, Listing, Problem, is_there
from mien.errors import DataError

LIST = "list_patition_label.txt"
_COMPOUND = frozenset(map(str, range(8, 12)))
_CODES = {str(code): code - 1 for code in range(1, len(RAFDB) + 1)}


def list_rafdb(path: Path) -> Listing:
    """The basic emotions of RAF-DB, from the list and the folder ``aligned``, wherever below they are.

    Without the list, from folders named 1 to 7, or by the emotion, in ``train`` and ``test``.

    Raises:
        DataError: there is neither, it is the compound set, or a folder cannot be listed.
    """
    if not path.is_dir():
        raise DataError(f"no folder at {path}")
    found = sorted(file for file, _ in files_below(path))
    file = next((one for one in found if one.name == LIST), None)
    if file is None:
        if listing := list_numbered(path, "rafdb", RAFDB, first=1):
            _check_basic(path, (one.parent.name for one in found))
            return listing
        raise DataError(f"{path} is not RAF-DB: expected {LIST} in it, or folders such as train/1 to train/7")
    folder = next((one.parent for one in found if one.parent.name == "aligned"), file.parent)
    lines = file.read_text(encoding="utf-8-sig", errors="replace").splitlines()
    rows = [line.split() for line in lines if line.strip()]
    _check_basic(file, (row[1] for row in rows if len(row) > 1))
    return Listing("rafdb", RAFDB, partial(_entries, rows, folder), len(rows))


def _check_basic(path: Path, codes: Iterable[str]) -> None:
    """Refuse the compound set, whose codes 1 to 11 name other emotions; one such code alone is a slip."""
    if len(_COMPOUND.intersection(codes)) > 1:
        raise DataError(
            f"{path} has labels of the compound set of RAF-DB: expected 1 to {len(RAFDB)} of the basic set, "
            "got some of 8 to 11; give the basic set, or import this one as csv or folders"
        )


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
