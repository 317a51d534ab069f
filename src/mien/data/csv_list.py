"""A CSV of paths and labels, the plainest way to bring one's own images.

Columns, in any order: ``path`` and ``label``; optionally ``split``, ``person``, ``x1``, ``y1``, ``x2``,
``y2``, ``valence``, ``arousal``. Paths are relative to the CSV. Columns of other names are passed over.
"""

import csv
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from mien.core.emotions import emotion_or
from mien.data.listing import SPLIT_NAMES, Entry, Listing, Problem, affect
from mien.errors import DataError

REQUIRED = ("path", "label")
_BOX = ("x1", "y1", "x2", "y2")


def list_paths(path: Path) -> Listing:
    """What a CSV of paths and labels lists; names of emotions become mien's, other labels stay.

    Raises:
        DataError: the CSV is missing, has no such columns, or names no label.
    """
    found: Counter[str] = Counter()
    columns: set[str] = set()
    for row in _rows(path):
        found[_label(row)] += 1
        columns.update(row)
    # names in the order of the alphabet; of numbers, the shorter one is the smaller
    label_names = tuple(sorted(filter(None, found), key=lambda name: (len(name) * name.isdecimal(), name)))
    if not label_names:
        raise DataError(f"{path} has no row with a label")
    return Listing(
        name=path.stem,
        label_names=label_names,
        entries=partial(_entries, path, {name: code for code, name in enumerate(label_names)}),
        total=found.total(),
        persons="person" in columns,
        valence_arousal=bool(columns & {"valence", "arousal"}),
    )


def _rows(path: Path) -> Iterator[dict[str, str]]:
    """The rows, without what a line has beyond the header; values that a short line lacks are empty."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, skipinitialspace=True, restval="")
            missing = [name for name in REQUIRED if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"{path}, line 1: needs the columns path, label; missing: {', '.join(missing)}"
                )
            for row in reader:
                row.pop(None, None)
                yield row
    except OSError as e:
        raise DataError(f"{path} cannot be read: {e.strerror}") from e
    except (csv.Error, UnicodeDecodeError) as e:
        raise DataError(f"{path} is no CSV in UTF-8: {e}") from e


def _label(row: dict[str, str]) -> str:
    return emotion_or(row["label"].strip())


def _entries(path: Path, codes: dict[str, int]) -> Iterator[Entry]:
    for row in _rows(path):
        file, label = path.parent / row["path"].strip(), _label(row)
        split = SPLIT_NAMES.get(row.get("split", "").strip().lower() or "train")
        try:
            box = _box(row)
            valence, arousal = (affect(row.get(name, "")) for name in ("valence", "arousal"))
        except ValueError as e:
            yield Entry(file, None, problem=Problem("malformed row", str(e)))
            continue
        if not label:
            yield Entry(file, None, problem=Problem("no label"))
        elif split is None:
            yield Entry(file, None, problem=Problem("unknown split", row["split"][:20]))
        else:
            person = row.get("person", "").strip()
            yield Entry(file, codes[label], split, person, box, valence, arousal)


def _box(row: dict[str, str]) -> tuple[float, float, float, float] | None:
    texts = [row.get(name, "").strip() for name in _BOX]
    if not any(texts):
        return None
    x1, y1, x2, y2 = map(float, texts)
    return x1, y1, x2, y2
