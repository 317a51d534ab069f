"""How well a face can be read: its size, its blur, and how far the head is turned away."""

import math

import numpy as np
from numpy.typing import NDArray

from mien.core.results import Face, Landmarks
from mien.core.timeline import Quality

BLUR_SPAN = 9  # pixels of the blurring that blur is compared with
# Eyes, nose tip and mouth corners of an average head in units of the distance between the eyes: right, down,
# and away from the camera. Across as in FER2013's mean face; depths after Farkas, "Anthropometry of the Head
# and Face", 1994, rounded.
HEAD = np.array(
    [(-0.5, -0.4, 0.0), (0.5, -0.4, 0.0), (0.0, 0.15, -0.5), (-0.42, 0.68, -0.12), (0.42, 0.68, -0.12)]
)


def quality_of(face: Face, crop: NDArray[np.uint8]) -> Quality:
    """The quality of a face whose aligned gray crop (S, S) is given."""
    size = math.sqrt(max(face.box.width * face.box.height, 0.0))
    return Quality(size, blur(crop), None if face.landmarks is None else turned(face.landmarks))


def blur(gray: NDArray[np.uint8]) -> float:
    """0 for a sharp image to 1 for a blurred one: what little a further blurring would change.

    Source: Crete et al., "The blur effect: perception and estimation with a new no-reference perceptual blur
    metric", SPIE 6492, 2007. A flat image counts as blurred.
    """
    pixels = gray.astype(np.float32)
    return max(_blur_along(pixels), _blur_along(pixels.T))


def _blur_along(pixels: NDArray[np.float32]) -> float:
    half = BLUR_SPAN // 2
    padded = np.pad(pixels, ((half + 1, half), (0, 0)), mode="symmetric").cumsum(axis=0)
    blurred = (padded[BLUR_SPAN:] - padded[:-BLUR_SPAN]) / BLUR_SPAN
    sharp = np.abs(np.diff(pixels, axis=0))[:, 1:-1]
    left = np.maximum(sharp - np.abs(np.diff(blurred, axis=0))[:, 1:-1], 0)
    total = float(sharp.sum())
    return 1 - float(left.sum()) / total if total > 0 else 1.0


def turned(landmarks: Landmarks) -> float:
    """Degrees, 0-90, by which the head is turned to a side; nodding and rolling do not count.

    An average head is fitted to the five points as if seen from far away, so take it as a rough number.
    Source: DeMenthon and Davis, "Model-based object pose in 25 lines of code", IJCV 1995 (its first step).
    """
    points = np.array(landmarks.points)
    right, down = (np.linalg.pinv(HEAD - HEAD.mean(axis=0)) @ (points - points.mean(axis=0))).T
    camera = np.cross(right, down)  # where the camera is, seen from the head
    return math.degrees(math.atan2(abs(camera[0]), abs(camera[2])))
