"""Cut a part of every face of a data set, as a data set of its own."""

from dataclasses import dataclass
from pathlib import Path

from mien.core.detectors import landmarks_on_crops
from mien.core.progress import Progress, silent
from mien.data.parts import PartSettings, cut_part
from mien.data.store import StoreInfo, near_duplicates_for, read_info, read_store, write_store
from mien.errors import DataError
from mien.workflows.datasets.import_data import check_target


@dataclass(frozen=True, slots=True)
class Cropped:
    """What was written, and how many faces of how many had no reliable landmarks."""

    info: StoreInfo
    n_unsure: int
    n_faces: int


def crop_data(store: Path, to: Path, settings: PartSettings, progress: Progress = silent) -> Cropped:
    """Write a part of every face of ``store``; rows, splits and near copies are those of the source.

    Where faces are left out, near copies are not known until an audit searches them.

    Raises:
        DataError: the source cannot be read or is not square, no face is left, or ``to`` cannot be written.
    """
    check_target(to, [store])
    faces = read_store(store)
    cut, n_unsure = cut_part(faces, settings, landmarks_on_crops, progress)
    if not len(cut):
        raise DataError(
            f"no face of {store} has landmarks of confidence {settings.min_score:g}; ask for less"
        )
    near = near_duplicates_for(cut, store)
    write_store(cut, to, source_sha256=read_info(store).source_sha256, near=near)
    return Cropped(read_info(to), n_unsure, len(faces))
