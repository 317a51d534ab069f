"""Participants of videos, and neutral file names for raters who must not know them"""

import csv
import os
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from random import Random, SystemRandom

from mien.core.files import atomic_write
from mien.core.outputs import check_output_folder
from mien.core.own_files import reading
from mien.core.paths import check_told_apart, path_text
from mien.errors import MienError
from mien.workflows.rows.formats import csv_bytes

STEM = "stem"
KEY_COLUMNS = ("blind", "video", "participant")
KEY = "blind-key.csv"

IdOf = Callable[[PurePath], str | None]


def parse_id_from(text: str | None) -> IdOf:
    """How the path of a video tells its participant.

    Args:
        text: ``stem`` for the file's name without its end, or a regular expression that is searched in the
            path below the folder, with ``/``; its first group, or all that it matches, is the ID. ``None``
            tells none.

    Raises:
        MienError: it is no regular expression.
    """
    if text is None:
        return lambda path: None
    if text == STEM:
        return lambda path: path_text(path.stem)
    try:
        pattern = re.compile(text)
    except re.error as error:
        raise MienError(f"--id-from takes 'stem' or a regular expression, got '{text}': {error}") from error

    def id_of(path: PurePath) -> str:
        match = pattern.search(path.as_posix())
        found = match and (match[1] if pattern.groups else match[0])
        if not found:
            raise MienError(f"--id-from '{text}' finds no participant in '{path.as_posix()}'")
        return path_text(str(found))

    return id_of


def write_blind(
    videos: Sequence[tuple[Path, str | None]], folder: Path, key: Path, rng: Random | None = None
) -> list[Path]:
    """Copy videos under names that tell nothing, in a random order; only the key knows which is which.

    Copies that are there already stay what they are, so that it goes on where it was stopped.

    Args:
        videos: Each with its participant, where one is known.
        folder: Gets ``001.mp4`` and so on: the order in which they are rated.
        key: Gets `KEY_COLUMNS`; must not lie in ``folder``.
        rng: The source of the order; the system's by default.

    Returns:
        The copies, in their order.

    Raises:
        MienError: the key or the videos would lie beside the copies, the key tells of other videos or could
            not tell two apart, or ``folder`` holds files that are not copies of these.
    """
    check_told_apart(str(path) for path, _ in videos)
    check_output_folder(folder)
    place = Path(os.path.realpath(folder))
    if place in Path(os.path.realpath(key)).parents:
        raise MienError(f"{key} would be visible to the raters; give --blind a folder apart from --out")
    for path, _ in videos:
        if place in Path(os.path.realpath(path)).parents:
            raise MienError(f"{path} lies in {folder}; give --blind a folder apart from the videos")
    names = {path_text(str(path)): path for path, _ in videos}
    if key.exists():
        rows = read_key(key)
        if {row["video"] for row in rows} != set(names):
            raise MienError(f"{key} lists other videos; delete it and {folder} to draw again")
    else:
        order = list(videos)
        (rng or SystemRandom()).shuffle(order)
        width = max(3, len(str(len(order))))
        cells = [
            (f"{n:0{width}d}{path.suffix.lower()}", path_text(str(path)), who)
            for n, (path, who) in enumerate(order, 1)
        ]
        for name, *_ in cells:
            if (folder / name).exists():
                raise MienError(f"{folder / name} is from another key than {key}; give --blind a new folder")
        key.parent.mkdir(parents=True, exist_ok=True)
        _write(key, [KEY_COLUMNS, *cells])
        rows = read_key(key)
    folder.mkdir(parents=True, exist_ok=True)
    copies = [folder / row["blind"] for row in rows]
    for row, copy in zip(rows, copies, strict=True):
        _copy(names[row["video"]], copy)
    return copies


def _copy(video: Path, copy: Path) -> None:
    if not copy.exists():
        with atomic_write(copy) as temporary:
            shutil.copyfile(video, temporary)
    elif copy.stat().st_size != video.stat().st_size:
        raise MienError(
            f"{copy} is not a copy of {video}, contrary to the key; delete it, or give --blind a new folder"
        )


def _write(path: Path, rows: Sequence[Sequence[str | None]]) -> None:
    with atomic_write(path) as temporary:
        temporary.write_bytes(csv_bytes((), rows))


def read_key(path: Path) -> list[dict[str, str]]:
    """The rows of a key, under `KEY_COLUMNS`.

    Raises:
        MienError: it is no key.
    """
    with reading(path, advice="name the key that `mien watch --blind` wrote"):
        # A spreadsheet may have saved it again; `open_table` would take blanks off names.
        with path.open(encoding="utf-8-sig", newline="") as file:
            separator = max(",;\t", key=file.readline().count)
            file.seek(0)
            rows = list(csv.DictReader(file, delimiter=separator))
        if not rows or not set(KEY_COLUMNS) <= set(rows[0]):
            raise ValueError(f"it has no columns {', '.join(KEY_COLUMNS)}")
        if any(os.path.basename(row["blind"]) != row["blind"] for row in rows):
            raise ValueError("a name is a path")
    return rows
