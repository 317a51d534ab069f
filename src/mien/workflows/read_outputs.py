"""Outputs of readings: JSON objects, rows of a table, annotated images."""

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mien.core.columns import Row
from mien.core.draw import MOST_JPEG_SIDE, annotate
from mien.core.files import refusals, temporary_file, took_place
from mien.core.image_names import JPEG_SUFFIXES
from mien.core.outputs import check_output_folder
from mien.core.paths import cut_name, path_text
from mien.core.readings import face_cells, face_columns
from mien.workflows.find import STDIN, STDIN_STEM
from mien.workflows.read import ImageResult

JPEG_QUALITY = 92
LONGEST_STEM = 240  # bytes; a name may have 255, and a number and the suffix follow

NO_SUCH_FOLDER = (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR)
"""Errors of a folder's path alone: it is too long, or a file, as another annotated image, is in its way."""


def to_object(result: ImageResult) -> dict[str, Any]:
    """A JSON-ready dict: path, width, height, faces (`Reading.to_dict`), error."""
    width, height = result.size_wh or (None, None)
    faces = [reading.to_dict() for reading in result.readings]
    path = path_text(result.name)
    return {"path": path, "width": width, "height": height, "faces": faces, "error": result.error}


def columns(labels: Sequence[str], *, landmarks: bool = False) -> tuple[str, ...]:
    """The names of the columns that `to_rows` fills."""
    return ("path", *face_columns(labels, landmarks=landmarks), "error")


def to_rows(result: ImageResult, labels: Sequence[str], *, landmarks: bool = False) -> list[Row]:
    """One row a face, faces counted from 1; an image without faces gives one row with empty cells.

    Boxes are rounded to hundredths of a pixel, scores and probabilities to millionths.
    """
    path = path_text(result.name)
    if not result.readings:
        return [(path, *[None] * (len(columns(labels, landmarks=landmarks)) - 2), result.error)]
    faces = enumerate(result.readings, start=1)
    return [(path, *face_cells(n, reading, landmarks=landmarks), None) for n, reading in faces]


class FreeNames:
    """Names for new files, where nothing that is there may be overwritten, also not by another process.

    A taken name gets a number: ``party-2.jpg``; one too long for the disk is cut.
    """

    def __init__(self) -> None:
        self._last: dict[Path, int] = {}  # the last number of each name that is taken

    def take(self, file: Path, folder: Path, stem: str) -> Path:
        """Move a file, of the same file system, to the first free name in ``folder``; its suffix stays."""
        return next(path for path in self._names(folder, stem, file.suffix) if took_place(file, path))

    def _names(self, folder: Path, stem: str, suffix: str) -> Iterator[Path]:
        """Names to try, the first without a number."""
        stem = cut_name(stem, LONGEST_STEM)
        first = folder / f"{stem}{suffix}"
        yield first
        while True:
            self._last[first] = self._last.get(first, 1) + 1
            yield folder / f"{stem}-{self._last[first]}{suffix}"


class AnnotatedFolder:
    """Writes annotated images under the names of their sources; a file that exists is never overwritten.

    Folders below the one that was read are kept, but where such a folder cannot be made, its images go into
    ``folder`` itself. The format is JPEG where the source has the name of one and no side is too long for it,
    else PNG. See `FreeNames` for names that are taken or too long.

    Args:
        folder: Made if need be.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._names = FreeNames()
        check_output_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: ImageResult) -> Path | None:
        """The annotated image's path; ``None`` for an image that could not be read."""
        if result.pixels is None:
            return None
        return self.save(annotate(result.pixels, result.readings), result.name, result.below)

    def save(self, pixels: NDArray[np.uint8], name: str, below: str) -> Path:
        """Write a drawing on the image that ``name`` and ``below`` of its `Source` tell."""
        stem, suffix = os.path.splitext(os.path.basename(name))
        if name == STDIN:
            stem = STDIN_STEM
        is_jpeg = suffix.lower() in JPEG_SUFFIXES and max(pixels.shape) <= MOST_JPEG_SIDE
        suffix = ".jpg" if is_jpeg else ".png"
        folder = self._folder(below)
        image = Image.fromarray(pixels)
        with refusals(folder / f"{stem}{suffix}"), temporary_file(folder, suffix) as temporary:
            if is_jpeg:
                image.save(temporary, quality=JPEG_QUALITY, subsampling=0)
            else:
                image.save(temporary)
            return self._names.take(temporary, folder, stem)

    def _folder(self, below: str) -> Path:
        folder = self.folder / below
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno not in NO_SUCH_FOLDER:
                raise
            return self.folder  # one path must not end the work on all images
        return folder
