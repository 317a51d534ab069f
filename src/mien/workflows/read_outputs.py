"""What becomes of readings: JSON objects, table rows, a Parquet file, annotated images."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image

from mien.core.draw import annotate
from mien.core.files import atomic_write, refusals, temporary_file, took_place
from mien.core.outputs import check_output, check_output_folder
from mien.core.results import Reading
from mien.errors import MissingExtraError
from mien.workflows.find import JPEG_SUFFIXES, STDIN
from mien.workflows.read import ImageResult

Row = tuple[str | bool | int | float | None, ...]

FACE_COLUMNS = (
    *("path", "face", "x1", "y1", "x2", "y2"),
    *("detection_score", "emotion", "confidence", "uncertain"),
)
TEXT_COLUMNS = ("path", "emotion", "error")
JPEG_QUALITY = 92
LONGEST_STEM = 240  # bytes; a name may have 255, and a number and the suffix follow
ROWS_A_BATCH = 4096


def to_object(result: ImageResult) -> dict[str, Any]:
    """A JSON-ready dict: path, width, height, faces (`Reading.to_dict`), error."""
    width, height = result.size_wh or (None, None)
    faces = [reading.to_dict() for reading in result.readings]
    return {"path": result.name, "width": width, "height": height, "faces": faces, "error": result.error}


def columns(labels: Sequence[str]) -> tuple[str, ...]:
    """The names of the columns that `to_rows` fills."""
    return (*FACE_COLUMNS, *(f"p_{label}" for label in labels), "error")


def to_rows(result: ImageResult, labels: Sequence[str]) -> list[Row]:
    """One row a face, faces counted from 1; an image without faces gives one row with empty cells.

    Boxes are rounded to hundredths of a pixel, scores and probabilities to millionths. Bytes of a file name
    that are not UTF-8 become a replacement character.
    """
    path = result.name.encode(errors="surrogateescape").decode(errors="replace")
    if not result.readings:
        return [(path, *[None] * (len(columns(labels)) - 2), result.error)]
    return [(path, face, *_cells(reading), None) for face, reading in enumerate(result.readings, start=1)]


def _cells(reading: Reading) -> Row:
    box = reading.box
    corners = (round(value, 2) for value in (box.x1, box.y1, box.x2, box.y2))
    probs = (round(prob, 6) for prob in reading.probs)
    score, confidence = round(reading.detection_score, 6), round(reading.confidence, 6)
    return *corners, score, reading.emotion, confidence, reading.uncertain, *probs


class ParquetRows:
    """Takes rows and writes them in batches; made by `parquet_file`."""

    def __init__(self, path: Path, names: Sequence[str]) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        kinds = {name: pa.string() for name in TEXT_COLUMNS} | {"face": pa.int32(), "uncertain": pa.bool_()}
        self._schema = pa.schema([(name, kinds.get(name, pa.float64())) for name in names])
        self._record_batch = pa.record_batch
        self._writer = pq.ParquetWriter(path, self._schema)
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        """Add rows; they reach the file some thousand at a time."""
        self._waiting += rows
        if len(self._waiting) >= ROWS_A_BATCH:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        if self._waiting:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        cells = [list(column) for column in zip(*self._waiting, strict=True)]
        self._writer.write_batch(self._record_batch(cells, schema=self._schema))
        self._waiting = []


@contextmanager
def parquet_file(path: str | os.PathLike[str], names: Sequence[str]) -> Iterator[ParquetRows]:
    """A Parquet file that takes rows and appears, whole, at the end; nothing is left if anything goes wrong.

    Args:
        path: The file; one that exists is replaced.
        names: From `columns`.

    Raises:
        OutputError: the file cannot be written.
        MissingExtraError: pyarrow is not installed.
    """
    check_output(path)
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("--parquet", "pyarrow", "parquet") from error
    with atomic_write(path) as temporary:
        rows = ParquetRows(temporary, names)
        try:
            yield rows
        finally:
            rows.close()


class AnnotatedFolder:
    """Writes annotated images under the names of their sources; a file that exists is never overwritten.

    Folders below the one that was read are kept. The format is JPEG where the source's is, else PNG. A taken
    name gets a number: ``party-2.jpg``; one too long for the disk is cut.

    Args:
        folder: Made if need be.

    Raises:
        OutputError: the folder cannot be made.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self._last: dict[Path, int] = {}  # the last number of each name that is taken
        check_output_folder(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def write(self, result: ImageResult) -> Path | None:
        """The annotated image's path; ``None`` for an image that could not be read."""
        if result.pixels is None:
            return None
        stem, suffix = os.path.splitext(os.path.basename(result.name))
        if result.name == STDIN:
            stem = "standard-input"
        suffix = ".jpg" if suffix.lower() in JPEG_SUFFIXES else ".png"
        folder = self._folder(result.below)
        image = Image.fromarray(annotate(result.pixels, result.readings))
        with refusals(folder / f"{stem}{suffix}"), temporary_file(folder, suffix) as temporary:
            if suffix == ".jpg":
                image.save(temporary, quality=JPEG_QUALITY, subsampling=0)
            else:
                image.save(temporary)
            return next(path for path in self._names(folder, stem, suffix) if took_place(temporary, path))

    def _folder(self, below: str) -> Path:
        folder = self.folder / below
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            if error.errno != errno.ENAMETOOLONG:
                raise
            return self.folder  # one long path must not end the work on all images
        return folder

    def _names(self, folder: Path, stem: str, suffix: str) -> Iterator[Path]:
        """Names to try, the first without a number."""
        while len(os.fsencode(stem)) > LONGEST_STEM:
            stem = stem[:-1]
        first = folder / f"{stem}{suffix}"
        yield first
        while True:
            self._last[first] = self._last.get(first, 1) + 1
            yield folder / f"{stem}-{self._last[first]}{suffix}"
