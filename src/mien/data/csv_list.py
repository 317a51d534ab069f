"""A CSV of paths and labels, the simplest way to import your own images.

Columns, in any order: ``path`` and ``label``; optionally ``split``, ``person``, ``x1``, ``y1``, ``x2``,
``y2``, ``valence``, ``arousal``, or what `COLUMNS` also calls them. Paths are relative to the CSV, or to a
folder that is named. Other columns are ignored, and a note names them.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mien.core.paths import path_text
from mien.data.listing import SPLIT_NAMES, Entry, Listing, Problem, affect, is_there, label_key, spelled_once
from mien.data.tables import cells_of, find_columns, listed, missing_columns, open_table
from mien.errors import DataError

REQUIRED = ("path", "label")
COLUMNS: dict[str, tuple[str, ...]] = {
    "path": (
        "path",
        "image",
        "image_path",
        "img_path",
        "filepath",
        "file_path",
        "filename",
        "file_name",
        "file",
    ),
    "label": ("label", "emotion", "expression", "class"),
    "split": ("split", "usage", "set", "subset"),
    "person": ("person", "subject"),
    "x1": ("x1", "xmin", "x_min", "left"),
    "y1": ("y1", "ymin", "y_min", "top"),
    "x2": ("x2", "xmax", "x_max", "right"),
    "y2": ("y2", "ymax", "y_max", "bottom"),
    **{name: (name,) for name in ("valence", "arousal")},
}
"""What a column may be called, the first choice first; capitals and blanks do not matter."""

_NAMES = tuple(name for names in COLUMNS.values() for name in names)
_BOX = ("x1", "y1", "x2", "y2")


def list_paths(path: Path, root: Path | None = None) -> Listing:
    """What a CSV of paths and labels lists; names of emotions become mien's, other labels stay.

    Of labels that differ in case alone, the first stays.

    Args:
        path: The CSV, whatever its separator and encoding.
        root: The folder that its paths are relative to; None for the folder of the CSV.

    Raises:
        DataError: the CSV is missing, has no such columns, or names no label.
    """
    with open_table(path, _NAMES) as table:
        columns = find_columns(table.header, COLUMNS)
        if missing := [name for name in REQUIRED if name not in columns]:
            advice = missing_columns(table.header, REQUIRED, missing)
            if "pixels" in table.header:
                advice = "holds pixels, not paths; import it: mien data import fer2013"
            raise DataError(f"{path}, line {table.number}: {advice}")
        unread = [name for i, name in enumerate(table.header) if name and i not in columns.values()]
        rows = (cells_of(cells, columns) for _, cells in table.rows())
        found = Counter("" if _torn(row) else row["label"] for row in rows)
    # names in the order of the alphabet; of numbers, the shorter one is the smaller
    names = spelled_once(filter(None, found))
    label_names = tuple(sorted(names, key=lambda name: (len(name) * name.isdecimal(), name)))
    if not label_names:
        raise DataError(f"{path} has no row with a label")
    codes = {label_key(name): code for code, name in enumerate(label_names)}
    return Listing(
        name=path_text(path.stem),
        label_names=label_names,
        entries=_Rows(path, root or path.parent, columns, codes).entries,
        total=found.total(),
        persons="person" in columns,
        valence_arousal=bool(columns.keys() & {"valence", "arousal"}),
        notes=(f"columns that are not read: {listed(unread)}",) if unread else (),
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of a CSV, as entries."""

    path: Path
    root: Path
    columns: dict[str, int]
    codes: dict[str, int]

    def entries(self) -> Iterator[Entry]:
        with open_table(self.path, _NAMES) as table:
            for _, cells in table.rows():
                yield self._entry(cells_of(cells, self.columns))

    def _entry(self, row: dict[str, str]) -> Entry:
        file, label = self._file(row["path"]), label_key(row["label"])
        split = SPLIT_NAMES.get(row.get("split", "train").lower())
        try:
            box = _box(row)
            valence, arousal = (affect(_point(row.get(name, ""))) for name in ("valence", "arousal"))
        except ValueError as e:
            return Entry(file, None, problem=Problem("malformed row", str(e)))
        if not row["path"]:
            return Entry(file, None, problem=Problem("malformed row", "no path"))
        if torn := _torn(row):
            detail = f"a line end in the {torn}: is a quote missing or too many?"
            return Entry(file, None, problem=Problem("malformed row", detail))
        if not label:
            return Entry(file, None, problem=Problem("no label"))
        if label not in self.codes:
            return Entry(file, None, problem=Problem("malformed row", "the CSV has changed meanwhile"))
        if split is None:
            told = f"{row['split'][:20] or 'an empty cell'}; write train, val or test"
            return Entry(file, None, problem=Problem("unknown split", told))
        return Entry(file, self.codes[label], split, row.get("person", ""), box, valence, arousal)

    def _file(self, text: str) -> Path:
        """Of a path that Windows wrote, the backslashes become slashes."""
        file = self.root / text
        return self.root / text.replace("\\", "/") if "\\" in text and not is_there(file) else file


def _torn(row: dict[str, str]) -> str:
    """The column whose cell took in other lines, as between two quotes that are no pair; empty for none."""
    return next((name for name in REQUIRED if "\n" in row[name] or "\r" in row[name]), "")


def _box(row: dict[str, str]) -> tuple[float, float, float, float] | None:
    texts = [row.get(name, "") for name in _BOX]
    if not any(texts):
        return None
    x1, y1, x2, y2 = (float(_point(text)) for text in texts)
    if 0 < x2 <= 1 and 0 < y2 <= 1:
        raise ValueError(f"expected a box in pixels, got shares of the image up to {x2:g}, {y2:g}")
    return x1, y1, x2, y2


def _point(number: str) -> str:
    """A number as Python reads it; spreadsheets of many countries write 0,5."""
    return number.replace(",", ".")
