"""The readings of an image as a tuple that also becomes rows, a data frame, or a table in a notebook."""

import os
from collections.abc import Iterable, Sequence
from html import escape
from itertools import count, repeat
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mien.core.columns import Cell, kind_of
from mien.core.paths import path_text
from mien.core.results import Box, Face, Quality, Reading
from mien.errors import MienError

FACE_COLUMNS = (
    "face",
    "x1",
    "y1",
    "x2",
    "y2",
    "detection_score",
    "emotion",
    "confidence",
    "uncertain",
    "quality",
)
ROUNDING = 1e-6
"""By how much probabilities may lie beyond 0 and 1, as a mean of float32 does."""
OCCLUDED = "quality_occluded"
"""Stands behind ``quality`` where 68 landmarks were asked for."""
PANDAS = {str: "string", int: "Int64", bool: "boolean", float: "float64"}
"""Types of pandas that keep whole numbers whole where cells are missing."""


class Readings(tuple[Reading, ...]):
    """The faces of one image: a tuple of `Reading`, largest face first where an image was read."""

    __slots__ = ()

    @classmethod
    def from_arrays(
        cls,
        boxes_xyxy: ArrayLike,
        probs: ArrayLike,
        labels: Sequence[str],
        *,
        scores: ArrayLike | None = None,
    ) -> "Readings":
        """Readings of arrays, for `annotate` and for tables, in the order of the arrays.

        Args:
            boxes_xyxy: Left, top, right and bottom in pixels of the upright image, shape (N, 4).
            probs: Probabilities, 0-1, shape (N, C).
            labels: The C emotions, each another one.
            scores: Of the detector, 0-1, shape (N,); 1 by default.

        Raises:
            MienError: the shapes do not fit together, a number is not finite or out of its range, a box is
                inside out, or a label stands twice.
        """
        if len(set(labels)) < len(labels):
            raise MienError(f"labels must be different from each other, got {', '.join(labels)}")
        boxes, table = _boxes(boxes_xyxy), _shares(probs, "probs", (-1, len(labels)))
        n = len(boxes)
        score = np.ones(n) if scores is None else _shares(scores, "scores", (-1,))
        if len(score) != n:
            raise MienError(f"expected a score for each box, got {len(score)} for {n}")
        if len(table) != n:
            raise MienError(f"expected as many boxes as rows of probs, got {n} and {len(table)}")
        rows = zip(boxes.tolist(), table.tolist(), score.tolist(), strict=True)
        return cls(Reading(Face(Box(*box), sure), tuple(labels), tuple(row)) for box, row, sure in rows)

    def to_rows(self) -> list[dict[str, Cell]]:
        """One flat dict a face; see `mien.to_rows`."""
        return to_rows(self)

    def to_frame(self) -> Any:
        """One row a face; see `mien.to_frame`."""
        return to_frame(self)

    def _repr_html_(self) -> str:
        """The table that a notebook shows."""
        if not self:
            return "<p>no face</p>"
        labels = tuple(dict.fromkeys(label for reading in self for label in reading.labels))
        head = "".join(f"<th>{escape(name)}</th>" for name in ("", "emotion", "confidence", *labels))
        rows = "".join(map(_html_row, count(1), self, repeat(labels)))
        return f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"


def _html_row(number: int, reading: Reading, labels: Sequence[str]) -> str:
    doubt, probs = " (uncertain)" if reading.uncertain else "", reading.probabilities
    shares = (f"{probs[label]:.0%}" if label in probs else "" for label in labels)
    cells = (f"{reading.emotion}{doubt}", f"{reading.confidence:.0%}", *shares)
    return f"<tr><th>{number}</th>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"


def _boxes(values: ArrayLike) -> NDArray[np.float64]:
    boxes = _array(values, "boxes_xyxy", (-1, 4))
    _check(boxes, np.isfinite(boxes), "boxes_xyxy must be finite numbers")
    odd = np.flatnonzero((boxes[:, :2] >= boxes[:, 2:]).any(axis=1))
    if len(odd):
        got = ", ".join(f"{side:g}" for side in boxes[odd[0]])
        raise MienError(
            f"boxes_xyxy must have x1 < x2 and y1 < y2, got {got} in row {odd[0]}; "
            "add x and y to a width and a height"
        )
    return boxes


def _shares(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    array = _array(values, name, shape)
    _check(array, (array >= -ROUNDING) & (array <= 1 + ROUNDING), f"{name} must lie in 0..1")
    return array.clip(0, 1)


def _array(values: ArrayLike, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError) as e:
        raise MienError(f"{name} must be numbers in rows of one length ({e})") from e
    if array.size == 0:
        return array.reshape(0, *shape[1:])
    if array.ndim != len(shape) or array.shape[1:] != shape[1:]:
        wanted = ", ".join("N" if side < 0 else str(side) for side in shape)
        raise MienError(f"{name} must have the shape ({wanted}), got {array.shape}")
    return array


def _check(array: NDArray[np.float64], good: NDArray[np.bool_], wanted: str) -> None:
    odd = np.argwhere(~good)
    if len(odd):
        place = tuple(odd[0].tolist())
        where = ", ".join(map(str, place))
        raise MienError(f"{wanted}, got {array[place]} at [{where}]")


def face_columns(labels: Sequence[str], *, landmarks: bool = False) -> tuple[str, ...]:
    """The columns that `face_cells` fills for a model's labels."""
    more = (OCCLUDED,) if landmarks else ()
    return (*FACE_COLUMNS, *more, *(f"p_{label}" for label in labels))


def face_cells(number: int, reading: Reading, *, landmarks: bool = False) -> tuple[Cell, ...]:
    """A face under `face_columns`: hundredths of a pixel, millionths of scores and probabilities."""
    box = reading.box
    corners = (round(value, 2) for value in (box.x1, box.y1, box.x2, box.y2))
    probs = (round(prob, 6) for prob in reading.probs)
    score, confidence = round(reading.detection_score, 6), round(reading.confidence, 6)
    quality = None if reading.quality is None else round(reading.quality.score, 6)
    more = (occluded_cell(reading.quality),) if landmarks else ()
    return number, *corners, score, reading.emotion, confidence, reading.uncertain, quality, *more, *probs


def occluded_cell(quality: Quality | None) -> float | None:
    """The cell under `OCCLUDED`, in ten thousandths."""
    return None if quality is None or quality.occluded is None else round(quality.occluded, 4)


def to_rows(
    readings: Iterable[Reading] | Iterable[Iterable[Reading]],
    paths: Iterable[str | os.PathLike[str]] | None = None,
) -> list[dict[str, Cell]]:
    """Flat rows, one a face; an image without a face gives one whose cells are ``None``.

    Readings of one image without a face and without its path give no row.

    The columns are those of ``mien read --csv``: ``face`` (from 1), the box, ``detection_score``,
    ``emotion``, ``confidence``, ``uncertain``, ``quality``, behind it ``quality_occluded`` where landmarks
    were asked for, and ``p_`` with each label of any reading. Of several images each row also says which:
    ``path``, or without paths ``image``, from 0.

    Args:
        readings: Of one image, as `read` gives them, or of several, as `Analyzer.read_many` does.
        paths: The images, in the same order; bytes that are not UTF-8 become a replacement character.

    Raises:
        MienError: there are more or fewer paths than images, or ``readings`` holds something else.
    """
    images = _listed(readings)
    if isinstance(readings, Readings) or any(isinstance(one, Reading) for one in images):
        images = [images]
        names: list[dict[str, Cell]] = [{}] if paths is None else _names(paths, 1)
    else:
        names = [{"image": i} for i in range(len(images))] if paths is None else _names(paths, len(images))
    rows = [row for name, faces in zip(names, images, strict=True) for row in _image_rows(name, faces)]
    if isinstance(readings, Readings) and not readings and paths is None:
        return []
    columns = dict.fromkeys(column for row in rows for column in row)
    ordered = sorted(columns, key=lambda column: column.startswith("p_"))  # `OCCLUDED` may first come late
    return [{column: row.get(column) for column in ordered} for row in rows]


def _names(paths: Iterable[str | os.PathLike[str]], n_images: int) -> list[dict[str, Cell]]:
    names: list[dict[str, Cell]] = [{"path": path_text(os.fsdecode(path))} for path in paths]
    if len(names) != n_images:
        raise MienError(f"expected a path for each of {n_images} images, got {len(names)}")
    return names


def _listed(readings: object) -> list[Any]:
    if not isinstance(readings, Iterable) or isinstance(readings, dict | str):
        raise _no_readings(readings)
    return list(readings)


def _no_readings(value: object) -> MienError:
    kind = type(value).__name__
    return MienError(f"readings must be what mien.read returns, or a list of that, got {kind}")


def _image_rows(name: dict[str, Cell], faces: object) -> list[dict[str, Cell]]:
    rows = []
    for number, face in enumerate(_listed(faces), start=1):
        if not isinstance(face, Reading):
            raise _no_readings(face)
        has = face.landmarks68 is not None
        cells = zip(
            face_columns(face.labels, landmarks=has), face_cells(number, face, landmarks=has), strict=True
        )
        rows.append(name | dict(cells))
    return rows or [name | dict.fromkeys(FACE_COLUMNS)]


def to_frame(
    readings: Iterable[Reading] | Iterable[Iterable[Reading]],
    paths: Iterable[str | os.PathLike[str]] | None = None,
) -> Any:
    """The rows of `to_rows` as a ``pandas.DataFrame``, or as a ``pyarrow.Table`` where pandas is absent.

    Raises:
        MienError: neither is installed, or as `to_rows`.
    """
    rows = to_rows(readings, paths)
    names = list(rows[0]) if rows else list(FACE_COLUMNS)
    columns = {name: [row[name] for row in rows] for name in names}
    try:
        import pandas as pd
    except ImportError:
        return _arrow_table(columns)
    return pd.DataFrame({n: pd.Series(cells, dtype=PANDAS[kind_of(n)]) for n, cells in columns.items()})


def _arrow_table(columns: dict[str, list[Cell]]) -> Any:
    try:
        import pyarrow as pa
    except ImportError as error:
        raise MienError("to_frame needs pandas or pyarrow; run: pip install pandas") from error
    kinds = {str: pa.string(), int: pa.int64(), bool: pa.bool_(), float: pa.float64()}
    return pa.table({name: pa.array(cells, kinds[kind_of(name)]) for name, cells in columns.items()})
