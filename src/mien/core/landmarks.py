"""68 landmarks of a face in the order of iBUG 300-W: jaw, brows, nose, eyes, mouth; the left one first."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.metrics import mean_interval
from mien.errors import MienError

N_POINTS = 68

FRAME_SIZE = 80
"""Side in pixels of the gray, aligned face that the landmark network sees."""

FRAME_SCALE = 0.8
"""Size of the face in it against FER2013's framing: brows, chin and jaw are inside."""

PARTS = {
    "jaw": slice(0, 17),
    "brows": slice(17, 27),
    "nose": slice(27, 36),
    "eyes": slice(36, 48),
    "mouth": slice(48, 68),
}
"""The points of each part."""

OUTER_EYES = {68: (36, 45), 5: (0, 1)}
"""The outer corners of the eyes, by the number of points; with five, the eyes' centres."""

MIRRORED = {
    68: (
        *range(16, -1, -1),
        *range(26, 16, -1),
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),
        *(64, 63, 62, 61, 60, 67, 66, 65),
    ),
    5: (1, 0, 2, 4, 3),
}
"""Which point each one is in the mirror image, by the number of points."""

FAILED = 0.10
"""Mean error above which a face counts as failed, by the distance between the outer corners of the eyes."""


def point_errors(points: NDArray[np.floating], truth: NDArray[np.floating]) -> NDArray[np.float64]:
    """Mean distance of each face's points from the true ones, by the distance between its outer eye corners.

    Args:
        points: (N, K, 2), in the pixels of ``truth``.
        truth: (N, K, 2); points that are NaN are left out.

    Returns:
        float64 (N,), a fraction; NaN for a face without any known point or with an unknown corner.

    Raises:
        MienError: the shapes differ, or there is no rule for so many points.
    """
    points, truth = np.asarray(points, np.float64), np.asarray(truth, np.float64)
    if points.shape != truth.shape or points.ndim != 3 or points.shape[1] not in OUTER_EYES:
        raise MienError(f"landmarks must be (N, 68, 2) or (N, 5, 2), got {points.shape} and {truth.shape}")
    left, right = OUTER_EYES[truth.shape[1]]
    eyes = np.linalg.norm(truth[:, left] - truth[:, right], axis=1)
    distances = np.linalg.norm(points - truth, axis=2)
    known = ~np.isnan(distances)
    mean = np.where(known, distances, 0).sum(axis=1) / np.where(known.any(axis=1), known.sum(axis=1), np.nan)
    errors: NDArray[np.float64] = mean / np.where(eyes > 0, eyes, np.nan)
    return errors


def error_scores(errors: NDArray[np.floating]) -> dict[str, Any]:
    """Number of faces, mean error with its 95 % bootstrap interval, and share of failures; JSON-ready.

    Args:
        errors: Of `point_errors`; faces whose error is NaN are left out.

    Raises:
        MienError: no face is left.
    """
    known = np.asarray(errors, np.float64)
    known = known[~np.isnan(known)]
    if not len(known):
        raise MienError("no face has known landmarks to score against")
    return {
        "n": len(known),
        "error": float(known.mean()),
        "error_interval": list(mean_interval(known, np.random.default_rng(0))),
        "failures": float((known > FAILED).mean()),
    }
