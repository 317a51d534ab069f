"""AffectNet: the 2017 release with CSV lists, and the smaller release with an ``.npy`` file for each value.

Source: Mollahosseini et al., "AffectNet: A Database for Facial Expression, Valence, and Arousal Computing
in the Wild", 2017 (arXiv 1708.03985).
"""

from collections.abc import Iterator
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mien.core.emotions import AFFECTNET11
from mien.core.own_files import reason
from mien.data.class_folders import visible
from mien.data.folders import list_numbered
from mien.data.listing import Entry, Listing, Problem, affect, is_there, label_problem
from mien.data.tables import cells_of, find_columns, open_table
from mien.errors import DataError

COLUMNS = (
    "subDirectory_filePath",
    "face_x",
    "face_y",
    "face_width",
    "face_height",
    "facial_landmarks",
    "expression",
    "valence",
    "arousal",
)
"""The columns of ``training.csv`` and ``validation.csv``; some copies lack the line that names them."""

LISTS = {"training.csv": "train", "validation.csv": "val"}
SETS = {"train_set": "train", "val_set": "val"}
N_LANDMARKS = 68
_PICTURES = ("Manually_Annotated_Images", "Manually_Annotated", "images", ".")
_IN_ORDER = {name: i for i, name in enumerate(COLUMNS)}
_CODES = {str(code): code for code in range(len(AFFECTNET11))}


def list_affectnet(path: Path) -> Listing:
    """AffectNet in either layout: 11 labels, valence and arousal, 68 landmarks, and face boxes in the first.

    Copies in folders named by code or emotion, such as ``train/0``, have labels alone.

    Raises:
        DataError: no such layout is there, or a folder of images cannot be listed.
    """
    if any((path / name).is_dir() for name in SETS):
        entries = partial(_from_arrays, path)
        total = sum(1 for name in SETS for _ in _numbered(path / name))
    elif lists := [path / name for name in LISTS if (path / name).is_file()]:
        entries = partial(_from_lists, path)
        total = sum(_count_lines(file) for file in lists)
    elif path.is_dir() and (listing := list_numbered(path, "affectnet", AFFECTNET11, first=0)):
        return listing
    else:
        raise DataError(
            f"{path} is not AffectNet: expected training.csv and validation.csv, or train_set/ and val_set/, "
            "or folders such as train/0 to train/7"
        )
    return Listing("affectnet", AFFECTNET11, entries, total, valence_arousal=True, n_landmarks=N_LANDMARKS)


def _count_lines(path: Path) -> int:
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(2**20), b""))


def _from_lists(path: Path) -> Iterator[Entry]:
    default = next((path / name for name in _PICTURES if (path / name).is_dir()), path)
    for name, split in LISTS.items():
        if not (path / name).is_file():
            continue
        folder = None
        with open_table(path / name, COLUMNS) as table:
            has_header = COLUMNS[0].lower() in table.header
            columns = _columns(table.header, path / name) if has_header else _IN_ORDER
            first = [] if has_header or not any(table.first) else [(table.number, table.first)]
            for _, cells in chain(first, table.rows()):
                row = cells_of(cells, columns)
                folder = folder or _images_of(path, row[COLUMNS[0]])  # a missing file tells none
                yield _from_row(folder or default, row, split)


def _columns(header: tuple[str, ...], path: Path) -> dict[str, int]:
    columns = find_columns(header, {name: (name.lower(),) for name in COLUMNS})
    if missing := [name for name in COLUMNS if name not in columns]:
        raise DataError(f"{path}, line 1: needs the columns of AffectNet; missing: {', '.join(missing)}")
    return columns


def _images_of(path: Path, file: str) -> Path | None:
    return next((path / name for name in _PICTURES if is_there(path / name / file)), None)


def _from_row(folder: Path, row: dict[str, str], split: str) -> Entry:
    file = folder / row[COLUMNS[0]]
    label = _CODES.get(row["expression"].strip())
    if label is None:
        return Entry(file, None, split, problem=label_problem(row["expression"], len(AFFECTNET11)))
    try:
        x, y, width, height = (float(row[name]) for name in COLUMNS[1:5])
        points = np.array(row["facial_landmarks"].split(";"), np.float32)
        valence, arousal = (affect(row[name]) for name in ("valence", "arousal"))
        landmarks = _landmarks(points)
    except ValueError as e:
        return Entry(file, None, split, problem=Problem("malformed row", str(e)))
    return Entry(file, label, split, "", (x, y, x + width, y + height), valence, arousal, landmarks)


def _landmarks(points: NDArray[np.float32]) -> NDArray[np.float32]:
    """(68, 2) from x and y in turn; they name pixels, whose centres lie half a pixel further."""
    return points.astype(np.float32).reshape(N_LANDMARKS, 2) + np.float32(0.5)


def _numbered(folder: Path) -> Iterator[Path]:
    images = folder / "images"
    files = visible(images) if images.is_dir() else ()
    return (file for file in files if file.stem.isdecimal() and file.suffix)


def _from_arrays(path: Path) -> Iterator[Entry]:
    for name, split in SETS.items():
        for file in sorted(_numbered(path / name), key=lambda file: (int(file.stem), file.name)):
            yield _from_files(file, path / name / "annotations", split)


def _from_files(file: Path, annotations: Path, split: str) -> Entry:
    def value(kind: str) -> NDArray[np.generic]:
        with (annotations / f"{file.stem}_{kind}.npy").open("rb") as opened:
            array: NDArray[np.generic] = np.lib.format.read_array(opened, allow_pickle=False)
        return array

    try:
        text = str(value("exp").reshape(-1)[0])
        label = _CODES.get(text)
        if label is None:
            return Entry(file, None, split, problem=label_problem(text, len(AFFECTNET11)))
        valence, arousal = (affect(str(value(kind).reshape(-1)[0])) for kind in ("val", "aro"))
        landmarks = _landmarks(value("lnd").astype(np.float32))
    except FileNotFoundError as e:
        return Entry(file, None, split, problem=Problem("no label", f"no {Path(e.filename).name}"))
    except Exception as e:  # for a file that is cut or made to harm, numpy raises any other
        return Entry(file, None, split, problem=Problem("malformed row", f"annotation: {reason(e)}"))
    return Entry(file, label, split, "", None, valence, arousal, landmarks)
