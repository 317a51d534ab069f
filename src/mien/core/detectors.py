"""Every face detector by name, and those of the user's own."""

import inspect
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mien.core.detection import DEFAULT_DETECTOR, Detector, DetectorSettings, Pixels, check_rgb
from mien.core.mtcnn import Mtcnn
from mien.core.one_stage import OneStage
from mien.core.own_code import is_own, load_own, own_sha256
from mien.core.preprocess import FER2013_SIZE, resized
from mien.core.results import Box, Face
from mien.errors import MienError
from mien.names import look_up


class Cropped:
    """Treats each image as one cropped face, as in most data sets of faces."""

    def __init__(self, settings: DetectorSettings) -> None:
        """Settings change nothing, because nothing is looked for."""

    def find(self, image: Pixels) -> tuple[Face, ...]:
        """One face, whose box is the image, uint8 RGB (H, W, 3).

        Raises:
            ImageError: the array is not such an image.
        """
        check_rgb(image)
        height, width = image.shape[:2]
        return (Face(Box(0, 0, width, height), 1.0, is_crop=True),)


DETECTORS: dict[str, Callable[[DetectorSettings], Detector]] = {
    "mtcnn": Mtcnn,
    "one-stage": OneStage,
    "cropped": Cropped,
}

SHRINKING = frozenset({"mtcnn", "one-stage"})
"""Those that search an image with a side beyond `DetectorSettings.max_side` at that size."""


def make_detector(name: str = DEFAULT_DETECTOR, settings: DetectorSettings | None = None) -> Detector:
    """Make a detector with ``settings``.

    Args:
        name: An entry of `DETECTORS`, or ``package.module:Class`` or ``file.py:Class``.
        settings: How thoroughly to look.

    Raises:
        MienError: there is no such detector, or it does not go with the settings.
    """
    if not isinstance(name, str):
        raise MienError(f"a detector's name must be text, such as '{DEFAULT_DETECTOR}', got {name!r:.80}")
    if not is_own(name):
        return look_up(DETECTORS, name, "detector")(settings or DetectorSettings())
    make, settings = load_own(name, "detector"), settings or DetectorSettings()
    _check_takes(make, settings, name)
    try:
        detector: Detector = make(settings)
    except MienError:
        raise
    except Exception as e:  # whatever the user's code raises
        raise MienError(f"detector '{name}' cannot be made ({type(e).__name__}: {e})") from e
    if not callable(getattr(detector, "find", None)):
        raise MienError(f"detector '{name}' has no method find(image); see mien.Detector")
    return detector


def _check_takes(make: Callable[..., Any], settings: DetectorSettings, name: str) -> None:
    with suppress(ValueError):  # compiled code may not tell what it takes
        signature = inspect.signature(make)
        try:
            signature.bind(settings)
        except TypeError as e:
            raise MienError(f"detector '{name}' must take one mien.DetectorSettings ({e})") from e


def detector_identity(name: str) -> str:
    """What must be the same for a detector to find the same: its name, and of your own the file's SHA-256."""
    return f"{name} ({own_sha256(name, 'detector')})" if is_own(name) else name


def landmarks_on_crops(crops: Pixels) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Five points of square faces that are cropped already, and how sure they are.

    Faces of any side are looked at in FER2013's; see `Mtcnn.landmarks_on_crop`.
    """
    points, sure = Mtcnn().landmarks_on_crop(resized(crops, FER2013_SIZE))
    return points * np.float32(crops.shape[1] / FER2013_SIZE), sure
