"""How well a face can be read: its size and blur, how far the head is turned, what is cut off or hidden."""

import functools
import math

import numpy as np
from numpy.typing import NDArray

from mien.core.geometry import invert, transform
from mien.core.pose import mean_face
from mien.core.preprocess import FER2013_SIZE, crop_matrix
from mien.core.results import Face, Landmarks, Quality

BLUR_SPAN = 9  # pixels of the blurring that blur is compared with
GRID = 12
TICKS = (np.arange(GRID) + 0.5) * FER2013_SIZE / GRID
CROP_PLACES = np.stack(np.meshgrid(TICKS, TICKS), axis=-1).reshape(-1, 2)  # x, y all over a crop
Floats = NDArray[np.float64]
Curve = tuple[tuple[float, ...], tuple[float, ...]]
# What is left of the accuracy above chance, measured with fer2013-medium on PublicTest: of faces shrunk to a
# side, blurred to this median blur, and with their lower half hidden. That of the pose is an assumption.
BY_SIZE: Curve = ((4, 8, 12, 16, 24, 32, 48), (0.0, 0.34, 0.52, 0.75, 0.88, 0.96, 1.0))
BY_BLUR: Curve = ((0.36, 0.48, 0.58, 0.66, 0.77, 0.9), (1.0, 0.95, 0.79, 0.65, 0.36, 0.0))
BY_INSIDE: Curve = ((0.0, 0.5, 1.0), (0.0, 0.59, 1.0))
BY_POSE: Curve = ((20, 31, 46, 66, 90), (1.0, 0.75, 0.5, 0.25, 0.0))
BY_GAP = (4.53, 0.0722)
"""Steepness and gap of even odds of `by_gap`, fitted by ``benchmarks/occlusion.py``."""


def quality_of(face: Face, crop: NDArray[np.uint8], size_wh: tuple[int, int]) -> Quality:
    """The quality of a face whose aligned gray crop (48, 48) is given.

    Args:
        face: The face.
        crop: The face as `mien.core.preprocess.face_crop` cuts it by default: at another size, the same face
            is blurred by another part of it, and `BY_BLUR` does not hold.
        size_wh: Width and height of its image.
    """
    size = math.sqrt(max(face.box.width * face.box.height, 0.0))
    pose = None if face.landmarks is None else turned(face.landmarks)
    blurred, inside = blur(crop), part_inside(face, size_wh)
    return Quality(size, blurred, pose, inside, score(size, blurred, pose, inside))


def score(size: float, blurred: float, pose: float | None, inside: float) -> float:
    """The share of a good face's accuracy above chance that is left, 0-1: that of the worst of the four."""
    parts = [(size, BY_SIZE), (blurred, BY_BLUR), (inside, BY_INSIDE)]
    if pose is not None:
        parts.append((pose, BY_POSE))
    return min(float(np.interp(value, *curve)) for value, curve in parts)


def occluded(face: Face, points: NDArray[np.floating]) -> float | None:
    """How probable it is that a part of a face is hidden, 0-1; ``None`` where the detector gave no landmarks.

    Calibrated where half of the faces have a quarter or more hidden; where fewer have, it says too much.
    Faces whose eyes are hidden are mostly not found at all.

    Args:
        face: The face, with the five landmarks of its detector.
        points: Its 68 landmarks, (68, 2).
    """
    if face.landmarks is None:
        return None
    return float(by_gap(np.array(landmark_gap(face.landmarks, points))))


def by_gap(gaps: NDArray[np.floating], steepness: float = BY_GAP[0], even: float = BY_GAP[1]) -> Floats:
    """The logistic curve of the logarithm of gaps, 0 to 1, which is one half at ``even``."""
    return np.asarray(1 / (1 + (even / np.maximum(gaps, 1e-6)) ** steepness))


def landmark_gap(landmarks: Landmarks, points: NDArray[np.floating]) -> float:
    """How far five landmarks lie from the same places among 68 (68, 2), by the size of the face.

    A mean of the five distances; the size is the root of the mean squared distance of the 68 from their
    middle, which a turn of the head changes less than the distance of the eyes. Two networks that see a whole
    face agree; what is hidden each guesses in its own way.
    """
    all68 = np.asarray(points, np.float64)
    size = math.sqrt(float(((all68 - all68.mean(0)) ** 2).sum(axis=1).mean()))
    gaps = np.linalg.norm(np.asarray(landmarks.points) - five_of_68(all68), axis=1)
    return float(gaps.mean() / max(size, 1e-6))


def five_of_68(points: Floats) -> Floats:
    """Eye centres, nose tip and mouth corners (5, D) of 68 landmarks (68, D), in the order of `Landmarks`."""
    return np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])


def part_inside(face: Face, size_wh: tuple[int, int]) -> float:
    """The share of a face's crop that lies in an image of a width and height, 0-1."""
    there = transform(CROP_PLACES, invert(crop_matrix(face, FER2013_SIZE)))
    return float(((there >= 0) & (there < np.array(size_wh))).all(axis=1).mean())


def blur(gray: NDArray[np.uint8]) -> float:
    """0 for a sharp image to 1 for a blurred one: what little a further blurring would change.

    Source: Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur
    metric", SPIE 6492, 2007. A flat image counts as blurred.
    """
    pixels = gray.astype(np.float32)
    return max(_blur_along(pixels), _blur_along(pixels.T))


def _blur_along(pixels: NDArray[np.float32]) -> float:
    half = BLUR_SPAN // 2
    edges = pixels[half::-1], pixels[: -half - 1 : -1]  # mirrored; np.pad takes twice as long
    padded = np.concatenate([edges[0], pixels, edges[1]]).cumsum(axis=0)
    blurred = (padded[BLUR_SPAN:] - padded[:-BLUR_SPAN]) / BLUR_SPAN
    sharp = np.abs(np.diff(pixels, axis=0))[:, 1:-1]
    left = np.maximum(sharp - np.abs(np.diff(blurred, axis=0))[:, 1:-1], 0)
    total = float(sharp.sum())
    return 1 - float(left.sum()) / total if total > 0 else 1.0


def turned(landmarks: Landmarks) -> float:
    """Degrees, 0-90, by which the head is turned to a side; nodding and rolling do not count.

    The five points of the mean face are fitted as if seen from far away, so take it as a rough number.
    Source: DeMenthon and Davis, "Model-based object pose in 25 lines of code", IJCV 1995 (its first step).
    """
    points = np.array(landmarks.points)
    right, down = (_fit_head() @ (points - points.mean(axis=0))).T.tolist()
    # Where the camera is, seen from the head: the cross product of right and down.
    aside = right[1] * down[2] - right[2] * down[1]
    before = right[0] * down[1] - right[1] * down[0]
    return math.degrees(math.atan2(abs(aside), abs(before)))


@functools.cache
def _fit_head() -> Floats:
    """What makes right and down (3, 2), as the camera sees them, of five points (5, 2) about their middle."""
    head = five_of_68(mean_face())
    return np.linalg.pinv(head - head.mean(axis=0))
