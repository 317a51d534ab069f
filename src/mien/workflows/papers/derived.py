"""Data sets that rows make of FER2013 first: faces or mouths alone, and the answers of FER+ as classes."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mien.data.ferplus import answer_classes
from mien.data.parts import PartSettings
from mien.data.store import near_duplicates_for, read_columns, read_info, read_store, write_store
from mien.workflows.datasets.crop import crop_data
from mien.workflows.datasets.import_data import check_target
from mien.workflows.train import TrainProgress


def derive(what: str, store: Path, to: Path, report: Callable[[TrainProgress], None]) -> Path:
    """Make a data set of FER2013, unless the file is there and was made of the same source.

    It is not made again because a network that finds landmarks may round otherwise on another machine, and
    the run goes on only with the images that it began with.

    Args:
        what: A part that `mien data crop` cuts, or ``answers`` (`mien.data.ferplus.answer_classes`).
        store: FER2013; with the votes of FER+ for ``answers``.
        to: The data set file to write.
        report: Told how many faces are done.

    Returns:
        ``to``.

    Raises:
        DataError: ``store`` cannot be read or does not fit, or ``to`` is another file.
    """
    source = read_info(store).source_sha256
    check_target(to, [store])
    if to.is_file() and source and _is_of(to, store):
        return to
    if what == "answers":
        faces = answer_classes(read_store(store))
        write_store(faces, to, source_sha256=source, near=near_duplicates_for(faces, store))
        return to

    def progress(done: int, total: int) -> None:
        report(TrainProgress(done, total, 0.0, math.nan, 0.0, preparing=f"cutting: {what}"))

    crop_data(store, to, PartSettings(what), progress)
    return to


def _is_of(to: Path, store: Path) -> bool:
    """Whether a data set has the source, the rows and the split of another."""
    ours, theirs = (read_columns(path, "rows", "split") for path in (to, store))
    same = all(np.array_equal(ours[field], theirs[field]) for field in ours)
    return same and read_info(to).source_sha256 == read_info(store).source_sha256
