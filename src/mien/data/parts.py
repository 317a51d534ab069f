"""Parts of aligned faces as data sets of their own: the face alone, mouth, eyes, upper and lower half."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mien.core.geometry import similarity, transform, warp
from mien.core.preprocess import FER2013_POINTS, FER2013_SIZE
from mien.core.progress import Progress, silent
from mien.data.records import FaceSet
from mien.errors import DataError
from mien.names import look_up

PARTS = {
    "face": (6.0, 9.0, 42.0, 46.0),
    "mouth": (12.0, 29.0, 36.0, 48.0),
    "eyes": (8.0, 9.0, 40.0, 24.0),
    "upper": (0.0, 0.0, 48.0, 26.0),
    "lower": (0.0, 26.0, 48.0, 48.0),
}
"""Box (x1, y1, x2, y2) of each part on a face framed and aligned as FER2013's mean face, 48 x 48 pixels."""

Unsure = Literal["average", "whole", "drop"]
"""A face without reliable landmarks: cut where the part lies on average, keep it whole, or leave it out."""

FindLandmarks = Callable[[NDArray[np.uint8]], tuple[NDArray[np.float32], NDArray[np.float32]]]
"""uint8 (N, S, S) or (N, S, S, 3) to points (N, 5, 2) in pixels and their confidence (N,), 0-1."""


@dataclass(frozen=True, slots=True)
class PartSettings:
    """What to cut.

    Attributes:
        part: A name of `PARTS`.
        size: Side of the cut in pixels; ``None`` is that of the source. Width and height are scaled apart.
        min_score: Confidence of the landmarks from which a face is aligned and cut by them.
        unsure: What becomes of the others.
    """

    part: str
    size: int | None = None
    min_score: float = 0.5
    unsure: Unsure = "average"

    def __post_init__(self) -> None:
        look_up(PARTS, self.part, "part of the face", DataError)
        if self.unsure not in get_args(Unsure):
            raise DataError(f"unsure must be one of {', '.join(get_args(Unsure))}, got '{self.unsure}'")
        if self.size is not None and not 8 <= self.size <= 1024:
            raise DataError(f"size must lie in 8..1024 pixels, got {self.size}")
        if not 0 <= self.min_score <= 1:
            raise DataError(f"the confidence must lie in 0..1, got {self.min_score}")


def cut_part(
    faces: FaceSet,
    settings: PartSettings,
    find: FindLandmarks,
    progress: Progress = silent,
) -> tuple[FaceSet, int]:
    """Cut one part out of every face, aligned by its five landmarks.

    Returns:
        The faces in their order, with ``rows``, labels, split and the other columns of the source, the five
        landmarks in pixels of the cut (NaN where they were not used) and ``landmark_score``; and how many
        faces of the source had no reliable landmarks.

    Raises:
        DataError: the images are not square.
    """
    height, side = faces.images.shape[1:3]
    if height != side:
        raise DataError(f"parts need square faces, {faces.name} has {side}x{height}; import it again")
    size = settings.size or side
    box = PARTS[settings.part]
    images = np.empty((len(faces), size, size, *faces.images.shape[3:]), np.uint8)
    landmarks = np.full((len(faces), 5, 2), np.nan, np.float32)
    scores = np.empty(len(faces), np.float32)
    average = _to_box(box, size) @ _square(np.diag([FER2013_SIZE / side, FER2013_SIZE / side]))
    whole = _square(np.diag([size / side, size / side]))
    for start in range(0, len(faces), _BATCH):
        part = slice(start, start + _BATCH)
        found, scores[part] = find(faces.images[part])
        for i, points in enumerate(found, start):
            if scores[i] >= settings.min_score:
                matrix = _to_box(box, size) @ _square(similarity(points, FER2013_POINTS))
                landmarks[i] = transform(points, matrix[:2])
            else:
                matrix = whole if settings.unsure == "whole" else average
            images[i] = warp(faces.images[i], matrix[:2], (size, size))
        progress(min(start + _BATCH, len(faces)), len(faces))
    sure = scores >= settings.min_score
    cut = replace(
        faces,
        images=images,
        landmarks=landmarks,
        landmark_score=scores,
        name=f"{faces.name}-{settings.part}",
    )
    return cut.take(sure) if settings.unsure == "drop" else cut, int((~sure).sum())


_BATCH = 256


def _to_box(box: tuple[float, float, float, float], size: int) -> NDArray[np.float64]:
    """The affine map (3, 3) that spreads ``box`` over ``size`` x ``size`` pixels."""
    x1, y1, x2, y2 = box
    across, down = size / (x2 - x1), size / (y2 - y1)
    return np.array([[across, 0, -across * x1], [0, down, -down * y1], [0, 0, 1.0]])


def _square(matrix: NDArray[np.float64]) -> NDArray[np.float64]:
    """A linear (2, 2) or affine (2, 3) map as (3, 3)."""
    out = np.eye(3)
    out[:2, : matrix.shape[1]] = matrix
    return out
